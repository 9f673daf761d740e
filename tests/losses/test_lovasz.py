import itertools

import numpy as np
import pytest
from keras import ops

from keras_dense.losses import Lovasz
from keras_dense.losses.lovasz import lovasz_extension
from keras_dense.testing.expect import value_and_gradient

from . import reference


def softmax_loss(labels, logits, classes="present"):
    keep = labels != 255
    p, y = reference.softmax(np.asarray(logits, "float64"))[keep], labels[keep]
    scored = [c for c in range(p.shape[-1]) if classes == "all" or (y == c).any()]
    return np.mean(
        [reference.lovasz(abs((y == c) - p[:, c]), (y == c).astype("float64")) for c in scored]
    )


def hinge_loss(labels, logits):
    keep = labels != 255
    y, x = labels[keep].astype("float64"), np.asarray(logits, "float64")[keep]
    return reference.lovasz(np.maximum(1 - (2 * y - 1) * x, 0), y)


@pytest.mark.everywhere
@pytest.mark.parametrize("classes", ["present", "all"])
def test_multiclass(classes):
    labels, logits = reference.batch(classes=5)
    labels[labels == 3] = 255
    expected = softmax_loss(labels, logits, classes)
    assert float(Lovasz(classes=classes)(labels, logits)) == pytest.approx(expected, rel=1e-5)


def test_class_weight():
    labels, logits = reference.batch()
    alone = [float(Lovasz(class_weight=np.eye(4)[c])(labels, logits)) for c in range(4)]
    cost = np.array([1.0, 2.0, 0.5, 4.0])
    value = float(Lovasz(class_weight=cost)(labels, logits))
    assert value == pytest.approx((cost * alone).sum() / cost.sum(), rel=1e-5)


def test_binary_and_multilabel_are_hinges():
    labels, logits = reference.batch("binary")
    expected = hinge_loss(labels, logits[..., 0])
    assert float(Lovasz("binary")(labels, logits)) == pytest.approx(expected, rel=1e-5)
    labels, logits = reference.batch("multilabel")
    expected = np.mean([hinge_loss(labels[..., c], logits[..., c]) for c in range(4)])
    assert float(Lovasz("multilabel")(labels, logits)) == pytest.approx(expected, rel=1e-5)


def test_per_image():
    labels, logits = reference.batch(shape=(3, 5, 7))
    labels[1] = 255
    expected = np.mean([softmax_loss(labels[i], logits[i]) for i in (0, 2)])
    assert float(Lovasz(per_image=True)(labels, logits)) == pytest.approx(expected, rel=1e-5)


def test_at_the_corners_it_is_the_jaccard_loss():
    """Every 0/1 error of 4 pixels under every truth: exactly 1 - IoU, 1 for a false positive."""
    for truth in itertools.product([0.0, 1.0], repeat=4):
        for errors in itertools.product([0.0, 1.0], repeat=4):
            t, e = np.array(truth), np.array(errors)
            predicted = np.where(e == 1, 1 - t, t)
            union = np.maximum(t, predicted).sum()
            iou = (t * predicted).sum() / union if union else 1.0
            rows = [ops.convert_to_tensor(v, "float32") for v in (e, t, np.ones(4))]
            ours = lovasz_extension(*rows)
            assert float(ours) == pytest.approx(1 - iou, abs=1e-6)


def test_weights_of_steps_keep_their_bits_on_a_large_image():
    """Foreground 1/2 of 2^18 pixels: neighboring Jaccard losses differ by 4e-6, exact to 1e-4."""
    random = np.random.default_rng(0)
    logits = random.normal(size=(1, 512, 512, 1)).astype("float32") * 0.3
    labels = random.integers(0, 2, (1, 512, 512))
    _, gradient = value_and_gradient(Lovasz("binary"), labels, logits)
    y, x = labels.ravel().astype("float64"), logits.ravel().astype("float64")
    order = np.argsort(-(1 - (2 * y - 1) * x), kind="stable")
    hits = y.sum() - np.cumsum(y[order])
    union = y.sum() + np.cumsum(1 - y[order])
    step = np.diff(np.concatenate([[0.0], 1 - hits / union]))
    expected = np.empty_like(step)
    expected[order] = step * -(2 * y[order] - 1) * (1 - (2 * y - 1) * x > 0)[order]
    error = np.abs(gradient.ravel() - expected) / np.abs(expected).max()
    assert np.quantile(error, 0.99) < 1e-3  # ties in float32 may swap places


def test_an_empty_mask_punishes_the_worst_false_positive():
    logits = np.full((1, 3, 3, 1), -5.0, "float32")
    logits[0, 1, 1] = 2.0
    value, gradient = value_and_gradient(Lovasz("binary"), np.zeros((1, 3, 3)), logits)
    assert value == pytest.approx(3.0)
    assert gradient[0, 1, 1, 0] == pytest.approx(1.0)
    assert np.count_nonzero(gradient) == 1


@pytest.mark.everywhere
@pytest.mark.parametrize("mode", ["multiclass", "binary"])
def test_gradient(mode):
    labels, logits = reference.batch(mode, (1, 2, 4))
    _, gradient = value_and_gradient(Lovasz(mode), labels, logits)

    def loss(x):
        return softmax_loss(labels, x) if mode == "multiclass" else hinge_loss(labels, x[..., 0])

    np.testing.assert_allclose(gradient, reference.numeric_gradient(loss, logits), atol=1e-6)


def test_bad_classes():
    with pytest.raises(ValueError, match="`classes` must be one of 'present', 'all'"):
        Lovasz(classes="some")

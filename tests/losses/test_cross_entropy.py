import numpy as np
import pytest

from keras_dense.losses import CrossEntropy
from keras_dense.testing.expect import value_and_gradient

from . import reference


@pytest.mark.everywhere
@pytest.mark.parametrize("mode", ["multiclass", "binary", "multilabel"])
@pytest.mark.parametrize("shape", [(2, 5, 7), (1, 1, 1), (3, 8, 2)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_against_numpy(mode, shape, smoothing):
    labels, logits = reference.batch(mode, shape, void=shape != (1, 1, 1))
    weight = np.random.default_rng(1).random(shape)
    cost = {"multiclass": [1.0, 2.0, 0.5, 4.0], "binary": [0.3, 2.0], "multilabel": None}[mode]
    for w, c in [(None, None), (weight, None), (None, cost), (weight, cost)]:
        loss = CrossEntropy(mode=mode, class_weight=c, label_smoothing=smoothing)
        expected = reference.cross_entropy(labels, logits, w, c, smoothing)
        assert float(loss(labels, logits, w)) == pytest.approx(expected, rel=2e-5)


def test_class_weight_of_labels_weights_both_answers():
    labels, logits = reference.batch("multilabel")
    cost = np.array([1.0, 2.0, 0.5, 4.0])
    x = np.asarray(logits, "float64")
    each = np.logaddexp(0, np.where(labels == 1, -x, x))
    w = cost * (labels != 255)
    loss = CrossEntropy("multilabel", class_weight=cost)(labels, logits)
    assert float(loss) == pytest.approx((w * each).sum() / w.sum(), rel=1e-5)


def test_integers_name_the_one_label_that_is_present():
    labels, logits = reference.batch()
    hot = np.where(labels[..., None] == 255, 255, np.eye(4)[labels % 4])
    loss = CrossEntropy("multilabel")
    assert float(loss(labels, logits)) == pytest.approx(float(loss(hot, logits)))


def test_void_pixels_are_not_in_the_divisor():
    """Half the pixels void: the mean of the others, not half of it."""
    logits = np.zeros((1, 2, 4, 3), "float32")
    labels = np.array([[[0, 1, 2, 0], [255] * 4]])
    assert float(CrossEntropy()(labels, logits)) == pytest.approx(np.log(3))
    weight = (labels != 255).astype("float32")
    no_ignore = CrossEntropy(ignore_class=None)
    value = float(no_ignore(np.where(labels == 255, 0, labels), logits, weight))
    assert value == pytest.approx(np.log(3))


def test_soft_targets():
    _, logits = reference.batch()
    soft = reference.softmax(np.random.default_rng(2).normal(size=logits.shape))
    expected = -(soft * reference.log_softmax(logits.astype("float64"))).sum(-1).mean()
    assert float(CrossEntropy()(soft, logits)) == pytest.approx(expected, rel=1e-5)


def test_gradient():
    labels, logits = reference.batch(shape=(1, 2, 3))
    cost = [1.0, 2.0, 0.5, 4.0]
    loss = CrossEntropy(class_weight=cost, label_smoothing=0.1)
    _, gradient = value_and_gradient(loss, labels, logits)
    expected = reference.numeric_gradient(
        lambda x: reference.cross_entropy(labels, x, None, cost, 0.1), logits
    )
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_many_classes_cost_no_more_than_the_logits():
    """Label 255 is void, not a class: nothing of 256 channels is built, and none is needed."""
    labels, logits = reference.batch(shape=(1, 3, 3), classes=2)
    assert np.isfinite(float(CrossEntropy()(labels, logits)))
    assert float(CrossEntropy()(np.full((1, 3, 3), 255), logits)) == 0.0
    many = np.zeros((1, 1, 2, 300), "float32")
    labels = np.array([[[255, 299]]])
    loss = CrossEntropy(ignore_class=None)(labels, many)
    assert float(loss) == pytest.approx(np.log(300))


def test_label_smoothing_out_of_range():
    with pytest.raises(ValueError, match="`label_smoothing` must be a number from 0 to 1"):
        CrossEntropy(label_smoothing=1.5)
    with pytest.raises(ValueError, match="`label_smoothing` must be a number"):
        CrossEntropy(label_smoothing="0.1")


def test_as_pytorch():
    torch = pytest.importorskip("torch", reason="compares with PyTorch's own cross-entropy")
    labels, logits = reference.batch()
    weight = [1.0, 2.0, 0.5, 4.0]
    theirs = torch.nn.CrossEntropyLoss(torch.tensor(weight), ignore_index=255, label_smoothing=0.1)(
        torch.tensor(logits.reshape(-1, 4)), torch.tensor(labels.reshape(-1))
    )
    ours = CrossEntropy(class_weight=weight, label_smoothing=0.1)(labels, logits)
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5)

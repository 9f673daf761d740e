import numpy as np
import pytest

from keras_dense.losses import Dice, Jaccard, Tversky
from keras_dense.testing.expect import value_and_gradient

from . import reference

# (loss, the prices of false positives and misses, pixels added)
CASES = [
    (lambda **k: Dice(**k), 0.5, 0.5, 0.0),
    (lambda **k: Dice(smooth=2.0, **k), 0.5, 0.5, 1.0),  # 2 TP + 2: twice a Tversky of 1
    (lambda **k: Jaccard(**k), 1.0, 1.0, 0.0),
    (lambda **k: Jaccard(smooth=3.0, **k), 1.0, 1.0, 3.0),
    (lambda **k: Tversky(**k), 0.3, 0.7, 0.0),
    (lambda **k: Tversky(alpha=0.9, beta=0.2, smooth=1.0, **k), 0.9, 0.2, 1.0),
]
EVERY = pytest.mark.parametrize("make, alpha, beta, smooth", CASES)


def multiclass(labels, logits, weight, cost, alpha, beta, smooth):
    p = reference.softmax(np.asarray(logits, "float64"))
    w = np.asarray(weight) * (labels != 255)
    present = [c for c in range(p.shape[-1]) if (labels == c).any()]
    each = [
        cost[c] * reference.tversky(p[..., c], labels == c, w, alpha, beta, smooth) for c in present
    ]
    return sum(each) / sum(cost[c] for c in present)


@pytest.mark.everywhere
@EVERY
def test_multiclass(make, alpha, beta, smooth):
    labels, logits = reference.batch(classes=5)
    labels[labels == 3] = 255  # class 3 is absent
    weight = np.random.default_rng(1).random(labels.shape)
    for w, cost in [(np.ones(labels.shape), np.ones(5)), (weight, np.array([1, 2, 0.5, 9, 3]))]:
        expected = multiclass(labels, logits, w, cost, alpha, beta, smooth)
        loss = make(class_weight=cost)
        assert float(loss(labels, logits, w)) == pytest.approx(expected, rel=1e-5)


@EVERY
def test_binary_scores_the_foreground(make, alpha, beta, smooth):
    labels, logits = reference.batch("binary")
    p, w = reference.sigmoid(logits[..., 0]), labels != 255
    expected = reference.tversky(p, labels == 1, w, alpha, beta, smooth)
    assert float(make(mode="binary")(labels, logits)) == pytest.approx(expected, rel=1e-5)


@EVERY
def test_multilabel(make, alpha, beta, smooth):
    labels, logits = reference.batch("multilabel")
    labels[..., 2] = np.where(labels[..., 2] == 1, 0, labels[..., 2])  # label 2 is absent
    p, w = reference.sigmoid(logits), labels != 255
    each = [
        reference.tversky(p[..., c], labels[..., c] == 1, w[..., c], alpha, beta, smooth)
        for c in (0, 1, 3)
    ]
    expected = np.mean(each) + p[..., 2][w[..., 2]].mean()
    assert float(make(mode="multilabel")(labels, logits)) == pytest.approx(expected, rel=1e-5)


@EVERY
def test_per_image_is_the_mean_of_the_images_that_have_a_pixel(make, alpha, beta, smooth):
    labels, logits = reference.batch(shape=(3, 5, 7))
    labels[1] = 255
    loss = make(per_image=True)
    alone = [float(make()(labels[i : i + 1], logits[i : i + 1])) for i in (0, 2)]
    assert float(loss(labels, logits)) == pytest.approx(np.mean(alone), rel=1e-5)


@EVERY
def test_absent_classes_do_not_move_the_mean(make, alpha, beta, smooth):
    """A perfect prediction costs 0 however many classes are absent."""
    labels = np.array([[[0, 1, 1, 255]]])
    logits = np.eye(30, dtype="float32")[labels % 30] * 100
    assert float(make()(labels, logits)) == pytest.approx(0.0, abs=1e-6)


@EVERY
@pytest.mark.parametrize("mode", ["binary", "multilabel"])
def test_an_empty_mask_punishes_false_positives(make, alpha, beta, smooth, mode):
    shape = (1, 64, 64, 1 if mode == "binary" else 3)
    value, gradient = value_and_gradient(
        make(mode=mode), np.zeros(shape), np.zeros(shape, "float32")
    )
    assert value == pytest.approx(0.5)
    np.testing.assert_allclose(gradient, 0.25 / gradient.size, rtol=1e-3)
    nothing = make(mode=mode)(np.zeros(shape), np.full(shape, -30.0))
    assert float(nothing) == pytest.approx(0.0, abs=1e-6)


@EVERY
def test_gradient(make, alpha, beta, smooth):
    labels, logits = reference.batch(shape=(1, 2, 3))
    ones = np.ones(labels.shape)
    _, gradient = value_and_gradient(make(), labels, logits)
    expected = reference.numeric_gradient(
        lambda x: multiclass(labels, x, ones, np.ones(4), alpha, beta, smooth), logits
    )
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_dice_by_hand():
    labels = np.array([[[0, 0, 1, 255]]])
    value = float(Dice()(labels, np.zeros((1, 1, 4, 2))))
    assert value == pytest.approx(1 - (2 * 1 / (1.5 + 2) + 2 * 0.5 / (1.5 + 1)) / 2)


def test_bad_options():
    with pytest.raises(ValueError, match="`smooth` must be a number >= 0"):
        Dice(smooth=-1)
    with pytest.raises(ValueError, match="`alpha` must be a number >= 0"):
        Tversky(alpha=-0.1)
    with pytest.raises(ValueError, match="`beta` must be a number >= 0"):
        Tversky(beta=-0.1)

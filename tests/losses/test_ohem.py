import math

import numpy as np
import pytest

from keras_dense.losses import CrossEntropy, OhemCrossEntropy
from keras_dense.testing.expect import value_and_gradient

from . import reference


def pixel_losses(labels, logits):
    y, x, _ = reference.valid_rows(labels, logits)
    return np.sort(-reference.log_softmax(x)[np.arange(len(y)), y])[::-1]


@pytest.mark.everywhere
@pytest.mark.parametrize("mode", ["multiclass", "binary", "multilabel"])
@pytest.mark.parametrize("ratio", [0.01, 0.25, 0.5, 1.0])
def test_ratio_keeps_a_share_of_the_valid_pixels(mode, ratio):
    labels, logits = reference.batch(mode)
    each = pixel_losses(labels, logits)
    expected = each[: math.ceil(ratio * len(each))].mean()
    loss = OhemCrossEntropy(mode, ratio=ratio)
    assert float(loss(labels, logits)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.7, 1.0])
@pytest.mark.parametrize("min_pixels", [0, 5, 1000])
def test_threshold_and_least_number(threshold, min_pixels):
    labels, logits = reference.batch()
    each = pixel_losses(labels, logits)
    hard = (each > -np.log(max(threshold, 1e-300))).sum()
    number = min(max(hard, 2 * min_pixels), len(each))
    expected = each[:number].mean() if number else 0.0
    loss = OhemCrossEntropy(threshold=threshold, min_pixels=min_pixels)
    assert float(loss(labels, logits)) == pytest.approx(expected, rel=1e-5)


def test_all_pixels_is_cross_entropy_with_every_weight():
    labels, logits = reference.batch()
    weight = np.random.default_rng(1).random(labels.shape) + 0.1
    cost = [1.0, 2.0, 0.5, 4.0]
    ours = OhemCrossEntropy(class_weight=cost, ratio=1.0)(labels, logits, weight)
    theirs = CrossEntropy(class_weight=cost)(labels, logits, weight)
    assert float(ours) == pytest.approx(float(theirs), rel=1e-6)


def test_only_the_hard_pixels_get_a_gradient():
    labels, logits = reference.batch(void=False)
    _, gradient = value_and_gradient(OhemCrossEntropy(ratio=0.2), labels, logits)
    touched = gradient.any(-1).sum()
    assert touched == math.ceil(0.2 * labels.size)


def test_bad_options():
    with pytest.raises(ValueError, match="`threshold` must be a number from 0 to 1"):
        OhemCrossEntropy(threshold=1.5)
    with pytest.raises(ValueError, match="`min_pixels` must be an integer >= 0"):
        OhemCrossEntropy(min_pixels=-1)
    with pytest.raises(ValueError, match="`ratio` must be a number > 0 and <= 1"):
        OhemCrossEntropy(ratio=0)

"""Disagreement of neighbors of similar color, against loops in NumPy."""

import numpy as np
import pytest

from keras_dense.losses import PairwiseAffinity
from keras_dense.testing import check_loss
from keras_dense.testing.expect import value_and_gradient

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (2, 5, 7, 3)).astype("float32")
LOGITS = RNG.normal(size=(2, 5, 7, 3)).astype("float32")


def reference(image, logits, weight, window, dilation, sigma, color):
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    total = count = 0.0
    batch, height, width = image.shape[:3]
    reach = range(-window, window + 1)
    for b in range(batch):
        for y in range(height):
            for x in range(width):
                for dy in reach:
                    for dx in reach:
                        v, u = y + dy * dilation, x + dx * dilation
                        if (dy, dx) == (0, 0) or not (0 <= v < height and 0 <= u < width):
                            continue
                        near = ((dy * dilation) ** 2 + (dx * dilation) ** 2) / (2 * sigma**2)
                        colors = ((image[b, y, x] - image[b, v, u]) ** 2).sum() / (2 * color**2)
                        a = weight[b, y, x] * weight[b, v, u] * np.exp(-near - colors)
                        total += a * (1 - (p[b, y, x] * p[b, v, u]).sum())
                        count += a
    return total / count


@pytest.mark.everywhere
@pytest.mark.parametrize("window, dilation", [(1, 1), (2, 1), (2, 3)])
def test_all_pairs(window, dilation):
    weight = RNG.choice([0.0, 1.0, 2.0], (2, 5, 7))
    settings = {"window": window, "dilation": dilation, "sigma": 2.0, "color": 60.0}
    found = float(PairwiseAffinity(**settings)(IMAGE, LOGITS, weight))
    assert found == pytest.approx(reference(IMAGE, LOGITS, weight, **settings), rel=1e-4)


def test_contract():
    check_loss(PairwiseAffinity(color=100.0), IMAGE, LOGITS, void=np.nan)


def test_gradient_stays_within_an_object():
    """Only the pixel whose label differs from others of its color is drawn to theirs."""
    image = np.zeros((1, 4, 8, 3), "float32")
    image[:, :, 4:] = 255
    logits = np.zeros((1, 4, 8, 2), "float32")
    logits[:, :, :4, 0] = logits[:, :, 4:, 1] = 6
    value, _ = value_and_gradient(PairwiseAffinity(), image, logits)
    logits[0, 1, 1] = [0, 1]
    worse, gradient = value_and_gradient(PairwiseAffinity(), image, logits)
    assert value < 0.02 < worse
    assert gradient[0, 1, 1, 0] < 0 < gradient[0, 1, 1, 1]
    assert np.abs(gradient[:, :, 4:]).max() < 0.1 * np.abs(gradient).max()


def test_one_channel_is_two_classes():
    logits = LOGITS[..., :1]
    two = np.concatenate([np.zeros_like(logits), logits], -1)
    assert float(PairwiseAffinity()(IMAGE, logits)) == pytest.approx(
        float(PairwiseAffinity()(IMAGE, two)), rel=1e-6
    )


def test_bad_arguments():
    for settings, message in (
        ({"window": 0}, "`window` must be an integer >= 1"),
        ({"dilation": 0}, "`dilation` must be an integer >= 1"),
        ({"sigma": 0}, "`sigma` must be a number > 0"),
        ({"color": -1}, "`color` must be a number > 0"),
        ({"reduction": "sum"}, "`reduction` must be a mean for PairwiseAffinity"),
    ):
        with pytest.raises(ValueError, match=message):
            PairwiseAffinity(**settings)
    with pytest.raises(ValueError, match="`y_true` must be"):
        PairwiseAffinity()(IMAGE[:, 1:], LOGITS)

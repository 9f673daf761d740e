"""The band around borders, compared with all pairs of pixels."""

import numpy as np
import pytest

from keras_dense.datasets import trimap

pytestmark = pytest.mark.once


@pytest.mark.parametrize("width", [1, 2.5, 4])
def test_the_band_contains_the_pixels_near_a_border(width):
    rng = np.random.default_rng(0)
    labels = np.kron(rng.integers(0, 3, (3, 4)), np.ones((7, 9), int))
    labels[4:8, 10:13] = 255
    band = trimap(labels, width)
    height, size = labels.shape
    pixels = [(r, c) for r in range(height) for c in range(size)]

    def border(r, c):
        around = labels[max(r - 1, 0) : r + 2, max(c - 1, 0) : c + 2].ravel()
        return labels[r, c] != 255 and any(x not in (labels[r, c], 255) for x in around)

    borders = np.array([p for p in pixels if border(*p)])
    for r, c in pixels:
        near = np.hypot(*(borders - (r, c)).T).min() < width
        assert band[r, c] == (near and labels[r, c] != 255), (r, c)


def test_no_border_no_band():
    assert not trimap(np.zeros((4, 5), int), 3).any()
    assert not trimap(np.array([[0, 255, 1]]), 3).any()
    assert trimap(np.array([[0, 255, 1]]), 1, ignore_class=None).all()


def test_bad_input():
    with pytest.raises(ValueError, match="`labels` must be ints"):
        trimap(np.zeros((4, 5)), 3)
    with pytest.raises(ValueError, match="`width` must be a number > 0. Received: width=0"):
        trimap(np.zeros((4, 5), int), 0)

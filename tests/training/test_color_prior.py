import numpy as np
import pytest

from keras_dense.ops import ab_bins
from keras_dense.ops.color import to_lab
from keras_dense.training import estimate_ab_prior


def encoded(ab, neighbors=5, sigma=5.0):
    """The soft encoding of colors, summed, with all bins."""
    total = np.zeros(313)
    for color in ab.reshape(-1, 2):
        squared = ((ab_bins() - color) ** 2).sum(-1)
        near = np.argsort(squared)[:neighbors]
        z = np.exp(-squared[near] / (2 * sigma**2))
        total[near] += z / z.sum()
    return total


def images(*sizes):
    random = np.random.default_rng(0)
    return [{"image": random.integers(0, 256, (*size, 3), dtype="uint8")} for size in sizes]


@pytest.mark.parametrize("neighbors", [5, pytest.param(10, marks=pytest.mark.once)])
def test_against_numpy(neighbors):
    samples = images((8, 12), (4, 4))
    total = sum(
        encoded(
            to_lab(sample["image"].astype(float))[..., 1:]
            .reshape(sample["image"].shape[0] // 4, 4, -1, 4, 2)
            .mean((1, 3)),
            neighbors,
        )
        for sample in samples
    )
    prior = estimate_ab_prior(samples, neighbors=neighbors)
    np.testing.assert_allclose(prior, total / 7, atol=1e-5)  # seven blocks
    assert prior.sum() == pytest.approx(1) and (prior == 0).sum() > 200


@pytest.mark.once
def test_unknown_pixels_and_nearest():
    (sample,) = images((5, 6))
    image = sample["image"].astype("float32")
    expected = encoded(to_lab(image[::2, ::2].astype(float))[1:, :, 1:]) / 6
    image[:2] = np.nan
    prior = estimate_ab_prior([{"photo": image}], stride=2, subsample="nearest", key="photo")
    np.testing.assert_allclose(prior, expected, atol=1e-5)


@pytest.mark.once
def test_no_pixel():
    with pytest.raises(ValueError, match="no known pixel"):
        estimate_ab_prior([])
    with pytest.raises(ValueError, match="no known pixel"):
        estimate_ab_prior([{"image": np.full((4, 4, 3), np.nan)}])

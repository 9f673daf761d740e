import hashlib

import numpy as np
import pytest
from keras import ops

from keras_dense.ops.ab_bins import ab_bins, annealed_mean, nearest_bins, soft_encode
from keras_dense.ops.color import to_lab


def array(x):
    return ops.convert_to_numpy(x)


@pytest.mark.once
def test_the_published_313():
    bins = ab_bins()
    assert bins.shape == (313, 2)
    digest = hashlib.sha256(bins.astype("<i8").tobytes()).hexdigest()
    assert digest == "2a39983ed60d5b52b717842d56d5f766982289e6d5a609582155f437cecc1045"
    ends = {
        a: (bins[bins[:, 0] == a, 1].min(), bins[bins[:, 0] == a, 1].max()) for a in (-90, 0, 100)
    }
    assert ends == {-90: (50, 90), 0: (-70, 100), 100: (-90, 0)}


@pytest.mark.once
@pytest.mark.parametrize("grid", [5, 7, 10, 20, 33])
def test_every_grid_surrounds_every_color(grid):
    """A color of sRGB, and a mixture of two, lies in a square whose four corners are bins."""
    random = np.random.default_rng(grid)
    ab = to_lab(random.integers(0, 256, (20000, 3)).astype(float))[:, 1:]
    ab = np.concatenate([ab, (ab + ab[::-1]) / 2])
    known = set(map(tuple, ab_bins(grid).tolist()))
    for corner in ((0, 0), (0, 1), (1, 0), (1, 1)):
        places = np.unique((np.floor(ab / grid).astype(int) + corner) * grid, axis=0)
        assert set(map(tuple, places.tolist())) <= known


@pytest.mark.once
@pytest.mark.parametrize("grid", [10, 20, 33])
def test_bins_are_the_corners_of_squares_in_the_hull(grid):
    """A square counts where a circle fits into what it shares with the hull: a linear program."""
    spatial = pytest.importorskip("scipy.spatial", reason="compares with SciPy's convex hull")
    linprog = pytest.importorskip("scipy.optimize").linprog
    edge = np.linspace(0, 255, 33)
    cube = to_lab(np.stack(np.meshgrid(edge, edge, edge), -1)).reshape(-1, 3)
    sides = spatial.ConvexHull(cube[:, 1:]).equations
    sides = np.concatenate([sides, [[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]]])
    rows = np.concatenate([sides[:, :2], np.ones((len(sides), 1))], axis=1)
    corners, reach = set(), 120 // grid + 1
    for a, b in np.ndindex(2 * reach, 2 * reach):
        a, b = a - reach, b - reach
        sides[-4:, 2] = -(a + 1) * grid, a * grid, -(b + 1) * grid, b * grid
        solved = linprog([0, 0, -1], rows, -sides[:, 2], bounds=[(None, None)] * 3)
        if solved.x[2] > 1e-6:
            corners |= {((a + i) * grid, (b + j) * grid) for i, j in np.ndindex(2, 2)}
    assert set(map(tuple, ab_bins(grid).tolist())) == corners


@pytest.mark.parametrize(
    "grid, neighbors",
    [
        (10, 5),
        *(pytest.param(*c, marks=pytest.mark.once) for c in ((10, 1), (10, 10), (20, 5), (7, 3))),
    ],
)
def test_nearest_bins_are_exact(grid, neighbors):
    ab = np.random.default_rng(0).uniform(-110, 110, (3, 40, 50, 2)).astype("float32")
    index, squared = map(array, nearest_bins(ab, grid, neighbors))
    distances = ((ab[..., None, :].astype(float) - ab_bins(grid)) ** 2).sum(-1)
    nearest = np.sort(distances, axis=-1)[..., :neighbors]
    np.testing.assert_allclose(squared, nearest, rtol=1e-5, atol=1e-3)
    found = np.take_along_axis(distances, index, axis=-1)
    np.testing.assert_allclose(found, nearest, rtol=1e-5, atol=1e-3)
    assert index.dtype == "int32" and (np.diff(np.sort(index, -1), axis=-1) > 0).all()


@pytest.mark.parametrize(
    "neighbors, sigma",
    [(5, 5.0), *(pytest.param(*c, marks=pytest.mark.once) for c in ((10, 5.0), (5, 12.0)))],
)
def test_soft_encoding(neighbors, sigma):
    ab = to_lab(np.random.default_rng(1).uniform(0, 255, (2, 6, 7, 3)))[..., 1:]
    index, weight = map(array, soft_encode(ab, 10, neighbors=neighbors, sigma=sigma))
    distances = ((ab[..., None, :] - ab_bins()) ** 2).sum(-1)
    order = np.argsort(distances, axis=-1)[..., :neighbors]
    expected = np.exp(-np.take_along_axis(distances, order, -1) / (2 * sigma**2))
    expected /= expected.sum(-1, keepdims=True)
    np.testing.assert_array_equal(index, order)
    np.testing.assert_allclose(weight, expected, rtol=1e-4, atol=1e-6)


def test_beyond_the_plane():
    index, _ = nearest_bins(np.array([[500.0, -20.0], [-500.0, 70.0]]), neighbors=1)
    assert ab_bins()[array(index)[:, 0]].tolist() == [[100, -20], [-90, 70]]


@pytest.mark.parametrize("temperature", [1.0, 0.38, 0.05])
def test_annealed_mean(temperature):
    logits = 3 * np.random.default_rng(0).normal(size=(2, 3, 4, 313))
    power = np.exp(logits - logits.max(-1, keepdims=True)) ** (1 / temperature)
    expected = (power / power.sum(-1, keepdims=True)) @ ab_bins()
    actual = array(annealed_mean(logits, temperature=temperature))
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=2e-4)
    best = ab_bins()[logits.argmax(-1)]
    np.testing.assert_allclose(array(annealed_mean(logits, temperature=1e-3)), best, atol=1)


def test_bad_input():
    for grid in (0, 56, 10.0, True, "10"):
        with pytest.raises(ValueError, match="`grid` must be an integer from 1 to 55. Received"):
            ab_bins(grid)
    for neighbors in (0, 314, 2.5, True):
        with pytest.raises(ValueError, match="`neighbors` must be .* 313. Received"):
            nearest_bins(np.zeros(2), neighbors=neighbors)
    with pytest.raises(ValueError, match="read-only"):
        ab_bins()[0] = 0

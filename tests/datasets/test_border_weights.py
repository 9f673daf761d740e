"""U-Net's weight map, compared with a naive version: one distance map for every object."""

import sys

import keras
import numpy as np
import pytest

import keras_dense as kd
from keras_dense.datasets import border_weights, separate_instances

ndimage = pytest.importorskip("scipy.ndimage")


def cells(count, size, seed=0):
    """Round objects under arbitrary numbers, some touching, some cut by the border."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size[0], : size[1]]
    drawn = np.zeros(size, "uint16")
    for name in rng.choice(np.arange(1, 5000), count, replace=False):
        (y, x), radius = rng.uniform((0, 0), size), rng.uniform(2, 7)
        drawn[np.hypot(rows - y, columns - x) < radius] = name
    return drawn


def naive(instances, w0, sigma, background=1.0, objects=1.0):
    names = [name for name in np.unique(instances) if name]
    distances = [ndimage.distance_transform_edt(instances != name) for name in names]
    first, second, *_ = np.sort([*distances, *2 * [np.full(instances.shape, np.inf)]], axis=0)
    border = w0 * np.exp(-((first + second) ** 2) / (2 * sigma**2)) * (instances == 0)
    return np.where(instances == 0, background, objects) + border


@pytest.mark.parametrize("count", [0, 1, 2, 40])
@pytest.mark.parametrize("w0, sigma", [(10.0, 5.0), (3, 1.5), (0, 2)])
def test_against_the_naive_form(count, w0, sigma):
    instances = cells(count, (60, 71))
    got = border_weights(instances, w0=w0, sigma=sigma, class_weight=(0.5, 2))
    np.testing.assert_allclose(got, naive(instances, w0, sigma, 0.5, 2), atol=3e-6)
    assert got.dtype == np.float32


def test_hundreds_of_objects():
    instances = separate_instances(cells(400, (200, 240)))
    got = border_weights(instances)
    np.testing.assert_allclose(got, naive(instances, 10, 5), atol=3e-6)
    assert 5 < got.max() <= 11 and (got[instances > 0] == 1).all()


def test_no_background_at_all():
    assert (border_weights(np.array([[1, 1], [2, 2]])) == 1).all()


def test_lines_between_objects():
    instances = cells(150, (80, 90))
    apart = separate_instances(instances)
    kept = apart > 0
    np.testing.assert_array_equal(apart[kept], instances[kept])
    # With corners counted as neighbors, no object touches another.
    for name in np.unique(apart)[1:]:
        grown = ndimage.binary_dilation(apart == name, np.ones((3, 3)))
        assert set(np.unique(apart[grown])) <= {0, name}
    inside = ndimage.minimum_filter(instances, 3) == ndimage.maximum_filter(instances, 3)
    np.testing.assert_array_equal(apart[inside], instances[inside])


def test_weights_reach_the_loss():
    """A pixel of weight 3 pulls three times as much; the loader hands the map on to `fit`."""

    class Samples:
        def __len__(self):
            return 2

        def __getitem__(self, i):
            weight = np.zeros((8, 8), "float32")
            weight[:, :4] = 1 + 2 * i
            labels = np.full((8, 8), i, "uint8")
            return {"image": np.zeros((8, 8, 3), "uint8"), "segmentation": labels, "weight": weight}

    heads = kd.heads.Segmentation(2)
    loader = kd.datasets.Loader(Samples(), heads, 2)
    images, targets, weights = loader[0]
    assert weights.shape == targets.shape == (2, 8, 8)
    image = keras.Input((None, None, 3))
    model = keras.Model(image, keras.layers.Conv2D(2, 1, kernel_initializer="zeros")(image))
    model.compile(keras.optimizers.SGD(1.0), loss=heads.loss)
    model.fit(loader, epochs=1, verbose=0, shuffle=False)
    # Cross-entropy at equal scores: the gradient of class 1 is (3 - 1) / 2 of the mean weight.
    background, cell = model.get_weights()[1]
    assert cell == pytest.approx(-background) and cell > 0
    assert cell == pytest.approx((3 - 1) / (2 * (3 + 1)), rel=1e-4)


def test_bad_input():
    cells = np.array([[0, 1]])
    with pytest.raises(TypeError, match="`instances` must be ints. Received: dtype=float64"):
        border_weights(cells * 1.0)
    for bad in (cells[0], np.zeros((0, 3), int), -cells):
        with pytest.raises(ValueError, match="`instances` must have shape .height, width."):
            border_weights(bad)
        with pytest.raises(ValueError, match="`instances` must have shape .height, width."):
            separate_instances(bad)
    with pytest.raises(ValueError, match="`w0` must be a number >= 0. Received: w0=-1"):
        border_weights(cells, w0=-1)
    with pytest.raises(ValueError, match="`sigma` must be a number > 0"):
        border_weights(cells, sigma=0)
    for weight in (2, (1, 2, 3), (1, -1)):
        with pytest.raises(ValueError, match="`class_weight` must be"):
            border_weights(cells, class_weight=weight)


def test_without_scipy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.ndimage", None)
    with pytest.raises(ImportError, match=r"pip install keras_dense\[scipy\]"):
        border_weights(np.array([[0, 1]]))

"""The lattice against one of dictionaries and loops in NumPy float64."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_dense.ops.gaussian import exact_gaussian
from keras_dense.ops.permutohedral import lattice_filter, permutohedral_lattice

BACKEND = keras.backend.backend()


def to_numpy(x):
    return ops.convert_to_numpy(x).astype("float64")


def reference(features, values):
    """Adams et al., section 3, corner by corner."""
    points, d = features.shape
    canonical = [[r if k <= d - r else r - d - 1 for k in range(d + 1)] for r in range(d + 1)]
    basis = np.array([[1.0] * (i + 1) + [-(i + 1)] + [0.0] * (d - i - 1) for i in range(d)])
    basis *= np.sqrt(2 / 3) * (d + 1) / np.sqrt([[(i + 1) * (i + 2)] for i in range(d)])
    sums, reads = {}, []
    for point, elevated in enumerate(features @ basis):
        zero = (np.round(elevated / (d + 1)) * (d + 1)).astype(int)
        order = np.argsort(np.argsort(-(elevated - zero), kind="stable"), kind="stable")
        order = order + zero.sum() // (d + 1)
        zero, order = zero + (d + 1) * (order < 0), order + (d + 1) * (order < 0)
        zero, order = zero - (d + 1) * (order > d), order - (d + 1) * (order > d)
        position = np.sort((elevated - zero) / (d + 1))[::-1]
        weights = [1 + position[-1] - position[0], *(position[:-1] - position[1:])[::-1]]
        for r, weight in enumerate(weights):
            key = tuple(zero[i] + canonical[r][order[i]] for i in range(d + 1))
            sums[key] = sums.get(key, 0) + weight * values[point]
            reads.append((point, key, weight))
    for j in range(d + 1):
        step = np.array([-d if i == j else 1 for i in range(d + 1)])
        sums = {
            key: x + 0.5 * sum(sums.get(tuple(key + s * step), 0) for s in (1, -1))
            for key, x in sums.items()
        }
    out = np.zeros(values.shape)
    for point, key, weight in reads:
        out[point] += weight * sums[key]
    return out / (1 + 2.0**-d), len(sums)


def filtered(features, values):
    lattice = permutohedral_lattice(features)
    return lattice_filter(values, lattice), lattice.used, lattice.fits


def cloud(points, d, spread, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(points, d)) * spread, rng.normal(size=(points, 3))


@pytest.mark.parametrize(
    "d, spread",
    [
        (2, 20),
        (5, 1),
        *(
            pytest.param(*c, marks=pytest.mark.once)
            for c in ((1, 5), (2, 1), (3, 3), (5, 30), (6, 2))
        ),
    ],
)
def test_equals_the_lattice_of_dictionaries(d, spread, compiled):
    features, values = cloud(150, d, spread)
    wanted, corners = reference(features.astype("float32").astype("float64"), values)
    found, count, fits = compiled(filtered)(
        features[None].astype("float32"), values.astype("float32")
    )
    assert int(count) == corners and bool(fits)
    found = to_numpy(found)
    np.testing.assert_allclose(found, wanted, atol=2e-4 * np.abs(wanted).max())


def test_close_to_the_gaussian(compiled):
    """Up to a factor: 500 points in three dimensions, their weighted means."""
    features, values = cloud(500, 3, 1.5)
    features = features[None].astype("float32")

    def mean(apply):
        x = np.concatenate([values, np.ones((len(values), 1))], axis=-1).astype("float32")
        y = to_numpy(apply(x))
        return y[:, :-1] / y[:, -1:]

    found = mean(lambda x: compiled(filtered)(features, x)[0])
    wanted = mean(lambda x: exact_gaussian(x[None], features)[0])
    assert np.abs(found - wanted).mean() < 0.15 * wanted.std()
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.98


def test_every_image_has_its_own_lattice(compiled):
    """Equal features in other images are other corners."""
    several = [cloud(90, 5, 4, seed) for seed in (1, 1, 2)]
    features = np.stack([f for f, _ in several]).astype("float32")
    values = np.stack([v * (n + 1) for n, (_, v) in enumerate(several)]).astype("float32")
    run = compiled(filtered)
    found = to_numpy(run(features, values.reshape(-1, 3))[0]).reshape(values.shape)
    for f, v, y in zip(features, values, found, strict=True):
        np.testing.assert_allclose(y, to_numpy(run(f[None], v)[0]), rtol=1e-5, atol=1e-5)


def test_gradient_is_the_adjoint(gradients):
    """⟨A x, w⟩ = ⟨x, Aᵀ w⟩; on a lattice with holes A is not symmetric."""
    features, values = cloud(120, 5, 3)
    features = features[None].astype("float32")
    weight = np.random.default_rng(3).normal(size=values.shape)

    def function(x):
        return lattice_filter(x, permutohedral_lattice(features))

    (found,) = gradients(function, [values], weight)
    for seed in range(3):
        x = np.random.default_rng(seed).normal(size=values.shape)
        y, _ = reference(features[0].astype("float64"), x)
        np.testing.assert_allclose((found * x).sum(), (y * weight).sum(), rtol=1e-4, atol=1e-3)
    y, _ = reference(features[0].astype("float64"), weight)
    assert np.abs(found - y).max() > 1e-2


@pytest.mark.skipif(BACKEND == "torch", reason="torch knows the size when it runs")
def test_too_many_corners_for_a_compiled_function():
    features, values = cloud(64, 5, 40)
    features, values = features[None].astype("float32"), values.astype("float32")

    def run(x, capacity):
        return lattice_filter(x, permutohedral_lattice(features, capacity))

    if BACKEND == "jax":
        import jax

        compiled = jax.jit(run, static_argnums=1)
    else:
        import tensorflow as tf

        compiled = tf.function(run, jit_compile=True)
    assert np.isnan(to_numpy(compiled(values, 1.5))).all()
    wanted, corners = reference(features[0].astype("float64"), values)
    assert corners > 1.5 * len(values)
    for capacity in (None, 6):
        found = to_numpy(compiled(values, capacity))
        np.testing.assert_allclose(found, wanted, atol=2e-4 * np.abs(wanted).max())


def test_sizes_that_are_not_known_beforehand():
    """In a graph of TensorFlow; elsewhere other sizes are other functions."""
    if BACKEND != "tensorflow":
        pytest.skip("sizes are always known here")
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((None, None, 5)), tf.TensorSpec((None, 3))])
    def run(features, values):
        return lattice_filter(values, permutohedral_lattice(features))

    for points in (7, 50):
        features, values = cloud(points, 5, 3)
        features, values = features.astype("float32"), values.astype("float32")
        wanted, _ = reference(features.astype("float64"), values)
        np.testing.assert_allclose(to_numpy(run(features[None], values)), wanted, atol=1e-4)


@pytest.mark.once
def test_too_many_dimensions():
    with pytest.raises(ValueError, match="`features` must have at most 6 dimensions. Received: 7"):
        permutohedral_lattice(np.zeros((1, 4, 7), "float32"))

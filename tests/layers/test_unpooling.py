"""Pooling with indices and unpooling, compared with PyTorch."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_dense.layers import MaxPoolWithArgmax2D, MaxUnpool2D
from keras_dense.ops.unpooling import max_pool_with_argmax, max_unpool
from keras_dense.testing import check_layer

BACKEND = keras.backend.backend()
to_numpy = ops.convert_to_numpy


def configurations(count, seed):
    """Windows, strides, padding and sizes, among them overlapping, sparse and uneven ones."""
    rng, found = np.random.default_rng(seed), []
    while len(found) < count:
        size, strides = rng.integers(1, 5, 2), rng.integers(1, 5, 2)
        if len(found) % 3 == 0:
            strides = size  # as most networks have it
        pads, shape = rng.integers(0, size // 2 + 1), rng.integers(1, 12, 2)
        if (shape + 2 * pads >= size).all():
            found.append([tuple(map(int, x)) for x in (size, strides, pads, shape)])
    return found


def both(pool, unpool):
    """A function that pools a map and unpools other values, with the gradients of both.

    `(x, value, down, up)` → values, indices, unpooled values, and the gradients of
    `sum(down * values)` for x and of `sum(up * unpooled)` for the values.
    """

    def run(x, value, down, up):
        values, indices = pool(x)
        unpooled = unpool(value, indices, x)
        total = ops.sum(down * values) + ops.sum(up * unpooled)
        return total, (values, indices, unpooled)

    if BACKEND == "jax":
        import jax

        compiled = jax.jit(jax.value_and_grad(run, argnums=(0, 1), has_aux=True))

        def with_gradients(*arrays):
            (_, results), gradients = compiled(*arrays)
            return *results, *gradients

    elif BACKEND == "tensorflow":
        import tensorflow as tf

        def with_gradients(*arrays):
            arrays = [tf.constant(a) for a in arrays]
            with tf.GradientTape() as tape:
                tape.watch(arrays[:2])
                total, results = run(*arrays)
            return *results, *tape.gradient(total, arrays[:2])

    else:
        import torch

        def with_gradients(*arrays):
            arrays = [torch.tensor(a) for a in arrays]
            x, value = (a.requires_grad_() for a in arrays[:2])
            total, results = run(*arrays)
            total.backward()
            return *results, x.grad, value.grad

    return lambda *arrays: [to_numpy(y) for y in with_gradients(*arrays)]


def of_torch(torch, size, strides, pads, x, value, down, up):
    """The same from PyTorch, except the gradient of unpooling, which is wrong there.

    It goes there to all values that name a cell; the true one to the last, that of the cell.
    """
    t = torch.tensor(x, requires_grad=True)
    values, indices = torch.nn.functional.max_pool2d(t, size, strides, pads, return_indices=True)
    (values * torch.tensor(down)).sum().backward()
    unpooled = torch.nn.functional.max_unpool2d(
        torch.tensor(value), indices, size, strides, pads, output_size=x.shape[2:]
    )
    indices = indices.numpy()
    gradient = np.zeros_like(value)
    for plane in np.ndindex(indices.shape[:2]):
        last = {cell: n for n, cell in enumerate(indices[plane].ravel().tolist())}
        cells, numbers = list(last), list(last.values())
        gradient[plane].reshape(-1)[numbers] = up[plane].reshape(-1)[cells]
    return values.detach().numpy(), indices, unpooled.numpy(), t.grad.numpy(), gradient


@pytest.mark.parametrize(
    "count, seed",
    [
        (6, 4),
        pytest.param(25, 0, marks=pytest.mark.once),
        *(pytest.param(25, n, marks=pytest.mark.exhaustive) for n in (1, 2, 3)),
    ],
)
def test_random_configurations_against_torch(count, seed):
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    for n, (size, strides, pads, shape) in enumerate(configurations(count, seed)):
        last = n % 4 > 0
        settings = {
            "pool_size": size,
            "strides": strides,
            "padding": tuple((p, p) for p in pads),
            "data_format": "channels_last" if last else "channels_first",
        }
        function = both(MaxPoolWithArgmax2D(**settings), MaxUnpool2D(**settings))
        rng = np.random.default_rng(n)
        for ties in (False, True):
            x, up = rng.normal(size=(2, 2, 3, *shape)).astype("float32")
            x = np.round(x) if ties else x
            pooled = [
                (m + 2 * p - k) // s + 1
                for m, k, s, p in zip(shape, size, strides, pads, strict=True)
            ]
            value, down = rng.normal(size=(2, 2, 3, *pooled)).astype("float32")
            wanted = of_torch(torch, size, strides, pads, x, value, down, up)
            arrays = (x, value, down, up)
            if last:
                got = function(*(np.moveaxis(a, 1, -1) for a in arrays))
                got = [np.moveaxis(a, -1, 1) for a in got]
            else:
                got = function(*arrays)
            assert got[1].dtype == np.int32
            for g, w in zip(got[:3], wanted[:3], strict=True):
                np.testing.assert_array_equal(g, w)
            for g, w in zip(got[3:], wanted[3:], strict=True):
                np.testing.assert_allclose(g, w, atol=1e-5)


def test_a_cell_that_several_windows_share():
    """The last value is written and has the gradient; the others have none."""
    x = np.array([0.0, 0, 9, 0, 0]).reshape(1, 1, 5, 1).astype("float32")
    settings = {"pool_size": (1, 3), "strides": 1}
    function = both(MaxPoolWithArgmax2D(**settings), MaxUnpool2D(**settings))
    value, up = np.array([1.0, 2, 3]), np.array([5.0, 6, 7, 8, 9])
    value, up = (a.reshape(1, 1, -1, 1).astype("float32") for a in (value, up))
    values, indices, unpooled, d_x, d_value = function(x, value, np.ones_like(value), up)
    assert values.ravel().tolist() == [9, 9, 9] and indices.ravel().tolist() == [2, 2, 2]
    assert unpooled.ravel().tolist() == [0, 0, 3, 0, 0]
    assert d_x.ravel().tolist() == [0, 0, 3, 0, 0] and d_value.ravel().tolist() == [0, 0, 7]


@pytest.mark.parametrize("last", [True, False])
def test_same_and_uneven_padding(last):
    """ "same" is TensorFlow's rule; the first of equal maxima counts, and padding never does."""
    x = np.full((1, 5, 7, 1), -3.0, "float32")
    x[0, 4, 6] = -1
    for padding in ("same", ((0, 1), (0, 1)), ((0, 1), (1, 0))):
        format_ = {"data_format": "channels_last" if last else "channels_first"}
        z = x if last else np.moveaxis(x, -1, 1)
        values, indices = MaxPoolWithArgmax2D(2, strides=2, padding=padding, **format_)(z)
        y = MaxUnpool2D(2, strides=2, padding=padding, **format_)(values, indices, z)
        values, indices, y = (
            to_numpy(t)[0, ..., 0] if last else to_numpy(t)[0, 0] for t in (values, indices, y)
        )
        assert values.shape == (3, 4) and values.min() == -3 and values[2, 3] == -1
        columns = [0, 1, 3, 5] if padding == ((0, 1), (1, 0)) else [0, 2, 4, 6]
        wanted = [[14 * r + c for c in columns] for r in range(3)]
        wanted[2][3] = 34  # where the largest is
        assert indices.tolist() == wanted
        assert y[4, 6] == -1 and np.count_nonzero(y) == 12


def test_without_the_size_of_the_map():
    x = np.random.default_rng(0).normal(size=(2, 6, 9, 3)).astype("float32")
    for pool, strides, padding, sizes in (
        (2, None, "valid", (6, 8)),
        (3, 2, "valid", (5, 9)),
        (2, 3, "same", (6, 9)),
        ((3, 2), (2, 1), ((1, 1), (0, 1)), (5, 9)),
    ):
        values, indices = MaxPoolWithArgmax2D(pool, strides=strides, padding=padding)(
            x[:, : sizes[0], : sizes[1]]
        )
        y = MaxUnpool2D(pool, strides=strides, padding=padding)(values, indices)
        assert y.shape == (2, *sizes, 3)
        again, _ = MaxPoolWithArgmax2D(pool, strides=strides, padding=padding)(
            np.where(to_numpy(y), to_numpy(y), -9)
        )
        np.testing.assert_array_equal(to_numpy(again), to_numpy(values))


def test_infinite_and_undefined_cells():
    """As in PyTorch: NaN is the maximum; if all are minus infinity, the first one counts."""
    x = np.full((1, 3, 3, 1), -np.inf, "float32")
    settings = ((3, 3), (2, 2), ((1, 1), (1, 1)))
    values, indices = max_pool_with_argmax(x, *settings)
    assert np.isneginf(to_numpy(values)).all()
    assert to_numpy(indices).ravel().tolist() == [0, 1, 3, 4]
    x[0, 0, 0] = x[0, 1, 1] = np.nan
    values, indices = max_pool_with_argmax(x, *settings)
    assert np.isnan(to_numpy(values)).all() and (to_numpy(indices) == 4).all()


def test_ints_are_pooled_as_floats():
    values, indices = max_pool_with_argmax(
        np.arange(8).reshape(1, 2, 4, 1), (2, 2), (2, 2), ((0, 0), (0, 0))
    )
    assert to_numpy(values).ravel().tolist() == [5.0, 7.0] and "float" in str(values.dtype)
    y = max_unpool(values, indices, (2, 2), (2, 2), ((0, 0), (0, 0)), 2, 4)
    assert to_numpy(y).ravel().tolist() == [0, 0, 0, 0, 0, 5, 0, 7]


# In models


def network(pool=2, strides=None, padding="valid"):
    """A small SegNet: two poolings, whose indices lead back up."""
    image = keras.Input((None, None, 3))
    fine = layers.Conv2D(4, 3, padding="same")(image)
    settings = {"pool_size": pool, "strides": strides, "padding": padding}
    x, first = MaxPoolWithArgmax2D(**settings)(fine)
    coarse = layers.Conv2D(4, 3, padding="same")(x)
    x, second = MaxPoolWithArgmax2D(**settings)(coarse)
    x = layers.Conv2D(4, 3, padding="same")(x)
    x = MaxUnpool2D(**settings)(x, second, coarse)
    x = layers.Conv2D(4, 3, padding="same")(x)
    x = MaxUnpool2D(**settings)(x, first, like=fine)
    return keras.Model(image, layers.Conv2D(2, 3, padding="same")(x))


SETTINGS = [
    (2,),
    pytest.param((3, 2, ((1, 1), (1, 1))), marks=pytest.mark.exhaustive),
    pytest.param(((2, 3), 2, "same"), marks=pytest.mark.exhaustive),
]


def images(*size, seed=0):
    return np.random.default_rng(seed).normal(size=(2, *size, 3)).astype("float32")


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_in_fit(policy):
    """Every weight moves, also those before the poolings; indices stay ints."""
    keras.config.set_dtype_policy(policy)
    model = network()
    model.compile("sgd", "mse")
    before = model.get_weights()
    model.fit(images(9, 12), np.ones((2, 9, 12, 2)), epochs=1, verbose=0)
    for new, old in zip(model.get_weights(), before, strict=True):
        assert np.isfinite(new).all() and np.any(new != old)
    dtypes = {t.dtype for x in model.layers for t in keras.tree.flatten(x.output)}
    assert "int32" in dtypes and model.predict(images(11, 7), verbose=0).shape == (2, 11, 7, 2)


def test_saved_and_loaded(tmp_path):
    model = network(3, 2, ((1, 1), (1, 1)))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for size in ((9, 12), (8, 5)):
        np.testing.assert_array_equal(
            again.predict(images(*size), verbose=0), model.predict(images(*size), verbose=0)
        )


@pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow exports")
@pytest.mark.parametrize("settings", SETTINGS)
def test_export_with_free_sizes(settings, tmp_path):
    import tensorflow as tf

    model = network(*settings)
    model.export(tmp_path / "model", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "model")
    for size in ((9, 12), (8, 5)):
        wanted = model.predict(images(*size), verbose=0)
        np.testing.assert_allclose(loaded.serve(images(*size)).numpy(), wanted, atol=1e-5)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow exports")
@pytest.mark.parametrize("settings", SETTINGS)
def test_onnx_with_free_sizes(settings, tmp_path):
    for needed in ("tf2onnx", "onnxruntime"):
        runtime = pytest.importorskip(needed, reason=f"needs {needed}, which is not installed")
    model = network(*settings)
    model(images(9, 12))
    path = str(tmp_path / "model.onnx")
    model.export(path, format="onnx", verbose=False)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    for size in ((9, 12), (8, 5)):
        (y,) = session.run(None, {name: images(*size)})
        np.testing.assert_allclose(y, model.predict(images(*size), verbose=0), atol=1e-5)


def test_contracts():
    for size, settings in (
        ((8, 6), {}),
        ((8, 7), {"pool_size": (3, 2), "strides": (2, 1), "padding": "same"}),
        ((9, 7), {"pool_size": 3, "strides": 2, "padding": ((1, 1), (0, 2))}),
    ):
        x = images(*size)
        pool, unpool = MaxPoolWithArgmax2D(**settings), MaxUnpool2D(**settings)
        check_layer(pool, x)
        values, indices = (to_numpy(y) for y in pool(x))
        check_layer(unpool, values, indices)
        check_layer(unpool, values, indices, x[..., :1])
    first, x = {"data_format": "channels_first"}, np.moveaxis(images(8, 6), -1, 1)
    values, indices = MaxPoolWithArgmax2D(**first)(x)
    check_layer(MaxPoolWithArgmax2D(**first), x)
    check_layer(MaxUnpool2D(**first), to_numpy(values), to_numpy(indices))


# Bad input


@pytest.mark.parametrize("kind", [MaxPoolWithArgmax2D, MaxUnpool2D])
def test_bad_windows(kind):
    for bad in (0, -2, (2, 0), 1.5, (2, 2, 2)):
        with pytest.raises(ValueError, match="`pool_size` must be an integer >= 1"):
            kind(bad)
        with pytest.raises(ValueError, match="`strides` must be an integer >= 1"):
            kind(2, strides=bad)
    with pytest.raises(ValueError, match="`padding` must be 'same', 'valid' or"):
        kind(padding="full")
    with pytest.raises(ValueError, match="`padding` must be smaller than `pool_size`.*0, 2"):
        kind(2, padding=((0, 2), (0, 0)))
    with pytest.raises(ValueError, match="`data_format` must be"):
        kind(data_format="NHWC")


@pytest.mark.once
def test_a_window_larger_than_the_map():
    x = np.zeros((1, 2, 9, 3), "float32")
    with pytest.raises(ValueError, match=r"large enough for a window of \(3, 3\) cells"):
        MaxPoolWithArgmax2D(3)(x)
    with pytest.raises(ValueError, match="large enough for a window"):
        MaxPoolWithArgmax2D(3)(keras.Input((2, None, 3)))
    assert MaxPoolWithArgmax2D(3, padding="same")(x)[0].shape == (1, 1, 3, 3)
    with pytest.raises(ValueError, match="expected ndim=4"):
        MaxPoolWithArgmax2D()(x[0])


@pytest.mark.once
def test_indices_of_another_pooling():
    x = images(9, 12)
    values, indices = MaxPoolWithArgmax2D()(x)
    other, others = MaxPoolWithArgmax2D(3)(x)
    with pytest.raises(ValueError, match="`indices` must have one index for each value of `x`"):
        MaxUnpool2D()(values, others)
    with pytest.raises(ValueError, match="`indices` must have one index"):
        MaxUnpool2D()(values, indices[..., :1])
    with pytest.raises(
        ValueError, match="`indices` must be integers.*Received: indices.dtype=float32"
    ):
        MaxUnpool2D()(values, values)
    with pytest.raises(ValueError, match=r"must have the 4×6 windows .*pool_size=\(2, 2\)"):
        MaxUnpool2D()(other, others, x)
    with pytest.raises(
        ValueError, match="must have the 9×12 windows of a map of the size of `like`"
    ):
        MaxUnpool2D(2, strides=1, padding="same")(values, indices, x)

"""Atrous convolutions against loops over the taps in NumPy, float64."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from keras_dense.layers import AtrousConv2D, AtrousDepthwiseConv2D, AtrousSeparableConv2D
from keras_dense.ops import atrous_conv, atrous_depthwise_conv
from keras_dense.testing import check_layer


def pair(value):
    return (value, value) if isinstance(value, int) else value


def padded(x, sizes, rate, strides, padding):
    pads = {"valid": ((0, 0), (0, 0))}.get(padding, padding)
    if padding == "same":  # TensorFlow's rule
        pads = []
        for n, k, r, s in zip(x.shape[1:3], sizes, rate, strides, strict=True):
            total = max((-(-n // s) - 1) * s + r * (k - 1) + 1 - n, 0)
            pads.append((total // 2, total - total // 2))
    return np.pad(x, ((0, 0), *pads, (0, 0)))


def convolved(x, kernel, rate=1, strides=1, padding="same"):
    """y[i, j, f] = Σ x[s i + r a, s j + r b, c] kernel[a, b, c, f], group by group."""
    rate, strides = pair(rate), pair(strides)
    sizes, depth, filters = kernel.shape[:2], kernel.shape[2], kernel.shape[3]
    x = padded(x, sizes, rate, strides, padding)
    height, width = (
        (n - r * (k - 1) - 1) // s + 1
        for n, k, r, s in zip(x.shape[1:3], sizes, rate, strides, strict=True)
    )
    groups = x.shape[3] // depth
    y = np.zeros((x.shape[0], height, width, groups, filters // groups))
    for a, b in itertools.product(*map(range, sizes)):
        rows = a * rate[0] + strides[0] * np.arange(height)
        columns = b * rate[1] + strides[1] * np.arange(width)
        seen = x[:, rows][:, :, columns].reshape(*y.shape[:4], depth)
        y += np.einsum("bhwgc,cgf->bhwgf", seen, kernel[a, b].reshape(depth, groups, -1))
    return y.reshape(*y.shape[:3], filters)


def depthwise(x, kernel, **arguments):
    channels, multiplier = kernel.shape[2:]
    return convolved(x, kernel.reshape(*kernel.shape[:2], 1, channels * multiplier), **arguments)


def check(function, reference, x, kernel, gradients, **arguments):
    """Values, and gradients: as both are linear in map and weights, ⟨∇, u⟩ is a value at u."""
    rng = np.random.default_rng(1)
    wanted = reference(x, kernel, **arguments)
    found = function(x.astype("float32"), kernel.astype("float32"), **arguments)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(ops.convert_to_numpy(found), wanted, atol=2e-5)
    weight = rng.normal(size=wanted.shape)
    d_x, d_kernel = gradients(lambda x, k: function(x, k, **arguments), (x, kernel), weight)
    for _ in range(4):
        u, v = rng.normal(size=x.shape), rng.normal(size=kernel.shape)
        wanted = np.sum(weight * reference(u, kernel, **arguments))
        np.testing.assert_allclose(np.sum(d_x * u), wanted, rtol=1e-4, atol=2e-3)
        wanted = np.sum(weight * reference(x, v, **arguments))
        np.testing.assert_allclose(np.sum(d_kernel * v), wanted, rtol=1e-4, atol=2e-3)


# kernel, rate, strides, padding
WINDOWS = [
    ((3, 3), 1, 1, "same"),
    ((3, 3), (12, 5), 1, "same"),  # further than the map is high
    ((3, 3), (2, 1), 1, "valid"),
    ((2, 4), 2, 1, ((0, 2), (5, 1))),
    ((3, 3), 1, 2, "same"),
    ((3, 3), 2, 2, "same"),  # every second cell is all that is read
    ((3, 3), 4, 2, ((3, 4), (0, 1))),
    ((3, 3), (2, 3), (3, 1), "same"),
]
# The same paths through the code, other numbers.
MORE = [
    ((3, 3), 2, 1, "same"),
    ((2, 4), (3, 2), 1, "same"),  # even: one cell further to the bottom and the right
    ((3, 3), 4, 1, ((1, 7), (8, 0))),
    ((3, 3), 2, 1, ((2, 2), (2, 2))),  # "same", said in cells
    ((3, 2), 3, 2, "same"),
    ((3, 3), (1, 2), (2, 1), "valid"),
    ((1, 1), 6, 1, "same"),
    ((1, 3), 6, 3, "same"),
    ((1, 1), 1, 2, "same"),
]
WINDOWS += [pytest.param(window, marks=pytest.mark.once) for window in MORE]


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_convolution(window, groups, gradients):
    size, rate, strides, padding = window
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, 9, 12, 4)), rng.normal(size=(*size, 4 // groups, 8))
    check(atrous_conv, convolved, x, kernel, gradients, rate=rate, strides=strides, padding=padding)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("multiplier", [1, 2])
def test_depthwise(window, multiplier, gradients):
    size, rate, strides, padding = window
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, 9, 12, 3)), rng.normal(size=(*size, 3, multiplier))
    arguments = {"rate": rate, "strides": strides, "padding": padding}
    check(atrous_depthwise_conv, depthwise, x, kernel, gradients, **arguments)


@pytest.mark.once
def test_large_depthwise_kernels(gradients):
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(1, 9, 11, 2)), rng.normal(size=(7, 7, 2, 1))
    check(atrous_depthwise_conv, depthwise, x, kernel, gradients, rate=2)


@pytest.mark.parametrize("rate", [2, (4, 3)])
def test_equals_keras_with_gradients(rate, gradients):
    """Equality with `keras.ops.conv` in the cases that it supports."""
    rng = np.random.default_rng(2)
    x, weight = rng.normal(size=(2, 9, 12, 4)), rng.normal(size=(2, 9, 12, 4))
    for ours, theirs, shape in (
        (atrous_conv, ops.conv, (3, 3, 4, 4)),
        (atrous_conv, ops.conv, (3, 3, 2, 4)),
        (atrous_depthwise_conv, ops.depthwise_conv, (3, 3, 4, 1)),
    ):
        kernel = rng.normal(size=shape)

        def plain(x, k, theirs=theirs):
            return theirs(x, k, padding="same", dilation_rate=rate, data_format="channels_last")

        def own(x, k, ours=ours):
            return ours(x, k, rate=rate)

        arrays = (x, kernel)
        found = ops.convert_to_numpy(own(*(a.astype("float32") for a in arrays)))
        wanted = ops.convert_to_numpy(plain(*(a.astype("float32") for a in arrays)))
        np.testing.assert_allclose(found, wanted, atol=2e-5)
        pairs = zip(gradients(own, arrays, weight), gradients(plain, arrays, weight), strict=True)
        for a, b in pairs:
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "padding, strides", [("same", 1), ("same", 2), (((1, 2), (0, 4)), 1), (((1, 2), (0, 4)), 3)]
)
def test_separable(padding, strides):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 9, 12, 3))
    layer = AtrousSeparableConv2D(
        5, 3, rate=2, strides=strides, padding=padding, depth_multiplier=2, activation="relu"
    )
    assert layer.compute_output_shape((2, 9, 12, 3)) == layer(x.astype("float32")).shape
    first, second, bias = (rng.normal(size=w.shape) for w in layer.weights)
    layer.set_weights([first, second, bias])
    wanted = depthwise(x, first, rate=2, strides=strides, padding=padding)
    wanted = np.maximum(wanted @ second[0, 0] + bias, 0)
    np.testing.assert_allclose(ops.convert_to_numpy(layer(x.astype("float32"))), wanted, atol=1e-4)


def make(kind, **arguments):
    filters = () if issubclass(kind, keras.layers.DepthwiseConv2D) else (4,)
    return kind(*filters, 3, **arguments)


KINDS = [AtrousConv2D, AtrousDepthwiseConv2D, AtrousSeparableConv2D]
PARENTS = [keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D]


@pytest.mark.parametrize("kind, parent", list(zip(KINDS, PARENTS, strict=True)))
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_equals_the_keras_layer_with_its_weights(kind, parent, padding):
    x = np.random.default_rng(0).normal(size=(2, 9, 12, 4)).astype("float32")
    theirs = make(
        parent, dilation_rate=3, padding=padding, activation="tanh", bias_initializer="normal"
    )
    ours = make(kind, rate=3, padding=padding, activation="tanh")
    wanted = ops.convert_to_numpy(theirs(x))
    ours.build(x.shape)
    assert [w.name for w in ours.weights] == [w.name for w in theirs.weights]
    ours.set_weights(theirs.get_weights())
    np.testing.assert_allclose(ops.convert_to_numpy(ours(x)), wanted, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_another_rate_keeps_the_weights(kind):
    x = np.random.default_rng(0).normal(size=(1, 9, 12, 4)).astype("float32")
    layer, fresh = make(kind), make(kind, rate=(2, 3))
    layer(x)
    fresh.build(x.shape)
    before = layer.get_weights()
    layer.rate = (2, 3)
    fresh.set_weights(before)
    assert layer.rate == layer.get_config()["rate"] == (2, 3)
    assert "dilation_rate" not in layer.get_config()
    for a, b in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(ops.convert_to_numpy(layer(x)), ops.convert_to_numpy(fresh(x)))
    with pytest.raises(ValueError, match="`rate` must be an integer >= 1"):
        layer.rate = 0
    assert layer.rate == (2, 3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "arguments",
    [
        {"rate": 2},
        {"rate": 2, "strides": 2},
        {"rate": 3, "strides": (2, 1), "padding": ((1, 2), (0, 4))},
    ],
    ids=str,
)
def test_channels_first(kind, arguments):
    x = np.random.default_rng(0).normal(size=(2, 9, 12, 4)).astype("float32")
    last = make(kind, **arguments)
    first = make(kind, **arguments, data_format="channels_first")
    turned = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    wanted = ops.convert_to_numpy(last(x)).transpose(0, 3, 1, 2)
    first.build(turned.shape)
    first.set_weights(last.get_weights())
    np.testing.assert_allclose(ops.convert_to_numpy(first(turned)), wanted, atol=1e-5)
    assert first.compute_output_shape(turned.shape) == wanted.shape
    assert first.compute_output_shape((None, 4, None, None))[1] == 4


@pytest.mark.parametrize("strides", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_any_size(kind, strides):
    """One model for all sizes, even and odd: the padding of "same" depends on the size."""
    layer = make(kind, rate=2, strides=strides)
    model = keras.Sequential([keras.Input((None, None, 4)), layer])
    assert model.output_shape == (None, None, None, 4)
    for height, width in ((8, 9), (7, 11)):
        x = np.random.default_rng(0).normal(size=(2, height, width, 4)).astype("float32")
        wanted = ops.convert_to_numpy(layer(x))
        assert wanted.shape[1:3] == (-(-height // strides), -(-width // strides))
        np.testing.assert_allclose(model.predict_on_batch(x), wanted, atol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        AtrousConv2D(4, 3, rate=2),
        AtrousConv2D(4, (2, 3), rate=(3, 1), padding=((1, 0), (2, 4)), kernel_regularizer="l2"),
        pytest.param(
            AtrousConv2D(6, 3, rate=2, strides=2, groups=3, use_bias=False, activation="relu"),
            marks=pytest.mark.once,
        ),
        pytest.param(AtrousConv2D(3, 3, rate=2, groups=3), marks=pytest.mark.once),
        AtrousDepthwiseConv2D(3, rate=2, strides=(1, 2), depth_multiplier=2),
        pytest.param(
            AtrousDepthwiseConv2D(3, rate=4, padding="valid", depthwise_initializer="he_normal"),
            marks=pytest.mark.once,
        ),
        AtrousSeparableConv2D(
            4, 3, rate=2, padding=[[1, 0], [2, 4]], pointwise_constraint="max_norm"
        ),
    ],
    ids=["plain", "padded", "grouped", "as_depthwise", "depthwise", "valid", "separable"],
)
def test_contract(layer):
    check_layer(layer, np.random.default_rng(0).normal(size=(2, 11, 13, 3)).astype("float32"))


@pytest.mark.parametrize("kind", KINDS)
def test_training_in_bfloat16(kind):
    # Without bias: its gradient is the backend's plain sum over the map, in 8 bits of mantissa.
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 9, 12, 4)).astype("float32")
    layers = [
        make(kind, rate=2, use_bias=False, dtype=dtype) for dtype in ("float32", "mixed_bfloat16")
    ]
    models = [keras.Sequential([keras.Input((None, None, 4)), layer]) for layer in layers]
    before, steps = layers[0].get_weights(), []
    for layer, model in zip(layers, models, strict=True):
        layer.set_weights(before)
        model.compile(keras.optimizers.SGD(1.0), "mse")
        model.train_on_batch(x, 10 * np.ones((2, 9, 12, 4), "float32"))
        steps.append([a - b for a, b in zip(layer.get_weights(), before, strict=True)])
    assert keras.backend.standardize_dtype(layers[1](x).dtype) == "bfloat16"
    for wanted, found in zip(*steps, strict=True):
        np.testing.assert_allclose(found, wanted, atol=0.05 * np.abs(wanted).max())


@pytest.mark.parametrize("channels, groups", [(24, 1), (42, 2)])
def test_bfloat16_survives_channels_that_16_does_not_divide(channels, groups):
    """PyTorch's own gradient is NaN for these, or ends the process."""
    layer = AtrousConv2D(48, 3, rate=8, padding="valid", groups=groups, dtype="mixed_bfloat16")
    model = keras.Sequential([keras.Input((None, None, channels)), layer])
    model.compile(keras.optimizers.SGD(0.01), "mse")
    x = np.random.default_rng(0).normal(size=(2, 58, 58, channels))
    model.train_on_batch(x, np.zeros((2, 42, 42, 48)))
    assert all(np.isfinite(w).all() for w in layer.get_weights())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [0, -1, 1.0, 2.5, "2", True, None, (2,), (2, 0), (1, 2, 3)])
def test_bad_rates(kind, rate):
    with pytest.raises(
        ValueError, match="`rate` must be an integer >= 1 or a pair of them.*Received: rate"
    ):
        make(kind, rate=rate)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "padding", ["causal", 1, (1, 1), ((1, -1), (0, 0)), ((1, 1), (0.5, 0)), ((1, 1),), None]
)
def test_bad_paddings(kind, padding):
    with pytest.raises(ValueError, match="`padding` must be 'same', 'valid' or .*Received: padd"):
        make(kind, padding=padding)


@pytest.mark.once
def test_other_bad_arguments():
    with pytest.raises(ValueError, match="must be given as `rate` to AtrousConv2D. .*rate=2"):
        AtrousConv2D(4, 3, dilation_rate=2)
    layer = AtrousConv2D(4, 3, rate=4, padding=((1, 0), (4, 4)))
    with pytest.raises(ValueError, match="large enough .* rate=\\(4, 4\\).*Received: input_shape"):
        layer.compute_output_shape((None, 7, 8, 3))
    with pytest.raises(ValueError, match="four axes"):
        layer.compute_output_shape((None, 7, 3))
    with pytest.raises(ValueError, match="divisible"):
        AtrousConv2D(4, 3, groups=2).build((None, 8, 8, 3))

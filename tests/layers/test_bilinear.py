"""Upsampling against bilinear resizing done with NumPy in float64."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_dense.layers import (
    AlignedUpsampling,
    BilinearInitConvTranspose,
    BilinearUpsampling,
    FitLike,
)
from keras_dense.testing import check_layer


def resized(x, factor):
    """Half-pixel bilinear resizing of (B, H, W, C), edges repeated, one axis after the other."""
    for axis, f in ((1, factor[0]), (2, factor[1])):
        size = x.shape[axis]
        position = np.clip((np.arange(size * f) + 0.5) / f - 0.5, 0, size - 1)
        low = np.floor(position).astype(int)
        high = np.minimum(low + 1, size - 1)
        weight = (position - low).reshape([-1 if a == axis else 1 for a in range(4)])
        x = np.take(x, low, axis) * (1 - weight) + np.take(x, high, axis) * weight
    return x


FACTORS = [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (8, 8), (32, 32), (2, 3), (1, 7)]


@pytest.mark.parametrize("factor", FACTORS)
def test_fixed_upsampling_equals_resizing_also_at_the_borders(factor):
    x = np.random.default_rng(0).normal(size=(2, 5, 7, 3))
    y = ops.convert_to_numpy(BilinearUpsampling(factor)(x.astype("float32")))
    np.testing.assert_allclose(y, resized(x, factor), atol=1e-6)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("factor", FACTORS)
def test_a_fresh_transposed_convolution_equals_resizing_inside(factor, per_channel):
    x = np.random.default_rng(0).normal(size=(2, 5, 7, 3))
    layer = BilinearInitConvTranspose(3, factor, per_channel=per_channel)
    y = ops.convert_to_numpy(layer(x.astype("float32")))
    assert y.shape == (2, 5 * factor[0], 7 * factor[1], 3)
    inside = (slice(None), *(slice(f // 2, -(f // 2) or None) for f in factor))
    np.testing.assert_allclose(y[inside], resized(x, factor)[inside], atol=2e-6)


@pytest.mark.parametrize("size", ["multiple", "corners"])
@pytest.mark.parametrize("factor", [(1, 1), (2, 2), (3, 4), (8, 8)])
def test_upsampling_with_aligned_corners(factor, size):
    functional = pytest.importorskip("torch.nn.functional")
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=(2, 5, 7, 3))
    y = ops.convert_to_numpy(AlignedUpsampling(factor, size=size)(x.astype("float32")))
    new = [
        n * f if size == "multiple" else (n - 1) * f + 1
        for n, f in zip((5, 7), factor, strict=True)
    ]
    first = torch.from_numpy(x.transpose(0, 3, 1, 2).copy())
    wanted = functional.interpolate(first, new, mode="bilinear", align_corners=True)
    np.testing.assert_allclose(y, wanted.numpy().transpose(0, 2, 3, 1), atol=2e-6)
    if size == "corners":
        np.testing.assert_allclose(y[:, :: factor[0], :: factor[1]], x, atol=1e-6)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("factor", [(2, 2), (3, 3), (4, 4), (8, 8), (2, 3)])
def test_a_transposed_convolution_can_start_with_aligned_corners(factor, per_channel):
    x = np.random.default_rng(0).normal(size=(2, 5, 7, 3)).astype("float32")
    layer = BilinearInitConvTranspose(3, factor, per_channel=per_channel, align_corners=True)
    wanted = ops.convert_to_numpy(AlignedUpsampling(factor, size="corners")(x))
    cut = FitLike(centered=True)(layer(x), wanted)
    np.testing.assert_allclose(ops.convert_to_numpy(cut), wanted, atol=2e-6)


def test_a_constant_stays_constant():
    y = ops.convert_to_numpy(BilinearUpsampling(7)(np.full((1, 3, 4, 2), 0.1, "float32")))
    assert (y == np.float32(0.1)).all()


@pytest.mark.parametrize(
    "factor",
    [(3, 3), (5, 2), *(pytest.param((n, n), marks=pytest.mark.once) for n in (2, 4, 8))],
)
def test_per_channel_equals_dense_with_the_same_kernel(factor):
    """Any kernel, not only the bilinear one, and its gradients: no tap is lost or moved."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, 4, 5, 3)).astype("float32")
    dense = BilinearInitConvTranspose(3, factor)
    single = BilinearInitConvTranspose(3, factor, per_channel=True)
    dense.build(x.shape)
    single.build(x.shape)
    kernel = rng.normal(size=single.kernel.shape)
    single.set_weights([kernel])
    dense.set_weights([kernel[:, :, :, None] * np.eye(3)])
    np.testing.assert_allclose(
        ops.convert_to_numpy(single(x)), ops.convert_to_numpy(dense(x)), atol=1e-5
    )
    target = rng.normal(size=(2, 4 * factor[0], 5 * factor[1], 3)).astype("float32")
    moved = []
    for layer in (single, dense):
        model = keras.Sequential([keras.Input((None, None, 3)), layer])
        model.compile(keras.optimizers.SGD(1.0), "mse")
        before = layer.get_weights()[0].copy()
        model.train_on_batch(x, target)
        moved.append(layer.get_weights()[0] - before)
    np.testing.assert_allclose(moved[0], np.einsum("hwcc->hwc", moved[1]), atol=1e-6)


@pytest.mark.once
def test_against_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(2)
    x = rng.normal(size=(2, 5, 6, 4)).astype("float32")
    layer = BilinearInitConvTranspose(4, 3, per_channel=True, use_bias=True)
    layer.build(x.shape)
    kernel, bias = rng.normal(size=(5, 5, 4)), rng.normal(size=4)
    layer.set_weights([kernel, bias])
    wanted = torch.nn.functional.conv_transpose2d(
        torch.tensor(x.transpose(0, 3, 1, 2)),
        torch.tensor(kernel.transpose(2, 0, 1)[:, None].astype("float32")),
        torch.tensor(bias.astype("float32")),
        stride=3,
        padding=1,
        groups=4,
    )
    np.testing.assert_allclose(
        ops.convert_to_numpy(layer(x)), wanted.numpy().transpose(0, 2, 3, 1), atol=1e-5
    )


@pytest.mark.once
def test_other_numbers_of_filters_upsample_mixtures():
    """Each filter is a bilinear upsampling of some mixture of the channels."""
    x = np.random.default_rng(3).normal(size=(1, 6, 6, 4))
    layer = BilinearInitConvTranspose(2, 2)
    y = ops.convert_to_numpy(layer(x.astype("float32")))
    kernel = layer.get_weights()[0]
    mixing = kernel[1, 1] / 0.75**2
    assert np.abs(mixing).min() > 0
    wanted = resized(x @ mixing.T, (2, 2))
    np.testing.assert_allclose(y[:, 1:-1, 1:-1], wanted[:, 1:-1, 1:-1], atol=1e-5)


@pytest.mark.once
def test_frozen_has_no_trainable_weight():
    layer = BilinearInitConvTranspose(3, 2, learnable=False, use_bias=True)
    layer.build((None, None, None, 3))
    assert layer.trainable_weights == [] and len(layer.weights) == 2


def test_channels_first():
    x = np.random.default_rng(4).normal(size=(2, 3, 5, 7))
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    wanted = resized(last, (3, 3)).transpose(0, 3, 1, 2)
    y = ops.convert_to_numpy(
        BilinearUpsampling(3, data_format="channels_first")(x.astype("float32"))
    )
    np.testing.assert_allclose(y, wanted, atol=1e-6)
    kinds = [True]
    if keras.backend.backend() != "tensorflow":  # has no such transposed convolution on the CPU
        kinds.append(False)
    for per_channel in kinds:
        layer = BilinearInitConvTranspose(
            3, 3, per_channel=per_channel, data_format="channels_first", use_bias=True
        )
        y = ops.convert_to_numpy(layer(x.astype("float32")))
        np.testing.assert_allclose(y[:, :, 1:-1, 1:-1], wanted[:, :, 1:-1, 1:-1], atol=2e-6)


@pytest.mark.parametrize(
    "layer",
    [
        BilinearUpsampling(3),
        AlignedUpsampling((2, 3)),
        AlignedUpsampling(3, size="corners"),
        BilinearInitConvTranspose(5, 2, align_corners=True),
        pytest.param(BilinearInitConvTranspose(3, 2), marks=pytest.mark.once),
        BilinearInitConvTranspose(4, 3, use_bias=True, kernel_regularizer="l2"),
        BilinearInitConvTranspose(3, (2, 4), per_channel=True, use_bias=True),
    ],
    ids=["fixed", "aligned", "corners", "dense_aligned", "dense", "mixing", "per_channel"],
)
def test_contract(layer):
    x = np.random.default_rng(0).normal(size=(2, 5, 7, 3)).astype("float32")
    check_layer(layer, x)


@pytest.mark.parametrize("factor", [0, -2, 1.5, (2,), (2, 0), "2"])
@pytest.mark.parametrize("kind", [BilinearUpsampling, lambda f: BilinearInitConvTranspose(3, f)])
def test_bad_factors(kind, factor):
    with pytest.raises(
        ValueError, match="`factor` must be an integer >= 1 or a pair of them. Received"
    ):
        kind(factor)


def test_bad_arguments():
    with pytest.raises(ValueError, match="`filters` must be an integer >= 1. Received: filters=0"):
        BilinearInitConvTranspose(0, 2)
    with pytest.raises(
        ValueError, match="`filters` must be 3, the channels of the input.*Received: filters=4"
    ):
        BilinearInitConvTranspose(4, 2, per_channel=True).build((None, 8, 8, 3))
    with pytest.raises(ValueError, match="one of 'channels_last', 'channels_first'"):
        BilinearUpsampling(2, data_format="last")

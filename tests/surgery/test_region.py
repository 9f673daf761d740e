"""Parts of networks on some cells, beside the whole maps in which cells that left are zero."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_dense as kd
from keras_dense.layers import (
    AtrousAveragePooling2D,
    AtrousConv2D,
    AtrousDepthwiseConv2D,
    AtrousMaxPooling2D,
    AtrousSeparableConv2D,
)
from keras_dense.layers.phases import PhasePooling2D, TilePhases
from keras_dense.surgery import rebuild
from keras_dense.surgery.effect import CONVOLUTIONS, GLOBAL_POOLING, POOLING
from keras_dense.surgery.region import RegionNetwork, masked

from .networks import images, randomized


def with_zeros(model, mask):
    """The model, with zeros for the cells that left before everything that looks at neighbors;
    what pools globally leaves them out."""
    keep = mask[..., None].astype("float32")

    def rewrite(node, copies, *args, **kwargs):
        op, x = node.operation, args[0]
        if isinstance(op, (*CONVOLUTIONS, *POOLING, layers.ZeroPadding2D)):
            known = len(x.shape) == 4 and tuple(x.shape[1:3]) == mask.shape[1:]
            return copies(op, x * keep if known else x)
        if isinstance(op, GLOBAL_POOLING):
            total, share = copies(op, x * keep), op(ops.convert_to_tensor(keep))
            return total / ops.reshape(share, total.shape[:-1] + (1,))
        return None

    return rebuild(model, rewrite)


def compare(model, mask, x, tolerance=1e-4):
    """The network on the cells of the mask, beside the masked one on whole maps."""
    fixed = rebuild(model, inputs=keras.Input(batch_shape=(len(x), *x.shape[1:])))
    wanted = keras.tree.flatten(with_zeros(fixed, mask)(x, training=False))
    region = RegionNetwork(model)
    got = region.predict([x[mask]], mask)
    maps = masked(model)([x, mask[..., None].astype("float32")], training=False)
    for a, b, c in zip(got, keras.tree.flatten(maps), wanted, strict=True):
        b, c = ops.convert_to_numpy(b), ops.convert_to_numpy(c)
        assert np.std(c[mask]) > 1e-5
        for y in (a, b[mask]):
            np.testing.assert_allclose(y, c[mask], atol=tolerance * np.abs(c).max(), rtol=0)
    return region


def half(x, seed=0):
    return np.random.default_rng(seed).uniform(size=x.shape[:3]) < 0.5


def everything():
    """Every operation that looks at neighbors, and some that do not."""
    image = keras.Input((None, None, 8))
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="conv")(image)
    x = AtrousConv2D(8, (1, 5), rate=2, padding=((0, 0), (3, 5)), use_bias=False, groups=2)(x)
    x = layers.BatchNormalization()(x)
    y = layers.ZeroPadding2D(((1, 1), (0, 2)))(x)
    y = layers.DepthwiseConv2D(3, padding="valid", depth_multiplier=2)(y)
    y = layers.Conv2D(8, 1, activation="swish", name="pointwise")(y)
    y = AtrousMaxPooling2D(2, rate=2)(layers.Add()([x, y]))
    y = AtrousAveragePooling2D(3, rate=3)(y)
    gate = PhasePooling2D(2)(y)
    gate = layers.Conv2D(8, 1, activation="sigmoid", name="gate")(layers.Reshape((2, 2, 8))(gate))
    y = layers.Multiply()([y, TilePhases()(gate, y)])
    z = layers.MaxPooling2D(3, strides=1, padding="same")(AtrousSeparableConv2D(8, 3)(y))
    z = layers.MaxPooling2D(3, strides=1)(layers.ZeroPadding2D(1)(z))
    z = layers.Concatenate()([AtrousDepthwiseConv2D(3, rate=4)(z), x])
    squeezed = layers.Dense(16, activation="relu")(layers.GlobalAveragePooling2D()(z))
    squeezed = layers.Reshape((1, 1, 16))(squeezed)
    z = layers.LayerNormalization()(ops.add(z * squeezed, 0.5))
    return randomized(keras.Model(image, [layers.Conv2D(5, 3, padding="same")(z), y]))


def test_every_operation():
    x = images(2, 8, 10, 8)
    mask = half(x)
    region = compare(everything(), mask, x)
    # Other cells, another number of them, and all of them.
    compare(everything(), half(x, 1) & mask, x)
    compare(everything(), np.ones_like(mask), x)
    assert len(region.predict([x[:1][mask[:1]]], mask[:1])[0]) == mask[:1].sum()


def test_shared_and_same_layers_keep_their_weights():
    image = keras.Input((None, None, 4))
    shared = layers.Conv2D(4, 3, padding="same")
    model = keras.Model(image, shared(layers.ReLU()(shared(image))))
    x = images(1, 6, 6, 4)
    region = compare(model, half(x), x)
    assert region.model.count_params() == model.count_params()


def test_a_stage_with_gates():
    backbone = kd.backbone("mobilenet_v3_small", weights=None, alpha=0.35)
    backbone = kd.surgery.dilate(randomized(backbone), 8)
    part = keras.Model(backbone.output["P3"], backbone.output["P4"], name="part")
    x = images(1, 8, 8, part.input_shape[-1])
    compare(part, half(x), x)


def test_bad_input():
    image = keras.Input((None, None, 4))

    def of(x):
        return keras.Model(image, x, name="part")

    for x, why in (
        (layers.Conv2D(4, 3, name="it")(image), "makes a map of another size"),
        (layers.MaxPooling2D(2, name="it")(image), "makes a map of another size"),
        (layers.UpSampling2D(name="it")(image), "looks at more than one pixel"),
        (layers.Conv2D(4, 1, name="it")(layers.ZeroPadding2D(1)(image)), "another size"),
        (layers.ReLU(name="it")(layers.ZeroPadding2D(1)(image)), "zeros around it"),
    ):
        with pytest.raises(ValueError, match=f"The operation 'it' .* of 'part' .*{why}"):
            RegionNetwork(of(x))

    class Own(layers.Conv2D):
        pass

    with pytest.raises(ValueError, match=r"'it' \(Own\) .* a convolution of an unknown kind"):
        RegionNetwork(of(Own(4, 3, padding="same", name="it")(image)))
    with pytest.raises(ValueError, match="must return maps of the size of its inputs.*'part'"):
        RegionNetwork(of(layers.GlobalAveragePooling2D()(image)))

"""U-Net: the paper's numbers, "valid" at the border, other backbones, gates, nesting."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_dense as kd
from keras_dense.models.unet_backbone import unet_backbone
from keras_dense.models.unet_blocks import attention_gate
from keras_dense.testing import check_model

from .small import images, run

SMALL = (8, 4, 4)


@pytest.fixture
def backbone():
    """Three strided convolutions."""
    x = image = keras.Input((None, None, 3))
    for n in range(3):
        x = layers.Conv2D(4, 3, 2, "same", activation="elu", name=f"conv{n}")(x)
    return kd.backbone(keras.Model(image, x), preprocessing="tf")


def pyramid_of(levels):
    """A backbone without weights: mean colors of growing cells, with 3 n channels at Pn."""
    image = keras.Input((None, None, 3))
    maps = {n: layers.AveragePooling2D(2**n)(image) if n else image for n in levels}
    features = {f"P{n}": layers.Concatenate()([x] * n) if n > 1 else x for n, x in maps.items()}
    return keras.Model(image, features, name="backbone")


# The papers' numbers


@pytest.mark.parametrize(
    "channels, classes, padding, count",
    [
        (1, 2, "valid", 31_030_658),
        (3, 1, "same", 31_031_745),
        (3, 21, "same", 31_033_045),
    ],
)
def test_parameters_of_the_paper(channels, classes, padding, count, zero_weights):
    shape = (None, None, channels)
    assert kd.unet(num_classes=classes, input_shape=shape, padding=padding).count_params() == count


def test_parameters_of_nested_u_nets(zero_weights):
    """U-Net and U-Net++ with 32 to 512 channels: 7.76 M and 9.04 M in table 1 of Zhou et al."""
    half = (256, 128, 64, 32)
    assert round(kd.unet(num_classes=1, filters=half).count_params() / 1e6, 2) == 7.76
    assert round(kd.unet(num_classes=1, filters=half, nested=True).count_params() / 1e6, 2) == 9.04


def test_sizes_of_figure_1(zero_weights):
    """An image of 384 is mirrored to 572; 28 cells at the bottom; 388 pixels come out."""
    backbone = unet_backbone((8, 4, 4, 2), padding="valid", channels=1)
    features = backbone(keras.Input((384, 384, 1)))
    assert {key: x.shape[1] for key, x in features.items()} == {
        **{"V0": 568, "V1": 280, "V2": 136, "V3": 64, "V4": 28},
        **{f"P{n}": 384 // 2**n for n in range(5)},
    }
    decoder = kd.decoders.unet((8, 4, 4, 2), padding="valid", batch_norm=False)
    found = decoder(features, {"": kd.decoders.Wanted(2)})[""]
    assert found.scores.shape == (None, 388, 388, 2)


# What every builder promises


OPTIONS = {
    "normalized": {"filters": (4, 4), "batch_norm": True, "upsampling": "transposed"},
    "valid": {"filters": (4, 4), "padding": "valid", "attention": True},
    "nested": {"filters": (4, 4), "nested": True, "upsampling": "bilinear"},
}


@pytest.mark.parametrize(
    "option",
    ["normalized", *(pytest.param(o, marks=pytest.mark.once) for o in ("valid", "nested"))],
)
def test_contract(option):
    model = kd.unet(num_classes=3, dropout=0.0, **OPTIONS[option])
    check_model(model, kd.heads.Segmentation(3), sizes=((32, 32), (33, 47)))


def test_contract_on_a_backbone(backbone, sizes):
    model = kd.unet(backbone, 3, filters=(8, 4, 4), attention=True)
    check_model(model, kd.heads.Segmentation(3), sizes=sizes)


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_auxiliary_head(padding):
    heads = kd.heads.with_auxiliary(kd.heads.Segmentation(3), level="P2")
    model = kd.unet(heads=heads, filters=(4, 4), padding=padding, name="mine")
    assert model.name == "mine"
    assert {key: y.shape for key, y in run(model, images(2, 33, 47)).items()} == {
        "segmentation": (2, 33, 47, 3),
        "auxiliary": (2, 33, 47, 3),
    }


def test_mixed_precision_ends_in_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = kd.unet(num_classes=3, filters=(4,), attention=True, padding="valid")
    y = run(model, images(1, 33, 47))
    assert np.isfinite(y).all() and y.dtype == np.float32
    assert model.get_layer("up0_conv1").compute_dtype == "bfloat16"


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow exports")
@pytest.mark.parametrize("option", ["valid", pytest.param("nested", marks=pytest.mark.exhaustive)])
def test_export_with_free_sizes(option, tmp_path):
    import tensorflow as tf

    model = kd.unet(num_classes=3, **OPTIONS[option])
    model.export(tmp_path / option, verbose=False)
    loaded = tf.saved_model.load(tmp_path / option)
    for size in ((33, 47), (40, 97)):
        x = images(1, *size).astype("float32")
        np.testing.assert_allclose(loaded.serve(x).numpy(), run(model, x), atol=1e-5)


# "valid" at the border


def test_inside_valid_is_same():
    """Both are equal away from the border; their grids are 2 pixels apart."""
    same, valid = (kd.unet(num_classes=2, filters=(8, 4), padding=p) for p in ("same", "valid"))
    valid.set_weights(same.get_weights())
    x = images(1, 82, 98)
    wanted, got = run(same, x[:, 2:, 2:]), run(valid, x)[:, 2:, 2:]
    inside = (slice(None), slice(24, 56), slice(24, 72))
    np.testing.assert_allclose(got[inside], wanted[inside], atol=1e-4 * np.abs(wanted).max())
    assert np.abs(got - wanted).max() > 1e-2 * np.abs(wanted).max()


def test_valid_mirrors_the_image():
    """The result is that of an image mirrored before, the overlap-tile strategy."""
    model = kd.unet(num_classes=2, filters=(8, 4), padding="valid")
    x = images(1, 36, 48)
    larger = np.pad(x, ((0, 0), (32, 32), (32, 32), (0, 0)), mode="reflect")
    wanted = run(model, larger)[:, 32:68, 32:80]
    np.testing.assert_allclose(run(model, x), wanted, atol=1e-4 * np.abs(wanted).max())


def test_features_over_the_image():
    """P0 and P1 are those of the padded network away from the border."""
    same, valid = (unet_backbone((8, 4), padding=p) for p in ("same", "valid"))
    valid.set_weights(same.get_weights())
    x = images(1, 64, 64)
    wanted, got = run(same, x), run(valid, x)
    assert {k: got[k].shape for k in wanted} == {k: y.shape for k, y in wanted.items()}
    for level in ("P0", "P1"):
        np.testing.assert_allclose(
            got[level][:, 8:-8, 8:-8], wanted[level][:, 8:-8, 8:-8], atol=1e-4
        )


# Other backbones


def joined(model):
    return {x.name: len(x.input) for x in model.layers if isinstance(x, layers.Concatenate)}


def test_skips_where_the_backbone_has_features():
    head = kd.heads.Segmentation(3)
    for levels, widths, joins in (
        ((1, 2, 3, 4, 5), (256, 128, 64, 32, 16), (4, 3, 2, 1)),
        ((0, 1, 2, 3), (64, 32, 16), (2, 1, 0)),  # the image is a feature as well
        ((2, 3), (64, 32, 16), (2,)),
        ((1, 4), (128, 64, 32, 16), (1,)),
    ):
        model = kd.assemble(pyramid_of(levels), kd.decoders.unet(), head)
        names = [x.name for x in model.layers if isinstance(x, layers.Conv2DTranspose)]
        assert [model.get_layer(name).filters for name in names] == list(widths)
        assert list(joined(model)) == [f"up{n}_join" for n in joins]
        assert kd.surgery.strides(model) == 1


def test_few_widths_end_coarser_than_the_image(backbone):
    model = kd.unet(backbone, 3, filters=(8,))
    assert model.get_layer("upsample").factor == (4, 4) and kd.surgery.strides(model) == 1


def test_a_dilated_backbone(backbone):
    model = kd.unet(kd.surgery.dilate(backbone, 2), 3, filters=(8, 6, 4))
    assert list(joined(model)) == ["up2_join", "up1_join"]
    up = [x for x in model.layers if isinstance(x, layers.Conv2DTranspose)]
    assert [x.strides for x in up] == [(2, 2)]  # before stride 2 there are 1×1 convolutions
    assert model.get_layer("up2_project").filters == 8 and kd.surgery.strides(model) == 1


# Gates and nests


@pytest.mark.parametrize("factor", [(1, 1), (2, 2)])
def test_attention_gate(factor):
    f = factor[0]
    rng = np.random.default_rng(0)
    skip = rng.normal(size=(2, 4 * f, 5 * f, 3)).astype("float32")
    coarse = rng.normal(size=(2, 4, 5, 6)).astype("float32")
    inputs = [keras.Input((None, None, 3)), keras.Input((None, None, 6))]
    model = keras.Model(inputs, attention_gate(*inputs, factor, 4, "gate"))
    weights = [rng.normal(size=w.shape) for w in model.get_weights()]
    model.set_weights(weights)
    named = {w.path: v for w, v in zip(model.weights, weights, strict=True)}
    blocks = skip.reshape(2, 4, f, 5, f, 3).transpose(0, 1, 3, 2, 4, 5)
    x = np.einsum("bijuvc,uvcd->bijd", blocks, named["gate_skip/kernel"])
    x = x + coarse @ named["gate_gate/kernel"][0, 0] + named["gate_gate/bias"]
    x = np.maximum(x, 0) @ named["gate_alpha/kernel"][0, 0] + named["gate_alpha/bias"]
    alpha = ops.convert_to_numpy(kd.ops.upsample_bilinear(1 / (1 + np.exp(-x)), factor))
    np.testing.assert_allclose(run(model, [skip, coarse]), skip * alpha, atol=1e-5)


def test_nodes_of_a_nested_u_net():
    model = kd.assemble(
        pyramid_of((0, 1, 2, 3)), kd.decoders.nested_unet(), kd.heads.Segmentation()
    )
    assert joined(model) == {
        "node2_1_join": 2,
        **{"node1_1_join": 2, "node1_2_join": 3},
        **{"node0_1_join": 2, "node0_2_join": 3, "node0_3_join": 4},
    }
    # No feature of the size of the image, so nothing to refine there.
    model = kd.assemble(pyramid_of((1, 2, 3)), kd.decoders.nested_unet(), kd.heads.Segmentation())
    assert list(joined(model)) == ["node2_1_join", "node1_1_join", "node1_2_join"]
    assert model.get_layer("node0_3_up").filters == 16 and kd.surgery.strides(model) == 1


# Bad input


def test_bad_input(backbone):
    with pytest.raises(
        ValueError, match="`padding` must be one of 'same', 'valid'. Received: padding"
    ):
        kd.unet(padding="full")
    for more in ({"nested": True}, {"backbone": backbone}):
        with pytest.raises(ValueError, match="`padding` must be 'same' with a backbone"):
            kd.unet(padding="valid", **more)
    with pytest.raises(ValueError, match="Give either `nested` or `attention`"):
        kd.unet(nested=True, attention=True)
    with pytest.raises(
        ValueError, match="`weights` must be left out without a backbone.*initialize_from"
    ):
        kd.unet(weights="unet.weights.h5")
    with pytest.raises(ValueError, match="`upsampling` must be one of.*'deconv'"):
        kd.unet(filters=SMALL, upsampling="deconv")
    for filters in (64, (), (8, 0)):
        with pytest.raises(ValueError, match="`filters` must be a tuple of integers >= 1"):
            kd.unet(filters=filters)
    with pytest.raises(
        ValueError, match="must have at most 3 widths, one for each level finer than P3"
    ):
        kd.unet(backbone, filters=(8,) * 4)
    with pytest.raises(ValueError, match="`backbone` must have features V0, V1.*Received: P1"):
        kd.assemble(backbone, kd.decoders.unet(padding="valid"), kd.heads.Segmentation())

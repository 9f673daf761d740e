"""RefineNet, its light form, the global convolutional network, UPerNet, LinkNet, MA-Net, PAN."""

import math

import keras
import numpy as np
import pytest
from keras import ops

import keras_dense as kd
from keras_dense.models.global_convolutional_network import boundary_refinement, large_kernel
from keras_dense.models.pan import feature_pyramid_attention
from keras_dense.models.refinenet import chained_pooling, residual_unit
from keras_dense.ops.windows import max_windows
from keras_dense.testing import check_model

from .small import images, pyramid_of, run, trained


def small_refinenet(backbone, num_classes=None, **kwargs):
    return kd.refinenet(backbone, num_classes, filters=(16, 8, 8, 8), poolings=2, **kwargs)


def light_refinenet(backbone, num_classes=None, **kwargs):
    return small_refinenet(backbone, num_classes, light=True, **kwargs)


def small_gcn(backbone, num_classes=None, **kwargs):
    return kd.global_convolutional_network(backbone, num_classes, kernel_size=7, **kwargs)


def small_upernet(backbone, num_classes=None, **kwargs):
    return kd.upernet(backbone, num_classes, filters=8, **kwargs)


def small_linknet(backbone, num_classes=None, **kwargs):
    return kd.linknet(backbone, num_classes, filters=8, **kwargs)


def small_manet(backbone, num_classes=None, **kwargs):
    small = {"filters": (8,) * 5, "attention_filters": 4, "reduction": 1}
    return kd.manet(backbone, num_classes, **small, **kwargs)


def small_pan(backbone, num_classes=None, **kwargs):
    return kd.pan(backbone, num_classes, filters=8, **kwargs)


BUILDERS = {
    "refinenet": small_refinenet,
    "light": light_refinenet,
    "gcn": small_gcn,
    "upernet": small_upernet,
    "linknet": small_linknet,
    "manet": small_manet,
    "pan": small_pan,
}


# What every builder promises


@pytest.mark.parametrize("name", BUILDERS)
def test_contract(name, backbone):
    # LinkNet's transposed convolutions start as the identity between two batch norms: at first the
    # scale of the one before has no effect, and hardly moves.
    settings = {"upsampling": "up_conv"} if name == "linknet" else {}
    model = BUILDERS[name](backbone, 3, **settings)
    for layer in model.layers:
        if layer.name.endswith("_squeeze"):  # So few channels could all be negative at first.
            layer.bias.assign(np.ones(layer.bias.shape))
        if layer.name.startswith("fpa_") and layer.name.endswith("_bn"):
            # The scale of a single channel between two batch norms has no effect without an offset.
            layer.beta.assign(np.full(layer.beta.shape, 0.5))
    # PAN's coarsest map of attention has one cell in a small image, and a batch norm over the two
    # of a batch has no slope.
    size = (273, 257) if name == "pan" else (97, 131)
    check_model(model, kd.heads.Segmentation(3), sizes=(size,))


@pytest.mark.parametrize("name", BUILDERS)
def test_auxiliary_head_beside_the_decoder(name, backbone):
    heads = kd.heads.with_auxiliary(kd.heads.Segmentation(3))
    model = BUILDERS[name](backbone, heads=heads, input_shape=(33, 47, 3), name="mine")
    assert model.name == "mine"
    outputs = run(model, images(2, 33, 47))
    assert {y.shape for y in outputs.values()} == {(2, 33, 47, 3)} and len(outputs) == 2


def test_several_heads(backbone):
    heads = {"objects": kd.heads.Segmentation(5), "edges": kd.heads.Segmentation(1)}
    for build in BUILDERS.values():
        outputs = build(backbone, heads=heads, input_shape=(33, 47, 3)).output
        assert outputs["objects"].shape == (None, 33, 47, 5)
        assert outputs["edges"].shape == (None, 33, 47, 1)


@pytest.mark.exhaustive
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow exports")
@pytest.mark.parametrize("name", BUILDERS)
def test_export_with_free_sizes(name, backbone, tmp_path):
    import tensorflow as tf

    model = BUILDERS[name](backbone, 3)
    model.export(tmp_path / name, verbose=False)
    loaded = tf.saved_model.load(tmp_path / name)
    for size in ((33, 47), (97, 131)):
        x = images(1, *size).astype("float32")
        np.testing.assert_allclose(loaded.serve(x).numpy(), run(model, x), atol=1e-5)


# The authors' parameter counts


RESNET = (64, 256, 512, 1024, 2048)


def test_parameters_of_the_global_convolutional_network(zero_weights):
    backbone = pyramid_of(RESNET)
    strips, refinement = 2_472_456, 9 * 7_980
    fixed = kd.global_convolutional_network(backbone, upsampling="bilinear")
    assert trained(fixed) == strips + refinement
    learned = kd.global_convolutional_network(backbone)
    assert trained(learned) == strips + refinement + 5 * 4 * 4 * 21 * 21


@pytest.mark.parametrize("size, thousands", [(3, 260), (5, 434), (7, 608), (9, 782), (11, 956)])
def test_parameters_of_a_large_kernel(size, thousands, zero_weights):
    """Table 3 of the paper: strips on the last feature, biases not counted."""
    x = keras.Input((None, None, 2048))
    model = keras.Model(x, large_kernel(x, 21, size, name="global"))
    kernels = sum(math.prod(w.shape) for w in model.weights if len(w.shape) == 4)
    assert abs(kernels / 1000 - thousands) < 1


def test_parameters_of_refinenets_decoders(zero_weights):
    """As in the authors' PyTorch files, with 21 classes."""
    backbone, heads = pyramid_of(RESNET), kd.heads.Segmentation()
    for light, count in ((False, 75_552_277), (True, 3_849_493)):
        assert trained(kd.assemble(backbone, kd.decoders.refinenet(light), heads)) == count


def test_parameters_of_the_light_network_on_mobilenet(zero_weights):
    model = kd.refinenet("MobileNetV2", weights=None, light=True)
    assert trained(model) == 3_283_477  # printed: 3.3 M
    assert model.name == "light_weight_refinenet"
    assert model.output_shape == (None, None, None, 21)


@pytest.mark.slow
@pytest.mark.parametrize(
    "backbone, light, millions",
    [
        pytest.param("resnet101", False, 118, marks=pytest.mark.exhaustive),
        ("resnet50", True, 27),
        pytest.param("resnet101", True, 46, marks=pytest.mark.exhaustive),
        pytest.param("resnet152", True, 62, marks=pytest.mark.exhaustive),
    ],
)
def test_published_millions(backbone, light, millions, zero_weights):
    count = trained(kd.refinenet(backbone, weights=None, light=light))
    assert round(count / 1e6) == millions


# What the papers say


def filled(model, value):
    model.set_weights([np.full(w.shape, value, "float32") for w in model.get_weights()])
    return model


def test_strips_see_a_square():
    x = keras.Input((None, None, 1))
    model = keras.Model(x, large_kernel(x, 1, 5, name="global"))
    model.set_weights([np.full(w.shape, len(w.shape) == 4, "float32") for w in model.weights])
    impulse = np.zeros((1, 11, 11, 1), "float32")
    impulse[0, 5, 4] = 1
    wanted = np.zeros((11, 11))
    wanted[3:8, 2:7] = 2
    np.testing.assert_array_equal(run(model, impulse)[0, ..., 0], wanted)


def test_residual_blocks_pass_their_input_on():
    x = keras.Input((None, None, 4))
    y = np.random.default_rng(0).normal(size=(1, 5, 7, 4)).astype("float32")
    for block in (boundary_refinement, residual_unit):
        model = filled(keras.Model(x, block(x, name="block")), 0)
        np.testing.assert_array_equal(run(model, y), y)


def test_chained_pooling_sums_ever_larger_windows():
    x = keras.Input((None, None, 2))
    model = keras.Model(x, chained_pooling(x, 2, kernel_size=1, name="pool"))
    model.set_weights([np.eye(2, dtype="float32")[None, None]] * 2)
    y = np.random.default_rng(0).normal(size=(1, 13, 11, 2)).astype("float32")
    parts = [np.maximum(y, 0)]
    for size in (5, 9):
        pads = ((size // 2,) * 2,) * 2
        window = ops.convert_to_numpy(max_windows(parts[0], (size,) * 2, (1, 1), (1, 1), pads))
        parts.append(window)
    np.testing.assert_allclose(run(model, y), sum(parts), atol=1e-6)


def test_residual_unit_by_hand():
    """x + b₂(relu(b₁(relu(x)))) with kernels that multiply by 2 and −3."""
    x = keras.Input((None, None, 1))
    model = keras.Model(x, residual_unit(x, name="unit"))
    kernels = np.zeros((2, 3, 3, 1, 1), "float32")
    kernels[:, 1, 1] = np.array([2, -3])[:, None, None]
    model.set_weights([kernels[0], np.array([1], "float32"), kernels[1]])
    y = np.array([-1.0, 0.0, 2.0], "float32").reshape(1, 1, 3, 1)
    assert run(model, y).ravel().tolist() == [-1 - 3, 0 - 3, 2 - 15]


@pytest.mark.parametrize("build, count", [(small_refinenet, 4), (small_gcn, 5)])
def test_map_reaches_the_stride_of_the_paper(build, count, backbone):
    """RefineNet ends at stride 4; the global convolutional network refines at 2 and 1, too."""
    model = build(backbone, 3)
    names = [layer.name for layer in model.layers if layer.name.startswith("upsample")]
    assert len(names) == count


def test_linknet_adds_the_features_that_there_are(backbone):
    model = kd.linknet(kd.surgery.dilate(backbone, 8), 3, filters=4)
    links = [x.name for x in model.layers if x.name.endswith("_link")]
    assert links == ["up4_link", "up3_link", "up2_link", "up1_link"]
    assert kd.surgery.strides(model) == 1
    learned = [x for x in model.layers if isinstance(x, kd.layers.BilinearInitConvTranspose)]
    assert [x.name for x in learned] == ["up2", "up1", "up0"]
    assert {(x.factor, x.filters, x.use_bias) for x in learned} == {((2, 2), 2, False)}
    fixed = kd.linknet(backbone, 3, upsampling="bilinear")
    assert isinstance(fixed.get_layer("up0"), kd.layers.BilinearUpsampling)


def test_pyramid_attention_on_maps_below_eight_cells(backbone):
    """They are continued by zeros where they are pooled, and only there."""
    x = keras.Input((None, None, 4))
    model = keras.Model(x, feature_pyramid_attention(x, 4))
    y = np.random.default_rng(0).normal(size=(1, 3, 8, 4)).astype("float32")
    assert run(model, y).shape == (1, 3, 8, 4)
    wide = np.pad(y, ((0, 0), (0, 5), (0, 0), (0, 0)))
    # The mean of the whole map is another.
    part = keras.Model(x, model.get_layer("fpa_crop").output)
    np.testing.assert_allclose(run(part, y), run(part, wide)[:, :3], atol=1e-6)
    assert run(small_pan(backbone, 3), images(1, 33, 47)).shape == (1, 33, 47, 3)


def test_other_levels(backbone):
    model = kd.global_convolutional_network(backbone, 3, kernel_size=3, levels=("P4", "P1"))
    assert run(model, images(1, 33, 47)).shape == (1, 33, 47, 3)
    decoder = kd.decoders.refinenet(levels=(("P5",), "P3"), filters=(8, 4), dropout=0.0, poolings=1)
    model = kd.assemble(backbone, decoder, kd.heads.Segmentation(3))
    assert run(model, images(1, 33, 47)).shape == (1, 33, 47, 3)
    assert not any(isinstance(x, keras.layers.Dropout) for x in model.layers)
    decoder = kd.decoders.upernet(4, bins=(1, 2), levels=("P4",))
    model = kd.assemble(backbone, decoder, kd.heads.Segmentation(3))
    assert run(model, images(1, 33, 47)).shape == (1, 33, 47, 3)


# Bad input


def test_bad_settings(backbone):
    for size in (0, 4, 3.0, True, "7"):
        with pytest.raises(ValueError, match="`kernel_size` must be an (odd )?integer >= 1"):
            kd.global_convolutional_network(backbone, 3, kernel_size=size)
    with pytest.raises(ValueError, match="`levels` must be a tuple of at least one feature"):
        kd.global_convolutional_network(backbone, 3, levels=())
    with pytest.raises(ValueError, match="`upsampling` must be one of"):
        kd.global_convolutional_network(backbone, 3, upsampling="unpool")
    for poolings in (0, 1.5, True):
        with pytest.raises(ValueError, match="`poolings` must be an integer >= 1"):
            kd.refinenet(backbone, 3, poolings=poolings)
    with pytest.raises(ValueError, match="`filters` must be a tuple of integers >= 1"):
        kd.refinenet(backbone, 3, filters=256)
    with pytest.raises(ValueError, match="`filters` must have one width for each of `levels`"):
        kd.refinenet(backbone, 3, filters=(256,))
    for build in (kd.upernet, kd.linknet, kd.lraspp, kd.pan):
        with pytest.raises(ValueError, match="`filters` must be an integer >= 1"):
            build(backbone, 3, filters=0)
    for build in (kd.upernet, kd.linknet, kd.manet, kd.pan):
        with pytest.raises(ValueError, match="`upsampling` must be one of"):
            build(backbone, 3, upsampling="unpool")
    with pytest.raises(ValueError, match="`bins` must be a tuple of integers >= 1"):
        kd.upernet(backbone, 3, bins=())
    for decoder in (kd.decoders.upernet, kd.decoders.pan):
        with pytest.raises(ValueError, match="`levels` must be one or more names of features"):
            decoder(levels=())
    with pytest.raises(ValueError, match="`filters` must be a tuple of integers >= 1"):
        kd.manet(backbone, 3, filters=8)
    with pytest.raises(ValueError, match="`filters` must have at most 5 widths"):
        kd.manet(backbone, 3, filters=(8,) * 6)
    with pytest.raises(ValueError, match="`attention_filters` must be an integer >= 1"):
        kd.manet(backbone, 3, attention_filters=0)
    with pytest.raises(ValueError, match="`reduction` must be an integer >= 1"):
        kd.manet(backbone, 3, reduction=0)


@pytest.mark.parametrize("name", BUILDERS)
def test_bad_input_of_every_builder(name, backbone):
    build = BUILDERS[name]
    with pytest.raises(ValueError, match="Did you mean"):
        build("vgg61", 3, weights=None)
    with pytest.raises(ValueError, match="either `num_classes` or `heads`"):
        build(backbone, 3, heads=kd.heads.Segmentation(3))
    if name in ("linknet", "manet"):
        return  # reads what there is
    shallow = kd.surgery.feature_pyramid(backbone, taps={"P3": "sum_3"})
    with pytest.raises(ValueError, match="no feature P5 for the decoder to read. It has: P3"):
        build(shallow, 3, **({"output_stride": 8} if name == "pan" else {}))

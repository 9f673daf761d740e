"""The dilated networks of the papers: what every builder promises, and what each paper says."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_dense as kd
from keras_dense.layers import AtrousConv2D
from keras_dense.models.build import windowed_convolutions
from keras_dense.models.deeplabv3 import multi_grid_rates
from keras_dense.models.dilated_context import ContextIdentity
from keras_dense.models.duc_hdc import hdc_rates
from keras_dense.testing import check_model

from .small import images, pyramid_of, run, trained

BUILDERS = {
    name: getattr(kd, name)
    for name in (
        "deeplab_largefov",
        "deeplabv2",
        "deeplabv3",
        "deeplabv3plus",
        "dilated_context",
        "duc_hdc",
        "lraspp",
        "pspnet",
        "resnet38",
    )
}
STRIDED = ("deeplabv2", "deeplabv3", "deeplabv3plus", "lraspp", "pspnet", "resnet38")


@pytest.fixture
def mobilenet():
    return kd.backbone("mobilenet_v2", weights=None, alpha=0.35)


# What every builder promises


@pytest.mark.parametrize("name", BUILDERS)
def test_contract(name, backbone, sizes):
    check_model(BUILDERS[name](backbone, 3), kd.heads.Segmentation(3), sizes=sizes)


@pytest.mark.parametrize("name", BUILDERS)
def test_auxiliary_head_beside_every_decoder(name, backbone):
    """Names do not collide, small images pass, and both predictions have their size."""
    heads = kd.heads.with_auxiliary(kd.heads.Segmentation(3))
    model = BUILDERS[name](backbone, heads=heads, input_shape=(33, 47, 3), name="mine")
    assert model.name == "mine"
    assert {key: y.shape for key, y in run(model, images(2, 33, 47)).items()} == {
        "segmentation": (2, 33, 47, 3),
        "auxiliary": (2, 33, 47, 3),
    }


@pytest.mark.parametrize("name", STRIDED)
@pytest.mark.parametrize("stride", [2, 4, 32])
def test_other_output_strides(name, stride, backbone):
    model = BUILDERS[name](backbone, 3, output_stride=stride)
    assert kd.surgery.strides(model.get_layer("backbone"))["P5"] == stride
    assert run(model, images(1, 33, 47)).shape == (1, 33, 47, 3)


def test_channels_and_names():
    model = kd.pspnet("MobileNetV2", 3, weights=None, input_shape=(None, None, 4))
    assert run(model, images(1, 40, 48, 4)).shape == (1, 40, 48, 3) and model.name == "pspnet"


@pytest.mark.parametrize(
    "name", ["deeplabv3plus", pytest.param("dilated_context", marks=pytest.mark.exhaustive)]
)
def test_mixed_precision_ends_in_float32(name):
    keras.config.set_dtype_policy("mixed_bfloat16")
    heads = kd.heads.with_auxiliary(kd.heads.Segmentation(3))
    model = BUILDERS[name](kd.backbone("mobilenet_v2", weights=None, alpha=0.35), heads=heads)
    assert {x.compute_dtype for x in model.layers if isinstance(x, AtrousConv2D)} == {"bfloat16"}
    model.compile("sgd", **kd.objectives(heads))
    target = {key: np.zeros((2, 64, 64), "int32") for key in heads}
    assert np.isfinite(model.train_on_batch(images(2), target)[0])
    for y in model.predict(images(1, 65, 77), verbose=0).values():
        assert y.shape == (1, 65, 77, 3) and y.dtype == np.float32 and np.isfinite(y).all()


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow exports")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=[] if n == "deeplabv3plus" else pytest.mark.exhaustive)
        for n in BUILDERS
    ],
)
def test_export_with_free_sizes(name, backbone, tmp_path):
    import tensorflow as tf

    model = BUILDERS[name](backbone, 3)
    model.export(tmp_path / name, verbose=False)
    loaded = tf.saved_model.load(tmp_path / name)
    for size in ((33, 47), (97, 131)):
        x = images(1, *size).astype("float32")
        np.testing.assert_allclose(loaded.serve(x).numpy(), run(model, x), atol=1e-5)


# The authors' parameter counts


@pytest.mark.slow
@pytest.mark.parametrize(
    "build, count",
    [
        (lambda: kd.deeplab_largefov("vgg16", weights=None), 20_505_429),
        (lambda: kd.deeplabv3plus("xception65", weights=None), 41_055_413),
        (lambda: kd.pspnet("resnet101c", weights=None), 65_708_501),
        (lambda: kd.resnet38(), 124_043_093),
        (lambda: kd.dilated_context("vgg16", weights=None, context="large"), 141_149_720),
        # The authors' bilinear deconvolution has 256 weights for each class, ours none.
        (
            lambda: kd.dilated_context(
                "vgg16", 19, weights=None, context="basic", rates=(1, 1, 2, 4, 8, 16, 32, 64, 1)
            ),
            134_373_043 - 19 * 256,
        ),
    ],
    ids=["largefov", "deeplabv3plus", "pspnet", "resnet38", "dilation8", "dilation10"],
)
def test_parameters_of_the_authors_files(build, count, zero_weights):
    assert trained(build()) == count


def test_parameters_of_decoders():
    resnet = pyramid_of((64, 256, 512, 1024, 2048))
    assert trained(kd.assemble(resnet, kd.decoders.deeplabv3plus(), kd.heads.Segmentation())) == (
        16_844_149
    )
    plain = trained(kd.assemble(resnet, kd.decoders.pspnet(), kd.heads.Segmentation()))
    assert plain == 65_708_501 - 42_623_936
    heads = kd.heads.with_auxiliary(kd.heads.Segmentation())
    assert trained(kd.assemble(resnet, kd.decoders.pspnet(), heads)) - plain == 2_365_205


# What each paper says


@pytest.mark.parametrize("build", [kd.deeplabv3, kd.deeplabv3plus])
def test_without_the_mean_of_the_map(build, backbone):
    """One branch of 256 channels less: its convolution, and its part of the projection."""
    with_mean, without = (build(backbone, 3, image_pooling=on) for on in (True, False))
    channels = backbone.output["P5"].shape[-1]
    assert with_mean.count_params() - without.count_params() == 256 * (channels + 4 + 256)
    names = [layer.name for layer in without.layers]
    assert "aspp_pool" not in names and "aspp_project" in names


def test_deeplabv3_goes_from_stride_16_to_8_with_the_same_weights(backbone):
    first = kd.deeplabv3(backbone, 3)
    waves = (np.sin(np.arange(w.size)).reshape(w.shape) for w in first.get_weights())
    first.set_weights([w + 0.01 * z for w, z in zip(first.get_weights(), waves, strict=True)])
    fine = kd.deeplabv3(backbone, 3, output_stride=8, initialize_from=first)
    for a, b in zip(first.get_weights(), fine.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    strides = [kd.surgery.strides(m.get_layer("backbone"))["P5"] for m in (first, fine)]
    rates = [[m.get_layer(f"aspp_3x3_{n}").rate[0] for n in (1, 2, 3)] for m in (first, fine)]
    assert strides == [16, 8] and rates == [[6, 12, 18], [12, 24, 36]]
    x = images(1, 64, 96)
    coarse, dense = (run(m.get_layer("backbone"), x)["P5"] for m in (first, fine))
    np.testing.assert_allclose(dense[:, ::2, ::2], coarse, atol=1e-4 * np.abs(coarse).max(), rtol=0)


def test_multi_grid_of_resnet50():
    backbone = kd.backbone("resnet50", weights=None)
    last = [f"conv5_block{n}_2_conv" for n in (1, 2, 3)]
    for stride, wanted in ((16, [2, 4, 8]), (8, [4, 8, 16])):
        rates = multi_grid_rates(backbone, "auto", stride)
        dense = kd.surgery.dilate(backbone, stride, rates=rates)
        assert [dense.get_layer(name).rate for name in last] == [(r, r) for r in wanted]
    assert multi_grid_rates(backbone, None, 16) == {}
    assert list(multi_grid_rates(backbone, [3], 32).values()) == [3, 3, 3]


def test_deeplabv3_multiplies_unit_rates(mobilenet):
    model = kd.deeplabv3(mobilenet, 3, multi_grid=(1, 3)).get_layer("backbone")
    names = [f"block_{n}_depthwise" for n in (13, 14, 15, 16)]
    assert [model.get_layer(name).rate[0] for name in names] == [2, 6, 2, 6]


def test_hybrid_rates():
    assert hdc_rates(23, 4) == [2, 2, 5, 9, *[1, 2, 5, 9] * 4, 1, 2, 5]
    assert hdc_rates(3, 5) == [5, 9, 17] and hdc_rates(0, 4) == []


@pytest.mark.slow
def test_hybrid_rates_of_resnet101c():
    model = kd.duc_hdc("resnet101c", 19, weights=None)
    backbone = model.get_layer("backbone")
    fourth = [backbone.get_layer(f"conv4_{n}_3x3").dilation_rate[0] for n in range(1, 24)]
    assert fourth == [2, 2, 5, 9, *[1, 2, 5, 9] * 4, 1, 2, 5]
    assert [backbone.get_layer(f"conv5_{n}_3x3").dilation_rate[0] for n in (1, 2, 3)] == [5, 9, 17]
    assert [model.get_layer(f"aspp_{n}").rate[0] for n in range(1, 5)] == [6, 12, 18, 24]
    assert model.get_layer("aspp_1").filters == 16 * 19
    plain = kd.surgery.dilate(kd.backbone("resnet101c", weights=None), 8)
    assert {plain.get_layer(f"conv4_{n}_3x3").rate for n in range(1, 24)} == {(2, 2)}


def test_dense_upsampling_at_every_cell_width(backbone):
    for width in (1, 2, 4, 8):
        model = kd.duc_hdc(backbone, 3, cell_width=width, hybrid=False, rates=[6])
        assert model.get_layer("aspp_1").filters == 3 * (8 // width) ** 2
        assert run(model, images(1, 33, 47)).shape == (1, 33, 47, 3)


@pytest.mark.parametrize("context", ["basic", "large"])
def test_fresh_context_passes_positive_scores_on(context, backbone):
    front = kd.dilated_context(backbone, 4, context=None)
    kernel, bias = front.get_layer("front_end").get_weights()
    rng = np.random.default_rng(0)
    front.get_layer("front_end").set_weights([rng.normal(0, 0.1, kernel.shape), bias + 9])
    model = kd.dilated_context(backbone, 4, context=context, initialize_from=front)
    x = images(1, 64, 72)
    wanted, got = run(front, x), run(model, x)
    assert wanted.min() > 0
    tolerance = 1e-5 if context == "basic" else 0.2
    np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance)


def test_context_identity_sums_what_stands_for_a_class():
    wide = ops.convert_to_numpy(ContextIdentity(2)((3, 3, 4, 8)))
    assert np.count_nonzero(wide) == 2 * 2 * 4
    np.testing.assert_allclose(wide[1, 1].sum(0), np.ones(8))
    keras.utils.set_random_seed(0)
    noisy = ops.convert_to_numpy(ContextIdentity(2, stddev=0.01)((3, 3, 64, 64)))
    assert np.std(noisy.sum((0, 1, 2)) - 1) == pytest.approx(0.01, rel=0.3)


@pytest.mark.parametrize("rates", [(1, 2, 1), [1, 1, 2, 4, 8, 16, 32, 64, 1]])
def test_context_of_other_depths(rates, backbone):
    model = kd.dilated_context(backbone, 2, rates=rates)
    last = model.get_layer(f"context_{len(rates)}")
    assert last.filters == 2 * (4 if len(rates) == 3 else 32)
    assert run(model, images(1, 33, 47)).shape == (1, 33, 47, 2)


def test_pspnet_as_published_spreads_the_strided_convolution_too(mobilenet):
    names, rates = [f"block_{n}_depthwise" for n in (6, 7, 13, 14)], {}
    for which in ("before", "after"):
        backbone = kd.pspnet(mobilenet, 3, strided_rate=which).get_layer("backbone")
        rates[which] = [backbone.get_layer(name).dilation_rate[0] for name in names]
    assert rates == {"before": [1, 2, 2, 4], "after": [2, 2, 4, 4]}


# A small VGG, in the form of the authors


def small_vgg(include_top=True, weights=None, input_tensor=None, **kwargs):
    """The layers of VGG-16 by name, with few channels and its wide fully connected layers."""
    x = image = keras.Input((224, 224, 3)) if input_tensor is None else input_tensor
    for block, count in enumerate((2, 2, 3, 3, 3), 1):
        for n in range(1, count + 1):
            name = f"block{block}_conv{n}"
            x = layers.Conv2D(2 + block, 3, padding="same", activation="relu", name=name)(x)
        x = layers.MaxPooling2D(name=f"block{block}_pool")(x)
    if include_top:
        x = layers.Flatten(name="flatten")(x)
        x = layers.Dense(4096, activation="relu", name="fc1")(x)
        x = layers.Dense(4096, activation="relu", name="fc2")(x)
        x = layers.Dense(3, activation="softmax", name="predictions")(x)
    return keras.Model(keras.utils.get_source_inputs(image)[0], x, name="vgg16")


@pytest.fixture
def vgg(monkeypatch):
    monkeypatch.setattr(keras.applications, "VGG16", small_vgg)


def test_largefov_backbone(vgg):
    backbone = kd.deeplab_largefov("vgg16", 3, weights=None).get_layer("backbone")
    assert list(kd.surgery.strides(backbone).values()) == [1, 2, 4, 8, 8, 8]
    pools = {n: backbone.get_layer(f"block{n}_pool") for n in range(1, 6)}
    assert {n: (p.pool_size[0], p.strides[0]) for n, p in pools.items()} == {
        **dict.fromkeys((1, 2, 3), (3, 2)),
        **dict.fromkeys((4, 5), (3, 1)),
    }
    fifth = [backbone.get_layer(f"block5_conv{n}") for n in (1, 2, 3)]
    assert all(type(x) is AtrousConv2D and x.rate == (2, 2) for x in fifth)


@pytest.mark.parametrize("name", ["deeplab_largefov", "deeplabv2", "dilated_context"])
@pytest.mark.parametrize("channels", [3, 4])
def test_vgg_takes_any_size(name, channels, vgg):
    shape = (None, None, channels)
    model = BUILDERS[name]("VGG16", 2, weights=None, input_shape=shape)
    for size in ((33, 47), (64, 40)):
        assert run(model, images(1, *size, channels)).shape == (1, *size, 2)


def test_front_end_sees_a_cell_for_8_pixels(vgg):
    model = kd.dilated_context("vgg16", 2, weights=None, context=None)
    backbone = model.get_layer("backbone")
    for size in (8, 40):
        assert run(backbone, images(1, size, 48))["P5"].shape == (1, size // 8, 6, 4096)
    same = [x.name for x in backbone.layers if getattr(x, "padding", None) == "same"]
    assert same == [] and backbone.get_layer("fc1").rate == (4, 4)


def test_largefov_starts_from_every_third_tap_and_fourth_channel(vgg, tmp_path):
    classifier = small_vgg()
    for name in ("fc1", "fc2"):
        layer = classifier.get_layer(name)
        layer.bias.assign(np.arange(4096.0))
    classifier.save_weights(tmp_path / "vgg.weights.h5")
    model = kd.deeplab_largefov("vgg16", 3, weights=tmp_path / "vgg.weights.h5")
    first, second = (classifier.get_layer(name).get_weights() for name in ("fc1", "fc2"))
    kernel, bias = model.get_layer("fc6").get_weights()
    np.testing.assert_array_equal(kernel, first[0].reshape(7, 7, 7, 4096)[::3, ::3, :, ::4])
    np.testing.assert_array_equal(bias, np.arange(0, 4096, 4))
    kernel, bias = model.get_layer("fc7").get_weights()
    np.testing.assert_array_equal(kernel[0, 0], second[0][::4, ::4])
    np.testing.assert_array_equal(bias, np.arange(0, 4096, 4))
    got = model.get_layer("backbone").get_layer("block5_conv3").get_weights()[0]
    np.testing.assert_array_equal(got, classifier.get_layer("block5_conv3").get_weights()[0])
    other = kd.deeplab_largefov("vgg16", 3, weights=None)
    again = kd.deeplab_largefov(
        "vgg16", 3, weights=tmp_path / "vgg.weights.h5", initialize_from=other
    )
    np.testing.assert_array_equal(
        again.get_layer("fc6").get_weights()[0], other.get_layer("fc6").get_weights()[0]
    )


def test_vgg_without_its_top(vgg, tmp_path):
    small_vgg(include_top=False).save_weights(tmp_path / "notop.weights.h5")
    for build in (kd.deeplab_largefov, kd.dilated_context):
        with pytest.raises(ValueError, match="do not fit VGG16.*include_top"):
            build("vgg16", 3, weights=tmp_path / "notop.weights.h5")


# Auxiliary heads, from the data to labels


class Stripes:
    """Two samples whose left half is dark and of class 0."""

    def __len__(self):
        return 2

    def __getitem__(self, i):
        labels = np.zeros((64, 64), "uint8")
        labels[:, 32:] = 1
        return {"image": np.repeat(200 * labels[..., None], 3, -1), "segmentation": labels}


def auxiliary_weights(model):
    parts = [x for x in model.layers if x.name.startswith("auxiliary_")]
    return [ops.convert_to_numpy(w.value).copy() for x in parts for w in x.trainable_weights]


def test_auxiliary_from_data_to_labels(backbone):
    heads = kd.heads.with_auxiliary(kd.heads.Segmentation(2), weight=0.3)
    model = kd.pspnet(backbone, heads=heads)
    settings = kd.objectives(heads)
    assert settings["loss_weights"] == {"segmentation": 1.0, "auxiliary": 0.3}
    model.compile(keras.optimizers.SGD(0.01), **settings)
    loader = kd.datasets.Loader(Stripes(), heads, 2, workers=1)
    before = auxiliary_weights(model)
    history = model.fit(loader, epochs=2, verbose=0).history
    assert history["loss"][0] == pytest.approx(
        history["segmentation_loss"][0] + 0.3 * history["auxiliary_loss"][0], rel=1e-4
    )
    assert "segmentation_mean_iou" in history and "auxiliary_mean_iou" not in history
    for new, old in zip(auxiliary_weights(model), before, strict=True):
        assert np.any(new != old)
    product = kd.decoded(model, heads)
    labels = run(product, images(1, 33, 47))
    assert list(labels) == ["segmentation"] and labels["segmentation"].shape == (1, 33, 47)
    assert not any(x.name.startswith("auxiliary") for x in product.layers)


# Bad input


class Subclassed(keras.Model):
    def call(self, x):
        return x


@pytest.mark.parametrize("name", BUILDERS)
def test_bad_input_of_every_builder(name, backbone):
    build = BUILDERS[name]
    with pytest.raises(TypeError, match="`backbone` must be.*Received: Subclassed"):
        build(Subclassed(), 3)
    with pytest.raises(ValueError, match="Did you mean"):
        build("vgg61", 3, weights=None)
    with pytest.raises(ValueError, match="`num_classes` must be an integer >= 1"):
        build(backbone, 0)
    with pytest.raises(ValueError, match="either `num_classes` or `heads`"):
        build(backbone, 3, heads=kd.heads.Segmentation(3))
    with pytest.raises(ValueError, match="`input_shape` must be"):
        build(backbone, 3, input_shape=(None, None))
    with pytest.raises(
        FileNotFoundError,
        match="must be 'imagenet', 'torchvision', None, or the path of an existing",
    ):
        build("mobilenet", 3, weights="nowhere.weights.h5")
    heads = {"a": kd.heads.Segmentation(3), "b": kd.heads.Auxiliary(kd.heads.Segmentation(3), "P6")}
    with pytest.raises(ValueError, match="no feature P6 for the auxiliary head.*P1, P2"):
        build(backbone, heads=heads)
    if name in STRIDED:
        for stride in (0, 3, "8"):
            with pytest.raises(ValueError, match="`output_stride` must be a power of two"):
                build(backbone, 3, output_stride=stride)
        with pytest.raises(ValueError, match="must not be larger than the network's, which is 32"):
            build(backbone, 3, output_stride=64)


def test_a_small_image_and_too_many_channels(backbone):
    assert kd.pspnet(backbone, 3, input_shape=(4, 64, 3)).output_shape == (None, 4, 64, 3)
    with pytest.raises(ValueError, match="takes 3 channels, but `input_shape` has 4"):
        kd.pspnet(backbone, 3, input_shape=(None, None, 4))


def test_bad_padding_and_zoom_of_dilated_context(backbone):
    with pytest.raises(ValueError, match="`padding` must be one of 'once', 'each'"):
        kd.dilated_context(backbone, 3, padding="twice")
    with pytest.raises(ValueError, match="`zoom` must be one of 'transposed', 'top_left'"):
        kd.decoders.dilated_context(zoom="bilinear")


def test_bad_settings(backbone):
    for build, setting, values in (
        (kd.deeplabv2, "rates", (6, (), (0,), (1.5,))),
        (kd.deeplabv3, "rates", (6, (0,), "12")),
        (kd.deeplabv3, "multi_grid", (2, "yes", (0,))),
        (kd.deeplabv3plus, "rates", (6,)),
        (kd.dilated_context, "rates", (1, (1, -2))),
        (kd.duc_hdc, "rates", (6,)),
        (kd.pspnet, "bins", (6, (), (1, 0))),
    ):
        for value in values:
            with pytest.raises(ValueError, match=f"`{setting}` must be a tuple of integers >= 1"):
                build(backbone, 3, **{setting: value})
    with pytest.raises(ValueError, match="`multi_grid` must have a rate for each of the 2"):
        kd.deeplabv3(backbone, 3, multi_grid=(1, 2, 4))
    with pytest.raises(ValueError, match="`rate` must be an integer >= 1"):
        kd.deeplab_largefov(backbone, 3, rate=0)
    with pytest.raises(ValueError, match="`cell_width` must be one of 1, 2, 4, 8"):
        kd.duc_hdc(backbone, 3, cell_width=3)
    with pytest.raises(ValueError, match="`context` must be"):
        kd.dilated_context(backbone, 3, context="huge")
    with pytest.raises(ValueError, match="`strided_rate` must be"):
        kd.pspnet(backbone, 3, strided_rate="between")
    with pytest.raises(
        ValueError, match="`output_stride` must be 8 for DeepLab's VGG.*kd.backbone"
    ):
        kd.deeplabv2("vgg16", 3, weights=None, output_stride=16)


@pytest.mark.parametrize(
    "name", [n for n in BUILDERS if n not in ("deeplabv3", "deeplabv3plus", "lraspp")]
)
def test_a_backbone_without_the_feature(name, backbone):
    tap = windowed_convolutions(backbone, 8)[0]
    shallow = kd.surgery.feature_pyramid(backbone, taps={"P3": tap})
    with pytest.raises(ValueError, match="no feature P5 for the decoder to read. It has: P3"):
        BUILDERS[name](shallow, 3)

"""SegNet, SegNet-Basic and DeconvNet: what every builder promises, and what each paper says."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_dense as kd
from keras_dense.layers import MaxUnpool2D
from keras_dense.models.mirror import pooling_indices
from keras_dense.testing import check_model

from .small import images, run, trained

NAMES = ("segnet", "segnet_basic", "deconvnet")


def small_vgg(widths=(4, 5, 6), depths=(1, 2, 1), pool=2, padding="valid"):
    """Convolutions with ReLU and max poolings, like VGG's."""
    x = image = keras.Input((None, None, 3))
    for n, (width, depth) in enumerate(zip(widths, depths, strict=True), 1):
        for i in range(1, depth + 1):
            name = f"block{n}_conv{i}"
            x = layers.Conv2D(width, 3, padding="same", activation="relu", name=name)(x)
        x = layers.MaxPooling2D(pool, 2, padding, name=f"block{n}_pool")(x)
    return keras.Model(image, x, name="small_vgg")


def build(which, backbone=None, num_classes=3, **kwargs):
    if which == "segnet_basic":
        kwargs = {"filters": 4, "kernel_size": 3, **kwargs}
    elif backbone is None:
        backbone = small_vgg()
    if which == "deconvnet":
        kwargs = {"filters": 16, **kwargs}
    return getattr(kd, which)(backbone, num_classes, **kwargs)


# What every builder promises


@pytest.mark.parametrize("name", NAMES)
def test_contract(name, sizes):
    # Large enough for fc6: batch norm over two single cells would pass no gradient on.
    sizes = ((72, 80), *sizes[1:]) if sizes[1:] else sizes
    check_model(build(name), kd.heads.Segmentation(3), sizes=sizes)


@pytest.mark.parametrize("name", NAMES)
def test_several_heads_share_the_decoder(name):
    heads = kd.heads.with_auxiliary(kd.heads.Segmentation(3), level="P2")
    heads["edges"] = kd.heads.Segmentation(2)
    model = build(name, heads=heads, num_classes=None, input_shape=(33, 47, 3), name="mine")
    assert model.name == "mine"
    assert {key: x.shape for key, x in model.output.items()} == {
        "segmentation": (None, 33, 47, 3),
        "auxiliary": (None, 33, 47, 3),
        "edges": (None, 33, 47, 2),
    }
    assert len([x for x in model.layers if isinstance(x, MaxUnpool2D)]) == (
        4 if name == "segnet_basic" else 3
    )


def test_mixed_precision_keeps_indices():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = build("segnet")
    backbone = model.get_layer("backbone")
    assert {x.dtype for key, x in backbone.output.items() if key[0] == "I"} == {"int32"}
    model.compile("sgd", **kd.objectives(kd.heads.Segmentation(3)))
    loss = model.train_on_batch(images(2, 32, 32), np.zeros((2, 32, 32), "int32"))
    assert np.isfinite(loss).all()
    y = model.predict(images(1, 33, 47), verbose=0)
    assert y.dtype == np.float32 and y.shape == (1, 33, 47, 3) and np.isfinite(y).all()


@pytest.mark.parametrize(
    "name", [NAMES[0], *(pytest.param(n, marks=pytest.mark.exhaustive) for n in NAMES[1:])]
)
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow exports")
def test_export_with_free_sizes(name, tmp_path):
    import tensorflow as tf

    model = build(name)
    model.export(tmp_path / name, verbose=False)
    loaded = tf.saved_model.load(tmp_path / name)
    for size in ((33, 47), (97, 131)):
        x = images(1, *size).astype("float32")
        np.testing.assert_allclose(loaded.serve(x).numpy(), run(model, x), atol=1e-5)


@pytest.mark.parametrize("name, pool", [("segnet", 3), ("deconvnet", (2, 3))])
def test_other_poolings(name, pool):
    """The decoder unpools as the backbone pools, overlapping windows, too."""
    model = build(name, small_vgg(pool=pool, padding="same"))
    unpool = model.get_layer("unpool1")
    assert unpool.pool_size == ((3, 3) if pool == 3 else pool) and unpool.padding == "same"
    assert run(model, images(1, 33, 47)).shape == (1, 33, 47, 3)


@pytest.mark.parametrize("name", NAMES)
def test_a_backbone_of_ones_own(name):
    """Four channels, batch norms already there, and a convolution after the last pooling."""
    x = image = keras.Input((None, None, 4))
    for width in (4, 6):
        x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(9, 1, activation="relu", name="last")(x)
    shape = {"input_shape": (33, 47, 4)}
    backbone = kd.surgery.feature_pyramid(keras.Model(image, x, name="own"))
    model = build(name, backbone, **shape)
    assert model.output_shape == (None, 33, 47, 3)
    norms = [x for x in model.get_layer("own").layers if isinstance(x, layers.BatchNormalization)]
    assert len(norms) == 3  # one more, after `last`
    ready = kd.surgery.pool_with_indices(backbone, name="ready")
    model = build(name, ready, **shape)
    assert model.get_layer("ready") is ready
    if name == "segnet":
        assert run(model, images(1, 33, 47, 4)).shape == (1, 33, 47, 3)


def test_starting_from_another(tmp_path):
    first = build("segnet")
    first.save(tmp_path / "first.keras")
    second = build("segnet", initialize_from=tmp_path / "first.keras")
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


# The authors' parameter counts (trainable weights, as in their files: statistics do not count)


@pytest.mark.parametrize("classes, count", [(21, 29_455_125), (12, 29_449_932)])
def test_parameters_of_segnet(classes, count, zero_weights):
    model = kd.segnet("vgg16", classes, weights=None)
    assert trained(model) == count
    assert model.count_params() == count + 2 * (4224 + 3712)  # means and variances


def test_parameters_of_segnet_basic(zero_weights):
    assert trained(kd.segnet_basic(num_classes=11)) == 1_416_587


@pytest.mark.slow
def test_parameters_of_deconvnet(zero_weights):
    assert trained(kd.deconvnet("vgg16", weights=None)) == 251_805_653


# What the papers say


def test_segnet_mirrors_its_backbone():
    model = build("segnet", small_vgg((4, 5, 6), (2, 3, 1)))
    convolutions = [x for x in model.layers if type(x) is layers.Conv2D]
    assert [x.filters for x in convolutions] == [5, 5, 5, 4, 4, 3]
    assert {x.kernel_size for x in convolutions} == {(3, 3)}
    assert model.get_layer("scores").use_bias and not hasattr(model, "scores_bn")
    names = [x.name for x in model.layers]
    assert names.index("unpool2") < names.index("up2_conv1") < names.index("up2_conv3_relu")
    shallow = build("segnet", small_vgg((4, 5, 6), (2, 3, 1)), depths=(1, 1, 2))
    assert [x.filters for x in shallow.layers if type(x) is layers.Conv2D] == [6, 5, 4, 3]


def test_segnet_basic_has_no_relu_on_the_way_up():
    model = kd.segnet_basic(num_classes=11, filters=8)
    backbone = model.get_layer("backbone")
    up = [x.name for x in model.layers if x.name.startswith("up")]
    down = [x.name for x in backbone.layers if x.name.startswith("down")]
    assert up == [f"up{n}_conv{s}" for n in (4, 3, 2, 1) for s in ("", "_bn")]
    assert down == [
        f"down{n}_{s}" for n in (1, 2, 3, 4) for s in ("conv", "conv_bn", "conv_relu", "pool")
    ]
    assert (
        model.get_layer("up1_conv").kernel_size
        == backbone.get_layer("down1_conv").kernel_size
        == (7, 7)
    )
    assert model.get_layer("scores").kernel_size == (1, 1)


def kind_of(key):
    return "int32" if key.startswith("I") else None


def test_only_positions_go_from_encoder_to_decoder():
    """Finer features give the decoder their size, and none of their values."""
    rng = np.random.default_rng(0)
    values = {"P3": rng.normal(size=(1, 2, 3, 6))}
    for n, width in enumerate((4, 5, 6)):
        values[f"P{n}"] = rng.normal(size=(1, 16 >> n, 24 >> n, width))
        rows, columns = np.meshgrid(range(8 >> n), range(12 >> n), indexing="ij")
        places = (2 * rows * (24 >> n) + 2 * columns)[None, ..., None]
        values[f"I{n + 1}"] = np.repeat(places, width, -1).astype("int32")
    inputs = {
        key: keras.Input((None, None, x.shape[-1]), dtype=kind_of(key), name=key)
        for key, x in values.items()
    }
    found = kd.decoders.segnet((1, 2, 1))(inputs, {"": kd.decoders.Wanted(3)})
    network = keras.Model(inputs, found[""].scores)
    wanted = run(network, values)
    for n in range(3):
        values[f"P{n}"] = -values[f"P{n}"]
    np.testing.assert_array_equal(run(network, values), wanted)
    values["I1"] = values["I1"] + 1
    assert np.any(run(network, values) != wanted)


def test_vgg_weights_are_kept():
    vgg = small_vgg()
    before, after = kd.backbone(vgg), build("segnet", vgg).get_layer("backbone")
    assert sorted(after.output) == ["I1", "I2", "I3", "P0", "P1", "P2", "P3"]
    x = images(1, 32, 48).astype("float32")
    got = run(after, x)
    for key, wanted in run(before, x).items():
        np.testing.assert_allclose(got[key], wanted, atol=1e-3 * np.abs(wanted).max())


def full_vgg(include_top=True, weights=None, input_tensor=None, **kwargs):
    """The layers of VGG-16 by name, few convolutions and channels."""
    x = image = keras.Input((224, 224, 3)) if input_tensor is None else input_tensor
    for block in range(1, 6):
        name = f"block{block}_conv1"
        x = layers.Conv2D(1 + block, 3, padding="same", activation="relu", name=name)(x)
        x = layers.MaxPooling2D(name=f"block{block}_pool")(x)
    if include_top:
        x = layers.Flatten(name="flatten")(x)
        x = layers.Dense(32, activation="relu", name="fc1")(x)
        x = layers.Dense(32, activation="relu", name="fc2")(x)
        x = layers.Dense(3, activation="softmax", name="predictions")(x)
    return keras.Model(keras.utils.get_source_inputs(image)[0], x, name="vgg16")


def test_deconvnet_keeps_the_fully_connected_layers(monkeypatch, tmp_path):
    """At 224×224 its fc7 is that of the classifier: one cell."""
    monkeypatch.setattr(keras.applications, "VGG16", full_vgg)
    classifier = full_vgg()
    classifier.save_weights(tmp_path / "vgg.weights.h5")
    model = kd.deconvnet("vgg16", 2, weights=tmp_path / "vgg.weights.h5", filters=32)
    vgg = kd.backbones.application(
        "vgg16", tmp_path / "vgg.weights.h5", standardize=True, include_top=True
    )
    x = images(1, 224, 224).astype("float32")
    wanted = run(keras.Model(vgg.input, vgg.get_layer("fc2").output), x)
    y = run(model.get_layer("backbone"), x)["P5"]
    for name in ("fc6", "fc7"):
        y = ops.relu(model.get_layer(name)(y))
    assert y.shape == (1, 1, 1, 32)
    scale = np.abs(wanted).max()
    np.testing.assert_allclose(ops.convert_to_numpy(y)[0, 0], wanted, atol=1e-3 * scale)
    half = kd.deconvnet("vgg16", 2, weights=tmp_path / "vgg.weights.h5", filters=8)
    assert half.get_layer("fc6").kernel.shape == (7, 7, 6, 8)
    full_vgg(include_top=False).save_weights(tmp_path / "notop.weights.h5")
    with pytest.raises(ValueError, match="do not fit VGG16.*include_top"):
        kd.deconvnet("vgg16", 2, weights=tmp_path / "notop.weights.h5")


def test_a_map_smaller_than_fc6_is_continued_with_zeros():
    """Cells beyond the image count as zeros."""
    decoder = kd.decoders.deconvnet((1,), filters=8)
    features = {
        key: keras.Input((None, None, 4), dtype=kind_of(key), name=key)
        for key in ("P0", "P1", "I1")
    }
    found = decoder(features, {"": kd.decoders.Wanted(4)})[""]
    model = keras.Model(features, found.scores)
    for size, cells in (((3, 9), (1, 3)), ((7, 7), (1, 1)), ((10, 8), (4, 2))):
        values = {
            "P0": np.zeros((1, 2 * size[0], 2 * size[1], 4)),
            "P1": np.ones((1, *size, 4)),
            "I1": np.zeros((1, *size, 4), "int32"),
        }
        padded = tuple(max(n, 7) for n in size)
        assert model.get_layer("fc6").compute_output_shape((1, *padded, 4))[1:3] == cells
        assert run(model, values).shape == (1, 2 * size[0], 2 * size[1], 4)


# Bad input


@pytest.mark.parametrize("name", NAMES)
def test_bad_input_of_every_builder(name):
    with pytest.raises(ValueError, match="Did you mean"):
        build(name, "vgg61", weights=None)
    with pytest.raises(ValueError, match="`num_classes` must be an integer >= 1"):
        build(name, num_classes=0)
    with pytest.raises(ValueError, match="either `num_classes` or `heads`"):
        build(name, heads=kd.heads.Segmentation(3))
    with pytest.raises(ValueError, match="`input_shape` must be"):
        build(name, input_shape=(None, None))
    with pytest.raises(ValueError, match="`taps` must name layers of "):
        build(name, kd.backbone(small_vgg(), taps={"P1": "pool9"}))


@pytest.mark.parametrize(
    "name, reader", list(zip(NAMES, ("SegNet", "SegNet-Basic", "DeconvNet"), strict=True))
)
def test_a_backbone_that_does_not_pool(name, reader):
    x = image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.MaxPooling2D()(layers.Conv2D(4, 3, padding="same", activation="relu")(x))
    with pytest.raises(ValueError, match=f"no feature I1 for the {reader}.* 1 to 2.* P1, P2, I2"):
        build(name, keras.Model(image, x))
    x = layers.MaxPooling2D()(image)
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(x)
    with pytest.raises(ValueError, match=f"no feature I2 for the {reader}.* from stride 2 to 4"):
        build(name, keras.Model(image, x))
    with pytest.raises(ValueError, match="no feature I1"):
        pooling_indices({})


def test_bad_settings():
    for bad in (3, (), (1, 0, 1)):
        with pytest.raises(ValueError, match="`depths` must be a tuple of integers >= 1"):
            build("segnet", depths=bad)
    for name in ("segnet", "deconvnet"):
        with pytest.raises(ValueError, match=r"each of the 3 poolings.*depths=\(1, 2\)"):
            build(name, depths=(1, 2))
    for bad in (0, 2.5, True):
        for name in ("segnet_basic", "deconvnet"):
            with pytest.raises(ValueError, match="`filters` must be an integer >= 1"):
                build(name, filters=bad)
        with pytest.raises(ValueError, match="`kernel_size` must be an integer >= 1"):
            build("segnet_basic", kernel_size=bad)
    with pytest.raises(
        ValueError, match="`weights` must be None without a backbone.*weights='imagenet'"
    ):
        build("segnet_basic", weights="imagenet")

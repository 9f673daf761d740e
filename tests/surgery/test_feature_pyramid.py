import keras
import numpy as np
import pytest
from keras import layers

import keras_dense as kd
from keras_dense.surgery import feature_pyramid, rebuild, strides

from .networks import EVERY_FAMILY, images, randomized, small_classifier

# The features that a reader of the literature would name, by the layers that make them.
TEXTBOOK = {
    "VGG16": ["block2_conv2", "block3_conv3", "block4_conv3", "block5_conv3", "block5_pool"],
    "ResNet50": [
        "conv1_relu",
        "conv2_block3_out",
        "conv3_block4_out",
        "conv4_block6_out",
        "conv5_block3_out",
    ],
    "ResNet50V2": [
        "conv1_conv",
        "conv2_block3_preact_relu",
        "conv3_block4_preact_relu",
        "conv4_block6_preact_relu",
        "post_relu",
    ],
    "MobileNet": [f"conv_pw_{n}_relu" for n in (1, 3, 5, 11, 13)],
    "MobileNetV2": [f"block_{n}_expand_relu" for n in (1, 3, 6, 13)] + ["out_relu"],
    "DenseNet121": ["conv1_relu", "pool2_relu", "pool3_relu", "pool4_relu", "relu"],
    "EfficientNetB0": [f"block{n}a_expand_activation" for n in (2, 3, 4, 6)] + ["top_activation"],
}
CHANNELS = {
    "MobileNetV3Small": [16, 72, 96, 288, 576],
    "EfficientNetV2B0": [16, 32, 192, 672, 1280],
    "ConvNeXtTiny": [None, 96, 192, 384, 768],
    "Xception": [64, 128, 256, 728, 2048],
    "InceptionV3": [64, 192, 288, 768, 2048],
    "InceptionResNetV2": [64, 192, 320, 1088, 1536],
    "NASNetMobile": [32, 44, 264, 528, 1056],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY_FAMILY)
def test_every_family(name):
    backbone = kd.backbone(name, weights=None)
    levels = [f"P{n}" for n in range(1, 6)]
    expected = {level: 2 ** int(level[1]) for level in backbone.output}
    assert strides(backbone) == expected
    assert set(levels[1:]) <= set(expected)
    made_by = {level: x._keras_history.operation.name for level, x in backbone.output.items()}
    if name in TEXTBOOK:
        assert [made_by[level] for level in levels] == TEXTBOOK[name]
    else:
        channels = [backbone.output[x].shape[-1] if x in backbone.output else None for x in levels]
        assert channels == CHANNELS[name]
    # Every map lies on the grid of its stride, also where the stem has no padding.
    for level, shape in backbone.compute_output_shape((1, 256, 320, 3)).items():
        assert shape[1:3] == (256 // expected[level], 320 // expected[level]), level


def test_values_are_those_of_the_original():
    app = randomized(keras.applications.MobileNetV2(weights=None, alpha=0.35))
    pyramid = feature_pyramid(app)
    x = images(1, 224, 224)
    for level, layer in (("P2", "block_3_expand_relu"), ("P5", "out_relu")):
        wanted = keras.Model(app.input, app.get_layer(layer).output).predict(x, verbose=0)
        np.testing.assert_allclose(pyramid.predict(x, verbose=0)[level], wanted, atol=1e-5)
    assert pyramid.input_shape == (None, None, None, 3)


def test_padding_a_valid_stem_keeps_the_inside():
    """An aligned feature is the feature of the original, moved by a whole number of pixels."""
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, strides=2, activation="relu")(image)
    x = layers.Conv2D(4, 3, activation="relu")(x)
    x = layers.MaxPooling2D(3, strides=2)(x)
    valid = keras.Model(image, x)
    aligned = feature_pyramid(valid)
    photo = images(1, 64, 64)
    y = aligned.predict(photo, verbose=0)["P2"]
    assert y.shape == (1, 16, 16, 4)
    # The padded 3×3 of stride 1 reads one cell (two pixels) earlier: the valid network sees the
    # same after a shift by two pixels of the image.
    wanted = valid.predict(np.roll(photo, 2, (1, 2)), verbose=0)
    np.testing.assert_allclose(y[:, 1:14, 1:14], wanted[:, 1:14, 1:14], atol=1e-6)


def test_a_network_of_ones_own_with_nested_models():
    model = small_classifier()
    outer = keras.Sequential([keras.Input((24, 24, 3)), layers.Rescaling(2.0), model])
    pyramid = feature_pyramid(outer)
    assert strides(pyramid) == {"P1": 2, "P2": 4}
    gated = next(x for x in model.layers if isinstance(x, layers.Multiply))
    pooled = next(x for x in model.layers if isinstance(x, layers.MaxPooling2D))
    wanted = keras.Model(model.input, {"P1": gated.output, "P2": pooled.output})
    x = images(1, 24, 24)
    got = pyramid.predict(x, verbose=0)
    for level, y in wanted.predict(2 * x, verbose=0).items():
        np.testing.assert_allclose(got[level], y, atol=1e-5)


def test_taps_by_name():
    app = keras.applications.MobileNet(weights=None, alpha=0.25, input_shape=(128, 128, 3))
    pyramid = feature_pyramid(app, taps={"P3": "conv_pw_4_relu", "P5": "conv_pw_12_relu"})
    assert strides(pyramid) == {"P3": 8, "P5": 32}
    with pytest.raises(ValueError, match="'P3': 'conv_pw_99'.*Its layers: .*conv_pw_12_relu"):
        feature_pyramid(app, taps={"P3": "conv_pw_99"})


def test_a_pyramid_stays_one():
    backbone = kd.backbone("mobilenet", weights=None, alpha=0.25)
    again = feature_pyramid(backbone)
    x = images(1, 64, 96)
    for level, y in backbone.predict(x, verbose=0).items():
        np.testing.assert_allclose(again.predict(x, verbose=0)[level], y, atol=1e-6)


def test_keras_hub():
    keras_hub = pytest.importorskip("keras_hub")
    hub = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 64, 128, 128],
        stackwise_num_blocks=[2, 2, 2, 2],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block",
        image_shape=(None, None, 3),
    )
    pyramid = feature_pyramid(hub)
    assert strides(pyramid) == {"P2": 4, "P3": 8, "P4": 16, "P5": 32}
    x = images(1, 64, 64)
    np.testing.assert_allclose(
        pyramid.predict(x, verbose=0)["P5"], hub.predict(x, verbose=0), atol=1e-5
    )


@pytest.mark.parametrize("kind", ["resnet", "darknet"])
def test_keras_cv(kind):
    models = pytest.importorskip("keras_cv").models
    if kind == "resnet":
        backbone = models.ResNetBackbone(
            stackwise_filters=[64, 64, 128, 128],
            stackwise_blocks=[2, 2, 2, 2],
            stackwise_strides=[1, 2, 2, 2],
            block_type="basic_block",
            include_rescaling=True,
        )
    else:
        backbone = models.CSPDarkNetBackbone(
            stackwise_channels=[16, 32, 32, 64],
            stackwise_depth=[1, 1, 1, 1],
            include_rescaling=True,
        )
    pyramid = feature_pyramid(backbone)
    assert {k: v for k, v in strides(pyramid).items() if k != "P1"} == {
        "P2": 4,
        "P3": 8,
        "P4": 16,
        "P5": 32,
    }
    x = (images(1, 64, 64) + 1) * 127.5
    for level, name in backbone.pyramid_level_inputs.items():
        wanted = keras.Model(backbone.input, backbone.get_layer(name).output).predict(x, verbose=0)
        np.testing.assert_allclose(pyramid.predict(x, verbose=0)[level], wanted, atol=1e-5)


def test_strides_are_read_from_operations():
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, strides=(2, 1))(image)
    y = layers.Conv2DTranspose(4, 4, strides=4)(x)
    z = layers.GlobalAveragePooling2D()(x)
    found = strides(keras.Model(image, {"x": x, "y": y, "z": z, "sliced": x[:, ::2, ::4]}))
    assert found["x"] == (2, 1) and found["z"] is None and found["sliced"] == 4
    assert [float(s) for s in found["y"]] == [0.5, 0.25]


def test_rebuild_copies_everything_and_touches_nothing():
    model = small_classifier()
    copy = rebuild(model)
    x = images(2, 24, 24)
    np.testing.assert_array_equal(copy.predict(x, verbose=0), model.predict(x, verbose=0))
    assert copy.input.name == model.input.name
    assert not {id(w) for w in copy.weights} & {id(w) for w in model.weights}
    assert copy.count_params() == model.count_params()
    assert isinstance(copy.get_layer("gate").kernel_initializer, keras.initializers.GlorotUniform)


def test_bad_input():
    with pytest.raises(ValueError, match="`model` must have feature maps.*taps"):
        feature_pyramid(keras.Sequential([keras.Input((8, 8, 3)), layers.MaxPooling2D()]))
    with pytest.raises(TypeError, match="functional Keras model"):
        feature_pyramid(layers.Conv2D(3, 3))

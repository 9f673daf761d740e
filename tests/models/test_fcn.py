import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_dense as kd
from keras_dense.testing import check_model

from .small import images, plain_backbone


@pytest.fixture(scope="module")
def backbone():
    return kd.backbone("mobilenet", weights=None, alpha=0.25)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("builder", "parameters", "per_channel"),
    [
        (kd.fcn32s, 136_152_917, 134_346_581 + 86_016),
        (kd.fcn16s, 134_815_994, 134_357_354 + 21_840),
        (kd.fcn8s, 134_489_759, 134_362_751 + 6_048),
    ],
)
def test_parameters_of_the_authors_files(builder, parameters, per_channel, zero_weights):
    assert builder("vgg16", weights=None).count_params() == parameters
    assert builder("vgg16", weights=None, per_channel=True).count_params() == per_channel


def vgg_like():
    """A small VGG: five poolings, then fc6 of 7×7 windows and fc7, as in the paper."""
    image = keras.Input((224, 224, 3))
    x = image
    for stage in range(1, 6):
        x = layers.Conv2D(4 + stage, 3, padding="same", activation="relu", name=f"conv{stage}")(x)
        x = layers.MaxPooling2D(name=f"pool{stage}")(x)
    x = layers.Flatten()(x)
    x = layers.Dense(20, activation="relu", name="fc6")(x)
    x = layers.Dense(16, activation="relu", name="fc7")(x)
    return keras.Model(image, layers.Dense(10, name="fc8")(x))


def test_fully_connected_layers_are_transplanted():
    classifier = vgg_like()
    model = kd.fcn8s(classifier, 5)
    backbone = model.get_layer("backbone")
    for name, kernel in (("fc6", (7, 7, 9, 20)), ("fc7", (1, 1, 20, 16))):
        weights, stored = backbone.get_layer(name).get_weights(), classifier.get_layer(name)
        assert weights[0].shape == kernel
        np.testing.assert_array_equal(weights[0].ravel(), stored.get_weights()[0].ravel())
    assert [x.rate for x in backbone.layers if isinstance(x, layers.Dropout)] == [0.5, 0.5]
    made_by = {k: v._keras_history.operation.name for k, v in backbone.output.items()}
    assert made_by["P3"] == "pool3" and made_by["P4"] == "pool4"
    # In the middle of a 224×224 image, fc7 sees what the classifier's sees.
    x = images(1, 224, 224)
    wanted = keras.Model(classifier.input, classifier.get_layer("fc7").output)
    np.testing.assert_allclose(
        backbone.predict(x, verbose=0)["P5"][:, 3, 3],
        wanted.predict(x.astype("float32"), verbose=0),
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize("builder", [kd.fcn32s, kd.fcn16s, kd.fcn8s])
def test_contract(builder, sizes):
    model = builder(plain_backbone(), 3)
    check_model(model, kd.heads.Segmentation(3), sizes=sizes)


@pytest.mark.parametrize("builder", [kd.fcn32s, kd.fcn8s])
def test_margin_keeps_the_contract(builder, sizes):
    model = builder(vgg_like(), 3, margin=True)
    check_model(model, kd.heads.Segmentation(3), sizes=sizes)


@pytest.mark.once
def test_a_margin_needs_fully_connected_layers_and_its_grid(backbone):
    with pytest.raises(ValueError, match="`margin` must be False without a classifier"):
        kd.fcn8s(backbone, 3, margin=True)
    with pytest.raises(ValueError, match="`margin` must be False without a classifier"):
        kd.fcn8s("mobilenet", 3, weights=None, margin=True)
    with pytest.raises(ValueError, match="`grid` must be 'image': with `margin` the image"):
        kd.fcn8s(vgg_like(), 3, margin=True, grid="corners")
    with pytest.raises(ValueError, match="`margin` must be"):
        kd.fcn8s(vgg_like(), 3, margin=100)
    with pytest.raises(ValueError, match="`offsets` must be"):
        kd.decoders.fcn(("P4", "P3"), offsets=(5, 9))


@pytest.mark.once
def test_with_and_without_a_margin_share_their_weights():
    plain, margined = kd.fcn8s(vgg_like(), 3), kd.fcn8s(vgg_like(), 3, margin=True)
    for name in ("score_P5", "upscore_P5", "upscore_P4", "upscore8"):
        shapes = [[w.shape for w in m.get_layer(name).weights] for m in (plain, margined)]
        assert shapes[0] == shapes[1]


@pytest.mark.once
def test_options_keep_the_contract(backbone):
    heads = {"classes": kd.heads.Segmentation(3), "mask": kd.heads.Segmentation(1)}
    model = kd.fcn8s(kd.surgery.rebuild(backbone), heads=heads, per_channel=True, at_once=True)
    assert {x.name for x in model.layers if isinstance(x, layers.Rescaling)} == {
        f"{key}_scale_{level}" for key in heads for level in ("P3", "P4")
    }
    check_model(model, heads)


def test_a_fresh_network_predicts_bilinear_scores(backbone):
    """With skips at zero, FCN-8s is the coarse score, upsampled by 2, 2 and 8."""
    model = kd.fcn8s(backbone, 2)
    score = model.get_layer("score_P5")
    score.set_weights([np.random.default_rng(0).normal(size=w.shape) for w in score.get_weights()])
    x = images(1, 256, 320)
    coarse = ops.convert_to_numpy(score(backbone(x.astype("float32"))["P5"]))
    y = model.predict(x, verbose=0)
    fine = coarse
    for factor in (2, 2, 8):
        fine = ops.convert_to_numpy(kd.layers.BilinearUpsampling(factor)(fine))
    inside = (slice(None), slice(64, -64), slice(64, -64))
    np.testing.assert_allclose(y[inside], fine[inside], atol=1e-4)


def test_stages_start_where_the_one_before_ended(backbone, tmp_path):
    first = kd.fcn32s(kd.surgery.rebuild(backbone), 4)
    rng = np.random.default_rng(0)
    for name in ("score_P5", "upscore32"):
        layer = first.get_layer(name)
        layer.set_weights([w + 0.1 * rng.normal(size=w.shape) for w in layer.get_weights()])
    second = kd.fcn16s(kd.surgery.rebuild(backbone), 4, initialize_from=first)
    np.testing.assert_array_equal(
        second.get_layer("score_P5").get_weights()[0], first.get_layer("score_P5").get_weights()[0]
    )
    weights = [m.get_layer("backbone").get_weights() for m in (first, second)]
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)
    x = images(1, 256, 256)
    first.get_layer("upscore32").set_weights(
        kd.fcn32s(backbone, 4).get_layer("upscore32").get_weights()
    )
    # The new skip starts at zero, so the prediction is that of the first stage, away from borders
    # up to how two bilinear steps differ from one.
    a, b = (m.predict(x, verbose=0)[:, 96:-96, 96:-96] for m in (first, second))
    assert np.abs(a - b).max() < 0.15 * np.ptp(a)
    second.save(tmp_path / "second.keras")
    third = kd.fcn8s(kd.surgery.rebuild(backbone), 4, initialize_from=tmp_path / "second.keras")
    np.testing.assert_array_equal(
        third.get_layer("upscore_P5").get_weights()[0],
        second.get_layer("upscore_P5").get_weights()[0],
    )


def test_initialize_from_what_does_not_fit(backbone, tmp_path):
    first = kd.fcn32s(backbone, 4)
    with pytest.raises(ValueError, match="must have the shapes of .* in the layer 'score_P5'"):
        kd.fcn16s(backbone, 5, initialize_from=first)
    with pytest.raises(ValueError, match="must share layers with 'fcn16s'"):
        kd.fcn16s(backbone, 5, initialize_from=vgg_like())
    with pytest.raises(
        FileNotFoundError, match="`initialize_from` must be a model or an existing file"
    ):
        kd.fcn16s(backbone, 5, initialize_from=tmp_path / "none.keras")


def test_frozen_upsampling(backbone):
    model = kd.fcn8s(backbone, 3, learned=False)
    frozen = [x for x in model.layers if x.name.startswith("upscore")]
    assert len(frozen) == 3 and not any(x.trainable_weights for x in frozen)


def test_mixed_precision_ends_in_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = kd.fcn8s(kd.backbone("mobilenet", weights=None, alpha=0.25), 3)
    assert model.get_layer("score_P5").compute_dtype == "bfloat16"
    # 0–255 must not be rounded before the backbone standardizes it.
    assert model.get_layer("pad").compute_dtype == "float32"
    model.compile("sgd", **kd.objectives(kd.heads.Segmentation(3)))
    history = model.fit(images(2), np.zeros((2, 64, 64), "int32"), verbose=0).history
    assert np.isfinite(history["loss"][0])
    y = model.predict(images(1, 65, 77), verbose=0)
    assert y.shape == (1, 65, 77, 3) and y.dtype == np.float32


def test_a_decoder_of_ones_own(backbone):
    def decoder(features):
        return layers.Conv2D(8, 3, padding="same", activation="relu")(features["P5"])

    heads = {"a": kd.heads.Segmentation(3), "b": kd.heads.Segmentation(2)}
    check_model(kd.assemble(kd.surgery.rebuild(backbone), decoder, heads), heads)


def test_fixed_input_shape(backbone):
    model = kd.fcn8s(backbone, 3, input_shape=(97, 131, 3))
    assert model.output_shape == (None, 97, 131, 3)


class Subclassed(keras.Model):
    def call(self, x):
        return x


def test_bad_input(backbone):
    with pytest.raises(ValueError, match="`num_classes` must be an integer >= 1"):
        kd.fcn8s(backbone, 0)
    with pytest.raises(ValueError, match="`num_classes` must be an integer >= 1"):
        kd.fcn8s(backbone, 21.0)
    with pytest.raises(ValueError, match="either `num_classes` or `heads`"):
        kd.fcn8s(backbone, 3, heads=kd.heads.Segmentation(3))
    with pytest.raises(ValueError, match="Did you mean 'VGG19' or 'VGG16'"):
        kd.fcn8s("vgg61", 3)
    with pytest.raises(TypeError, match="Received: Subclassed"):
        kd.fcn8s(Subclassed(), 3)
    with pytest.raises(ValueError, match="`input_shape` must be"):
        kd.fcn8s(backbone, 3, input_shape=(None, None))
    with pytest.raises(ValueError, match="no feature P4 for the FCN"):
        kd.fcn8s(kd.surgery.feature_pyramid(backbone, taps={"P5": "conv_pw_13_relu"}), 3)


def test_many_classes_are_upsampled_alone(backbone):
    """Kernels from every class to every class would be most of the network."""

    def kernels(model):
        found = {w.path.split("/")[-2]: w.shape for w in model.weights if "upscore" in w.path}
        return sum(int(np.prod(shape)) for shape in found.values())

    assert kernels(kd.fcn8s(backbone, 100)) == (256 + 2 * 16) * 100**2
    assert kernels(kd.fcn8s(backbone, 101)) == (256 + 2 * 16) * 101
    assert kernels(kd.fcn32s(backbone, 101)) == 64**2 * 101
    assert kernels(kd.fcn8s(backbone, 101, per_channel=False)) == (256 + 2 * 16) * 101**2


def test_bad_images(backbone):
    # Called, without `predict`: on JAX, Keras 3.15 takes the weights out of a model while `predict`
    # runs, and any error there leaves the model (and its backbone) without them.
    with pytest.raises(ValueError, match=r"64, 4\)"):
        kd.fcn8s(backbone, 3)(images(1, 64, 64, channels=4))


@pytest.mark.parametrize("size", [(31, 33), (5, 7), (1, 1)])
def test_images_smaller_than_the_stride(backbone, size):
    """They are mirrored until they are as large."""
    x = images(1, *size)
    y = kd.fcn8s(backbone, 3).predict_on_batch(x)
    assert y.shape == (1, *size, 3) and np.isfinite(y).all()

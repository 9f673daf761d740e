import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_dense as kd
from keras_dense.heads import Auxiliary, Colorization, Segmentation
from keras_dense.ops import ab_bins
from keras_dense.ops.color import full_size, to_lab
from keras_dense.testing import check_model


def image(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype="uint8")


def small(stride=2, channels=8):
    """A backbone of one feature, and a decoder that hands it on."""
    x = keras.Input((None, None, 3))
    y = layers.Conv2D(channels, 3, strides=stride, padding="same", activation="relu")(x)
    return keras.Model(x, {"P1": y}, name="backbone"), lambda features: features["P1"]


@pytest.mark.parametrize("stride", [1, 2, 4, 8, 3])
@pytest.mark.parametrize("own", [1, 2, 4])
def test_predictions_have_the_stride_of_the_head(stride, own):
    head = Colorization(40, stride=own)
    model = kd.assemble(*small(stride), head)
    for size in ((24, 24), (33, 45)):
        y = model.predict(image(1, *size, 3), verbose=0)
        assert y.shape == (1, -(-size[0] // own), -(-size[1] // own), head.channels)


def test_pooled_before_the_scores():
    """The mean of a block's features gives the mean of its scores, with fewer channels."""
    x = image(1, 32, 40, 3)
    model = kd.assemble(*small(1), Colorization(regression=True))
    feature = keras.Model(model.input, model.get_layer("pool").input)(x)
    kernel, bias = model.get_layer("scores").get_weights()
    scores = ops.convert_to_numpy(feature) @ kernel[0, 0] + bias
    expected = scores.reshape(1, 8, 4, 10, 4, 2).mean((2, 4))
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-4, atol=1e-2)
    assert model.get_layer("pool").output.shape[-1] == 8


def test_hypercolumns_of_a_colorizer(backbone):
    """After Larsson et al.: a perceptron on hypercolumns, at a quarter of the size throughout."""
    head = Colorization(40)
    x = image(2, 64, 72, 3)
    for mlp in ((16,), ()):
        model = kd.hypercolumn(backbone, heads=head, mlp=mlp)
        assert model.get_layer("pool_P1").pool_size == (2, 2)
        assert not any(layer.name == "pool" for layer in model.layers)  # nothing left to pool
        model.compile(keras.optimizers.Adam(1e-2), **kd.objectives(head))
        losses = [float(model.train_on_batch(x, x, return_dict=True)["loss"]) for _ in range(3)]
        assert losses[-1] < losses[0]
        assert model.predict(x[:, :61, :66], verbose=0).shape == (2, 16, 17, 40)


def test_hypercolumns_pooled_early_are_the_same():
    """Scores are linear in what a tap has: the mean before them is the mean after them."""
    backbone, _ = small(1)
    early = kd.hypercolumn(backbone, heads=Colorization(40))
    late = kd.hypercolumn(backbone, heads=Colorization(40, stride=1))
    random = np.random.default_rng(0)
    late.set_weights([random.normal(size=w.shape) * 0.1 for w in late.get_weights()])
    for layer in late.layers:
        if layer.weights:
            early.get_layer(layer.name).set_weights(layer.get_weights())
    x = image(1, 24, 32, 3)
    expected = late.predict(x, verbose=0).reshape(1, 6, 4, 8, 4, 40).mean((2, 4))
    np.testing.assert_allclose(early.predict(x, verbose=0), expected, rtol=1e-3, atol=1e-3)
    assert early.get_layer("pool_P1").pool_size == (4, 4)


def test_sees_lightness_only():
    backbone, decoder = small()
    heads = {"color": Colorization(40), "labels": Segmentation(3)}
    x = image(1, 16, 24, 3)
    same = ops.convert_to_numpy(kd.ops.gray(x))
    assert np.abs(same - x).max() > 100
    for several in (heads, {"labels": Segmentation(3), "help": Colorization(40)}):
        model = kd.assemble(backbone, decoder, several)
        for a, b in zip(
            keras.tree.flatten(model.predict(x, verbose=0)),
            keras.tree.flatten(model.predict(same, verbose=0)),
            strict=True,
        ):
            np.testing.assert_allclose(a, b, atol=2e-3)
    alone = kd.assemble(backbone, decoder, Segmentation(3))
    assert not any(isinstance(layer, kd.layers.Lightness) for layer in alone.layers)


def test_contract_of_the_model():
    heads = {"color": Colorization(40, prior=np.ones(len(ab_bins(40)))), "labels": Segmentation(3)}
    check_model(kd.assemble(*small(8), heads), heads, sizes=((16, 16), (17, 26)))
    head = Colorization(regression=True)
    check_model(kd.assemble(*small(1), head), head, sizes=((16, 16), (17, 26)))


@pytest.mark.parametrize("build", [kd.fcn8s, kd.unet, kd.segnet_basic, kd.hypercolumn, kd.duc_hdc])
def test_any_builder(build, backbone):
    heads = {"color": Colorization(40), "labels": Segmentation(3)}
    if build is kd.segnet_basic:
        model = build(heads=heads, filters=4)
    else:
        # Else FCN-8s has upsamplings of 40×40 kernels, which take most of the test.
        options = {"per_channel": True} if build is kd.fcn8s else {}
        model = build(backbone, heads=heads, **options)
    y = model.predict(image(1, 65, 70, 3), verbose=0)
    assert y["color"].shape == (1, 17, 18, 40) and y["labels"].shape == (1, 65, 70, 3)


@pytest.mark.everywhere
@pytest.mark.parametrize("regression", [False, True])
def test_decoding(regression, tmp_path):
    head = Colorization(regression=regression, temperature=0.5)
    model = kd.assemble(*small(2), head)
    x = image(2, 21, 27, 3)
    raw = model.predict(x, verbose=0)
    product = kd.decoded(model, head)
    rgb = product.predict(x, verbose=0)
    assert rgb.shape == x.shape and rgb.dtype == "uint8"
    ab = raw * 110 if regression else kd.ops.annealed_mean(raw, temperature=0.5)
    expected = kd.ops.recolor(x, full_size(ab, x))
    # Rounded; the graph and single operations differ in the last digits.
    assert np.abs(rgb - ops.convert_to_numpy(expected)).max() < 0.51
    product.save(tmp_path / "product.keras")
    again = keras.saving.load_model(tmp_path / "product.keras").predict(x, verbose=0)
    assert np.abs(again.astype(int) - rgb).max() <= 1
    same = ops.convert_to_numpy(head.decode(ops.convert_to_tensor(raw), x))
    assert np.abs(same.astype(int) - rgb).max() <= 1
    labels = ops.convert_to_numpy(Segmentation(3).decode(np.eye(3)[[[2, 0]]], None))
    assert labels.tolist() == [[2, 0]]


def test_decoded_images_keep_their_lightness():
    head = Colorization(regression=True)
    x = image(1, 16, 16, 3) // 4 + 96  # mid gray: moderate colors are in gamut
    ab = np.full((1, 4, 4, 2), 8 / 110, "float32")
    rgb = ops.convert_to_numpy(head.decode(ab, x)).astype("float64")
    lab, before = to_lab(rgb), to_lab(x.astype("float64"))
    np.testing.assert_allclose(lab[..., 0], before[..., 0], atol=0.3)  # 8 bits
    np.testing.assert_allclose(lab[..., 1:], 8, atol=1)


def test_auxiliary_head_of_colors(backbone):
    heads = {"labels": Segmentation(3), "help": Auxiliary(Colorization(40), "P4", filters=4)}
    model = kd.fcn8s(backbone, heads=heads)
    y = model.predict(image(1, 65, 70, 3), verbose=0)
    assert y["help"].shape == (1, 17, 18, len(ab_bins(40)))
    assert any(isinstance(layer, kd.layers.Lightness) for layer in model.layers)
    assert set(kd.decoded(model, heads).output) == {"labels"}


def test_encode_draw_and_error():
    head = Colorization()
    photo = image(5, 6, 3)
    assert head.encode({"image": photo}) is photo
    np.testing.assert_array_equal(head.draw(photo), photo)
    holes = photo.astype("float32") + 0.3
    holes[0, 0] = np.nan
    drawn = head.draw(holes)
    assert drawn.dtype == "uint8" and drawn[0, 0].tolist() == [120] * 3
    np.testing.assert_array_equal(drawn[1:], photo[1:])
    assert (head.error(photo, photo) == (0, 0, 4)).all()
    error = head.error(holes, photo)
    assert error.dtype == "uint8" and error[0, 0].tolist() == [120] * 3
    # Red against its own gray: 104 away in (a, b), drawn brightest.
    red = np.full((1, 1, 3), (255, 0, 0), "uint8")
    assert head.error(red, np.full((1, 1, 3), 127, "uint8")).tolist() == [[[252, 253, 191]]]
    assert head.legend() == []


@pytest.mark.everywhere
def test_trains_with_its_metrics():
    head = Colorization(40, prior=np.ones(len(ab_bins(40))))
    model = kd.assemble(*small(), head)
    model.compile(keras.optimizers.Adam(1e-2), **kd.objectives(head))
    x = image(4, 16, 20, 3)
    history = model.fit(x, x, epochs=3, batch_size=2, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert 0 < history["auc"][-1] < 1 and history["psnr"][-1] > 5


def test_config_round_trip():
    loss = kd.losses.ColorCrossEntropy(20, subsample="nearest", gray_threshold=5)
    for head in (
        Colorization(20, temperature=0.5, prior=np.ones(101), prior_mix=0.3, weight=2, stride=2),
        Colorization(20, loss=loss, target="photo"),
        Colorization(regression=True),
    ):
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(head))
        assert again.get_config() == head.get_config()
        assert again.loss.get_config() == head.loss.get_config()


def test_bad_input():
    with pytest.raises(ValueError, match="`temperature` must be a number > 0. Received: .*=0"):
        Colorization(temperature=0)
    with pytest.raises(ValueError, match="`grid` must be an integer from 1 to 55"):
        Colorization(grid=0)
    with pytest.raises(ValueError, match="`prior` must have a share for each of the 313"):
        Colorization(prior=[1, 2])
    with pytest.raises(ValueError, match="`prior` is for bins"):
        Colorization(prior=np.ones(313), regression=True)
    with pytest.raises(ValueError, match="`stride` must be an integer >= 1"):
        Colorization(stride=0)
    with pytest.raises(KeyError, match="has no 'photo' to train this head on. It has: 'image'"):
        Colorization(target="photo").encode({"image": 0})
    x = keras.Input((None, None, 4))
    backbone = keras.Model(x, {"P1": layers.Conv2D(2, 3, strides=2, padding="same")(x)})
    with pytest.raises(ValueError, match="must be an RGB image, .B, H, W, 3."):
        kd.assemble(backbone, lambda f: f["P1"], Colorization(40), input_shape=(None, None, 4))
    model = kd.assemble(*small(), Colorization(40))
    with pytest.raises(ValueError, match="prediction at 1/4 of the image's size"):
        kd.training.on_sampled_pixels(model)

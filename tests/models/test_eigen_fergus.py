"""Eigen and Fergus' network: the authors' sizes and weights, and what every builder promises."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_dense as kd
from keras_dense.testing import check_model

from .small import trained


@keras.saving.register_keras_serializable("test_eigen_fergus")
class Three(kd.heads.Head):
    """A head of three channels, such as normals."""

    channels = 3

    def __init__(self, *, loss=None, weight=1.0, target="normals"):
        super().__init__(loss=loss, weight=weight, target=target)

    def default_loss(self):
        return keras.losses.MeanSquaredError()

    def finish(self, x, name):
        return layers.Activation("tanh", dtype="float32", name=name)(x)

    def encode(self, sample):
        return sample[self.target]


def small(**kwargs):
    """A backbone of stride 8, few channels, a small size."""
    x = image = keras.Input((None, None, 3))
    for n in range(3):
        x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name=f"conv{n}")(x)
    backbone = kd.backbone(keras.Model(image, x), preprocessing="tf")
    kwargs = {"heads": kd.heads.Depth(), "size": (52, 68), "units": 16, "filters": 8, **kwargs}
    return kd.eigen_fergus(backbone, **kwargs)


def shape(model, layer):
    return tuple(model.get_layer(layer).output.shape[1:])


def test_the_authors_sizes_and_weights(zero_weights):
    heads = {"depth": kd.heads.Depth(), "normals": Three()}
    model = kd.eigen_fergus(heads=heads, weights=None, input_shape=(240, 320, 3))
    assert shape(model, "scale1_rescale") == (7, 9, 512)
    assert shape(model, "scale1_full1") == (4096,)
    assert shape(model, "scale1_full2") == (17024,)
    assert shape(model, "scale1_grid") == (14, 19, 64)
    assert shape(model, "scale1_crop") == (55, 74, 64)
    assert shape(model, "scale2_image") == (111, 149, 96)
    assert shape(model, "scale2_join") == (55, 74, 160)
    assert shape(model, "depth_scale2_bias") == (55, 74, 1)
    assert shape(model, "normals_scale2_scores") == (55, 74, 3)
    assert shape(model, "scale3_image") == (111, 149, 60)
    assert shape(model, "scale3_join") == (109, 147, 64)
    assert shape(model, "depth_scale3_scores") == (109, 147, 1)
    assert {k: tuple(v.shape) for k, v in model.output.items()} == {
        "depth": (None, 240, 320, 1),
        "normals": (None, 240, 320, 3),
    }
    first = 14_714_688 + (7 * 9 * 512 + 1) * 4096 + (4096 + 1) * 17024

    def conv(size, channels, filters):
        return (size * size * channels + 1) * filters

    second = conv(9, 3, 96) + 2 * (conv(5, 160, 64) + 2 * conv(5, 64, 64)) + 55 * 74
    third = conv(9, 3, 60) + 4 * conv(5, 64, 64)
    scores = 2 * (conv(5, 64, 1) + conv(5, 64, 3))
    assert trained(model) == first + second + third + scores == 217_973_470


def test_vgg_weights_are_kept_and_its_first_convolutions_unpadded(zero_weights, tmp_path):
    vgg = keras.applications.VGG16(weights=None, include_top=False)
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=w.shape).astype("float32") * 0.01 for w in vgg.get_weights()]
    vgg.set_weights(weights)
    vgg.save_weights(tmp_path / "vgg.weights.h5")
    model = kd.eigen_fergus(
        num_classes=3, weights=tmp_path / "vgg.weights.h5", size=(64, 96), units=4, filters=4
    )
    backbone = model.get_layer("backbone")
    for mine, theirs in zip(backbone.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    padding = {x.name: x.padding for x in backbone.layers if isinstance(x, layers.Conv2D)}
    assert [name for name in padding if padding[name] == "valid"] == [
        "block1_conv1",
        "block1_conv2",
    ]


def test_contract(sizes):
    heads = {"depth": kd.heads.Depth(), "labels": kd.heads.Segmentation(3)}
    check_model(small(heads=heads), heads, sizes=sizes)


@pytest.mark.once
def test_contract_as_published():
    depth = kd.heads.Depth()
    heads = kd.heads.with_intermediate(depth, "scale2", name="depth")
    heads["labels"] = labels = kd.heads.Segmentation(3)
    heads["early"] = kd.heads.Intermediate(labels, "scale2")
    heads["scale2"] = kd.heads.Intermediate(depth, "scale2")
    check_model(small(heads=heads, stop_gradient=True), heads, sizes=((52, 68), (40, 97)))


def gradients_move(model, heads):
    """Names of the layers whose weights one step moves."""
    model.compile(keras.optimizers.SGD(0.1), **kd.objectives(heads))
    before = [ops.convert_to_numpy(w.value).copy() for w in model.trainable_weights]
    image = np.random.default_rng(0).integers(0, 256, (2, 52, 68, 3), "uint8")
    model.train_on_batch(image, np.full((2, 52, 68, 1), 2.0, "float32"))
    return {
        w.path.split("/")[0]
        for w, old in zip(model.trainable_weights, before, strict=True)
        if np.any(ops.convert_to_numpy(w.value) != old)
    }


@pytest.mark.filterwarnings("ignore:Gradients do not exist:UserWarning")  # That is what is tested.
def test_stop_gradient():
    everything = gradients_move(small(), kd.heads.Depth())
    last = gradients_move(small(stop_gradient=True), kd.heads.Depth())
    assert {"scale1_full1", "scale2_scores", "scale2_bias"} <= everything - last
    assert last == {"scale3_image", "scale3_conv1", "scale3_conv2", "scale3_scores"}


def test_a_network_of_any_head_and_place():
    model = small(heads={"far": kd.heads.Depth(target="far"), "three": Three()})
    assert {k: tuple(v.shape) for k, v in model.output.items()} == {
        "far": (None, None, None, 1),
        "three": (None, None, None, 3),
    }
    names = [layer.name for layer in model.layers]
    assert not any("bias" in name for name in names)
    biased = small(heads={"far": kd.heads.Depth(target="far")}, location_bias=("far",))
    assert shape(biased, "far_scale2_bias") == shape(biased, "scale2_pool")[:2] + (1,)


def test_scale_3_stays_where_its_pixels_are():
    """A bright column is seen by the image's windows, and answered in that column."""
    model = small(heads=Three(), size=(64, 80), input_shape=(64, 80, 3))
    for layer in model.layers:
        if layer.weights:
            layer.set_weights([np.zeros_like(w) for w in layer.get_weights()])
    image_kernel, bias = model.get_layer("scale3_image").get_weights()
    image_kernel[4, 4, 0, 0] = 1.0  # the center of the window
    model.get_layer("scale3_image").set_weights([image_kernel, bias])
    offset = 3  # channels of scale 2 before those of the image
    for name, at in (("scale3_conv1", offset), ("scale3_conv2", 0), ("scale3_scores", 0)):
        kernel, bias = model.get_layer(name).get_weights()
        kernel[2, 2, at, 0] = 1.0
        model.get_layer(name).set_weights([kernel, bias])
    column = 40  # even: seen by the center of a window
    image = np.zeros((1, 64, 80, 3), "uint8")
    image[:, :, column] = 255
    answer = model.predict(image, verbose=0)[0, 32, :, 0]
    # The 3×3 pooling widens it by a cell of two pixels to either side.
    center = (answer * np.arange(80)).sum() / answer.sum()
    assert answer.sum() > 0 and center == pytest.approx(column, abs=0.2)


def test_saved_and_loaded_with_mixed_precision(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = small(stop_gradient=True)
    image = np.random.default_rng(0).integers(0, 256, (1, 60, 70, 3), "uint8")
    prediction = model.predict(image, verbose=0)
    assert prediction.dtype == np.float32 and np.isfinite(prediction).all()
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras").predict(image, verbose=0)
    np.testing.assert_array_equal(again, prediction)
    other = small(initialize_from=model)
    np.testing.assert_array_equal(other.get_weights()[0], model.get_weights()[0])


def test_bad_arguments():
    with pytest.raises(ValueError, match="`size` must be at least 36×36"):
        small(size=(35, 60))
    with pytest.raises(ValueError, match="`size` must be an int"):
        small(size=(None, 60))
    with pytest.raises(ValueError, match="`units` must be"):
        small(units=0)
    with pytest.raises(ValueError, match="`input_shape` must be"):
        small(input_shape=(228, 304))
    with pytest.raises(ValueError, match="Auxiliary `heads` of eigen_fergus must be"):
        small(heads=kd.heads.with_auxiliary(kd.heads.Depth()))
    with pytest.raises(ValueError, match="makes no prediction 'scale1'"):
        small(heads=kd.heads.with_intermediate(kd.heads.Depth(), "scale1", name="depth"))

"""Scales and flips: every head's own mean."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_dense as kd


def images(height=45, width=67):
    return np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype="uint8")


HEADS = {
    "multiclass": kd.heads.Segmentation(5),
    "binary": kd.heads.Segmentation(1),
    "multilabel": kd.heads.Segmentation(3, mode="multilabel"),
    "depth": kd.heads.Depth(),
    "normals": kd.heads.Normals(concentration=True),
    "colors": kd.heads.Colorization(grid=40),
    "ab": kd.heads.Colorization(regression=True),
    "aux": kd.heads.Auxiliary(kd.heads.Segmentation(5)),
}


class Given:
    """A model that predicts what a function makes of the images."""

    def __init__(self, function):
        self.function, self.sizes = function, []

    def predict_on_batch(self, x):
        self.sizes.append(x.shape[1:3])
        return self.function(x.astype("float32"))


@pytest.mark.everywhere
def test_one_version_is_predict(backbone):
    model = kd.fcn32s(backbone, heads=HEADS)
    found = kd.inference.predict_multiscale(model, images(), HEADS, scales=(1,), flip=False)
    expected = model.predict(images(), verbose=0)
    assert set(found) == set(expected)
    for key in HEADS:
        np.testing.assert_allclose(found[key], expected[key], rtol=1e-5, atol=1e-6)


@pytest.mark.everywhere
def test_every_head_keeps_its_sizes(backbone):
    heads = dict(HEADS)
    model = kd.fcn32s(backbone, heads=heads)
    found = kd.inference.predict_multiscale(model, images(), heads, scales=(0.7, 1.3), batch_size=1)
    plain = model.predict_on_batch(images())
    for key, head in heads.items():
        assert found[key].shape == plain[key].shape and found[key].dtype == np.float32, key
        assert np.isfinite(found[key]).all(), key
        if not getattr(head, "needs_image", False):
            assert ops.shape(head.decode(found[key]))[:3] == (2, 45, 67)


@pytest.mark.parametrize("key", ["multiclass", "binary", "multilabel", "depth", "ab"])
def test_a_symmetric_model_gains_nothing_from_flips(key):
    """Pixel by pixel, so that what is mirrored is predicted mirrored, at any size."""
    head = HEADS[key]
    stride = getattr(head, "stride", 1)
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(head.channels, stride, strides=stride, kernel_initializer="ones")(image)
    model = keras.Model(image, head.finish(x / 5000, "out"))
    batch = images(44, 68) if stride > 1 else images()
    predict = kd.inference.predict_multiscale
    once = predict(model, batch, head, scales=(1.0, 0.5), flip=False)
    both = predict(model, batch, head, scales=(1.0, 0.5), flip=True)
    np.testing.assert_allclose(both, once, rtol=2e-4, atol=2e-4)
    alone = predict(model, batch, head, scales=(1.0,), flip=True)
    mean = head.from_mean(head.to_mean(model.predict_on_batch(batch)))
    np.testing.assert_allclose(alone, ops.convert_to_numpy(mean), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("width", [67, 68])
def test_colors_of_mirrored_images_lie_on_the_others(width):
    """Predictions at a quarter of the size, of a width that four does not divide."""
    head = kd.heads.Colorization(regression=True)

    def means(x):
        x = np.pad(x, [(0, 0), (0, -x.shape[1] % 4), (0, -x.shape[2] % 4), (0, 0)], "edge")
        b, h, w, _ = x.shape
        return x[..., :2].reshape(b, h // 4, 4, w // 4, 4, 2).mean((2, 4)) / 255

    found = kd.inference.predict_multiscale(Given(means), images(45, width), head, scales=(1.0,))
    np.testing.assert_allclose(found, means(images(45, width).astype("float32")), rtol=1e-5)


@pytest.mark.everywhere
def test_probabilities_are_averaged():
    head = kd.heads.Segmentation(2)
    logits = {(10, 20): (0.0, 0.0), (20, 40): (np.log(9.0), 0.0)}
    model = Given(
        lambda x: np.zeros((*x.shape[:3], 2), "float32") + np.float32(logits[x.shape[1:3]])
    )
    found = kd.inference.predict_multiscale(model, images(20, 40), head, scales=(0.5, 1))
    assert model.sizes == [(10, 20), (10, 20), (20, 40), (20, 40)]
    np.testing.assert_allclose(np.exp(found[0, 3, 5]), [0.7, 0.3], rtol=1e-5)
    for mode, classes in (("binary", 1), ("multilabel", 3)):
        head = kd.heads.Segmentation(classes, mode=mode)
        x = np.float32([[[[-3.0, 0.5, 2.0][:classes]]]])
        back = ops.convert_to_numpy(head.from_mean(head.to_mean(x)))
        np.testing.assert_allclose(back, x, rtol=1e-4)


def test_depth_of_a_zoomed_image_is_put_right():
    """A camera that moves closer: an image twice as large shows half the depth."""
    model = Given(lambda x: np.full((*x.shape[:3], 1), 4.0 * 40 / x.shape[1], "float32"))
    head = kd.heads.Depth()
    found = kd.inference.predict_multiscale(model, images(40, 60), head, scales=(0.5, 1, 1.5))
    np.testing.assert_allclose(found, 4.0, rtol=1e-5)
    # The mean of ratios: half and twice as far are as far.
    depths = iter([2.0, 8.0])
    model = Given(lambda x: np.full((*x.shape[:3], 1), next(depths), "float32"))
    found = kd.inference.predict_multiscale(model, images(), head, scales=(1,))
    np.testing.assert_allclose(found, 4.0, rtol=1e-5)


@pytest.mark.parametrize("frame", list(kd.ops.geometry.FRAMES))
def test_normals_are_mirrored_back(frame):
    """A wall to the left, seen in the mirror, is one to the right; at an odd width."""
    left = kd.ops.geometry.convert_normals(np.float32([0.6, 0.0, -0.8]), "opencv", frame)
    right = kd.ops.geometry.convert_normals(np.float32([-0.6, 0.0, -0.8]), "opencv", frame)
    truth = np.where(np.arange(67)[None, None, :, None] < 20, left, right)
    truth = np.broadcast_to(truth, (2, 45, 67, 3)).astype("float32")
    mirror = np.where(np.arange(67)[None, None, :, None] < 47, left, right)
    mirror = np.broadcast_to(mirror, (2, 45, 67, 3)).astype("float32")
    views = iter([truth, mirror])
    head = kd.heads.Normals(frame)
    found = kd.inference.predict_multiscale(
        Given(lambda x: next(views)), images(), head, scales=(1,)
    )
    np.testing.assert_allclose(found, truth, rtol=1e-5, atol=1e-6)
    other = iter([np.float32([0, 0, -1]), np.float32([0, -1, 0])])
    model = Given(lambda x: np.zeros((*x.shape[:3], 3), "float32") + next(other))
    found = kd.inference.predict_multiscale(model, images(), head, scales=(1,))
    np.testing.assert_allclose(found[0, 0, 0], [0, -(0.5**0.5), -(0.5**0.5)], rtol=1e-5)


@pytest.mark.parametrize(
    "message, change",
    [
        ("`images` must be", {"images": np.zeros((9, 9, 3))}),
        ("`scales` must be", {"scales": ()}),
        ("`scales` must be", {"scales": (1, 0)}),
        ("`scales` must be", {"scales": ("1",)}),
    ],
)
def test_what_cannot_be(message, change):
    arguments = {"images": images(), "heads": HEADS["depth"], **change}
    with pytest.raises(ValueError, match=message):
        kd.inference.predict_multiscale(None, **arguments)

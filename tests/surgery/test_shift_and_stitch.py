import keras
import numpy as np
import pytest
from keras import layers

from keras_dense.surgery import dilate, shift_and_stitch

from .networks import images, randomized, small_classifier


def network():
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="tanh")(image)
    fine = layers.Conv2D(4, 3, padding="same", activation="tanh")(x)
    x = layers.MaxPooling2D(2)(fine)
    return keras.Model(image, {"fine": fine, "coarse": layers.Conv2D(5, 3, padding="same")(x)})


def test_is_the_loop_over_shifts():
    model, x = network(), images(2, 16, 24)
    got = shift_and_stitch(model, x, 1)
    assert got["fine"].shape == (2, 16, 24, 4) and got["coarse"].shape == (2, 16, 24, 5)
    padded = np.pad(x, ((0, 0), (0, 4), (0, 4), (0, 0)))
    for a in range(4):
        for b in range(4):
            shifted = model.predict(padded[:, a : a + 16, b : b + 24], verbose=0)
            np.testing.assert_allclose(got["coarse"][:, a::4, b::4], shifted["coarse"], atol=1e-6)
            if a < 2 and b < 2:
                np.testing.assert_allclose(got["fine"][:, a::2, b::2], shifted["fine"], atol=1e-6)


def test_structures_are_kept():
    """A pair of outputs is not taken for one whose strides differ by axis, nor that for a pair."""
    image = keras.Input((None, None, 3))
    fine = layers.Conv2D(2, 3, strides=(2, 1), padding="same")(image)
    coarse = layers.Conv2D(2, 3, strides=(2, 4), padding="same")(fine)
    x = images(1, 8, 12)
    wanted = shift_and_stitch(keras.Model(image, coarse), x, 1)
    assert wanted.shape == (1, 8, 12, 2)
    for outputs in ((fine, coarse), [fine, coarse], {"a": (fine, coarse), "b": [coarse]}, [coarse]):
        model = keras.Model(image, outputs)
        got = shift_and_stitch(model, x, 1)
        keras.tree.assert_same_structure(got, outputs)
        np.testing.assert_array_equal(keras.tree.flatten(got)[-1], wanted)


def test_images_smaller_than_the_stride():
    image = keras.Input((None, None, 3))
    model = keras.Model(image, layers.AveragePooling2D(4, padding="same")(image))
    got = shift_and_stitch(model, np.ones((1, 2, 8, 3), "float32"), 1)
    assert got.shape == (1, 4, 8, 3) and (got[:, 2:] == 0).all() and (got[:, 0] > 0).all()


def test_dilation_gives_the_same_away_from_the_borders():
    model, x = network(), images(1, 48, 56)
    stitched = shift_and_stitch(model, x, 1)
    dilated = dilate(model, 1).predict(x, verbose=0)
    for name in ("fine", "coarse"):
        inside = (slice(None), slice(12, -12), slice(12, -12))
        np.testing.assert_allclose(dilated[name][inside], stitched[name][inside], atol=1e-6)
        k = {"fine": 2, "coarse": 4}[name]
        np.testing.assert_allclose(
            dilated[name][:, ::k, ::k], stitched[name][:, ::k, ::k], atol=1e-6
        )


@pytest.mark.slow
def test_the_same_for_an_application():
    """MobileNet sees 315 pixels; the middle cells of 416 see no border."""
    model = randomized(
        keras.applications.MobileNet(
            weights=None, include_top=False, alpha=0.25, input_shape=(None, None, 3)
        )
    )
    x = images(1, 416, 416)
    stitched = shift_and_stitch(model, x, 16)
    dilated = dilate(model, 16).predict(x, verbose=0)
    middle = (slice(None), slice(11, 14), slice(11, 14))
    assert np.std(dilated[middle]) > 1e-3
    np.testing.assert_allclose(dilated[middle], stitched[middle], atol=1e-5)


def test_bad_input():
    model = network()
    with pytest.raises(ValueError, match="`stride` must divide.*stride=3"):
        shift_and_stitch(model, images(1, 16, 16), 3)
    with pytest.raises(ValueError, match="`stride` must be an integer >= 1"):
        shift_and_stitch(model, images(1, 16, 16), 0)
    with pytest.raises(ValueError, match=r"\(B, H, W, C\).*\(16, 16, 3\)"):
        shift_and_stitch(model, images(1, 16, 16)[0], 2)
    with pytest.raises(ValueError, match="`model` must return maps only.*convolutionalize"):
        shift_and_stitch(small_classifier(), images(1, 24, 24), 1)

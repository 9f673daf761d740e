"""A compiled network is reused as long as its model has not changed, and not longer."""

import gc
import weakref

import keras
import numpy as np
import pytest
from keras import layers

import keras_dense as kd
from keras_dense.inference.state import digest

HEAD = kd.heads.Segmentation(3)


class Strength(layers.Layer):
    """A layer whose configuration is what it was made with."""

    def __init__(self, strength=1.0, **kwargs):
        super().__init__(**kwargs)
        self.strength = strength
        self.function = lambda x: x

    def call(self, x):
        return self.function(self.strength * x)


def build(last=None):
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, padding="same", name="first")(layers.Rescaling(1 / 255)(image))
    x = layers.LeakyReLU(0.1, name="slope")(Strength(name="strength")(x))
    inner = keras.Input((None, None, 4))
    nested = keras.Model(inner, layers.LeakyReLU(0.3, name="inner")(inner), name="nested")
    return keras.Model(image, layers.Conv2D(3, 1, name="last")(nested(x)))


def image(size=(40, 30)):
    return np.random.default_rng(0).integers(0, 256, (*size, 3), dtype="uint8")


def set_weights(model):
    model.get_layer("last").set_weights([w + 1 for w in model.get_layer("last").get_weights()])


def set_slope(model):
    model.get_layer("slope").negative_slope = 0.9


def set_nested_slope(model):
    model.get_layer("nested").get_layer("inner").negative_slope = -2.0


def set_strength(model):
    model.get_layer("strength").strength = 3.0


def set_function(model):
    model.get_layer("strength").function = lambda x: x * x


def enable_lora(model):
    layer = model.get_layer("first")
    layer.enable_lora(2)
    layer.lora_kernel_b.assign(np.ones(layer.lora_kernel_b.shape, "float32"))


CHANGES = [set_weights, set_slope, set_nested_slope, set_strength, set_function, enable_lora]


def whole(model, pixels):
    """Present output of the model, without compilation."""
    return keras.ops.convert_to_numpy(model(pixels[None].astype("float32"), training=False))[0]


@pytest.mark.everywhere
@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)
def test_tiles_are_those_of_the_model_as_it_is_now(change):
    model, pixels = build(), image()
    predictor = kd.inference.TiledPredictor(model)

    def found():
        return (
            kd.inference.predict_tiled(model, pixels, tile=32, progress=False),
            predictor.run(pixels, tile=32, progress=False),
        )

    before = found()
    change(model)
    expected = whole(model, pixels)
    assert np.abs(before[0] - expected).max() > 0.1
    for after in found():
        np.testing.assert_allclose(after, expected, rtol=1e-4, atol=1e-4)


def test_a_head_that_was_changed_is_seen():
    image_ = keras.Input((None, None, 3))
    model = keras.Model(image_, layers.Conv2D(1, 1, bias_initializer="ones")(image_))
    head = kd.heads.Depth(max_depth=10.0)
    pixels = np.full((9, 9, 3), 0, "uint8")
    model.layers[-1].bias.assign([20.0])
    assert kd.inference.predict_tiled(model, pixels, head, progress=False).max() == 10
    head.max_depth = 15.0
    assert kd.inference.predict_tiled(model, pixels, head, progress=False).max() == 15


def test_another_image_needs_no_other_network():
    model, pixels = build(), image()

    def network():
        kd.inference.predict_tiled(model, pixels, HEAD, tile=32, progress=False)
        return kd.inference.tiled_predictor._LAST[model][-1]

    first = network()
    assert network() is first
    model.compile("sgd", "mse")
    model.fit(pixels[None], np.zeros((1, 40, 30, 3)), verbose=0)
    second = network()
    assert second is not first  # it was compiled anew
    model.fit(pixels[None], np.zeros((1, 40, 30, 3)), verbose=0)
    assert network() is second  # weights are shared
    found = kd.inference.predict_tiled(model, pixels, tile=32, progress=False)
    np.testing.assert_allclose(found, whole(model, pixels), rtol=1e-4, atol=1e-4)


@pytest.mark.everywhere
@pytest.mark.parametrize("sequential", [False, True])
def test_no_network_is_kept_alive(sequential):
    model = build()
    if sequential:
        model = keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(3, 1)])
    kd.inference.predict_tiled(model, image(), HEAD, progress=False)
    alive = weakref.ref(model)
    del model
    keras.utils.clear_session()
    assert alive() is None


@pytest.mark.parametrize("change", [c for c in CHANGES if c is not set_function])
def test_a_stopped_run_knows_a_model_that_was_changed(change):
    model = build()
    before = digest(model)
    kd.inference.predict_tiled(model, image(), HEAD, progress=False)
    model.compile("adam", "mse")
    assert digest(model) == before  # neither use nor compilation makes another model of it
    change(model)
    assert digest(model) != before


@pytest.mark.once
@pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer:UserWarning")
def test_a_saved_model_is_the_same(tmp_path):
    image_ = keras.Input((None, None, 3))
    model = keras.Model(image_, layers.LeakyReLU(0.1)(layers.Conv2D(4, 3)(image_)))
    model.compile("adam", "mse")
    model.save(tmp_path / "m.keras")
    for compile in (True, False):
        loaded = keras.saving.load_model(tmp_path / "m.keras", compile=compile)
        assert digest(loaded) == digest(model)


class Torn:
    """An image whose lower half cannot be read yet, of which windows are counted."""

    def __init__(self, pixels, ends=None):
        self.pixels, self.ends = pixels, ends
        self.shape, self.dtype = pixels.shape, pixels.dtype

    def __getitem__(self, key):
        if self.ends is not None and key[0].stop > self.ends:
            raise OSError("not yet")
        return self.pixels[key]


def test_one_pixel_that_was_changed_before_a_run_goes_on_is_seen(tmp_path):
    model, pixels = build(), image((200, 160))
    settings = {"tile": 64, "overlap": 8, "out": tmp_path / "o.npy", "progress": False}
    with pytest.raises(OSError, match="not yet"):
        kd.inference.predict_tiled(model, Torn(pixels, 130), HEAD, **settings)
    other = pixels.copy()
    other[75, 81, 1] ^= 1  # between all places that one would look at
    with pytest.raises(ValueError, match="another image. Continue"):
        kd.inference.predict_tiled(model, other, HEAD, **settings)
    # What had not been read may have been anything.
    other = pixels.copy()
    other[190:] = 0
    found = kd.inference.predict_tiled(model, other, HEAD, **settings)
    settings["out"] = None
    np.testing.assert_array_equal(found, kd.inference.predict_tiled(model, other, HEAD, **settings))
    gc.collect()


@pytest.mark.once
def test_other_versions_do_not_go_on(tmp_path, monkeypatch):
    model, pixels = build(), image((200, 160))
    settings = {"tile": 64, "overlap": 8, "out": tmp_path / "o.npy", "progress": False}
    with pytest.raises(OSError, match="not yet"):
        kd.inference.predict_tiled(model, Torn(pixels, 130), HEAD, **settings)
    monkeypatch.setattr(keras, "__version__", "2.0")
    with pytest.raises(ValueError, match="another version of keras or keras_dense. Continue"):
        kd.inference.predict_tiled(model, pixels, HEAD, **settings)


@pytest.mark.once
def test_what_is_not_ours_at_the_place_of_a_result_stays(tmp_path):
    model, pixels = build(), image()
    part = tmp_path / "o.npy.part"
    np.save(tmp_path / "other.npy", np.zeros((3, 3)))
    for content in (b"letters", (tmp_path / "other.npy").read_bytes()):
        part.write_bytes(content)
        with pytest.raises(FileExistsError, match="o.npy.part', where the .* holds something else"):
            kd.inference.predict_tiled(model, pixels, HEAD, out=tmp_path / "o.npy", progress=False)
        assert part.read_bytes() == content

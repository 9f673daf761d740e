"""Images at the door of all that predicts: right values, or an error that says what is wrong."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_dense as kd

HEAD = kd.heads.Segmentation(3)


@pytest.fixture(scope="module")
def model():
    image = keras.Input((None, None, 3))
    return keras.Model(image, layers.Conv2D(3, 3, padding="same")(layers.Rescaling(1 / 255)(image)))


def image():
    return np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype="uint8")


def tiled(model, x, **settings):
    settings = {"tile": 16, "progress": False, **settings}
    return kd.inference.predict_tiled(model, x, HEAD, raw=True, **settings)


def scaled(model, x, **settings):
    settings = {"scales": (1,), "flip": False, **settings}
    return kd.inference.predict_multiscale(model, x, HEAD, **settings)[0]


def crf(model, x):
    p = np.full((20, 24, 3), 1 / 3)
    p[:9, :9] = 0.8, 0.1, 0.1
    return kd.inference.dense_crf(p, x, 1, exact=True)


def pil(x):
    return pytest.importorskip("PIL.Image").fromarray(x)


class ByWindows:
    """An array that is no array."""

    def __init__(self, x):
        self.x, self.shape, self.dtype = x, x.shape, x.dtype

    def __getitem__(self, key):
        return self.x[key]


SAME = {
    "list": lambda x: x.tolist(),
    "photo": pil,
    "int64": lambda x: x.astype("int64"),
    "uint16": lambda x: x.astype("uint16"),
    "float64": lambda x: x.astype("float64"),
    "float16": lambda x: x.astype("float16"),
    "mirrored twice": lambda x: x[::-1].copy()[::-1],
}
WRONG = {
    "0 to 1": (lambda x: x / 255, "must be from 0 to 255. Received: float64 .*multiply by 255"),
    "-1 to 1": (lambda x: x / 127.5 - 1, "must be from 0 to 255. Received: float64 from -1"),
    "16 bits": (lambda x: x.astype("uint16") * 257, "must be from 0 to 255. Received: uint16"),
    "NaN": (lambda x: np.where(x == x.max(), np.nan, x), "must be finite numbers. .*NaN or inf"),
    "bool": (lambda x: x > 9, "must be uint8 or floats"),
}


@pytest.mark.once
@pytest.mark.parametrize("name", SAME)
@pytest.mark.parametrize("predict", [tiled, scaled, crf])
def test_the_same_image_in_other_clothes(model, predict, name):
    batched = (lambda x: x[None]) if predict is scaled else (lambda x: x)
    expected = predict(model, batched(image()))
    given = SAME[name](image())
    if predict is scaled:
        given = [given] if name in ("list", "photo") else given[None]
    np.testing.assert_allclose(predict(model, given), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.once
@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("predict", [tiled, scaled, crf])
def test_images_that_are_none(model, predict, name):
    change, message = WRONG[name]
    given = change(image())
    with pytest.raises(ValueError, match=f"`images?` {message}"):
        predict(model, given[None] if predict is scaled else given)


@pytest.mark.once
@pytest.mark.parametrize("name", WRONG)
def test_images_that_are_read_by_windows_are_checked_too(model, name):
    change, message = WRONG[name]
    with pytest.raises((TypeError, ValueError), match=message):
        tiled(model, ByWindows(change(image())))
    dark = np.zeros((40, 24, 3), "float32")
    dark[30:] = 200.5
    dark[3, 3] = 0.5
    # One dark tile says nothing.
    np.testing.assert_allclose(tiled(model, ByWindows(dark)), tiled(model, dark))
    with pytest.raises(ValueError, match="from 0 to 255. Received: float32 .*multiply by 255"):
        tiled(model, dark[:20])


@pytest.mark.everywhere
@pytest.mark.parametrize("predict", [tiled, scaled])
def test_tensors(model, predict):
    given = image()[None] if predict is scaled else image()
    found = predict(model, ops.convert_to_tensor(given))
    np.testing.assert_allclose(found, predict(model, given), rtol=1e-5, atol=1e-5)


@pytest.mark.once
def test_another_range_where_it_is_told(model):
    x = image() / 255
    found = tiled(model, x, value_range=(0, 1))
    expected = model.predict_on_batch(x[None].astype("float32"))[0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    found = scaled(model, x[None] * 1000, value_range=None)
    assert np.isfinite(found).all()
    for wrong in (3, (1, 0), "ab"):
        with pytest.raises(ValueError, match="`value_range` must be"):
            tiled(model, x, value_range=wrong)


@pytest.mark.once
@pytest.mark.parametrize(
    "shape, hint",
    [
        ((1, 20, 24, 3), "give the images of a batch one by one"),
        ((20, 24), r"needs a channel axis, image\[..., None\]"),
        ((3, 20, 24), "channels come last"),
        ((20, 0, 3), ""),
    ],
)
def test_shapes_that_cannot_be(model, shape, hint):
    with pytest.raises(ValueError, match=rf"`image` must have shape \(height, width, 3\).*{hint}"):
        tiled(model, np.zeros(shape, "uint8"))
    if len(shape) == 4:
        with pytest.raises(ValueError, match="a single image needs one more axis"):
            scaled(model, np.zeros(shape[1:], "uint8"))


@pytest.mark.once
def test_no_arrays(model):
    for wrong in (None, "a.png", {"image": 1}, 3):
        with pytest.raises((TypeError, ValueError), match="`image` must"):
            tiled(model, wrong)


@pytest.mark.once
def test_numbers_of_numpy_as_arguments(model):
    one = np.int64(1)
    expected = tiled(model, image(), overlap=2, batch_size=2)
    found = tiled(
        model, image(), tile=np.int32(16), overlap=2 * one, batch_size=np.array(2, "int16")
    )
    np.testing.assert_array_equal(found, expected)
    sizes = np.array([16, 16])
    np.testing.assert_array_equal(tiled(model, image(), tile=sizes), tiled(model, image()))
    scales = np.array([1.0, 0.5], "float32")
    settings = {"scales": scales, "batch_size": one}
    np.testing.assert_allclose(
        scaled(model, image()[None], **settings), scaled(model, image()[None], scales=(1, 0.5))
    )
    p = np.full((20, 24, 3), 1 / 3)
    kd.inference.dense_crf(p, image(), one, gaussian_sxy=np.float32(3), exact=True)
    for wrong in (True, 1.5, "2", 0):
        with pytest.raises(ValueError, match="`batch_size` must be an integer >= 1"):
            tiled(model, image(), batch_size=wrong)
        with pytest.raises(ValueError, match="`batch_size` must be an integer >= 1"):
            scaled(model, image()[None], batch_size=wrong)


@pytest.mark.once
def test_results_never_take_the_place_of_the_image(model, tmp_path):
    both = np.zeros((20, 24, 6), "uint8")
    both[..., :3] = image()
    # Beside each other in memory is not over each other.
    labels = kd.inference.predict_tiled(
        model, both[..., :3], HEAD, out=both[..., 4], progress=False
    )
    assert labels.base is both and (both[..., :3] == image()).all()
    overlapping = "`out` must not be the image itself"
    pixels = np.zeros((20, 24, 3), "float32") + image()
    with pytest.raises(ValueError, match=overlapping):
        tiled(model, pixels, out=pixels)
    np.save(tmp_path / "x.npy", pixels)
    (tmp_path / "link.npy").symlink_to("x.npy")
    reads = np.load(tmp_path / "x.npy", mmap_mode="r")
    writes = np.load(tmp_path / "link.npy", mmap_mode="r+")
    with pytest.raises(ValueError, match=overlapping):
        tiled(model, reads, out=writes)
    with pytest.raises(ValueError, match="`out` must not be the image itself, which is read from"):
        tiled(model, reads, out=tmp_path / "link.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), pixels)


@pytest.mark.once
def test_a_zarr_array_is_not_its_own_result(model, tmp_path):
    zarr = pytest.importorskip("zarr")
    pixels = np.zeros((20, 24, 3), "float32") + image()
    stored = zarr.open_array(str(tmp_path / "x.zarr"), mode="w", shape=pixels.shape, dtype="f4")
    stored[:] = pixels
    again = zarr.open_array(str(tmp_path / "x.zarr"), mode="r+")
    with pytest.raises(ValueError, match="`out` must not be the image itself"):
        tiled(model, stored, out=again)
    np.testing.assert_array_equal(stored[:], pixels)


@pytest.mark.once
def test_arrays_that_cannot_hold_the_result(model):
    with pytest.raises(ValueError, match="`out` must hold float32 exactly. .* of uint8"):
        tiled(model, image(), out=np.zeros((20, 24, 3), "uint8"))
    frozen = np.zeros((20, 24, 3), "float32")
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="`out` must be writeable"):
        tiled(model, image(), out=frozen)
    for wrong in (5, [[0]], ops.zeros((20, 24, 3))):
        with pytest.raises(TypeError, match="`out` must be a path, or an array"):
            tiled(model, image(), out=wrong)


def broken():
    """A network whose training has diverged, in one of two heads."""
    x = keras.Input((None, None, 3))
    bad = layers.Conv2D(3, 1, name="bad")
    found = keras.Model(x, {"good": layers.Conv2D(3, 1)(x), "bad": bad(x)})
    bad.bias.assign([np.nan, 0.0, 0.0])
    return found


@pytest.mark.everywhere
def test_predictions_that_are_no_numbers_are_an_error():
    """The largest logit of NaN is class 0."""
    heads = {"good": HEAD, "bad": kd.heads.Segmentation(3)}
    model, pixels = broken(), image()
    message = "`model` predicts NaN.* of 'bad' at 100 % of the pixels"
    with pytest.raises(ValueError, match=message):
        kd.inference.predict_tiled(model, pixels, heads, progress=False)
    for settings in ({"scales": (1,), "flip": False}, {"scales": (1, 0.5)}):
        with pytest.raises(ValueError, match=message):
            kd.inference.predict_multiscale(model, pixels[None], heads, **settings)
    raw = kd.inference.predict_tiled(model, pixels, heads, raw=True, progress=False)
    assert np.isnan(raw["bad"]).any() and np.isfinite(raw["good"]).all()
    one = {"good": HEAD}
    assert kd.inference.predict_tiled(model, pixels, one, progress=False)["good"].shape == (20, 24)


def test_a_class_that_is_ruled_out_is_no_nan():
    image_ = keras.Input((None, None, 3))
    last = layers.Conv2D(3, 1)
    model = keras.Model(image_, last(image_))
    last.bias.assign([-np.inf, 0.0, 0.0])
    labels = kd.inference.predict_tiled(model, image(), HEAD, progress=False)
    assert set(np.unique(labels)) <= {1, 2}
    last.bias.assign([-np.inf] * 3)
    with pytest.raises(ValueError, match="predicts NaN or infinity at 100 %"):
        kd.inference.predict_tiled(model, image(), HEAD, progress=False)

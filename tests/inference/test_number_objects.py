"""Objects of large results: window by window the same as at once."""

import functools

import keras
import numpy as np
import pytest
from keras import layers
from keras.initializers import Constant

import keras_dense as kd

pytest.importorskip("scipy")
pytest.importorskip("skimage")


def crowd(size, count, seed=0, radius=(4, 9)):
    """Maps of many objects in touch, as a network draws them: blurred, and with noise."""
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    numbers = np.zeros(size, "int32")
    for number in range(1, count + 1):
        (v, u), r, stretch = rng.uniform((0, 0), size), rng.uniform(*radius), rng.uniform(0.7, 1.4)
        numbers[((y - v) * stretch) ** 2 + ((x - u) / stretch) ** 2 <= r**2] = number
    maps = kd.heads.Instances().encode({"instances": numbers})
    maps += rng.normal(0, 0.3, maps.shape)
    return ndimage.gaussian_filter(maps, (1, 1, 0)).clip(0, 1).astype("float32")


number_objects = functools.partial(kd.inference.number_objects, progress=False)
MAPS = crowd((230, 310), 260)
HEAD = kd.heads.Instances()


@pytest.mark.parametrize("tile, overlap", [(120, 40), (96, 32), ((180), 60), (400, 100)])
def test_windows_give_what_is_found_at_once(tile, overlap):
    whole = HEAD.objects(MAPS)
    assert whole.max() > 100
    found = number_objects(MAPS, HEAD, tile=tile, overlap=overlap)
    assert found.dtype == np.uint16
    # Not only the same objects: the same numbers.
    np.testing.assert_array_equal(found, whole)


def test_many_objects_lie_over_seams():
    whole = HEAD.objects(MAPS)
    seams = np.unique(whole[:, [100 - 1, 100]]), np.unique(whole[[100 - 1, 100]])
    assert sum(map(len, seams)) > 15
    np.testing.assert_array_equal(number_objects(MAPS, HEAD), whole)


def test_objects_larger_than_a_window():
    """A ring through all windows is one object, as far as windows agree."""
    y, x = np.mgrid[:300, :300]
    distance = np.hypot(y - 150, x - 150)
    maps = np.zeros((300, 300, 2), "float32")
    maps[..., 0] = np.abs(distance - 110) < 9
    maps[..., 1] = (1 - np.abs(distance - 110) / 9).clip(0, 1)
    found = number_objects(maps, HEAD, tile=90, overlap=30)
    np.testing.assert_array_equal(found, maps[..., 0])


def test_small_objects_are_measured_across_seams():
    """Both parts of an object that a seam cuts count."""
    maps = np.zeros((40, 200, 2), "float32")
    maps[10:14, 97:103] = 1  # 24 pixels, over the seam at 100
    maps[20:23, 110:114] = 1
    for least, count in ((12, 2), (13, 1), (24, 1), (25, 0)):
        found = number_objects(maps, HEAD, tile=120, overlap=40, min_size=least)
        assert found.max() == count
        whole = kd.heads.Instances(min_size=least)
        np.testing.assert_array_equal(found, whole.objects(maps))
        np.testing.assert_array_equal(number_objects(maps, whole, tile=120, overlap=40), found)


def test_files(tmp_path):
    np.save(tmp_path / "maps.npy", MAPS)
    mapped = np.load(tmp_path / "maps.npy", mmap_mode="r")
    whole = HEAD.objects(MAPS)
    for tile in (None, 120):
        out = tmp_path / f"{tile}.npy"
        found = number_objects(mapped, HEAD, tile=tile, overlap=40, out=out)
        np.testing.assert_array_equal(np.load(out), whole)
        assert found.dtype == np.uint32 and not found.flags.writeable
    with pytest.raises(FileExistsError, match="already"):
        number_objects(mapped, HEAD, out=out)
    into = np.zeros(whole.shape, "int64")
    assert number_objects(mapped, HEAD, tile=120, overlap=40, out=into) is into
    np.testing.assert_array_equal(into, whole)


def test_georeference(tmp_path):
    """Maps of a scene, and the numbers of its objects, lie where the scene does."""
    rasterio = pytest.importorskip("rasterio")
    place = {"transform": rasterio.Affine(2, 0, 5e5, 0, -2, 54e5), "crs": "EPSG:32632"}
    size = {"height": 230, "width": 310, "count": 2, "dtype": "float32"}
    with rasterio.open(tmp_path / "maps.tif", "w", driver="GTiff", **size, **place) as file:
        file.write(np.moveaxis(MAPS, -1, 0))
    maps = kd.inference.GeoTiff(tmp_path / "maps.tif", bands=(1, 2))
    found = number_objects(maps, HEAD, tile=120, overlap=40, out=tmp_path / "numbers.tif")
    np.testing.assert_array_equal(found[...][..., 0], HEAD.objects(MAPS))
    with rasterio.open(tmp_path / "numbers.tif") as file:
        assert file.transform == place["transform"] and file.dtypes == ("uint32",)


def test_from_an_image_to_numbers_in_tiles():
    """Maps of tiles are mixed, then objects are decoded by windows: as at once."""
    image = keras.Input((None, None, 3))
    x = layers.DepthwiseConv2D(3, padding="same", depthwise_initializer=Constant(1 / 9))(image)
    logits = layers.Conv2D(2, 1)
    model = kd.heads.attach(keras.Model(image, logits(x)), HEAD)
    logits.set_weights([np.array([[[[8, 0], [0, 8], [0, 0]]]]) / 255, np.array([-4, -4])])
    photo = np.pad((255 * MAPS).astype("uint8"), ((0, 0), (0, 0), (0, 1)))
    whole = HEAD.objects(
        keras.ops.convert_to_numpy(HEAD.decode(model.predict_on_batch(photo[None])))[0]
    )
    assert whole.max() > 60
    maps = kd.inference.predict_tiled(model, photo, tile=128, progress=False)
    assert maps.shape == (230, 310, 2) and maps.dtype == np.float32
    found = number_objects(maps, HEAD, tile=160, overlap=50)
    np.testing.assert_array_equal(found, whole)


def test_bad_arguments():
    for change, message in (
        ({"tile": 100, "overlap": 40}, "`overlap` must be at most a third of `tile`"),
        ({"tile": 0}, "`tile` must be an integer >= 1"),
        ({"overlap": 1}, "`overlap` must be an integer >= 2"),
        ({"progress": "no", "tile": 200, "overlap": 40}, "`progress` must be True or False"),
        ({"min_size": -1}, "`min_size` must be an integer >= 0"),
        ({"out": np.zeros((230, 310), "uint16")}, "`out` must hold uint32 exactly"),
        ({"out": np.zeros((230, 311), "uint32")}, "`out` must have shape"),
    ):
        with pytest.raises(ValueError, match=message):
            number_objects(MAPS, HEAD, **change)
    with pytest.raises(TypeError, match="Depth predicts no numbered objects"):
        number_objects(MAPS[..., :1], kd.heads.Depth())

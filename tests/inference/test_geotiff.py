"""Metadata of a raster reaches the network or is an error; results carry their meaning."""

import json

import keras
import numpy as np
import pytest

import keras_dense as kd

rasterio = pytest.importorskip("rasterio")
GeoTiff = kd.inference.GeoTiff
pytestmark = [
    pytest.mark.once,
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]


def written(path, bands, colors=None, **settings):
    """A file of bands `(C, H, W)`."""
    settings = {"driver": "GTiff", "dtype": bands.dtype, **settings}
    count, height, width = bands.shape
    with rasterio.open(path, "w", count=count, height=height, width=width, **settings) as file:
        if colors is not None:
            file.write_colormap(1, colors)
        file.write(bands)
    return path


def random(count=3, size=(20, 30), dtype="uint8", high=256):
    numbers = np.random.default_rng(0).integers(0, high, (count, *size))
    return numbers.astype(dtype)


def shown(bands):
    return np.moveaxis(bands, 0, -1)


def pointwise(channels=3, classes=3):
    image = keras.Input((None, None, channels))
    return keras.Model(image, keras.layers.Conv2D(classes, 1)(image))


def tiled(scene, head=None, model=None, **settings):
    model = model or pointwise(scene.shape[-1])
    return kd.inference.predict_tiled(model, scene, head, tile=16, progress=False, **settings)


def test_jpeg_2000_is_read_by_windows(tmp_path):
    image = shown(random(size=(70, 90)))
    pytest.importorskip("PIL.Image").fromarray(image).save(tmp_path / "a.jp2", irreversible=False)
    scene = GeoTiff(tmp_path / "a.jp2")
    assert scene.shape == (70, 90, 3) and scene.dtype == np.uint8
    np.testing.assert_array_equal(scene[10:50, 20:60], image[10:50, 20:60])
    np.testing.assert_array_equal(tiled(scene, model=(m := pointwise())), tiled(image, model=m))


def test_numbers_as_they_are(tmp_path):
    for dtype, high in (("uint8", 256), ("uint16", 60000), ("int16", 30000), ("float32", 256)):
        bands = random(dtype=dtype, high=high)
        scene = GeoTiff(written(tmp_path / f"{dtype}.tif", bands))
        assert scene.dtype == dtype and scene.shape == (20, 30, 3)
        np.testing.assert_array_equal(scene[...], shown(bands))
        np.testing.assert_array_equal(scene[3:9, 5:, :], shown(bands)[3:9, 5:])
    with scene:
        pass
    with pytest.raises(rasterio.errors.RasterioIOError):
        scene[:2, :2]


def test_a_palette_becomes_rgb_and_alpha_is_no_channel(tmp_path):
    places = random(1, high=3)
    colors = {0: (9, 8, 7, 255), 1: (200, 0, 3, 255), 2: (0, 0, 255, 255)}
    path = written(tmp_path / "palette.tif", places, colors)
    table = np.array(list(colors.values()), "uint8")[:, :3]
    scene = GeoTiff(path)
    assert scene.shape == (20, 30, 3) and scene.dtype == np.uint8
    np.testing.assert_array_equal(scene[2:7, 4:8], table[places[0]][2:7, 4:8])
    np.testing.assert_array_equal(GeoTiff(path, bands=1)[...], shown(places))
    four = random(4)
    four[3, :10], four[3, 10:] = 0, 255
    path = written(tmp_path / "rgba.tif", four, photometric="rgb", alpha="yes")
    scene = GeoTiff(path)
    assert scene.bands == (1, 2, 3)
    pixels, known = scene.read((slice(8, 12), slice(0, 30)))
    assert known.tolist() == [[False] * 30] * 2 + [[True] * 30] * 2
    assert (pixels[:2] == 0).all() and (pixels[2:] == shown(four[:3])[10:12]).all()
    # Named bands are what was meant: near infrared is often called alpha.
    np.testing.assert_array_equal(GeoTiff(path, bands=(4, 2, 1))[...], shown(four)[..., [3, 1, 0]])
    assert GeoTiff(path, bands=(3, 2, 1), alpha=True).masked


def test_a_scale_says_what_is_black_and_white(tmp_path):
    bands = random(dtype="uint16", high=5000)
    path = written(tmp_path / "deep.tif", bands)
    scene = GeoTiff(path, scale=(0, 3000))
    assert scene.dtype == np.float32
    expected = (shown(bands).astype("float64") / 3000 * 255).clip(0, 255)
    np.testing.assert_allclose(scene[...], expected, rtol=1e-6)
    assert tiled(scene).shape == (20, 30, 3)
    with pytest.raises(
        ValueError, match=r"image\[0:16, 0:16\]. must be from 0 to 255. Received: u"
    ):
        tiled(GeoTiff(path))
    assert tiled(GeoTiff(path), value_range=None).shape == (20, 30, 3)
    # A file may have a scale of its own, by which it means reflectances.
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = [1e-4] * 3, [-0.1] * 3
    real = shown(bands) * 1e-4 - 0.1
    np.testing.assert_allclose(GeoTiff(path)[...], real, atol=1e-6)
    found = GeoTiff(path, scale=(-0.1, 0.3))[...]
    np.testing.assert_allclose(found, ((real + 0.1) / 0.4 * 255).clip(0, 255), atol=1e-3)


@pytest.mark.parametrize("nodata", ["value", "nan", "mask"])
def test_pixels_without_data_are_void_in_what_is_predicted(tmp_path, nodata):
    hole = np.zeros((20, 30), bool)
    hole[4:13, 7:25] = True
    if nodata == "mask":
        bands = random()
        path = written(tmp_path / "in.tif", bands)
        with rasterio.open(path, "r+") as file:
            file.write_mask(~hole)
    else:
        bands = random(dtype="float32")
        value = np.nan if nodata == "nan" else -9999.0
        bands[:, hole] = value
        # One band without data is enough where its number is no color.
        bands[:, 0, 0] = 5, value, 7
        hole[0, 0] = True
        path = written(tmp_path / "in.tif", bands, nodata=value)
    scene, head = GeoTiff(path), kd.heads.Segmentation(3)
    model = pointwise()
    labels = tiled(scene, head, model)
    assert (labels[hole] == 255).all() and (labels[~hole] < 3).all()
    filled = np.where(hole[..., None], 0, shown(bands))
    expected = model.predict_on_batch(filled[None])[0].argmax(-1)
    np.testing.assert_array_equal(labels[~hole], expected[~hole])
    raw = tiled(scene, head, model, raw=True)
    assert np.isnan(raw[hole]).all() and np.isfinite(raw[~hole]).all()
    depth = tiled(scene, kd.heads.Depth(), pointwise(classes=1))
    assert (depth[hole] == 0).all()
    with pytest.raises(ValueError, match="in.tif: may have pixels without data, .* no label"):
        tiled(scene, kd.heads.Segmentation(3, ignore_class=None), model)


def test_bytes_are_unknown_where_all_bands_are(tmp_path):
    bands = random()
    bands[:, 3], bands[0, 5] = 0, 0
    scene = GeoTiff(written(tmp_path / "in.tif", bands, nodata=0))
    _, known = scene.read((slice(0, 20), slice(0, 30)))
    assert not known[3].any() and known[5].all()


def test_what_cannot_be_a_channel(tmp_path):
    path = written(tmp_path / "c.tif", random().astype("complex64"))
    with pytest.raises(ValueError, match="c.tif: band 1 holds complex numbers"):
        GeoTiff(path)
    path = written(tmp_path / "bit.tif", random(1, high=2), nbits=1)
    with pytest.raises(ValueError, match=r"bit.tif: band 1 has 1 bits, .* scale=\(0, 1\)"):
        GeoTiff(path, bands=1)
    assert set(np.unique(GeoTiff(path, bands=1, scale=(0, 1))[...])) == {0, 255}
    assert set(np.unique(GeoTiff(path)[...])) == {0, 255}  # which GDAL takes for a palette
    path = written(tmp_path / "cmyk.tif", random(4))
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [
            rasterio.enums.ColorInterp[c] for c in "cyan magenta yellow black".split()
        ]
    with pytest.raises(ValueError, match="cmyk.tif: band 1 is 'cyan' of another color space"):
        GeoTiff(path)
    path = written(tmp_path / "rgb.tif", random())
    for scale in (3, (1, 1), (0, np.nan), "ab"):
        with pytest.raises(ValueError, match=r"`scale` must be \(low, high\)"):
            GeoTiff(path, scale=scale)
    with pytest.raises(ValueError, match="`bands` must be among .*rgb.tif. Received: bands=9"):
        GeoTiff(path, bands=9)
    scene = GeoTiff(path)
    for key in (
        (0, 0),
        (slice(0, 2), 1),
        (slice(0, 2), slice(0, 2), 0),
        (slice(0, 2), slice(0, 2), slice(2)),
    ):
        with pytest.raises(IndexError, match="slices of rows and columns"):
            scene[key]
    with pytest.raises(IndexError, match="without steps"):
        scene[::2, :]
    with pytest.raises(ValueError, match=r"must have shape \(height, width, 4\)"):
        tiled(scene, model=pointwise(4))


def test_other_color_spaces_and_turned_photographs(tmp_path):
    pillow = pytest.importorskip("PIL.Image")
    photo = pillow.fromarray(shown(random()))
    photo.convert("CMYK").save(tmp_path / "cmyk.tif")
    np.testing.assert_array_equal(GeoTiff(tmp_path / "cmyk.tif")[...], shown(random()))
    exif = pillow.Exif()
    exif[0x0112] = 6
    photo.save(tmp_path / "turned.jpg", exif=exif)
    with pytest.raises(ValueError, match=r"turned.jpg: has an EXIF orientation \(6"):
        GeoTiff(tmp_path / "turned.jpg")


def test_labels_have_the_heads_colors_and_names(tmp_path):
    head = kd.heads.Segmentation(
        3, class_names=["é", "b", "c"], palette=[[1, 2, 3], [9, 9, 0], [7, 7, 7]]
    )
    image, place = shown(random()), rasterio.Affine(2.0, 0.0, 5e5, 0.0, -2.0, 54e5)
    scene = GeoTiff(written(tmp_path / "in.tif", random(), crs="EPSG:32632", transform=place))
    model = pointwise()
    found = tiled(scene, head, model, out=tmp_path / "labels.tif")
    assert found.shape == (20, 30, 1)
    with rasterio.open(tmp_path / "labels.tif") as file:
        table = file.colormap(1)
        assert [table[n] for n in range(3)] == [(1, 2, 3, 255), (9, 9, 0, 255), (7, 7, 7, 255)]
        assert file.nodata == 255 and file.descriptions == ("labels",)
        about = json.loads(file.tags()["about"])
        assert about["classes"] == ["é", "b", "c"] and about["unknown"] == 255
        np.testing.assert_array_equal(file.read(1), tiled(image, head, model))
        assert file.crs.to_epsg() == 32632 and file.transform == place
    tags = kd.heads.Segmentation(3, mode="multilabel", class_names=["é", "b", "c"])
    tiled(scene, tags, model, out=tmp_path / "tags.tif")
    with rasterio.open(tmp_path / "tags.tif") as file:
        assert file.descriptions == ("é", "b", "c") and file.count == 3
    tiled(scene, kd.heads.Depth(), pointwise(classes=1), out=tmp_path / "depth.tif")
    with rasterio.open(tmp_path / "depth.tif") as file:
        assert file.units == ("meter",) and file.nodata == 0 and file.descriptions == ("depth",)
    tiled(scene, kd.heads.Normals(), model, out=tmp_path / "normals.tif")
    with rasterio.open(tmp_path / "normals.tif") as file:
        assert file.nodata is None and json.loads(file.tags()["about"])["frame"] == "opencv"
    tiled(scene, head, model, raw=True, out=tmp_path / "raw.tif")
    with rasterio.open(tmp_path / "raw.tif") as file:
        assert np.isnan(file.nodata) and file.descriptions == ("é", "b", "c")


def test_points_on_the_ground_are_kept(tmp_path):
    points = [
        rasterio.control.GroundControlPoint(row, column, 10.0 + column, 50.0 - row)
        for row, column in ((0, 0), (0, 30), (20, 0))
    ]
    path = written(tmp_path / "in.tif", random())
    with rasterio.open(path, "r+") as file:
        file.gcps = points, rasterio.crs.CRS.from_epsg(4326)
    tiled(GeoTiff(path), kd.heads.Segmentation(3), out=tmp_path / "out.tif")
    with rasterio.open(tmp_path / "out.tif") as file:
        found, crs = file.gcps
        assert crs.to_epsg() == 4326
        assert [(p.row, p.col, p.x, p.y) for p in found] == [
            (p.row, p.col, p.x, p.y) for p in points
        ]


def test_a_zarr_array_says_what_it_means(tmp_path):
    pytest.importorskip("zarr")
    head = kd.heads.Segmentation(3, class_names=list("abc"))
    found = tiled(shown(random()), head, out=tmp_path / "out.zarr")
    assert found.attrs["about"]["classes"] == list("abc")

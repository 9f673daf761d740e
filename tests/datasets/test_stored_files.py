"""Readers return exactly the content of a file, or raise an error that names the file.

One table of formats, kinds of numbers, channels and ways to store them; and then, one by one, what
a file says beside its numbers.
"""

import itertools
import struct
import warnings
import zlib

import numpy as np
import pytest

from keras_dense.datasets import folder, instances, photographs
from keras_dense.datasets.files import read_image, read_numbers
from keras_dense.datasets.masks import MaskDecoder
from keras_dense.datasets.stored import stored, turned
from keras_dense.heads.palette import voc_palette

pytestmark = pytest.mark.once

Image = pytest.importorskip("PIL.Image")

RNG = np.random.default_rng(0)
HEIGHT, WIDTH = 3, 5


def write_png(path, array, bits, color, palette=None, transparency=None):
    """A PNG of any depth and color type, by the letter of the specification."""
    rows = array.reshape(len(array), -1)
    if bits == 16:
        rows = [row.astype(">u2").tobytes() for row in rows]
    else:
        shifts = np.arange(bits)[::-1]
        rows = [np.packbits((row[:, None] >> shifts & 1).astype("uint8")).tobytes() for row in rows]

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    head = struct.pack(">IIBBBBB", array.shape[1], array.shape[0], bits, color, 0, 0, 0)
    parts = [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", head)]
    parts += (
        [chunk(b"PLTE", np.asarray(palette, np.uint8).tobytes())] if palette is not None else []
    )
    parts += [chunk(b"tRNS", bytes(transparency))] if transparency is not None else []
    parts += [chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))]
    path.write_bytes(b"".join([*parts, chunk(b"IEND", b"")]))


def random(dtype, channels, high=100):
    shape = (HEIGHT, WIDTH) if channels == 1 else (HEIGHT, WIDTH, channels)
    if dtype == "bool":
        return RNG.integers(0, 2, shape).astype(bool)
    return RNG.integers(0, high, shape).astype(dtype)


def bytes_of(array, channels, opaque):
    """The expected result of `read_image`, or `None` for an error."""
    if array.dtype not in (np.uint8, bool) or channels == 4 and not opaque:
        return None
    array = array[..., :3] if channels == 4 else array
    array = array * np.uint8(255) if array.dtype == bool else array
    return np.stack([array] * 3, -1) if array.ndim == 2 else array if channels in (3, 4) else None


def check_outcome(path, array, image, labels):
    """The numbers exactly; the image and the labels exactly, or an error that names the file."""
    np.testing.assert_array_equal(stored(path).numbers, array, err_msg=path.name)
    decoder = MaskDecoder(200, None)
    for read, wanted in (
        (lambda: read_image(path, upright=False), image),
        (lambda: decoder(path, upright=False), labels),
    ):
        try:
            found = read()
        except ValueError as error:
            assert wanted is None and str(path) in str(error), (path.name, error)
        else:
            assert wanted is not None, f"{path.name}: nothing was said"
            np.testing.assert_array_equal(found, wanted, err_msg=path.name)


DTYPES = "bool uint8 int8 uint16 int16 uint32 int32 uint64 int64 float16 float32 float64".split()


@pytest.mark.parametrize("dtype", DTYPES)
def test_tiff_of_every_kind(tmp_path, dtype):
    tifffile = pytest.importorskip("tifffile")
    pytest.importorskip("rasterio")
    ways = ((None, "<", 1), ("zlib", ">", 1), (None, "<", 6), ("zlib", "<", 3))
    table = itertools.product((1, 2, 3, 4, 5), ("minisblack", "miniswhite", "rgb"), ways, (0, -7))
    for case, (channels, photometric, way, low) in enumerate(table):
        compression, order, orientation = way
        if photometric == "rgb" and channels < 3 or dtype == "bool" and channels > 1:
            continue
        if low and (dtype[0] in "ub" or channels > 1):
            continue
        array = random(dtype, channels)
        array = (array + low).astype(dtype) if low else array
        opaque = photometric == "rgb" and channels == 4
        if opaque and array.dtype == np.uint8:
            array[..., 3] = 255
        path = tmp_path / f"{case}.tif"
        extra = [(274, 3, 1, orientation, True)] if orientation > 1 else []
        extra_samples = {"extrasamples": ["unassalpha"]} if opaque else {}
        tifffile.imwrite(
            path, array, photometric=photometric, compression=compression, byteorder=order,
            planarconfig="contig", extratags=extra, **extra_samples,
        )  # fmt: skip
        image = bytes_of(array, channels, opaque)
        labels = (
            array if channels == 1 and photometric == "minisblack" and array.min() >= 0 else None
        )
        if photometric == "miniswhite" and image is not None:
            image = 255 - image if channels == 1 else None
        if photometric == "minisblack" and channels > 1:
            image = None  # five bands, of which the file does not say what they are
        check_outcome(path, array, image, labels)


def test_png_of_every_kind(tmp_path):
    pytest.importorskip("rasterio")
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
    depths = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
    for color, opaque in itertools.product(channels, (True, False)):
        for bits in depths[color]:
            array = random("uint16" if bits == 16 else "uint8", channels[color], min(2**bits, 200))
            if opaque and color in (4, 6):
                array[..., -1] = 2**bits - 1
            path = tmp_path / f"{color}_{bits}_{opaque}.png"
            palette = RNG.integers(0, 256, (2**bits, 3)) if color == 3 else None
            write_png(path, array, bits, color, palette)
            flat = array[..., 0] if color == 4 else array[..., :3] if color in (2, 6) else array
            image = palette[array] if color == 3 else np.rint(flat * (255 / (2**bits - 1)))
            image = np.stack([image] * 3, -1) if image.ndim == 2 else image
            labels = flat if flat.ndim == 2 and (opaque or color != 4) else None
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that of transparent pixels, see below
                check_outcome(path, array, image if bits <= 8 else None, labels)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_npy_of_every_kind(tmp_path, dtype, channels):
    array = random(dtype, channels)
    np.save(tmp_path / "a.npy", array)
    image = bytes_of(array, channels, False) if channels in (1, 3) else None
    check_outcome(tmp_path / "a.npy", array, image, array if channels == 1 else None)


@pytest.mark.parametrize("top", [1, 20, 255, 4095, 65535])
@pytest.mark.parametrize("channels", [1, 3])
def test_portable_maps_of_every_kind(tmp_path, top, channels):
    pytest.importorskip("rasterio")
    array = random("uint16", channels, min(top + 1, 200))
    array[0, 0] = top
    path = tmp_path / "a.pnm"
    kind = b"P5" if channels == 1 else b"P6"
    body = array.astype(">u2" if top > 255 else "uint8").tobytes()
    path.write_bytes(kind + b"\n# by hand\n5 3\n%d\n" % top + body)
    image = np.rint(array * (255 / top)) if top <= 255 else None
    image = np.stack([image] * 3, -1) if channels == 1 and image is not None else image
    check_outcome(path, array, image, array if channels == 1 and top in (1, 20, 255) else None)


def test_numbers_of_bmp_gif_webp_are_those_saved(tmp_path):
    labels = random("uint8", 1, 21)
    for name in ("a.bmp", "a.gif"):
        image = Image.fromarray(labels)
        image.putpalette(voc_palette(256).tobytes())
        image.save(tmp_path / name, **({"optimize": False} if name == "a.gif" else {}))
        np.testing.assert_array_equal(MaskDecoder(21, voc_palette(21))(tmp_path / name), labels)
    rgb = random("uint8", 3)
    Image.fromarray(rgb).save(tmp_path / "a.webp", lossless=True)
    np.testing.assert_array_equal(read_image(tmp_path / "a.webp"), rgb)
    assert stored(tmp_path / "a.webp").lossy is None


# What a file says beside its numbers.


@pytest.fixture
def pair(tmp_path):
    """Folders of one image and one mask, the functions to write both, and the data set."""

    class Pair:
        images, masks = tmp_path / "images", tmp_path / "masks"

        def image(self, array, name="a.png", **options):
            Image.fromarray(array).save(self.images / name, **options)

        def mask(self, array, name="a.png", **options):
            Image.fromarray(array).save(self.masks / name, **options)

        def read(self, num_classes=21, **options):
            return folder(self.images, self.masks, num_classes=num_classes, **options)[0]

        def labels(self, num_classes=21, **options):
            return self.read(num_classes, **options)["segmentation"].tolist()

    pair = Pair()
    pair.images.mkdir()
    pair.masks.mkdir()
    pair.image(np.zeros((2, 3, 3), np.uint8))
    return pair


@pytest.mark.parametrize("name", ["a.jpg", "a.webp", "a.tif", "a.png"])
def test_lossy_masks_are_refused_until_decoded(pair, name):
    labels = np.full((2, 3), 7, np.uint8)
    rgb = np.stack([labels] * 3, -1)
    if name == "a.webp":
        pair.mask(rgb, name, lossless=False)
    elif name == "a.tif":
        pair.mask(rgb, name, compression="jpeg")
    else:  # also where a JPEG is called PNG
        pair.mask(labels, name, format="JPEG")
    with pytest.raises(ValueError, match=f"masks/{name}: is a .* file, whose compression changes"):
        pair.read()
    decode = (lambda x: x > 3) if name in ("a.jpg", "a.png") else (lambda x: x[..., 0] > 3)
    assert pair.labels(decode=decode) == [[1, 1, 1]] * 2


def test_decoded_numbers_do_not_wrap_around(pair):
    pair.mask(np.array([[1, 2, 3]] * 2, np.uint8))
    assert pair.labels(300, decode=lambda x: 90 * x) == [[90, 180, 270]] * 2
    pair.image(np.full((2, 3), 200, np.uint8))
    image = pair.read(decode_image=lambda x: x * 255 // 200)["image"]
    assert image.dtype == np.uint8 and (image == 255).all() and image.shape == (2, 3, 3)


@pytest.mark.parametrize(
    ("decode", "message"),
    [
        (lambda x: x[:1], "masks/a.png: `decode` must keep height and width"),
        (lambda x: None, "masks/a.png: `decode` failed for int32"),
        (lambda x: x[..., 7], "masks/a.png: `decode` failed for int32"),
        (lambda x: x / 2, "masks/a.png: `labels` must be whole numbers"),
        (lambda x: np.stack([x, x], -1), "masks/a.png: must contain class indices or RGB"),
    ],
)
def test_results_of_decode_are_checked(pair, decode, message):
    pair.mask(np.array([[1, 2, 3]] * 2, np.uint8))
    with pytest.raises(ValueError, match=message):
        pair.read(decode=decode)


def test_deep_images_are_read_with_decode_image(pair):
    tifffile = pytest.importorskip("tifffile")
    pytest.importorskip("rasterio")
    pair.mask(np.zeros((2, 3), np.uint8))
    deep = np.arange(18, dtype=np.uint16).reshape(2, 3, 3) * 240
    (pair.images / "a.png").unlink()
    tifffile.imwrite(pair.images / "a.tif", deep, photometric="rgb")
    with pytest.raises(ValueError, match="images/a.tif: has more than 8 bits .*decode_image="):
        pair.read()
    image = pair.read(decode_image=lambda x: x * 255 // 4095)["image"]
    np.testing.assert_array_equal(image, deep.astype(int) * 255 // 4095)
    only = photographs(pair.images, decode_image=lambda x: x * 255 // 4095)[0]["image"]
    np.testing.assert_array_equal(only, image)
    with pytest.raises(
        ValueError, match="a.tif: `image` must be uint8.* Received: int32 from 0 to 4"
    ):
        pair.read(decode_image=lambda x: x)


def test_exif_orientation_of_images(pair):
    """Annotations drawn in a viewer fit the turned pixels."""
    shown = np.zeros((4, 6, 3), np.uint8)
    shown[:2] = 255
    pair.mask((shown[..., 0] > 0).astype(np.uint8))
    for orientation in range(2, 9):
        at = np.arange(24).reshape((6, 4) if orientation >= 5 else (4, 6))
        flat = np.zeros((24, 3), np.uint8)
        flat[turned(at, orientation).ravel()] = shown.reshape(-1, 3)
        exif = Image.Exif()
        exif[0x0112] = orientation
        pair.image(flat.reshape(*at.shape, 3), exif=exif)
        np.testing.assert_array_equal(pair.read(upright=True)["image"], shown)
        if orientation >= 5:  # the size of the mask says it
            np.testing.assert_array_equal(pair.read()["image"], shown)
            with pytest.raises(ValueError, match="must be the same size"):
                pair.read(upright=False)
        else:
            with pytest.raises(ValueError, match=r"images/a.png: .*orientation \d.*upright=True"):
                pair.read()
            np.testing.assert_array_equal(
                pair.read(upright=False)["image"], flat.reshape(*at.shape, 3)
            )
    np.testing.assert_array_equal(photographs(pair.images)[0]["image"], shown)


def test_a_mask_on_the_stored_pixels_of_a_turned_image(pair):
    exif = Image.Exif()
    exif[0x0112] = 6
    pair.image(np.zeros((4, 6, 3), np.uint8), exif=exif)
    pair.mask(np.zeros((4, 6), np.uint8))
    assert pair.read()["image"].shape == (4, 6, 3)


def test_exif_orientation_of_masks(pair):
    exif = Image.Exif()
    exif[0x0112] = 3
    pair.mask(np.array([[0, 1, 2], [3, 4, 5]], np.uint8), exif=exif)
    with pytest.raises(ValueError, match=r"masks/a.png: .*EXIF orientation 3"):
        pair.read()
    assert pair.labels(upright=True) == [[5, 4, 3], [2, 1, 0]]
    assert pair.labels(upright=False) == [[0, 1, 2], [3, 4, 5]]


def test_transparency(pair):
    rgba = np.zeros((2, 3, 4), np.uint8)
    rgba[..., 3] = 255
    pair.mask(rgba)
    assert pair.labels() == [[0, 0, 0]] * 2  # all opaque: RGB
    rgba[1, 2, 3] = 9
    pair.mask(rgba)
    with pytest.raises(ValueError, match="masks/a.png: has 1 transparent pixels; give decode="):
        pair.read()
    assert pair.labels(decode=lambda x: x[..., :3]) == [[0, 0, 0]] * 2
    pair.image(rgba)
    with pytest.warns(UserWarning, match="images/a.png: has 1 transparent pixels"):
        pair.read(decode=lambda x: x[..., :3])
    # A color of the palette that is not drawn says nothing of the number.
    indexed = Image.fromarray(np.array([[0, 1, 2]] * 2, np.uint8))
    indexed.putpalette(voc_palette(256).tobytes())
    indexed.save(pair.masks / "a.png", transparency=0)
    pair.image(np.zeros((2, 3, 3), np.uint8))
    assert pair.labels() == [[0, 1, 2]] * 2
    with pytest.raises(ValueError, match="masks/a.png: has 2 transparent pixels"):
        pair.read(None, palette=voc_palette(21), encoding="color")


def test_palettes_with_the_colors_in_another_order(pair):
    ours = voc_palette(21)
    labels = np.array([[0, 5, 15]] * 2, np.uint8)
    pruned = Image.fromarray(ours[labels]).quantize(3)  # as tools that save space do
    pruned.save(pair.masks / "a.png")
    assert np.asarray(pruned).max() == 2
    with pytest.raises(ValueError, match="masks/a.png: its palette has the color of .* for number"):
        pair.read()
    assert pair.labels(None, palette=ours, encoding="color") == labels.tolist()
    assert pair.labels(encoding="index") == np.asarray(pruned).tolist()
    pair.mask(labels * 0 + np.array([0, 2, 7], np.uint8), "a.gif")  # which makes a palette of it
    (pair.masks / "a.png").unlink()
    with pytest.raises(ValueError, match="masks/a.gif: its palette has the gray 2 for number 1"):
        pair.read()
    # Colors that are none of ours say nothing of the numbers.
    other = Image.fromarray(np.array([[0, 1, 2]] * 2, np.uint8))
    other.putpalette([9, 9, 9, 200, 1, 2, 0, 0, 0])
    other.save(pair.masks / "a.png")
    (pair.masks / "a.gif").unlink()
    assert pair.labels() == [[0, 1, 2]] * 2


def test_colors_that_two_classes_have(pair):
    pair.mask(np.zeros((2, 3, 3), np.uint8))
    palette = [(0, 0, 0), (5, 5, 5), (0, 0, 0)]
    with pytest.raises(ValueError, match=r"color \(0, 0, 0\) for class 0 and for class 2"):
        pair.read(None, palette=palette)
    with pytest.raises(ValueError, match=r"color \(5, 5, 5\) for class 1 and for class 255"):
        pair.read(None, palette=palette[:2], void_colors=[(5, 5, 5)])
    # The border of VOC is only a default: a class of that color has priority.
    pair.mask(np.full((2, 3, 3), (224, 224, 192), np.uint8))
    assert pair.labels(None, palette=[(0, 0, 0), (224, 224, 192)]) == [[1, 1, 1]] * 2


def test_gray_in_three_channels(pair):
    pair.mask(np.full((2, 3, 3), 2, np.uint8))
    with pytest.raises(ValueError, match=r"color \(2, 2, 2\) .*decode=lambda x: x\[..., 0\]"):
        pair.read()
    assert pair.labels(decode=lambda x: x[..., 0]) == [[2, 2, 2]] * 2


@pytest.mark.parametrize(
    ("remap", "wanted"),
    [
        ({-1: 255}, [[0, 1, 255]] * 2),
        ({-1: 255, 0: 2}, [[2, 1, 255]] * 2),
        ({-1: 0, 0: 0}, [[0, 1, 0]] * 2),
        ({np.int64(-1): np.uint8(255)}, [[0, 1, 255]] * 2),
        ({7: 255}, "label -1 at row 0, column 2 is out of range.*remap={-1: 255}"),
        ({-1: 0}, r"has label 0, which is not in remap, but remap turns -1 into that class"),
    ],
)
@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "float32"])
def test_negative_labels(pair, dtype, remap, wanted):
    tifffile = pytest.importorskip("tifffile")
    pytest.importorskip("rasterio")
    tifffile.imwrite(pair.masks / "a.tif", np.array([[0, 1, -1]] * 2, dtype))
    if isinstance(wanted, str):
        with pytest.raises(ValueError, match=f"masks/a.tif: {wanted}"):
            pair.read(3, remap=remap)
    else:
        assert pair.labels(3, remap=remap) == wanted


@pytest.mark.parametrize("remap", [{0.5: 1}, {1: 0.5}, {"1": 0}, {1: 3}, {1: -1}, {True: 0}])
def test_remap_maps_integers_to_classes(pair, remap):
    pair.mask(np.zeros((2, 3), np.uint8))
    with pytest.raises(ValueError, match="`remap` must map integers to classes 0 to 2"):
        pair.read(3, remap=remap)


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf, 3e9])
def test_floats_that_are_not_labels(pair, value):
    np.save(pair.masks / "a.npy", np.array([[0, 1, value]] * 2))
    with pytest.raises(ValueError, match="masks/a.npy: `labels` must be whole numbers"):
        pair.read()


def test_label_255_of_more_classes(pair):
    pair.mask(np.array([[0, 255, 256]] * 2, np.uint16))
    with pytest.raises(ValueError, match="masks/a.png: has label 255, which means void"):
        pair.read(300)
    assert pair.labels(300, remap={255: 255}) == [[0, 255, 256]] * 2
    assert pair.labels(300, remap={255: 299}) == [[0, 299, 256]] * 2


@pytest.mark.parametrize(("dtype", "nodata"), [("uint8", 9), ("int16", -9999), ("float32", np.nan)])
def test_nodata_of_geotiff_is_void(pair, dtype, nodata):
    rasterio = pytest.importorskip("rasterio")
    labels = np.array([[0, 1, nodata]] * 2, dtype)
    geotiff(rasterio, pair.masks / "a.tif", labels, nodata=nodata)
    assert pair.labels(3) == [[0, 1, 255]] * 2
    if nodata == 9:
        assert pair.labels(3, remap={9: 2}) == [[0, 1, 2]] * 2
        numbers = read_numbers(pair.masks / "a.tif")
        assert numbers.tolist() == [[0, 1, 0]] * 2 and numbers.dtype == np.int32


def geotiff(rasterio, path, array, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shape = {"height": array.shape[0], "width": array.shape[1], "count": 1}
        with rasterio.open(
            path, "w", driver="GTiff", dtype=array.dtype, **shape, **options
        ) as file:
            file.write(array, 1)


def test_nodata_that_is_a_class_is_a_warning(pair):
    rasterio = pytest.importorskip("rasterio")
    geotiff(rasterio, pair.masks / "a.tif", np.array([[0, 1, 2]] * 2, np.uint8), nodata=0)
    with pytest.warns(UserWarning, match=r"a.tif: has 0 as nodata.*remap={0: 0}"):
        assert pair.labels(3) == [[255, 1, 2]] * 2
    assert pair.labels(3, remap={0: 0}) == [[0, 1, 2]] * 2


def test_masks_within_geotiff_and_overviews(pair):
    rasterio = pytest.importorskip("rasterio")
    labels = np.ones((64, 64), np.uint8)
    pair.image(np.zeros((64, 64, 3), np.uint8))
    path = pair.masks / "a.tif"
    geotiff(rasterio, path, labels, tiled=True, blockxsize=16, blockysize=16)
    known = np.full(labels.shape, 255, np.uint8)
    known[:5] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path, "r+") as file:
            file.write_mask(known)
            file.build_overviews([2, 4])
    np.testing.assert_array_equal(pair.read()["segmentation"], np.where(known, labels, 255))


def test_inverted_and_scaled_numbers_are_refused_until_decoded(pair):
    tifffile = pytest.importorskip("tifffile")
    labels = np.array([[0, 1, 2]] * 2, np.uint8)
    tifffile.imwrite(pair.masks / "a.tif", labels, photometric="miniswhite")
    with pytest.raises(ValueError, match="masks/a.tif: stores white as 0"):
        pair.read()
    assert pair.labels(decode=lambda x: x) == labels.tolist()
    tifffile.imwrite(pair.images.parent / "b.tif", labels, photometric="miniswhite")
    assert read_image(pair.images.parent / "b.tif")[0, :, 0].tolist() == [255, 254, 253]
    rasterio = pytest.importorskip("rasterio")
    geotiff(rasterio, pair.masks / "a.tif", labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(pair.masks / "a.tif", "r+") as file:
            file.scales = [0.5]
    with pytest.raises(ValueError, match="masks/a.tif: has a scale that must be applied"):
        pair.read()


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.tif"])
def test_several_images_in_a_file(pair, name):
    pages = [Image.new("L", (3, 2), value) for value in (0, 40, 80)]
    path = pair.images / "b" / name
    path.parent.mkdir()
    options = {"lossless": True} if name == "a.webp" else {}
    pages[0].save(path, save_all=True, append_images=pages[1:], **options)
    with pytest.raises(ValueError, match=f"{name}: has 3 (frames|pages), but must have one"):
        read_image(path)


def test_colors_that_are_not_rgb(tmp_path):
    rgb = Image.fromarray(np.full((2, 3, 3), (200, 30, 10), np.uint8))
    rgb.convert("CMYK").save(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif")[0, 0].tolist() == [200, 30, 10]
    Image.new("LAB", (3, 2)).save(tmp_path / "lab.tif")
    with pytest.raises(ValueError, match=r"lab.tif: has 3 channels \(LAB\), which are not RGB"):
        read_image(tmp_path / "lab.tif")
    rgb.convert("CMYK").save(tmp_path / "b.tif")
    with pytest.raises(ValueError, match="b.tif: must contain class indices or RGB of 8 bits"):
        MaskDecoder(3, voc_palette(3))(tmp_path / "b.tif")


def test_broken_arrays(tmp_path):
    path = tmp_path / "a.npy"
    for array, message in (
        (np.zeros(5), "must be an array of numbers"),
        (np.array([["a"]]), "must be an array of numbers"),
        (np.array([[None]]), "cannot be read as an array"),
        (np.zeros((2, 2), complex), "must be an array of numbers"),
    ):
        np.save(path, array, allow_pickle=True)
        with pytest.raises(ValueError, match=f"a.npy: {message}"):
            read_image(path)
    path.write_bytes(b"\x93NUMPY")
    with pytest.raises(ValueError, match="a.npy: cannot be read as an array"):
        read_image(path)
    with pytest.raises(FileNotFoundError, match="none.npy: no such file"):
        read_image(tmp_path / "none.npy")


def test_images_too_large_for_pillow(tmp_path, monkeypatch):
    Image.new("L", (64, 64)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    for read in (read_image, stored):
        with pytest.raises(ValueError, match=r"a.png: .*MAX_IMAGE_PIXELS = None; kd.inference.Geo"):
            read(tmp_path / "a.png")


def test_missing_rasterio_is_reported(tmp_path, monkeypatch):
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2, 3), np.float64))
    monkeypatch.setitem(__import__("sys").modules, "rasterio", None)
    with pytest.raises(ImportError, match=r"a.tif: has 1 x 64 bits.*keras_dense\[large\]"):
        read_numbers(tmp_path / "a.tif")


@pytest.mark.parametrize("classes", [1, 2])
def test_black_and_white_masks_need_remap(pair, classes):
    pair.mask(np.array([[0, 255, 255]] * 2, np.uint8))
    with pytest.raises(ValueError, match=r"only 0 and 255, such as .*a.png.*remap={255: 1}"):
        pair.read(classes)
    assert pair.labels(2, remap={255: 1}) == [[0, 1, 1]] * 2
    assert pair.labels(classes, remap={255: 255}) == [[0, 255, 255]] * 2
    pair.mask(np.array([[0, 1, 255]] * 2, np.uint8))
    assert pair.labels(2) == [[0, 1, 255]] * 2


def test_black_and_white_objects(tmp_path):
    pytest.importorskip("scipy")
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (3, 1)).save(tmp_path / "images" / "a.png")
    Image.fromarray(np.array([[255, 90, 0]], np.uint8)).save(tmp_path / "masks" / "a.png")
    with pytest.raises(ValueError, match="masks/a.png: must be black and white.* Received: 3 num"):
        instances(tmp_path, "trainval")[0]
    found = instances(tmp_path, "trainval", decode=lambda x: x > 127)[0]
    assert found["instances"].tolist() == [[1, 0, 0]]
    Image.fromarray(np.array([[255, 255, 0]], np.uint8)).save(tmp_path / "masks" / "a.jpg")
    (tmp_path / "masks" / "a.png").unlink()
    with pytest.raises(ValueError, match="masks/a.jpg: is a JPEG file"):
        instances(tmp_path, "trainval")[0]

"""Depth and normals of every common format: the right meters, or an error with the reason.

Each row of the tables writes one file. What is read is compared with the meters that were meant,
or the error with its text: no row may pass in silence with other numbers.
"""

import warnings

import numpy as np
import pytest

from keras_dense.datasets import (
    depth_folder,
    depth_from_png16,
    depth_to_png16,
    distance_to_depth,
    read_depth,
    write_depth,
)
from keras_dense.datasets.normals_files import read_normals
from keras_dense.datasets.rasters import read_raster

Image = pytest.importorskip("PIL.Image")
pytestmark = pytest.mark.once

# Meters with an odd size; halves and quarters that float16 and millimeters hold exactly.
METERS = np.array([[0.5, 1.25, 2.0], [9.75, 60.5, 0.25], [3.0, 7.5, 8.25], [0, 1, 4]], "float32")


def png(array, path, **more):
    Image.fromarray(array).save(path, **more)


def tif(array, path, nodata=None, **more):
    rasterio = pytest.importorskip("rasterio")
    bands = array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)
    tags = more.pop("tags", {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(
            path, "w", driver="GTiff", dtype=array.dtype, nodata=nodata, count=len(bands),
            height=bands.shape[1], width=bands.shape[2], **more,
        ) as file:  # fmt: skip
            file.write(bands)
            for name, value in tags.items():
                setattr(file, name, value)


def pfm(array, path, scale="-1.0", kind=b"Pf", end=b"\n", tail=b""):
    order = "<f4" if scale.startswith("-") else ">f4"
    head = b"%b\n%d %d\n%b" % (kind, array.shape[1], array.shape[0], scale.encode())
    path.write_bytes(head + end + array[::-1].astype(order).tobytes() + tail)


def hdf5(arrays, path, **attributes):
    with pytest.importorskip("h5py").File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
            file[name].attrs.update(attributes)


def mat(arrays, path, new=False):
    if not new:
        return pytest.importorskip("scipy.io").savemat(path, arrays)
    with pytest.importorskip("h5py").File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            file[name] = array.T
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(512))


def exr(channels, path, **header):
    openexr = pytest.importorskip("OpenEXR", reason="OpenEXR is not installed")
    # It writes memory in order, and ignores strides.
    channels = {name: np.ascontiguousarray(channel) for name, channel in channels.items()}
    openexr.File(header, channels).write(str(path))


def npz(arrays, path):
    np.savez_compressed(path, **arrays)


def turned(numbers):
    return (numbers << 3) | (numbers >> 13)


MILLIMETERS = np.rint(METERS * 1000).astype("uint16")
HOLES = METERS.copy()
HOLES[0] = [np.nan, -np.inf, -9999]  # to be read as unknown
KNOWN = np.where(np.isfinite(HOLES) & (HOLES > 0), HOLES, 0)
NO_SCALE = {"scale": None}
Z = np.float32(METERS)
CARLA = np.rint(METERS / 1000 * (2**24 - 1)).astype("int64")
PACKED = np.stack([CARLA % 256, CARLA // 256 % 256, CARLA // 65536], -1).astype("uint8")

GOOD = {
    "png, 16 bits of millimeters": ("a.png", png, MILLIMETERS, {}, {}),
    "png, 1/256 m": ("a.png", png, np.rint(METERS * 256).astype("uint16"), {}, {"scale": 256}),
    "png, bits turned": (
        "a.png", png, turned(MILLIMETERS), {}, {"decode": lambda v: (v >> 3) | (v << 13)},
    ),
    "png, packed in colors": (
        "a.png", png, PACKED, {}, {"decode": lambda v: v @ [1, 256, 65536] / (2**24 - 1) * 1000},
    ),
    "png, 8 bits": (
        "a.png", png, (METERS * 4).astype("uint8"), {}, {"decode": lambda v: v / 4},
    ),
    "npy float16": ("a.npy", np.save, METERS.astype("float16"), None, {}),
    "npy float32": ("a.npy", np.save, METERS, None, {}),
    "npy float64": ("a.npy", np.save, METERS.astype("float64"), None, {}),
    "npy of the other byte order": ("a.npy", np.save, METERS.astype(">f4"), None, {}),
    "npy in the order of Fortran": ("a.npy", np.save, np.asfortranarray(METERS), None, {}),
    "npy with a last axis": ("a.npy", np.save, METERS[..., None], None, {}),
    "npy int32 of millimeters": ("a.npy", np.save, MILLIMETERS.astype("int32"), None, {}),
    "npy int64 with scale": (
        "a.npy", np.save, (METERS * 5000).astype("int64"), None, {"scale": 5000},
    ),
    "npy float millimeters, confirmed": ("a.npy", np.save, METERS * 1000, None, {"scale": 1000}),
    "npz": ("a.npz", npz, {"depth": METERS}, {}, {}),
    "npz, one of two": ("a.npz", npz, {"d": METERS, "x": METERS[:1]}, {}, {"key": "d"}),
    "pfm, small end first": ("a.pfm", pfm, METERS, {}, {}),
    "pfm, big end first": ("a.pfm", pfm, METERS, {"scale": "1.0"}, {}),
    "pfm, lines of Windows": ("a.pfm", pfm, METERS, {"end": b"\r\n"}, {}),
    "pfm with a factor, overridden": ("a.pfm", pfm, METERS, {"scale": "-0.003922"}, {"scale": 1}),
    "tif float32": ("a.tif", tif, METERS, {}, {}),
    "tif float64": ("a.tif", tif, METERS.astype("float64"), {}, {}),
    "tif uint16": ("a.tif", tif, MILLIMETERS, {}, {}),
    "tif int16": ("a.tif", tif, (METERS * 100).astype("int16"), {}, {"scale": 100}),
    "tif uint32": ("a.tif", tif, MILLIMETERS.astype("uint32"), {}, {}),
    "tif, compressed": (
        "a.tif", tif, METERS, {"compress": "zstd", "predictor": 3, "tiled": True,
                               "blockxsize": 16, "blockysize": 16}, {},
    ),
    "tif with a unit that is meters": ("a.tif", tif, METERS, {"tags": {"units": ["m"]}}, {}),
    "tif with a scale, confirmed": (
        "a.tif", tif, MILLIMETERS, {"tags": {"scales": [0.001]}}, {"scale": 1000},
    ),
    "hdf5": ("a.h5", hdf5, {"dataset": METERS.astype("float16")}, {}, {}),
    "hdf5 with a unit that is meters": ("a.h5", hdf5, {"a": METERS}, {"units": "meters"}, {}),
    "hdf5, in British spelling": ("a.h5", hdf5, {"a": METERS}, {"units": "met" + "res"}, {}),
    "hdf5, within groups": (
        "a.hdf5", hdf5, {"a/depth": METERS, "a/rgb": np.ones(3)}, {}, {"key": "a/depth"},
    ),
    "mat": ("a.mat", mat, {"depth": METERS.astype("float64")}, {}, {}),
    "mat 7.3": ("a.mat", mat, {"depth": METERS}, {"new": True}, {}),
    "exr half": ("a.exr", exr, {"Z": METERS.astype("float16")}, {}, {}),
    "exr float, one channel": ("a.exr", exr, {"V": METERS}, {}, {}),
    "exr, Z beside others": ("a.exr", exr, {"Z": METERS, "A": METERS * 0}, {}, {}),
    "exr, named": ("a.exr", exr, {"R": METERS, "G": METERS, "B": METERS}, {}, {"key": "G"}),
}  # fmt: skip


@pytest.mark.parametrize("row", GOOD)
def test_meters_of_every_format(tmp_path, row):
    name, write, content, how, arguments = GOOD[row]
    path = tmp_path / name
    write(path, content) if write is np.save else write(content, path, **how)
    depth = read_depth(path, **arguments)
    assert depth.dtype == np.float32 and depth.shape == (4, 3, 1)
    np.testing.assert_allclose(
        depth[..., 0], METERS, rtol=1e-6, atol=2e-3 if "1/256" in row else 1e-4
    )


HOLED = {
    "npy": ("a.npy", np.save, HOLES, None),
    "npy float64": ("a.npy", np.save, HOLES.astype("float64"), None),
    "pfm": ("a.pfm", pfm, HOLES, {}),
    "tif": ("a.tif", tif, HOLES, {}),
    "tif, nodata of GDAL": ("a.tif", tif, np.where(KNOWN > 0, KNOWN, 50), {"nodata": 50}),
    "tif, nodata the smallest float": (
        "a.tif", tif, np.where(KNOWN > 0, KNOWN, np.finfo("float32").min),
        {"nodata": float(np.finfo("float32").min)},
    ),
    "tif, nodata of float64": (
        "a.tif", tif, np.where(KNOWN > 0, KNOWN.astype("float64"), 1e300), {"nodata": 1e300},
    ),
    "tif, nodata is not a number": ("a.tif", tif, HOLES, {"nodata": float("nan")}),
    "tif, nodata of integers": (
        "a.tif", tif, np.where(KNOWN > 0, KNOWN * 1000, 65535).astype("uint16"), {"nodata": 65535},
    ),
    "tif, signed": (
        "a.tif", tif, np.where(KNOWN > 0, KNOWN * 1000, -9999).astype("int32"), {},
    ),
    "hdf5, fill value": (
        "a.h5", hdf5, {"d": np.where(KNOWN > 0, KNOWN, 99)}, {"_FillValue": np.float32(99)},
    ),
    "mat": ("a.mat", mat, {"d": HOLES}, {}),
    "exr": ("a.exr", exr, {"Z": HOLES}, {}),
    "png, transparent": (
        "a.png", png, np.where(KNOWN > 0, KNOWN * 1000, 7).astype("uint16"), {"transparency": 7},
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", HOLED)
def test_unknown_depth_is_zero(tmp_path, row):
    name, write, content, how = HOLED[row]
    path = tmp_path / name
    write(path, content) if write is np.save else write(content, path, **how)
    np.testing.assert_allclose(read_depth(path)[..., 0], KNOWN, rtol=1e-6)


def pages(array, path):
    array = Image.fromarray(array)
    array.save(path, save_all=True, append_images=[array])


def with_exif(array, path):
    image = Image.fromarray(array)
    exif = image.getexif()
    exif[274] = 6
    image.save(path, exif=exif)


def raw(content, path):
    path.write_bytes(content)


SPREAD = turned(np.arange(1000, 1000 + 7 * 64, 7, dtype="uint16").reshape(8, 8))
BAD = {
    "8 bits": ("a.png", png, np.uint8(METERS), {}, {}, "at most 8 bits per pixel.*give decode="),
    "8 bits with a scale": ("a.png", png, np.uint8(METERS), {}, {"scale": 25}, "at most 8"),
    "colors": ("a.png", png, PACKED, {}, {}, "has 3 channels, but depth has one; give decode="),
    "a palette": (
        "a.png", lambda a, p: Image.fromarray(a).quantize().save(p), PACKED, {}, {}, "has 3 chan",
    ),
    "JPEG": ("a.jpg", png, np.uint8(METERS), {}, {}, "is a JPEG, whose compression changes"),
    "orientation": ("a.png", with_exif, MILLIMETERS, {}, {"scale": 1000}, "has EXIF orientation 6"),
    "pages": ("a.tif", pages, METERS, {}, {}, "has 2 pages"),
    "bits turned": ("a.png", png, SPREAD, {}, {}, r"multiples of 8.*v >> 3.*scale=1000 if"),
    "float millimeters": (
        "a.npy", np.save, METERS * 1000, None, {}, "60500 m as float32. Give scale=1000",
    ),
    "far integers": (
        "a.npy", np.save, np.int64(METERS * 1e6), None, {}, "has depth up to 60500 m as int64",
    ),
    "negative throughout": (
        "a.npy", np.save, -METERS, None, {}, "no number above 0, but 11 below, from -60.5 to -0.25",
    ),
    "white is 0": (
        "a.tif", lambda a, p: Image.fromarray(a).save(p, tiffinfo={262: 0}), MILLIMETERS, {}, {},
        "white as 0",
    ),
    "objects": (
        "a.npy", np.save, np.array([[None]]), None, {}, "cannot be read as NumPy arrays .*pickle",
    ),
    "a pickle": ("a.npy", raw, b"\x80\x04N.", {}, {}, "cannot be read as NumPy arrays"),
    "complex numbers": ("a.npy", np.save, METERS * 1j, None, {}, "must contain numbers of shape"),
    "booleans": ("a.npy", np.save, METERS > 1, None, {}, "at most 8 bits"),
    "one axis": ("a.npy", np.save, METERS[0], None, {}, r"Received: float32 of shape \(3,\)"),
    "nothing": ("a.npy", np.save, METERS[:0], None, {}, r"shape \(0, 3\)"),
    "key of one array": (
        "a.npy", np.save, METERS, None, {"key": "d"}, "contains one array without a name",
    ),
    "key of an image": ("a.png", png, MILLIMETERS, {}, {"key": "d"}, "`key` must be None"),
    "npz, which": ("a.npz", npz, {"a": METERS, "b": METERS}, {}, {}, "contains 'a', 'b'; `key`"),
    "npz, another": ("a.npz", npz, {"a": METERS}, {}, {"key": "b"}, "Received: key='b'"),
    "npz, cut": ("a.npz", raw, b"PK\x03\x04no", {}, {}, "cannot be read as NumPy arrays"),
    "pfm, colors": (
        "a.pfm", pfm, np.stack([METERS] * 3, -1), {"kind": b"PF"}, {}, "has 3 channels",
    ),
    "pfm, a factor": ("a.pfm", pfm, METERS, {"scale": "-0.5"}, {}, "unit: a scale fac"),
    "pfm, factor 0": ("a.pfm", pfm, METERS, {"scale": "0"}, {}, "scale factor 0"),
    "pfm, no factor": ("a.pfm", pfm, METERS, {"scale": "one"}, {}, "cannot be read as a PFM"),
    "pfm, cut": ("a.pfm", raw, b"Pf\n3 4\n-1.0\n" + b"0" * 47, {}, {}, "must contain 48 bytes"),
    "pfm, longer": ("a.pfm", pfm, METERS, {"tail": b"more"}, {}, "must contain 48 bytes"),
    "no pfm": ("a.pfm", raw, b"P6 3 4 255 ", {}, {}, "cannot be read as a PFM"),
    "tif, bands": ("a.tif", tif, np.stack([METERS] * 2, -1), {}, {}, "has 2 channels"),
    "tif, a scale": (
        "a.tif", tif, MILLIMETERS, {"tags": {"scales": [0.01]}}, {}, "unit: scale 0.01",
    ),
    "tif, a unit": ("a.tif", tif, METERS, {"tags": {"units": ["ft"]}}, {}, "unittype ft.*scale="),
    "tif, broken": ("a.tif", raw, b"II*\0nothing", {}, {}, "cannot be read"),
    "hdf5, which": ("a.h5", hdf5, {"a": METERS, "g/b": METERS}, {}, {}, "contains 'a', 'g/b'"),
    "hdf5, a scale": (
        "a.h5", hdf5, {"a": MILLIMETERS}, {"scale_factor": 0.01}, {}, "scale_factor=0.01",
    ),
    "hdf5, a unit": ("a.h5", hdf5, {"a": METERS}, {"units": "cm"}, {}, "units='cm'"),
    "hdf5, broken": ("a.h5", raw, b"nothing", {}, {}, "cannot be read as HDF5"),
    "mat, which": ("a.mat", mat, {"a": METERS, "b": METERS}, {}, {}, "contains 'a', 'b'"),
    "mat, broken": ("a.mat", raw, b"nothing" * 30, {}, {}, "cannot be read as a MATLAB file"),
    "exr, which": ("a.exr", exr, {"A": METERS, "V": METERS}, {}, {}, "contains 'A', 'V'"),
    "exr, colors": ("a.exr", exr, {"R": Z, "G": Z, "B": Z}, {}, {}, "has 3 channels"),
    "exr, a window": (
        "a.exr", exr, {"Z": METERS},
        {"displayWindow": (np.zeros(2, "int32"), np.array([5, 5], "int32")),
         "dataWindow": (np.zeros(2, "int32"), np.array([2, 3], "int32"))},
        {}, "must contain the whole image .*Received: its window",
    ),
    "exr, broken": ("a.exr", raw, b"nothing", {}, {}, "cannot be read as OpenEXR"),
    "another ending": ("a.raw", raw, b"nothing", {}, {}, "must end in one of .png"),
    "decode of another shape": (
        "a.npy", np.save, METERS, None, {"decode": lambda v: v[0]}, r"depth must be .*shape \(3,\)",
    ),
    "decode of another size": (
        "a.png", png, MILLIMETERS, {"transparency": 500}, {"decode": lambda v: v[:2]},
        "has 4 x 3 pixels, but `decode` returned 2 x 3",
    ),
    "decode that fails": (
        "a.npy", np.save, METERS, None, {"decode": lambda v: v["x"]}, "`decode` failed for float32",
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # from Pillow, for the broken TIFF
@pytest.mark.parametrize("row", BAD)
def test_files_that_cannot_be_depth_are_named(tmp_path, row):
    name, write, content, how, arguments, message = BAD[row]
    if name.endswith(".exr"):
        pytest.importorskip("OpenEXR", reason="OpenEXR is not installed")
    if name.endswith((".tif", ".mat")):
        pytest.importorskip("rasterio"), pytest.importorskip("scipy")
    path = tmp_path / name
    write(path, content) if write is np.save else write(content, path, **how)
    with pytest.raises(ValueError, match=message) as error:
        read_depth(path, **arguments)
    assert str(path) in str(error.value)


def test_arguments_of_read_depth(tmp_path):
    np.save(tmp_path / "none.npy", np.full((2, 2), -1.0))
    assert not read_depth(tmp_path / "none.npy").any()  # a frame without any depth
    np.save(tmp_path / "sky.npy", np.array([[2.0, 1e10, np.inf]]))
    assert read_depth(tmp_path / "sky.npy", max_depth=100).ravel().tolist() == [2, 0, 0]
    assert read_depth(tmp_path / "sky.npy", scale=1)[0, 1, 0] == np.float32(1e10)
    np.save(tmp_path / "disparity.npy", np.array([[0.0, 2.0]]))
    found = read_depth(tmp_path / "disparity.npy", decode=lambda v: 10 / v)
    assert found.ravel().tolist() == [0, 5]
    for bad in ({"scale": 0}, {"scale": np.inf}, {"scale": True}, {"max_depth": -1}):
        (name,) = bad
        with pytest.raises(ValueError, match=f"`{name}` must be a number"):
            read_depth(tmp_path / "sky.npy", **bad)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.npy: no such file"):
        read_depth(tmp_path / "nowhere.npy")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float16", "float32", "float64"])
@pytest.mark.parametrize("ending", ["npy", "npz", "tif", "h5", "mat"])
def test_rasters_keep_every_number(tmp_path, ending, dtype):
    if dtype == "float16" and ending in ("tif", "mat"):
        pytest.skip("not written by any program")
    rng = np.random.default_rng(0)
    array = (rng.uniform(-1, 1, (3, 5)) * 200).astype(dtype)
    if dtype == "int32":
        array[0, 0] = -(2**31)
    path = tmp_path / f"a.{ending}"
    write = {"npy": lambda a, p: np.save(p, a), "tif": tif}.get(ending)
    if write is None:
        write, array_ = {"npz": npz, "h5": hdf5, "mat": mat}[ending], {"a": array}
        write(array_, path)
    else:
        write(array, path)
    found = read_raster(path)
    assert found.values.dtype == dtype and found.known is None
    np.testing.assert_array_equal(found.values, array)


def test_distance_along_the_ray_becomes_depth_along_the_axis():
    rows, columns = np.mgrid[:3, :5]
    camera = np.array([[4.0, 0, 2], [0, 5, 1], [0, 0, 1]])
    wall = np.full((3, 5), 7.0)
    distance = wall * np.sqrt(((columns - 2) / 4) ** 2 + ((rows - 1) / 5) ** 2 + 1)
    np.testing.assert_allclose(distance_to_depth(distance, camera), wall)
    np.testing.assert_allclose(distance_to_depth(distance[..., None], camera)[..., 0], wall)
    with pytest.raises(ValueError, match=r"`distance` must have shape"):
        distance_to_depth(wall[0], camera)
    with pytest.raises(ValueError, match=r"`intrinsics` must be a \(3, 3\) matrix"):
        distance_to_depth(wall, camera[:2])


def test_writing_rounds_and_never_cuts(tmp_path):
    half = np.array([[60000.0]], "float16")
    with pytest.raises(ValueError, match="65535 / 60000 m"):
        depth_to_png16(half)
    assert depth_to_png16(np.array([[65.5]], "float16")).tolist() == [[65500]]
    with pytest.raises(TypeError, match=r"fill unknown values with 0 first"):
        depth_to_png16(np.ma.masked_less([[1.0, 2.0]], 1.5))
    with pytest.raises(TypeError, match="`meters` must be an array of numbers"):
        depth_to_png16("far")
    with pytest.raises(ValueError, match="`path` must end in .png"):
        write_depth(tmp_path / "a.tif", METERS)
    write_depth(str(tmp_path / "a.PNG"), METERS[..., None])
    np.testing.assert_array_equal(read_depth(tmp_path / "a.PNG")[..., 0], METERS)
    for wrong in (np.array([[1.5]]), np.array([[-1]]), np.array([[65536]]), np.array([1])):
        with pytest.raises(ValueError, match="`numbers` must be integers from 0 to 65535"):
            depth_from_png16(wrong)


VECTORS = np.array([[(0, 0, -1), (0, -1, 0)], [(0, 0, 0), (0.6, 0, -0.8)]])
CODED = (VECTORS + 1) / 2 * (VECTORS != 0).any(-1, keepdims=True)
NORMALS = {
    "png, 8 bits": ("a.png", png, np.rint(CODED * 255).astype("uint8"), {}, 0.006),
    "tif, 16 bits": ("a.tif", tif, np.rint(CODED * 65535).astype("uint16"), {}, 3e-5),
    "npy": ("a.npy", np.save, VECTORS.astype("float32"), {}, 1e-6),
    "npy float16 with holes": (
        "a.npy", np.save, np.where(VECTORS.any(-1, keepdims=True), VECTORS, np.nan), {}, 1e-6,
    ),
    "npy, from 0 to 1": ("a.npy", np.save, CODED, {"decode": lambda v: 2 * v - 1}, 1e-6),
    "hdf5": ("a.hdf5", hdf5, {"dataset": VECTORS.astype("float16")}, {}, 1e-3),
    "pfm": ("a.pfm", lambda a, p: pfm(a, p, kind=b"PF"), VECTORS, {}, 1e-6),
    "exr": ("a.exr", lambda a, p: exr(dict(zip("XYZ", np.moveaxis(a, -1, 0), strict=True)), p),
            VECTORS.astype("float32"), {}, 1e-6),
}  # fmt: skip


@pytest.mark.parametrize("row", NORMALS)
def test_normals_of_every_format(tmp_path, row):
    name, write, content, arguments, tolerance = NORMALS[row]
    path = tmp_path / name
    write(path, content) if write is np.save else write(content, path)
    found = read_normals(path, **arguments)
    known = (VECTORS != 0).any(-1) & np.isfinite(found).all(-1)
    assert found.dtype == np.float32 and (found.any(-1) == known)[0].all()
    np.testing.assert_allclose(found[known], VECTORS[known], atol=tolerance)


def test_16_bits_of_normals_from_a_png(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    values = np.rint(CODED * 65535).astype("uint16")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(
            tmp_path / "a.png", "w", driver="PNG", dtype="uint16", count=3, height=2, width=2
        ) as file:
            file.write(np.moveaxis(values, -1, 0))
    np.testing.assert_allclose(read_normals(tmp_path / "a.png"), VECTORS, atol=3e-5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (CODED.astype("float32"), r"do not have length 1 .*give normals_decode="),
        (VECTORS.astype("int8"), "must be floats, or unsigned integers of 8 or 16 bits"),
        (VECTORS[..., :2], r"normals must have shape \(height, width, 3\)"),
        (-VECTORS, "2 of 3 normals face away from the camera"),
    ],
)
def test_files_that_cannot_be_normals_are_refused(tmp_path, content, message):
    np.save(tmp_path / "a.npy", content)
    with pytest.raises(ValueError, match=message) as error:
        read_normals(tmp_path / "a.npy")
    assert "a.npy" in str(error.value)


def test_lossy_normals_are_refused(tmp_path):
    Image.fromarray(np.uint8(CODED * 255)).save(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match=r"a.jpg: is a JPEG.*give normals_decode="):
        read_normals(tmp_path / "a.jpg")


@pytest.fixture
def one_folder(tmp_path):
    """A layout like DIODE: subfolders, and suffixes that distinguish images and depth."""
    for name in ("x/a", "y/a", "b"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (3, 4)).save(tmp_path / f"{name}_rgb.png")
        write_depth(tmp_path / f"{name}_depth.png", METERS)
        np.save(tmp_path / f"{name}_ok.npy", METERS > 1)
    return tmp_path


def test_suffixes_subfolders_and_masks_of_valid_depth(one_folder):
    arguments = {
        "image_suffix": "_rgb", "depth_suffix": "_depth", "valid": one_folder,
        "valid_suffix": "_ok", "recursive": True,
    }  # fmt: skip
    ds = depth_folder(one_folder, one_folder, **arguments)
    names = [path.image.relative_to(one_folder).as_posix() for path in ds.files]
    assert names == ["b_rgb.png", "x/a_rgb.png", "y/a_rgb.png"]
    np.testing.assert_array_equal(ds[1]["depth"][..., 0], np.where(METERS > 1, METERS, 0))
    kept = depth_folder(one_folder, one_folder, names=["y/a"], **arguments)
    assert len(kept) == 1 and kept.files[0].valid == one_folder / "y/a_ok.npy"
    np.save(one_folder / "b_ok.npy", METERS)
    with pytest.raises(ValueError, match=r"b_ok.npy: must contain 0 \(not valid\) and one other"):
        ds[0]
    np.save(one_folder / "b_ok.npy", METERS[:1] > 1)
    with pytest.raises(ValueError, match=r"b_ok.npy: must have 4 x 3 pixels"):
        ds[0]
    (one_folder / "x/a_ok.npy").unlink()
    with pytest.raises(FileNotFoundError, match="'a_rgb.png' .*without a mask of valid"):
        depth_folder(one_folder, one_folder, **arguments)


def test_images_beside_depth_of_another_ending(tmp_path):
    for name in "ab":
        Image.new("RGB", (3, 4)).save(tmp_path / f"{name}.jpg")
        np.save(tmp_path / f"{name}.npy", METERS)
    ds = depth_folder(tmp_path, tmp_path, image_suffix=".jpg", depth_suffix=".npy")
    assert len(ds) == 2
    np.testing.assert_array_equal(ds[0]["depth"][..., 0], METERS)


def test_images_are_turned_to_fit_their_depth(tmp_path):
    for folder in "id":
        (tmp_path / folder).mkdir()
    image = Image.fromarray(np.arange(36, dtype="uint8").reshape(3, 4, 3))
    exif = image.getexif()
    exif[274] = 6
    image.save(tmp_path / "i/a.png", exif=exif)
    np.save(tmp_path / "d/a.npy", METERS)
    for upright in (True, None):  # the size says it, too
        sample = depth_folder(tmp_path / "i", tmp_path / "d", upright=upright)[0]
        assert sample["image"].shape == (4, 3, 3) and sample["depth"].shape == (4, 3, 1)
    with pytest.raises(ValueError, match="'depth' is 4 x 3 pixels .* image is 3 x 4"):
        depth_folder(tmp_path / "i", tmp_path / "d", upright=False)[0]


def test_arguments_reach_the_files(tmp_path):
    for folder in "id":
        (tmp_path / folder).mkdir()
    Image.new("RGB", (3, 4)).save(tmp_path / "i/a.png")
    np.savez(tmp_path / "d/a.npz", z=METERS * 10, other=METERS)
    ds = depth_folder(tmp_path / "i", tmp_path / "d", key="z", scale=10, max_depth=8)
    np.testing.assert_allclose(ds[0]["depth"][..., 0], np.where(METERS <= 8, METERS, 0))
    ds = depth_folder(tmp_path / "i", tmp_path / "d", key="z", decode=lambda v: v / 10)
    np.testing.assert_allclose(ds[0]["depth"][..., 0], METERS)
    (tmp_path / "k.txt").write_text("2 0 1\n0 2 1\n0 0 1\n")
    ds = depth_folder(tmp_path / "i", tmp_path / "d", key="z", intrinsics=tmp_path / "k.txt")
    assert ds.intrinsics.tolist() == [[2, 0, 1], [0, 2, 1], [0, 0, 1]]
    (tmp_path / "k.txt").write_text("2 0 1")
    with pytest.raises(ValueError, match="k.txt: must contain 9 numbers. Received: 3"):
        depth_folder(tmp_path / "i", tmp_path / "d", intrinsics=tmp_path / "k.txt")

"""SUN RGB-D: 10,335 indoor images from four kinds of depth cameras."""

import pathlib

import numpy as np

from keras_dense import _check
from keras_dense._types import Array, PathLike
from keras_dense.datasets.cameras import read_camera
from keras_dense.datasets.depth_files import read_depth
from keras_dense.datasets.files import find_files
from keras_dense.datasets.raster_files import mat_array
from keras_dense.datasets.rgbd_files import DepthFiles, RgbdFile

LISTS = "SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat"


def sun_rgbd(path: PathLike, split: str = "all", *, raw: bool = False) -> DepthFiles:
    """Read SUN RGB-D, as the archive unpacks: a folder for each image, at any depth below `path`.

    ```
    <path>/SUNRGBD/kv2/kinect2data/000002_…-resize/image/0000103.jpg
                                                   depth_bfx/0000103.png
                                                   depth/0000103.png
                                                   intrinsics.txt
    <path>/SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat
    ```

    Depth files contain millimeters with their 16 bits rotated by three; samples have meters.

    Args:
        path: path of the unpacked `SUNRGBD.zip`, or any folder in it.
        split: `"all"`; or `"train"` or `"test"`, which need the list of the toolbox.
        raw: bool, whether to read the depth measured by the sensor; by default, its holes are
            filled from other frames.

    Returns:
        A data set of samples `{"image": uint8 (H, W, 3), "depth": float32 (H, W, 1), meters,
        "intrinsics": float32 (3, 3)}`, each with the size and the camera of its sensor.

    Raises:
        FileNotFoundError: if there is no sample, or the image, the depth or the list is missing.
        ValueError: for another split, or if a file is corrupt or of another kind.
        ImportError: reading a list without SciPy.

    Reference: Song, Lichtenberg, Xiao, "SUN RGB-D: A RGB-D scene understanding benchmark suite",
        CVPR 2015.

    Example:

    ```python
    train = kd.datasets.sun_rgbd("sunrgbd", "train")
    ```
    """
    path = pathlib.Path(path)
    _check.choice(split, "split", ("all", "train", "test"))
    raw = _check.flag(raw, "raw")
    homes = [file.parent for file in sorted(path.rglob("intrinsics.txt"))]
    homes = [home for home in homes if (home / "image").is_dir()]
    if not homes:
        raise FileNotFoundError(
            f"sun_rgbd: there is no folder with image/ and intrinsics.txt below {str(path)!r}"
        )
    if split != "all":
        homes = _split(path, split, homes)
    files = [_file(home, "depth" if raw else "depth_bfx") for home in homes]
    return DepthFiles(files, _depth, None, "sun_rgbd", split)


def _file(home: pathlib.Path, kind: str) -> RgbdFile:
    image, depth = _only(home / "image", "image"), _only(home / kind, "depth map")
    matrix, _ = read_camera(home / "intrinsics.txt", "sun_rgbd")
    return RgbdFile(image, depth, intrinsics=matrix)


def _only(folder: pathlib.Path, what: str) -> pathlib.Path:
    """Find the only file of a folder; some images and their depth have different names."""
    found = list(find_files(folder, "sun_rgbd", what).values())
    if len(found) != 1:
        raise ValueError(
            f"sun_rgbd: {str(folder)!r} must contain one {what}. Received: {len(found)}"
        )
    return found[0]


def _depth(path: PathLike, intrinsics: Array | None) -> Array:
    return read_depth(path, decode=_rotate_bits_back)


def _rotate_bits_back(numbers: Array) -> Array:
    """Return millimeters from 16 bits rotated to the left by three."""
    if numbers.dtype != np.uint16:
        raise ValueError(f"numbers must have 16 bits. Received: {numbers.dtype}")
    return (numbers >> 3) | (numbers << 13)


def _split(path: pathlib.Path, split: str, homes: list[pathlib.Path]) -> list[pathlib.Path]:
    """Return the folders of a split in the order of the toolbox.

    Its list has absolute paths on the machine of its authors.
    """
    lists = path / LISTS if (path / LISTS).is_file() else path.parent / LISTS
    if not lists.is_file():
        raise FileNotFoundError(
            f"sun_rgbd: split {split!r} needs the official list, {str(path / LISTS)!r}, which is "
            'missing. split="all" needs no list'
        )
    listed = [
        str(name).strip("/") for name in np.ravel(mat_array(lists, f"all{split}", squeeze=True))
    ]
    listed = ["SUNRGBD/" + name.rpartition("SUNRGBD/")[2] for name in listed]
    known = {"SUNRGBD/" + home.as_posix().rpartition("SUNRGBD/")[2]: home for home in homes}
    missing = [name for name in listed if name not in known]
    if missing:
        raise FileNotFoundError(
            f"sun_rgbd: {len(missing)} of {len(listed)} folders of split {split!r} are not below "
            f"{str(path)!r}, such as {missing[0]!r}"
        )
    return [known[name] for name in listed]

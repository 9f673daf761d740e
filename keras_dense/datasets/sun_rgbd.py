"""SUN RGB-D: 10,335 images of rooms by four kinds of depth cameras."""

import pathlib

import numpy as np

from keras_dense.datasets.cameras import read_camera
from keras_dense.datasets.depth_files import read_depth
from keras_dense.datasets.files import find_files
from keras_dense.datasets.nyu_depth_v2 import read_mat
from keras_dense.datasets.rgbd_files import DepthFiles, RgbdFile

LISTS = "SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat"


def sun_rgbd(path, split="all", *, raw=False):
    """SUN RGB-D, as the archive unpacks: a folder for each image, at any depth below `path`.

    ```
    <path>/SUNRGBD/kv2/kinect2data/000002_…-resize/image/0000103.jpg
                                                   depth_bfx/0000103.png
                                                   depth/0000103.png
                                                   intrinsics.txt
    <path>/SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat
    ```

    Depth files hold millimeters whose 16 bits are turned by three places; here they are meters.

    Args:
        path: path of the unpacked `SUNRGBD.zip`, or any folder in it.
        split: `"all"`; or `"train"` or `"test"`, which need the toolbox's list beside the data.
        raw: bool: the depth that the sensor measured instead of the one whose holes were filled
            from other frames.

    Returns:
        A dataset of samples `{"image": uint8 (H, W, 3), "depth": float32 (H, W, 1), meters,
        "intrinsics": float32 (3, 3)}`, each with the size and the camera of its sensor.

    Raises:
        FileNotFoundError: if there is no sample, or the image, the depth or the list is missing.
        ValueError: for another split; if a file is not what it should be.
        ImportError: for a list without SciPy.

    Source: Song, Lichtenberg, Xiao, "SUN RGB-D: A RGB-D scene understanding benchmark suite",
        CVPR 2015.

    Example:

    ```python
    train = kd.datasets.sun_rgbd("sunrgbd", "train")
    ```
    """
    path = pathlib.Path(path)
    if split not in ("all", "train", "test"):
        raise ValueError(
            f'sun_rgbd: split must be "all", "train" or "test". Received: split={split!r}'
        )
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


def _file(home, kind):
    (image,) = _only(home / "image", "image")
    (depth,) = _only(home / kind, "depth map")
    matrix, _ = read_camera(home / "intrinsics.txt", "sun_rgbd")
    return RgbdFile(image, depth, intrinsics=matrix)


def _only(folder, what):
    """The one file of a folder; some images and their depth are called differently."""
    found = list(find_files(folder, "sun_rgbd", what).values())
    if len(found) != 1:
        raise ValueError(f"sun_rgbd: {str(folder)!r} must hold one {what}. Received: {len(found)}")
    return found


def _depth(path, intrinsics):
    return read_depth(path, decode=_turned_back)


def _turned_back(numbers):
    """Millimeters, from 16 bits turned to the left by three."""
    if numbers.dtype != np.uint16:
        raise ValueError(f"must be numbers of 16 bits. Received: {numbers.dtype}")
    return (numbers >> 3) | (numbers << 13)


def _split(path, split, homes):
    """The folders that the toolbox lists, in its order; it has paths of its authors' machine."""
    lists = path / LISTS if (path / LISTS).is_file() else path.parent / LISTS
    if not lists.is_file():
        raise FileNotFoundError(
            f"sun_rgbd: split {split!r} needs the official list, {str(path / LISTS)!r}, which is "
            'not there. split="all" needs none'
        )
    listed = [str(name).strip("/") for name in np.ravel(read_mat(lists, f"all{split}"))]
    listed = ["SUNRGBD/" + name.rpartition("SUNRGBD/")[2] for name in listed]
    known = {"SUNRGBD/" + home.as_posix().rpartition("SUNRGBD/")[2]: home for home in homes}
    missing = [name for name in listed if name not in known]
    if missing:
        raise FileNotFoundError(
            f"sun_rgbd: {len(missing)} of {len(listed)} folders of split {split!r} are not below "
            f"{str(path)!r}, such as {missing[0]!r}"
        )
    return [known[name] for name in listed]

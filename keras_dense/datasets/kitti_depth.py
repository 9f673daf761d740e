"""KITTI depth: images from a car, with the sparse depth of a laser scanner."""

import pathlib
from collections.abc import Sequence

from keras_dense import _check
from keras_dense._types import Array, PathLike
from keras_dense.datasets.cameras import numbers_of, read_camera
from keras_dense.datasets.depth_files import read_depth
from keras_dense.datasets.rgbd_files import DepthFiles, RgbdFile

SELECTION = "val_selection_cropped"
CAMERAS = ("image_02", "image_03")


def kitti_depth(
    path: PathLike,
    split: str = "train",
    *,
    raw: PathLike | None = None,
    cameras: Sequence[str] = CAMERAS,
) -> DepthFiles:
    """Read KITTI depth prediction and completion (2017), as the archives unpack.

    ```
    <path>/train/2011_09_26_drive_0001_sync/proj_depth/groundtruth/image_02/0000000005.png
    <raw>/2011_09_26/2011_09_26_drive_0001_sync/image_02/data/0000000005.png
    <raw>/2011_09_26/calib_cam_to_cam.txt
    <path>/depth_selection/val_selection_cropped/{image,groundtruth_depth,intrinsics}/
    ```

    Args:
        path: path of the unpacked `data_depth_annotated.zip`, with the folders `train` and `val`,
            or of `data_depth_selection.zip` for the selection.
        split: `"train"`, `"val"`, or `"val_selection_cropped"`, the 1000 images of the benchmark.
        raw: path of the raw recordings with the images (PNG or JPEG); `path` by default. Images
            directly in the folder of the drive, without that of the day, and images within the
            folders of depth are also found.
        cameras: sequence of `"image_02"`, the left color camera, and `"image_03"`, the right one.

    Returns:
        A data set of samples `{"image": uint8 (H, W, 3), "depth": float32 (H, W, 1), meters}`,
        0 where no point was measured (about five pixels in six), with "intrinsics", float32
        `(3, 3)`, of each recording if the calibration of its day exists.

    Raises:
        FileNotFoundError: if a folder, or the image of a depth map, is missing.
        ValueError: for another split or camera, or a corrupt calibration.

    Reference: Uhrig, Schneider, Schneider, Franke, Brox, Geiger, "Sparsity invariant CNNs",
        3DV 2017.

    Example:

    ```python
    train = kd.datasets.kitti_depth("kitti/depth", "train", raw="kitti/raw")
    ```
    """
    path = pathlib.Path(path)
    _check.choice(split, "split", ("train", "val", SELECTION))
    if not cameras or isinstance(cameras, str) or set(cameras) - set(CAMERAS):
        raise _check.fail("cameras", f"one or both of {CAMERAS}", cameras)
    if split == SELECTION:
        files = _selection(path, split, cameras)
    else:
        files = _recordings(path, split, path if raw is None else pathlib.Path(raw), cameras)
    return DepthFiles(files, _depth, None, "kitti_depth", split)


def _depth(path: PathLike, intrinsics: Array | None) -> Array:
    return read_depth(path, scale=256)


def _recordings(
    path: pathlib.Path, split: str, raw: pathlib.Path, cameras: Sequence[str]
) -> list[RgbdFile]:
    home = path / split
    maps = [
        file
        for camera in cameras
        for file in sorted(home.glob(f"*/proj_depth/groundtruth/{camera}/*.png"))
    ]
    if not maps:
        raise FileNotFoundError(
            f"kitti_depth: there is no depth map like "
            f"{str(home / '2011_…_sync/proj_depth/groundtruth/image_02/0000000005.png')!r}"
        )
    folders: dict[tuple[str, str], pathlib.Path] = {}
    matrices: dict[tuple[str, str], Array | None] = {}
    files = []
    for depth in sorted(maps):
        drive, camera = depth.parents[3].name, depth.parent.name
        if (drive, camera) not in folders:
            folders[drive, camera] = _image_folder(raw, home, drive, camera)
            matrices[drive, camera] = _calibration(raw / drive[:10], camera)
        files.append(RgbdFile(
            _image(folders[drive, camera], depth), depth, intrinsics=matrices[drive, camera]
        ))  # fmt: skip
    return files


def _image_folder(raw: pathlib.Path, home: pathlib.Path, drive: str, camera: str) -> pathlib.Path:
    places = [raw / drive[:10] / drive, raw / drive, home / drive]
    for place in places:
        if (place / camera / "data").is_dir():
            return place / camera / "data"
    tried = ", ".join(repr(str(place / camera / "data")) for place in places)
    raise FileNotFoundError(f"kitti_depth: no images of {drive} in any of {tried}; give raw=")


def _image(folder: pathlib.Path, depth: pathlib.Path) -> pathlib.Path:
    for ending in (".png", ".jpg"):
        image = folder / f"{depth.stem}{ending}"
        if image.is_file():
            return image
    raise FileNotFoundError(
        f"kitti_depth: no image {depth.stem}.png in {str(folder)!r} for {depth}"
    )


def _calibration(day: pathlib.Path, camera: str) -> Array | None:
    """Read the left three columns of the projection of a rectified camera, if there is one."""
    path = day / "calib_cam_to_cam.txt"
    if not path.is_file():
        return None
    key = f"P_rect_{camera[-2:]}"
    for line in path.read_text().splitlines():
        name, _, values = line.partition(":")
        if name.strip() == key:
            projection = numbers_of(values, path, 12).reshape(3, 4)
            return read_camera(projection[:, :3], str(path))[0]
    raise ValueError(f"{path}: has no {key}")


def _selection(path: pathlib.Path, split: str, cameras: Sequence[str]) -> list[RgbdFile]:
    homes = [path / split, path / "depth_selection" / split, path]
    home = next((home for home in homes if (home / "groundtruth_depth").is_dir()), None)
    if home is None:
        raise FileNotFoundError(
            f"kitti_depth: there is no folder {str(homes[0] / 'groundtruth_depth')!r}"
        )
    files = []
    for depth in sorted((home / "groundtruth_depth").glob("*.png")):
        if not depth.stem.endswith(tuple(cameras)):
            continue
        name = depth.stem.replace("_sync_groundtruth_depth_", "_sync_image_")
        image, camera = home / "image" / f"{name}.png", home / "intrinsics" / f"{name}.txt"
        if not image.is_file():
            raise FileNotFoundError(f"kitti_depth: no image {str(image)!r} for {depth.name}")
        matrix = read_camera(camera, "kitti_depth")[0] if camera.is_file() else None
        files.append(RgbdFile(image, depth, intrinsics=matrix))
    if not files:
        raise FileNotFoundError(
            f"kitti_depth: no depth map of {cameras} in {str(home / 'groundtruth_depth')!r}"
        )
    return files

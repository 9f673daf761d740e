"""Hypersim: 461 rendered indoor scenes, with exact depth and normals."""

import math
import pathlib
from collections.abc import Iterable

import numpy as np

from keras_dense import _check
from keras_dense._types import Array, PathLike
from keras_dense.datasets.depth_files import read_depth
from keras_dense.datasets.normals_files import read_normals
from keras_dense.datasets.rays import distance_to_depth
from keras_dense.datasets.rgbd_files import DepthFiles, RgbdFile
from keras_dense.datasets.stored import stored

FIELD_OF_VIEW = math.radians(60)  # horizontal


def hypersim(
    path: PathLike, *, scenes: Iterable[str] | None = None, normals: bool = True
) -> DepthFiles:
    """Read Hypersim, as the archives unpack; its distances become depth along the axis.

    ```
    <path>/ai_001_001/images/scene_cam_00_final_preview/frame.0000.tonemap.jpg
                             scene_cam_00_geometry_hdf5/frame.0000.depth_meters.hdf5
                             scene_cam_00_geometry_hdf5/frame.0000.normal_cam.hdf5
    ```

    The camera has a horizontal field of view of 60°: f = 886.81 at 768 × 1024 pixels, with the
    principal point at the center. Scenes with a tilted lens (listed in
    `metadata_camera_parameters.csv` of the toolkit) differ slightly; leave them out with `scenes`
    if that matters.

    Args:
        path: path of the folder of scenes, or of one scene.
        scenes: list of str, names of scenes, such as those of a split; all by default.
        normals: bool, whether to read normals, too. They are inverted where they face away from
            the camera, as in surfaces seen from behind.

    Returns:
        A data set of samples `{"image": uint8 (H, W, 3), "depth": float32 (H, W, 1), meters,
        "normals": float32 (H, W, 3), "intrinsics": float32 (3, 3)}`, depth 0 and normals
        (0, 0, 0) where the image shows nothing.

    Raises:
        FileNotFoundError: if there is no image, or a file of an image is missing.
        ValueError: reading a sample, naming the file, if it is corrupt.
        ImportError: without h5py.

    Reference: Roberts et al., "Hypersim: A Photorealistic Synthetic Dataset for Holistic Indoor
        Scene Understanding", ICCV 2021.

    Example:

    ```python
    ds = kd.datasets.hypersim("hypersim", scenes=["ai_001_001", "ai_001_002"])
    ```
    """
    path, normals = pathlib.Path(path), _check.flag(normals, "normals")
    if scenes is None:
        homes = [path] if (path / "images").is_dir() else sorted(path.glob("ai_*"))
    else:
        homes = [path / scene for scene in scenes]
    files = []
    for home in homes:
        images = sorted(home.glob("images/scene_cam_*_final_preview/frame.*.tonemap.jpg"))
        if not images:
            raise FileNotFoundError(
                f"hypersim: {str(home)!r} has no image like "
                "'images/scene_cam_00_final_preview/frame.0000.tonemap.jpg'"
            )
        files += [_file(image, normals) for image in images]
    if not files:
        raise FileNotFoundError(f"hypersim: there is no scene like 'ai_001_001' in {str(path)!r}")
    return DepthFiles(files, _depth, _normals, "hypersim")


def _file(image: pathlib.Path, normals: bool) -> RgbdFile:
    frame = image.name.removesuffix(".tonemap.jpg")
    geometry = image.parent.parent / image.parent.name.replace("_final_preview", "_geometry_hdf5")
    depth = geometry / f"{frame}.depth_meters.hdf5"
    vectors = geometry / f"{frame}.normal_cam.hdf5" if normals else None
    for file in (depth, vectors):
        if file is not None and not file.is_file():
            raise FileNotFoundError(f"hypersim: no file {str(file)!r} for {image.name}")
    return RgbdFile(image, depth, vectors, intrinsics=_camera(stored(image).size))


def _camera(size: tuple[int, int]) -> Array:
    height, width = size
    focal = width / 2 / math.tan(FIELD_OF_VIEW / 2)
    matrix = [[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]]
    return np.array(matrix, np.float32)


def _depth(path: PathLike, intrinsics: Array | None) -> Array:
    return read_depth(path, decode=lambda distance: distance_to_depth(distance, intrinsics))


def _normals(path: PathLike, intrinsics: Array | None) -> Array:
    return read_normals(path, "opengl", intrinsics=intrinsics)

"""Hypersim: 461 rendered indoor scenes, with exact depth and normals."""

import math
import pathlib

import numpy as np

from keras_dense.datasets.depth_files import distance_to_depth, read_depth
from keras_dense.datasets.normals_files import read_normals
from keras_dense.datasets.rgbd_files import DepthFiles, RgbdFile
from keras_dense.datasets.stored import stored

FIELD_OF_VIEW = math.radians(60)  # horizontal


def hypersim(path, *, scenes=None, normals=True):
    """Hypersim, as the archives unpack: depth along the axis, from the distances it stores.

    ```
    <path>/ai_001_001/images/scene_cam_00_final_preview/frame.0000.tonemap.jpg
                             scene_cam_00_geometry_hdf5/frame.0000.depth_meters.hdf5
                             scene_cam_00_geometry_hdf5/frame.0000.normal_cam.hdf5
    ```

    The camera sees 60° across: f = 886.81 at 768 × 1024 pixels, the center in the middle. Scenes
    with a tilted lens (`metadata_camera_parameters.csv` of the toolkit names them) differ by
    little; leave them out by `scenes` where that matters.

    Args:
        path: path of the folder of scenes, or of one scene.
        scenes: list of str, which scenes, such as those of a split; all unless given.
        normals: bool, whether to read normals, too. They are turned to face the camera: surfaces
            seen from behind have normals that look away.

    Returns:
        A dataset of samples `{"image": uint8 (H, W, 3), "depth": float32 (H, W, 1), meters,
        "normals": float32 (H, W, 3), "intrinsics": float32 (3, 3)}`, depth 0 and normals
        (0, 0, 0) where nothing is seen.

    Raises:
        FileNotFoundError: if there is no image, or a file of one is missing.
        ValueError: reading a sample, naming the file, if it is broken.
        ImportError: without h5py.

    Source: Roberts et al., "Hypersim: A Photorealistic Synthetic Dataset for Holistic Indoor
        Scene Understanding", ICCV 2021.

    Example:

    ```python
    ds = kd.datasets.hypersim("hypersim", scenes=["ai_001_001", "ai_001_002"])
    ```
    """
    path = pathlib.Path(path)
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


def _file(image, normals):
    frame = image.name.removesuffix(".tonemap.jpg")
    geometry = image.parent.parent / image.parent.name.replace("_final_preview", "_geometry_hdf5")
    depth = geometry / f"{frame}.depth_meters.hdf5"
    vectors = geometry / f"{frame}.normal_cam.hdf5" if normals else None
    for file in (depth, vectors):
        if file is not None and not file.is_file():
            raise FileNotFoundError(f"hypersim: no file {str(file)!r} for {image.name}")
    return RgbdFile(image, depth, vectors, intrinsics=_camera(stored(image).size))


def _camera(size):
    height, width = size
    focal = width / 2 / math.tan(FIELD_OF_VIEW / 2)
    matrix = [[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]]
    return np.array(matrix, np.float32)


def _depth(path, intrinsics):
    return read_depth(path, decode=lambda distance: distance_to_depth(distance, intrinsics))


def _normals(path, intrinsics):
    return read_normals(path, "opengl", intrinsics=intrinsics)

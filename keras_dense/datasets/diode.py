"""DIODE: indoor and outdoor scenes with the dense depth of a laser scanner."""

import pathlib

from keras_dense._types import ArrayLike, PathLike
from keras_dense.datasets.depth_folder import depth_folder
from keras_dense.datasets.rgbd_files import DepthFiles

# As published, for the camera that cuts images of 768 × 1024 pixels out of the scans, with the
# principal point at the center; (512, 384) counts from the corner of the first pixel.
INTRINSICS = (886.81, 927.06, 511.5, 383.5)


def diode(
    path: PathLike,
    split: str | None = None,
    *,
    normals_frame: str | None = None,
    intrinsics: ArrayLike | PathLike | None = INTRINSICS,
) -> DepthFiles:
    """Read DIODE, as the archives unpack: images, depth and masks of valid depth in one folder.

    ```
    <path>/val/indoors/scene_00019/scan_00183/00019_00183_indoors_000_010.png
                                              00019_00183_indoors_000_010_depth.npy
                                              00019_00183_indoors_000_010_depth_mask.npy
                                              00019_00183_indoors_000_010_normal.npy
    ```

    Args:
        path: path of the folder with `train` and `val`, or of any folder in them.
        split: str, a folder in `path`: `"train"`, `"val"`, `"val/indoors"`, `"val/outdoor"`,
            `"train/indoors"` …; everything by default.
        normals_frame: str, the axes of the normals, which are a separate archive; see
            `depth_folder`. By default no normals are read.
        intrinsics: of the camera, see `depth_folder`; or `None`.

    Returns:
        A data set of samples `{"image": uint8 (768, 1024, 3), "depth": float32 (768, 1024, 1),
        meters, 0 where not valid, "intrinsics": float32 (3, 3)}`, with `normals_frame` also
        `"normals"`.

    Raises:
        FileNotFoundError: if the folder, or the depth or mask of an image, is missing.
        ValueError: reading a sample, naming the file, if it is corrupt.

    Reference: Vasiljevic et al., "DIODE: A Dense Indoor and Outdoor DEpth Dataset", 2019.

    Example:

    ```python
    val = kd.datasets.diode("diode", "val/indoors")
    ```
    """
    home = pathlib.Path(path) / (split or "")
    return depth_folder(
        home,
        home,
        image_suffix=".png",
        depth_suffix="_depth.npy",
        valid=home,
        valid_suffix="_depth_mask.npy",
        normals=None if normals_frame is None else home,
        normals_suffix="_normal.npy",
        normals_frame=normals_frame or "opencv",
        scale=1,
        intrinsics=intrinsics,
        recursive=True,
        name="diode",
        split=split,
    )

"""DIODE: rooms and streets, with the dense depth of a laser scanner."""

import pathlib

from keras_dense.datasets.depth_folder import depth_folder

# As published, of the camera that cuts images of 768 × 1024 pixels out of the scans, with the
# center in the middle; (512, 384) counts from the corner of the first pixel.
INTRINSICS = (886.81, 927.06, 511.5, 383.5)


def diode(path, split=None, *, normals_frame=None, intrinsics=INTRINSICS):
    """DIODE, as the archives unpack: images, depth and what is valid beside one another.

    ```
    <path>/val/indoors/scene_00019/scan_00183/00019_00183_indoors_000_010.png
                                              00019_00183_indoors_000_010_depth.npy
                                              00019_00183_indoors_000_010_depth_mask.npy
                                              00019_00183_indoors_000_010_normal.npy
    ```

    Args:
        path: path of the folder that holds `train` and `val`, or any folder in them.
        split: what of it: `"train"`, `"val"`, `"val/indoors"`, `"val/outdoor"`, `"train/indoors"`
            …; all unless given.
        normals_frame: the axes of the normals, which are an archive of their own; no normals are
            read unless it is given; see `depth_folder`.
        intrinsics: of the camera, as `depth_folder` takes them, or `None`.

    Returns:
        A dataset of samples `{"image": uint8 (768, 1024, 3), "depth": float32 (768, 1024, 1),
        meters, 0 where not valid, "intrinsics": float32 (3, 3)}`, with `normals_frame` also
        `"normals"`.

    Raises:
        FileNotFoundError: if the folder, or the depth or mask of an image, is missing.
        ValueError: reading a sample, naming the file, if it is broken.

    Source: Vasiljevic et al., "DIODE: A Dense Indoor and Outdoor DEpth Dataset", 2019.

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

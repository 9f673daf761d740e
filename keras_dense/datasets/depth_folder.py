"""Images in one folder, depth of the same names in another, and optionally normals in a third."""

import functools
import pathlib
from collections.abc import Iterable
from typing import Any

from keras_dense._types import Array, ArrayLike, PathLike
from keras_dense.datasets.cameras import read_camera
from keras_dense.datasets.depth_files import check_depth_arguments, read_depth
from keras_dense.datasets.files import Decode
from keras_dense.datasets.listing import READABLE, find_files
from keras_dense.datasets.normals_files import read_normals
from keras_dense.datasets.pairs import Pairs, match_files
from keras_dense.datasets.rasters import RASTERS
from keras_dense.datasets.rgbd_files import DepthFiles, RgbdFile
from keras_dense.ops.geometry import check_frame


def depth_folder(
    images: PathLike,
    depths: PathLike,
    *,
    scale: float | None = None,
    decode: Decode | None = None,
    max_depth: float | None = None,
    key: str | None = None,
    normals: PathLike | None = None,
    normals_frame: str = "opencv",
    normals_decode: Decode | None = None,
    valid: PathLike | None = None,
    intrinsics: ArrayLike | PathLike | None = None,
    names: PathLike | Iterable[str] | None = None,
    image_suffix: str = "",
    depth_suffix: str = "",
    normals_suffix: str = "",
    valid_suffix: str = "",
    recursive: bool = False,
    decode_image: Decode | None = None,
    upright: bool | None = None,
    name: str | None = None,
    split: str | None = None,
) -> DepthFiles:
    """Read images in one folder, and depth of the same names in another, in any numeric format.

    All folders may be the same if suffixes distinguish the files.

    Args:
        images: path of the folder of images.
        depths: path of the folder of depth: `images/a.jpg` belongs to `depths/a.png`, or `.npy`,
            `.npz`, `.tif`, `.pfm`, `.exr`, `.h5`, `.mat`; see `read_depth`.
        scale: float > 0, numbers of the depth files per meter: 256 in KITTI, 5000 in TUM RGB-D; by
            default 1000 (millimeters) for integers and 1 for floats.
        decode: function from the numbers of a depth file to the intended ones: for disparities,
            distances along the ray, depth packed in colors; see `read_depth`.
        max_depth: float > 0, meters; depth beyond it becomes unknown.
        key: str, name of the array in a `.npz`, `.h5` or `.mat` file, or of the channel in an EXR.
        normals: path of a folder of normals: integers of 8 or 16 bits, `(n + 1) / 2` times 255 or
            65535 with (0, 0, 0) = unknown, or floats, the vectors themselves.
        normals_frame: str, the axes of the files of normals; the result has those of "opencv":
            "opencv": x right, y down, z forward, towards the camera, a wall is (0, 0, -1);
            "dsine": the same axes, away from the camera, (0, 0, 1);
            "opengl": x right, y up, z to the viewer, (0, 0, 1);
            "omnidata": x right, y down, z to the viewer, (0, 0, 1).
        normals_decode: function from the numbers of a file to vectors, `(H, W, 3)`.
        valid: path of a folder of masks, 0 where depth is not reliable.
        intrinsics: of the camera: a `(3, 3)` matrix, `(fx, fy, cx, cy)`, the path of a JSON file
            with these four keys and optionally "height" and "width" of its images, or the path of a
            text file with the nine numbers of the matrix. The center of the pixel in row v,
            column u is `(u, v)`.
        names: list of stems of the samples, or path of a text file with one per line. The whole
            folder by default.
        image_suffix: str, end of the stems of images after the common part: with `"_rgb"` and
            `"_depth"`, `a_rgb.png` belongs to `a_depth.npy`; other files are skipped. With an
            extension (`".png"`, `"_depth.npy"`), files of other extensions are skipped, too.
        depth_suffix: str, the same for depth.
        normals_suffix: str, the same for normals.
        valid_suffix: str, the same for masks.
        recursive: bool, whether to read subfolders: `images/x/a.jpg` belongs to `depths/x/a.png`.
        decode_image: function from the numbers of an image file as stored to uint8 `(H, W, 3)` or
            `(H, W)`: `lambda x: (x // 256).astype("uint8")` for 16 bits per channel.
        upright: bool, whether to apply the EXIF orientation of images; `False` reads them as
            stored. `None` chooses by the size of the depth map; if that does not decide, an image
            with an orientation is an error. Depth, normals and masks are never turned.
        name: str, name of the data set.
        split: str, stored as an attribute.

    Returns:
        A data set of samples `{"image": uint8 (H, W, 3), "depth": float32 (H, W, 1), meters}`,
        with "normals", float32 `(H, W, 3)`, and "intrinsics", float32 `(3, 3)`, if given.
        Unknown depth is 0.

    Raises:
        FileNotFoundError: if a folder, or the partner of an image, is missing.
        ValueError: if an argument is out of range. Reading a sample raises `ValueError` naming the
            file if it is corrupt, if its size differs from its image or from the intrinsics, if its
            numbers cannot be depth (see `read_depth`), or if most normals face away.

    Example:

    ```python
    ds = kd.datasets.depth_folder(
        "kitchen/rgb", "kitchen/depth", normals="kitchen/normal", normals_frame="opengl",
        intrinsics="kitchen/index.json",
    )
    ```
    """
    who = name or "depth_folder"
    check_depth_arguments(scale, max_depth)
    check_frame("normals_frame", normals_frame)

    def match(
        folder: PathLike, suffix: str, what: str, stems: PathLike | Iterable[str] | None
    ) -> Pairs:
        return match_files(
            images,
            folder,
            names=stems,
            image_suffix=image_suffix,
            mask_suffix=suffix,
            recursive=recursive,
            extensions=RASTERS,
            who=who,
            what=what,
        )

    pairs = match(depths, depth_suffix, "depth map", names)
    known = find_files(images, who, "images", image_suffix, recursive, READABLE)
    stem_of = {path: stem for stem, path in known.items()}
    stems = [stem_of[image] for image, _ in pairs]
    others: dict[str, list[pathlib.Path]] = {}
    for field, folder, suffix, what in (
        ("normals", normals, normals_suffix, "normal map"),
        ("valid", valid, valid_suffix, "mask of valid depth"),
    ):
        if folder is not None:
            others[field] = [path for _, path in match(folder, suffix, what, stems)]
    matrix, size = read_camera(intrinsics, who)
    files = [
        RgbdFile(image, depth, intrinsics=matrix, **{k: v[i] for k, v in others.items()})
        for i, (image, depth) in enumerate(pairs)
    ]
    depth = functools.partial(_depth, scale=scale, key=key, decode=decode, max_depth=max_depth)
    vectors = functools.partial(_normals, frame=normals_frame, decode=normals_decode)
    return DepthFiles(files, depth, vectors, who, split, size, upright, decode_image)


def _depth(path: PathLike, intrinsics: Array | None, **arguments: Any) -> Array:
    return read_depth(path, **arguments)


def _normals(path: PathLike, intrinsics: Array | None, frame: str, decode: Decode | None) -> Array:
    return read_normals(path, frame, decode=decode)

"""Images in one folder, depth of the same names in another, and perhaps normals in a third."""

import json
import numbers
import pathlib

import numpy as np

from keras_dense.datasets.files import read_image, read_numbers
from keras_dense.datasets.folder import match_files
from keras_dense.datasets.sample import check_sample
from keras_dense.ops.geometry import check_frame, convert_normals


class DepthFiles:
    """A map-style dataset of files of images, depth and normals; `depth_folder` makes it.

    Attributes:
        name: str.
        split: str or `None`.
        intrinsics: float32 `(3, 3)`, or `None`.
        files: list of tuples of paths: image, depth, and normals if there are any.
    """

    def __init__(self, files, scale, normals_frame, intrinsics, name, split=None, size=None):
        self.files = list(files)
        self.scale = scale
        self.normals_frame = normals_frame
        self.intrinsics = intrinsics
        self.name = name
        self.split = split
        self.size = size  # (height, width) that the intrinsics are of, where their file says so

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        image, depth, *normals = self.files[index]
        sample = {
            "image": read_image(image),
            "depth": read_depth(depth, self.scale)[..., None],
        }
        for path in normals:
            sample["normals"] = read_normals(path, self.normals_frame)
        if self.intrinsics is not None:
            sample["intrinsics"] = self.intrinsics.copy()
            self._check_camera(image, sample["image"].shape[:2])
        others = ", ".join(str(path) for path in (depth, *normals))
        return check_sample(sample, f"{others} (of {image.name})")

    def _check_camera(self, path, size):
        """Intrinsics of a picture of another size would put every point elsewhere."""
        column, row = self.intrinsics[:2, 2]
        inside = -0.5 <= row <= size[0] - 0.5 and -0.5 <= column <= size[1] - 0.5
        if not inside or self.size not in (None, size):
            of = "" if self.size is None else f" are of {self.size[0]} × {self.size[1]} pixels and"
            raise ValueError(
                f"{path}: the image has {size[0]} × {size[1]} pixels, but the intrinsics{of} have "
                f"their centre at row {row:g}, column {column:g}. Give those of this size "
                "(kd.ops.resize_intrinsics, kd.ops.crop_intrinsics)."
            )

    def describe(self, index):
        """What sample `index` is, for messages: the name of its image."""
        return str(self.files[index][0])

    def __repr__(self):
        split = f", split={self.split!r}" if self.split else ""
        return f"<{self.name}{split}: {len(self)} samples>"


def read_depth(path, scale):
    """Read depth from a picture of numbers, as float32 metres `(H, W)`, 0 where unknown.

    Args:
        path: of a picture of 16 bits a pixel.
        scale: float, units in a metre.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it is corrupt, has colours, or has no more than 8 bits a pixel.
    """
    return (read_numbers(path, deep=True) / scale).astype(np.float32)


def read_normals(path, frame="opencv"):
    """Read normals from a picture of `(n + 1) / 2 · 255`, as unit vectors, float32 `(H, W, 3)`.

    Black pixels, and vectors shorter than 1/2, are unknown and become (0, 0, 0).

    Args:
        path: of a picture of 3 × 8 bits a pixel.
        frame: the axes of the file; those of the result are "opencv", a sample's.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it is corrupt, or most of its normals look away from the camera.
    """
    pixels = read_image(path)
    normals = pixels / np.float32(127.5) - 1
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    known = pixels.any(-1, keepdims=True) & (length >= 0.5)
    normals = np.where(known, normals / np.where(known, length, 1), 0)
    normals = np.asarray(convert_normals(normals, frame, "opencv"))
    away = normals[..., 2] > 0.1  # 0 itself is stored as 127 or 128, on either side
    if 2 * away.sum() > known.sum():
        raise ValueError(
            f"{path}: {int(away.sum())} of {int(known.sum())} normals look away from the camera. "
            f"Are its axes really those of normals_frame={frame!r}?"
        )
    return normals.astype(np.float32)


def depth_folder(
    images,
    depths,
    *,
    scale=1000.0,
    normals=None,
    normals_frame="opencv",
    intrinsics=None,
    names=None,
    depth_suffix="",
    normals_suffix="",
    name=None,
    split=None,
):
    """Images in one folder, depth of the same names in another: PNG of 16 bits, 0 = unknown.

    Args:
        images: path of the folder of images.
        depths: path of the folder of depth: `images/a.jpg` goes with `depths/a.png`.
        scale: float > 0, units of the depth files in a metre: 1000 for millimetres, 256 in
            KITTI, 5000 in TUM RGB-D.
        normals: path of a folder of normals, PNG of `(n + 1) / 2 · 255` with (0, 0, 0) = unknown.
        normals_frame: the axes of the normals' files; what comes out is "opencv":
            "opencv": x right, y down, z forward, towards the camera, a wall is (0, 0, -1);
            "dsine": the same axes, away from the camera, (0, 0, 1);
            "opengl": x right, y up, z to the viewer, (0, 0, 1);
            "omnidata": x right, y down, z to the viewer, (0, 0, 1).
        intrinsics: of the camera: a `(3, 3)` matrix, `(fx, fy, cx, cy)`, or the path of a JSON file
            with these four keys, and perhaps "height" and "width" of the images they are of. The
            centre of the pixel in row v, column u is `(u, v)`.
        names: which samples: a list of stems, or the path of a text file with one a line. All
            of the folder unless given.
        depth_suffix, normals_suffix: str, what their stems have behind the image's.
        name: str, how the dataset calls itself.
        split: str, kept as an attribute.

    Returns:
        A dataset of samples `{"image": uint8 (H, W, 3), "depth": float32 (H, W, 1), metres}`,
        with "normals", float32 `(H, W, 3)`, and "intrinsics", float32 `(3, 3)`, where given.

    Raises:
        FileNotFoundError: if a folder, or the partner of an image, is missing.
        ValueError: if an argument is out of range. Reading a sample raises `ValueError` naming the
            file if it is corrupt, of another size (than its image, or than the intrinsics are of),
            of 8 bits, or most normals look away.

    Example:

    ```python
    ds = kd.datasets.depth_folder(
        "kitchen/rgb", "kitchen/depth", normals="kitchen/normal", normals_frame="opengl",
        intrinsics="kitchen/index.json",
    )
    ```
    """
    who = name or "depth_folder"
    if isinstance(scale, bool) or not isinstance(scale, numbers.Real) or not 0 < scale < np.inf:
        raise ValueError(
            f"{who}: scale must be a number above 0, units in a metre. Received: scale={scale!r}"
        )
    check_frame("normals_frame", normals_frame)
    files = match_files(
        images, depths, names=names, mask_suffix=depth_suffix, who=who, what="depth map"
    )
    if normals is not None:
        stems = [image.stem for image, _ in files]
        pairs = match_files(
            images, normals, names=stems, mask_suffix=normals_suffix, who=who, what="normal map"
        )
        files = [(*file, path) for file, (_, path) in zip(files, pairs, strict=True)]
    matrix, size = _camera(intrinsics, who)
    return DepthFiles(files, float(scale), normals_frame, matrix, who, split, size)


def _camera(intrinsics, who):
    """Intrinsics as a matrix, float32 `(3, 3)`, and the size they are of, where it is known."""
    size = None
    if intrinsics is None:
        return None, size
    if isinstance(intrinsics, (str, pathlib.Path)):
        path = pathlib.Path(intrinsics)
        if not path.is_file():
            raise FileNotFoundError(f"{who}: there is no file of intrinsics {str(path)!r}")
        try:
            found = json.loads(path.read_text())
            intrinsics = [float(found[key]) for key in ("fx", "fy", "cx", "cy")]
            if "height" in found and "width" in found:
                size = int(found["height"]), int(found["width"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{who}: {str(path)!r} must be JSON with the numbers fx, fy, cx, cy ({error!r})"
            ) from error
    matrix = np.asarray(intrinsics, np.float32)
    if matrix.shape == (4,):
        fx, fy, cx, cy = matrix
        matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float32)
    good = matrix.shape == (3, 3) and np.isfinite(matrix).all()
    if not good or min(matrix[0, 0], matrix[1, 1]) <= 0 or (matrix[2] != (0, 0, 1)).any():
        raise ValueError(
            f"{who}: intrinsics must be a matrix [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], or "
            f"(fx, fy, cx, cy), with fx, fy above 0. Received: intrinsics={intrinsics!r}"
        )
    return matrix, size

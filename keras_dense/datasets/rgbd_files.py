"""Samples of an image, depth and perhaps normals, each from a file: what RGB-D readers return."""

from typing import NamedTuple

import numpy as np

from keras_dense.datasets.files import read_image
from keras_dense.datasets.rasters import read_raster
from keras_dense.datasets.sample import check_sample


class RgbdFile(NamedTuple):
    """The files of a sample, and its camera.

    Attributes:
        image, depth: paths.
        normals, valid: paths, or `None`.
        intrinsics: float32 `(3, 3)`, or `None`.
    """

    image: object
    depth: object
    normals: object = None
    valid: object = None
    intrinsics: np.ndarray | None = None


class DepthFiles:
    """A map-style dataset of files of images, depth and normals; `depth_folder` makes it.

    Args:
        files: list of `RgbdFile`.
        read_depth: function of a path and the intrinsics: float32 meters `(H, W, 1)`.
        read_normals: function of a path and the intrinsics: float32 `(H, W, 3)`.
        name: str.
        split: str or `None`.
        size: (height, width) that the intrinsics are of, where their file says so.
        upright, decode_image: how images are read; see `read_image`.

    Attributes:
        name: str.
        split: str or `None`.
        intrinsics: float32 `(3, 3)`; `None` where there are none, or each sample has its own.
        files: list of `RgbdFile`.
    """

    def __init__(
        self,
        files,
        read_depth,
        read_normals,
        name,
        split=None,
        size=None,
        upright=None,
        decode_image=None,
    ):
        self.files = list(files)
        self.read_depth = read_depth
        self.read_normals = read_normals
        self.name = name
        self.split = split
        self.size = size
        self.upright = upright
        self.decode_image = decode_image
        first = self.files[0].intrinsics
        same = all(file.intrinsics is first for file in self.files)
        self.intrinsics = first if same else None

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        file = self.files[index]
        depth = self.read_depth(file.depth, file.intrinsics)
        image = read_image(file.image, self.upright, self.decode_image, depth.shape[:2])
        sample = {"image": image, "depth": depth}
        if file.valid is not None:
            sample["depth"] = depth * _read_valid(file.valid, depth)
        if file.normals is not None:
            sample["normals"] = self.read_normals(file.normals, file.intrinsics)
        if file.intrinsics is not None:
            sample["intrinsics"] = file.intrinsics.copy()
            self._check_camera(file, image.shape[:2])
        others = ", ".join(str(path) for path in (file.depth, file.normals) if path is not None)
        return check_sample(sample, f"{others} (of {file.image.name})")

    def _check_camera(self, file, size):
        """Intrinsics of a picture of another size would put every point elsewhere."""
        column, row = file.intrinsics[:2, 2]
        inside = -0.5 <= row <= size[0] - 0.5 and -0.5 <= column <= size[1] - 0.5
        if not inside or self.size not in (None, size):
            of = "" if self.size is None else f" are of {self.size[0]} × {self.size[1]} pixels and"
            raise ValueError(
                f"{file.image}: the image has {size[0]} × {size[1]} pixels, but the intrinsics{of} "
                f"have their center at row {row:g}, column {column:g}. Give those of this size "
                "(kd.ops.resize_intrinsics, kd.ops.crop_intrinsics)."
            )

    def describe(self, index):
        """What sample `index` is, for messages: the name of its image."""
        return str(self.files[index].image)

    def __repr__(self):
        split = f", split={self.split!r}" if self.split else ""
        return f"<{self.name}{split}: {len(self)} samples>"


def _read_valid(path, depth):
    """Where depth is valid, bool `(H, W, 1)`, from a mask of 0 and one other number."""
    raster = read_raster(path)
    values = raster.values[..., 0] if raster.values.shape[2:] == (1,) else raster.values
    if values.shape != depth.shape[:2]:
        raise ValueError(
            f"{path}: must be {depth.shape[0]} x {depth.shape[1]} pixels, as its depth map is. "
            f"Received: shape {values.shape}"
        )
    found = np.unique(values)
    if len(found) - (0 in found) > 1:
        raise ValueError(
            f"{path}: must hold 0 (not valid) and one other number. Received: {found[:8].tolist()}"
        )
    valid = values != 0
    return (valid if raster.known is None else valid & raster.known)[..., None]

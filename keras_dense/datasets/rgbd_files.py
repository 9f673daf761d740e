"""Samples of an image, depth and optionally normals from files: the result of RGB-D readers."""

import pathlib
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from keras_dense._types import Array, PathLike, Sample
from keras_dense.datasets.files import Decode, read_image
from keras_dense.datasets.rasters import read_raster
from keras_dense.datasets.sample import check_sample
from keras_dense.datasets.samples import Samples

Read = Callable[[PathLike, Array | None], Array]


class RgbdFile(NamedTuple):
    """Files of a sample, and its camera.

    Attributes:
        image: path.
        depth: path.
        normals: path, or `None`.
        valid: path of a mask of valid depth, or `None`.
        intrinsics: float32 `(3, 3)`, or `None`.
    """

    image: pathlib.Path
    depth: pathlib.Path
    normals: pathlib.Path | None = None
    valid: pathlib.Path | None = None
    intrinsics: Array | None = None


class DepthFiles(Samples):
    """Map-style data set of files of images, depth and normals; `depth_folder` makes it.

    Args:
        files: list of `RgbdFile`.
        read_depth: function of a path and the intrinsics: float32 meters `(H, W, 1)`.
        read_normals: function of a path and the intrinsics: float32 `(H, W, 3)`.
        name: str.
        split: str or `None`.
        size: pair `(height, width)` of the images that the intrinsics belong to, if known.
        upright: bool or `None`, see `read_image`.
        decode_image: function or `None`, see `decode` of `read_image`.

    Attributes:
        name: str.
        split: str or `None`.
        intrinsics: float32 `(3, 3)`; `None` if there are none, or if they differ between samples.
        files: list of `RgbdFile`.
    """

    def __init__(
        self,
        files: Iterable[RgbdFile],
        read_depth: Read,
        read_normals: Read | None,
        name: str,
        split: str | None = None,
        size: tuple[int, int] | None = None,
        upright: bool | None = None,
        decode_image: Decode | None = None,
    ) -> None:
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

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        file = self.files[index]
        depth = self.read_depth(file.depth, file.intrinsics)
        image = read_image(file.image, self.upright, self.decode_image, depth.shape[:2])
        sample = {"image": image, "depth": depth}
        if file.valid is not None:
            sample["depth"] = depth * _read_valid(file.valid, depth)
        if file.normals is not None and self.read_normals is not None:
            sample["normals"] = self.read_normals(file.normals, file.intrinsics)
        if file.intrinsics is not None:
            sample["intrinsics"] = file.intrinsics.copy()
            self._check_camera(file.image, file.intrinsics, image.shape[:2])
        others = ", ".join(str(path) for path in (file.depth, file.normals) if path is not None)
        return check_sample(sample, f"{others} (of {file.image.name})")

    def _check_camera(self, path: pathlib.Path, intrinsics: Array, size: tuple[int, ...]) -> None:
        """Refuse intrinsics of another image size, which would move every point."""
        column, row = intrinsics[:2, 2]
        inside = -0.5 <= row <= size[0] - 0.5 and -0.5 <= column <= size[1] - 0.5
        if not inside or self.size not in (None, size):
            of = "" if self.size is None else f" are for {self.size[0]} × {self.size[1]} pixels and"
            raise ValueError(
                f"{path}: the image has {size[0]} × {size[1]} pixels, but the intrinsics{of} "
                f"have their center at row {row:g}, column {column:g}. Give the intrinsics of this "
                "size (kd.ops.resize_intrinsics, kd.ops.crop_intrinsics)."
            )

    def describe(self, index: int) -> str:
        """Return the path of an image, for messages."""
        return str(self.files[index].image)

    def __repr__(self) -> str:
        split = f", split={self.split!r}" if self.split else ""
        return f"<{self.name}{split}: {len(self)} samples>"


def _read_valid(path: PathLike, depth: Array) -> Array:
    """Read a mask of valid depth, 0 and one other number, as bool `(H, W, 1)`."""
    raster = read_raster(path)
    values = raster.values[..., 0] if raster.values.shape[2:] == (1,) else raster.values
    if values.shape != depth.shape[:2]:
        raise ValueError(
            f"{path}: must have {depth.shape[0]} x {depth.shape[1]} pixels, like its depth map. "
            f"Received: shape {values.shape}"
        )
    found = np.unique(values)
    if len(found) - (0 in found) > 1:
        raise ValueError(
            f"{path}: must contain 0 (not valid) and one other number. "
            f"Received: {found[:8].tolist()}"
        )
    valid = values != 0
    return (valid if raster.known is None else valid & raster.known)[..., None]

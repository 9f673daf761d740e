"""An open file of weights, the tensors within, and the error of all readers."""

import dataclasses
import math
import mmap
import os
import pathlib
import types
from typing import Any

import numpy as np

from keras_dense._types import Array, PathLike

# Tensors may be larger than their file where one number stands for many: this much in all.
_FREE = 2**28


class Broken(ValueError):
    """The fault of a file; `keras_dense._weights.read` adds its name."""


@dataclasses.dataclass(frozen=True)
class Contents:
    """A file of weights.

    Attributes:
        tensors: dict from names to arrays.
        meta: dict of what else the file says, such as the names of classes. "left_out" lists
            what was not read, such as the state of an optimizer.
        format: str, such as "PyTorch (zip)".
    """

    tensors: dict[str, Array]
    meta: dict[str, Any]
    format: str


class File:
    """A file to read parts of: bytes through a memory map, arrays straight from the disk.

    A memory map alone would have a large array twice in memory: its pages and the array.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = pathlib.Path(path)
        self.size = os.path.getsize(path)
        self._handle = open(path, "rb", buffering=0)
        try:
            self.head = self._handle.read(4096)
            self.map: Any = b""
            if self.size:
                self.map = mmap.mmap(self._handle.fileno(), 0, access=mmap.ACCESS_READ)
        except BaseException:
            self._handle.close()
            raise
        self._left = 4 * self.size + _FREE

    def __enter__(self) -> "File":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        if self.map:
            self.map.close()
        self._handle.close()

    def raw(self, start: int, size: int) -> Array:
        """The bytes from `start` on as a uint8 array of its own."""
        if start < 0 or size < 0 or start + size > self.size:
            raise Broken(
                f"is truncated or damaged: it has {self.size} bytes, and a tensor lies at "
                f"{start} to {start + size}. Download it again"
            )
        found: Array = np.empty(size, "uint8")
        self._handle.seek(start)
        done = 0
        while done < size:
            count = self._handle.readinto(found.data[done:])
            if not count:
                raise Broken(f"ended while it was read, at {start + done} of {self.size} bytes")
            done += count
        return found

    def array(self, start: int, dtype: str, shape: tuple[int, ...], size: int) -> Array:
        """The array of `shape` that fills `size` bytes from `start` on."""
        if math.prod(shape) * width(dtype) != size:
            raise Broken(
                f"is damaged: a tensor {list(shape)} of {dtype} has {size} bytes instead of "
                f"{math.prod(shape) * width(dtype)}"
            )
        return numbers(self.raw(start, size), dtype).reshape(shape)

    def spend(self, size: int) -> None:
        """Count the bytes of a tensor that takes more memory than the file has for it."""
        self._left -= size
        if self._left < 0:
            raise Broken(
                f"asks for far more memory than its {self.size} bytes: many tensors, or one of a "
                "huge shape, share the same few numbers"
            )


def width(dtype: str) -> int:
    """Bytes of a number.

    >>> width("bfloat16"), width("float32")
    (2, 4)
    """
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def numbers(raw: Array, dtype: str, big_endian: bool = False) -> Array:
    """Bytes as numbers in the machine's order; bfloat16 becomes float32, which holds it exactly.

    >>> numbers(np.array([0x80, 0x3F], "uint8"), "bfloat16").tolist()
    [1.0]
    """
    order = ">" if big_endian else "<"
    if dtype == "bfloat16":
        wide: Array = raw.view(f"{order}u2").astype("uint32")
        wide <<= 16
        return wide.view("float32")
    return raw.view(f"{order}{np.dtype(dtype).str[1:]}").astype(dtype, copy=False)


def native(x: Array) -> Array:
    """An array in the machine's byte order and in C order."""
    return np.asarray(x, x.dtype.newbyteorder("="), order="C")

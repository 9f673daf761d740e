"""Tables of a FlatBuffer: enough to read one.

Reference: https://flatbuffers.dev/internals
"""

import struct
from typing import Any

import numpy as np

from keras_dense._types import Array
from keras_dense._weights.formats.file import Broken


class Table:
    """A table: fields by their index in the schema, each with a default."""

    def __init__(self, data: Any, at: int) -> None:
        self.data, self.at = data, at
        self._fields = at - _number(data, "<i", at)
        self._count = (_number(data, "<H", self._fields) - 4) // 2

    def _place(self, index: int) -> int | None:
        if index >= self._count:
            return None
        offset = _number(self.data, "<H", self._fields + 4 + 2 * index)
        return self.at + offset if offset else None

    def number(self, index: int, form: str, default: int = 0) -> int:
        """A number that lies in the table itself, by its format in `struct`."""
        place = self._place(index)
        return default if place is None else _number(self.data, form, place)

    def table(self, index: int) -> "Table | None":
        place = self._place(index)
        return None if place is None else Table(self.data, _follow(self.data, place))

    def text(self, index: int) -> str:
        start, count = self.vector(index)
        return bytes(self.data[start : start + count]).decode("utf-8", "replace")

    def vector(self, index: int, size: int = 1) -> tuple[int, int]:
        """Start and length of a vector whose elements have `size` bytes; (0, 0) if absent."""
        place = self._place(index)
        if place is None:
            return 0, 0
        start = _follow(self.data, place)
        count = _number(self.data, "<I", start)
        if start + 4 + count * size > len(self.data):
            raise Broken("is truncated or damaged: a list goes on behind its end")
        return start + 4, count

    def numbers(self, index: int, dtype: str) -> Array:
        """A vector of numbers."""
        width = np.dtype(dtype).itemsize
        start, count = self.vector(index, width)
        return np.frombuffer(bytes(self.data[start : start + count * width]), dtype)

    def tables(self, index: int) -> list["Table"]:
        """A vector of tables."""
        start, count = self.vector(index, 4)
        places = (start + 4 * n for n in range(count))
        return [Table(self.data, _follow(self.data, place)) for place in places]


def root(data: Any) -> Table:
    """The table that all others hang on."""
    return Table(data, _number(data, "<I", 0))


def _number(data: Any, form: str, at: int) -> int:
    size = struct.calcsize(form)
    if at < 0 or at + size > len(data):
        raise Broken("is truncated or damaged: an offset lies outside it. Download it again")
    return struct.unpack(form, data[at : at + size])[0]


def _follow(data: Any, at: int) -> int:
    return at + _number(data, "<I", at)

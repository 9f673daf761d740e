"""The wire format of protocol buffers, and one of its messages as a dict of fields.

Reference: https://protobuf.dev/programming-guides/encoding
"""

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from keras_dense._types import Array
from keras_dense._weights.formats.file import Broken


class Field(NamedTuple):
    """One field of a message: its number, its kind, its value, and where its bytes are.

    Kinds: 0 an integer, 1 eight bytes, 2 bytes of any length, 5 four bytes. `value` is that of an
    integer only.
    """

    number: int
    kind: int
    value: int
    start: int
    end: int


def varint(data: Any, at: int, end: int) -> tuple[int, int]:
    """An integer of variable length, without sign, and where the next begins.

    >>> varint(bytes([0xAC, 0x02]), 0, 2)
    (300, 2)
    """
    value = shift = 0
    while True:
        if at >= end or shift > 63:
            raise Broken("is truncated or damaged: an integer does not end. Download it again")
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & (2**64 - 1), at
        shift += 7


def fields(data: Any, start: int, end: int) -> Iterator[Field]:
    """All fields of a message."""
    at = start
    while at < end:
        tag, at = varint(data, at, end)
        number, kind, value = tag >> 3, tag & 7, 0
        first = at
        if kind == 0:
            value, at = varint(data, at, end)
        elif kind == 2:
            size, first = varint(data, at, end)
            at = first + size
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        if kind not in (0, 1, 2, 5) or number == 0 or at > end:
            raise Broken("is truncated or damaged: a field does not end. Download it again")
        yield Field(number, kind, value, first, at)


class Message:
    """A message whose fields are looked up by number."""

    def __init__(self, data: Any, start: int, end: int) -> None:
        self.data = data
        self.fields: dict[int, list[Field]] = {}
        for field in fields(data, start, end):
            self.fields.setdefault(field.number, []).append(field)

    def messages(self, number: int) -> list["Message"]:
        return [
            Message(self.data, field.start, field.end)
            for field in self.fields.get(number, ())
            if field.kind == 2
        ]

    def message(self, number: int) -> "Message":
        """The message of this number; an empty one if there is none."""
        found = self.messages(number)
        return found[-1] if found else Message(self.data, 0, 0)

    def raw(self, number: int) -> bytes | None:
        found = [field for field in self.fields.get(number, ()) if field.kind == 2]
        return bytes(self.data[found[-1].start : found[-1].end]) if found else None

    def text(self, number: int) -> str:
        return (self.raw(number) or b"").decode("utf-8", "replace")

    def integer(self, number: int, default: int = 0) -> int:
        """An integer with sign."""
        found = [field.value for field in self.fields.get(number, ()) if field.kind == 0]
        return _signed(found[-1]) if found else default

    def integers(self, number: int) -> list[int]:
        """Repeated integers with sign, packed or not."""
        found = []
        for field in self.fields.get(number, ()):
            if field.kind == 0:
                found.append(_signed(field.value))
            at = field.start
            while field.kind == 2 and at < field.end:
                value, at = varint(self.data, at, field.end)
                found.append(_signed(value))
        return found

    def reals(self, number: int, form: str) -> Array:
        """Repeated numbers of a fixed size ("<f4", "<f8"), packed or not."""
        pieces = [
            self.data[field.start : field.end]
            for field in self.fields.get(number, ())
            if field.kind in (1, 2, 5)
        ]
        if len(pieces) > 1:
            pieces = [b"".join(pieces)]
        raw = pieces[0] if pieces else b""
        try:
            return np.frombuffer(raw, form)
        except ValueError as error:
            raise Broken("is damaged: a list of numbers ends within one") from error


def _signed(value: int) -> int:
    return struct.unpack("<q", struct.pack("<Q", value))[0]

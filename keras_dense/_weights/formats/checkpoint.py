"""Checkpoints of TensorFlow 1 and 2: an index, and the numbers in one or more files beside it.

The index is a table of LevelDB, sorted by names (tensorflow/core/lib/io/table.cc), whose values
are messages of tensorflow/core/protobuf/tensor_bundle.proto:

    BundleHeaderProto  num_shards=1 endianness=2 (big: 1)
    BundleEntryProto   dtype=1 shape=2 shard_id=3 offset=4 size=5 slices=7
"""

import re
from collections.abc import Iterator
from typing import Any

from keras_dense._types import Array
from keras_dense._weights.formats.file import Broken, Contents, File, numbers, width
from keras_dense._weights.formats.graph import dtype_of, shape_of
from keras_dense._weights.formats.wire import Message, varint

_MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")
_FOOTER = 48
_STRING = 7
# What TensorFlow 2 puts after the path of an object.
_ATTRIBUTE = "/.ATTRIBUTES/VARIABLE_VALUE"
# Variables of optimizers: beside the variable they belong to, and alone.
_SLOTS = re.compile(
    r"(.+)/(Momentum|Adam(_\d)?|AdamW(_\d)?|RMSProp(_\d)?|Adagrad|Ftrl(_\d)?|Adadelta(_\d)?|"
    r"LARSOptimizer|AccumulatedGradient)"
)
_COUNTERS = re.compile(r"(.*/)?beta[12]_power(_\d)?|save_counter|_CHECKPOINTABLE_OBJECT_GRAPH")


def fits(file: File) -> bool:
    """Check for the last bytes of a table."""
    return file.size >= _FOOTER and file.map[-8:] == _MAGIC


def contents(file: File, everything: bool) -> Contents:
    """Contents of a checkpoint, by its index."""
    entries = dict(_entries(file))
    header = entries.pop("", None)
    if header is None or file.path.suffix != ".index":
        raise Broken(
            "is a table of LevelDB, but not the index of a checkpoint (model.ckpt.index): that of "
            "TensorFlow before 0.12, or a database. Save it again with TensorFlow 1 or 2"
        )
    shards = header.integer(1, 1)
    big_endian = header.integer(2) == 1
    opened: dict[int, File] = {}
    tensors: dict[str, Array] = {}
    meta: dict[str, Any] = {}
    left_out = [] if everything else [name for name in entries if _is_training(name, entries)]
    try:
        for name, entry in entries.items():
            if name in left_out or entry.integer(1) == _STRING:
                continue
            plain = name if everything else name.removesuffix(_ATTRIBUTE)
            shard = entry.integer(3)
            if shard not in opened:
                opened[shard] = _shard(file, shard, shards)
            try:
                tensors[plain] = _array(opened[shard], entry, big_endian)
            except Broken as error:
                raise Broken(f"cannot be read: {name[:200]!r} {error}") from None
    finally:
        for part in opened.values():
            part.__exit__(None, None, None)
    if not tensors:
        raise Broken("is the index of a checkpoint without weights")
    if left_out:
        meta["left_out"] = sorted(left_out)
    return Contents(tensors, meta, "TensorFlow checkpoint")


def _is_training(name: str, entries: dict[str, Message]) -> bool:
    if ".OPTIMIZER_SLOT" in name or _COUNTERS.fullmatch(name):
        return True
    if name.startswith(("optimizer/", "_optimizer/")) and name.endswith(_ATTRIBUTE):
        return True
    slot = _SLOTS.fullmatch(name)
    return bool(slot) and slot[1] in entries  # type: ignore[index]


def _shard(file: File, shard: int, count: int) -> File:
    name = f"{file.path.name.removesuffix('.index')}.data-{shard:05d}-of-{count:05d}"
    path = file.path.parent / name
    if not path.is_file():
        raise FileNotFoundError(
            f"'{file.path}' is the index of a checkpoint, and {name!r}, which holds its values, is "
            "not beside it"
        )
    return File(path)


def _array(shard: File, entry: Message, big_endian: bool) -> Array:
    if 7 in entry.fields:
        raise Broken("is a variable in several parts, which is not read; save it in one")
    dtype, shape = dtype_of(entry.integer(1)), shape_of(entry.message(2))
    start, size = entry.integer(4), entry.integer(5)
    if not big_endian:
        return shard.array(start, dtype, shape, size)
    raw = shard.raw(start, size)
    return numbers(raw[: len(raw) // width(dtype) * width(dtype)], dtype, True).reshape(shape)


def _entries(file: File) -> Iterator[tuple[str, Message]]:
    """Keys and values of the table."""
    at, end = file.size - _FOOTER, file.size - 8
    for _ in range(2):  # Of the meta index, which is not needed, and of the index.
        _, at = varint(file.map, at, end)
    start, at = varint(file.map, at, end)
    size, at = varint(file.map, at, end)
    for _, handle in _block(file, start, size):
        first, used = varint(handle, 0, len(handle))
        length, _ = varint(handle, used, len(handle))
        for key, value in _block(file, first, length):
            yield key.decode("utf-8", "replace"), Message(value, 0, len(value))


def _block(file: File, start: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Entries of a block: each key begins with a part of the one before."""
    data = file.map[start : start + size + 1]
    if len(data) != size + 1 or size < 4:
        raise Broken("is truncated or damaged: a block lies outside it. Download it again")
    if data[size]:
        raise Broken("is a compressed table, which TensorFlow does not write for checkpoints")
    end = size - 4 - 4 * int.from_bytes(data[size - 4 : size], "little")
    key, at = b"", 0
    while at < end:
        shared, at = varint(data, at, end)
        fresh, at = varint(data, at, end)
        length, at = varint(data, at, end)
        if shared > len(key) or at + fresh + length > end:
            raise Broken("is damaged: an entry of its table does not end")
        key = key[:shared] + data[at : at + fresh]
        yield key, data[at + fresh : at + fresh + length]
        at += fresh + length

"""Checkpoints of PyTorch: the zip form, and the sequence of pickles before version 1.6."""

import dataclasses
import math
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_dense._types import Array
from keras_dense._weights.formats import pickled, pickles, state
from keras_dense._weights.formats.file import Broken, Contents, File, numbers, width
from keras_dense._weights.formats.pickled import Global, Ndarray, Opaque

# What the first pickle of the old form holds.
_MAGIC = 0x1950A86A20F9469CFC6C
_STORAGES = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "UntypedStorage": "uint8",
}
_QUANTIZED = {"torch.QInt8Storage": 1, "torch.QUInt8Storage": 1, "torch.QInt32Storage": 4}
_DTYPES = {name: name for name in (*_STORAGES.values(), "uint16", "uint32", "uint64")}


@dataclasses.dataclass(eq=False)
class Storage:
    """The numbers that tensors are views of: not yet read."""

    key: str
    dtype: str | None
    kind: str
    count: int
    # Of the oldest form: the part that starts here.
    first: int = 0


@dataclasses.dataclass(eq=False)
class Tensor:
    """A view of a storage; `problem` says why it cannot be read."""

    storage: Any = None
    offset: Any = 0
    shape: Any = ()
    strides: Any = ()
    dtype: Any = None
    problem: str | None = None


def _storage(identity: Any) -> Any:
    match identity:
        case ("storage", Global() as kind, str() as key, _, int() as count, *view):
            dtype = _STORAGES.get(kind.name) if kind.module.startswith("torch") else None
            first = 0
            if view and isinstance(view[0], tuple):
                _, first, count = view[0]
            return Storage(key, dtype, str(kind), count, first)
    return Opaque("a persistent id that is no storage")


def _view(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    return Tensor(storage, offset, shape, strides)


def _typed_view(storage, offset, shape, strides, grad, hooks, dtype, *_: Any) -> Tensor:
    return Tensor(storage, offset, shape, strides, dtype)


def _subclass(function: Any, kind: Any, arguments: Any, *_: Any) -> Any:
    make = _TENSORS.get(function[1]) if isinstance(function, Global) else None
    return make(*arguments) if make else Opaque(str(kind))


def _problem(what: str) -> Callable[..., Tensor]:
    return lambda *_: Tensor(problem=what)


_TENSORS: dict[str, Callable[..., Any]] = {
    "_rebuild_tensor": _view,
    "_rebuild_tensor_v2": _view,
    "_rebuild_tensor_v3": _typed_view,
    "_rebuild_parameter": lambda data, *_: data,
    "_rebuild_parameter_with_state": lambda data, *_: data,
    "_rebuild_qtensor": _problem("quantized; save `tensor.dequantize()`"),
    "_rebuild_sparse_tensor": _problem("sparse; save `tensor.to_dense()`"),
    "_rebuild_sparse_csr_tensor": _problem("sparse; save `tensor.to_dense()`"),
    "_rebuild_nested_tensor": _problem("a nested tensor; save its parts"),
    "_rebuild_meta_tensor_no_storage": _problem("on the device 'meta', without values"),
    "_rebuild_device_tensor_from_numpy": _problem("of another device; save `tensor.cpu()`"),
    "_rebuild_device_tensor_from_cpu_tensor": _problem("of another device; save `tensor.cpu()`"),
    "_rebuild_wrapper_subclass": _problem("of a subclass; save a plain tensor"),
}
_CALLS: dict[tuple[str, str], Callable[..., Any]] = {
    **{("torch._utils", name): call for name, call in _TENSORS.items()},
    ("torch._tensor", "_rebuild_from_type_v2"): _subclass,
    ("torch._tensor", "_rebuild_from_type"): _subclass,
    ("torch", "Size"): lambda items=(): tuple(items),
}


@dataclasses.dataclass
class _Place:
    """Bytes of a storage in the file, and their checksum, if there is one."""

    start: int
    size: int
    checksum: int | None = None


class _Reader:
    """Tensors as arrays: each storage is read when the first tensor needs it, and then kept."""

    def __init__(self, file: File, places: dict[str, _Place], big_endian: bool = False) -> None:
        self.file, self.places, self.big_endian = file, places, big_endian
        self.storages: dict[tuple[str, str], Array] = {}
        self.given: set[tuple[str, str]] = set()

    def array(self, tensor: Tensor) -> Array:
        """The values of a tensor in an array of its own, in C order."""
        if tensor.problem:
            raise Broken(f"is {tensor.problem}")
        dtype, count = _checked(tensor)
        storage, shape = tensor.storage, tuple(tensor.shape)
        place = self.places.get(storage.key)
        if place is None:
            raise Broken("is missing from the file, which is truncated or damaged")
        whole = (storage.key, dtype)
        if whole not in self.storages:
            self.storages[whole] = self._numbers(place, dtype)
        values = self.storages[whole]
        first = storage.first + tensor.offset
        if storage.first + count > len(values):
            raise Broken(
                f"is truncated or damaged: its storage should have {storage.first + count} "
                f"numbers and has {len(values)}"
            )
        plain = _contiguous(shape, tensor.strides)
        size = math.prod(shape)
        if plain and size == len(values) and whole not in self.given:
            self.given.add(whole)
            return values.reshape(shape)
        self.file.spend(size * values.itemsize)
        if plain:
            return values[first : first + size].reshape(shape).copy()
        strides = [stride * values.itemsize for stride in tensor.strides]
        view = np.lib.stride_tricks.as_strided(values[first:], shape, strides, writeable=False)
        return view.copy(order="C")

    def _numbers(self, place: _Place, dtype: str) -> Array:
        raw = self.file.raw(place.start, place.size)
        if place.checksum is not None and zlib.crc32(raw.data) != place.checksum:
            raise Broken(
                "is damaged: the checksum of its values differs. Download it again; if PyTorch "
                "wrote it without checksums, save it again with them"
            )
        return numbers(raw[: len(raw) // width(dtype) * width(dtype)], dtype, self.big_endian)


def _checked(tensor: Tensor) -> tuple[str, int]:
    """The dtype of a tensor whose cells all lie within its storage, and the numbers in that."""
    storage = tensor.storage
    if not isinstance(storage, Storage):
        raise Broken("is damaged, or made to deceive: it has no storage")
    dtype, count = storage.dtype, storage.count
    if tensor.dtype is not None and dtype:
        known = isinstance(tensor.dtype, Global) and tensor.dtype.module == "torch"
        named = tensor.dtype.name if known else "?"
        dtype = _DTYPES.get(named)
        if dtype is None:
            raise Broken(f"has the dtype {named[:40]!r}, which NumPy lacks; save it as float32")
        count //= width(dtype)
    if dtype is None:
        raise Broken(f"has a storage of {storage.kind}, which cannot be read; save it as float32")
    if not isinstance(tensor.shape, tuple) or not isinstance(tensor.strides, tuple):
        raise Broken("is damaged: its shape or strides are none")
    cells = (tensor.offset, storage.first, count, *tensor.shape, *tensor.strides)
    if (
        not all(type(n) is int and 0 <= n < 2**62 for n in cells)
        or len(tensor.shape) != len(tensor.strides)
        or len(tensor.shape) > 32
    ):
        raise Broken("is damaged: its shape or strides are none")
    if 0 not in tensor.shape:
        steps = ((n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides, strict=True))
        if tensor.offset + sum(steps) >= count:
            raise Broken(
                f"is damaged, or made to deceive: its shape {list(tensor.shape)} with strides "
                f"{list(tensor.strides)} from {tensor.offset} on lies outside its storage of "
                f"{count} numbers"
            )
    return dtype, count


def _contiguous(shape: Any, strides: Any) -> bool:
    step = 1
    for n, stride in zip(reversed(shape), reversed(strides), strict=True):
        if n != 1 and stride != step:
            return math.prod(shape) == 0
        step *= n
    return True


def is_checkpoint(names: list[str]) -> bool:
    """Check whether an archive with these members is one of PyTorch."""
    return any(_is_main(name) for name in names)


def _is_main(name: str) -> bool:
    return name == "data.pkl" or name.endswith("/data.pkl")


def _stored(file: File, member: zipfile.ZipInfo) -> tuple[int, int]:
    """Start and size of a member that is not compressed; the local header has its own lengths."""
    if member.compress_type != zipfile.ZIP_STORED:
        raise Broken(
            "is compressed, which PyTorch does not do: it was packed again. Unpack it and pack the "
            "folder without compression (zip -0)"
        )
    header = file.map[member.header_offset : member.header_offset + 30]
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise Broken("is truncated or damaged. Download it again")
    name, extra = struct.unpack("<HH", header[26:30])
    return member.header_offset + 30 + name + extra, member.file_size


def contents_of_zip(file: File, archive: zipfile.ZipFile, everything: bool) -> Contents:
    """Contents of the zip form: `*/data.pkl`, and the storages `*/data/0`, …."""
    members = {member.filename: member for member in archive.infolist()}
    main = min((name for name in members if _is_main(name)), key=len)
    folder = main.removesuffix("data.pkl")
    if f"{folder}constants.pkl" in members:
        raise Broken(
            "looks like a TorchScript archive: a program with its weights. Save the weights alone: "
            "torch.save(torch.jit.load(path).state_dict(), new_path)"
        )
    places = {}
    prefix = f"{folder}data/"
    for name, member in members.items():
        if name.startswith(prefix):
            start, size = _stored(file, member)
            places[name.removeprefix(prefix)] = _Place(start, size, member.CRC)
    big = f"{folder}byteorder" in members and archive.read(f"{folder}byteorder") == b"big"
    root, _ = pickles.load(archive.read(main), calls=_CALLS, persistent=_storage)
    reader = _Reader(file, places, big)
    arrays: state.Arrays = {Tensor: reader.array, Ndarray: pickled.array}
    return state.contents(root, arrays, "PyTorch (zip)", everything)


def fits(file: File) -> bool:
    """Check for a pickle of protocol 2 or later."""
    return file.head[:1] == b"\x80" and file.head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")


def contents(file: File, everything: bool) -> Contents:
    """Contents of the old form, or of a plain pickle of NumPy arrays."""
    storages: dict[str, Storage] = {}

    def persistent(identity: Any) -> Any:
        found = _storage(identity)
        if isinstance(found, Storage):
            storages.setdefault(found.key, found)
        return found

    root, at = pickles.load(file.map, calls=_CALLS, persistent=persistent)
    if type(root) is not int or root != _MAGIC:
        return state.contents(root, {Ndarray: pickled.array}, "pickle of NumPy arrays", everything)
    version, at = pickles.load(file.map, at)
    if version != 1001:
        raise Broken(f"has the form {str(version)[:40]} of PyTorch; 1001 is the only known one")
    _, at = pickles.load(file.map, at)
    root, at = pickles.load(file.map, at, calls=_CALLS, persistent=persistent)
    keys, at = pickles.load(file.map, at)
    places = {}
    for key in keys:
        places[key] = _old_place(file, at, storages.get(key))
        at = places[key].start + places[key].size
    reader = _Reader(file, places)
    arrays: state.Arrays = {Tensor: reader.array, Ndarray: pickled.array}
    return state.contents(root, arrays, "PyTorch (before 1.6)", everything)


def _old_place(file: File, at: int, storage: Storage | None) -> _Place:
    """A storage of the old form: how many numbers, then these."""
    if storage is None:
        raise Broken("is damaged: it has a storage that no tensor uses")
    bytes_each = width(storage.dtype) if storage.dtype else _QUANTIZED.get(storage.kind)
    if bytes_each is None:
        raise Broken(f"has a storage of {storage.kind}, which is unknown")
    count = int.from_bytes(file.map[at : at + 8], "little", signed=True)
    size = count * bytes_each
    if size < 0 or at + 8 + size > file.size:
        raise Broken(
            f"is truncated or damaged: it ends at byte {file.size}, and its tensors go on to "
            f"{at + 8 + size} at least. Download it again"
        )
    return _Place(at + 8, size)

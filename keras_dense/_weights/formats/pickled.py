"""The objects of a pickle that `pickles.py` makes: names, arrays of NumPy, and inert others."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from keras_dense._types import Array
from keras_dense._weights.formats.file import Broken, native


class Global(NamedTuple):
    """A name that a pickle would import."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"[:100]


@dataclasses.dataclass(eq=False)
class Opaque:
    """An object of a class that is not known here: its name and the data it was given."""

    kind: str
    state: Any = None
    items: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(eq=False)
class Ndarray:
    """An array of NumPy."""

    dtype: Any = None
    shape: Any = ()
    fortran: bool = False
    raw: Any = b""


@dataclasses.dataclass(eq=False)
class Dtype:
    """A dtype of NumPy, such as "f4"."""

    code: Any
    order: Any = "="


# From what a pickle names to the function that stands for it.
Calls = Mapping[tuple[str, str], Callable[..., Any]]
_CODES = {f"{kind}{n}" for kind in "iu" for n in (1, 2, 4, 8)}
_CODES |= {"b1", "f2", "f4", "f8", "c8", "c16", "?"}
_PLAIN = (str, int, float, bytes, bool, type(None))


def is_key(value: Any) -> bool:
    """Check whether a value may be a key: a number, text, or a tuple of them."""
    # Hashes of deep tuples could overflow the stack of the interpreter.
    parts = value if isinstance(value, tuple) else (value,)
    return len(parts) < 100 and all(isinstance(part, _PLAIN) for part in parts)


def _dict(items: Any = (), *_: Any) -> dict:
    pairs = items.items() if isinstance(items, dict) else items
    if not isinstance(items, (dict, list, tuple)):
        return {}  # The function of a `defaultdict`.
    return {pair[0]: pair[1] for pair in pairs if is_key(pair[0])}


def _encode(text: str, encoding: str) -> bytes:
    return text.encode("latin1" if encoding in ("latin1", "latin-1") else "utf-8")


def _buffer(raw: Any, dtype: Any, shape: Any, order: Any) -> Ndarray:
    return Ndarray(dtype, shape, order == "F", raw)


def _scalar(dtype: Dtype, raw: Any = b"") -> Any:
    return array(Ndarray(dtype, (), False, raw)).item()


CALLS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): _dict,
    ("collections", "defaultdict"): lambda *arguments: {},
    ("collections", "Counter"): _dict,
    ("_codecs", "encode"): _encode,
    ("numpy", "dtype"): lambda code, *_: Dtype(code),
}
for _module in ("builtins", "__builtin__"):
    for _name in ("set", "frozenset"):
        CALLS[_module, _name] = lambda items=(): {x for x in items if is_key(x)}
    # Empty bytes of old protocols; `bytes(n)` would make n of them.
    CALLS[_module, "bytes"] = lambda *_: b""
for _module in ("numpy.core", "numpy._core"):
    CALLS[f"{_module}.multiarray", "_reconstruct"] = lambda *_: Ndarray()
    CALLS[f"{_module}.multiarray", "scalar"] = _scalar
    CALLS[f"{_module}.numeric", "_frombuffer"] = _buffer


def parts(node: Ndarray) -> list | None:
    """The elements of an array of objects, such as a dict that `np.save` wrote; else `None`."""
    code = node.dtype.code if isinstance(node.dtype, Dtype) else None
    return node.raw if code in ("O", "O8", "|O") and isinstance(node.raw, list) else None


def array(node: Ndarray) -> Array:
    """The array that a pickle describes; one of objects is an error."""
    dtype, shape, raw = node.dtype, node.shape, node.raw
    code = dtype.code if isinstance(dtype, Dtype) else None
    if not isinstance(code, str) or code.lstrip("<>=|") not in _CODES:
        raise Broken(f"has an array of a dtype that cannot be read: {str(code)[:40]!r}")
    raw = raw.encode("latin1") if isinstance(raw, str) else raw  # Python 2 has no bytes.
    order = code[0] if code[0] in "<>" else dtype.order
    order = order if order in ("<", ">") else "<"
    kind = np.dtype(f"{order}{code.lstrip('<>=|')}")
    if not all(isinstance(n, int) and n >= 0 for n in shape) or len(shape) > 32:
        raise Broken("is damaged: the shape of an array is none")
    if not isinstance(raw, bytes) or len(raw) != math.prod(shape) * kind.itemsize:
        raise Broken("is damaged: the bytes of an array do not fill its shape")
    found = np.frombuffer(raw, kind).reshape(shape, order="F" if node.fortran else "C")
    return native(found)

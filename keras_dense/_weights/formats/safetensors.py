"""The format of `safetensors`: a header in JSON, then the numbers; and its index of several files.

Reference: https://huggingface.co/docs/safetensors, "Format".
"""

import json
from collections.abc import Callable
from typing import Any

from keras_dense._weights.formats import state
from keras_dense._weights.formats.file import Broken, Contents, File

_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
    "C64": "complex64",
}
# The format allows no larger header.
_HEADER = 100_000_000


def fits(file: File) -> bool:
    """Check for the length of a header, and its first character."""
    return file.head[8:9] == b"{" and 2 <= int.from_bytes(file.head[:8], "little") <= _HEADER


def contents(file: File, everything: bool) -> Contents:
    """Contents of one file."""
    size = int.from_bytes(file.head[:8], "little")
    if 8 + size > file.size:
        raise Broken(
            f"is truncated: it has {file.size} bytes, its header alone {size}. Download it again"
        )
    header = _parse(file.map[8 : 8 + size])
    meta = header.pop("__metadata__", {})
    found = {}
    for name, entry in header.items():
        dtype = _DTYPES.get(entry["dtype"])
        if dtype is None:
            raise Broken(
                f"has the tensor {name[:200]!r} of the dtype {str(entry['dtype'])[:40]!r}, which "
                "NumPy lacks; save it as float32"
            )
        start, end = entry["data_offsets"]
        shape = tuple(entry["shape"])
        if start < 0 or not all(type(n) is int and n >= 0 for n in shape):
            raise Broken(f"is damaged: the tensor {name[:200]!r} has no valid place or shape")
        found[name] = file.array(8 + size + start, dtype, shape, end - start)
    return Contents(found if everything else state.unwrapped(found), dict(meta), "safetensors")


def _parse(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Broken(f"is damaged: its text is no JSON ({error})") from error
    if not isinstance(found, dict):
        raise Broken("is damaged: its text is no JSON object")
    return found


def is_index(file: File) -> bool:
    """Check for a JSON object that may name several files."""
    return file.head.lstrip()[:1] == b"{" and b'"weight_map"' in file.map[:]


def contents_of_index(file: File, everything: bool, read: Callable[..., Contents]) -> Contents:
    """Contents of all files that an index names; they lie beside it."""
    index = _parse(file.map[:])
    places = index["weight_map"]
    found: dict[str, Any] = {}
    for name in dict.fromkeys(places.values()):
        if not isinstance(name, str) or name in ("", "..") or set(name) & set("/\\:"):
            raise Broken(f"names a file that does not lie beside it: {str(name)[:100]!r}")
        path = file.path.parent / name
        if not path.is_file():
            raise FileNotFoundError(
                f"'{file.path}' is an index of several files, and {name!r} is not beside it. "
                "Download all of them to one folder"
            )
        try:
            found |= read(path, True).tensors
        except Broken as error:
            raise Broken(f"is an index of several files, and {name!r} {error}") from error
    missing = [name for name in places if name not in found]
    if missing:
        raise Broken(f"names tensors that its files lack, such as {missing[0][:200]!r}")
    meta = index.get("metadata") or {}
    return Contents(found if everything else state.unwrapped(found), meta, "index of files")

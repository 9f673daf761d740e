"""Descriptions of files that hold no weights, and of those that hold them in another way."""

import re

from keras_dense._weights.formats.file import Broken, File
from keras_dense._weights.formats.wire import fields

_READ = (
    ".pth, .pt or .ckpt of PyTorch, .safetensors, .caffemodel, a checkpoint or frozen graph of "
    "TensorFlow, .tflite, .h5 or .keras of Keras, .npz and .npy are read"
)
_STARTS = (
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x89PNG", "a PNG image"),
    (b"%PDF", "a PDF document"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it"),
    (b"Rar!", "a RAR archive: unpack it"),
    (b"BZh", "a file that bzip2 compressed: unpack it"),
    (b"\xfd7zXZ", "a file that xz compressed: unpack it"),
    (b"\x28\xb5\x2f\xfd", "a file that zstd compressed: unpack it"),
    (b"\x7fELF", "a program"),
    (b"GGUF", "a GGUF file of llama.cpp"),
)
_LFS = b"version https://git-lfs.github.com/spec"


def describe(file: File) -> Broken:
    """The error for a file that no reader knows."""
    head = file.head.lstrip(b"\xef\xbb\xbf \t\r\n")
    lower = head[:1024].lower()
    if not file.size:
        return Broken("is empty. Download it again")
    if file.head.startswith(_LFS):
        return Broken(
            f"is a pointer of Git LFS, of {file.size} bytes, not the file that it stands for. Run "
            "`git lfs pull`, or download the file by the link of its page"
        )
    if lower.startswith((b"<!doctype html", b"<html")) or b"<html" in lower[:300]:
        title = re.search(rb"<title[^>]*>([^<]{1,100})", head, re.IGNORECASE)
        words = f" ({title[1].decode('utf-8', 'replace').strip()!r})" if title else ""
        return Broken(
            f"is a web page{words}, as a host sends it instead of a file: an error, a login or a "
            "question. Open the address in a browser and save the file itself"
        )
    if lower.startswith((b"<?xml", b"<error")):
        return Broken("is an XML document, as a host sends it in an error. Download it again")
    for start, what in _STARTS:
        if file.head.startswith(start):
            return Broken(f"looks like {what}. {_READ}")
    if _is_onnx(file):
        return Broken(
            "looks like an ONNX network, whose weights have lost their names. Give the checkpoint "
            "that it was exported from"
        )
    if _is_saved_model(file):
        return Broken(
            "looks like the program of a SavedModel. Give its folder: the weights are in "
            "variables/variables.index"
        )
    if not any(file.head):
        return Broken("begins with zeros only: a download that was interrupted. Download it again")
    text = file.head[:80].decode("utf-8", "replace")
    if b"\0" not in file.head and "\ufffd" not in text[:-1]:
        return Broken(f"is text, which begins with {text!r}. {_READ}")
    return Broken(f"is of no known format; it begins with {file.head[:16]!r}. {_READ}")


def _first_fields(file: File, count: int) -> list[tuple[int, int]]:
    found = []
    try:
        for field in fields(file.map, 0, file.size):
            found.append((field.number, field.kind))
            if len(found) == count:
                break
    except Broken:
        pass
    return found


def _is_onnx(file: File) -> bool:
    """Check for `ModelProto`: ir_version=1, producer_name=2 … graph=7 opset_import=8."""
    found = _first_fields(file, 100)
    known = {(1, 0), (2, 2), (3, 2), (4, 2), (5, 0), (6, 2), (7, 2), (8, 2), (14, 2), (20, 2)}
    return found[:1] == [(1, 0)] and ((7, 2) in found or (8, 2) in found) and set(found) <= known


def _is_saved_model(file: File) -> bool:
    """Check for `SavedModel`: saved_model_schema_version=1 meta_graphs=2."""
    found = _first_fields(file, 3)
    return found[:1] == [(1, 0)] and set(found) == {(1, 0), (2, 2)}

"""Marks in results, by which a later run recognizes files of the same run.

A PNG holds the mark in a text chunk, a .npy file in a second array after the first, which readers
ignore.
"""

import json

import numpy as np

from keras_dense._optional import require

_KEY = b"keras_dense"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def save_png(image, file, mark, facts=None):
    """Write an image of Pillow with a mark and the meaning of its numbers, both as JSON."""
    texts = require("PIL.PngImagePlugin", extra="examples").PngInfo()
    texts.add_text(_KEY.decode(), json.dumps(mark))
    if facts:
        texts.add_text("about", json.dumps(facts))
    image.save(file, format="PNG", pnginfo=texts)


def save_npy(array, file, mark):
    """Write an array with a mark."""
    np.save(file, array)
    np.save(file, np.array(json.dumps(mark)))


def mark_of(path):
    """The mark of a file, or `None` if it has none."""
    try:
        with open(path, "rb") as file:
            text = _of_npy(file) if path.suffix == ".npy" else _of_png(file)
        return None if text is None else json.loads(text)
    except (OSError, ValueError, EOFError):
        return None


def _of_npy(file):
    np.lib.format.read_magic(file)
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    file.seek(int(np.prod(shape, dtype="int64")) * dtype.itemsize, 1)
    return str(np.load(file, allow_pickle=False))


def _of_png(file):
    if file.read(8) != _SIGNATURE:
        return None
    while True:
        head = file.read(8)
        size, kind = int.from_bytes(head[:4], "big"), head[4:]
        if kind in (b"IDAT", b"IEND", b""):
            return None
        content = file.read(size)
        file.seek(4, 1)
        if kind == b"tEXt" and content.startswith(_KEY + b"\0"):
            return content[len(_KEY) + 1 :].decode("latin-1")

"""Pictures of a run: which there are, and how results are written whole or not at all."""

import errno
import os
import pathlib
import re
import sys

import numpy as np

from keras_dense._command.load import Unusable
from keras_dense._optional import require
from keras_dense.datasets.depth_files import depth_to_png16
from keras_dense.datasets.files import find_files

# What goes wrong with every further file, too.
_HOPELESS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)


def pictures(paths):
    """Files by their stem, of files and folders.

    Raises:
        Unusable: if one is missing, a folder holds none, or two have one stem.
    """
    found = {}
    for path in map(pathlib.Path, paths):
        try:
            files = find_files(path, "input", "images") if path.is_dir() else {path.stem: path}
        except (OSError, ValueError) as error:
            raise Unusable(str(error)) from error
        if not path.exists():
            raise Unusable(f"there is no file or folder {str(path)!r}")
        for stem, file in files.items():
            if stem in found:
                raise Unusable(
                    f"{str(found[stem])!r} and {str(file)!r} would be written to one file"
                )
            found[stem] = file
    return found


def make_folder(folder):
    """A folder that can be written to.

    Raises:
        Unusable: if it cannot.
    """
    probe = folder / f".probe.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise Unusable(f"cannot write to {str(folder)!r} ({error.strerror})") from error


def write_whole(path, write):
    """Let `write(file)` write a file that appears at `path` when it is whole.

    Raises:
        Unusable: if the disk is full, or cannot be written to any more.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with open(new, "wb") as file:
            write(file)
        os.replace(new, path)
    except OSError as error:
        if error.errno in _HOPELESS:
            raise Unusable(f"cannot write {str(path)!r} ({error.strerror}); stopped") from error
        raise
    finally:
        new.unlink(missing_ok=True)


def suffix(head):
    """How the file of a head's results ends."""
    return ".npy" if getattr(head, "mode", None) == "multilabel" else ".png"


def write_result(path, head, result):
    """Write what a head has decoded for an image.

    Labels as PNG with palette, several of them at a pixel as .npy; depth as PNG of 16 bits,
    millimetres (1/256 m where the head goes beyond 65.5 m); normals as PNG of (n + 1) / 2 · 255;
    colours as PNG.
    """
    if path.suffix == ".npy":
        write_whole(path, lambda file: np.save(file, result.astype("uint8")))
        return
    image = require("PIL.Image", extra="examples")
    if hasattr(head, "palette"):
        if len(head.palette) > 256:
            picture = image.fromarray(result.astype("uint16"))
        else:
            picture = image.fromarray(result.astype("uint8"))
            picture.putpalette(np.asarray(head.palette, "uint8").tobytes())
    elif result.dtype == np.uint8:
        picture = image.fromarray(result)
    elif result.shape[-1] == 1:
        picture = image.fromarray(depth_to_png16(result, depth_scale(head)))
    else:
        picture = image.fromarray(np.rint((result + 1) * 127.5).clip(0, 255).astype("uint8"))
    write_whole(path, lambda file: picture.save(file, format="PNG"))


def depth_scale(head):
    """Numbers for each metre in files of depth."""
    return 1000 if head.max_depth * 1000 <= 65535 else 256


def write_overlay(path, head, result, pixels):
    """Write a result as the head draws it, over the picture (colours have it in them)."""
    image = require("PIL.Image", extra="examples")
    drawn = head.draw(result)
    if not getattr(head, "needs_image", False):
        drawn = ((drawn.astype("uint16") + pixels + 1) // 2).astype("uint8")
    write_whole(path, lambda file: image.fromarray(drawn).save(file, format="PNG"))


def report(failed, total, what):
    """Say what went wrong; returns the exit code."""
    if not failed:
        return 0
    print(f"{len(failed)} of {total} {what} failed:", file=sys.stderr)
    for name, error in failed.items():
        # Of an error in a layer, what Keras prints in bold between where it was and its arguments.
        inner = re.search(r"\x1b\[1m(.*?)\x1b\[0m", str(error), re.DOTALL)
        text = (inner[1] if inner else str(error)).strip() or type(error).__name__
        # Errors of reading name the file themselves.
        print(f"  {text if str(name) in text else f'{name}: {text}'}", file=sys.stderr)
    return 1

"""Input images of a run, and results that are written completely or not at all."""

import errno
import json
import os
import pathlib
import re
import sys
import warnings

import numpy as np

from keras_dense._command.load import Unusable
from keras_dense._command.marks import save_npy, save_png
from keras_dense._files import tells_case, whole
from keras_dense._optional import require
from keras_dense._types import Array
from keras_dense.datasets.files import find_files
from keras_dense.heads import Head

# Errors that every further file would raise as well.
_HOPELESS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
_HOPELESS += (errno.EFBIG,)
_PNG = b"\x89PNG\r\n\x1a\n"


def named_paths(paths):
    """Paths of files and folders; "-" stands for those that stdin lists, one a line.

    Raises:
        Unusable: if stdin lists none.
    """
    found = []
    for path in paths:
        if path != "-":
            found.append(pathlib.Path(path))
            continue
        lines = [line.rstrip("\r\n") for line in sys.stdin]
        listed = [pathlib.Path(line) for line in lines if line.strip()]
        if not listed:
            raise Unusable("stdin lists no files; it takes one path a line")
        found += listed
    return found


def image_files(paths):
    """Files by their stem, from files and folders; prints skipped files to stderr.

    Raises:
        Unusable: if one is missing, a folder holds none, or two have one stem.
    """
    found = {}
    for path in paths:
        if not path.exists():
            raise Unusable(f"there is no file or folder {str(path)!r}")
        if not path.is_file() and not path.is_dir():
            raise Unusable(f"{str(path)!r} is no file (a pipe, a socket or a device)")
        for stem, file in _of(path).items():
            if stem in found:
                raise Unusable(
                    f"{str(found[stem])!r} and {str(file)!r} would be written to one file; predict "
                    "them one after the other, to folders of their own"
                )
            found[stem] = file
    return found


def _of(path):
    """The images of a folder, or one file."""
    if not path.is_dir():
        return {path.stem: path}
    try:
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always")
            files = find_files(path, "input", "images")
    except (OSError, ValueError) as error:
        raise Unusable(str(error)) from error
    for note in notes:
        text = str(note.message).replace("recursive=True reads them", "name them to read them")
        print(text, file=sys.stderr)
    return files


def same(a, b):
    """Whether two paths lead to one file or folder: by links, `..`, or in another case."""
    a, b = pathlib.Path(a), pathlib.Path(b)
    try:
        return a.samefile(b)
    except OSError:
        return False


def keep_apart(targets, sources, what="--out"):
    """Make sure that no input is overwritten.

    Raises:
        Unusable: if a target is one of the sources.
    """
    read = {}
    for source in filter(None, sources):
        try:
            found = os.stat(source)
        except OSError:
            continue
        read[found.st_dev, found.st_ino] = source
    for target in targets:
        try:
            found = os.stat(target)
        except OSError:
            continue
        source = read.get((found.st_dev, found.st_ino))
        if source is not None:
            raise Unusable(
                f"{what} would write over {str(source)!r}, which is read; give another folder or "
                f"file than {str(target)!r}"
            )


def check_scores_file(out, sources):
    """Make sure that a file of scores may be written.

    Raises:
        Unusable: if it is one of the sources, a folder, or a file of something else.
    """
    keep_apart([out], sources)
    if not out.exists():
        return
    try:
        before = json.loads(out.read_text())
    except OSError as error:
        raise Unusable(f"cannot write {str(out)!r} ({error.strerror})") from error
    except ValueError:
        before = None
    # Scores of an earlier run are replaced.
    if not isinstance(before, dict) or "images" not in before:
        raise Unusable(f"{str(out)!r} is there, and holds no scores; give another --out")


def check_drawing(file, sources):
    """Make sure that a drawing may be written: a new PNG, or one in the place of a PNG.

    Raises:
        Unusable: if it is one of the sources, or something else than a PNG.
    """
    if file.suffix.lower() != ".png":
        raise Unusable(f"drawings are PNG files. Received: {str(file)!r}")
    keep_apart([file], sources, "the drawing")
    if not file.exists():
        return
    if not file.is_file() or file.read_bytes()[:8] != _PNG:
        raise Unusable(f"{str(file)!r} is there, and is no PNG; give another file")


def write_drawing(file, drawing):
    """Write a drawing as PNG."""
    image = require("PIL.Image", extra="examples").fromarray(drawing)
    write_whole(file, lambda opened: image.save(opened, format="PNG"))


def make_folder(folder):
    """A folder that can be written to.

    Returns:
        bool, whether its names differ by case.

    Raises:
        Unusable: if it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tells_case(folder)
    except OSError as error:
        raise Unusable(f"cannot write to {str(folder)!r} ({error.strerror})") from error


def write_whole(path, write):
    """Let `write(file)` write a file that appears at `path` when it is whole.

    Raises:
        Unusable: if the disk is full, or cannot be written to any more.
    """
    try:
        with whole(path) as draft, open(draft, "wb") as file:
            write(file)
    except OSError as error:
        if error.errno in _HOPELESS:
            raise Unusable(f"cannot write {str(path)!r} ({error.strerror}); stopped") from error
        raise


def write_result(path: pathlib.Path, head: Head, result: Array, mark: dict) -> None:
    """Write the result of a head for one image as the head stores it, with a mark of the run.

    PNG files have the meaning of their numbers in their text "about", as JSON.
    """
    array, palette, facts = head.stored(result)
    if path.suffix == ".npy":
        write_whole(path, lambda file: save_npy(array, file, mark))
        return
    image = require("PIL.Image", extra="examples").fromarray(array)
    if palette is not None:
        image.putpalette(np.asarray(palette, "uint8").tobytes())
    write_whole(path, lambda file: save_png(image, file, mark, facts))


def write_overlay(path: pathlib.Path, head: Head, result: Array, pixels: Array, mark: dict) -> None:
    """Write a result as its head draws it over the image."""
    drawn = require("PIL.Image", extra="examples").fromarray(head.overlay(result, pixels))
    write_whole(path, lambda file: save_png(drawn, file, mark))


def report(failed, total, what, document=None):
    """Say what went wrong, and put it into a document; returns the exit code."""
    said = {str(name): _said(error) for name, error in failed.items()}
    if document is not None:
        document["failed"] = said
    if not failed:
        return 0
    print(f"{len(failed)} of {total} {what} failed:", file=sys.stderr)
    for name, text in said.items():
        # Errors of reading name the file themselves.
        print(f"  {text if name in text else f'{name}: {text}'}", file=sys.stderr)
    return 1


def _said(error):
    # Of an error in a layer, what Keras prints in bold between where it was and its arguments.
    inner = re.search(r"\x1b\[1m(.*?)\x1b\[0m", str(error), re.DOTALL)
    return (inner[1] if inner else str(error)).strip() or type(error).__name__

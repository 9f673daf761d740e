"""Pictures of a run: which there are, and how results are written whole or not at all."""

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
from keras_dense._optional import require
from keras_dense.datasets.depth_files import depth_to_png16
from keras_dense.datasets.files import find_files

# What goes wrong with every further file, too.
_HOPELESS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)


def pictures(paths):
    """Files by their stem, of files and folders; says on stderr what was passed over in these.

    Raises:
        Unusable: if one is missing, a folder holds none, or two have one stem.
    """
    found = {}
    for path in map(pathlib.Path, paths):
        if not path.exists():
            raise Unusable(f"there is no file or folder {str(path)!r}")
        for stem, file in _of(path).items():
            if stem in found:
                raise Unusable(
                    f"{str(found[stem])!r} and {str(file)!r} would be written to one file; predict "
                    "them one after the other, to folders of their own"
                )
            found[stem] = file
    return found


def _of(path):
    """The pictures of a folder, or one file."""
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
    """Make sure that nothing is written over what is read.

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
    if not isinstance(before, dict) or "mean_iou" not in before:
        raise Unusable(f"{str(out)!r} is there, and holds no scores; give another --out")


def make_folder(folder):
    """A folder that can be written to.

    Returns:
        bool, whether its names differ by case.

    Raises:
        Unusable: if it cannot.
    """
    probe = folder / f".probe.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        by_case = not same(probe, folder / probe.name.upper())
        probe.unlink()
    except OSError as error:
        raise Unusable(f"cannot write to {str(folder)!r} ({error.strerror})") from error
    return by_case


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


def write_result(path, head, result, mark):
    """Write what a head decoded for one picture, with a mark of the run.

    Labels become PNG with the head's palette, multilabel ones .npy; depth becomes PNG of 16 bits,
    millimeters (coarser where the head goes beyond 65.5 m); normals as PNG of (n + 1) / 2 · 255;
    colors as PNG. What the numbers mean is in a PNG's text "about", as JSON.
    """
    if path.suffix == ".npy":
        write_whole(path, lambda file: save_npy(result.astype("uint8"), file, mark))
        return
    facts = next(iter(head.about().values()), {}) if hasattr(head, "about") else {}
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
        scale = depth_scale(head)
        picture = image.fromarray(depth_to_png16(result, scale))
        facts = {**facts, "unit": f"meter / {scale:g}"}
    else:
        picture = image.fromarray(np.rint((result + 1) * 127.5).clip(0, 255).astype("uint8"))
        facts = {**facts, "unit": "(unit vector + 1) * 127.5"}
    write_whole(path, lambda file: save_png(picture, file, mark, facts))


def depth_scale(head):
    """Numbers for each meter in files of depth: the finest usual one that holds all its range.

    >>> from keras_dense.heads import Depth
    >>> [depth_scale(Depth(max_depth=most)) for most in (10.0, 80.0, 1000.0)]
    [1000, 256, 65]
    """
    for scale in (1000, 256):
        if head.max_depth * scale <= 65535:
            return scale
    return int(65535 // head.max_depth) or 65535 / head.max_depth


def write_overlay(path, head, result, pixels, mark):
    """Write a result as the head draws it, over the picture (colors have it in them)."""
    image = require("PIL.Image", extra="examples")
    drawn = head.draw(result)
    if not getattr(head, "needs_image", False):
        drawn = ((drawn.astype("uint16") + pixels + 1) // 2).astype("uint8")
    write_whole(path, lambda file: save_png(image.fromarray(drawn), file, mark))


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

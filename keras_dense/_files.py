"""Files and folders that appear completely or not at all."""

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

from keras_dense._types import PathLike

# Hidden folder of a draft, beside its target: `.<target>.<random>.partial/`.
_ENDING = ".partial"


@contextlib.contextmanager
def whole(path: PathLike, *, fsync: bool = False) -> Iterator[pathlib.Path]:
    """Draft of a file or folder, which takes its place when the `with` block ends.

    The draft has the name of the target, in a hidden folder beside it: on the same disk, so that
    moving it is one step. Other files that are written next to the draft move with it, in
    alphabetical order. After an error the draft is removed; after a kill it stays as a hidden
    folder that no later run reads (see `remove_drafts`). In both cases the old file is as it was.

    A folder that exists cannot be replaced in one step: it is moved away first. A kill between the
    two steps leaves the old and the new one in the draft's folder.

    Args:
        path: file or folder to write. Missing parents are made.
        fsync: whether everything must have reached the disk before it gets its name, which
            survives a power cut, too.

    Yields:
        `pathlib.Path` to write to.

    Raises:
        FileNotFoundError: if the block writes nothing to the draft.

    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> with whole(folder / "a.txt") as draft:
    ...     _ = draft.write_text("all")
    >>> [path.name for path in folder.iterdir()]
    ['a.txt']
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Names of files have at most 255 bytes: a part of a long one is enough.
    prefix = f".{path.name[:40]}."
    with tempfile.TemporaryDirectory(_ENDING, prefix, path.parent) as draft:
        new, old = pathlib.Path(draft, "new"), pathlib.Path(draft, "old")
        new.mkdir()
        yield new / path.name
        if not os.path.lexists(new / path.name):
            raise FileNotFoundError(f"nothing was written for {str(path)!r}")
        if fsync:
            for written in sorted(new.rglob("*")):
                _to_disk(written)
        for written in sorted(new.iterdir()):
            _move(written, path.parent / written.name, old)
        if fsync:
            _to_disk(path.parent)


def _move(new: pathlib.Path, target: pathlib.Path, old: pathlib.Path) -> None:
    """Put `new` in the place of `target`; a folder there goes to `old` first."""
    if not target.is_dir() or target.is_symlink():
        os.replace(new, target)
        return
    os.rename(target, old)
    try:
        os.rename(new, target)
    except OSError:
        os.rename(old, target)
        raise
    shutil.rmtree(old)


def _to_disk(path: pathlib.Path) -> None:
    """Wait until a file or folder has reached the disk, where the system can say so."""
    if path.is_symlink() or (os.name == "nt" and path.is_dir()):
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_drafts(folder: PathLike) -> None:
    """Remove the drafts of killed runs from a folder.

    Only for a folder into which no other process writes: its draft would be removed, too.

    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> (folder / ".a.txt.x1y2z3.partial").mkdir()
    >>> remove_drafts(folder)
    >>> list(folder.iterdir())
    []
    """
    for draft in pathlib.Path(folder).glob(f".*{_ENDING}"):
        shutil.rmtree(draft, ignore_errors=True)

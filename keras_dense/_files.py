"""Files and folders that appear completely or not at all."""

import contextlib
import errno
import hashlib
import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Iterator

from keras_dense._lock import host_code, is_gone, started
from keras_dense._types import PathLike

# Hidden folder of a draft, beside its target: `.<target>.<owner>.<random>.partial/`.
_ENDING = ".partial"
_OWNER = re.compile(r"\.([0-9a-f]{8})-(\d+)-(\d*)\.[^.]*" + re.escape(_ENDING) + "$")
_LONGEST = 255  # bytes of a name, on nearly all systems
# Folders without drafts of killed runs: each is searched once.
_CLEAN: set[str] = set()
# Errors of a disk, in the words of libraries that do not give their number.
_DISK = {
    "No space left on device": errno.ENOSPC,
    "Disk quota exceeded": errno.EDQUOT,
    "File too large": errno.EFBIG,
    "Input/output error": errno.EIO,
    "TIFFAppendToStrip:Write error": errno.EIO,
    "basic_ios::clear: iostream error": errno.EIO,  # OpenVINO
}
_LITTLE = 1 << 16  # bytes of a disk that is full


def beside(path: PathLike, ending: str) -> pathlib.Path:
    """A file beside another, with an ending after its name; a name that is too long is cut.

    >>> beside("out/labels.npy", ".part").name
    'labels.npy.part'
    >>> len(beside("a" * 250 + ".npy", ".part").name)
    255
    """
    path = pathlib.Path(path)
    name = os.fsencode(path.name)
    room = _LONGEST - len(os.fsencode(ending))
    if len(name) <= room:
        return path.with_name(path.name + ending)
    code = hashlib.blake2b(name, digest_size=4).hexdigest()
    return path.with_name(f"{_cut(path.name, room - len(code) - 1)}.{code}{ending}")


def _cut(name: str, count: int) -> str:
    """The beginning of a name, of at most so many bytes."""
    while len(os.fsencode(name)) > count:
        name = name[:-1]
    return name


@contextlib.contextmanager
def whole(path: PathLike, *, fsync: bool = True) -> Iterator[pathlib.Path]:
    """Draft of a file or folder, which takes its place when the `with` block ends.

    The draft has the name of the target, in a hidden folder beside it: on the same disk, so that
    moving it is one step. Other files that are written next to the draft move with it, in
    alphabetical order. After an error the draft is removed. After a kill it stays, as a hidden
    folder that no later run reads and that the next one that writes there removes. In both cases
    the old file is as it was.

    A folder that exists cannot be replaced in one step: it is moved away first. After a kill
    between the two steps the next run puts the new one, which is complete, in its place.

    Args:
        path: file or folder to write. Missing parents are made.
        fsync: whether everything must have reached the disk before it gets its name, which
            survives a power cut, too.

    Yields:
        `pathlib.Path` to write to.

    Raises:
        FileNotFoundError: if the block writes nothing to the draft.
        OSError: with the number and the path, if the disk is full or broken, from whichever
            library.

    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> with whole(folder / "a.txt") as draft:
    ...     _ = draft.write_text("all")
    >>> [path.name for path in folder.iterdir()]
    ['a.txt']
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_once(path.parent)
    # A part of a long name is enough.
    prefix = f".{_cut(path.name, 80)}.{_owner()}."
    free = None
    try:
        with tempfile.TemporaryDirectory(_ENDING, prefix, path.parent) as draft:
            new, old = pathlib.Path(draft, "new"), pathlib.Path(draft, "old")
            new.mkdir()
            try:
                yield new / path.name
                if not os.path.lexists(new / path.name):
                    raise FileNotFoundError(f"nothing was written for {str(path)!r}")
                if fsync:
                    for written in sorted(new.rglob("*")):
                        _to_disk(written)
                for written in sorted(new.iterdir()):
                    _move(written, path.parent / written.name, old)
            except Exception:
                free = shutil.disk_usage(draft).free  # before the draft is removed
                raise
            if fsync:
                _to_disk(path.parent)
    except Exception as error:
        number = disk_error(error)
        if number in (None, errno.EIO) and free is not None and free < _LITTLE:
            number = errno.ENOSPC
        if number is None:
            raise
        text = os.strerror(number)
        if number == errno.EIO and free is not None:
            text += f" ({free / 1e6:.1f} MB were left on the disk)"
        raise OSError(number, text, str(path)) from error


def _owner() -> str:
    return f"{host_code()}-{os.getpid()}-{started(os.getpid())}"


@contextlib.contextmanager
def scratch() -> Iterator[pathlib.Path]:
    """A folder for temporary files, away from the results, which is removed at the end.

    One that a killed process left is removed by the next one.

    >>> with scratch() as folder:
    ...     folder.is_dir()
    True
    """
    _remove_once(pathlib.Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(_ENDING, f".keras_dense.{_owner()}.") as folder:
        yield pathlib.Path(folder)


def need_room(folder: PathLike, size: int) -> None:
    """Make sure that a disk has so many bytes left.

    For writers that do not survive a full one: HDF5 crashes when it cannot close its file.

    Raises:
        OSError: with the number of a full disk and the path.

    >>> need_room(tempfile.gettempdir(), 0)
    """
    if shutil.disk_usage(folder).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def disk_error(error: BaseException | None) -> int | None:
    """The number of the error of a disk that an exception, or one it came from, is about.

    >>> import errno
    >>> disk_error(RuntimeError("write failed: No space left on device")) == errno.ENOSPC
    True
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in _DISK.values():
            return error.errno
        found = [number for text, number in _DISK.items() if text in str(error)]
        if found:
            return found[0]
        error = error.__cause__ or error.__context__
    return None


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


def _remove_once(folder: pathlib.Path) -> None:
    """Remove the drafts of killed runs from a folder, the first time that something is written."""
    place = os.path.realpath(folder)
    if place not in _CLEAN:
        _CLEAN.add(place)
        remove_left(folder)


def tells_case(folder: PathLike) -> bool:
    """Whether names in a folder differ by case; an error where nothing can be written to it.

    Args:
        folder: one that exists.

    Raises:
        OSError: if it cannot be written to.

    >>> folder = tempfile.mkdtemp()
    >>> tells_case(folder) in (True, False), os.listdir(folder)
    (True, [])
    """
    # A draft: after a kill, the next run removes it.
    with tempfile.TemporaryDirectory(_ENDING, f".probe.{_owner()}.", folder) as probe:
        try:
            return not os.path.samefile(
                probe, pathlib.Path(folder, os.path.basename(probe).upper())
            )
        except OSError:
            return True


def remove_left(folder: PathLike) -> None:
    """Remove from a folder the drafts that killed runs of this machine left."""
    for draft in _drafts(folder):
        owner = _OWNER.search(draft.name)
        if owner is not None and _is_left(owner):
            _remove(draft)


def _remove(draft: pathlib.Path) -> None:
    """Remove a draft; one that was just taking the place of a folder takes it first."""
    if (draft / "old").exists():
        for new in (draft / "new").iterdir():
            if not os.path.lexists(draft.parent / new.name):
                os.rename(new, draft.parent / new.name)
    shutil.rmtree(draft, ignore_errors=True)


def _is_left(owner: re.Match) -> bool:
    """Whether a draft belongs to a process of this machine that has ended."""
    return owner[1] == host_code() and is_gone(int(owner[2]), owner[3])


def _drafts(folder: PathLike) -> list[pathlib.Path]:
    return list(pathlib.Path(folder).glob(f".*{_ENDING}"))


def remove_drafts(folder: PathLike) -> None:
    """Remove the drafts of killed runs from a folder, those of other machines, too.

    Only for a folder into which no other machine writes: its draft would be removed, too.

    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> (folder / ".a.txt.x1y2z3.partial").mkdir()
    >>> remove_drafts(folder)
    >>> list(folder.iterdir())
    []
    """
    for draft in _drafts(folder):
        owner = _OWNER.search(draft.name)
        if owner is None or owner[1] != host_code() or _is_left(owner):
            _remove(draft)

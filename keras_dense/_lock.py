"""Locks that keep two runs out of one place, and the processes that hold them."""

import contextlib
import functools
import hashlib
import json
import os
import pathlib
import socket
import time
from collections.abc import Iterator
from typing import Any

from keras_dense._types import PathLike

# Locks of this process: the system would let it have one twice.
_HELD: set[str] = set()


def started(pid: int) -> str:
    """A number that tells a process from a later one with the same pid; "" where unknown."""
    try:
        # The name, in parentheses, may have spaces.
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


@functools.cache
def host() -> str:
    """The name of this machine."""
    return socket.gethostname()


def host_code() -> str:
    """The name of this machine as eight letters, for names of files."""
    return hashlib.blake2b(host().encode(), digest_size=4).hexdigest()


def is_gone(pid: int, since: str = "") -> bool:
    """Whether a process of this machine has ended.

    >>> is_gone(os.getpid()), is_gone(os.getpid(), "1")
    (False, True)
    """
    if os.name == "nt":  # There the signal 0 is Ctrl-C.
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False  # it belongs to another user
    now = started(pid)
    return bool(since and now and since != now)


def held_here(file: PathLike) -> bool:
    """Whether this process holds a lock."""
    return os.path.realpath(file) in _HELD


@contextlib.contextmanager
def lock(file: PathLike, place: PathLike | None = None) -> Iterator[None]:
    """Keep other runs out of a place for the body of a `with` statement.

    The lock is a file with the process and the machine that hold it. It is removed at the end. One
    that a killed process left behind is recognized: by the system where it has locks of files,
    otherwise by the number of the process. One of another machine, on a shared disk, counts as
    held.

    Args:
        file: the lock file. A missing folder is made.
        place: file or folder that it guards, for messages; default: the folder of `file`.

    Raises:
        BlockingIOError: if another run holds it, with what to do.
        OSError: if the file cannot be written.

    >>> import tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp(), ".lock")
    >>> with lock(file):
    ...     sorted(json.loads(file.read_text()))
    ['host', 'pid', 'since', 'started']
    >>> file.exists()
    False
    """
    file = pathlib.Path(file)
    place, key = file.parent if place is None else place, os.path.realpath(file)
    mine = {"pid": os.getpid(), "host": host(), "started": started(os.getpid())}
    mine["since"] = time.strftime("%Y-%m-%d %H:%M:%S")
    if key in _HELD:
        raise _refused(place, file, mine)
    file.parent.mkdir(parents=True, exist_ok=True)
    handle = _taken(file, place)
    _HELD.add(key)
    try:
        os.truncate(handle, 0)
        os.lseek(handle, 0, os.SEEK_SET)
        os.write(handle, json.dumps(mine).encode())
        yield
    finally:
        _HELD.discard(key)
        _removed(file, handle)


def _removed(file: pathlib.Path, handle: int) -> None:
    """Remove a lock file, and close it afterwards: then it might belong to another run."""
    if os.name == "nt":  # Open files cannot be removed there.
        os.close(handle)
        file.unlink(missing_ok=True)
        return
    try:
        file.unlink(missing_ok=True)
    finally:
        os.close(handle)


def _taken(file: pathlib.Path, place: PathLike) -> int:
    """A handle of the lock file, which no living run holds."""
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            before = _read(handle)
            if not _lock_file(handle, before) or _elsewhere(before):
                raise _refused(place, file, before)
            try:
                if os.stat(file).st_ino == os.fstat(handle).st_ino:
                    return handle
            except FileNotFoundError:
                pass  # its run ended in this moment
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _lock_file(handle: int, before: dict[str, Any]) -> bool:
    """Lock an open file by the system; where it has no such locks, ask for the process."""
    try:
        import fcntl
    except ImportError:
        return not before or is_gone(int(before["pid"]), before["started"])
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # A disk without locks.
        return not before or is_gone(int(before["pid"]), before["started"])
    return True


def _elsewhere(before: dict[str, Any]) -> bool:
    return bool(before) and before["host"] != host()


def _read(handle: int) -> dict[str, Any]:
    """The contents of a lock file; nothing if it has just been made, or a kill cut it."""
    try:
        os.lseek(handle, 0, os.SEEK_SET)
        found = json.loads(os.read(handle, 4096) or b"{}")
        return found if {"pid", "host", "started", "since"} <= set(found) else {}
    except (ValueError, TypeError):
        return {}


def _refused(place: PathLike, file: pathlib.Path, before: dict[str, Any]) -> BlockingIOError:
    who = "another run"
    if before:
        who += f" (process {before['pid']} on {before['host']}, since {before['since']})"
    hint = f"; if it is no longer running there, remove {str(file)!r}" if _elsewhere(before) else ""
    return BlockingIOError(
        f"{who} writes to {str(place)!r}. Wait for its end, or give another place{hint}"
    )

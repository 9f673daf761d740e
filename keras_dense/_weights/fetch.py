"""Downloads of published files into the cache of Keras.

A file gets its name when it is whole: it is downloaded under another one, its size, hash and
first bytes are compared, and then it is moved. A download that breaks off leaves nothing that a
later one could take for the file.
"""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import re
import socket
import tempfile
import time
import urllib.parse
import warnings
from collections.abc import Iterator, Sequence

import keras

from keras_dense._types import PathLike

FOLDER = "keras_dense"
_PART = ".part"
_DAY = 24 * 3600.0
# Seconds without a byte after which a connection counts as broken; urllib waits forever.
_PATIENCE = 60.0
# Sizes are published in rounded megabytes.
_ABOUT = 0.01


@dataclasses.dataclass(frozen=True)
class Remote:
    """A published file.

    Attributes:
        name: str, of the weights, for messages.
        urls: places to get it from, the best first.
        size: int, about how many bytes it has; `None` if that is unknown.
        hash: str of hex digits: the first of its SHA-256 (8 or more), or a whole MD5 (32). `None`
            if none is published.
        trusted: bool. A file with another hash is refused; with `False` it only causes a warning,
            where published hashes are known to be wrong at times.
        notice: str, printed with a download: terms that are not permissive.
        file: str, the name in the cache; default: that of the first URL.
        usage: str, a call that takes the path of a file instead, for messages; `{name}` and
            `{path}` are replaced.

    >>> Remote("a", ("https://example.org/x/net-1167a1af.pth?raw=1",)).file
    'net-1167a1af.pth'
    """

    name: str
    urls: Sequence[str]
    size: int | None = None
    hash: str | None = None
    trusted: bool = True
    notice: str | None = None
    file: str = ""
    usage: str = "kd.weights.pretrained({name}, path={path})"

    def __post_init__(self) -> None:
        if not self.file and self.urls:
            file = os.path.basename(urllib.parse.urlsplit(self.urls[0]).path)
            object.__setattr__(self, "file", urllib.parse.unquote(file))


def cache_folder() -> pathlib.Path:
    """The folder of downloaded weights: in `$KERAS_HOME`, or `~/.keras`."""
    home = pathlib.Path(os.environ.get("KERAS_HOME") or pathlib.Path.home() / ".keras")
    folder = home.expanduser() / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    # The same place to which `keras.utils.get_file` goes then.
    return folder if writable else pathlib.Path(tempfile.gettempdir(), ".keras", FOLDER)


def fetch(remote: Remote) -> pathlib.Path:
    """The path of a published file, which is downloaded unless it was before.

    `keras.utils.get_file` downloads; the variables `HTTP_PROXY` and `HTTPS_PROXY` of the
    environment count.

    Raises:
        ConnectionError: if no place has the file; says why for each, and how to pass a file.
    """
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / remote.file
    return path if _is_there(path, remote) else _download(remote, folder)


def _is_there(path: pathlib.Path, remote: Remote) -> bool:
    if not path.is_file():
        return False
    found = path.stat().st_size
    return found > 0 if remote.size is None else abs(found - remote.size) <= _ABOUT * remote.size


def _download(remote: Remote, folder: pathlib.Path) -> pathlib.Path:
    _remove_old_parts(folder, remote.file)
    reasons = []
    for url in remote.urls:
        # With a name of its own: two processes may download the same file.
        handle, part = tempfile.mkstemp(_PART, f".{remote.file[:80]}.", folder)
        os.close(handle)
        try:
            with _patience():
                keras.utils.get_file(
                    os.path.basename(part),
                    url,
                    cache_dir=folder.parent,
                    cache_subdir=folder.name,
                    force_download=True,
                )
            problem = check_file(part, remote)
            if problem is None:
                path = folder / remote.file
                os.replace(part, path)
                _note(remote, path)
                return path
        # Keras raises `Exception` itself; a broken connection raises many others.
        except Exception as error:
            problem = _reason(error)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.remove(part)
        reasons.append(f"  {url}: {problem}")
    raise ConnectionError(_failure(remote, folder, reasons))


def check_file(path: PathLike, remote: Remote) -> str | None:
    """The reason why a file is not the published one; `None` if it seems to be."""
    found = os.path.getsize(path)
    with open(path, "rb") as file:
        page = page_in(file.read(1024))
    if page is not None:
        return f"the answer is {page}, not the file"
    size = ""
    if remote.size is not None and abs(found - remote.size) > _ABOUT * remote.size:
        size = f"{found:,} bytes instead of about {remote.size:,}"
        size += ": truncated?" if found < remote.size else ""
    if remote.hash is not None:
        digest = digest_of(path, remote.hash)
        if digest != remote.hash.lower():
            size = size or f"it has {found:,} bytes, about as many as expected"
            problem = (
                f"its {_algorithm(remote.hash)} must begin with {remote.hash}, but begins with "
                f"{digest}; {size}"
            )
            if remote.trusted or "truncated" in size:
                return problem
            warnings.warn(
                f"The file of {remote.name!r} may be another one than published: {problem}",
                stacklevel=2,
            )
            return None
    return size or None


def page_in(head: bytes) -> str | None:
    """Description of a file by its first bytes, if it is text of a server instead of weights.

    >>> page_in(b"<!DOCTYPE html><title>404 Not Found</title>")
    "a web page ('404 Not Found')"
    """
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1024].lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")):
        title = re.search(rb"<title[^>]*>(.*?)</title>", head, re.DOTALL | re.IGNORECASE)
        text = title[1].decode("utf-8", "replace").strip() if title else ""
        return f"a web page ({text!r})" if text else "a web page"
    if start.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS"
    return None


def _algorithm(expected: str) -> str:
    return "MD5" if len(expected) == 32 else "SHA-256"


def digest_of(path: PathLike, expected: str) -> str:
    """The hash of a file, of the kind and to the length of an expected one."""
    digest = hashlib.new("md5" if len(expected) == 32 else "sha256", usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[: len(expected)]


def _remove_old_parts(folder: pathlib.Path, file: str) -> None:
    """Remove what killed downloads left, not what another process is writing."""
    for part in folder.glob(f".{glob_escape(file[:80])}.*{_PART}"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > _DAY:
                part.unlink()


def glob_escape(text: str) -> str:
    """A name as a pattern that matches itself.

    >>> glob_escape("a[1].pth")
    'a[[]1].pth'
    """
    return re.sub(r"([*?[])", r"[\1]", text)


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    if before is None:
        socket.setdefaulttimeout(_PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _reason(error: Exception) -> str:
    text = re.sub(r"^URL fetch failure on \S+: ", "", str(error).strip()) or type(error).__name__
    text = text.removeprefix("None -- ")
    if "certificate" in text.lower():
        text += " (an expired certificate, or one that this computer does not know)"
    return text


def _failure(remote: Remote, folder: pathlib.Path, reasons: list[str]) -> str:
    if not remote.urls:
        lines = [f"No place is known that has the file of {remote.name!r} for download."]
        where = "Pass a file that you have"
    else:
        lines = [f"The file of {remote.name!r} could not be downloaded:", *reasons]
        where = f"Get it in another way, such as with a browser from {remote.urls[0]}, and pass it"
    path = repr(f"…/{remote.file or 'file'}")
    lines.append(f"{where}: `{remote.usage.format(name=repr(remote.name), path=path)}`")
    if remote.urls:
        lines[-1] += f", or put it at {str(folder / remote.file)!r}."
        lines.append("Behind a proxy, set the variables HTTPS_PROXY and HTTP_PROXY.")
    return "\n".join(lines)


def _note(remote: Remote, path: pathlib.Path) -> None:
    """Print terms that are not permissive, and keep them beside the file."""
    if remote.notice:
        print(remote.notice)
        path.with_name(f"{path.name}.license.txt").write_text(f"{remote.notice}\n", "utf-8")

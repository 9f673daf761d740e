"""Archives in tar form with a checkpoint inside, such as those of TensorFlow's model zoos."""

import gzip
import pathlib
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable

from keras_dense._weights.formats.file import Broken, Contents, File

_CHECKPOINT = re.compile(r"(.+)\.(index|data-\d{5}-of-\d{5})")
_SINGLE = (".pb", ".tflite", ".h5", ".safetensors", ".pth", ".pt", ".caffemodel", ".npz")


def fits(file: File) -> bool:
    """Check for the first bytes of a compressed archive, or the mark of a plain one."""
    return file.head[257:262] == b"ustar" or file.head[:2] == b"\x1f\x8b"


def contents(file: File, everything: bool, read: Callable[..., Contents]) -> Contents:
    """Contents of the one checkpoint, or else of the one other file of weights, in an archive."""
    with tempfile.TemporaryDirectory() as folder:
        name = _unpack(file, pathlib.Path(folder))
        try:
            return read(pathlib.Path(folder, name), everything)
        except (Broken, FileNotFoundError) as error:
            fault = "lacks its values" if isinstance(error, FileNotFoundError) else str(error)
            raise Broken(f"is an archive, and {name!r} within {fault}") from error


def _unpack(file: File, folder: pathlib.Path) -> str:
    """Write the chosen files to a folder; the name of the first."""
    try:
        with tarfile.open(file.path) as archive:
            chosen = _chosen([member for member in archive.getmembers() if member.isfile()])
            for member in chosen:
                source = archive.extractfile(member)
                if source is None:
                    raise Broken(f"is damaged: {member.name[:200]!r} has no content")
                # Only the last part of a name is used: others could lead out of the folder.
                with source, open(folder / _last(member), "wb") as target:
                    shutil.copyfileobj(source, target, 2**20)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise Broken(
            f"is a truncated or damaged archive, or a file that gzip compressed ({error}). "
            "Download it again, or unpack it"
        ) from error
    return _last(chosen[0])


def _last(member: tarfile.TarInfo) -> str:
    return member.name.replace("\\", "/").rpartition("/")[2]


def _chosen(members: list[tarfile.TarInfo]) -> list[tarfile.TarInfo]:
    """The files of the one checkpoint, its index first; or one other file."""
    names = [member.name for member in members]
    if {"pickle", "storages", "tensors"} <= {name.removeprefix("./") for name in names}:
        raise Broken(
            "is a checkpoint of PyTorch before 0.1.10 (tar). Save it again: "
            "torch.save(torch.load(path), new_path)"
        )
    indices = [member for member in members if member.name.endswith(".index")]
    if len(indices) == 1:
        prefix = indices[0].name.removesuffix(".index")
        matches = ((member, _CHECKPOINT.fullmatch(member.name)) for member in members)
        parts = [member for member, match in matches if match and match[1] == prefix]
        return indices + [member for member in parts if member is not indices[0]]
    singles = [member for member in members if member.name.endswith(_SINGLE)]
    if not indices and len(singles) == 1:
        return singles
    listed = ", ".join(repr(name[:80]) for name in names[:8]) + (", …" if len(names) > 8 else "")
    raise Broken(
        f"is an archive with {len(indices) or len(singles) or 'no'} checkpoints "
        f"({listed or 'empty'}). Unpack it and give the path of one"
    )

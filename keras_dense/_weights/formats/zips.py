"""Archives in zip form: PyTorch's, NumPy's and Keras', told apart by their members."""

import zipfile
import zlib

import numpy as np

from keras_dense._weights.formats import hdf5, pytorch
from keras_dense._weights.formats.file import Broken, Contents, File, native


def fits(file: File) -> bool:
    """Check for the first bytes of a zip file."""
    return file.head[:4] in (b"PK\x03\x04", b"PK\x05\x06")


def contents(file: File, everything: bool) -> Contents:
    """Contents of a zip file of one of the known kinds."""
    try:
        with zipfile.ZipFile(file.path) as archive:
            return _contents(file, archive, everything)
    except NotImplementedError as error:  # Of Python's zipfile.
        raise Broken(
            f"is a zip file that Python cannot open ({error}). Pack its files again, uncompressed"
        ) from error
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise Broken(
            f"is a truncated or damaged zip file of {file.size} bytes ({error}), as an interrupted "
            "download leaves it. Download it again"
        ) from error


def _contents(file: File, archive: zipfile.ZipFile, everything: bool) -> Contents:
    members = archive.infolist()
    names = [member.filename for member in members]
    if any(member.flag_bits & 1 for member in members):
        raise Broken("is an encrypted zip file. Decrypt it first")
    if pytorch.is_checkpoint(names):
        return pytorch.contents_of_zip(file, archive, everything)
    if names and all(name.endswith(".npy") for name in names):
        return _numpy(file)
    if "model.weights.h5" in names:
        with archive.open("model.weights.h5") as member:
            return hdf5.contents_of(member, "Keras (.keras)", everything)
    listed = ", ".join(repr(name[:60]) for name in names[:4]) + (", …" if len(names) > 4 else "")
    raise Broken(
        f"is a zip file of something else, with {listed or 'nothing in it'}. If weights are among "
        "these, unpack it and give the path of that file"
    )


def _numpy(file: File) -> Contents:
    with np.load(file.path, allow_pickle=False) as archive:
        try:
            found = {name: archive[name] for name in archive.files}
        except ValueError as error:
            raise Broken(f"has an array that cannot be read ({error})") from error
    tensors = {name: x for name, x in found.items() if x.dtype.kind in "biufc"}
    meta = {name: x.tolist() for name, x in found.items() if name not in tensors}
    return Contents({name: native(x) for name, x in tensors.items()}, meta, "NumPy (.npz)")

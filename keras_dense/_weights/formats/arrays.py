"""Single arrays of NumPy (`.npy`), and dicts of arrays that `np.save` pickled into one."""

import io

import numpy as np

from keras_dense._weights.formats import pickled, pickles, state
from keras_dense._weights.formats.file import Broken, Contents, File, native
from keras_dense._weights.formats.pickled import Ndarray


def fits(file: File) -> bool:
    """Check for the first bytes."""
    return file.head[:6] == b"\x93NUMPY"


def contents(file: File, everything: bool) -> Contents:
    """Contents of the file; a single array has the name "arr_0", as in an `.npz`."""
    header = io.BytesIO(file.map[:65536])
    version = np.lib.format.read_magic(header)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise Broken(f"has version {version} of the format of NumPy, which is not known")
    _, _, dtype = read(header)
    if dtype.hasobject:
        root, _ = pickles.load(file.map, header.tell())
        arrays: state.Arrays = {Ndarray: pickled.array}
        return state.contents(root, arrays, "NumPy (.npy of a dict)", everything)
    if dtype.kind not in "biufc":
        raise Broken(f"is an array of NumPy of {dtype}, which is not one of numbers")
    return Contents({"arr_0": native(np.load(file.path, allow_pickle=False))}, {}, "NumPy (.npy)")

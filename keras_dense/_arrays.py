"""Arrays at the door: whatever is like an array becomes one of NumPy, exactly, or is refused.

Everything that takes data outside a graph (loaders, transforms, heads, `predict_*`, pictures) calls
one of these once, where the value enters, so that nothing behind the door has to ask again.
"""

import numbers

import numpy as np


def as_array(value, name):
    """`value` as a NumPy array of numbers or booleans.

    Takes NumPy arrays and scalars, tensors of TensorFlow, JAX and torch (on any device, with or
    without gradients), pictures of Pillow in a mode of numbers or RGB, and nested lists.

    Args:
        value: what came.
        name: str, what it is called, for messages.

    Returns:
        NumPy array; `value` itself if it is one.

    Raises:
        TypeError: if it is no array of numbers: text, `None`, objects, ragged lists, complex
            numbers, pictures that hold places in a palette.

    >>> as_array([[1, 2]], "labels").shape
    (1, 2)
    """
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"`{name}` must say itself what is unknown: fill masked arrays first "
            "(`array.filled(255)`). Received: a numpy.ma.MaskedArray"
        )
    if not isinstance(value, np.ndarray):
        value = _from_object(value, name)
    if value.dtype.kind not in "biuf":
        raise TypeError(
            f"`{name}` must be an array of numbers. Received: an array of {value.dtype}"
        )
    return value


def _from_object(value, name):
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if value is None or isinstance(value, (str, bytes, dict, set)):
        raise TypeError(f"`{name}` must be an array of numbers. Received: {value!r:.80}")
    if kind.startswith("PIL.") and hasattr(value, "mode"):
        if value.mode not in ("1", "L", "RGB", "I", "I;16", "F"):
            raise TypeError(
                f"`{name}` must hold numbers or RGB. Received: a picture of mode {value.mode!r}; "
                "convert it first"
            )
        return np.array(value)
    if kind.startswith("torch.") and hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            value = value.float()
        return value.numpy()
    try:
        found = np.asarray(value)
    except ValueError as error:
        raise TypeError(
            f"`{name}` must be an array of numbers, all rows of one length ({error})"
        ) from error
    if found.dtype.name == "bfloat16":
        found = found.astype("float32")
    if found.dtype.kind == "O":
        raise TypeError(f"`{name}` must be an array of numbers. Received: {kind}")
    return found


def as_labels(value, name):
    """`value` as an array of whole numbers in 32 bits.

    Args:
        value: anything `as_array` takes; floats are taken if they hold whole numbers.
        name: str, what it is called, for messages.

    Returns:
        NumPy array, int32, or the given one if it is of a smaller kind of integers.

    Raises:
        TypeError: if it is no array of numbers.
        ValueError: if a number is not whole, not finite, or needs more than 32 bits.

    >>> as_labels([[0.0, 1.0]], "labels").tolist()
    [[0, 1]]
    """
    array = as_array(value, name)
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind == "f":
        whole = np.isfinite(array) & (array == np.rint(array))
        if not whole.all():
            wrong = array[~whole]
            raise ValueError(
                f"`{name}` must be whole numbers. Received: {array.dtype} with "
                f"{wrong.flat[0]:.6g} ({wrong.size} of {array.size} numbers are not whole)"
            )
    if np.can_cast(array.dtype, np.int32):
        return array
    limits = np.iinfo(np.int32)
    wrong = array[(array < limits.min) | (array > limits.max)]
    if wrong.size:
        raise ValueError(
            f"`{name}` must be whole numbers of at most 32 bits. Received: {wrong.flat[0]}"
        )
    return array.astype(np.int32)


def as_image(value, name):
    """`value` as an RGB image of bytes.

    Args:
        value: anything `as_array` takes, `(H, W, 3)`, uint8.
        name: str, what it is called, for messages.

    Returns:
        uint8 `(H, W, 3)`.

    Raises:
        TypeError: if it is no array of numbers.
        ValueError: if it is of another shape, or not uint8.

    >>> as_image(np.zeros((2, 2, 3)), "image")
    Traceback (most recent call last):
    ValueError: `image` must be uint8, 0 to 255. Received: float64 from 0 to 0
    """
    array = as_array(value, name)
    if array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(f"`{name}` must have shape (height, width, 3). Received: {array.shape}")
    if array.dtype != np.uint8:
        span = f" from {array.min():.6g} to {array.max():.6g}" if array.size else ""
        raise ValueError(f"`{name}` must be uint8, 0 to 255. Received: {array.dtype}{span}")
    return array


def as_integer(value, name, low=None):
    """`value` as an int: Python's or NumPy's, an array or tensor of no axis, no bool.

    >>> as_integer(np.int64(3), "num_classes", low=1)
    3
    """
    bound = "" if low is None else f" >= {low}"
    if not isinstance(value, (bool, np.bool_, str)) and np.ndim(value) == 0:
        value = value.item() if hasattr(value, "item") else value
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise ValueError(f"`{name}` must be an integer{bound}. Received: {name}={value!r}")
    if low is not None and value < low:
        raise ValueError(f"`{name}` must be an integer{bound}. Received: {name}={value!r}")
    return int(value)

"""Conversion of array-like values to NumPy arrays: exact, or refused with an error.

Everything that takes data outside a graph (loaders, transforms, heads, `predict_*`, images) calls
one of these once, where the value enters. Code behind that point does not check again.
"""

from typing import Any

import numpy as np

from keras_dense._types import Array, ArrayLike


def as_array(value: ArrayLike, name: str) -> Array:
    """Convert `value` to a NumPy array of numbers or booleans.

    Takes NumPy arrays and scalars, tensors of TensorFlow, JAX and torch (on any device, with or
    without gradients), Pillow images in a mode of numbers or RGB, and nested lists.

    Args:
        value: array-like.
        name: str, the name of the value in messages.

    Returns:
        NumPy array; `value` itself if it is one.

    Raises:
        TypeError: if it is not an array of numbers: text, `None`, objects, ragged lists, complex
            numbers, images with a palette.

    >>> as_array([[1, 2]], "labels").shape
    (1, 2)
    """
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"`{name}` must not be a masked array: fill unknown values first "
            "(`array.filled(255)`). Received: a numpy.ma.MaskedArray"
        )
    if not isinstance(value, np.ndarray):
        value = _from_object(value, name)
    if value.dtype.kind not in "biuf":
        raise TypeError(
            f"`{name}` must be an array of numbers. Received: an array of {value.dtype}"
        )
    return value


def _from_object(value: Any, name: str) -> Array:
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if value is None or isinstance(value, (str, bytes, dict, set)):
        raise TypeError(f"`{name}` must be an array of numbers. Received: {value!r:.80}")
    if kind.startswith("PIL.") and hasattr(value, "mode"):
        if value.mode not in ("1", "L", "RGB", "I", "I;16", "F"):
            raise TypeError(
                f"`{name}` must contain numbers or RGB. Received: an image of mode {value.mode!r}; "
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
            f"`{name}` must be an array of numbers with rows of equal length ({error})"
        ) from error
    if found.dtype.name == "bfloat16":
        found = found.astype("float32")
    if found.dtype.kind == "O":
        raise TypeError(f"`{name}` must be an array of numbers. Received: {kind}")
    return found


def as_labels(value: ArrayLike, name: str) -> Array:
    """Convert `value` to an array of integers of at most 32 bits.

    Args:
        value: anything that `as_array` takes; floats only if they are whole numbers.
        name: str, the name of the value in messages.

    Returns:
        NumPy array: int32, or `value` itself if its integers are smaller.

    Raises:
        TypeError: if it is not an array of numbers.
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


def as_image(value: ArrayLike, name: str) -> Array:
    """Convert `value` to an RGB image in uint8.

    Args:
        value: anything that `as_array` takes, uint8 `(H, W, 3)`.
        name: str, the name of the value in messages.

    Returns:
        NumPy array, uint8 `(H, W, 3)`.

    Raises:
        TypeError: if it is not an array of numbers.
        ValueError: if the shape is another, or the type is not uint8.

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


def as_pixels(
    value: ArrayLike,
    name: str,
    channels: int | None = None,
    batch: bool = False,
    value_range: tuple[float, float] | None = (0, 255),
) -> Array:
    """Convert `value` to an image that a network takes: uint8, or floats in the same range.

    Args:
        value: anything that `as_array` takes, `(H, W, C)`: uint8, floats, or other integers.
        name: str, the name of the value in messages.
        channels: int, or `None` for any number.
        batch: bool, whether it is a batch, `(B, H, W, C)`.
        value_range: pair `(low, high)`, the range of all values; `None` for any.

    Returns:
        NumPy array, uint8 or float32.

    Raises:
        TypeError: if it is not an array of numbers.
        ValueError: if the shape is another, the array is empty, a value is NaN, infinite or outside
            `value_range`, or floats are from 0 to 1 where the range is 0 to 255.

    >>> as_pixels(np.full((2, 2, 3), 0.5), "image")
    Traceback (most recent call last):
    ValueError: `image` must be from 0 to 255. Received: float64 from 0.5 to 0.5; multiply by 255
    """
    array = as_array(value, name)
    check_pixel_shape(array.shape, name, channels, batch)
    return as_pixel_values(array, name, value_range)


def check_pixel_shape(
    shape: tuple[int, ...], name: str, channels: int | None = None, batch: bool = False
) -> None:
    """Raise a ValueError unless `shape` is that of an image, or of a batch of images.

    >>> check_pixel_shape((3, 64, 48), "image", channels=3)
    Traceback (most recent call last):
    ValueError: `image` must have shape (height, width, 3). Received: (3, 64, 48); channels come \
last
    """
    wanted = ("batch",) * batch + ("height", "width", channels or "channels")
    fits = len(shape) == len(wanted) and 0 not in shape and channels in (None, shape[-1])
    if fits:
        return
    hint = ""
    if len(shape) == len(wanted) and 0 not in shape and shape[-3] == channels:
        hint = "; channels come last"
    elif not batch and len(shape) == 4:
        hint = "; give the images of a batch one by one"
    elif batch and len(shape) == 3:
        hint = "; a single image needs one more axis, image[None]"
    elif len(shape) == len(wanted) - 1:
        hint = "; an image without channels needs a channel axis, image[..., None]"
    if batch:
        raise ValueError(
            f"`{name}` must be (B, H, W, {channels or 'C'}). Received shape: {tuple(shape)}{hint}"
        )
    raise ValueError(
        f"`{name}` must have shape ({', '.join(map(str, wanted))}). Received: {tuple(shape)}{hint}"
    )


def as_pixel_values(
    array: Array, name: str, value_range: tuple[float, float] | None = (0, 255)
) -> Array:
    """Convert an array to uint8 or float32 within a range; see `as_pixels`."""
    kind = array.dtype.kind
    if array.dtype == np.uint8 and value_range in ((0, 255), None):
        return array
    if kind == "b":
        raise ValueError(
            f"`{name}` must be uint8 or floats. Received: bool; convert a mask to an image with "
            "array.astype('uint8') * 255"
        )
    low, high = (array.min(), array.max()) if array.size else (0, 0)
    if not (np.isfinite(low) and np.isfinite(high)):
        wrong = array.size - int(np.isfinite(array).sum())
        raise ValueError(
            f"`{name}` must be finite numbers. Received: {array.dtype} with NaN or infinity in "
            f"{wrong} of {array.size} values"
        )
    if value_range is not None:
        least, most = value_range
        dark = kind == "f" and (least, most) == (0, 255) and 0 < high <= 1
        if low < least or high > most or dark:
            remedy = "multiply by 255" if dark and low >= 0 else "scale them to that range"
            raise ValueError(
                f"`{name}` must be from {least:g} to {most:g}. Received: {array.dtype} from "
                f"{low:.6g} to {high:.6g}; {remedy}"
            )
    if kind in "iu" and value_range == (0, 255):
        return array.astype(np.uint8)
    return array.astype(np.float32)

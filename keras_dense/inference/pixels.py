"""Large images: arrays are checked at once, others window by window while they are read."""

import hashlib

import numpy as np

from keras_dense._arrays import as_array, as_pixel_values, check_pixel_shape
from keras_dense.inference.geotiff import GeoTiff

_ARRAYS = ("torch", "jax", "jaxlib", "tensorflow", "PIL", "builtins", "keras")


class Pixels:
    """An image that is read by windows, as uint8 or float32, with a digest of what was read.

    Args:
        image: `(H, W, C)`: an array, list, tensor, or image; or anything with `shape` and
            `dtype` that is read by `image[y0:y1, x0:x1]`.
        channels: int, the number of channels of the model, or `None`.
        value_range: see `keras_dense._arrays.as_pixels`.

    Raises:
        TypeError: for an image of another type.
        ValueError: for another shape, or an array with values out of range.

    Attributes:
        shape, dtype: of the image.
        given: the image, or the array of it.
    """

    def __init__(self, image, channels=None, value_range=(0, 255)):
        self.value_range = value_range
        by_windows = all(hasattr(image, name) for name in ("shape", "dtype", "__getitem__"))
        if not by_windows or type(image).__module__.partition(".")[0] in _ARRAYS:
            image = as_array(image, "image")
        self.shape = tuple(int(n) for n in image.shape)
        check_pixel_shape(self.shape, "image", channels)
        try:
            self.dtype = np.dtype(image.dtype)
        except TypeError:
            self.dtype = np.dtype("O")
        if self.dtype.kind not in "biuf" or (self.dtype.kind == "f" and self.dtype.itemsize > 8):
            raise TypeError(
                f"`image` must be uint8 or floats from 0 to 255. Received: {image.dtype}"
            )
        self.given = image
        # A memory map is read once, like all large images.
        whole = isinstance(image, np.ndarray) and not isinstance(image, np.memmap)
        self._source = as_pixel_values(image, "image", value_range) if whole else image
        self._checked = whole or (self.dtype == np.uint8 and value_range in ((0, 255), None))
        self._brightest = 0.0
        self._seen = hashlib.blake2b(f"{self.shape} {self.dtype}".encode(), digest_size=16)

    def read(self, rows, columns):
        """Pixels, uint8 or float32, and a mask of the known ones, `None` if all are.

        Args:
            rows, columns: slices.

        Raises:
            ValueError: if values are out of range; the message gives the window.
        """
        key = rows, columns
        if isinstance(self._source, GeoTiff):
            values, known = self._source.read(key)
        else:
            values, known = np.asarray(self._source[key]), None
        if not self._checked:
            values = self._checked_values(values, rows, columns)
        self._seen.update(np.ascontiguousarray(values).data)
        if known is not None:
            self._seen.update(np.packbits(known).data)
        return values, known

    def seen(self):
        """Digest of all windows read so far."""
        return self._seen.hexdigest()

    def finish(self):
        """Raise a ValueError if a float image was from 0 to 1 everywhere."""
        wrong = self.value_range == (0, 255) and self.dtype.kind == "f" and not self._checked
        if wrong and 0 < self._brightest <= 1:
            raise ValueError(self._too_dark())

    def _too_dark(self):
        return (
            f"`image` must be from 0 to 255. Received: {self.dtype} to {self._brightest:.6g}; "
            "multiply by 255"
        )

    def _checked_values(self, values, rows, columns):
        where = f"image[{rows.start}:{rows.stop}, {columns.start}:{columns.stop}]"
        brightest = float(values.max(initial=0))
        self._brightest = max(self._brightest, brightest)
        dark = self.dtype.kind == "f" and 0 < brightest <= 1 and values.min() >= 0
        if not (dark and self.value_range == (0, 255)):
            return as_pixel_values(values, where, self.value_range)
        # One dark window is no proof; see `finish`.
        return values.astype("float32")


def checked_range(value_range):
    """`(low, high)` as floats, or `None`."""
    if value_range is None:
        return None
    try:
        low, high = (float(x) for x in value_range)
    except (TypeError, ValueError):
        low = high = 0.0
    if not low < high:
        raise ValueError(
            "`value_range` must be (low, high), or None for any values. Received: "
            f"value_range={value_range!r}"
        )
    return low, high

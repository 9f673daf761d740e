"""Facts of single files: an image, and the mask that belongs to it."""

import hashlib
from typing import Any

import numpy as np

from keras_dense._optional import require
from keras_dense._types import Array, PathLike
from keras_dense.datasets.files import orientation_of
from keras_dense.datasets.masks import VOC_BORDER
from keras_dense.datasets.stored import Stored, stored, turned

MANY = 4096  # different numbers or colors; more are no classes
_CODE = (1 << 16, 1 << 8, 1)


def image_facts(path: PathLike, size: tuple[int, int] | None = None) -> dict[str, Any]:
    """Read an image: size, bits, channels, hashes.

    Args:
        path: path of the image.
        size: `(height, width)` of its mask, which decides whether a photograph is turned.

    Returns:
        A dict with "size", "bits", "channels", "gray", "lossy", "low" and "high" (0.5 and 99.5
        percentiles of more than 8 bits), "hash" (of all pixels), "look" (256 bits of a perceptual
        hash, uint8 `(32,)`).

    Raises:
        OSError, ValueError: if the file cannot be read.
    """
    found = stored(path)
    numbers = found.colors if found.model == "palette" else found.numbers
    if found.alpha:
        numbers = numbers[..., :-1]
    numbers = turned(numbers, orientation_of(found, None, size))
    planes = numbers[..., None] if numbers.ndim == 2 else numbers
    gray = planes.shape[2] == 1 or bool((planes[..., :1] == planes[..., 1:]).all())
    sparse = planes[:: max(1, planes.shape[0] // 256), :: max(1, planes.shape[1] // 256)]
    deep = planes.dtype != np.uint8
    low, high = np.percentile(sparse, (0.5, 99.5)) if deep else (0.0, 255.0)
    return {
        "size": (int(planes.shape[0]), int(planes.shape[1])),
        "bits": found.bits if found.kind == "uint" else f"{found.bits} ({found.kind})",
        "channels": int(planes.shape[2]),
        "gray": gray,
        "lossy": bool(found.lossy),
        "low": float(low),
        "high": float(high),
        "hash": hashlib.blake2b(np.ascontiguousarray(numbers), digest_size=16).hexdigest(),
        "look": _look(planes),
    }


def _look(planes: Array) -> Array:
    """A perceptual hash: whether each of 16 x 16 cells is lighter than the one to its left."""
    image = require("PIL.Image", extra="examples")
    if planes.dtype == np.uint8 and planes.shape[2] in (1, 3):
        pixels = np.ascontiguousarray(planes[..., 0] if planes.shape[2] == 1 else planes)
        light = image.fromarray(pixels).convert("L").convert("F")
    else:
        light = image.fromarray(planes[..., :3].astype("float32").mean(-1))
    cells = np.asarray(light.resize((17, 16), image.Resampling.BOX), "float32")
    return np.packbits(cells[:, 1:] > cells[:, :-1])


def mask_facts(path: PathLike, palette: Array | None = None) -> dict[str, Any]:
    """Read a mask without any opinion on what it means.

    Args:
        path: path of the mask.
        palette: int array `(n, 3)`; masks of colors are read as the nearest of these.

    Returns:
        A dict with "size", "bits", "lossy", "model" ("labels", "gray RGB", "colors"), "palette"
        (colors of the numbers in the file, or `None`), "numbers" (dict from each number, or color
        as `r << 16 | g << 8 | b`, to its pixels; `None` if there are more than `MANY`), "upper" and
        "left" (dicts of the pixels in these halves), "edges" (dict of the pixels at which a number
        ends), "between" (share of pixels that are neither black nor white), "white" (whether there
        is any), "parts" (dict from numbers to connected components, if they can be objects).

    Raises:
        OSError, ValueError: if the file cannot be read as whole numbers.
    """
    found = stored(path)
    numbers, model = plain_numbers(found)
    if not np.issubdtype(numbers.dtype, np.integer):
        if not (numbers == np.floor(numbers)).all():
            raise ValueError(f"{path}: has numbers that are not whole, such as {numbers.max():.6g}")
        numbers = numbers.astype(np.int64)
    numbers = turned(numbers, orientation_of(found, None))
    gray = numbers if model != "colors" else (numbers >> 8) & 255
    fact: dict[str, Any] = {
        "size": (int(numbers.shape[0]), int(numbers.shape[1])),
        "bits": found.bits,
        "lossy": found.lossy,
        "model": model,
        "palette": found.palette.tolist() if found.model == "palette" else None,
        "between": float(((gray > 24) & (gray < 231)).mean()),
        "white": bool((gray >= 231).any()),
        "nearest": False,
    }
    if model == "colors" and palette is not None:
        numbers, fact["nearest"] = _nearest(numbers, palette)
    elif found.lossy and model != "colors":
        numbers = np.where(numbers > 127, 255, 0)
    values, places = np.unique(numbers, return_inverse=True)
    if len(values) > MANY:
        return {**fact, "numbers": None, "some": values[:: max(1, len(values) // 8)].tolist()}
    places = places.reshape(numbers.shape)
    height, width = numbers.shape
    fact["numbers"] = _counted(values, places)
    fact["upper"] = _counted(values, places[: max(height // 2, 1)])
    fact["left"] = _counted(values, places[:, : max(width // 2, 1)])
    fact["edges"] = _edges(values, places)
    # Only 1 to n can be numbers of objects.
    if model != "colors" and len(values) > 2 and 0 <= values[0] and values[-1] < 1.3 * len(values):
        fact["parts"] = _parts(values, places)
    return fact


def plain_numbers(found: Stored) -> tuple[Array, str]:
    """Numbers of a mask file as `(H, W)`, and what they are: labels, or codes of colors."""
    numbers = found.numbers
    if found.alpha:
        numbers = numbers[..., :-1]
    if numbers.ndim == 3 and numbers.shape[2] == 1:
        numbers = numbers[..., 0]
    if numbers.ndim == 2:
        return numbers, "labels"
    if numbers.shape[2] != 3:
        raise ValueError(
            f"{found.path}: must have one number or a color for each pixel. Received: "
            f"{numbers.shape[2]} channels"
        )
    if (numbers == numbers[..., :1]).all():
        return numbers[..., 0], "gray RGB"
    if numbers.max(initial=0) > 255:
        raise ValueError(f"{found.path}: must have colors of 8 bits. Received: {numbers.dtype}")
    return (numbers.astype(np.int64) * _CODE).sum(-1), "colors"


def color_of(code: int) -> tuple[int, int, int]:
    """Return the color of a code.

    >>> color_of(0x804000)
    (128, 64, 0)
    """
    return code >> 16 & 255, code >> 8 & 255, code & 255


def _nearest(codes: Array, palette: Array) -> tuple[Array, bool]:
    """Codes of the nearest colors of a palette, and whether any was replaced."""
    values, places = np.unique(codes, return_inverse=True)
    known = (palette.astype(np.int64) * _CODE).sum(-1)
    border = (np.array(VOC_BORDER) * _CODE).sum(-1)
    exact = np.isin(values, [*known, *border])
    channels = np.stack([values >> 16 & 255, values >> 8 & 255, values & 255], -1)
    gaps = np.square(channels[:, None] - palette.astype(np.int64)[None]).sum(-1)
    chosen = np.where(exact, values, known[gaps.argmin(1)])
    return chosen[places].reshape(codes.shape), not bool(exact.all())


def _counted(values: Array, places: Array) -> dict[int, int]:
    counts = np.bincount(places.ravel(), minlength=len(values))
    return {int(v): int(n) for v, n in zip(values, counts, strict=True)}


def _edges(values: Array, places: Array) -> dict[int, int]:
    """Pixels of each number beside another number, to the right or below, of either side."""
    edge = np.zeros(places.shape, bool)
    across, down = places[:, 1:] != places[:, :-1], places[1:] != places[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    return _counted(values, places[edge])


def _parts(values: Array, places: Array) -> dict[int, int]:
    """Connected components of each number but the first; empty without SciPy."""
    try:
        ndimage = require("scipy.ndimage", extra="scipy")
    except ImportError:
        return {}
    found = {}
    for place, box in enumerate(ndimage.find_objects(places), 1):
        if box is not None and place < len(values):
            _, count = ndimage.label(places[box] == place)
            found[int(values[place])] = int(count)
    return found

"""Colors of predictions, errors and unknown pixels, for heads and `kd.plot`."""

from collections.abc import Iterator

import numpy as np

from keras_dense import _check
from keras_dense._arrays import as_array
from keras_dense._types import Array, ArrayLike

RIGHT, WRONG = (64, 160, 110), (224, 58, 44)
# Nine even steps of matplotlib's "magma" map (CC0, Nathaniel Smith and Stefan van der Walt).
MAGMA = np.array(
    [
        (0, 0, 4),
        (29, 17, 71),
        (81, 18, 124),
        (131, 38, 129),
        (183, 55, 121),
        (231, 82, 99),
        (252, 137, 97),
        (254, 196, 136),
        (252, 253, 191),
    ],
    float,
)


def magma(share: ArrayLike) -> Array:
    """Shares from 0 to 1 as colors from black to light yellow, in perceptually even steps.

    >>> magma(np.array([0.0, 1.0])).tolist()
    [[0, 0, 4], [252, 253, 191]]
    """
    place = np.asarray(share, float) * (len(MAGMA) - 1)
    channels = [np.interp(place, np.arange(len(MAGMA)), MAGMA[:, c]) for c in range(3)]
    return (np.stack(channels, -1) + 0.5).astype(np.uint8)


def hatch(height: int, width: int) -> Array:
    """The pattern of unknown and void pixels: gray with diagonal stripes, uint8 `(H, W, 3)`.

    >>> hatch(2, 3).shape
    (2, 3, 3)
    """
    stripe = np.add.outer(np.arange(8), np.arange(8)) % 8 < 3
    cell = np.where(stripe[..., None], np.uint8(120), np.uint8(165)) * np.ones(3, np.uint8)
    return np.tile(cell, (height // 8 + 1, width // 8 + 1, 1))[:height, :width]


def hatch_unknown(drawing: Array, known: Array) -> Array:
    """A drawing `(H, W, 3)`, hatched where `known` `(H, W)` is false.

    >>> hatch_unknown(np.zeros((1, 2, 3), "uint8"), np.array([[True, False]])).tolist()
    [[[0, 0, 0], [120, 120, 120]]]
    """
    if known.all():
        return drawing.astype(np.uint8)
    return np.where(known[..., None], drawing, hatch(*known.shape)).astype(np.uint8)


def label_colors(labels: Array, palette: Array) -> Array:
    """Labels `(H, W)` in the colors of a palette; labels without a color are hatched.

    >>> label_colors(np.array([[1, 255]]), np.array([[0, 0, 0], [9, 8, 7]], "uint8")).tolist()
    [[[9, 8, 7], [120, 120, 120]]]
    """
    drawing = np.empty((*labels.shape, palette.shape[-1]), np.uint8)
    for rows in bands(len(labels)):
        known = (labels[rows] >= 0) & (labels[rows] < len(palette))
        drawing[rows] = hatch_unknown(palette[np.where(known, labels[rows], 0)], known)
    return drawing


def bands(height: int, rows: int = 256) -> Iterator[slice]:
    """The rows of an image, some at a time: copies of a whole large image take much memory.

    `rows` is a multiple of 8, the period of the hatching.

    >>> list(bands(300))
    [slice(0, 256, None), slice(256, 512, None)]
    """
    for first in range(0, height, rows):
        yield slice(first, first + rows)


def right_and_wrong(wrong: Array, known: Array, image: Array | None = None) -> Array:
    """Right pixels in green, wrong ones in red, unknown ones hatched.

    Args:
        wrong, known: bool `(H, W)`.
        image: `(H, W, 3)`, 0 to 255; its brightness shows through if given.

    Returns:
        uint8 `(H, W, 3)`.

    >>> right_and_wrong(np.array([[False, True]]), np.array([[True, True]])).tolist()
    [[[64, 160, 110], [224, 58, 44]]]
    """
    drawing = np.where(wrong[..., None], np.uint8(WRONG), np.uint8(RIGHT))
    if image is not None:
        gray = image.astype(float) @ (0.299, 0.587, 0.114)
        drawing = (drawing * (0.45 + 0.55 * gray[..., None] / 255)).astype(np.uint8)
    return hatch_unknown(drawing, known)


def error_colors(share: Array, known: Array) -> Array:
    """Errors as colors: 0 is black, 1 or more is light yellow, unknown pixels are hatched.

    Args:
        share: `(H, W)`, the error as a share of the one shown brightest. NaN counts as infinite:
            a prediction that is not a number could not be worse.
        known: bool `(H, W)`.

    Returns:
        uint8 `(H, W, 3)`.

    >>> error_colors(np.array([[0.0, 2.0]]), np.array([[True, True]])).tolist()
    [[[0, 0, 4], [252, 253, 191]]]
    """
    share = np.nan_to_num(np.where(known, share, 0), nan=1.0, posinf=1.0).clip(0, 1)
    return hatch_unknown(magma(share), known)


def number_colors(numbers: Array) -> Array:
    """A color for each number, far apart for neighbors in the order; 0 is black.

    The hue moves on by the golden ratio and every third color is darker, so a color depends on the
    number alone.

    Args:
        numbers: ints >= 0 `(H, W)`.

    Returns:
        uint8 `(H, W, 3)`.

    >>> number_colors(np.array([[0, 1, 2]])).tolist()
    [[[0, 0, 0], [69, 116, 230], [124, 175, 52]]]
    """
    names, ranks = np.unique(numbers, return_inverse=True)
    hue = names.astype("float64") * 0.6180339887498949 % 1
    # Of a hue, the share of each channel: 1 near the channel's own, 0 opposite.
    share = np.abs((hue[:, None] * 6 + np.array([0, 4, 2])) % 6 - 3) - 1
    value = np.where(names % 3 == 2, 175, 230)[:, None]
    colors = np.rint(value * (0.3 + 0.7 * share.clip(0, 1))).astype(np.uint8)
    colors[names == 0] = 0
    return colors[ranks].reshape(*numbers.shape, 3)


def outlines(numbers: Array) -> Array:
    """The pixels of objects that have a neighbor outside, among four, within the image.

    >>> outlines(np.array([[0, 5, 5, 5, 6]])).tolist()
    [[False, True, False, True, True]]
    """
    found = np.zeros(numbers.shape, bool)
    for axis in (0, 1):
        differs = np.diff(numbers.astype("int64"), axis=axis) != 0
        for side in ((0, 1), (1, 0)):
            found |= np.pad(differs, [side if a == axis else (0, 0) for a in (0, 1)])
    return found & (numbers > 0)


def normal_colors(vectors: Array) -> Array:
    """Normals as colors: red to the right, green up, blue towards the camera.

    Args:
        vectors: float `(H, W, 3)`, x right, y down, z forward. Vectors that are shorter than 0.5
            or not finite are hatched.

    Returns:
        uint8 `(H, W, 3)`.

    >>> normal_colors(np.array([[[0.0, 0.0, -1.0]]])).tolist()
    [[[128, 128, 255]]]
    """
    length = np.linalg.norm(vectors, axis=-1)
    with np.errstate(invalid="ignore"):
        known = (length >= 0.5) & np.isfinite(length)
    unit = np.where(known[..., None], vectors, 0) / np.where(known, length, 1)[..., None]
    return hatch_unknown((127.5 + 127.5 * unit * (1, -1, -1) + 0.5).astype(np.uint8), known)


def depth(meters: ArrayLike, *, low: float | None = None, high: float | None = None) -> Array:
    """Depth in a perceptually even scale (magma): near is bright, far is dark.

    The scale is logarithmic: equal steps of color are equal ratios of distance.

    Args:
        meters: `(H, W)` or `(H, W, 1)`. Depth that is not finite or <= 0 is hatched.
        low: float > 0, meters shown brightest; default: the 2nd percentile.
        high: float >= low, meters shown darkest; default: the 98th percentile.

    Returns:
        uint8 `(H, W, 3)`.

    Raises:
        ValueError: if the shape is wrong, or not `0 < low <= high`.

    Example:

    >>> depth([[1.0, 4.0]], low=1, high=4).tolist()
    [[[252, 253, 191], [0, 0, 4]]]
    """
    meters = as_meters(meters, "meters")
    known = np.isfinite(meters) & (meters > 0)
    if not known.any():
        return hatch(*meters.shape)
    low, high = depth_limits(meters, low=low, high=high)
    clipped = np.clip(np.where(known, meters, high), low, high)
    share = np.log(high / clipped) / max(np.log(high / low), 1e-12)
    return hatch_unknown(magma(share), known)


def as_meters(value: ArrayLike, name: str) -> Array:
    """Depth as float64 `(H, W)`; `(H, W, 1)` is accepted.

    >>> as_meters([[[2], [3]]], "depth").tolist()
    [[2.0, 3.0]]
    """
    meters: Array = as_array(value, name).astype(float)
    if meters.ndim == 3 and meters.shape[2] == 1:
        meters = meters[..., 0]
    if meters.ndim != 2:
        raise ValueError(
            f"`{name}` must have shape (height, width) or (height, width, 1). "
            f"Received: {meters.shape}"
        )
    return meters


def depth_limits(
    meters: ArrayLike, *, low: float | None = None, high: float | None = None
) -> tuple[float, float]:
    """Meters that `depth` shows brightest and darkest, for `color_bar` or further drawings.

    Args:
        meters: array of any shape. Depth that is not finite or <= 0 is left out.
        low: float > 0; default: the 2nd percentile.
        high: float >= low; default: the 98th percentile.

    Returns:
        `(low, high)`.

    Raises:
        ValueError: if not `0 < low <= high`, or nothing is known and a limit is not given.

    Example:

    >>> depth_limits([0.0, 1.0, 3.0], low=0.5)
    (0.5, 2.96)
    """
    meters = as_array(meters, "meters").astype(float)
    known = meters[np.isfinite(meters) & (meters > 0)]
    if not known.size and (low is None or high is None):
        raise ValueError("`low` and `high` must be given where no depth is known.")
    least = _check.number(np.percentile(known, 2) if low is None else low, "low", above=0)
    if high is None:
        return least, float(max(np.percentile(known, 98), least))
    return least, _check.number(high, "high", low=least)


def relative_error(truth: ArrayLike, meters: ArrayLike, *, worst: float = 0.5) -> Array:
    """Error of depth as a share of the true depth: black is right, light yellow is wrong.

    Args:
        truth: `(H, W)` or `(H, W, 1)`. Depth that is not finite or <= 0 is hatched.
        meters: `(H, W)` or `(H, W, 1)`, the prediction.
        worst: float > 0, the error shown brightest.

    Returns:
        uint8 `(H, W, 3)`.

    >>> relative_error([[2.0, 2.0]], [[2.0, 3.0]]).tolist()
    [[[0, 0, 4], [252, 253, 191]]]
    """
    truth, meters = as_meters(truth, "truth"), as_meters(meters, "meters")
    known = np.isfinite(truth) & (truth > 0)
    error = np.abs(meters - truth) / np.where(known, truth, 1)
    return error_colors(error / worst, known)

"""Predictions as colours: labels, errors, depth, normals. Unknown pixels are hatched grey."""

import numpy as np

from keras_dense.plot.arguments import class_map, colors, rgb

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


def hatch(height, width):
    """What stands where nothing is known: grey with diagonal stripes, uint8 `(H, W, 3)`.

    >>> hatch(2, 3).shape
    (2, 3, 3)
    """
    y, x = np.mgrid[:height, :width]
    stripe = (x + y) % 8 < 3
    return np.where(stripe[..., None], np.uint8(120), np.uint8(165)) * np.ones(3, np.uint8)


def colorize(labels, palette, ignore_class=255):
    """Labels in their colours.

    Args:
        labels: int `(H, W)`.
        palette: `(classes, 3)`.
        ignore_class: int or `None`; such pixels are hatched.

    Returns:
        uint8 `(H, W, 3)`.

    Raises:
        ValueError: if a shape is wrong or a label has no colour.

    Example:

    >>> colorize([[0, 1]], [[0, 0, 0], [9, 8, 7]]).tolist()
    [[[0, 0, 0], [9, 8, 7]]]
    """
    labels, palette = class_map(labels, "colorize"), colors(palette, "colorize")
    void = np.zeros(labels.shape, bool) if ignore_class is None else labels == ignore_class
    strange = labels[~void & ((labels < 0) | (labels >= len(palette)))]
    if len(strange):
        raise ValueError(
            f"colorize: label {strange[0]} has no colour: the palette has {len(palette)}, "
            f"0 to {len(palette) - 1}, and ignore_class is {ignore_class}"
        )
    picture = palette[np.where(void, 0, labels)]
    return np.where(void[..., None], hatch(*labels.shape), picture)


def error_map(truth, prediction, image=None, ignore_class=255):
    """Where a prediction is right (green) and wrong (red); void is hatched.

    Args:
        truth: int `(H, W)`.
        prediction: int `(H, W)`.
        image: `(H, W, 3)`, shimmers through if given.
        ignore_class: int or `None`.

    Returns:
        uint8 `(H, W, 3)`.

    Raises:
        ValueError: if shapes differ.

    Example:

    >>> error_map([[0, 1]], [[0, 0]]).tolist()
    [[[64, 160, 110], [224, 58, 44]]]
    """
    truth = class_map(truth, "error_map")
    prediction = class_map(prediction, "error_map", truth.shape)
    picture = np.where((truth == prediction)[..., None], np.uint8(RIGHT), np.uint8(WRONG))
    if image is not None:
        grey = rgb(image, "error_map").astype(float) @ (0.299, 0.587, 0.114)
        if grey.shape != truth.shape:
            raise ValueError(
                f"error_map: image {grey.shape} and labels {truth.shape} differ in size"
            )
        picture = (picture * (0.45 + 0.55 * grey[..., None] / 255)).astype(np.uint8)
    if ignore_class is not None:
        void = (truth == ignore_class)[..., None]
        picture = np.where(void, hatch(*truth.shape), picture)
    return picture


def depth(metres, low=None, high=None):
    """Depth in a perceptually even scale (magma): near is bright, far is dark.

    The scale is logarithmic: equal steps of colour are equal ratios of distance.

    Args:
        metres: `(H, W)` or `(H, W, 1)`; what is not finite or <= 0 is hatched.
        low: float, metres shown brightest; the 2nd percentile unless given.
        high: float, metres shown darkest; the 98th percentile unless given.

    Returns:
        uint8 `(H, W, 3)`.

    Raises:
        ValueError: if the shape is wrong or not `0 < low <= high`.

    Example:

    >>> depth([[1.0, 4.0]], low=1, high=4).tolist()
    [[[252, 253, 191], [0, 0, 4]]]
    """
    metres = np.asarray(metres, float)
    if metres.ndim == 3 and metres.shape[2] == 1:
        metres = metres[..., 0]
    if metres.ndim != 2:
        raise ValueError(
            f"depth: must have shape (height, width) or (height, width, 1). "
            f"Received: {metres.shape}"
        )
    known = np.isfinite(metres) & (metres > 0)
    if not known.any():
        return hatch(*metres.shape)
    low, high = depth_limits(metres, low, high)
    clipped = np.clip(np.where(known, metres, high), low, high)
    share = np.log(high / clipped) / max(np.log(high / low), 1e-12)
    place = share * (len(MAGMA) - 1)
    channels = [np.interp(place, np.arange(len(MAGMA)), MAGMA[:, c]) for c in range(3)]
    picture = (np.stack(channels, -1) + 0.5).astype(np.uint8)
    return np.where(known[..., None], picture, hatch(*metres.shape))


def depth_limits(metres, low=None, high=None):
    """The metres that `depth` shows brightest and darkest, for `color_bar` or further pictures.

    Args:
        metres: any shape; what is not finite or <= 0 is left out.
        low: float, the smaller one; the 2nd percentile unless given.
        high: float, the larger one; the 98th percentile unless given.

    Returns:
        `(low, high)`.

    Raises:
        ValueError: if not `0 < low <= high`, or nothing is known and a limit is not given.

    Example:

    >>> depth_limits([0.0, 1.0, 3.0], low=0.5)
    (0.5, 2.96)
    """
    metres = np.asarray(metres, float)
    known = metres[np.isfinite(metres) & (metres > 0)]
    if not known.size and None in (low, high):
        raise ValueError("depth_limits: no depth is known; give low and high")
    low = float(np.percentile(known, 2) if low is None else low)
    high = float(max(np.percentile(known, 98), low) if high is None else high)
    if not 0 < low <= high:
        raise ValueError(f"depth: must have 0 < low <= high. Received: low={low}, high={high}")
    return low, high


def normals(vectors):
    """Normals as colours: red to the right, green up, blue towards the camera.

    Args:
        vectors: `(H, W, 3)`, x right, y down, z forward; shorter than 0.5 is hatched.

    Returns:
        uint8 `(H, W, 3)`.

    Raises:
        ValueError: if the shape is wrong.

    Example:

    >>> normals([[[0.0, 0.0, -1.0]]]).tolist()
    [[[128, 128, 255]]]
    """
    vectors = np.asarray(vectors, float)
    if vectors.ndim != 3 or vectors.shape[2] != 3:
        raise ValueError(f"normals: must have shape (height, width, 3). Received: {vectors.shape}")
    length = np.linalg.norm(vectors, axis=2, keepdims=True)
    known = length >= 0.5
    unit = vectors / np.where(known, length, 1)
    picture = (127.5 + 127.5 * unit * (1, -1, -1) + 0.5).astype(np.uint8)
    return np.where(known, picture, hatch(*vectors.shape[:2]))

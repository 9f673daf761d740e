"""What heads draw with: a scale of colors, gray stripes where nothing is known, wrong pixels.

NumPy alone; `kd.plot` draws with the same.
"""

import numpy as np

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


def magma(share):
    """Shares from 0 to 1 as colors from black to light yellow, in perceptually even steps.

    >>> magma(np.array([0.0, 1.0])).tolist()
    [[0, 0, 4], [252, 253, 191]]
    """
    place = np.asarray(share, float) * (len(MAGMA) - 1)
    channels = [np.interp(place, np.arange(len(MAGMA)), MAGMA[:, c]) for c in range(3)]
    return (np.stack(channels, -1) + 0.5).astype(np.uint8)


def hatch(height, width):
    """What stands where nothing is known: gray with diagonal stripes, uint8 `(H, W, 3)`.

    >>> hatch(2, 3).shape
    (2, 3, 3)
    """
    y, x = np.mgrid[:height, :width]
    stripe = (x + y) % 8 < 3
    return np.where(stripe[..., None], np.uint8(120), np.uint8(165)) * np.ones(3, np.uint8)


def depth(meters, low=None, high=None):
    """Depth in a perceptually even scale (magma): near is bright, far is dark.

    The scale is logarithmic: equal steps of color are equal ratios of distance.

    Args:
        meters: `(H, W)` or `(H, W, 1)`; what is not finite or <= 0 is hatched.
        low: float, meters shown brightest; the 2nd percentile unless given.
        high: float, meters shown darkest; the 98th percentile unless given.

    Returns:
        uint8 `(H, W, 3)`.

    Raises:
        ValueError: if the shape is wrong or not `0 < low <= high`.

    Example:

    >>> depth([[1.0, 4.0]], low=1, high=4).tolist()
    [[[252, 253, 191], [0, 0, 4]]]
    """
    meters = np.asarray(meters, float)
    if meters.ndim == 3 and meters.shape[2] == 1:
        meters = meters[..., 0]
    if meters.ndim != 2:
        raise ValueError(
            f"depth: must have shape (height, width) or (height, width, 1). "
            f"Received: {meters.shape}"
        )
    known = np.isfinite(meters) & (meters > 0)
    if not known.any():
        return hatch(*meters.shape)
    low, high = depth_limits(meters, low, high)
    clipped = np.clip(np.where(known, meters, high), low, high)
    share = np.log(high / clipped) / max(np.log(high / low), 1e-12)
    return np.where(known[..., None], magma(share), hatch(*meters.shape))


def depth_limits(meters, low=None, high=None):
    """The meters that `depth` shows brightest and darkest, for `color_bar` or further pictures.

    Args:
        meters: any shape; what is not finite or <= 0 is left out.
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
    meters = np.asarray(meters, float)
    known = meters[np.isfinite(meters) & (meters > 0)]
    if not known.size and None in (low, high):
        raise ValueError("depth_limits: no depth is known; give low and high")
    low = float(np.percentile(known, 2) if low is None else low)
    high = float(max(np.percentile(known, 98), low) if high is None else high)
    if not 0 < low <= high:
        raise ValueError(f"depth: must have 0 < low <= high. Received: low={low}, high={high}")
    return low, high


def relative_error(truth, meters, worst=0.5):
    """How wrong depth is, as a share of the true one: black is right, light yellow `worst` or more.

    Args:
        truth: `(H, W)` or `(H, W, 1)`; what is not finite or <= 0 is hatched.
        meters: `(H, W)` or `(H, W, 1)`.
        worst: float, the error shown brightest.

    Returns:
        uint8 `(H, W, 3)`.

    >>> relative_error([[2.0, 2.0]], [[2.0, 3.0]]).tolist()
    [[[0, 0, 4], [252, 253, 191]]]
    """
    truth, meters = np.asarray(truth, float), np.asarray(meters, float)
    truth, meters = (x[..., 0] if x.ndim == 3 else x for x in (truth, meters))
    known = np.isfinite(truth) & (truth > 0)
    error = np.abs(meters - truth) / np.where(known, truth, 1)
    error = np.where(known, error, 0)
    # A prediction that is no number is as wrong as can be.
    share = np.nan_to_num(error / worst, nan=1.0, posinf=1.0).clip(0, 1)
    return np.where(known[..., None], magma(share), hatch(*truth.shape))


def wrong_pixels(wrong, unknown, image):
    """Wrong pixels in red, right ones as the image, dimmed, unknown ones in gray.

    Args:
        wrong, unknown: bool `(H, W)`.
        image: uint8 `(H, W, 3)`, or `None` for black.

    Returns:
        uint8 `(H, W, 3)`.

    >>> wrong_pixels(np.array([[True, False]]), np.array([[False, True]]), None).tolist()
    [[[230, 40, 40], [160, 160, 160]]]
    """
    gray = np.zeros((*wrong.shape, 1)) if image is None else image.mean(-1, keepdims=True)
    picture = (0.5 * gray.repeat(3, -1)).astype("uint8")
    picture[wrong] = (230, 40, 40)
    picture[unknown] = (160, 160, 160)
    return picture

"""sRGB and CIE Lab: lightness and two axes of color.

RGB is 0–255, as in every image here; L is 0–100, a (green to red) lies in −86.2…98.2 and b (blue to
yellow) in −107.9…94.5 for the colors of sRGB. White is D65, 2° observer; the constants are
scikit-image's. Everything is computed in float32, for inputs of any dtype; gradients are finite.
"""

from typing import Any

import numpy as np
from keras import ops

from keras_dense._types import ArrayLike, Tensor
from keras_dense.ops.image import crop_like, upsample_bilinear

_TO_XYZ = np.array(
    [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ]
)
_FROM_XYZ = np.linalg.inv(_TO_XYZ)
_WHITE = (0.95047, 1.0, 1.08883)


def _channels(x):
    return [x[..., n] for n in range(3)]


def _mixed(matrix, channels):
    # Sums instead of a matrix product, which some accelerators compute in less than float32.
    return [sum(float(m) * c for m, c in zip(row, channels, strict=True)) for row in matrix]


def _linear(srgb, xp):
    """Light from sRGB 0–1."""
    bright = srgb > 0.04045
    curve = ((xp.where(bright, srgb, 1.0) + 0.055) / 1.055) ** 2.4
    return xp.where(bright, curve, srgb / 12.92)


def _gamma(light, xp):
    """sRGB 0–1 from light."""
    bright = light > 0.0031308
    curve = 1.055 * xp.where(bright, light, 1.0) ** (1 / 2.4) - 0.055
    return xp.where(bright, curve, 12.92 * light)


def _root(t, xp):
    bright = t > 0.008856
    return xp.where(bright, xp.where(bright, t, 1.0) ** (1 / 3), 7.787 * t + 16 / 116)


def to_lab(rgb: ArrayLike, xp: Any = np) -> Any:
    """`rgb_to_lab` with `numpy` (in the precision of the input) or `keras.ops`.

    >>> to_lab(np.array([255.0, 255.0, 255.0])).round(2).tolist()
    [100.0, -0.0, 0.0]
    """
    light = [_linear(c / 255.0, xp) for c in _channels(rgb)]
    xyz = [c / white for c, white in zip(_mixed(_TO_XYZ, light), _WHITE, strict=True)]
    x, y, z = (_root(c, xp) for c in xyz)
    return xp.stack([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)], axis=-1)


def rgb_to_lab(rgb: ArrayLike) -> Tensor:
    """sRGB to Lab: `skimage.color.rgb2lab(rgb / 255)`.

    Args:
        rgb: `(…, 3)`, 0–255, of any dtype.

    Returns:
        float32 `(…, 3)`: L 0–100, a, b.

    >>> [round(float(x), 2) for x in rgb_to_lab(np.array([255, 0, 0], "uint8"))]
    [53.24, 80.09, 67.2]
    """
    return to_lab(ops.cast(rgb, "float32"), ops)


def lab_to_rgb(lab: ArrayLike, *, clip: bool = True) -> Tensor:
    """Lab to sRGB: `255 * skimage.color.lab2rgb(lab)`.

    Many Lab colors are outside of sRGB (see `in_gamut`).

    Args:
        lab: `(…, 3)`: L 0–100, a, b.
        clip: bool; colors outside of sRGB are clipped to 0–255, as in scikit-image. Otherwise
            values below 0 and above 255 show how far outside a color is.

    Returns:
        float32 `(…, 3)`; not rounded.

    >>> [round(float(x), 1) for x in lab_to_rgb(np.array([53.24, 80.09, 67.2]))]
    [255.0, 0.0, 0.0]
    """
    lightness, a, b = _channels(ops.cast(lab, "float32"))
    y = (lightness + 16.0) / 116.0
    x, z = a / 500.0 + y, y - b / 200.0
    if clip:
        z = ops.maximum(z, 0.0)
    xyz = [
        white * ops.where(f > 0.2068966, f * f * f, (f - 16.0 / 116.0) / 7.787)
        for f, white in zip((x, y, z), _WHITE, strict=True)
    ]
    rgb = 255.0 * ops.stack([_gamma(c, ops) for c in _mixed(_FROM_XYZ, xyz)], axis=-1)
    return ops.clip(rgb, 0.0, 255.0) if clip else rgb


def in_gamut(lab: ArrayLike, *, tolerance: float = 0.05) -> Tensor:
    """A test for Lab colors that sRGB can represent.

    Args:
        lab: `(…, 3)`: L 0–100, a, b.
        tolerance: float >= 0, how far outside of 0–255 a channel may be; the default allows for the
            rounding of float32.

    Returns:
        bool `(…)`.

    >>> ops.convert_to_numpy(in_gamut(np.array([[50.0, 0, 0], [50, 100, -100]]))).tolist()
    [True, False]
    """
    rgb = lab_to_rgb(lab, clip=False)
    inside = ops.logical_and(rgb >= -tolerance, rgb <= 255.0 + tolerance)
    return ops.all(inside, axis=-1)


def lightness(rgb: ArrayLike) -> Tensor:
    """L of sRGB colors 0–255: `(…, 3)` → float32 `(…, 1)`, 0–100.

    >>> round(float(lightness(np.array([255, 0, 0]))[0]), 2)
    53.24
    """
    return 116.0 * _root(_luminance(rgb), ops) - 16.0


def gray(rgb: ArrayLike) -> Tensor:
    """The gray of the same lightness: `(…, 3)` → float32 `(…, 3)`, both 0–255.

    >>> [round(float(x), 1) for x in gray(np.array([255, 0, 0]))]
    [127.1, 127.1, 127.1]
    """
    value = 255.0 * _gamma(_luminance(rgb), ops)
    return ops.concatenate([value] * 3, axis=-1)


def _luminance(rgb):
    """Y, `(…, 1)`."""
    light = [_linear(c / 255.0, ops) for c in _channels(ops.cast(rgb, "float32"))]
    return ops.expand_dims(_mixed(_TO_XYZ[1:2], light)[0], -1)


def full_size(ab: ArrayLike, image: ArrayLike, stride: int = 4) -> Tensor:
    """Colors predicted at a fraction of an image's size, upsampled to it: half-pixel bilinear.

    Args:
        ab: `(B, ceil(H / stride), ceil(W / stride), 2)`.
        image: `(B, H, W, C)`; only its size matters.
        stride: int >= 1.

    >>> tuple(full_size(np.zeros((1, 2, 3, 2)), np.zeros((1, 7, 9, 3))).shape)
    (1, 7, 9, 2)
    """
    return crop_like(upsample_bilinear(ops.cast(ab, "float32"), (stride, stride)), image)


def recolor(image: ArrayLike, ab: ArrayLike) -> Tensor:
    """An image with its lightness and other colors, clipped to sRGB.

    Args:
        image: `(…, 3)`, RGB 0–255; only its lightness matters.
        ab: `(…, 2)`.

    Returns:
        float32 `(…, 3)`, RGB 0–255.

    >>> [round(float(x), 1) for x in recolor(np.array([255, 0, 0]), np.zeros(2))]
    [127.1, 127.1, 127.1]
    """
    return lab_to_rgb(ops.concatenate([lightness(image), ops.cast(ab, "float32")], axis=-1))

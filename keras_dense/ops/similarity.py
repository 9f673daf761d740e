"""Structural similarity of images."""

import numpy as np
from keras import ops

from keras_dense._types import ArrayLike, Tensor
from keras_dense.ops.image import at_least, pad_map

_SIZE, _SIGMA = 11, 1.5


def structural_similarity(
    x: ArrayLike, y: ArrayLike, *, known: ArrayLike | None = None
) -> tuple[Tensor, Tensor]:
    """SSIM of every window of 11×11 pixels, with Gaussian weights of sigma 1.5.

    If all pixels are known, the mean over windows is the one of the paper and of scikit-image
    (`gaussian_weights=True, sigma=1.5, use_sample_covariance=False`).

    Args:
        x, y: images `(B, H, W, C)`, 0–1, finite.
        known: `(B, H, W, 1)`, 0 where a pixel is unknown, or `None`.

    Returns:
        float32 `(B, h, w, 1)`, the mean over channels, and bool `(B, h, w, 1)`, true where all
        pixels of a window are known, which may be nowhere. h is H - 10, but at least 1.

    Reference: Wang et al., "Image Quality Assessment: From Error Visibility to Structural
    Similarity", TIP 2004, equation 13.

    >>> x = np.random.default_rng(0).random((1, 12, 11, 3))
    >>> value, whole = structural_similarity(x, x)
    >>> tuple(value.shape), [round(float(v), 5) for v in value[0, :, 0, 0]]
    ((1, 2, 1, 1), [1.0, 1.0])
    """
    x, y = ops.cast(x, "float32") - 0.5, ops.cast(y, "float32") - 0.5  # more digits around 0
    channels = x.shape[-1]
    known = ops.ones_like(x[..., :1]) if known is None else ops.cast(known, "float32")
    stacked = ops.concatenate([x, y, x * x + y * y, x * y, known], axis=-1)
    bottom, right = (at_least(_SIZE - n, 0) for n in ops.shape(x)[1:3])
    stacked = pad_map(stacked, (0, bottom), (0, right))
    # The weighted sum of unknown pixels is exactly 0 if all pixels of a window are known.
    stacked = ops.concatenate([stacked[..., :-1], 1.0 - stacked[..., -1:]], axis=-1)
    taps = np.exp(-0.5 * ((np.arange(_SIZE) - _SIZE // 2) / _SIGMA) ** 2)
    taps = ops.convert_to_tensor(taps / taps.sum(), "float32")
    for shape in ((_SIZE, 1, 1, 1), (1, _SIZE, 1, 1)):
        kernel = ops.repeat(ops.reshape(taps, shape), stacked.shape[-1], axis=2)
        stacked = ops.depthwise_conv(stacked, kernel, padding="valid", data_format="channels_last")
    mean_x, mean_y, squares, product = ops.split(stacked[..., :-1], 4, axis=-1)
    variances = squares - mean_x**2 - mean_y**2
    covariance = product - mean_x * mean_y
    mean_x, mean_y = mean_x + 0.5, mean_y + 0.5
    c1, c2 = 0.01**2, 0.03**2
    value = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    value = value / ((mean_x**2 + mean_y**2 + c1) * (variances + c2))
    return ops.sum(value, axis=-1, keepdims=True) / channels, ops.equal(stacked[..., -1:], 0.0)

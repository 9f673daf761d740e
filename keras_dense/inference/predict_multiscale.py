"""Predictions of several versions of an image, averaged."""

import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_dense import _check
from keras_dense._arrays import as_pixels
from keras_dense._types import Array, ArrayLike
from keras_dense.heads.model_heads import Given, heads_of
from keras_dense.inference.pixels import checked_range


def predict_multiscale(
    model: keras.Model,
    images: ArrayLike,
    heads: Given = None,
    *,
    scales: Sequence[float] = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75),
    flip: bool = True,
    batch_size: int = 8,
    value_range: tuple[float, float] | None = (0, 255),
) -> Array | dict[str, Array]:
    """Predict images at several scales, and mirrored, and average.

    Each head decides what is averaged: probabilities for `Segmentation`, log depth (a zoom makes
    things seem nearer, which is put right), normals (those of mirrored images mirrored back),
    distributions of colors for `Colorization`. Versions are resized by antialiased bilinear
    interpolation, as images are in training, and their predictions bilinearly.

    Args:
        model: a model of any builder, or another one with heads.
        images: `(B, H, W, C)`, uint8 or floats, 0–255.
        heads: its heads; default: those that the model carries.
        scales: numbers > 0; 1 is the image as it is.
        flip: whether each version is predicted mirrored left to right, too.
        batch_size: int, images that go through the network together.
        value_range: `(low, high)` in which all pixels must be; `None` for a model of one's own
            that takes other numbers.

    Returns:
        What the heads decode from, float32 arrays of the structure and sizes of the model's own
        prediction: give them to `head.decode`, or to a metric. For `Segmentation` that are the
        logarithms of the mean probabilities (log-odds for binary and multilabel). Of a single
        version at scale 1 it is the model's prediction as it is.

    Raises:
        TypeError: for images that are no array.
        ValueError: for images of another shape or with values out of range (NaN, 0 to 1 in place
            of 0 to 255), no scales, scales that are not above 0, or a model that predicts NaN.

    Reference: Chen et al., "DeepLab", TPAMI 2018, section 4.1.

    >>> import keras
    >>> import keras_dense as kd
    >>> model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(5, 1)])
    >>> images = np.zeros((1, 33, 47, 3), "uint8")
    >>> head = kd.heads.Segmentation(5)
    >>> prediction = predict_multiscale(model, images, head, scales=(0.5, 1.0))
    >>> tuple(head.decode(prediction).shape)
    (1, 33, 47)
    """
    heads = heads_of(model, heads)
    value_range = checked_range(value_range)
    images = as_pixels(images, "images", batch=True, value_range=value_range)
    scales, batch_size = _checked_scales(scales), _check.integer(batch_size, "batch_size", low=1)
    batches = [images[i : i + batch_size] for i in range(0, len(images), batch_size)]
    parts = [_mean(model, batch, heads, scales, flip) for batch in batches]
    return heads.map(lambda _, head, *p: np.concatenate(p), *parts)


def _checked_scales(scales: Sequence[float]) -> tuple[float, ...]:
    listed = tuple(scales) if np.iterable(scales) and not isinstance(scales, str) else ()
    try:
        found = tuple(_check.number(scale, "scales", above=0) for scale in listed)
    except ValueError:
        found = ()
    if not found:
        raise _check.fail("scales", "numbers > 0", scales)
    return found


def _number(key, prediction):
    """The prediction as an array, or an error where it is none."""
    found = ops.convert_to_numpy(prediction)
    lost = np.isnan(found).any(-1)
    if lost.any():
        what = f" of {key!r}" if key else ""
        raise ValueError(
            f"`model` predicts NaN{what} at {100 * lost.mean():.3g} % of the pixels: are its "
            "weights finite?"
        )
    return found


def _mean(model, images, heads, scales, flip):
    """The mean over all versions of a batch."""
    if scales == (1,) and not flip:
        found = model.predict_on_batch(images)
        return heads.map(lambda key, head, p: _number(key, p), found)
    # Whole cells of the coarsest prediction: those of a mirrored image must lie on the others.
    cell = math.lcm(*(head.stride for head in heads.values()))
    old = images.shape[1:3]
    padding = [(0, 0), *((0, -n % cell) for n in old), (0, 0)]
    images = np.pad(images, padding, "edge") if cell > 1 else images
    size = images.shape[1:3]
    sums, count = None, len(scales) * (2 if flip else 1)

    for scale in scales:
        new = tuple(max(cell, round(n * scale / cell) * cell) for n in size)
        zoom = math.sqrt(new[0] / size[0] * new[1] / size[1])
        version = images if new == size else _resized(images, new)

        def upright(key, head, prediction, mirrored, zoom=zoom):
            """Numbers to average, at the size of the image."""
            x = head.flipped(prediction) if mirrored else ops.convert_to_tensor(prediction)
            x = head.to_mean(head.rescaled(x, zoom))
            target = tuple(n // head.stride for n in size)
            if tuple(x.shape[1:3]) != target:
                x = ops.image.resize(x, target, "bilinear", data_format="channels_last")
            return _number(key, x)

        for mirrored in (False, True) if flip else (False,):
            given = version[:, :, ::-1] if mirrored else version
            found = model.predict_on_batch(np.ascontiguousarray(given))
            found = heads.map(lambda k, head, p, m=mirrored: upright(k, head, p, m), found)
            if sums is None:
                sums = found
            else:
                sums = heads.map(lambda _, head, a, b: a + b, sums, found)

    def mean(_, head, x):
        height, width = (math.ceil(n / head.stride) for n in old)
        x = np.ascontiguousarray(x[:, :height, :width]) / count
        return ops.convert_to_numpy(head.from_mean(ops.convert_to_tensor(x)))

    return heads.map(mean, sums)


def _resized(images, size):
    """Images at another size, in their own dtype: bytes, or floats."""
    pixels = ops.image.resize(
        np.asarray(images, "float32"), size, "bilinear", antialias=True, data_format="channels_last"
    )
    pixels = ops.convert_to_numpy(pixels)
    if np.issubdtype(images.dtype, np.integer):
        pixels = np.rint(pixels).clip(0, 255)
    return pixels.astype(images.dtype)

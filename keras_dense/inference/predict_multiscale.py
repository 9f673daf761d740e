"""Predictions of several versions of an image, averaged."""

import math
import numbers

import numpy as np
from keras import ops

from keras_dense.heads.heads import as_heads, map_heads


def predict_multiscale(
    model,
    images,
    heads,
    *,
    scales=(0.5, 0.75, 1.0, 1.25, 1.5, 1.75),
    flip=True,
    batch_size=8,
):
    """Predict images at several scales, and mirrored, and average.

    What is averaged is a head's own: probabilities for `Segmentation`, log depth (a zoom makes
    things seem nearer, which is put right), normals (those of mirrored images mirrored back),
    distributions of colours for `Colorization`. Versions are resized by antialiased bilinear
    interpolation, as images are in training, and their predictions bilinearly.

    Args:
        model: a model with the heads' outputs.
        images: `(B, H, W, C)`, 0–255.
        heads: the head, or the dict of heads, that it was built with.
        scales: numbers > 0; 1 is the image as it is.
        flip: whether each version is predicted mirrored left to right, too.
        batch_size: int, images that go through the network together.

    Returns:
        What the heads decode from, float32 arrays of the structure and sizes of the model's own
        prediction: give them to `head.decode`, or to a metric. For `Segmentation` that are the
        logarithms of the mean probabilities (log-odds for binary and multilabel). Of a single
        version at scale 1 it is the model's prediction as it is.

    Raises:
        ValueError: for images of another shape, no scales, or scales that are not above 0.

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
    heads, images = as_heads(heads), np.asarray(images)
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(f"`images` must be (B, H, W, C). Received: shape {images.shape}")
    scales = tuple(scales)
    if not scales or not all(
        isinstance(s, numbers.Real) and not isinstance(s, bool) and 0 < s < math.inf for s in scales
    ):
        raise ValueError(f"`scales` must be numbers above 0. Received: scales={scales!r}")
    batches = [images[i : i + batch_size] for i in range(0, len(images), batch_size)]
    parts = [_mean(model, batch, heads, scales, flip) for batch in batches]
    return map_heads(lambda _, head, *p: np.concatenate(p), heads, *parts)


def _mean(model, images, heads, scales, flip):
    """The mean over all versions of a batch."""
    if scales == (1,) and not flip:
        found = model.predict_on_batch(images)
        return map_heads(lambda _, head, p: ops.convert_to_numpy(p), heads, found)
    # Whole cells of the coarsest prediction: those of a mirrored image must lie on the others.
    listed = heads.values() if isinstance(heads, dict) else [heads]
    cell = math.lcm(*(getattr(head, "stride", 1) for head in listed))
    old = images.shape[1:3]
    padding = [(0, 0), *((0, -n % cell) for n in old), (0, 0)]
    images = np.pad(images, padding, "edge") if cell > 1 else images
    size = images.shape[1:3]
    sums, count = None, len(scales) * (2 if flip else 1)

    for scale in scales:
        new = tuple(max(cell, round(n * scale / cell) * cell) for n in size)
        zoom = math.sqrt(new[0] / size[0] * new[1] / size[1])
        version = images if new == size else _resized(images, new)

        def upright(head, prediction, mirrored, zoom=zoom):
            """What is averaged, at the size of the image."""
            x = head.flipped(prediction) if mirrored else ops.convert_to_tensor(prediction)
            x = head.to_mean(head.rescaled(x, zoom))
            stride = getattr(head, "stride", 1)
            target = tuple(n // stride for n in size)
            if tuple(x.shape[1:3]) != target:
                x = ops.image.resize(x, target, "bilinear", data_format="channels_last")
            return ops.convert_to_numpy(x)

        for mirrored in (False, True) if flip else (False,):
            given = version[:, :, ::-1] if mirrored else version
            found = model.predict_on_batch(np.ascontiguousarray(given))
            found = map_heads(lambda _, head, p, m=mirrored: upright(head, p, m), heads, found)
            if sums is None:
                sums = found
            else:
                sums = map_heads(lambda _, head, a, b: a + b, heads, sums, found)

    def mean(_, head, x):
        height, width = (math.ceil(n / getattr(head, "stride", 1)) for n in old)
        x = np.ascontiguousarray(x[:, :height, :width]) / count
        return ops.convert_to_numpy(head.from_mean(ops.convert_to_tensor(x)))

    return map_heads(mean, heads, sums)


def _resized(images, size):
    """Images at another size, in their own dtype."""
    pixels = ops.image.resize(
        np.asarray(images, "float32"), size, "bilinear", antialias=True, data_format="channels_last"
    )
    pixels = ops.convert_to_numpy(pixels)
    if np.issubdtype(images.dtype, np.integer):
        pixels = np.rint(pixels).clip(0, 255)
    return pixels.astype(images.dtype)

"""Dense maps of a strided network, interlaced from its maps of shifted images."""

from typing import Any

import keras
import numpy as np
from keras import tree

from keras_dense import _check
from keras_dense._arrays import as_array
from keras_dense._types import ArrayLike, Nested
from keras_dense.surgery.graph import check_channels_last, functional
from keras_dense.surgery.strides import strides


def _factor(found: Any, stride: int) -> tuple[int, ...]:
    """The number of shifts along each axis that bring a map from its stride to `stride`."""
    if found is None:
        raise ValueError(
            "`model` must return maps only, to be interlaced. Received: a model with another "
            "output, such as a vector of class scores. `kd.surgery.convolutionalize` turns a "
            "classifier into a network of maps."
        )
    pair = found if isinstance(found, tuple) else (found, found)
    if any(not isinstance(s, int) or s % stride for s in pair):
        raise ValueError(
            f"`stride` must divide the stride of the model's outputs, {found}. "
            f"Received: stride={stride}"
        )
    return tuple(s // stride for s in pair)


def shift_and_stitch(
    model: keras.Model,
    images: ArrayLike,
    stride: int,
    *,
    batch_size: int = 8,
    verbose: int | str = 0,
) -> Nested:
    """The dense maps of a strided network by brute force: the definition of `dilate`.

    With k the ratio of the model's stride S to `stride`, the model runs on k² copies of the
    images, shifted up and left by multiples (a, b) of `stride` pixels, and their outputs O are
    interlaced:

        D[k i + a, k j + b] = O(images shifted by (stride a, stride b))[i, j]

    Shifted images end in zeros at the bottom and the right. `kd.surgery.dilate(model, stride)`
    computes the same at a fraction of the cost, except near the borders, which lie elsewhere in
    the shifted copies; at a = b = 0 the two are equal everywhere.

    Args:
        model: functional `keras.Model` of images `(B, H, W, C)` whose outputs are maps.
        images: array `(B, H, W, C)`.
        stride: int ≥ 1, the new stride, which divides the stride of every output.
        batch_size, verbose: as in `model.predict`.

    Returns:
        In the structure of `model.output`: for every output `(B, h, w, channels)` a NumPy array
        `(B, k h, k w, channels)`.

    Raises:
        TypeError: for a model whose graph cannot be read.
        ValueError: for a stride that does not divide the model's, images of another rank, or
            outputs that are no maps.

    Reference: Sermanet et al., "OverFeat", ICLR 2014, section 3.3; Long, Shelhamer, Darrell, CVPR
    2015, section 3.2.

    >>> import keras
    >>> image = keras.Input((None, None, 1))
    >>> model = keras.Model(image, keras.layers.MaxPooling2D(2)(image))
    >>> x = np.arange(4.0).reshape(1, 1, 4, 1).repeat(2, axis=1)
    >>> shift_and_stitch(model, x, stride=1)[0, 0, :, 0].tolist()
    [1.0, 2.0, 3.0, 3.0]
    """
    model, images = functional(model), as_array(images, "images")
    check_channels_last(model)
    if images.ndim != 4:
        raise ValueError(
            f"`images` must be (B, H, W, C). Received: an array of shape {images.shape}"
        )
    stride = _check.integer(stride, "stride", low=1)
    # As a list, in which a pair of strides is no pair of outputs.
    flat = keras.Model(model.inputs, tree.flatten(model.output))
    factors = [_factor(found, stride) for found in strides(flat)]
    most = tuple(max(axis) for axis in zip(*factors, strict=True))

    height, width = images.shape[1:3]
    dense: list[np.ndarray] = []
    for a in range(most[0]):
        for b in range(most[1]):
            shifted = np.zeros_like(images)
            down, right = min(a * stride, height), min(b * stride, width)
            shifted[:, : height - down, : width - right] = images[:, down:, right:]
            outputs = tree.flatten(flat.predict(shifted, batch_size=batch_size, verbose=verbose))
            if not dense:
                for (rows, columns), x in zip(factors, outputs, strict=True):
                    batch, h, w, channels = x.shape
                    dense.append(np.zeros((batch, h * rows, w * columns, channels), x.dtype))
            for (rows, columns), x, y in zip(factors, outputs, dense, strict=True):
                if a < rows and b < columns:  # a finer output needs fewer shifts
                    y[:, a::rows, b::columns] = x
    return tree.pack_sequence_as(model.output, dense)

"""Batch normalization of a pretrained backbone: kept as it is, or quick to follow new pictures."""

import itertools
import numbers

import keras

from keras_dense import _check


def freeze_batch_norm(model):
    """Fixes every `BatchNormalization` of a model, in nested models too.

    A frozen layer normalizes with its moving mean and variance, also while training, and its scale
    and offset stay. That is what small batches of large images need: statistics over two crops are
    worse than those over ImageNet. The state is part of the model: it survives `.keras`. Call it
    before `compile` (and before `layerwise`).

    Args:
        model: A Keras model, changed in place.

    Returns:
        The number of layers that were frozen.

    Raises:
        TypeError: If `model` is not a Keras layer or model.

    Source: Chen et al., "DeepLab", TPAMI 2018 (arXiv 1606.00915), which trains so.

    >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.BatchNormalization()])
    >>> freeze_batch_norm(model)
    1
    >>> len(model.trainable_variables)
    0
    """
    layers = _batch_norms(model)
    for layer in layers:
        layer.trainable = False
    return len(layers)


def batch_norm_momentum(model, momentum):
    """Sets the momentum of the moving averages of every `BatchNormalization`, nested ones too.

    Some networks of `keras.applications` average over thousands of steps (MobileNetV2: .999, which
    forgets two thirds in 1100 steps). A shorter training ends with averages of pictures and
    weights that are long gone: it looks fine on its batches and is worthless when it predicts,
    above all from random weights. Part of the model: it survives `.keras`.

    Args:
        model: A Keras model, changed in place.
        momentum: In [0, 1): the share of the old average that stays at each step. The averages
            reach back about `1 / (1 - momentum)` steps.

    Returns:
        The number of layers that were set.

    Raises:
        TypeError: If `model` is not a Keras layer or model.
        ValueError: If `momentum` is not in [0, 1).

    >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.BatchNormalization()])
    >>> batch_norm_momentum(model, 0.95)
    1
    """
    number = isinstance(momentum, numbers.Real) and not isinstance(momentum, bool)
    if not number or not 0.0 <= momentum < 1.0:
        raise ValueError(f"`momentum` must be in [0, 1). Received: momentum={momentum!r}")
    layers = _batch_norms(model)
    for layer in layers:
        layer.momentum = float(momentum)
    return len(layers)


def recalibrate_batch_norm(model, batches, steps=None):
    """Takes the statistics of every `BatchNormalization` anew, over batches of training data.

    The moving averages of a training are of weights that were still moving, and of a few steps or
    of too many. This replaces them by plain means over all batches given, for the weights as they
    are now ("precise batch norm"). Nothing else changes; frozen layers stay.

    Args:
        model: A Keras model, changed in place.
        batches: What `fit` was given: a `kd.datasets.Loader`, or any iterable of images or of
            tuples that begin with images.
        steps: The number of batches to use; `None` is all there are.

    Returns:
        The number of layers that were recalibrated.

    Raises:
        TypeError: If `model` is not a Keras layer or model.
        ValueError: If there are no batches, or a number in one is not finite.

    Source: Wu, Johnson, "Rethinking 'Batch' in BatchNorm", 2021, section 3.

    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.BatchNormalization()])
    >>> recalibrate_batch_norm(model, [np.array([[1.0, 5.0]]), np.array([[3.0, 7.0]])])
    1
    >>> keras.ops.convert_to_numpy(model.layers[0].moving_mean).tolist()
    [2.0, 6.0]
    """
    steps = None if steps is None else _check.integer(steps, "steps", low=1)
    layers = [layer for layer in _batch_norms(model) if layer.trainable]
    momenta = [layer.momentum for layer in layers]
    if hasattr(batches, "__getitem__") and hasattr(batches, "__len__"):
        batches = map(batches.__getitem__, range(len(batches)))  # a PyDataset has no end
    count = 0
    try:
        for batch in itertools.islice(batches, steps):
            images = batch[0] if isinstance(batch, (tuple, list)) else batch
            finite = [
                bool(keras.ops.all(keras.ops.isfinite(keras.ops.cast(x, "float32"))))
                for x in keras.tree.flatten(images)
            ]
            if not all(finite):
                raise ValueError(
                    f"`batches` must be finite: one NaN would be every statistic. Batch {count} "
                    "is not."
                )
            for layer in layers:
                # The average of the batches so far: the first counts 1, the next 1/2, 1/3, …
                layer.momentum = count / (count + 1)
            model(images, training=True)
            count += 1
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
    if layers and not count:
        raise ValueError("`batches` is empty: there is nothing to take statistics of.")
    return len(layers)


def _batch_norms(model):
    if not isinstance(model, keras.Layer):
        raise TypeError(f"`model` must be a Keras model. Received: model={model!r}")
    kind = keras.layers.BatchNormalization
    return [layer for layer in sublayers(model).values() if isinstance(layer, kind)]


def sublayers(layer, path=""):
    """All layers below one, as `{"outer/inner": layer}`, a shared layer under its first path."""
    found, seen = {}, set()

    def visit(parent, prefix):
        # A model lists its layers publicly; any other composite layer only to `_flatten_layers`.
        children = getattr(parent, "layers", None)
        if children is None:
            children = parent._flatten_layers(include_self=False, recursive=False)
        for child in children:
            if id(child) not in seen:
                seen.add(id(child))
                found[f"{prefix}{child.name}"] = child
                visit(child, f"{prefix}{child.name}/")

    visit(layer, path)
    return found

"""Batch normalization of a pretrained backbone: frozen, faster, or recalibrated."""

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np

from keras_dense import _check

WIDE_GAP = 1.0


def freeze_batch_norm(model: keras.Model) -> int:
    """Freeze every `BatchNormalization` of a model, in nested models as well.

    A frozen layer normalizes with its moving mean and variance in training, too, and keeps its
    scale and offset. Small batches of large images need that: statistics over two crops are worse
    than those over ImageNet. The state is saved in `.keras` files. Call this before `compile` and
    `layerwise`.

    Args:
        model: a Keras model, changed in place.

    Returns:
        The number of frozen layers.

    Raises:
        TypeError: if `model` is not a Keras layer or model.

    Reference: Chen et al., "DeepLab", TPAMI 2018 (arXiv 1606.00915).

    >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.BatchNormalization()])
    >>> freeze_batch_norm(model)
    1
    >>> len(model.trainable_variables)
    0
    """
    layers = batch_norms(model)
    for layer in layers:
        layer.trainable = False
    return len(layers)


def batch_norm_momentum(model: keras.Model, momentum: float) -> int:
    """Set the momentum of every `BatchNormalization` of a model, in nested models as well.

    Some networks of `keras.applications` average over thousands of steps (MobileNetV2: .999, which
    forgets two thirds in 1100 steps). A shorter training ends with averages over outdated weights:
    its training loss looks good and its predictions are useless, above all from random weights.
    The setting is saved in `.keras` files.

    Args:
        model: a Keras model, changed in place.
        momentum: float in [0, 1), the share of the old average that stays at each step. Averages
            reach back about `1 / (1 - momentum)` steps.

    Returns:
        The number of changed layers.

    Raises:
        TypeError: if `model` is not a Keras layer or model.
        ValueError: if `momentum` is not in [0, 1).

    >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.BatchNormalization()])
    >>> batch_norm_momentum(model, 0.95)
    1
    """
    value = _check.number(momentum, "momentum", 0, below=1)
    layers = batch_norms(model)
    for layer in layers:
        layer.momentum = value
    return len(layers)


def recalibrate_batch_norm(
    model: keras.Model, batches: Any, *, steps: int | None = None, keep_function: bool = False
) -> int:
    """Recompute the statistics of every `BatchNormalization` over batches of training data.

    Moving averages are taken while weights change, over too few steps or too many. This replaces
    them by plain means over all given batches, for the present weights ("precise batch norm").
    Nothing else changes; frozen layers stay.

    With `keep_function`, scales and offsets change along with the statistics, so that in inference
    the network computes the same as before. Files of 8 bits (`.tflite`) need that before training:
    their batch norms are folded into the convolutions, so ours get no statistics, and the first
    step of training, which normalizes, would undo what the network has learned.

    In several processes of PyTorch, give each of them the same whole batches: all get the same
    statistics. On JAX in several processes, load the trained model in one, and do it there.

    Args:
        model: a Keras model, changed in place.
        batches: a `kd.datasets.Loader` without `shard`, or any iterable of images or of tuples
            that begin with images.
        steps: int >= 1, the number of batches to use; `None`: all.
        keep_function: bool, see above.

    Returns:
        The number of recalibrated layers.

    Raises:
        TypeError: if `model` is not a Keras layer or model.
        ValueError: if there are no batches, a number in one is not finite, or they are shares of
            batches; with `keep_function` for a layer without scale or offset.

    Reference: Wu, Johnson, "Rethinking 'Batch' in BatchNorm", 2021, section 3.

    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.BatchNormalization()])
    >>> recalibrate_batch_norm(model, [np.array([[1.0, 5.0]]), np.array([[3.0, 7.0]])])
    1
    >>> keras.ops.convert_to_numpy(model.layers[0].moving_mean).tolist()
    [2.0, 6.0]
    """
    steps = None if steps is None else _check.integer(steps, "steps", low=1)
    keep_function = _check.flag(keep_function, "keep_function")
    layers = [layer for layer in batch_norms(model) if layer.trainable]
    renew = _rebase if keep_function else _average
    count = renew(model, layers, _finite(batches, steps))
    if layers and not count:
        raise ValueError("`batches` must hold at least one batch. Received: none")
    return len(layers)


def batch_norm_gap(model: keras.Model, batches: Any, *, steps: int | None = None) -> float:
    """Measure how far the moving statistics of batch norms are from those of batches.

    Training normalizes with the statistics of the batch, inference with the moving ones. Where they
    differ widely, the scores of training say nothing about predictions: after a short training with
    a long momentum, or from batches of one or two crops. The model is not changed.

    Args:
        model: a Keras model.
        batches: a `kd.datasets.Loader` without augmentation, or any iterable of images or of
            tuples that begin with images.
        steps: int >= 1, the number of batches to use; `None`: all.

    Returns:
        float, that of the layer with the widest gap, on average over its channels: the distance of
        the means in standard deviations, or the logarithm of the ratio of the standard deviations
        if that is larger. Above `WIDE_GAP` (1) recompute the statistics
        (`recalibrate_batch_norm`), train with a shorter `batch_norm_momentum`, or use
        `freeze_batch_norm`. 0 for a model without trainable batch norms.

    Raises:
        TypeError: if `model` is not a Keras layer or model.
        ValueError: if there are no batches, or a number in one is not finite.

    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.BatchNormalization()])
    >>> batches = [np.array([[1.0, 5.0], [3.0, 7.0]])]
    >>> round(batch_norm_gap(model, batches), 1)
    4.0
    >>> _ = recalibrate_batch_norm(model, batches)
    >>> batch_norm_gap(model, batches)
    0.0
    """
    steps = None if steps is None else _check.integer(steps, "steps", low=1)
    layers = [layer for layer in batch_norms(model) if layer.trainable]
    before = [_statistics(layer) for layer in layers]
    try:
        if layers and not _average(model, layers, _finite(batches, steps)):
            raise ValueError("`batches` must hold at least one batch. Received: none")
        after = [_statistics(layer) for layer in layers]
    finally:
        for layer, (mean, variance) in zip(layers, before, strict=True):
            layer.moving_mean.assign(mean)
            layer.moving_variance.assign(variance)
    gaps = [0.0]
    for layer, old, new in zip(layers, before, after, strict=True):
        old_scale, new_scale = (np.sqrt(x[1] + layer.epsilon) for x in (old, new))
        shift = np.abs(new[0] - old[0]) / old_scale
        gaps.append(float(np.maximum(shift, np.abs(np.log(new_scale / old_scale))).mean()))
    return max(gaps)


def _statistics(layer: Any) -> tuple[np.ndarray, np.ndarray]:
    mean, variance = (
        keras.ops.convert_to_numpy(w) for w in (layer.moving_mean, layer.moving_variance)
    )
    # Copies: with torch, they are the memory of the weights.
    return np.array(mean, "float64"), np.array(variance, "float64")


def _finite(batches: Any, steps: int | None) -> Iterator[Any]:
    """The images of so many batches, with a check of each."""
    if getattr(batches, "shard", (0, 1))[1] > 1:
        raise ValueError(
            "`batches` must be whole batches: over a share of them, each process would get other "
            "statistics. Give a Loader without `shard`; every process then computes the same. "
            f"Received: shard={batches.shard}"
        )
    if hasattr(batches, "__getitem__") and hasattr(batches, "__len__"):
        batches = map(batches.__getitem__, range(len(batches)))  # a PyDataset never ends
    for count, batch in enumerate(itertools.islice(batches, steps)):
        images = batch[0] if isinstance(batch, (tuple, list)) else batch
        finite = [
            bool(keras.ops.all(keras.ops.isfinite(keras.ops.cast(x, "float32"))))
            for x in keras.tree.flatten(images)
        ]
        if not all(finite):
            raise ValueError(
                "`batches` must be finite: one NaN would make every statistic NaN. Batch "
                f"{count} is not."
            )
        yield images


def _average(model: keras.Model, layers: list, batches: Iterable[Any]) -> int:
    """Set the statistics of layers to means over batches; the number of batches."""
    momenta = [layer.momentum for layer in layers]
    count = 0
    try:
        for images in batches:
            for layer in layers:
                # The average of the batches so far: the first counts 1, the next 1/2, 1/3, …
                layer.momentum = count / (count + 1)
            model(images, training=True)
            count += 1
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
    return count


def _rebase(model: keras.Model, layers: list, batches: Iterable[Any]) -> int:
    """The same without a change of what layers compute in inference."""
    plain = [layer.name for layer in layers if not (layer.scale and layer.center)]
    if plain:
        raise ValueError(
            "`keep_function` must be False: layers without scale or offset cannot keep what they "
            f"compute. Received: {', '.join(plain)}"
        )
    sums: dict[int, list] = {}
    count = 0
    with _watched(layers, sums):
        for images in batches:
            model(images, training=False)
            count += 1
    for layer in layers:
        if id(layer) in sums:
            _set_statistics(layer, *sums[id(layer)])
    return count


@contextlib.contextmanager
def _watched(layers: list, sums: dict[int, list]) -> Iterator[None]:
    """Collect number, sum and sum of squares of what each layer gets, by channel."""

    def watch(layer, call):
        def watching(inputs, *args, **kwargs):
            x = keras.ops.convert_to_numpy(keras.ops.cast(inputs, "float32")).astype("float64")
            axis = layer.axis % x.ndim
            x = np.moveaxis(x, axis, -1).reshape(-1, x.shape[axis])
            found = (len(x), x.sum(0), np.square(x).sum(0))
            known = sums.get(id(layer), (0, 0.0, 0.0))
            sums[id(layer)] = [a + b for a, b in zip(known, found, strict=True)]
            return call(inputs, *args, **kwargs)

        return watching

    try:
        for layer in layers:
            layer.call = watch(layer, layer.call)
        yield
    finally:
        for layer in layers:
            del layer.call  # The method of the class is there again.


def _set_statistics(layer: Any, number: int, total: np.ndarray, squares: np.ndarray) -> None:
    """Other statistics of a batch norm, and the scale and offset that make up for them."""
    gamma, beta, mean, variance = (np.asarray(w, "float64") for w in layer.get_weights())
    new_mean = total / number
    new_variance = np.maximum(squares / number - new_mean**2, 0.0)
    slope = gamma / np.sqrt(variance + layer.epsilon)
    new_gamma = slope * np.sqrt(new_variance + layer.epsilon)
    new_beta = beta + slope * (new_mean - mean)
    layer.set_weights([new_gamma, new_beta, new_mean, new_variance])


def batch_norms(model: keras.Model) -> list:
    """Every `BatchNormalization` of a model, in nested models as well."""
    if not isinstance(model, keras.Layer):
        raise TypeError(f"`model` must be a Keras model. Received: model={model!r}")
    kind = keras.layers.BatchNormalization
    return [layer for layer in sublayers(model).values() if isinstance(layer, kind)]


def sublayers(layer: keras.Layer, path: str = "") -> dict[str, keras.Layer]:
    """All layers inside another, as `{"outer/inner": layer}`; a shared one has its first path."""
    found: dict = {}
    seen: set = set()

    def visit(parent: Any, prefix: str) -> None:
        # A model lists its layers in `layers`; other composite layers only have this method.
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

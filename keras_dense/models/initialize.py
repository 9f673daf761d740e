"""Start of a network from the weights of another one."""

import os
from collections.abc import Iterator

import keras

from keras_dense._types import PathLike


def _weighted(model: keras.Model, prefix: str = "") -> Iterator[tuple[str, keras.Layer]]:
    for layer in model.layers:
        path = f"{prefix}{layer.name}"
        if isinstance(layer, keras.Model):
            yield from _weighted(layer, f"{path}/")
        elif layer.weights:
            yield path, layer


def initialize(model: keras.Model, source: keras.Model | PathLike) -> keras.Model:
    """Copy the weights of all layers that two networks share, by name.

    Other layers stay as they are. This trains the stages of an FCN one after another: FCN-16s
    starts from a trained FCN-32s, and its new layers start with zeros, so that at first it predicts
    the same.

    Args:
        model: the network that gets the weights, changed in place.
        source: a `keras.Model`, or the path of a `.keras` file.

    Returns:
        `model`.

    Raises:
        FileNotFoundError: for a path that does not exist.
        ValueError: if no layer is shared, or if a shared layer has other shapes.

    Example:

    >>> def network(filters):
    ...     convolution = keras.layers.Conv2D(4, 3, name="first")
    ...     last = keras.layers.Conv2D(filters, 1, name=f"last{filters}")
    ...     return keras.Sequential([keras.Input((8, 8, 3)), convolution, last])
    >>> old, new = network(2), network(5)
    >>> first = initialize(new, old).get_layer("first").get_weights()[0]
    >>> bool((first == old.get_layer("first").get_weights()[0]).all())
    True
    """
    if isinstance(source, (str, os.PathLike)):
        if not os.path.exists(source):
            raise FileNotFoundError(
                "`initialize_from` must be a model or an existing file. "
                f"Received: initialize_from={source!r}"
            )
        source = keras.saving.load_model(source, compile=False)
    stored = dict(_weighted(source))
    shared = [(path, layer) for path, layer in _weighted(model) if path in stored]
    if not shared:
        raise ValueError(
            f"`initialize_from` must share layers with {model.name!r}, as the same network on the "
            f"same backbone does. Received: {source.name!r} with layers {', '.join(stored)}"
        )
    for path, layer in shared:
        have, want = ([w.shape for w in x.weights] for x in (stored[path], layer))
        if have != want:
            raise ValueError(
                f"`initialize_from` must have the shapes of {model.name!r}: {want} in the layer "
                f"{path!r}. Do both predict the same number of classes? Received: {have}"
            )
    for path, layer in shared:
        layer.set_weights(stored[path].get_weights())
    return model

"""Starting a network from another that shares layers with it."""

import os

import keras


def _weighted(model, prefix=""):
    for layer in model.layers:
        path = f"{prefix}{layer.name}"
        if isinstance(layer, keras.Model):
            yield from _weighted(layer, f"{path}/")
        elif layer.weights:
            yield path, layer


def initialize(model, source):
    """Copy the weights of every layer that both networks have, by name; the rest stays.

    This is how the stages of a FCN follow each other: FCN-16s starts from a trained FCN-32s, and
    its new layers start so that its predictions are those of the FCN-32s.

    Args:
        model: the network to fill, changed in place.
        source: a `keras.Model`, or the path of a `.keras` file.

    Returns:
        `model`.

    Raises:
        FileNotFoundError: for a path that does not exist.
        ValueError: if no layer is shared, or a shared one has other shapes.

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
            raise FileNotFoundError(f"`initialize_from` does not exist. Received: {source!r}")
        source = keras.saving.load_model(source, compile=False)
    stored = dict(_weighted(source))
    shared = [(path, layer) for path, layer in _weighted(model) if path in stored]
    if not shared:
        raise ValueError(
            f"`initialize_from` shares no layer with {model.name!r}: is it the same network on the "
            f"same backbone? Received a model {source.name!r} with layers {', '.join(stored)}"
        )
    for path, layer in shared:
        have, want = ([w.shape for w in x.weights] for x in (stored[path], layer))
        if have != want:
            raise ValueError(
                f"`initialize_from` has other shapes in the layer {path!r}: {have} there, {want} "
                f"in {model.name!r}. Do both predict the same number of classes?"
            )
    for path, layer in shared:
        layer.set_weights(stored[path].get_weights())
    return model

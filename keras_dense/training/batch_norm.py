"""Batch normalization kept as the classifier learned it."""

import keras


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
    if not isinstance(model, keras.Layer):
        raise TypeError(f"`model` must be a Keras model. Received: model={model!r}")
    frozen = 0
    for layer in sublayers(model).values():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
            frozen += 1
    return frozen


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

"""KerasHub's convolutional networks: HGNetV2, ResNet, DenseNet, CSPNet, EfficientNet, ….

Some are graphs of blocks that hide their convolutions, and that no surgery could read. `opened`
calls the code of such a block on symbolic tensors: what it does becomes part of the graph.
"""

from typing import Any

import keras
from keras import tree

from keras_dense._types import Tensor
from keras_dense.backbones.hub.moving import by_stride
from keras_dense.surgery.feature_pyramid import (
    align,
    image_of,
    last_features,
    named_layers,
    resized,
)
from keras_dense.surgery.graph import walk


def _is_block(op: Any) -> bool:
    """Whether an operation is a layer of KerasHub that holds layers."""
    theirs = type(op).__module__.startswith("keras_hub.")
    return theirs and isinstance(op, keras.layers.Layer) and bool(op._layers)


def opened(model: keras.Model, image: Tensor) -> keras.Model:
    """The same layers as a graph in which no layer of KerasHub holds others.

    Args:
        model: functional `keras.Model` of one image.
        image: the new input, of any size.
    """

    def visit(node, *args, **kwargs):
        op = node.operation
        return (op.call if _is_block(op) else op)(*args, **kwargs)

    while any(_is_block(op) for op in model.operations):
        model = keras.Model(image, walk(model, image, visit), name=model.name)
    return model


def _declared(model: keras.Model) -> keras.Model:
    """The network with the maps that KerasHub calls its features as outputs, in a list."""
    maps = getattr(model, "pyramid_outputs", None) or model.output
    if not isinstance(maps, dict):
        return model
    return keras.Model(model.inputs, tree.flatten(dict(maps)), name=model.name)


def trunk(model: keras.Model, taps: dict[str, str] | None = None) -> keras.Model:
    """A convolutional network as one from images of any size to features, with copied weights.

    Args:
        model: functional `keras.Model` of KerasHub.
        taps: see `kd.backbone`; names of layers of the opened network.
    """
    image = resized(image_of(model))
    declared = _declared(model)
    flat = align(opened(declared, image), resized(image))
    if taps is not None:
        features = named_layers(flat, taps)
    elif declared is model:
        features = last_features(flat)
    else:
        features = by_stride(flat.input, flat.outputs)
    return keras.Model(flat.input, features, name=model.name)

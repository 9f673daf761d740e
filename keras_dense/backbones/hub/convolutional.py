"""KerasHub's convolutional networks: HGNetV2, ResNet, DenseNet, CSPNet, EfficientNet, ….

Some are graphs of blocks that hide their convolutions, and that no surgery could read. `opened`
calls the code of such a block on symbolic tensors: what it does becomes part of the graph.
"""

from typing import Any

import keras
from keras import layers, tree

from keras_dense._types import Tensor
from keras_dense.backbones.application import standardized
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


def _is_mean(node: Any) -> bool:
    """Whether a call takes the mean of a map by `keras.ops`, keeping its axes."""
    op = node.operation
    if type(op).__name__ != "Mean" or isinstance(op, layers.Layer) or not op.keepdims:
        return False
    return len(node.input_tensors[0].shape) == 4 and tuple(op.axis or ()) == (1, 2)


def opened(model: keras.Model, image: Tensor) -> keras.Model:
    """The same layers as a graph in which no layer of KerasHub holds others.

    Args:
        model: functional `keras.Model` of one image.
        image: the new input, of any size.
    """

    def visit(node, *args, **kwargs):
        op = node.operation
        if isinstance(op, layers.Identity):
            return args[0]
        if _is_mean(node):
            # As surgery knows it: the mean of a squeeze-and-excite gate.
            return layers.GlobalAveragePooling2D("channels_last", keepdims=True)(*args)
        return (op.call if _is_block(op) else op)(*args, **kwargs)

    while any(_is_block(op) for op in model.operations):
        model = keras.Model(image, walk(model, image, visit), name=model.name)
    return keras.Model(image, walk(model, image, visit), name=model.name)


def build(
    model: keras.Model, *, taps: Any, preprocessing: Any, name: str, argument: str
) -> keras.Model:
    """A convolutional network as one from images of any size to features, with copied weights.

    The features are the last map of each stride, as `kd.surgery.feature_pyramid` finds them. `taps`
    name layers of the opened network.
    """
    image = resized(image_of(model))
    if isinstance(model.output, dict):  # HGNetV2: one map for each stage
        model = keras.Model(model.inputs, tree.flatten(dict(model.output)), name=model.name)
    flat = align(opened(model, image), resized(image))
    features = last_features(flat) if taps is None else named_layers(flat, taps)
    flat = keras.Model(flat.input, features, name=name)
    return flat if preprocessing is None else _standardizing(flat, preprocessing)


def _standardizing(model, preprocessing):
    """The same layers behind one that standardizes images."""
    image = resized(image_of(model))

    def visit(node, *args, **kwargs):
        return node.operation(*args, **kwargs)

    outputs = walk(model, standardized(image, preprocessing), visit)
    return keras.Model(image, outputs, name=model.name)

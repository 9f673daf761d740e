"""A classifier at every position of an image: its top as convolutions, with the same weights."""

from dataclasses import dataclass
from typing import Any

import keras
from keras import layers, tree

from keras_dense import _check
from keras_dense.layers import AtrousAveragePooling2D
from keras_dense.layers.phases import PhasePooling2D
from keras_dense.surgery.effect import (
    CONVOLUTIONS,
    GLOBAL_POOLING,
    Effect,
    Like,
    Resized,
    Scattered,
    Whole,
    effect,
    inputs_of,
)
from keras_dense.surgery.feature_pyramid import image_of, resized
from keras_dense.surgery.graph import Copies, functional, rebuild, transfer, walk
from keras_dense.surgery.pointwise import is_pointwise
from keras_dense.surgery.top import is_pooling, read_top

# Layers that act on each number alone.
_ELEMENTWISE = (
    layers.Activation,
    layers.Dropout,
    layers.ELU,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.Identity,
    layers.LeakyReLU,
    layers.ReLU,
)


@dataclass(frozen=True, eq=False)
class _Cell:
    """A tensor of the new network in place of one of the old network."""

    tensor: keras.KerasTensor
    top: bool = False  # after the pooling of the classifier
    window: tuple = (1, 1)  # the cells that were flattened into one vector
    fixed: bool = False  # of a size that does not depend on the image's


class _Converter:
    """The walk that computes maps of scores in place of the vectors of a classifier's top."""

    def __init__(
        self, gates: set[int], scores: Any, padding: str, dropout: float | None, include_top: bool
    ) -> None:
        self.gates, self.scores = gates, scores
        self.padding, self.dropout, self.include_top = padding, dropout, include_top
        self.copies = Copies()
        self.done = False

    def __call__(self, node, *args, **kwargs):
        op = node.operation
        found, cells = effect(node), inputs_of(args, kwargs, _Cell)
        is_top = any(cell.top for cell in cells)
        if is_pooling(op) and id(op) not in self.gates:
            self.check_pooling(op, cells[0])
        if isinstance(op, GLOBAL_POOLING) and id(op) not in self.gates:
            return _Cell(self.pool(op, cells[0].tensor, node.input_tensors[0].shape), top=True)
        if is_pooling(op) and id(op) not in self.gates:
            window = cells[0].window if is_top else (1, 1)
            shape = node.input_tensors[0].shape
            return _Cell(cells[0].tensor, True, tuple(shape[1:3]) if len(shape) == 4 else window)
        if is_top and (self.done or (op is self.scores and not self.include_top)):
            self.done = True
            return cells[0]
        if is_top and isinstance(op, layers.Dense):
            return _Cell(self.convolution(op, cells[0]), top=True)
        if is_top and isinstance(op, layers.Reshape):
            self.check_reshape(node)
            return cells[0]
        config, window = {}, (1, 1)
        if is_top:
            window = self.check(node, cells)
            if isinstance(op, (layers.BatchNormalization, layers.LayerNormalization)):
                config = {"axis": -1}
        args, kwargs = tree.map_structure(
            lambda x: x.tensor if isinstance(x, _Cell) else x, (args, kwargs)
        )
        outputs = self.copies(op, *args, config=config, **kwargs)
        fixed = _is_fixed(found, cells)
        return tree.map_structure(lambda x: _Cell(x, is_top, window, fixed), outputs)

    def pool(self, op, x, shape):
        name, size = self.copies.name(op.name), tuple(shape[1:3])
        if isinstance(op, layers.GlobalMaxPooling2D):
            return layers.MaxPooling2D(
                size, 1, self.padding, name=name, data_format="channels_last"
            )(x)
        if self.padding == "same":
            return AtrousAveragePooling2D(size, name=name)(x)
        return layers.AveragePooling2D(size, 1, name=name, data_format="channels_last")(x)

    def convolution(self, op, cell):
        shared = (
            "activation use_bias kernel_initializer bias_initializer kernel_regularizer "
            "bias_regularizer activity_regularizer kernel_constraint bias_constraint dtype"
        ).split()
        config = {key: value for key, value in op.get_config().items() if key in shared}
        config |= {"filters": op.units, "kernel_size": cell.window, "padding": self.padding}
        config["data_format"] = "channels_last"
        conv = layers.Conv2D.from_config({**config, "name": self.copies.name(op.name)})
        x = conv(cell.tensor)
        kernel, *bias = op.get_weights()
        transfer(conv, [kernel.reshape(*cell.window, -1, op.units), *bias])
        conv.trainable = op.trainable
        if self.dropout and op is not self.scores:
            x = layers.Dropout(self.dropout, name=self.copies.name(f"{op.name}_dropout"))(x)
        return x

    def check_pooling(self, op, cell):
        if cell.fixed:
            raise ValueError(
                "`model` must have a classifier's top that reads a map whose size follows the "
                f"image's. Received: {op.name!r} ({type(op).__name__}) after a layer that brings "
                "its map to one size, such as AdaptiveAveragePooling2D or Resizing: larger images "
                "would not have scores at more positions."
            )
        if isinstance(op, PhasePooling2D):
            raise ValueError(
                "`model` must have a classifier's top with the pooling layers of Keras. Received: "
                f"{op.name!r} ({type(op).__name__}), which pools some of the cells only."
            )

    def check(self, node, cells):
        op, windows = node.operation, {cell.window for cell in cells}
        if windows == {(1, 1)}:
            known = is_pointwise(node) or isinstance(op, CONVOLUTIONS)
        else:  # A flattened map: an operation on more than one number would see all of it.
            softmax = getattr(op, "activation", None) is keras.activations.softmax
            known = len(windows) == 1 and isinstance(op, _ELEMENTWISE) and not softmax
        if not known:
            raise ValueError(
                "The top of the classifier has an operation without a convolutional form: "
                f"{op.name!r} ({type(op).__name__}). Known are Dense, Flatten, global pooling, 1×1 "
                "convolutions, and layers that act on each number alone."
            )
        return windows.pop()

    def check_reshape(self, node):
        sizes = [
            [n for n in node_tensor.shape[1:] if n != 1]
            for node_tensor in (node.input_tensors[0], node.outputs[0])
        ]
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"The Reshape {node.operation.name!r} in the top of the classifier mixes "
                f"channels and positions: {node.input_tensors[0].shape} → {node.outputs[0].shape}."
            )


def _is_fixed(found: Effect, cells: list[_Cell]) -> bool:
    """True if the size of a result does not depend on the size of the image."""
    if isinstance(found, Like):
        return cells[0 if found.how in ("crop", "center") else -1].fixed
    if isinstance(found, Resized) and found.cells is not None:
        return True
    bins = isinstance(found, Whole) and not found.grid and found.gate is not None
    return bins or isinstance(found, Scattered) or any(cell.fixed for cell in cells)


def convolutionalize(
    model: keras.Model,
    *,
    padding: str = "valid",
    include_top: bool = True,
    dropout: float | None = None,
    size: tuple[int, int] | None = None,
    name: str | None = None,
) -> keras.Model:
    """A fully convolutional network with all weights of a classifier.

    `Flatten` and the `Dense` after it become a k×k convolution of the same weights, later `Dense`
    1×1 convolutions; global pooling becomes pooling with a window of the classifier's own map.
    For an image of the classifier's own size, the new network returns the same class scores, as
    a 1×1 map; for a larger one, scores at every position of that window, one for each stride.

    Args:
        model: a functional classifier `(B, H, W, C) → (B, classes)`, nested models included, such
            as any of `keras.applications` with `include_top=True`.
        padding: str, "valid": scores only where the window fits, as if the classifier were slid
            over the image; or "same": scores for every cell of the last map, with windows that
            reach over the edge; the scores of "valid" lie in the middle.
        include_top: bool. `False` leaves out the last layer, which computes the class scores, and
            everything after it.
        dropout: float, rate of a dropout after every hidden fully connected layer, or `None`.
        size: `(height, width)`, the image size of the classifier; needed only where the model
            does not have one (`input_shape=(None, None, 3)`).
        name: str, the name of the new model; default: that of `model`.

    Returns:
        A `keras.Model` `(B, H, W, C) → (B, h, w, classes)` for images of any size, with copies of
        the weights.

    Raises:
        TypeError: for a model whose graph cannot be read.
        ValueError: for a network without a classifier's top, a top with an operation without a
            convolutional form (named) or on a map of one size, or an unknown input size.

    Reference: Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic
    Segmentation", CVPR 2015, section 3.1.

    >>> import keras, numpy as np
    >>> app = keras.applications.MobileNet(weights=None, alpha=0.25, input_shape=(128, 128, 3))
    >>> dense = convolutionalize(app)
    >>> tuple(dense(np.zeros((1, 128, 128, 3))).shape)
    (1, 1, 1, 1000)
    >>> tuple(dense(np.zeros((1, 160, 192, 3))).shape)
    (1, 2, 3, 1000)
    """
    _check.choice(padding, "padding", ("valid", "same"))
    include_top = _check.flag(include_top, "include_top")
    if dropout is not None:
        dropout = _check.number(dropout, "dropout", 0, 1)
    model = functional(model)
    image = image_of(model)
    if None in image.shape[1:3]:
        if size is None:
            raise ValueError(
                "`size` must be the image size of the classifier, such as `size=(224, 224)`, where "
                "the model takes any: the window of its top depends on it. Received: size=None"
            )
        size = _check.integers(size, "size", low=1, length=2)
        model = rebuild(model, inputs=resized(image, *size))
    gates, top = read_top(model)
    if not top:
        raise ValueError(
            "`model` must have a classifier's top: global pooling or Flatten, then Dense. "
            f"Received: {model.name!r}. Build it with `include_top=True`, or use it as it is: it "
            "is fully convolutional already."
        )
    converter = _Converter(gates, top[-1], padding, dropout, include_top)
    inputs = resized(image)
    outputs = walk(model, _Cell(inputs), converter)
    outputs = tree.map_structure(lambda cell: cell.tensor, outputs)
    return keras.Model(inputs, outputs, name=name or model.name)

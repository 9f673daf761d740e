"""A classifier applied everywhere at once: its top as convolutions, with the same weights."""

from dataclasses import dataclass

import keras
from keras import layers, tree

from keras_dense.layers import AtrousAveragePooling2D
from keras_dense.surgery.feature_pyramid import image_of, resized
from keras_dense.surgery.graph import Copies, functional, rebuild, transfer, values, walk
from keras_dense.surgery.pointwise import is_pointwise
from keras_dense.surgery.strides import CONVOLUTIONS, GLOBAL_POOLING
from keras_dense.surgery.top import is_pooling, read_top

# What acts on each number alone, by class.
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
    """A tensor of the new network, and what it stands for in the old one."""

    tensor: keras.KerasTensor
    top: bool = False  # behind the pooling of the classifier
    window: tuple = (1, 1)  # how many cells were flattened into one vector


class _Converter:
    def __init__(self, gates, scores, padding, dropout, include_top):
        self.gates, self.scores = gates, scores
        self.padding, self.dropout, self.include_top = padding, dropout, include_top
        self.copies = Copies()
        self.done = False

    def __call__(self, node, *args, **kwargs):
        op = node.operation
        cells = values(args, kwargs, _Cell)
        is_top = any(cell.top for cell in cells)
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
        return tree.map_structure(lambda x: _Cell(x, is_top, window), outputs)

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

    def check(self, node, cells):
        op, windows = node.operation, {cell.window for cell in cells}
        if windows == {(1, 1)}:
            known = is_pointwise(node) or isinstance(op, CONVOLUTIONS)
        else:  # A map that was flattened: what looks at more than one number would see it all.
            softmax = getattr(op, "activation", None) is keras.activations.softmax
            known = len(windows) == 1 and isinstance(op, _ELEMENTWISE) and not softmax
        if not known:
            raise ValueError(
                f"The top of the classifier has an operation that has no convolutional form: "
                f"{op.name!r} ({type(op).__name__}). Known there are Dense, Flatten, global "
                "pooling, 1×1 convolutions, and layers that act on each number alone."
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


def convolutionalize(
    model, *, padding="valid", include_top=True, dropout=None, size=None, name=None
):
    """A classifier made fully convolutional, without losing a weight.

    `Flatten` and the `Dense` after it become a k×k convolution of the same weights, later `Dense`
    1×1 convolutions; global pooling becomes pooling with a window of the classifier's own map.
    Fed an image of the classifier's own size, the new network returns the same class scores, as
    a 1×1 map; fed a larger one, scores for every position of that window, one for each stride.

    Args:
        model: a functional classifier `(B, H, W, C) → (B, classes)`, nested models included, such
            as any of `keras.applications` with `include_top=True`.
        padding: "valid": scores only where the window fits, as if the classifier were slid over
            the image. "same": scores for every cell of the last map, the window reaching over
            the edge; the scores of "valid" lie in its middle.
        include_top: `False` leaves out the last layer, the one of the class scores, and what
            follows it.
        dropout: rate of a dropout after every hidden fully connected layer, or `None`.
        size: `(height, width)` that the classifier is meant for; needed only where the model
            does not say (`input_shape=(None, None, 3)`).
        name: name of the new model.

    Returns:
        A `keras.Model` `(B, H, W, C) → (B, h, w, classes)` for images of any size, with copies of
        the weights.

    Raises:
        TypeError: for a model whose graph cannot be read.
        ValueError: for a network without a classifier's top, an operation in it without a
            convolutional form (named), or an unknown input size.

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
    if padding not in ("valid", "same"):
        raise ValueError(f"`padding` must be 'valid' or 'same'. Received: padding={padding!r}")
    model = functional(model)
    image = image_of(model)
    if None in image.shape[1:3]:
        if size is None:
            raise ValueError(
                f"{model.name!r} takes images of any size, so the window of its top is unknown. "
                "Say which size it was trained on: `size=(224, 224)`."
            )
        model = rebuild(model, inputs=resized(image, *size))
    gates, top = read_top(model)
    if not top:
        raise ValueError(
            f"{model.name!r} has no classifier's top (global pooling or Flatten, then Dense) to "
            "convert. Build it with `include_top=True`, or use it as it is: it is fully "
            "convolutional already."
        )
    converter = _Converter(gates, top[-1], padding, dropout, include_top)
    inputs = resized(image)
    outputs = walk(model, _Cell(inputs), converter)
    outputs = tree.map_structure(lambda cell: cell.tensor, outputs)
    return keras.Model(inputs, outputs, name=name or model.name)

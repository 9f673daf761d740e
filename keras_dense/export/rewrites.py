"""Rewriting of networks before export: the same numbers in operations that runtimes have."""

import keras
from keras import layers, ops

from keras_dense.layers import BilinearUpsampling
from keras_dense.surgery import rebuild

_SETTINGS = ("initializer", "regularizer", "constraint")


def in_float32(model):
    """The network in float32 with the same weights; itself if it computes in float32 already."""

    def less(op):
        return getattr(op, "compute_dtype", "float32") in ("float16", "bfloat16")

    if not any(less(layer) for layer in model._flatten_layers()):
        return model

    def rewrite(node, copies, *args, **kwargs):
        if less(node.operation):
            return copies(node.operation, *args, config={"dtype": "float32"}, **kwargs)
        return None

    return rebuild(model, rewrite)


def depthwise(model):
    """The network with depthwise convolutions instead of those with a group for each channel.

    Keras compiles the latter by XLA, which only TensorFlow can run.
    """

    def rewrite(node, copies, *args, **kwargs):
        op = node.operation
        if type(op) is not layers.Conv2D or op.groups == 1 or op.kernel.shape[2] > 1:
            return None
        if op.strides[0] != op.strides[1]:
            return None
        multiplier = op.filters // op.groups
        ours = ("filters", "groups", *(f"kernel_{x}" for x in _SETTINGS))
        config = {**dict.fromkeys(ours), "depth_multiplier": multiplier}
        kernel, *bias = op.get_weights()
        kernel = kernel.reshape(*kernel.shape[:2], op.groups, multiplier)
        kind = layers.DepthwiseConv2D
        return copies(op, *args, kind=kind, config=config, weights=[kernel, *bias], **kwargs)

    return rebuild(model, rewrite)


def resized(model):
    """The network with one resizing operation for each upsampling without weights.

    Our layer consists of slices and sums, Keras' of repetitions, which runtimes compute in turn.
    """

    def rewrite(node, copies, *args, **kwargs):
        op = node.operation
        if getattr(op, "data_format", None) != "channels_last":
            return None
        if isinstance(op, BilinearUpsampling):
            factor, interpolation = op.factor, "bilinear"
        elif isinstance(op, layers.UpSampling2D) and op.interpolation in _Resize.KINDS:
            factor, interpolation = op.size, op.interpolation
        else:
            return None
        config = {"factor": factor, "interpolation": interpolation}
        others = dict.fromkeys({"size", "data_format"} & set(op.get_config()))
        return copies(op, *args, kind=_Resize, config={**others, **config}, **kwargs)

    return rebuild(model, rewrite)


class _Resize(keras.layers.Layer):
    """Resizing by integer factors in one operation of TensorFlow, which all runtimes have."""

    KINDS = ("nearest", "bilinear")

    def __init__(self, factor, interpolation, **kwargs):
        super().__init__(**kwargs)
        self.factor = tuple(factor)
        self.interpolation = interpolation

    def compute_output_shape(self, input_shape):
        batch, *size, channels = input_shape
        grown = (None if n is None else n * f for n, f in zip(size, self.factor, strict=True))
        return (batch, *grown, channels)

    def call(self, x):
        import tensorflow as tf

        size = [n * f for n, f in zip(ops.shape(x)[1:3], self.factor, strict=True)]
        if self.interpolation == "nearest":
            return tf.raw_ops.ResizeNearestNeighbor(images=x, size=size)
        return tf.raw_ops.ResizeBilinear(images=x, size=size, half_pixel_centers=True)

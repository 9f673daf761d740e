"""What networks are rewritten to before they leave: the same numbers in operations of runtimes."""

import keras
from keras import layers, ops

from keras_dense.layers import BilinearUpsampling
from keras_dense.surgery import rebuild

_SETTINGS = ("initializer", "regularizer", "constraint")


def in_float32(model):
    """The network itself, or the same with the same weights where some of it computes in less."""

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
    """The network with depthwise convolutions for those that have a group for each channel.

    Keras compiles these by XLA, which only TensorFlow can run.
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
    """The network with one operation, which runtimes have, for each upsampling without weights.

    Ours are slices and sums, Keras' repetitions, which runtimes compute one after the other.
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
    """Resizing by whole factors in one operation of TensorFlow, which runtimes know."""

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

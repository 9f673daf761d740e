"""Pure functions on tensors, written with `keras.ops`."""

from keras_dense.ops.image import (
    crop_like,
    depthwise_conv_transpose,
    pad_to_multiple,
    upsample_bilinear,
)

__all__ = ["crop_like", "depthwise_conv_transpose", "pad_to_multiple", "upsample_bilinear"]

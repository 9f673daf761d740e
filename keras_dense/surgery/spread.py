"""A convolution or pooling anew, with its taps further apart."""

from keras import layers

from keras_dense.layers import (
    AtrousAveragePooling2D,
    AtrousConv2D,
    AtrousDepthwiseConv2D,
    AtrousMaxPooling2D,
    AtrousSeparableConv2D,
)
from keras_dense.surgery.strides import MAX_POOLING, POOLING

_ATROUS = {
    layers.Conv2D: AtrousConv2D,
    layers.DepthwiseConv2D: AtrousDepthwiseConv2D,
    layers.SeparableConv2D: AtrousSeparableConv2D,
}


def spread(op, copies, x, axes, kept, rate, zeros):
    """The operation with taps `rate` cells apart and the strides `kept`, weights as they are.

    Args:
        op: a convolution or pooling.
        copies: makes copies with the weights.
        x: its input; that of a pooling with `zeros` around it already, which count as cells.
        axes: an `Axis` for either axis, which says how to pad.
        kept, rate: pairs of ints.
        zeros: cells of the old map that the network pads explicitly before this operation.
    """
    padding = tuple(axis.grown(r) for axis, r in zip(axes, rate, strict=True))
    if isinstance(op, POOLING):
        padding = tuple(
            tuple(max(p - z * axis.rate, 0) for p, z in zip(pads, zero, strict=True))
            for pads, axis, zero in zip(padding, axes, zeros, strict=True)
        )
        kind = AtrousMaxPooling2D if isinstance(op, MAX_POOLING) else AtrousAveragePooling2D
        config = {"padding": padding, "strides": kept, "rate": rate, "data_format": None}
        return copies(op, x, kind=kind, config=config)
    if kept == (1, 1) and all(
        pads == ((axis.kernel - 1) * r // 2, (axis.kernel - 1) * r - (axis.kernel - 1) * r // 2)
        for pads, axis, r in zip(padding, axes, rate, strict=True)
    ):
        padding = "same"
    kind = _ATROUS.get(type(op), type(op))
    if hasattr(kind, "rate"):
        config = {"padding": padding, "strides": kept, "rate": rate, "dilation_rate": None}
        return copies(op, x, kind=kind, config=config)
    # A convolution of one's own (weights standardized, say) stays one; zeros go in front.
    config = {"strides": kept, "dilation_rate": rate, "padding": padding}
    if padding != "same":
        config["padding"] = "valid"
        pad = layers.ZeroPadding2D(
            padding,
            name=copies.name(f"{op.name}_pad"),
            dtype=policy_of(x),
            data_format="channels_last",
        )
        x = pad(x)
    return copies(op, x, config=config)


def spread_plainly(op, copies, x, kept, rate):
    """The same the usual way: symmetric padding, pooling undilated, in layers that Keras has."""
    config = {"strides": kept, "padding": "same"}
    if not isinstance(op, POOLING):
        config["rate" if hasattr(op, "rate") else "dilation_rate"] = rate
    return copies(op, x, config=config)


def policy_of(tensor):
    """The dtype policy of a layer that moves values of a tensor and must not round them."""
    return tensor.dtype if "float" in tensor.dtype else None

"""A copy of a convolution or pooling with its taps farther apart."""

from typing import Any

from keras import layers

from keras_dense._types import Tensor
from keras_dense.layers import (
    AtrousAveragePooling2D,
    AtrousConv2D,
    AtrousDepthwiseConv2D,
    AtrousMaxPooling2D,
    AtrousSeparableConv2D,
)
from keras_dense.surgery.axis import Axis
from keras_dense.surgery.effect import MAX_POOLING, POOLING
from keras_dense.surgery.graph import Copies

_ATROUS = {
    layers.Conv2D: AtrousConv2D,
    layers.DepthwiseConv2D: AtrousDepthwiseConv2D,
    layers.SeparableConv2D: AtrousSeparableConv2D,
}


def respace(
    op: Any,
    copies: Copies,
    x: Tensor,
    axes: list[Axis],
    kept: tuple,
    rate: tuple,
    *,
    zeros: tuple,
) -> Tensor:
    """Apply an operation with taps `rate` cells apart, the strides `kept`, and the same weights.

    Args:
        op: a convolution or pooling.
        copies: makes copies with the weights.
        x: the input; that of a pooling has `zeros` around it already, which count as cells.
        axes: an `Axis` for each axis, which determines the padding.
        kept, rate: pairs of ints.
        zeros: cells of the old map that the network pads explicitly before this operation.
    """
    padding: Any
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
    # A user's convolution (with standardized weights, say) keeps its class; a layer before it pads.
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


def respace_plainly(op: Any, copies: Copies, x: Tensor, kept: tuple, rate: tuple) -> Tensor:
    """The usual approximation in Keras' own layers: symmetric padding, pooling not dilated."""
    config = {"strides": kept, "padding": "same"}
    if not isinstance(op, POOLING):
        config["rate" if hasattr(op, "rate") else "dilation_rate"] = rate
    return copies(op, x, config=config)


def policy_of(tensor: Tensor) -> str | None:
    """The dtype policy of a layer that moves values of a tensor without rounding them."""
    return tensor.dtype if "float" in tensor.dtype else None

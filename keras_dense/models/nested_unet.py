"""U-Net++.

Zhou, Siddiquee, Tajbakhsh, Liang, "UNet++: A Nested U-Net Architecture for Medical Image
Segmentation", DLMIA 2018.
"""

from collections.abc import Sequence

from keras import layers

from keras_dense import _check
from keras_dense._types import Features, Tensor
from keras_dense.models.decoder import Decoder, read_through
from keras_dense.models.unet_blocks import (
    Step,
    check_filters,
    check_reduction,
    double_conv,
    squeeze_and_excite,
    steps_up,
)
from keras_dense.models.upsampling import check_upsampling


def nested_unet_decoder(
    filters: Sequence[int] | None = None,
    *,
    upsampling: str = "up_conv",
    reduction: str | None = "upsampling",
    batch_norm: bool = True,
    attention: bool | str = False,
    keep_width: bool = False,
    center: bool = False,
    scores_size: int = 1,
) -> Decoder:
    """Nested U-Nets of every depth (figure 1a): features are refined before they are joined.

    Node (i, j) of level i joins all nodes before it on its level, (i, 0) being the feature of the
    backbone, and node (i + 1, j - 1), upsampled.

    Args:
        filters: tuple of ints >= 1, widths of the levels, coarsest first; default: see
            `kd.decoders.unet`.
        upsampling: str, see `kd.decoders.upsample`.
        reduction: str, what reduces the channels on the way up, see `kd.decoders.unet`.
        batch_norm: bool, batch norm after each 3×3 convolution, which then has no bias.
        attention: `False`, or "scse", see `kd.decoders.unet`.
        keep_width: bool, whether nodes other than the last of a level have the channels of its
            feature instead.
        center, scores_size: see `kd.decoders.unet`.

    Returns:
        A decoder for `kd.assemble`. A level where the backbone has no feature has the last node
        only.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> decoder = kd.decoders.nested_unet((16, 8, 8))
    >>> kd.assemble(backbone, decoder, kd.heads.Segmentation(5)).output_shape
    (None, None, None, 5)
    """
    filters, reduction = check_filters(filters), check_reduction(reduction)
    check_upsampling(upsampling)
    scores_size = _check.integer(scores_size, "scores_size", low=1)
    attention = _check.choice(attention, "attention", (False, "scse"))

    def node(step: Step, j: int, width: int, before: list[Tensor], below: Tensor) -> Tensor:
        name = f"node{step.level}_{j}"
        x = step.up(below, width, upsampling, reduction, f"{name}_up")
        if before:
            x = layers.Concatenate(name=f"{name}_join")([*before, x])
            x = squeeze_and_excite(x, f"{name}_attention1") if attention else x
        x = double_conv(x, width, name, batch_norm=batch_norm)
        return squeeze_and_excite(x, f"{name}_attention2") if attention else x

    @read_through(scores_size)
    def decode(features: Features) -> Tensor:
        coarsest, steps = steps_up(features, filters)
        if center:
            coarsest = double_conv(coarsest, coarsest.shape[-1], "center", batch_norm=batch_norm)
        below = [coarsest]  # the nodes of the level below
        for step in steps:
            if step.skip is None:
                below = [node(step, len(below), step.filters, [], below[-1])]
                continue
            nodes = [step.skip]
            for j, x in enumerate(below, start=1):
                inner = keep_width and j < len(below)
                width = step.skip.shape[-1] if inner else step.filters
                nodes.append(node(step, j, width, nodes, x))
            below = nodes
        return below[-1]

    return decode

"""U-Net++.

Zhou, Siddiquee, Tajbakhsh, Liang, "UNet++: A Nested U-Net Architecture for Medical Image
Segmentation", DLMIA 2018.
"""

from keras import layers

from keras_dense._types import Features, Tensor
from keras_dense.models.unet_parts import check_filters, climb, double_conv
from keras_dense.models.upsampling import check_upsampling, upsample


def nested_unet_decoder(filters=None, *, upsampling="up_conv", batch_norm=True):
    """U-Nets of every depth within each other (figure 1a): features are refined before they join.

    Node (i, j) of level i joins all nodes before it on its level, (i, 0) being the feature of the
    backbone, and node (i + 1, j - 1), upsampled.

    Args:
        filters: widths of the levels, coarsest first; default as of `kd.decoders.unet`.
        upsampling: see `kd.decoders.upsample`.
        batch_norm: batch norm after each 3×3 convolution, which then has no bias.

    Returns:
        A decoder for `kd.assemble`. On levels of which the backbone has no feature there is the last
        node only.
    """
    filters = check_filters(filters)
    check_upsampling(upsampling)

    def node(n, j, width, factor, before, below):
        name = f"node{n}_{j}"
        x = upsample(
            below,
            factor,
            upsampling,
            filters=width,
            kernel_initializer="he_normal",
            name=f"{name}_up",
        )
        x = layers.ReLU(name=f"{name}_up_relu")(x)
        if before:
            x = layers.Concatenate(name=f"{name}_join")([*before, x])
        return double_conv(x, width, name, batch_norm=batch_norm)

    def decode(features: Features) -> Tensor:
        coarsest, steps = climb(features, filters)
        below = [coarsest]  # the nodes of the level below
        for n, width, factor, skip in steps:
            if skip is None:
                below = [node(n, len(below), width, factor, [], below[-1])]
                continue
            nodes = [skip]
            for j, x in enumerate(below, start=1):
                nodes.append(node(n, j, width, factor, nodes, x))
            below = nodes
        return below[-1]

    return decode

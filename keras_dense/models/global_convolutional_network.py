"""Global convolutional network (GCN).

Peng, Zhang, Yu, Luo, Sun, "Large Kernel Matters: Improve Semantic Segmentation by Global
Convolutional Network", CVPR 2017.
"""

from keras import layers

from keras_dense._types import Features, Tensor
from keras_dense.heads import Heads
from keras_dense.models.decoder import Wanted, scores
from keras_dense.models.parts import backbone_of, finished
from keras_dense.models.upsampling import check_upsampling, doublings, upsample
from keras_dense.surgery.feature_pyramid import feature
from keras_dense.surgery.graph import source_of
from keras_dense.surgery.strides import stride_between

LEVELS = ("P5", "P4", "P3", "P2")


def large_kernel(x, channels, kernel_size, *, name):
    """A k×k window as two pairs of strips, k×1 then 1×k and the other way, summed (figure 2 B)."""

    def strips(first, second, side):
        y = layers.Conv2D(
            channels, first, padding="same", name=f"{name}_{side}_1", data_format="channels_last"
        )(x)
        return layers.Conv2D(
            channels, second, padding="same", name=f"{name}_{side}_2", data_format="channels_last"
        )(y)

    tall, wide = (kernel_size, 1), (1, kernel_size)
    return layers.Add(name=name)([strips(tall, wide, "left"), strips(wide, tall, "right")])


def boundary_refinement(x, *, name):
    """Scores plus what two 3×3 convolutions make of them (figure 2 C)."""
    y = layers.Conv2D(
        x.shape[-1],
        3,
        padding="same",
        activation="relu",
        name=f"{name}_1",
        data_format="channels_last",
    )(x)
    y = layers.Conv2D(
        x.shape[-1], 3, padding="same", name=f"{name}_2", data_format="channels_last"
    )(y)
    return layers.Add(name=name)([x, y])


def global_convolutional_network_decoder(kernel_size=15, *, levels=LEVELS, upsampling="transposed"):
    """Scores of every level through large kernels; coarse ones upsampled and added (figure 2).

    Args:
        kernel_size: odd int ≥ 1, how many cells the strips are long.
        levels: the features that are read, coarsest first, each finer by a whole factor.
        upsampling: how coarse scores reach the next level: "transposed" (bilinear at first,
            learned), "bilinear" or another, see `kd.decoders.upsample`.

    Returns:
        A decoder for `kd.assemble` that predicts the scores of a head.

    Raises:
        ValueError: for an even kernel size, no levels, or an unknown way of upsampling.
    """
    whole = isinstance(kernel_size, int) and not isinstance(kernel_size, bool)
    if not whole or kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(
            f"`kernel_size` must be an odd int ≥ 1. Received: kernel_size={kernel_size!r}"
        )
    if not levels or isinstance(levels, str):
        raise ValueError(f"`levels` must name at least one feature. Received: levels={levels!r}")
    check_upsampling(upsampling)

    @scores
    def decode(features: Features, wanted: Wanted) -> Tensor:
        channels, prefix = wanted.channels, wanted.prefix

        def refined(x, name):
            return boundary_refinement(x, name=f"{prefix}refine_{name}")

        x = None
        for level in levels:
            seen = feature(features, level)
            y = large_kernel(seen, channels, kernel_size, name=f"{prefix}global_{level}")
            y = refined(y, level)
            if x is not None:
                name = f"{prefix}upsample_{level}"
                x = upsample(x, stride_between(y, x), upsampling, name=name)
                y = refined(layers.Add(name=f"{prefix}add_{level}")([x, y]), f"sum_{level}")
            x = y
        # What is left between the finest feature and the image, by halves.
        image = source_of(x)
        stride = stride_between(image, x)
        for step in doublings(stride):
            stride = tuple(s // f for s, f in zip(stride, step, strict=True))
            x = upsample(x, step, upsampling, name=f"{prefix}upsample_{max(stride)}")
            x = refined(x, f"at_{max(stride)}")
        return x

    return decode


def global_convolutional_network(
    backbone="resnet152",
    num_classes=None,
    *,
    heads=None,
    weights="imagenet",
    input_shape=(None, None, 3),
    name=None,
    initialize_from=None,
    kernel_size=15,
    levels=LEVELS,
    upsampling="transposed",
):
    """Global convolutional network: class scores with windows as large as the map, then edges.

    A classifier sees the whole object, and a segmentation network should, too: the scores of
    every feature are read through k×k windows, made of strips to stay cheap. A small residual
    block (boundary refinement) follows wherever scores appear, are added or are upsampled.

    Args:
        backbone, num_classes, heads, weights, input_shape, name, initialize_from: as of every
            builder, see `kd.models`.
        kernel_size: odd int ≥ 1, how many cells the strips are long.
        levels: the features that are read, coarsest first.
        upsampling: how coarse scores reach the next level: "transposed" (bilinear at first,
            learned), "bilinear" or another, see `kd.decoders.upsample`.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`.

    Raises:
        ValueError, TypeError: for an even kernel size, levels that the backbone lacks, or an
            unknown way of upsampling; see `kd.backbone`, `kd.heads.Segmentation`.

    Reference: Peng et al., CVPR 2017, section 3 and figure 2.

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> global_convolutional_network(backbone, 11, kernel_size=7).output_shape
    (None, None, None, 11)
    """
    heads = Heads.of(heads, num_classes)
    decoder = global_convolutional_network_decoder(
        kernel_size, levels=levels, upsampling=upsampling
    )
    backbone = backbone_of(backbone, weights, input_shape)
    name = name or "global_convolutional_network"
    return finished(backbone, decoder, heads, input_shape, name, initialize_from)

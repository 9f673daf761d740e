"""Global convolutional network (GCN).

Peng, Zhang, Yu, Luo, Sun, "Large Kernel Matters: Improve Semantic Segmentation by Global
Convolutional Network", CVPR 2017.
"""

from collections.abc import Sequence

import keras
from keras import layers

from keras_dense import _check
from keras_dense._types import Features, PathLike, Shape, Tensor
from keras_dense.heads import Heads
from keras_dense.models.build import HeadsLike, build, make_backbone
from keras_dense.models.decoder import Decoder, Wanted, scores
from keras_dense.models.upsampling import check_upsampling, doublings, upsample
from keras_dense.surgery.feature_pyramid import feature
from keras_dense.surgery.graph import source_of
from keras_dense.surgery.strides import stride_between

LEVELS = ("P5", "P4", "P3", "P2")


def large_kernel(x: Tensor, channels: int, kernel_size: int, *, name: str) -> Tensor:
    """Sum of two pairs of strips, k×1 then 1×k and 1×k then k×1: a k×k window (figure 2 B)."""

    def strips(first, second, side):
        y = layers.Conv2D(
            channels, first, padding="same", name=f"{name}_{side}_1", data_format="channels_last"
        )(x)
        return layers.Conv2D(
            channels, second, padding="same", name=f"{name}_{side}_2", data_format="channels_last"
        )(y)

    tall, wide = (kernel_size, 1), (1, kernel_size)
    return layers.Add(name=name)([strips(tall, wide, "left"), strips(wide, tall, "right")])


def boundary_refinement(x: Tensor, *, name: str) -> Tensor:
    """Scores plus a residual of two 3×3 convolutions (figure 2 C)."""
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


def global_convolutional_network_decoder(
    kernel_size: int = 15, *, levels: Sequence[str] = LEVELS, upsampling: str = "transposed"
) -> Decoder:
    """Scores of every level through large kernels; coarse ones upsampled and added (figure 2).

    Args:
        kernel_size: odd int >= 1, length of the strips in cells.
        levels: tuple of str, the features that are read, coarsest first, each finer by an integer
            factor.
        upsampling: str, the way from coarse scores to the next level: "transposed" (bilinear at
            first, learned), "bilinear" or another, see `kd.decoders.upsample`.

    Returns:
        A decoder for `kd.assemble`.

    Raises:
        ValueError: for an even kernel size, no levels, or an unknown way of upsampling.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> decoder = kd.decoders.global_convolutional_network(7, levels=("P5", "P4", "P3"))
    >>> kd.assemble(backbone, decoder, kd.heads.Segmentation(5)).output_shape
    (None, None, None, 5)
    """
    if _check.integer(kernel_size, "kernel_size", low=1) % 2 == 0:
        raise _check.fail("kernel_size", "an odd integer >= 1", kernel_size)
    if not levels or isinstance(levels, str):
        raise _check.fail("levels", "a tuple of at least one feature", levels)
    check_upsampling(upsampling)

    @scores
    def decode(features: Features, wanted: Wanted) -> Tensor:
        channels, prefix = wanted.channels, wanted.prefix

        def refine(x: Tensor, name: str) -> Tensor:
            return boundary_refinement(x, name=f"{prefix}refine_{name}")

        x = None
        for level in levels:
            seen = feature(features, level)
            y = large_kernel(seen, channels, kernel_size, name=f"{prefix}global_{level}")
            y = refine(y, level)
            if x is not None:
                name = f"{prefix}upsample_{level}"
                x = upsample(x, stride_between(y, x), upsampling, like=y, name=name)
                y = refine(layers.Add(name=f"{prefix}add_{level}")([x, y]), f"sum_{level}")
            x = y
        # The remaining steps from the finest feature to the image, by factors of 2.
        image = source_of(x)
        stride = stride_between(image, x)
        for step in doublings(stride):
            stride = tuple(s // f for s, f in zip(stride, step, strict=True))
            name = f"{prefix}upsample_{max(stride)}"
            x = upsample(x, step, upsampling, like=image, stride=stride, name=name)
            x = refine(x, f"at_{max(stride)}")
        return x

    return decode


def global_convolutional_network(
    backbone: str | keras.Model = "resnet152",
    num_classes: int | None = None,
    *,
    heads: HeadsLike | None = None,
    weights: PathLike | None = "imagenet",
    input_shape: Shape = (None, None, 3),
    name: str | None = None,
    initialize_from: keras.Model | PathLike | None = None,
    grid: str | None = None,
    kernel_size: int = 15,
    levels: Sequence[str] = LEVELS,
    upsampling: str = "transposed",
) -> keras.Model:
    """Global convolutional network: class scores with windows as large as the map.

    A classifier sees the whole object, and a segmentation network should, too: the scores of
    every feature are read through k×k windows, made of strips to stay cheap. A small residual
    block (boundary refinement) follows wherever scores are predicted, added or upsampled.

    Args:
        backbone, num_classes, heads, weights, input_shape, name, initialize_from, grid: common to
            all builders, see `kd.models`.
        kernel_size: odd int >= 1, length of the strips in cells.
        levels: tuple of str, the features that are read, coarsest first.
        upsampling: str, the way from coarse scores to the next level: "transposed" (bilinear at
            first, learned), "bilinear" or another, see `kd.decoders.upsample`.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`.

    Raises:
        ValueError, TypeError: for an even kernel size, levels that the backbone lacks, or an
            unknown way of upsampling; see `kd.backbone`, `kd.heads.Segmentation`.

    Reference: Peng et al., CVPR 2017, section 3 and figure 2.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> global_convolutional_network(backbone, 11, kernel_size=7).output_shape
    (None, None, None, 11)
    """
    heads = Heads.of(heads, num_classes)
    decoder = global_convolutional_network_decoder(
        kernel_size, levels=levels, upsampling=upsampling
    )
    backbone = make_backbone(backbone, weights, input_shape)
    name = name or "global_convolutional_network"
    return build(backbone, decoder, heads, input_shape, name, initialize_from, grid)

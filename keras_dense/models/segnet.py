"""SegNet, and SegNet-Basic.

Badrinarayanan, Kendall, Cipolla, "SegNet: A Deep Convolutional Encoder-Decoder Architecture for
Image Segmentation", PAMI 2017.
"""

from collections.abc import Mapping, Sequence

import keras

from keras_dense import _check
from keras_dense._types import Config, Features, PathLike, Shape, Tensor
from keras_dense.heads import Heads
from keras_dense.layers import LocalResponseNormalization, MaxPoolWithArgmax2D
from keras_dense.models.assemble import channels_of
from keras_dense.models.build import HeadsLike, build
from keras_dense.models.decoder import Decoder, read_through
from keras_dense.models.grid import as_grid
from keras_dense.models.mirror import (
    GRIDS,
    REASON,
    backbone_with_indices,
    conv_bn,
    mirror,
    mirror_arguments,
    pooling_indices,
    unpool,
)
from keras_dense.surgery.feature_pyramid import feature


def segnet_decoder(
    depths: Sequence[int] = (2, 2, 3, 3, 3), *, pools: Mapping[str, Config] | None = None
) -> Decoder:
    """Decoder of figure 2: at each level unpooling by the encoder's indices, then convolutions.

    Args:
        depths: tuple of ints >= 1, 3×3 convolutions at each level, finest first; the last
            convolution of the finest level is the one of the heads.
        pools: `{"I1": {"pool_size": …, "strides": …, "padding": …}, …}`, if the poolings of the
            backbone are not 2×2.

    Returns:
        A decoder for `kd.assemble` on a backbone with indices (`kd.surgery.pool_with_indices`).

    Example:

    >>> import keras_dense as kd
    >>> x = image = keras.Input((None, None, 3))
    >>> for filters in (4, 8):
    ...     x = keras.layers.Conv2D(filters, 3, padding="same")(x)
    ...     x = keras.layers.MaxPooling2D()(x)
    >>> backbone = kd.surgery.pool_with_indices(keras.Model(image, x))
    >>> decoder = kd.decoders.segnet((1, 1))
    >>> kd.assemble(backbone, decoder, kd.heads.Segmentation(5)).output_shape
    (None, None, None, 5)
    """

    @read_through(3)
    def decode(features: Features) -> Tensor:
        x = feature(features, f"P{len(pooling_indices(features, 'SegNet'))}", "SegNet")
        return mirror(x, features, depths, pools, leave_last=True, reader="SegNet")

    return decode


def segnet(
    backbone: str | keras.Model = "vgg16",
    num_classes: int | None = None,
    *,
    heads: HeadsLike | None = None,
    weights: PathLike | None = "imagenet",
    input_shape: Shape = (None, None, 3),
    name: str | None = None,
    initialize_from: keras.Model | PathLike | None = None,
    grid: str | None = None,
    depths: Sequence[int] | None = None,
) -> keras.Model:
    """SegNet: the convolutions of VGG-16, and their mirror image that unpools by stored indices.

    Only the positions of the maxima go from the encoder to the decoder. 29.5 M weights, all
    convolutions with batch norm. The authors weight classes by `kd.training.median_frequency`.

    Args:
        backbone, num_classes, heads, weights, input_shape, name, initialize_from, grid: common to
            all builders, see `kd.models`. The backbone must halve its maps by max pooling alone, as
            VGG or a network of your own. It gets batch norms where it has none, and keeps its
            weights.
        depths: tuple of ints >= 1, convolutions of the decoder at each level, finest first;
            default: as many as the backbone has there, (2, 2, 3, 3, 3) for VGG-16.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`.

    Raises:
        ValueError, TypeError: for a backbone that halves a map in another way; see `kd.backbone`,
            `kd.heads.Segmentation`.

    Reference: Badrinarayanan et al., PAMI 2017, section 3 and figure 2.

    Example:

    >>> x = image = keras.Input((None, None, 3))
    >>> for filters in (4, 8):
    ...     x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
    ...     x = keras.layers.MaxPooling2D()(x)
    >>> segnet(keras.Model(image, x), 11).output_shape
    (None, None, None, 11)
    """
    heads, grid = Heads.of(heads, num_classes), as_grid(grid, GRIDS, REASON).name
    backbone = backbone_with_indices(backbone, weights, input_shape)
    mirrored, pools = mirror_arguments(backbone, "SegNet")
    decoder = segnet_decoder(mirrored if depths is None else depths, pools=pools)
    return build(backbone, decoder, heads, input_shape, name or "segnet", initialize_from, grid)


def segnet_basic_backbone(
    filters: int = 64, *, kernel_size: int = 7, channels: int = 3
) -> keras.Model:
    """Four times a 7×7 convolution with 64 channels, batch norm, ReLU and 2×2 pooling.

    As in the authors' network file, the image is not centered: local response normalization across
    its channels evens out bright and dark.
    """
    image = keras.Input((None, None, channels), name="image")
    x = LocalResponseNormalization(5, alpha=1e-4, beta=0.75, name="normalize")(image)
    features, indices = {}, {}
    for n in range(1, 5):
        x = conv_bn(x, filters, kernel_size, f"down{n}_conv")
        features[f"P{n - 1}"] = x
        pool = MaxPoolWithArgmax2D(data_format="channels_last", name=f"down{n}_pool")
        x, indices[f"I{n}"] = pool(x)
    return keras.Model(image, {**features, "P4": x, **indices}, name="backbone")


def segnet_basic_decoder(
    filters: int = 64,
    *,
    kernel_size: int = 7,
    pools: Mapping[str, Config] | None = None,
) -> Decoder:
    """At each level unpooling, a 7×7 convolution and batch norm, without ReLU.

    Args:
        filters: int >= 1, channels of the convolution at the finest level; coarser levels have the
            channels of the next finer indices.
        kernel_size: int >= 1, kernel size of the convolutions.
        pools: see `kd.decoders.segnet`.

    Returns:
        A decoder for `kd.assemble` on a backbone with indices.

    Example:

    >>> import keras_dense as kd
    >>> x = image = keras.Input((None, None, 3))
    >>> for filters in (4, 8):
    ...     x = keras.layers.Conv2D(filters, 3, padding="same")(x)
    ...     x = keras.layers.MaxPooling2D()(x)
    >>> backbone = kd.surgery.pool_with_indices(keras.Model(image, x))
    >>> decoder = kd.decoders.segnet_basic(4)
    >>> kd.assemble(backbone, decoder, kd.heads.Segmentation(5)).output_shape
    (None, None, None, 5)
    """

    @read_through(1)
    def decode(features: Features) -> Tensor:
        levels = len(pooling_indices(features, "SegNet-Basic"))
        x = feature(features, f"P{levels}", "SegNet-Basic")
        for n in range(levels, 0, -1):
            width = features[f"I{n - 1}"].shape[-1] if n > 1 else filters
            x = unpool(x, features, n, pools)
            x = conv_bn(x, width, kernel_size, f"up{n}_conv", relu=False)
        return x

    return decode


def segnet_basic(
    backbone: str | keras.Model | None = None,
    num_classes: int | None = None,
    *,
    heads: HeadsLike | None = None,
    weights: PathLike | None = None,
    input_shape: Shape = (None, None, 3),
    name: str | None = None,
    initialize_from: keras.Model | PathLike | None = None,
    grid: str | None = None,
    filters: int = 64,
    kernel_size: int = 7,
) -> keras.Model:
    """SegNet-Basic: four poolings, one 7×7 convolution of 64 at each level; 1.4 M weights.

    The small network on which the paper compares decoders. Its decoder has no ReLU, and a 1×1
    convolution reads the scores. It is trained from random weights.

    Args:
        backbone: `None` for the paper's encoder; otherwise as for `segnet`.
        num_classes, heads, weights, input_shape, name, initialize_from, grid: common to all
            builders, see `kd.models`. `weights` needs a backbone by name.
        filters: int >= 1, channels of all convolutions.
        kernel_size: int >= 1, kernel size of all convolutions.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`.

    Raises:
        ValueError, TypeError: for filters or a kernel below 1, or weights without a backbone; see
            `segnet`.

    Reference: Badrinarayanan et al., PAMI 2017, section 3.1 (SegNet-Basic).

    Example:

    >>> segnet_basic(num_classes=11, filters=4).output_shape
    (None, None, None, 11)
    """
    heads, channels = Heads.of(heads, num_classes), channels_of(input_shape)
    filters = _check.integer(filters, "filters", low=1)
    kernel_size = _check.integer(kernel_size, "kernel_size", low=1)
    pools, grid = None, as_grid(grid, GRIDS, REASON).name
    if backbone is not None:
        backbone = backbone_with_indices(backbone, weights, input_shape)
        _, pools = mirror_arguments(backbone, "SegNet-Basic")
    elif weights is not None:
        raise ValueError(
            "`weights` must be None without a backbone; start SegNet-Basic by `initialize_from`. "
            f"Received: backbone=None, weights={weights!r}"
        )
    else:
        backbone = segnet_basic_backbone(filters, kernel_size=kernel_size, channels=channels)
    decoder = segnet_basic_decoder(filters, kernel_size=kernel_size, pools=pools)
    return build(
        backbone, decoder, heads, input_shape, name or "segnet_basic", initialize_from, grid
    )

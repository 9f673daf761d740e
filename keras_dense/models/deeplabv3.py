"""DeepLabv3.

Chen, Papandreou, Schroff, Adam, "Rethinking Atrous Convolution for Semantic Image Segmentation",
2017.
"""

from collections.abc import Sequence

import keras

from keras_dense import _check
from keras_dense._types import Features, PathLike, Shape, Tensor
from keras_dense.heads import Heads
from keras_dense.models.blocks import aspp, conv_bn_relu
from keras_dense.models.build import HeadsLike, build, make_backbone, windowed_convolutions
from keras_dense.models.decoder import Decoder, read_through
from keras_dense.surgery import dilate
from keras_dense.surgery.arguments import check_output_stride
from keras_dense.surgery.feature_pyramid import feature

# Rates of the paper at output stride 16; at 8 the map is twice as fine, so they double.
RATES = (6, 12, 18)


def rates_at(output_stride: int, rates: Sequence[int] | None = None) -> tuple[int, ...]:
    """`rates`, or by default those of the paper, scaled to an output stride.

    >>> rates_at(16), rates_at(8)
    ((6, 12, 18), (12, 24, 36))
    """
    check_output_stride(output_stride)
    if rates is not None:
        return _check.integers(rates, "rates", empty=True)
    return tuple(max(r * 16 // output_stride, 1) for r in RATES)


def multi_grid_rates(
    backbone: keras.Model, multi_grid: str | Sequence[int] | None, output_stride: int
) -> dict[str, int]:
    """Dilation rates for `dilate` by layer name, for the 3×3 convolutions of the last stage.

    Each is a unit rate times the dilation of that stage. "auto" takes the paper's (1, 2, 4) if the
    stage has three of them, as in the bottleneck ResNets (but not V2, which strides one block
    earlier), and none otherwise.
    """
    check_output_stride(output_stride)
    names = windowed_convolutions(backbone, 32)
    if multi_grid == "auto":
        multi_grid = (1, 2, 4) if len(names) == 3 else None
    if multi_grid is None:
        return {}
    multi_grid = _check.integers(multi_grid, "multi_grid")
    if not names or len(names) % len(multi_grid):
        raise ValueError(
            f"`multi_grid` must have a rate for each of the {len(names)} windowed convolutions of "
            f"the last stage, or for a part that repeats. Received: multi_grid={multi_grid}"
        )
    repeated = multi_grid * (len(names) // len(multi_grid))
    return {
        name: unit * max(32 // output_stride, 1) for name, unit in zip(names, repeated, strict=True)
    }


def deeplabv3_decoder(
    rates: Sequence[int] = RATES,
    *,
    filters: int = 256,
    image_pooling: bool = True,
    separable: bool = False,
    depthwise_bn: bool = True,
    projection_size: int = 1,
    refine: bool = False,
    dropout: float = 0.1,
    level: str = "P5",
) -> Decoder:
    """Atrous spatial pyramid pooling on the last feature.

    Published networks differ in small ways: those of torchvision refine the result; those of
    MMSegmentation have 512 filters and a 3×3 projection.

    Args:
        rates: tuple of ints >= 1, dilation rates of the 3×3 convolutions, in cells of the feature;
            `()` for none of them.
        filters, image_pooling, separable, depthwise_bn, projection_size, dropout: see
            `kd.decoders.aspp`.
        refine: bool, whether a 3×3 convolution, batch norm and ReLU follow the pyramid.
        level: str, the feature that is read.

    Returns:
        A decoder for `kd.assemble`.

    Example:

    >>> import keras_dense as kd
    >>> image = keras.Input((None, None, 3))
    >>> feature = keras.layers.Conv2D(16, 8, strides=8)(image)
    >>> backbone = keras.Model(image, {"P3": feature})
    >>> decoder = kd.decoders.deeplabv3((12, 24, 36), level="P3")
    >>> kd.assemble(backbone, decoder, kd.heads.Segmentation(5)).output_shape
    (None, None, None, 5)
    """

    rates = _check.integers(rates, "rates", empty=True)
    filters = _check.integer(filters, "filters", low=1)
    projection_size = _check.integer(projection_size, "projection_size", low=1)

    @read_through(1)
    def decode(features: Features) -> Tensor:
        x = aspp(
            feature(features, level),
            rates,
            filters=filters,
            image_pooling=image_pooling,
            separable=separable,
            depthwise_bn=depthwise_bn,
            projection_size=projection_size,
            dropout=dropout,
        )
        return conv_bn_relu(x, filters, 3, name="refine") if refine else x

    return decode


def deeplabv3(
    backbone: str | keras.Model = "resnet101",
    num_classes: int | None = None,
    *,
    heads: HeadsLike | None = None,
    weights: PathLike | None = "imagenet",
    input_shape: Shape = (None, None, 3),
    name: str | None = None,
    initialize_from: keras.Model | PathLike | None = None,
    grid: str | None = None,
    output_stride: int = 16,
    rates: Sequence[int] | None = None,
    image_pooling: bool = True,
    multi_grid: str | Sequence[int] | None = "auto",
) -> keras.Model:
    """DeepLabv3: a dilated backbone and atrous spatial pyramid pooling with image-level features.

    The authors train at output stride 16 and predict at 8, with the same weights:

        fine = kd.deeplabv3(..., output_stride=8, initialize_from=trained)

    Args:
        backbone, num_classes, heads, weights, input_shape, name, initialize_from, grid: common to
            all builders, see `kd.models`.
        output_stride: int, stride of the dilated backbone: 32, 16, 8, …
        rates: tuple of ints >= 1, dilation rates of the pyramid; default (6, 12, 18) at output
            stride 16, scaled for others; `()` leaves out its 3×3 convolutions.
        image_pooling: bool, whether the mean of the whole map is part of the pyramid.
        multi_grid: tuple of ints >= 1, unit rates of the last stage's 3×3 convolutions, multiplied
            by the dilation; `None`: all 1; "auto": (1, 2, 4) if there are three (ResNets except
            V2), `None` otherwise.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`.

    Raises:
        ValueError, TypeError: for rates below 1, or unit rates that do not fit the last stage; see
            `kd.backbone`, `kd.surgery.dilate`, `kd.heads.Segmentation`.

    Reference: Chen et al., arXiv:1706.05587, sections 3.2, 3.3 and 4.1.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> deeplabv3(backbone, 11).output_shape
    (None, None, None, 11)
    """
    heads, rates = Heads.of(heads, num_classes), rates_at(output_stride, rates)
    backbone = make_backbone(backbone, weights, input_shape)
    rates_of_units = multi_grid_rates(backbone, multi_grid, output_stride)
    backbone = dilate(backbone, output_stride, rates=rates_of_units)
    decoder = deeplabv3_decoder(rates, image_pooling=image_pooling)
    return build(backbone, decoder, heads, input_shape, name or "deeplabv3", initialize_from, grid)

"""DeepLabv3.

Chen, Papandreou, Schroff, Adam, "Rethinking Atrous Convolution for Semantic Image Segmentation",
2017.
"""

from keras_dense import _check
from keras_dense._types import Features, Tensor
from keras_dense.heads import Heads
from keras_dense.models.parts import aspp, backbone_of, finished, windows_of_stage
from keras_dense.surgery import dilate
from keras_dense.surgery.arguments import check_output_stride
from keras_dense.surgery.feature_pyramid import feature

# Rates of the paper at output stride 16; at 8 the map is twice as fine, so they double.
RATES = (6, 12, 18)


def rates_at(output_stride, rates=None):
    """Rates of the pyramid for an output stride, those of the paper scaled, or `rates`.

    >>> rates_at(16), rates_at(8)
    ((6, 12, 18), (12, 24, 36))
    """
    check_output_stride(output_stride)
    if rates is not None:
        return _check.integers(rates, "rates")
    return tuple(max(r * 16 // output_stride, 1) for r in RATES)


def multi_grid_rates(backbone, multi_grid, output_stride):
    """Rates for `dilate` by layer name: unit rates of the last stage's 3×3 convolutions, times
    the dilation of that stage.

    "auto" takes the paper's (1, 2, 4) where that stage has three of them, as that of the bottleneck
    ResNets (not V2, which stride in the block before), and none elsewhere.
    """
    check_output_stride(output_stride)
    names = windows_of_stage(backbone, 32)
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


def deeplabv3_decoder(rates=RATES, *, image_pooling=True, level="P5"):
    """Atrous spatial pyramid pooling on the last feature.

    Args:
        rates: of the 3×3 convolutions, in cells of that feature.
        image_pooling: whether the mean of the whole map is a part of the pyramid.
        level: the feature that is read.

    Returns:
        A decoder for `kd.assemble`.
    """

    rates = _check.integers(rates, "rates")

    def decode(features: Features) -> Tensor:
        return aspp(feature(features, level), rates, image_pooling=image_pooling)

    return decode


def deeplabv3(
    backbone="resnet101",
    num_classes=None,
    *,
    heads=None,
    weights="imagenet",
    input_shape=(None, None, 3),
    name=None,
    initialize_from=None,
    output_stride=16,
    rates=None,
    image_pooling=True,
    multi_grid="auto",
):
    """DeepLabv3: a dilated backbone and atrous spatial pyramid pooling with image-level features.

    The authors train at output stride 16 and predict at 8, with the same weights:

        fine = kd.deeplabv3(..., output_stride=8, initialize_from=trained)

    Args:
        backbone, num_classes, heads, weights, input_shape, name, initialize_from: as of every
            builder, see `kd.models`.
        output_stride: of the dilated backbone: 32, 16, 8, …
        rates: of the pyramid; default (6, 12, 18) at output stride 16, scaled for others.
        image_pooling: whether the mean of the whole map is a part of the pyramid.
        multi_grid: unit rates of the last stage's 3×3 convolutions, multiplied with the dilation;
            "auto" is (1, 2, 4) where there are three (ResNets but V2), `None` elsewhere: none.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`.

    Raises:
        ValueError, TypeError: for rates below 1, or unit rates that do not fit the last stage; see
            `kd.backbone`, `kd.surgery.dilate`, `kd.heads.Segmentation`.

    Reference: Chen et al., arXiv:1706.05587, sections 3.2, 3.3 and 4.1.

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> deeplabv3(backbone, 11).output_shape
    (None, None, None, 11)
    """
    heads, rates = Heads.of(heads, num_classes), rates_at(output_stride, rates)
    backbone = backbone_of(backbone, weights, input_shape)
    rates_of_units = multi_grid_rates(backbone, multi_grid, output_stride)
    backbone = dilate(backbone, output_stride, rates=rates_of_units)
    decoder = deeplabv3_decoder(rates, image_pooling=image_pooling)
    return finished(backbone, decoder, heads, input_shape, name or "deeplabv3", initialize_from)

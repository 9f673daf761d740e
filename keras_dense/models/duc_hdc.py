"""DUC-HDC (TuSimple).

Wang, Chen, Yuan, Liu, Huang, Hou, Cottrell, "Understanding Convolution for Semantic
Segmentation", WACV 2018.
"""

from collections.abc import Sequence
from itertools import chain, cycle, islice

import keras

from keras_dense import _check
from keras_dense._types import Features, PathLike, Shape, Tensor
from keras_dense.heads import Heads
from keras_dense.layers import PixelShuffle
from keras_dense.models.blocks import summed_scores
from keras_dense.models.build import HeadsLike, build, make_backbone, windowed_convolutions
from keras_dense.models.decoder import Decoder, Wanted, scores
from keras_dense.models.upsampling import fit
from keras_dense.surgery import dilate
from keras_dense.surgery.feature_pyramid import feature
from keras_dense.surgery.graph import source_of
from keras_dense.surgery.strides import stride_between


def hdc_rates(count: int, stage: int) -> list[int]:
    """Rates of hybrid dilated convolution for the 3×3 convolutions of a stage.

    Neighboring rates without a common divisor leave no gaps in the receptive field.

    >>> hdc_rates(6, 4), hdc_rates(3, 5)
    ([2, 2, 5, 9, 1, 2], [5, 9, 17])
    """
    if stage == 5:
        return list(islice(cycle((5, 9, 17)), count))
    return list(islice(chain([2], islice(cycle((1, 2, 5, 9)), 1, None)), count))


def duc_hdc_decoder(
    rates: Sequence[int] = (6, 12, 18, 24), *, factor: int = 8, level: str = "P5"
) -> Decoder:
    """Dense upsampling convolution (figure 1): the scores of all subpixels as channels, shuffled.

    Args:
        rates: tuple of ints >= 1, dilation rates of the parallel 3×3 convolutions, whose scores are
            added up.
        factor: int >= 1, factor of the upsampling.
        level: str, the feature that is read.

    Returns:
        A decoder for `kd.assemble`.

    Example:

    >>> import keras_dense as kd
    >>> image = keras.Input((None, None, 3))
    >>> backbone = keras.Model(image, {"P3": keras.layers.Conv2D(16, 8, strides=8)(image)})
    >>> decoder = kd.decoders.duc_hdc((6, 12), factor=4, level="P3")
    >>> kd.assemble(backbone, decoder, kd.heads.Segmentation(5)).output_shape
    (None, None, None, 5)
    """

    rates = _check.integers(rates, "rates")

    @scores
    def decode(features: Features, wanted: Wanted) -> Tensor:
        channels, prefix = wanted.channels, wanted.prefix
        channels = factor * factor * channels
        seen = feature(features, level)
        image = source_of(seen)
        stride = tuple(max(n // factor, 1) for n in stride_between(image, seen))
        x = summed_scores(seen, channels, rates, prefix=prefix)
        x = PixelShuffle(factor, name=f"{prefix}duc")(x)
        return fit(x, image, stride=stride, name=f"{prefix}duc_fit")

    return decode


def duc_hdc(
    backbone: str | keras.Model = "resnet101",
    num_classes: int | None = None,
    *,
    heads: HeadsLike | None = None,
    weights: PathLike | None = "imagenet",
    input_shape: Shape = (None, None, 3),
    name: str | None = None,
    initialize_from: keras.Model | PathLike | None = None,
    grid: str | None = None,
    cell_width: int = 2,
    rates: Sequence[int] = (6, 12, 18, 24),
    hybrid: bool = True,
) -> keras.Model:
    """DUC-HDC: a backbone of hybrid dilation at stride 8, and dense upsampling convolution.

    Args:
        backbone, num_classes, heads, weights, input_shape, name, initialize_from, grid: common to
            all builders, see `kd.models`. The authors' backbones start with three 3×3 convolutions:
            "resnet101c", "resnet152c".
        cell_width: int, pixels of the image for each predicted cell: 1, 2, 4 or 8. The authors'
            files have 2, which bilinear upsampling brings to full size.
        rates: tuple of ints >= 1, dilation rates of the parallel convolutions that predict.
        hybrid: bool, whether the last two stages have hybrid rates (2, 2, 5, 9, 1, 2, 5, 9, … and
            5, 9, 17); otherwise they have 2 and 4 throughout, by exact dilation.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`.

    Raises:
        ValueError, TypeError: for another cell width or rates below 1; see `kd.backbone`,
            `kd.surgery.dilate`, `kd.heads.Segmentation`.

    Reference: Wang et al., WACV 2018, sections 3.1 (DUC), 3.2 (HDC) and 4.1.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> duc_hdc(backbone, 11).output_shape
    (None, None, None, 11)
    """
    _check.choice(cell_width, "cell_width", (1, 2, 4, 8))
    heads, decoder = Heads.of(heads, num_classes), duc_hdc_decoder(rates, factor=8 // cell_width)
    backbone = make_backbone(backbone, weights, input_shape)
    hdc: dict[str, int] = {}
    for stage in (4, 5) if hybrid else ():
        names = windowed_convolutions(backbone, 2**stage)
        hdc |= dict(zip(names, hdc_rates(len(names), stage), strict=True))
    backbone = dilate(backbone, 8, rates=hdc)
    return build(backbone, decoder, heads, input_shape, name or "duc_hdc", initialize_from, grid)

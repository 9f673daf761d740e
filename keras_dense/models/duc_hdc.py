"""DUC-HDC (TuSimple).

Wang, Chen, Yuan, Liu, Huang, Hou, Cottrell, "Understanding Convolution for Semantic
Segmentation", WACV 2018.
"""

from itertools import chain, cycle, islice

from keras_dense import _check
from keras_dense._types import Features, Tensor
from keras_dense.heads import Heads
from keras_dense.layers import PixelShuffle
from keras_dense.models.decoder import Wanted, scores
from keras_dense.models.parts import backbone_of, finished, summed_scores, windows_of_stage
from keras_dense.surgery import dilate
from keras_dense.surgery.feature_pyramid import feature


def hdc_rates(count, stage):
    """Rates of hybrid dilated convolution for the 3×3 convolutions of a stage.

    Neighboring rates without a common divisor leave no gaps in what is seen.

    >>> hdc_rates(6, 4), hdc_rates(3, 5)
    ([2, 2, 5, 9, 1, 2], [5, 9, 17])
    """
    if stage == 5:
        return list(islice(cycle((5, 9, 17)), count))
    return list(islice(chain([2], islice(cycle((1, 2, 5, 9)), 1, None)), count))


def duc_hdc_decoder(rates=(6, 12, 18, 24), *, factor=8, level="P5"):
    """Dense upsampling convolution (figure 1): all subpixels' scores as channels, then shuffled.

    Args:
        rates: of the parallel 3×3 convolutions, whose scores are added up.
        factor: by how much the shuffle upsamples.
        level: the feature that is read.

    Returns:
        A decoder for `kd.assemble` that predicts the scores of a head.
    """

    rates = _check.integers(rates, "rates")

    @scores
    def decode(features: Features, wanted: Wanted) -> Tensor:
        channels, prefix = wanted.channels, wanted.prefix
        channels = factor * factor * channels
        x = summed_scores(feature(features, level), channels, rates, prefix=prefix)
        return PixelShuffle(factor, name=f"{prefix}duc")(x)

    return decode


def duc_hdc(
    backbone="resnet101",
    num_classes=None,
    *,
    heads=None,
    weights="imagenet",
    input_shape=(None, None, 3),
    name=None,
    initialize_from=None,
    cell_width=2,
    rates=(6, 12, 18, 24),
    hybrid=True,
):
    """DUC-HDC: a backbone of hybrid dilation at stride 8, upsampled by dense upsampling convolution.

    Args:
        backbone, num_classes, heads, weights, input_shape, name, initialize_from: as of every
            builder, see `kd.models`. The authors' backbones have three 3×3 convolutions as stem:
            "resnet101c", "resnet152c".
        cell_width: pixels of the image for each predicted one; the authors' files have 2, which
            bilinear upsampling brings to full size. 1, 2, 4 or 8.
        rates: of the parallel convolutions that predict.
        hybrid: hybrid rates in the last two stages (2, 2, 5, 9, 1, 2, 5, 9, … and 5, 9, 17);
            otherwise 2 and 4 throughout, as exact dilation has them.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`.

    Raises:
        ValueError, TypeError: for another cell width or rates below 1; see `kd.backbone`,
            `kd.surgery.dilate`, `kd.heads.Segmentation`.

    Reference: Wang et al., WACV 2018, sections 3.1 (DUC), 3.2 (HDC) and 4.1.

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> duc_hdc(backbone, 11).output_shape
    (None, None, None, 11)
    """
    if cell_width not in (1, 2, 4, 8):
        raise ValueError(f"`cell_width` must be 1, 2, 4 or 8. Received: cell_width={cell_width!r}")
    heads, decoder = Heads.of(heads, num_classes), duc_hdc_decoder(rates, factor=8 // cell_width)
    backbone = backbone_of(backbone, weights, input_shape)
    hdc = {}
    for stage in (4, 5) if hybrid else ():
        names = windows_of_stage(backbone, 2**stage)
        hdc |= dict(zip(names, hdc_rates(len(names), stage), strict=True))
    backbone = dilate(backbone, 8, rates=hdc)
    return finished(backbone, decoder, heads, input_shape, name or "duc_hdc", initialize_from)

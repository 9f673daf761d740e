"""U-Net.

Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
MICCAI 2015.
"""

from collections.abc import Sequence
from typing import Any

import keras

from keras_dense import _check
from keras_dense._types import Features, PathLike, Shape, Tensor
from keras_dense.heads import Heads
from keras_dense.models.assemble import channels_of
from keras_dense.models.build import HeadsLike, build, make_backbone
from keras_dense.models.decoder import Decoder, read_through
from keras_dense.models.nested_unet import nested_unet_decoder
from keras_dense.models.unet_backbone import FILTERS, check_padding, unet_backbone
from keras_dense.models.unet_blocks import check_filters, check_reduction, expanding_path
from keras_dense.models.upsampling import check_upsampling


def unet_decoder(
    filters: Sequence[int] | None = None,
    *,
    padding: str = "same",
    upsampling: str = "up_conv",
    reduction: str | None = "upsampling",
    batch_norm: bool = True,
    attention: bool | str = False,
    center: bool = False,
    scores_size: int = 1,
) -> Decoder:
    """Expanding path (figure 1, right): at each level upsampling, a skip and two convolutions.

    Args:
        filters: tuple of ints >= 1, widths of the levels, coarsest first; default 16 at the size of
            the image and twice as many at each coarser level: (256, 128, 64, 32, 16) above P5. With
            fewer widths than levels the result is coarser than the image.
        padding: str, "same", or "valid" on the backbone of `kd.unet(padding="valid")`.
        upsampling: str, see `kd.decoders.upsample`.
        reduction: str, what reduces the channels on the way up. "upsampling", the paper's: the
            upsampling itself, with a ReLU after it. "convolution", MMSegmentation's: a 1×1
            convolution after it, with batch norm and ReLU. `None`, that of
            segmentation_models_pytorch: the first 3×3 convolution of each level.
        batch_norm: bool, batch norm after each 3×3 convolution, which then has no bias.
        attention: bool, whether to gate the features before they are joined (Attention U-Net); or
            "scse": squeeze and excitation of channels and cells, where features are joined and at
            the end of each level.
        center: bool, whether the coarsest feature goes through two 3×3 convolutions first.
        scores_size: int >= 1, kernel size of the convolution that heads read the result through.

    Returns:
        A decoder for `kd.assemble`. It joins those of the features P0, P1, … that the backbone has;
        at other levels it upsamples and convolves.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> decoder = kd.decoders.unet((16, 8, 8), upsampling="bilinear")
    >>> kd.assemble(backbone, decoder, kd.heads.Segmentation(5)).output_shape
    (None, None, None, 5)
    """
    filters, padding = check_filters(filters), check_padding(padding)
    check_upsampling(upsampling)
    path: dict[str, Any] = {
        "padding": padding,
        "upsampling": upsampling,
        "reduction": check_reduction(reduction),
        "batch_norm": batch_norm,
        "attention": _check.choice(attention, "attention", (False, True, "scse")),
        "center": center,
    }

    @read_through(_check.integer(scores_size, "scores_size", low=1))
    def decode(features: Features) -> Tensor:
        return list(expanding_path(features, filters, **path).values())[-1]

    return decode


def unet(
    backbone: str | keras.Model | None = None,
    num_classes: int | None = None,
    *,
    heads: HeadsLike | None = None,
    weights: PathLike | None = "imagenet",
    input_shape: Shape = (None, None, 3),
    name: str | None = None,
    initialize_from: keras.Model | PathLike | None = None,
    grid: str | None = None,
    filters: Sequence[int] | None = None,
    padding: str = "same",
    upsampling: str = "up_conv",
    reduction: str | None = "upsampling",
    batch_norm: bool | None = None,
    dropout: float = 0.5,
    attention: bool = False,
    nested: bool = False,
) -> keras.Model:
    """U-Net: as many levels up as down, joined by the features of the same size; 31 M weights.

    Without a backbone it is the network of 2015. To train it as in the paper, give samples a
    `"weight"` with `kd.datasets.border_weights`.

    Args:
        backbone: `None` for the paper's contracting path; otherwise common to all builders: the
            features P4 to P1 (and P0, if there is one, as in VGG) are joined on the way up from P5.
        num_classes, heads, weights, input_shape, name, initialize_from, grid: common to all
            builders, see `kd.models`. Without a backbone all weights start random.
        filters: tuple of ints >= 1, widths of the expanding path, coarsest first. Default
            (512, 256, 128, 64), mirrored by the paper's contracting path; (256, 128, 64, 32, 16)
            on another backbone.
        padding: str, "same", or the paper's "valid": convolutions remove their margin, features are
            cropped, and the image is mirrored around, so that the result has its size. This costs
            more work (92 pixels on each side), and avoids zeros at the border. Only without a
            backbone.
        upsampling: str, see `kd.decoders.upsample`; default the paper's 2×2 up-convolution.
        reduction: str, what reduces the channels on the way up, see `kd.decoders.unet`.
        batch_norm: bool, batch norm after 3×3 convolutions; default: on a backbone, not in the
            paper's network.
        dropout: float from 0 to 1, dropout rate at the end of the contracting path; only without a
            backbone.
        attention: bool, attention gates on the features that are joined (Attention U-Net).
        nested: bool, U-Net++, see `kd.decoders.nested_unet`; neither with "valid" nor with
            `attention`.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`.

    Raises:
        ValueError, TypeError: for unknown paddings or upsamplings, widths below 1 or too many of
            them, or options that exclude each other; see `kd.backbone`, `kd.heads.Segmentation`.

    Reference: Ronneberger et al., MICCAI 2015, figure 1 and section 2; Oktay et al., MIDL 2018
    (attention); Zhou et al., DLMIA 2018 (nested).

    Example:

    >>> model = unet(num_classes=2, filters=(16, 8), padding="valid")
    >>> model.output_shape
    (None, None, None, 2)
    """
    heads = Heads.of(heads, num_classes)
    filters, padding = check_filters(filters), check_padding(padding)
    own = backbone is None
    if padding == "valid" and (not own or nested):
        raise ValueError(
            "`padding` must be 'same' with a backbone or with `nested`. "
            f"Received: backbone={backbone!r}, nested={nested!r}"
        )
    if nested and attention:
        raise ValueError("Give either `nested` or `attention`. Received: both")
    if own:
        if weights not in ("imagenet", None):
            raise ValueError(
                "`weights` must be left out without a backbone; start U-Net by `initialize_from`. "
                f"Received: backbone=None, weights={weights!r}"
            )
        filters = FILTERS if filters is None else filters
        backbone = unet_backbone(
            filters,
            padding=padding,
            batch_norm=bool(batch_norm),
            dropout=dropout,
            channels=channels_of(input_shape),
        )
    else:
        backbone = make_backbone(backbone, weights, input_shape)
    shared: dict[str, Any] = {
        "upsampling": upsampling,
        "reduction": reduction,
        "batch_norm": not own if batch_norm is None else batch_norm,
    }
    if nested:
        decoder = nested_unet_decoder(filters, **shared)
    else:
        decoder = unet_decoder(filters, padding=padding, attention=attention, **shared)
    return build(backbone, decoder, heads, input_shape, name or "unet", initialize_from, grid)

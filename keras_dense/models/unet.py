"""U-Net.

Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
MICCAI 2015.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from keras_dense import _check
from keras_dense._types import Features, PathLike, Shape, Tensor
from keras_dense.heads import Heads
from keras_dense.layers import ReflectionPadding2D, Standardize
from keras_dense.models.assemble import channels_of
from keras_dense.models.build import HeadsLike, build, make_backbone
from keras_dense.models.decoder import Decoder, read_through
from keras_dense.models.nested_unet import nested_unet_decoder
from keras_dense.models.unet_blocks import attention_gate, check_filters, double_conv, steps_up
from keras_dense.models.upsampling import check_upsampling, upsample

# Widths of the expanding path; the contracting path has the same, and 1024 at its end.
FILTERS = (512, 256, 128, 64)


def _check_padding(padding: str) -> str:
    return _check.choice(padding, "padding", ("same", "valid"))


def unet_backbone(
    filters: Sequence[int] = FILTERS,
    *,
    padding: str = "same",
    batch_norm: bool = False,
    dropout: float = 0.5,
    channels: int = 3,
) -> keras.Model:
    """Contracting path (figure 1, left): two 3×3 convolutions at each level, then pooling.

    With `padding="valid"` the image is mirrored around by the margin that all convolutions remove
    (92 pixels with four levels): the paper's overlap-tile strategy. The maps with this margin are
    called "V0", "V1", …; "P0", "P1", … are their parts over the image.

    Args:
        filters: tuple of ints >= 1, widths of the levels, coarsest first, without the last level,
            which has twice the first width.
        padding: str, "same" or "valid".
        batch_norm: bool, batch norm after each convolution, which then has no bias.
        dropout: float from 0 to 1, dropout rate after the last two levels.
        channels: int >= 1, channels of the image.

    Returns:
        A `keras.Model` from images 0–255 to `{"P0": …, …, "P4": …}`.
    """
    depth = len(filters)
    image = keras.Input((None, None, channels), name="image")
    x = Standardize(127.5, 127.5, name="standardize")(image)
    if padding == "valid":
        # The result is 4 cells larger than a multiple of 2ᵈ, at the bottom and the right.
        x = ReflectionPadding2D(((6 * 2**depth - 4, 6 * 2**depth),) * 2, name="mirror")(x)
    features = {}
    for n, width in enumerate((*filters[::-1], 2 * filters[0])):
        if n:
            x = layers.MaxPooling2D(name=f"down{n}_pool", data_format="channels_last")(x)
        x = double_conv(x, width, f"down{n}", padding=padding, batch_norm=batch_norm)
        if dropout and n >= depth - 1:
            x = layers.Dropout(dropout, name=f"down{n}_dropout")(x)
        features[f"P{n}"] = x
    if padding == "valid":
        for n in range(depth + 1):
            x = features[f"V{n}"] = features[f"P{n}"]
            # The nearest whole cell to the image's border; exact at levels 0 and 1.
            surplus = 12 * 2 ** (depth - n) - 8
            before = surplus // 2 - 2 // 2**n
            margins = ((before, surplus - before),) * 2
            features[f"P{n}"] = layers.Cropping2D(
                margins, name=f"over_image{n}", data_format="channels_last"
            )(x)
    return keras.Model(image, features, name="backbone")


def unet_decoder(
    filters: Sequence[int] | None = None,
    *,
    padding: str = "same",
    upsampling: str = "up_conv",
    batch_norm: bool = True,
    attention: bool = False,
) -> Decoder:
    """Expanding path (figure 1, right): at each level upsampling, a skip and two convolutions.

    Args:
        filters: tuple of ints >= 1, widths of the levels, coarsest first; default 16 at the size of
            the image and twice as many at each coarser level: (256, 128, 64, 32, 16) above P5. With
            fewer widths than levels the result is coarser than the image.
        padding: str, "same", or "valid" on the backbone of `kd.unet(padding="valid")`.
        upsampling: str, see `kd.decoders.upsample`.
        batch_norm: bool, batch norm after each 3×3 convolution, which then has no bias.
        attention: bool, whether to gate the features before they are joined (Attention U-Net).

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
    filters, padding = check_filters(filters), _check_padding(padding)
    check_upsampling(upsampling)
    valid = padding == "valid"

    @read_through(1)
    def decode(features: Features) -> Tensor:
        x, steps = steps_up(features, filters, "V" if valid else "P")
        crop = 4
        for n, width, factor, skip in steps:
            coarse = x
            x = upsample(
                x,
                factor,
                upsampling,
                filters=width,
                kernel_initializer="he_normal",
                name=f"up{n}",
            )
            x = layers.ReLU(name=f"up{n}_relu")(x)
            if valid:
                skip = layers.Cropping2D(crop, name=f"up{n}_crop", data_format="channels_last")(
                    skip
                )
                crop = 2 * crop + 8
            if skip is not None:
                if attention:
                    skip = attention_gate(
                        skip, coarse, factor, max(1, width // 2), f"up{n}_attention"
                    )
                x = layers.Concatenate(name=f"up{n}_join")([skip, x])
            x = double_conv(x, width, f"up{n}", padding=padding, batch_norm=batch_norm)
        return x

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
    filters: Sequence[int] | None = None,
    padding: str = "same",
    upsampling: str = "up_conv",
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
        num_classes, heads, weights, input_shape, name, initialize_from: common to all builders, see
            `kd.models`. Without a backbone all weights start random.
        filters: tuple of ints >= 1, widths of the expanding path, coarsest first. Default
            (512, 256, 128, 64), mirrored by the paper's contracting path; (256, 128, 64, 32, 16)
            on another backbone.
        padding: str, "same", or the paper's "valid": convolutions remove their margin, features are
            cropped, and the image is mirrored around, so that the result has its size. This costs
            more work (92 pixels on each side), and avoids zeros at the border. Only without a
            backbone.
        upsampling: str, see `kd.decoders.upsample`; default the paper's 2×2 up-convolution.
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
    filters, padding = check_filters(filters), _check_padding(padding)
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
        "batch_norm": not own if batch_norm is None else batch_norm,
    }
    if nested:
        decoder = nested_unet_decoder(filters, **shared)
    else:
        decoder = unet_decoder(filters, padding=padding, attention=attention, **shared)
    return build(backbone, decoder, heads, input_shape, name or "unet", initialize_from)

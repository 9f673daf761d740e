"""U-Net.

Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
MICCAI 2015.
"""

import keras
from keras import layers

from keras_dense._types import Features, Tensor
from keras_dense.backbones import check_shape
from keras_dense.heads import Heads
from keras_dense.layers import ReflectionPadding2D, Standardize
from keras_dense.models.nested_unet import nested_unet_decoder
from keras_dense.models.parts import backbone_of, finished
from keras_dense.models.unet_parts import attention_gate, check_filters, climb, double_conv
from keras_dense.models.upsampling import check_upsampling, upsample

# Of the decoder; the contracting path has the same, and 1024 at its end.
FILTERS = (512, 256, 128, 64)


def _check_padding(padding):
    if padding not in ("same", "valid"):
        raise ValueError(f"`padding` must be 'same' or 'valid'. Received: padding={padding!r}")
    return padding


def unet_backbone(filters=FILTERS, *, padding="same", batch_norm=False, dropout=0.5, channels=3):
    """The contracting path (figure 1, left): two 3×3 convolutions at each level, then pooling.

    With `padding="valid"` the image is mirrored around by as much as all convolutions take away
    (92 pixels with four levels), which is the paper's overlap-tile strategy. The maps that are
    larger than the image by that margin are called "V0", "V1", …; "P0", "P1", … are the parts of
    them that lie over the image.

    Args:
        filters: widths of the levels, coarsest first, without the last, which has twice the first.
        padding: "same" or "valid".
        batch_norm: batch norm after each convolution, which then has no bias.
        dropout: after the last two levels.
        channels: of the image.

    Returns:
        A `keras.Model` from images 0–255 to `{"P0": …, …, "P4": …}`.
    """
    depth = len(filters)
    image = keras.Input((None, None, channels), name="image")
    x = Standardize(127.5, 127.5, name="standardize")(image)
    if padding == "valid":
        # The result is 4 cells larger than a multiple of 2ᵈ: those at the bottom and the right.
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
            # The nearest cell to where it lies over the image; exact at levels 0 and 1.
            surplus = 12 * 2 ** (depth - n) - 8
            before = surplus // 2 - 2 // 2**n
            margins = ((before, surplus - before),) * 2
            features[f"P{n}"] = layers.Cropping2D(
                margins, name=f"over_image{n}", data_format="channels_last"
            )(x)
    return keras.Model(image, features, name="backbone")


def unet_decoder(
    filters=None, *, padding="same", upsampling="up_conv", batch_norm=True, attention=False
):
    """The expanding path (figure 1, right): up, beside the feature of that level, convolve twice.

    Args:
        filters: widths of the levels, coarsest first; default 16 at the size of the image and
            twice as many at each coarser level: (256, 128, 64, 32, 16) above P5. With fewer than
            levels the result is coarser than the image.
        padding: "same", or "valid" above a backbone of `unet(padding="valid")`.
        upsampling: see `kd.decoders.upsample`.
        batch_norm: batch norm after each 3×3 convolution, which then has no bias.
        attention: gate the features before they are joined (Attention U-Net).

    Returns:
        A decoder for `kd.assemble`. It joins what the backbone has of P0, P1, …; where a level is
        missing, it upsamples and convolves.
    """
    filters, padding = check_filters(filters), _check_padding(padding)
    check_upsampling(upsampling)
    valid = padding == "valid"

    def decode(features: Features) -> Tensor:
        x, steps = climb(features, filters, "V" if valid else "P")
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
    backbone=None,
    num_classes=None,
    *,
    heads=None,
    weights="imagenet",
    input_shape=(None, None, 3),
    name=None,
    initialize_from=None,
    filters=None,
    padding="same",
    upsampling="up_conv",
    batch_norm=None,
    dropout=0.5,
    attention=False,
    nested=False,
):
    """U-Net: as many steps up as down, each beside the feature of its size; 31 M weights.

    Without a backbone it is the network of 2015. To train it as the paper does, give samples a
    `"weight"` with `kd.datasets.border_weights`.

    Args:
        backbone: `None` for the paper's contracting path; otherwise as of every builder: features
            P4 to P1 (and P0, where there is one, as in VGG) are joined on the way up from P5.
        num_classes, heads, weights, input_shape, name, initialize_from: as of every builder, see
            `kd.models`. Without a backbone all weights start random.
        filters: widths of the way up, coarsest first. Default (512, 256, 128, 64), of which the
            paper's way down is the mirror; (256, 128, 64, 32, 16) on another backbone.
        padding: "same", or the paper's "valid": convolutions take their margin away, features are
            cropped, and the image is mirrored around so that the result has its size. More work
            (92 pixels on each side), and no zeros at the border. Only without a backbone.
        upsampling: see `kd.decoders.upsample`; default the paper's 2×2 up-convolution.
        batch_norm: batch norm after 3×3 convolutions; default: on a backbone, not in the paper's
            network.
        dropout: at the end of the contracting path; only without a backbone.
        attention: attention gates on the features that are joined (Attention U-Net).
        nested: U-Net++, see `kd.decoders.nested_unet`; with neither "valid" nor `attention`.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`.

    Raises:
        ValueError, TypeError: for unknown paddings or upsamplings, widths below 1 or too many of
            them, options that do not go together; see `kd.backbone`, `kd.heads.Segmentation`.

    Reference: Ronneberger et al., MICCAI 2015, figure 1 and section 2; Oktay et al., MIDL 2018
    (attention); Zhou et al., DLMIA 2018 (nested).

    >>> model = unet(num_classes=2, filters=(16, 8), padding="valid")
    >>> model.output_shape
    (None, None, None, 2)
    """
    heads = Heads.of(heads, num_classes)
    filters, padding = check_filters(filters), _check_padding(padding)
    own = backbone is None
    if padding == "valid" and (not own or nested):
        raise ValueError(
            "padding='valid' is for the paper's own network: neither with a backbone nor nested. "
            f"Received: backbone={backbone!r}, nested={nested!r}"
        )
    if nested and attention:
        raise ValueError("Give either `nested` or `attention`. Received: both")
    if own:
        if weights not in ("imagenet", None):
            raise ValueError(
                "`weights` are those of a backbone; start U-Net itself with `initialize_from=`. "
                f"Received: backbone=None, weights={weights!r}"
            )
        filters = FILTERS if filters is None else filters
        backbone = unet_backbone(
            filters,
            padding=padding,
            batch_norm=bool(batch_norm),
            dropout=dropout,
            channels=check_shape(input_shape)[-1],
        )
    else:
        backbone = backbone_of(backbone, weights, input_shape)
    shared = {
        "upsampling": upsampling,
        "batch_norm": not own if batch_norm is None else batch_norm,
    }
    if nested:
        decoder = nested_unet_decoder(filters, **shared)
    else:
        decoder = unet_decoder(filters, padding=padding, attention=attention, **shared)
    return finished(backbone, decoder, heads, input_shape, name or "unet", initialize_from)

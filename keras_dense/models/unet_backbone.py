"""The contracting path of U-Net, and a whole U-Net, as backbones.

Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
MICCAI 2015.
"""

from collections.abc import Sequence

import keras
from keras import layers

from keras_dense import _check
from keras_dense.backbones.table import PREPROCESSING
from keras_dense.layers import ReflectionPadding2D, Standardize
from keras_dense.models.unet_blocks import check_reduction, double_conv, expanding_path
from keras_dense.models.upsampling import check_upsampling

# Widths of the expanding path; the contracting path has the same, and 1024 at its end.
FILTERS = (512, 256, 128, 64)


def check_padding(padding: str) -> str:
    """`padding` of a U-Net, checked.

    >>> check_padding("valid")
    'valid'
    """
    return _check.choice(padding, "padding", ("same", "valid"))


def unet_backbone(
    filters: Sequence[int] = FILTERS,
    *,
    padding: str = "same",
    batch_norm: bool = False,
    dropout: float = 0.5,
    channels: int = 3,
    preprocessing: str | None = "tf",
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
        preprocessing: str, "tf", "torch" or "caffe", how the image is standardized; `None`: not.

    Returns:
        A `keras.Model` from images 0–255 to `{"P0": …, …, "P4": …}`.
    """
    depth = len(filters)
    image = keras.Input((None, None, channels), name="image")
    settings = PREPROCESSING[_check.choice(preprocessing, "preprocessing", tuple(PREPROCESSING))]
    x = Standardize(**settings, name="standardize")(image) if settings else image
    if padding == "valid":
        # The result is 4 cells larger than a multiple of 2ᵈ, at the bottom and the right.
        x = ReflectionPadding2D(((6 * 2**depth - 4, 6 * 2**depth),) * 2, name="mirror")(x)
    features = {}
    for n, width in enumerate((*filters[::-1], 2 * filters[0])):
        if n:
            # "same": maps of rounded up sizes, where the image is not padded to a multiple.
            x = layers.MaxPooling2D(
                padding=padding, name=f"down{n}_pool", data_format="channels_last"
            )(x)
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


def whole_unet_backbone(
    filters: Sequence[int] = FILTERS,
    *,
    upsampling: str = "bilinear",
    reduction: str | None = "convolution",
    channels: int = 3,
    preprocessing: str | None = "torch",
) -> keras.Model:
    """A whole U-Net without scores, whose maps on the way up are features for a decoder.

    MMSegmentation's UNet-S5-D16, which carries the heads of other networks: that of FCN, of PSPNet
    or of DeepLabv3 on P0, an auxiliary one on P1. The convolutions have batch norm.

    Args:
        filters: tuple of ints >= 1, widths of the levels, coarsest first, without the last level,
            which has twice the first width.
        upsampling, reduction: see `kd.decoders.unet`.
        channels, preprocessing: see `unet_backbone`.

    Returns:
        A `keras.Model` from images 0–255 to `{"P0": …, …, "P4": …}`: P4 is the end of the
        contracting path, all others are maps of the expanding path.

    Example:

    >>> import keras_dense as kd
    >>> backbone = whole_unet_backbone((16, 8))
    >>> decoder = kd.decoders.fcn_head(8, level="P0")
    >>> kd.assemble(backbone, decoder, kd.heads.Segmentation(2)).output_shape
    (None, None, None, 2)
    """
    filters = _check.integers(filters, "filters")
    upsampling, reduction = check_upsampling(upsampling), check_reduction(reduction)
    down = unet_backbone(
        filters, batch_norm=True, dropout=0, channels=channels, preprocessing=preprocessing
    )
    up = expanding_path(
        down.output, filters, upsampling=upsampling, reduction=reduction, batch_norm=True
    )
    deepest = len(filters)
    features = {f"P{n}": up.get(n, down.output[f"P{n}"]) for n in range(deepest + 1)}
    return keras.Model(down.input, features, name="backbone")

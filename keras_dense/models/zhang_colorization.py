"""The colorization network of Zhang, Isola and Efros.

Zhang, Isola, Efros, "Colorful Image Colorization", ECCV 2016 (the released network, v2).
"""

import keras
from keras import layers

from keras_dense import _check
from keras_dense._types import Features, PathLike, Shape, Tensor
from keras_dense.backbones import check_shape
from keras_dense.heads import Colorization, Heads
from keras_dense.layers import AtrousConv2D, Lightness
from keras_dense.models.build import HeadsLike, build
from keras_dense.models.decoder import Decoder, read_through
from keras_dense.models.grid import as_grid, only
from keras_dense.surgery.feature_pyramid import feature

# conv1 to conv7: filters, convolutions, dilation rate, and stride of the last convolution.
_BLOCKS = (
    (64, 2, 1, 2),
    (128, 2, 1, 2),
    (256, 3, 1, 2),
    (512, 3, 1, 1),
    (512, 3, 2, 1),
    (512, 3, 2, 1),
    (512, 3, 1, 1),
)

_GRIDS = ("multiple", "image")
_REASON = "its learned upsampling doubles the number of cells, so no corners can be aligned."


def zhang_backbone(width: float = 1.0) -> keras.Model:
    """conv1 to conv7: no pooling, strided convolutions, the last three blocks at stride 8.

    The input is L − 50. Strided convolutions are padded by one on all sides, as published: their
    cells lie on the first pixel of the cell.

    Args:
        width: number > 0, factor of the published numbers of filters.

    >>> {level: x.shape[-1] for level, x in zhang_backbone(0.125).output.items()}
    {'P1': 8, 'P2': 16, 'P3': 64}
    """
    image = keras.Input((None, None, 3), name="image")
    x = Lightness(as_image=False, name="lightness")(image)
    x = layers.Rescaling(1.0, offset=-50.0, name="center")(x)
    features, level = {}, 0
    for n, (filters, convolutions, dilation, stride) in enumerate(_BLOCKS, 1):
        for m in range(1, convolutions + 1):
            name, filters_of = f"conv{n}_{m}", _scaled(filters, width)
            if m == convolutions and stride > 1:
                x = layers.ZeroPadding2D(1, data_format="channels_last", name=f"{name}_pad")(x)
                x = layers.Conv2D(
                    filters_of,
                    3,
                    strides=stride,
                    activation="relu",
                    name=name,
                    data_format="channels_last",
                )(x)
                level += 1
            else:
                x = AtrousConv2D(
                    filters_of,
                    3,
                    rate=dilation,
                    activation="relu",
                    data_format="channels_last",
                    name=name,
                )(x)
        x = layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name=f"conv{n}_bn")(x)
        features[f"P{level}"] = x
    return keras.Model(image, features, name="backbone")


def _scaled(filters: int, width: float) -> int:
    return max(1, round(filters * width))


def zhang_decoder(filters: int = 256) -> Decoder:
    """conv8: a learned upsampling to stride 4 and two convolutions; the head's 1×1 reads them.

    Args:
        filters: int >= 1, channels of the three.
    """

    @read_through(1)
    def decode(features: Features) -> Tensor:
        only(_GRIDS, _REASON)
        x = feature(features, "P3", "Zhang's network")
        x = layers.Conv2DTranspose(
            filters,
            4,
            strides=2,
            padding="same",
            activation="relu",
            name="conv8_1",
            data_format="channels_last",
        )(x)
        for m in (2, 3):
            x = layers.Conv2D(
                filters,
                3,
                padding="same",
                activation="relu",
                name=f"conv8_{m}",
                data_format="channels_last",
            )(x)
        return x

    return decode


def zhang_colorization(
    backbone: str | keras.Model | None = None,
    num_classes: int | None = None,
    *,
    heads: HeadsLike | None = None,
    weights: PathLike | None = None,
    input_shape: Shape = (None, None, 3),
    name: str | None = None,
    initialize_from: keras.Model | PathLike | None = None,
    grid: str | None = None,
    width: float = 1.0,
) -> keras.Model:
    """Zhang's colorization network: 22 convolutions from lightness to 313 bins of color.

    32,236,011 weights as published. This counts 626 numbers for the colors of the bins, which are
    constants of the head here, and leaves out the moving statistics of batch norm. In the paper the
    network is trained from random weights, with rare colors rebalanced: `Colorization(prior=…)`.
    `kd.weights.load_zhang_colorization` loads the authors' weights.

    Args:
        backbone: `None`; the network has its own backbone.
        num_classes, heads, input_shape, name, initialize_from, grid: common to all builders, see
            `kd.models`. `heads` defaults to `kd.heads.Colorization()`; other heads see lightness
            only, too.
        weights: `None`.
        width: number > 0, factor of the published numbers of filters.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, 3)` → logits
        `(B, ceil(H / 4), ceil(W / 4), 313)`. `kd.decoded(model)` predicts images.

    Raises:
        ValueError: for a backbone or weights, images with other than 3 channels, a width <= 0, or a
            grid with aligned corners.

    Reference: Zhang et al., ECCV 2016, section 2 and figure 2.

    Example:

    >>> zhang_colorization(width=0.125).output_shape
    (None, None, None, 313)
    """
    if backbone is not None or weights is not None:
        raise ValueError(
            "`backbone` and `weights` must be None: zhang_colorization has its own backbone. Start "
            "it by `initialize_from` or kd.weights.load_zhang_colorization. "
            f"Received: backbone={backbone!r}, weights={weights!r}"
        )
    if check_shape(input_shape)[-1] != 3:
        raise _check.fail("input_shape", "the shape of RGB images", input_shape)
    width = _check.number(width, "width", above=0)
    grid = as_grid(grid, _GRIDS, _REASON).name
    heads = (
        Heads(Colorization())
        if heads is None and num_classes is None
        else Heads.of(heads, num_classes)
    )
    backbone, decoder = zhang_backbone(width), zhang_decoder(_scaled(256, width))
    return build(
        backbone, decoder, heads, input_shape, name or "zhang_colorization", initialize_from, grid
    )

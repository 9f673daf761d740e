"""DeconvNet.

Noh, Hong, Han, "Learning Deconvolution Network for Semantic Segmentation", ICCV 2015.
"""

from collections.abc import Mapping, Sequence

import keras
from keras import layers

from keras_dense import _check
from keras_dense._types import Array, Config, Features, PathLike, Shape, Tensor
from keras_dense.heads import Heads
from keras_dense.layers import CropLike, PadToMinimum
from keras_dense.models.build import HeadsLike, build, is_vgg_name, make_backbone
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
)
from keras_dense.surgery.feature_pyramid import feature
from keras_dense.surgery.graph import transfer
from keras_dense.surgery.top import fully_connected

# fc6 sees 7×7 cells of stride 32: an image of 224×224, the classifier's own.
_WINDOW = 7


def _bottleneck(x: Tensor, filters: int, channels: int) -> Tensor:
    """fc6 and fc7 as convolutions, and a transposed fc6 back to the map.

    A map smaller than the 7×7 window is padded with zeros to its size.
    """
    y = PadToMinimum(_WINDOW, name="fc6_pad")(x)
    y = conv_bn(y, filters, _WINDOW, "fc6", padding="valid")
    y = conv_bn(y, filters, 1, "fc7")
    y = layers.Conv2DTranspose(
        channels,
        _WINDOW,
        kernel_initializer="he_normal",
        name="fc6_deconv",
        data_format="channels_last",
    )(y)
    y = CropLike(name="fc6_crop")(y, x)
    y = layers.BatchNormalization(epsilon=1e-5, name="fc6_deconv_bn")(y)
    return layers.ReLU(name="fc6_deconv_relu")(y)


def deconvnet_decoder(
    depths: Sequence[int] = (2, 2, 3, 3, 3),
    *,
    filters: int = 4096,
    pools: Mapping[str, Config] | None = None,
) -> Decoder:
    """Deconvolution network (figure 2): fc6 and fc7, then unpooling and 3×3 deconvolutions.

    Args:
        depths: tuple of ints >= 1, deconvolutions at each level, finest first.
        filters: int >= 1, channels of fc6 and fc7.
        pools: `{"I1": {"pool_size": …, "strides": …, "padding": …}, …}`, if the poolings of the
            backbone are not 2×2.

    Returns:
        A decoder for `kd.assemble` on a backbone with indices (`kd.surgery.pool_with_indices`).

    Example:

    >>> import keras
    >>> import keras_dense as kd
    >>> x = image = keras.Input((None, None, 3))
    >>> for filters in (4, 8):
    ...     x = layers.MaxPooling2D()(layers.Conv2D(filters, 3, padding="same")(x))
    >>> backbone = kd.surgery.pool_with_indices(keras.Model(image, x))
    >>> decoder = kd.decoders.deconvnet((1, 1), filters=16)
    >>> kd.assemble(backbone, decoder, kd.heads.Segmentation(5)).output_shape
    (None, None, None, 5)
    """

    @read_through(1)
    def decode(features: Features) -> Tensor:
        indices = pooling_indices(features, "DeconvNet")
        x = feature(features, f"P{len(indices)}", "DeconvNet")
        x = _bottleneck(x, filters, indices[-1].shape[-1])
        return mirror(x, features, depths, pools, transposed=True, reader="DeconvNet")

    return decode


def deconvnet(
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
    filters: int = 4096,
) -> keras.Model:
    """DeconvNet: VGG-16 with fc6 and fc7, and its mirror image of unpoolings and deconvolutions.

    251.8 M weights, batch norm throughout. In the paper its inputs are not images but object
    proposals, cropped and scaled to 224×224, for which fc6 computes a single cell. It takes any
    other size, too; fc6 then slides over the image.

    Args:
        backbone, num_classes, heads, weights, input_shape, name, initialize_from, grid: common to
            all builders, see `kd.models`. The backbone must halve its maps by max pooling alone, as
            VGG or a network of your own. It gets batch norms where it has none, and keeps its
            weights; a VGG keeps those of fc6 and fc7, too (a weights file must include the top).
        depths: tuple of ints >= 1, deconvolutions at each level, finest first; default: as many as
            the backbone has convolutions there, (2, 2, 3, 3, 3) for VGG-16.
        filters: int >= 1, channels of fc6 and fc7; other than VGG's 4096 they start random.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`.

    Raises:
        ValueError, TypeError: for a backbone that halves a map in another way, or filters below 1;
            see `kd.backbone`, `kd.heads.Segmentation`.

    Reference: Noh et al., ICCV 2015, section 3 and table 2.

    Example:

    >>> import keras
    >>> x = image = keras.Input((None, None, 3))
    >>> for width in (4, 8):
    ...     x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
    ...     x = layers.MaxPooling2D()(x)
    >>> deconvnet(keras.Model(image, x), 11, filters=16).output_shape
    (None, None, None, 11)
    """
    heads, classifier = Heads.of(heads, num_classes), None
    filters = _check.integer(filters, "filters", low=1)
    grid = as_grid(grid, GRIDS, REASON).name
    if is_vgg_name(backbone) and weights is not None:
        backbone = classifier = make_backbone(backbone, weights, input_shape, top=True)
    backbone = backbone_with_indices(backbone, weights, input_shape)
    mirrored, pools = mirror_arguments(backbone, "DeconvNet")
    depths = mirrored if depths is None else depths
    decoder = deconvnet_decoder(depths, filters=filters, pools=pools)
    model = build(backbone, decoder, heads, input_shape, name or "deconvnet", initialize_from, grid)
    if classifier is not None and initialize_from is None:
        for layer, dense in zip(("fc6", "fc7"), fully_connected(classifier), strict=True):
            _keep(model.get_layer(layer), *dense.get_weights())
    return model


def _keep(convolution: keras.Layer, kernel: Array, bias: Array) -> None:
    """Copy the weights of a fully connected layer into the convolution that replaces it."""
    shape = tuple(convolution.kernel.shape)
    if kernel.size == shape[0] * shape[1] * shape[2] * shape[3]:
        transfer(convolution, [kernel.reshape(shape), bias])

"""DeconvNet.

Noh, Hong, Han, "Learning Deconvolution Network for Semantic Segmentation", ICCV 2015.
"""

from keras import layers

from keras_dense import _check
from keras_dense._types import Features, Tensor
from keras_dense.backbones import application, family_of
from keras_dense.heads import Heads
from keras_dense.layers import CropLike, PadToMinimum
from keras_dense.models.mirror import (
    backbone_with_indices,
    conv_bn,
    mirror_of,
    mirrored,
    way_down,
)
from keras_dense.models.parts import finished, is_vgg
from keras_dense.surgery.feature_pyramid import feature
from keras_dense.surgery.graph import transfer
from keras_dense.surgery.top import fully_connected

# fc6 sees 7×7 cells of stride 32: an image of 224×224, the classifier's own.
_WINDOW = 7


def _bottleneck(x, filters, channels):
    """fc6 and fc7 as convolutions, and fc6 back: what the 7×7 window says to each of its cells.

    A map that is smaller than the window is continued with zeros for as long.
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


def deconvnet_decoder(depths=(2, 2, 3, 3, 3), filters=4096, pools=None):
    """The deconvolution network of figure 2: fc6 and fc7, then unpooling and 3×3 deconvolutions.

    Args:
        depths: deconvolutions at each level, finest first.
        filters: channels of fc6 and fc7.
        pools: `{"I1": {"pool_size": …, "strides": …, "padding": …}, …}`, where the poolings of the
            backbone are not 2×2.

    Returns:
        A decoder for `kd.assemble`, above a backbone with indices (`kd.surgery.pool_with_indices`).
    """

    def decode(features: Features) -> Tensor:
        indices = way_down(features, "DeconvNet")
        x = feature(features, f"P{len(indices)}", "DeconvNet")
        x = _bottleneck(x, filters, indices[-1].shape[-1])
        return mirrored(x, features, depths, pools, transposed=True, reader="DeconvNet")

    return decode


def deconvnet(
    backbone="vgg16",
    num_classes=None,
    *,
    heads=None,
    weights="imagenet",
    input_shape=(None, None, 3),
    name=None,
    initialize_from=None,
    depths=None,
    filters=4096,
):
    """DeconvNet: VGG-16 with fc6 and fc7, and its mirror image of unpoolings and deconvolutions.

    251.8 M weights, batch norm throughout. The paper shows it objects, not images: proposals, cut
    out and scaled to 224×224, of which fc6 makes a single cell. It takes any other size, too; fc6
    then slides over the image.

    Args:
        backbone, num_classes, heads, weights, input_shape, name, initialize_from: as of every
            builder, see `kd.models`. The backbone must halve its maps by max pooling alone: VGG,
            or a network of your own. It gets batch norms where it has none; its weights stay, of
            VGG those of fc6 and fc7, too (a weights file must have the top).
        depths: deconvolutions at each level, finest first; default: as many as the backbone has
            convolutions there, (2, 2, 3, 3, 3) of VGG-16.
        filters: int ≥ 1, channels of fc6 and fc7; other than VGG's 4096 they start random.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`.

    Raises:
        ValueError, TypeError: for a backbone that halves a map otherwise, filters below 1; see
            `kd.backbone`, `kd.heads.Segmentation`.

    Reference: Noh et al., ICCV 2015, section 3 and table 2.

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
    if is_vgg(backbone) and weights is not None:
        vgg, _ = family_of(backbone)
        backbone = classifier = application(vgg, weights, standardize=True, include_top=True)
    backbone = backbone_with_indices(backbone, weights, input_shape)
    mirror, pools = mirror_of(backbone, "DeconvNet")
    decoder = deconvnet_decoder(mirror if depths is None else depths, filters, pools)
    model = finished(backbone, decoder, heads, input_shape, name or "deconvnet", initialize_from)
    if classifier is not None and initialize_from is None:
        for layer, dense in zip(("fc6", "fc7"), fully_connected(classifier), strict=True):
            _keep(model.get_layer(layer), *dense.get_weights())
    return model


def _keep(convolution, kernel, bias):
    """Give a convolution the weights of the fully connected layer that it stands for."""
    shape = tuple(convolution.kernel.shape)
    if kernel.size == shape[0] * shape[1] * shape[2] * shape[3]:
        transfer(convolution, [kernel.reshape(shape), bias])

"""DeepLab-LargeFOV, the first DeepLab.

Chen, Papandreou, Kokkinos, Murphy, Yuille, "Semantic Image Segmentation with Deep Convolutional
Nets and Fully Connected CRFs", ICLR 2015.
"""

import keras
from keras import layers

from keras_dense._types import Features, PathLike, Shape, Tensor
from keras_dense.heads import Heads
from keras_dense.layers import AtrousAveragePooling2D, AtrousConv2D
from keras_dense.models.build import HeadsLike, build, is_vgg_name, make_backbone
from keras_dense.models.decoder import Decoder, read_through
from keras_dense.surgery import dilate, rebuild
from keras_dense.surgery.feature_pyramid import feature
from keras_dense.surgery.graph import transfer
from keras_dense.surgery.top import fully_connected


def largefov_backbone(backbone: keras.Model) -> keras.Model:
    """VGG as in the authors' network files.

    All poolings are 3×3, the last two without stride, and the convolutions after the first of these
    two are dilated by 2. A mean over 3×3 cells ends the network.

    This differs from the exact dilation of VGG (`kd.surgery.dilate(backbone, 8)`), whose pooling
    is 2×2.
    """

    def rewrite(node, copies, x, **kwargs):
        op = node.operation
        if isinstance(op, layers.MaxPooling2D):
            last = op.name.startswith(("block4", "block5"))
            config = {"pool_size": 3, "strides": 1 if last else 2}
            if last:
                x = copies(op, x, config={**config, "padding": "same"})
                pool = AtrousAveragePooling2D(3, name=copies.name("block5_average"))
                return pool(x) if op.name.startswith("block5") else x
            # After a ReLU, zeros around the map change no maximum.
            x = layers.ZeroPadding2D(
                1, name=copies.name(f"{op.name}_pad"), data_format="channels_last"
            )(x)
            return copies(op, x, config={**config, "padding": "valid"})
        if isinstance(op, layers.Conv2D) and op.name.startswith("block5"):
            return copies(op, x, kind=AtrousConv2D, config={"dilation_rate": None, "rate": 2})
        return None

    return rebuild(backbone, rewrite)


def fully_connected_branch(x: Tensor, rate: int, *, suffix: str = "", prefix: str = "") -> Tensor:
    """fc6 as a 3×3 convolution at a rate and fc7 as a 1×1 one, 1024 channels each, dropout .5."""
    x = AtrousConv2D(
        1024,
        3,
        rate=rate,
        activation="relu",
        data_format="channels_last",
        name=f"{prefix}fc6{suffix}",
    )(x)
    x = layers.Dropout(0.5, name=f"{prefix}fc6_dropout{suffix}")(x)
    x = layers.Conv2D(
        1024, 1, activation="relu", name=f"{prefix}fc7{suffix}", data_format="channels_last"
    )(x)
    return layers.Dropout(0.5, name=f"{prefix}fc7_dropout{suffix}")(x)


def deeplab_largefov_decoder(rate: int = 12, *, level: str = "P5") -> Decoder:
    """Fully connected layers of VGG with a large field of view and a quarter of the width.

    Args:
        rate: int >= 1, dilation rate of fc6.
        level: str, the feature that is read.

    Returns:
        A decoder for `kd.assemble`.

    Example:

    >>> import keras_dense as kd
    >>> image = keras.Input((None, None, 3))
    >>> backbone = keras.Model(image, {"P3": layers.Conv2D(16, 8, strides=8)(image)})
    >>> decoder = kd.decoders.deeplab_largefov(rate=4, level="P3")
    >>> kd.assemble(backbone, decoder, kd.heads.Segmentation(5)).output_shape
    (None, None, None, 5)
    """

    @read_through(1)
    def decode(features: Features) -> Tensor:
        return fully_connected_branch(feature(features, level), rate)

    return decode


def _decimate(model: keras.Model, classifier: keras.Model) -> None:
    """Start fc6 and fc7 from every third tap and every fourth channel of the classifier's."""
    first, second = (layer.get_weights() for layer in fully_connected(classifier))
    kernel = first[0].reshape(7, 7, -1, first[0].shape[-1])
    transfer(model.get_layer("fc6"), [kernel[::3, ::3, :, ::4], first[1][::4]])
    transfer(model.get_layer("fc7"), [second[0][None, None, ::4, ::4], second[1][::4]])


def deeplab_largefov(
    backbone: str | keras.Model = "vgg16",
    num_classes: int | None = None,
    *,
    heads: HeadsLike | None = None,
    weights: PathLike | None = "imagenet",
    input_shape: Shape = (None, None, 3),
    name: str | None = None,
    initialize_from: keras.Model | PathLike | None = None,
    grid: str | None = None,
    rate: int = 12,
) -> keras.Model:
    """DeepLab-LargeFOV: VGG at stride 8, fc6 a 3×3 convolution of rate 12, 20.5 M weights.

    "vgg16" and "vgg19" give the authors' network; its fc6 and fc7 start from the classifier's,
    decimated, if that has weights. Another backbone is dilated exactly to stride 8 and gets the
    same two layers. The paper applies a dense CRF afterwards, see `kd.with_crf`.

    Args:
        backbone, num_classes, heads, weights, input_shape, name, initialize_from, grid: common to
            all builders, see `kd.models`. For VGG, the weights file must include the top.
        rate: int >= 1, dilation rate of fc6.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`.

    Raises:
        ValueError, TypeError: see `kd.backbone`, `kd.surgery.dilate`, `kd.heads.Segmentation`.

    Reference: Chen et al., ICLR 2015, sections 3.1, 3.2 and 5 (table 2, DeepLab-LargeFOV).

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> deeplab_largefov(backbone, 11).output_shape
    (None, None, None, 11)
    """
    heads, classifier = Heads.of(heads, num_classes), None
    if is_vgg_name(backbone):
        if weights is not None:
            backbone = classifier = make_backbone(backbone, weights, input_shape, top=True)
        backbone = largefov_backbone(make_backbone(backbone, None, input_shape))
    else:
        backbone = dilate(make_backbone(backbone, weights, input_shape), 8)
    decoder = deeplab_largefov_decoder(rate)
    model = build(
        backbone, decoder, heads, input_shape, name or "deeplab_largefov", initialize_from, grid
    )
    if classifier is not None and initialize_from is None:
        _decimate(model, classifier)
    return model

"""What several networks of papers share."""

from keras import layers

from keras_dense.backbones import backbone as make_backbone
from keras_dense.backbones import check_shape, family_of
from keras_dense.layers import AtrousConv2D, AtrousDepthwiseConv2D, ResizeLike
from keras_dense.models.assemble import assemble
from keras_dense.models.initialize import initialize
from keras_dense.surgery.graph import functional, walk
from keras_dense.surgery.strides import CONVOLUTIONS, Stride, stride_after


def backbone_of(backbone, weights, input_shape):
    """A backbone `{"P1": …}` from what builders take for `backbone`."""
    channels = check_shape(input_shape)[-1]
    if not isinstance(backbone, str) and isinstance(functional(backbone, "backbone").output, dict):
        return backbone
    return make_backbone(backbone, weights, channels=channels)


def is_vgg(backbone):
    """Whether a backbone is a VGG by name, of which the paper's networks keep the top.

    >>> is_vgg("VGG-16"), is_vgg("resnet50")
    (True, False)
    """
    return isinstance(backbone, str) and family_of(backbone)[0].startswith("VGG")


def finished(backbone, decoder, heads, input_shape, name, initialize_from=None):
    """The last step of a builder."""
    model = assemble(backbone, decoder, heads, input_shape=input_shape, name=name)
    return model if initialize_from is None else initialize(model, initialize_from)


def windows_of_stage(backbone, stride):
    """Names of the convolutions with windows larger than 1×1 that make maps of a stride.

    >>> backbone = make_backbone("resnet50", weights=None)
    >>> windows_of_stage(backbone, 32)
    ['conv5_block1_2_conv', 'conv5_block2_2_conv', 'conv5_block3_2_conv']
    """
    names = []

    def visit(node, *args, **kwargs):
        after = stride_after(node, args, kwargs)
        op = node.operation
        if isinstance(op, CONVOLUTIONS) and max(op.kernel_size) > 1:
            if after.value == (stride, stride):
                names.append(op.name)
        return [after] * len(node.outputs)

    walk(backbone, Stride((1, 1)), visit)
    return names


def conv_bn_relu(x, filters, kernel_size, rate=1, *, separable=False, name):
    """Convolution, batch norm, ReLU; or the separable form, which has them after both halves."""
    if separable:
        x = AtrousDepthwiseConv2D(
            kernel_size,
            rate=rate,
            use_bias=False,
            data_format="channels_last",
            name=f"{name}_depthwise",
        )(x)
        x = layers.BatchNormalization(epsilon=1e-5, name=f"{name}_depthwise_bn")(x)
        x = layers.ReLU(name=f"{name}_depthwise_relu")(x)
        kernel_size, rate = 1, 1
    x = AtrousConv2D(
        filters, kernel_size, rate=rate, use_bias=False, data_format="channels_last", name=name
    )(x)
    x = layers.BatchNormalization(epsilon=1e-5, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def summed_scores(x, filters, rates, *, prefix="", **kwargs):
    """3×3 convolutions of one map at several rates, added up (ASPP as in DeepLabv2)."""
    branches = [
        AtrousConv2D(
            filters, 3, rate=rate, data_format="channels_last", name=f"{prefix}aspp_{n}", **kwargs
        )(x)
        for n, rate in enumerate(rates, 1)
    ]
    return added(branches, name=f"{prefix}aspp")


def added(branches, name):
    """The sum of maps, of which there may be one only."""
    return layers.Add(name=name)(branches) if len(branches) > 1 else branches[0]


def aspp(x, rates, *, filters=256, image_pooling=True, separable=False, dropout=0.1, prefix="aspp"):
    """Atrous spatial pyramid pooling with image-level features (DeepLabv3, figure 5).

    A 1×1 convolution, a 3×3 one at each rate, and the mean of the whole map; concatenated and
    brought to `filters` channels.
    """
    branches = [conv_bn_relu(x, filters, 1, name=f"{prefix}_1x1")]
    for n, rate in enumerate(rates, 1):
        branches.append(
            conv_bn_relu(x, filters, 3, rate, separable=separable, name=f"{prefix}_3x3_{n}")
        )
    if image_pooling:
        image = layers.GlobalAveragePooling2D(
            keepdims=True, name=f"{prefix}_pool", data_format="channels_last"
        )(x)
        image = conv_bn_relu(image, filters, 1, name=f"{prefix}_image")
        branches.append(ResizeLike(name=f"{prefix}_broadcast")(image, x))
    x = layers.Concatenate(name=f"{prefix}_concatenate")(branches)
    x = conv_bn_relu(x, filters, 1, name=f"{prefix}_project")
    return layers.Dropout(dropout, name=f"{prefix}_dropout")(x)

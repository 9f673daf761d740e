"""The modified aligned Xception of DeepLabv3+.

Chen, Zhu, Papandreou, Schroff, Adam, "Encoder-Decoder with Atrous Separable Convolution for
Semantic Image Segmentation", ECCV 2018, figure 4. Where the figure and the authors' published code
(tensorflow/models, `deeplab/core/xception.py`) differ, these networks follow the code, with which
the authors' results and checkpoints were made: in the residual blocks only batch normalization
follows the depthwise convolution, and the ReLU comes before the pair; only the last three separable
convolutions have a ReLU after the depthwise convolution, too.
"""

import keras
from keras import initializers, layers

from keras_dense._types import PathLike, Shape, Tensor
from keras_dense.backbones.network import classifier, convolution, image_input

# Blocks of the entry flow: channels of their three separable convolutions, stride of the last.
_ENTRY_65 = ((128, 2), (256, 2), (728, 2))
_ENTRY_71 = ((128, 2), (256, 1), (256, 2), (728, 1), (728, 2))


def _batch_norm(x, name):
    return layers.BatchNormalization(epsilon=1e-3, name=f"{name}_bn")(x)


def _init():
    return initializers.TruncatedNormal(stddev=0.09)


def _conv(x, filters, size, name, strides=1):
    """Convolution, padded equally on all sides, and batch normalization."""
    x = convolution(x, filters, size, name, strides, kernel_initializer=_init())
    return _batch_norm(x, name)


def _separable(x, filters, name, strides=1, relu_after=False):
    """A separable convolution; the ReLU before it, or after each of its two halves."""

    def relu(x, name):
        return layers.ReLU(name=f"{name}_relu")(x)

    depthwise, pointwise = f"{name}_depthwise", f"{name}_pointwise"
    padding = "same"
    if not relu_after:
        x = relu(x, name)
    if strides > 1:
        x = layers.ZeroPadding2D(1, name=f"{name}_pad", data_format="channels_last")(x)
        padding = "valid"
    x = layers.DepthwiseConv2D(
        3,
        strides,
        padding,
        use_bias=False,
        depthwise_initializer=_init(),
        name=depthwise,
        data_format="channels_last",
    )(x)
    x = _batch_norm(x, depthwise)
    if relu_after:
        x = relu(x, depthwise)
    x = _conv(x, filters, 1, pointwise)
    return relu(x, pointwise) if relu_after else x


def _block(x, filters, name, strides=1, shortcut="conv"):
    """Three separable convolutions, the last of them strided, and the way around them."""
    y = x
    for i, channels in enumerate(filters, 1):
        y = _separable(y, channels, f"{name}_separable_conv{i}", strides if i == 3 else 1)
    if shortcut == "conv":
        x = _conv(x, filters[-1], 1, f"{name}_shortcut", strides)
    return layers.Add(name=f"{name}_add")([y, x])


def _xception(entry, weights, include_top, input_shape, input_tensor, classes, name):
    image = image_input(name, weights, input_shape, input_tensor)
    x = image
    for i, (filters, strides) in enumerate(((32, 2), (64, 1)), 1):
        x = _conv(x, filters, 3, f"entry_flow_conv1_{i}", strides)
        x = layers.ReLU(name=f"entry_flow_conv1_{i}_relu")(x)
    for i, (filters, strides) in enumerate(entry, 1):
        x = _block(x, [filters] * 3, f"entry_flow_block{i}", strides)
    for i in range(1, 17):
        x = _block(x, [728] * 3, f"middle_flow_unit{i}", shortcut="sum")
    x = _block(x, [728, 1024, 1024], "exit_flow_block1", strides=2)
    for i, filters in enumerate((1536, 1536, 2048), 1):
        x = _separable(x, filters, f"exit_flow_block2_separable_conv{i}", relu_after=True)
    return classifier(
        image,
        x,
        weights=weights,
        include_top=include_top,
        classes=classes,
        name=name,
        dropout=0.5,
    )


def xception65(
    weights: PathLike | None = None,
    *,
    include_top: bool = True,
    input_shape: Shape = (None, None, 3),
    input_tensor: Tensor | None = None,
    classes: int = 1000,
    name: str = "xception65",
) -> keras.Model:
    """Xception-65, the backbone of DeepLabv3+: 37.9 million weights before the top.

    Deeper than `keras.applications.Xception`, and made to be dilated: strided separable
    convolutions in place of max pooling, padded alike on all sides, 32 pixels to a cell at the
    end. Images are expected between −1 and 1; `kd.backbone("xception65")` standardizes them. Its
    `P2` is the feature that the paper's decoder reads, the second separable convolution of the
    entry flow's block 2: the last map of stride 4, before the third convolution strides. `P1`,
    `P3` and `P4` are chosen alike.

    Batch norms keep Keras' momentum of .99; the authors' .9997 suits trainings of many thousand
    steps (`kd.training.batch_norm_momentum`).

    Args:
        weights: `None` for random ones, or the path of a weights file.
        include_top: bool, whether the classifier's top (mean, dropout .5, softmax) is part of it.
        input_shape: `(height, width, channels)`, `None` for free sizes.
        input_tensor: a tensor to start from, in place of an input of `input_shape`.
        classes: int ≥ 1, number of classes of the top.
        name: str, the name of the model.

    Returns:
        A functional `keras.Model`: images `(B, H, W, C)` → probabilities `(B, classes)`, or
        without top → features `(B, H/32, W/32, 2048)`.

    Raises:
        ValueError: for "imagenet" weights, which are not published for Keras, weights of another
            network, a bad shape.
        FileNotFoundError: for a weights file that does not exist.

    Reference: Chen et al., ECCV 2018, figure 4.

    >>> xception65(include_top=False, input_shape=(64, 64, 3)).output_shape
    (None, 2, 2, 2048)
    """
    return _xception(_ENTRY_65, weights, include_top, input_shape, input_tensor, classes, name)


def xception71(
    weights: PathLike | None = None,
    *,
    include_top: bool = True,
    input_shape: Shape = (None, None, 3),
    input_tensor: Tensor | None = None,
    classes: int = 1000,
    name: str = "xception71",
) -> keras.Model:
    """Xception-71, the backbone of DeepLabv3+ on Cityscapes: 40.3 million weights before the top.

    `xception65` with two more blocks in the entry flow, which do not stride: one of 256 channels
    at stride 4, one of 728 at stride 8. `P2` of `kd.backbone("xception71")` is the second
    separable convolution of block 3.

    Args:
        weights, include_top, input_shape, input_tensor, classes, name: see `xception65`.

    Returns:
        A functional `keras.Model`, see `xception65`.

    Raises:
        ValueError, FileNotFoundError: see `xception65`.

    Reference: Chen et al., ECCV 2018, section 4.4.

    >>> xception71(include_top=False, input_shape=(64, 64, 3)).output_shape
    (None, 2, 2, 2048)
    """
    return _xception(_ENTRY_71, weights, include_top, input_shape, input_tensor, classes, name)

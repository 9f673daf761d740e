"""ResNets with a stem of three 3×3 convolutions instead of one 7×7, as in PSPNet and DUC.

Zhao, Shi, Qi, Wang, Jia, "Pyramid Scene Parsing Network", CVPR 2017; Wang et al., "Understanding
Convolution for Semantic Segmentation" (DUC, HDC), WACV 2018. Layers carry the names of the authors'
files, with `_` for `/`.
"""

import keras
from keras import layers

from keras_dense import _check
from keras_dense._types import PathLike, Shape, Tensor
from keras_dense.backbones.network import classifier, convolution, image_input


def _conv(x, filters, size, name, strides=1, relu=True):
    """Convolution, padded equally on all sides, batch normalization and ReLU."""
    # Glorot's random weights, as in keras.applications: with the authors' larger ones (He's) the
    # sums of an untrained ResNet-101 grow to 1e8, beyond float16.
    x = convolution(x, filters, size, name, strides)
    x = layers.BatchNormalization(momentum=0.95, epsilon=1e-5, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x


def _block(x, filters, name, strides, first, stride_in):
    """A bottleneck; the first of a stage projects its input."""
    reduce, conv = (strides, 1) if stride_in == "1x1" else (1, strides)
    y = _conv(x, filters, 1, f"{name}_1x1_reduce", reduce)
    y = _conv(y, filters, 3, f"{name}_3x3", conv)
    y = _conv(y, 4 * filters, 1, f"{name}_1x1_increase", relu=False)
    if first:
        x = _conv(x, 4 * filters, 1, f"{name}_1x1_proj", strides, relu=False)
    x = layers.Add(name=name)([x, y])
    return layers.ReLU(name=f"{name}_relu")(x)


def _resnet(blocks, weights, include_top, input_shape, input_tensor, classes, name, stride_in):
    _check.choice(stride_in, "stride_in", ("1x1", "3x3"))
    image = image_input(name, weights, input_shape, input_tensor)
    x = _conv(image, 64, 3, "conv1_1_3x3_s2", 2)
    x = _conv(x, 64, 3, "conv1_2_3x3")
    x = _conv(x, 128, 3, "conv1_3_3x3")
    # Zeros are as good as minus infinity beside what a ReLU leaves.
    x = layers.ZeroPadding2D(1, name="pool1_3x3_s2_pad", data_format="channels_last")(x)
    x = layers.MaxPooling2D(3, 2, name="pool1_3x3_s2", data_format="channels_last")(x)
    for stage, (count, filters) in enumerate(zip(blocks, (64, 128, 256, 512), strict=True), 2):
        for i in range(1, count + 1):
            strides = 2 if stage > 2 and i == 1 else 1
            x = _block(x, filters, f"conv{stage}_{i}", strides, i == 1, stride_in)
    return classifier(
        image, x, weights=weights, include_top=include_top, classes=classes, name=name
    )


def resnet50c(
    weights: PathLike | None = None,
    *,
    include_top: bool = True,
    input_shape: Shape = (None, None, 3),
    input_tensor: Tensor | None = None,
    classes: int = 1000,
    name: str = "resnet50c",
    stride_in: str = "1x1",
) -> keras.Model:
    """ResNet-50 with a stem of three 3×3 convolutions (64, 64, 128), as in PSPNet.

    No convolution has a bias; strided windows are padded equally on all sides. Images are
    expected as BGR minus the ImageNet mean; `kd.backbone("resnet50c")` standardizes them.

    Args:
        weights: `None` for random ones, or the path of a weights file.
        include_top: bool, whether the classifier's top (mean, softmax) is part of it.
        input_shape: `(height, width, channels)`, `None` for free sizes.
        input_tensor: a tensor to start from, in place of an input of `input_shape`.
        classes: int ≥ 1, number of classes of the top.
        name: str, the name of the model.
        stride_in: str, the convolution of a stage's first block that strides, beside the
            projection: the first "1x1", as in the authors' PSPNet-50 and in DUC's ResNet-101, or
            the "3x3", as in the authors' PSPNet-101.

    Returns:
        A functional `keras.Model`: images `(B, H, W, C)` → probabilities `(B, classes)`, or
        without top → features `(B, H/32, W/32, 2048)`.

    Raises:
        ValueError: for "imagenet" weights, which are not published for Keras, weights of another
            network, a bad shape or `stride_in`.
        FileNotFoundError: for a weights file that does not exist.

    Reference: Zhao et al., CVPR 2017; its network files.

    >>> resnet50c(include_top=False, input_shape=(64, 64, 3)).output_shape
    (None, 2, 2, 2048)
    """
    return _resnet(
        (3, 4, 6, 3), weights, include_top, input_shape, input_tensor, classes, name, stride_in
    )


def resnet101c(
    weights: PathLike | None = None,
    *,
    include_top: bool = True,
    input_shape: Shape = (None, None, 3),
    input_tensor: Tensor | None = None,
    classes: int = 1000,
    name: str = "resnet101c",
    stride_in: str = "1x1",
) -> keras.Model:
    """ResNet-101 with a stem of three 3×3 convolutions: 42.6 million weights before the top.

    Args:
        weights, include_top, input_shape, input_tensor, classes, name: see `resnet50c`.
        stride_in: see `resnet50c`. PSPNet-101 as its authors published it strides in the "3x3".

    Returns:
        A functional `keras.Model`, see `resnet50c`.

    Raises:
        ValueError, FileNotFoundError: see `resnet50c`.

    Reference: Zhao et al., CVPR 2017; Wang et al., WACV 2018.

    >>> resnet101c(include_top=False, input_shape=(64, 64, 3)).output_shape
    (None, 2, 2, 2048)
    """
    return _resnet(
        (3, 4, 23, 3), weights, include_top, input_shape, input_tensor, classes, name, stride_in
    )


def resnet152c(
    weights: PathLike | None = None,
    *,
    include_top: bool = True,
    input_shape: Shape = (None, None, 3),
    input_tensor: Tensor | None = None,
    classes: int = 1000,
    name: str = "resnet152c",
    stride_in: str = "1x1",
) -> keras.Model:
    """ResNet-152 with a stem of three 3×3 convolutions, as in DUC's best entry to PASCAL VOC.

    Args:
        weights, include_top, input_shape, input_tensor, classes, name: see `resnet50c`.
        stride_in: see `resnet50c`.

    Returns:
        A functional `keras.Model`, see `resnet50c`.

    Raises:
        ValueError, FileNotFoundError: see `resnet50c`.

    Reference: Wang et al., WACV 2018, section 4.3.

    >>> resnet152c(include_top=False, input_shape=(64, 64, 3)).output_shape
    (None, 2, 2, 2048)
    """
    return _resnet(
        (3, 8, 36, 3), weights, include_top, input_shape, input_tensor, classes, name, stride_in
    )

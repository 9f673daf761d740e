"""ResNet-38: fewer and wider residual blocks.

Wu, Shen, van den Hengel, "Wider or Deeper: Revisiting the ResNet Model for Visual Recognition",
Pattern Recognition 2019 (arXiv 1611.10080), Model A1. Layers carry the names of the authors' code.
"""

from functools import partial

import keras
from keras import layers

from keras_dense._types import PathLike, Shape, Tensor
from keras_dense.backbones.network import classifier, convolution, image_input

# Stage: channels of a block's convolutions, number of blocks.
_STAGES = {2: ((128, 128), 3), 3: ((256, 256), 3), 4: ((512, 512), 6), 5: ((512, 1024), 3)}
# Stage: channels of the bottleneck's 1×1, 3×3, 1×1 convolutions, dropout before the last, stride.
_BOTTLENECKS = {6: ((512, 1024, 2048), 0.3, 2), 7: ((1024, 2048, 4096), 0.5, 1)}


_conv = partial(convolution, kernel_initializer="he_normal")


def _activated(x, norm, relu):
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=norm)(x)
    return layers.ReLU(name=relu)(x)


def _block(x, name, filters, kernels, strides=1, project=False, dropout=0.0):
    """Batch normalization, ReLU and a convolution, twice or three times, and the way around.

    Only the first convolution strides. A projection reads what the first one reads.
    """
    y, way_around = x, x
    for i, (channels, size) in enumerate(zip(filters, kernels, strict=True)):
        branch = f"{name}_branch2{f'b{i}' if i else 'a'}"
        y = _activated(y, f"bn{branch}", f"res{branch}_relu")
        if project and i == 0:
            way_around = _conv(y, filters[-1], 1, f"res{name}_branch1", strides)
        if dropout and i == len(filters) - 1:
            y = layers.Dropout(dropout, name=f"res{branch}_do")(y)
        y = _conv(y, channels, size, f"res{branch}", 1 if i else strides)
    return layers.Add(name=f"res{name}")([way_around, y])


def resnet38(
    weights: PathLike | None = None,
    *,
    include_top: bool = True,
    input_shape: Shape = (None, None, 3),
    input_tensor: Tensor | None = None,
    classes: int = 1000,
    name: str = "resnet38",
) -> keras.Model:
    """ResNet-38 (Model A1 of "Wider or Deeper"): 105 million weights before the top.

    Blocks are pre-activated and up to 4096 channels wide. There is no pooling: the first
    convolutions of stages 2 to 6 stride. Images are expected as RGB, standardized with the mean
    and deviation of ImageNet; `kd.backbone("resnet38")` standardizes them. Its features `P1` to
    `P4` are the inputs of the stage after, normalized and rectified.

    Args:
        weights: `None` for random ones, or the path of a weights file.
        include_top: bool, whether the classifier's top (mean, softmax) is part of it.
        input_shape: `(height, width, channels)`, `None` for free sizes.
        input_tensor: a tensor to start from, in place of an input of `input_shape`.
        classes: int ≥ 1, number of classes of the top.
        name: str, the name of the model.

    Returns:
        A functional `keras.Model`: images `(B, H, W, C)` → probabilities `(B, classes)`, or
        without top → features `(B, H/32, W/32, 4096)`.

    Raises:
        ValueError: for "imagenet" weights, which are not published for Keras, weights of another
            network, a bad shape.
        FileNotFoundError: for a weights file that does not exist.

    Reference: Wu, Shen, van den Hengel, arXiv 1611.10080, Model A1.

    >>> resnet38(include_top=False, input_shape=(64, 64, 3)).output_shape
    (None, 2, 2, 4096)
    """
    image = image_input(name, weights, input_shape, input_tensor)
    x = _conv(image, 64, 3, "conv1a")
    for stage, (filters, count) in _STAGES.items():
        x = _block(x, f"{stage}a", filters, (3, 3), strides=2, project=True)
        for i in range(1, count):
            x = _block(x, f"{stage}b{i}", filters, (3, 3))
    for stage, (filters, dropout, strides) in _BOTTLENECKS.items():
        x = _block(x, f"{stage}a", filters, (1, 3, 1), strides, project=True, dropout=dropout)
    x = _activated(x, "bn7", "relu7")
    return classifier(
        image, x, weights=weights, include_top=include_top, classes=classes, name=name
    )

"""DenseNet-161: the widest of the published DenseNets, which keras.applications lacks.

Huang, Liu, van der Maaten, Weinberger, "Densely Connected Convolutional Networks", CVPR 2017.
Layers carry the names of the DenseNets of keras.applications.
"""

import keras
from keras import layers

from keras_dense._types import PathLike, Shape, Tensor
from keras_dense.backbones.network import classifier, convolution, image_input

_BLOCKS, _GROWTH, _STEM = (6, 12, 36, 24), 48, 96


def _activated(x, name):
    x = layers.BatchNormalization(epsilon=1e-5, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _dense_layer(x, name):
    """`_GROWTH` channels computed from all channels before, and concatenated with them."""
    y = _activated(x, f"{name}_0")
    y = convolution(y, 4 * _GROWTH, 1, f"{name}_1_conv")
    y = _activated(y, f"{name}_1")
    y = convolution(y, _GROWTH, 3, f"{name}_2_conv")
    return layers.Concatenate(name=f"{name}_concat")([x, y])


def densenet161(
    weights: PathLike | None = None,
    *,
    include_top: bool = True,
    input_shape: Shape = (None, None, 3),
    input_tensor: Tensor | None = None,
    classes: int = 1000,
    name: str = "densenet161",
) -> keras.Model:
    """DenseNet-161 (growth 48): 26.5 million weights before the top.

    Images are expected as RGB, standardized with the mean and deviation of ImageNet;
    `kd.backbone("densenet161")` standardizes them. Its features `P2` to `P4` are the inputs
    of the transitions, normalized and rectified: 384, 768 and 2112 channels; `P5` has 2208.

    Args:
        weights: `None` for random ones, or the path of a weights file.
        include_top: bool, whether the classifier's top (mean, softmax) is part of it.
        input_shape: `(height, width, channels)`, `None` for free sizes.
        input_tensor: a tensor to start from, in place of an input of `input_shape`.
        classes: int ≥ 1, number of classes of the top.
        name: str, the name of the model.

    Returns:
        A functional `keras.Model`: images `(B, H, W, C)` → probabilities `(B, classes)`, or
        without top → features `(B, H/32, W/32, 2208)`.

    Raises:
        ValueError: for "imagenet" weights, which are not published for Keras, weights of another
            network, a bad shape.
        FileNotFoundError: for a weights file that does not exist.

    Reference: Huang et al., CVPR 2017, table 1 (with k = 48).

    >>> densenet161(include_top=False, input_shape=(64, 64, 3)).output_shape
    (None, 2, 2, 2208)
    """
    image = image_input(name, weights, input_shape, input_tensor)
    x = _activated(convolution(image, _STEM, 7, "conv1_conv", 2), "conv1")
    # Zeros are as good as minus infinity beside what a ReLU leaves.
    x = layers.ZeroPadding2D(1, name="pool1_pad", data_format="channels_last")(x)
    x = layers.MaxPooling2D(3, 2, name="pool1", data_format="channels_last")(x)
    for stage, count in enumerate(_BLOCKS, 2):
        if stage > 2:
            x = _activated(x, f"pool{stage - 1}")
            x = convolution(x, x.shape[-1] // 2, 1, f"pool{stage - 1}_conv")
            x = layers.AveragePooling2D(
                2, 2, name=f"pool{stage - 1}_pool", data_format="channels_last"
            )(x)
        for block in range(1, count + 1):
            x = _dense_layer(x, f"conv{stage}_block{block}")
    x = layers.BatchNormalization(epsilon=1e-5, name="bn")(x)
    x = layers.ReLU(name="relu")(x)
    return classifier(
        image, x, weights=weights, include_top=include_top, classes=classes, name=name
    )

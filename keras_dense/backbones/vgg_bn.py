"""VGG with a batch norm after each convolution, which keras.applications lacks.

Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR
2015; Ioffe, Szegedy, "Batch Normalization", ICML 2015. Layers carry the names of the VGGs of
keras.applications, and those that `kd.surgery.insert_batch_norm` gives.
"""

import keras
from keras import layers

from keras_dense._types import PathLike, Shape, Tensor
from keras_dense.backbones.network import image_input, load_weights

_16, _19 = (2, 2, 3, 3, 3), (2, 2, 4, 4, 4)
_CHANNELS = (64, 128, 256, 512, 512)


def _features(x, counts):
    for block, (count, channels) in enumerate(zip(counts, _CHANNELS, strict=True), 1):
        for i in range(1, count + 1):
            name = f"block{block}_conv{i}"
            x = layers.Conv2D(channels, 3, padding="same", name=name, data_format="channels_last")(
                x
            )
            x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(x)
            x = layers.ReLU(name=f"{name}_relu")(x)
        x = layers.MaxPooling2D(2, 2, name=f"block{block}_pool", data_format="channels_last")(x)
    return x


def _top(x, classes):
    x = layers.Flatten(name="flatten", data_format="channels_last")(x)
    for name in ("fc1", "fc2"):
        x = layers.Dense(4096, activation="relu", name=name)(x)
    return layers.Dense(classes, activation="softmax", name="predictions")(x)


def _vgg(counts, weights, include_top, input_shape, input_tensor, classes, name):
    if include_top and None in input_shape[:2]:
        input_shape = (224, 224, input_shape[-1])
    image = image_input(name, weights, input_shape, input_tensor)
    x = _features(image, counts)
    (source,) = keras.utils.get_source_inputs(image)
    model = keras.Model(source, _top(x, classes) if include_top else x, name=name)
    if weights is not None:
        load_weights(model, weights, f"{name}(include_top={include_top})")
    return model


def vgg16_bn(
    weights: PathLike | None = None,
    *,
    include_top: bool = True,
    input_shape: Shape = (None, None, 3),
    input_tensor: Tensor | None = None,
    classes: int = 1000,
    name: str = "vgg16_bn",
) -> keras.Model:
    """VGG-16 with batch norm: 14.7 million weights before the top.

    Images are expected as RGB, standardized with the mean and deviation of ImageNet:
    `kd.backbone("vgg16_bn")` standardizes them, and reads published weights.

    Args:
        weights: `None` for random ones, or the path of a weights file of Keras.
        include_top: bool, whether the classifier's fully connected layers are part of it. They
            need a fixed size: 224×224, where `input_shape` is free.
        input_shape: `(height, width, channels)`, `None` for free sizes.
        input_tensor: a tensor to start from, in place of an input of `input_shape`.
        classes: int ≥ 1, number of classes of the top.
        name: str, the name of the model.

    Returns:
        A functional `keras.Model`: images `(B, H, W, C)` → probabilities `(B, classes)`, or
        without top → features `(B, H/32, W/32, 512)`.

    Raises:
        ValueError: for names of published weights (those are `kd.backbone`'s), weights of another
            network, a bad shape.
        FileNotFoundError: for a weights file that does not exist.

    Reference: Simonyan and Zisserman, ICLR 2015, table 1, column D.

    >>> vgg16_bn(include_top=False, input_shape=(64, 64, 3)).output_shape
    (None, 2, 2, 512)
    """
    return _vgg(_16, weights, include_top, input_shape, input_tensor, classes, name)


def vgg19_bn(
    weights: PathLike | None = None,
    *,
    include_top: bool = True,
    input_shape: Shape = (None, None, 3),
    input_tensor: Tensor | None = None,
    classes: int = 1000,
    name: str = "vgg19_bn",
) -> keras.Model:
    """VGG-19 with batch norm: 20 million weights before the top.

    Args:
        weights, include_top, input_shape, input_tensor, classes, name: see `vgg16_bn`.

    Returns:
        A functional `keras.Model`, see `vgg16_bn`.

    Raises:
        ValueError, FileNotFoundError: see `vgg16_bn`.

    Reference: Simonyan and Zisserman, ICLR 2015, table 1, column E.

    >>> vgg19_bn(include_top=False, input_shape=(64, 64, 3)).output_shape
    (None, 2, 2, 512)
    """
    return _vgg(_19, weights, include_top, input_shape, input_tensor, classes, name)

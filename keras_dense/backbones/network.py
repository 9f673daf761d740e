"""Input, top and weights: parts common to all networks of this subpackage."""

import contextlib
import os
import warnings
from collections.abc import Iterator

import keras
from keras import layers

from keras_dense import _check
from keras_dense._types import PathLike, Shape, Tensor


@contextlib.contextmanager
def channels_last() -> Iterator[None]:
    """Build layers as channels_last, against the Keras configuration if need be.

    For networks of `keras.applications`, which read the configuration; ours state the format in
    every layer.

    >>> with channels_last():
    ...     keras.layers.Conv2D(4, 3).data_format
    'channels_last'
    """
    configured = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_last")
    try:
        yield
    finally:
        keras.config.set_image_data_format(configured)


def check_shape(input_shape: Shape) -> Shape:
    """`input_shape`, checked, as a tuple `(height, width, channels)`.

    >>> check_shape([None, None, 3])
    (None, None, 3)
    """
    try:
        *sizes, channels = input_shape
        found = [None if n is None else _check.integer(n, "input_shape", low=1) for n in sizes]
        found.append(_check.integer(channels, "input_shape", low=1))
    except (TypeError, ValueError):
        found = []
    if len(found) != 3:
        wanted = "(height, width, channels), with None for free sizes"
        raise _check.fail("input_shape", wanted, input_shape)
    return tuple(found)


def load_weights(model: keras.Model, path: PathLike, network: str) -> None:
    """Load a weights file into a model; an error names file and network where they do not fit."""
    if not os.path.exists(path):
        raise FileNotFoundError(
            "`weights` must be 'imagenet', None, or the path of an existing file. "
            f"Received: weights={path!r}"
        )
    try:
        with warnings.catch_warnings():
            # Keras warns of every container without weights where the top is missing or extra.
            # A layer that gets no weights is an error.
            warnings.filterwarnings("ignore", "Skipping nested container")
            model.load_weights(path)
    except Exception as error:
        raise ValueError(
            f"The weights in {os.fspath(path)!r} do not fit {network}: they belong to another "
            f"network, or to another variant of it (`alpha`, `include_top`). Keras says: {error}"
        ) from error


def image_input(
    name: str, weights: PathLike | None, input_shape: Shape, input_tensor: Tensor | None
) -> Tensor:
    """The input tensor of a network, after a check that its weights are to be had.

    Raises:
        ValueError: for `weights="imagenet"`, or a bad shape.
    """
    if weights == "imagenet":
        raise ValueError(
            f"`weights` must be None (random) or the path of a weights file: no ImageNet weights "
            f"of {name!r} are published for Keras. Received: weights='imagenet'. Networks of "
            "keras.applications have them ('ResNet101', 'Xception', …), and `kd.backbone` reads "
            "those of torchvision ('resnet101_v1b', …)."
        )
    if input_tensor is not None:
        return input_tensor
    return keras.Input(check_shape(input_shape), name="image")


def convolution(
    x: Tensor,
    filters: int,
    size: int,
    name: str,
    strides: int = 1,
    *,
    groups: int = 1,
    kernel_initializer: str | keras.initializers.Initializer = "glorot_uniform",
) -> Tensor:
    """A convolution without bias, padded equally on all sides even with strides."""
    padding = "same"
    if strides > 1 and size > 1:
        x = layers.ZeroPadding2D(size // 2, name=f"{name}_pad", data_format="channels_last")(x)
        padding = "valid"
    return layers.Conv2D(
        filters,
        size,
        strides,
        padding,
        groups=groups,
        use_bias=False,
        kernel_initializer=kernel_initializer,
        name=name,
        data_format="channels_last",
    )(x)


def classifier(
    image: Tensor,
    x: Tensor,
    *,
    weights: PathLike | None,
    include_top: bool,
    classes: int,
    name: str,
    dropout: float = 0.0,
) -> keras.Model:
    """The network from `image` to the features `x`, or to class probabilities computed from them.

    Args:
        image: the result of `image_input`.
        x: the last feature map.
        weights: `None` or the path of a weights file, with or without the top.
        include_top: bool, whether to average the map and predict `classes` probabilities.
        classes: int, number of classes of the top.
        name: str, the name of the model.
        dropout: float, share of the averaged features that the top drops in training.

    Raises:
        ValueError: for weights of another network.
        FileNotFoundError: for a weights file that does not exist.
    """
    if include_top:
        x = layers.GlobalAveragePooling2D(name="avg_pool", data_format="channels_last")(x)
        if dropout:
            x = layers.Dropout(dropout, name="top_dropout")(x)
        x = layers.Dense(classes, activation="softmax", name="predictions")(x)
    (source,) = keras.utils.get_source_inputs(image)
    model = keras.Model(source, x, name=name)
    if weights is not None:
        load_weights(model, weights, f"{name}(include_top={include_top})")
    return model

"""What the networks here share with those of `keras.applications`: input, top, weights."""

import contextlib
import os
import warnings

import keras
from keras import layers


@contextlib.contextmanager
def channels_last():
    """What is built within is channels_last, whatever the Keras configuration says.

    For networks of others that ask the configuration; ours state the format in every layer.

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


def check_shape(input_shape):
    """`input_shape` as a tuple, or an error that says what would do.

    >>> check_shape([None, None, 3])
    (None, None, 3)
    """
    valid = isinstance(input_shape, (tuple, list)) and len(input_shape) == 3
    if not valid or not isinstance(input_shape[-1], int) or input_shape[-1] < 1:
        raise ValueError(
            "`input_shape` must be (height, width, channels), with None for free sizes. "
            f"Received: input_shape={input_shape!r}"
        )
    return tuple(input_shape)


def load_weights(model, path, what):
    """Load a weights file, with an error that names both when they do not belong together."""
    if not os.path.exists(path):
        raise FileNotFoundError(
            f"`weights` is neither 'imagenet', None, nor an existing file. Received: {path!r}"
        )
    try:
        with warnings.catch_warnings():
            # Said of every container that holds no weights where the top is missing or extra;
            # a layer that does get none is an error.
            warnings.filterwarnings("ignore", "Skipping nested container")
            model.load_weights(path)
    except Exception as error:
        raise ValueError(
            f"The weights in {os.fspath(path)!r} do not fit {what}: they belong to another "
            f"network, or to another variant of it (`alpha`, `include_top`). Keras says: {error}"
        ) from error


def image_input(name, weights, input_shape, input_tensor):
    """The tensor that a network starts from, or an error where it could not get its weights.

    Raises:
        ValueError: for `weights="imagenet"`, or a bad shape.
    """
    if weights == "imagenet":
        raise ValueError(
            f"No ImageNet weights of {name!r} are published for Keras. Received: "
            "weights='imagenet'. Pass the path of a weights file, or `weights=None` for random "
            "ones, or name a network of keras.applications, which has them ('ResNet101', "
            "'Xception', …)."
        )
    if input_tensor is not None:
        return input_tensor
    return keras.Input(check_shape(input_shape), name="image")


def convolution(x, filters, size, name, strides=1, kernel_initializer="glorot_uniform"):
    """A convolution without bias, padded alike on all sides, also where it strides."""
    padding = "same"
    if strides > 1 and size > 1:
        x = layers.ZeroPadding2D(size // 2, name=f"{name}_pad", data_format="channels_last")(x)
        padding = "valid"
    return layers.Conv2D(
        filters,
        size,
        strides,
        padding,
        use_bias=False,
        kernel_initializer=kernel_initializer,
        name=name,
        data_format="channels_last",
    )(x)


def classifier(image, x, *, weights, include_top, classes, name, dropout=0.0):
    """The network from `image` to the features `x`, or to the probabilities read off them.

    Args:
        image: what `image_input` returned.
        x: the last feature map.
        weights: `None` or the path of a weights file, with or without the top.
        include_top: average the map, and predict `classes` probabilities.
        classes: number of classes of the top.
        name: name of the model.
        dropout: share of the averaged features that the top drops while it trains.

    Raises:
        ValueError: for weights of another network.
        FileNotFoundError: for a weights file that is not there.
    """
    if include_top:
        x = layers.GlobalAveragePooling2D(name="avg_pool", data_format="channels_last")(x)
        if dropout:
            x = layers.Dropout(dropout, name="top_dropout")(x)
        x = layers.Dense(classes, activation="softmax", name="predictions")(x)
    (source,) = keras.utils.get_source_inputs(image)
    model = keras.Model(source, x, name=name)
    if weights is not None:
        load_weights(model, weights, what=f"{name}(include_top={include_top})")
    return model

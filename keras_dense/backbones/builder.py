"""The arguments and the documentation that builders of networks of one form share."""

import inspect
from collections.abc import Callable
from typing import Protocol

import keras

from keras_dense._types import PathLike, Shape, Tensor
from keras_dense.backbones.network import classifier, image_input


class Builder(Protocol):
    """A function that builds a network by the arguments of `keras.applications`."""

    __name__: str

    def __call__(
        self,
        weights: PathLike | None = None,
        *,
        include_top: bool = True,
        input_shape: Shape = (None, None, 3),
        input_tensor: Tensor | None = None,
        classes: int = 1000,
        name: str = ...,
    ) -> keras.Model:
        """Build the network.

        Args:
            weights: `None` for random ones, or the path of a weights file of Keras.
            include_top: bool, whether the classifier's top (mean, softmax) is part of it.
            input_shape: `(height, width, channels)`, `None` for free sizes.
            input_tensor: a tensor to start from, in place of an input of `input_shape`.
            classes: int ≥ 1, number of classes of the top.
            name: str, the name of the model.

        Returns:
            A functional `keras.Model`: images `(B, H, W, C)` → probabilities `(B, classes)`, or
            without top → features `(B, H/32, W/32, C)`.

        Raises:
            ValueError: for names of published weights (those are `kd.backbone`'s), weights of
                another network, a bad shape.
            FileNotFoundError: for a weights file that does not exist.
        """
        ...


def builder(
    network: str,
    features: Callable[[Tensor], Tensor],
    channels: int,
    about: str,
    *,
    reference: str = "",
    dropout: float = 0.0,
) -> Builder:
    """The function that builds a network, with its documentation.

    Args:
        network: str, its name.
        features: function from the image to the last map, of stride 32.
        channels: int, those of the last map.
        about: str, its documentation before the arguments, indented as in a function.
        reference: str, where the network is described.
        dropout: see `classifier`.

    >>> from keras import layers
    >>> net = builder("net", layers.Conv2D(4, 32, 32), 4, "A network of one convolution.")
    >>> net(include_top=False, input_shape=(64, 64, 3)).output_shape
    (None, 2, 2, 4)
    """

    def build(
        weights: PathLike | None = None,
        *,
        include_top: bool = True,
        input_shape: Shape = (None, None, 3),
        input_tensor: Tensor | None = None,
        classes: int = 1000,
        name: str = network,
    ) -> keras.Model:
        image = image_input(network, weights, input_shape, input_tensor)
        return classifier(
            image,
            features(image),
            weights=weights,
            include_top=include_top,
            classes=classes,
            name=name,
            dropout=dropout,
        )

    build.__name__ = build.__qualname__ = network
    example = f"""\
    >>> {network}(include_top=False, input_shape=(64, 64, 3)).output_shape
    (None, 2, 2, {channels})
    """
    parts = [
        about,
        Builder.__call__.__doc__ or "",
        reference and f"Reference: {reference}",
        example,
    ]
    build.__doc__ = "\n\n".join(inspect.cleandoc(part) for part in parts if part)
    return build

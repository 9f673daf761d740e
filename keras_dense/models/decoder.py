"""The contract of a decoder: features of a backbone in, scores of every head out."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from keras import layers

from keras_dense import _check
from keras_dense._types import Features, Size, Tensor
from keras_dense.layers import AtrousAveragePooling2D
from keras_dense.models.grid import current
from keras_dense.models.upsampling import interpolate
from keras_dense.surgery.graph import source_of
from keras_dense.surgery.strides import stride_between


class Wanted(NamedTuple):
    """The scores that one head needs from a decoder.

    Attributes:
        channels: int, channels of the scores.
        stride: int, stride of the prediction; finer scores are pooled, coarser ones upsampled.
        prefix: str, prefix of the names of all layers that belong to this head alone.

    Example:

    >>> Wanted(channels=21)
    Wanted(channels=21, stride=1, prefix='')
    """

    channels: int
    stride: int = 1
    prefix: str = ""


class Prediction(NamedTuple):
    """The prediction of a decoder for one head.

    Attributes:
        scores: `(B, h, w, channels)`, at any stride.
        early: dict of earlier predictions by name, which `kd.heads.Intermediate` reads.

    Example:

    >>> Prediction("scores", early={"stage1": "earlier scores"}).early["stage1"]
    'earlier scores'
    """

    scores: Tensor
    early: Mapping[str, Tensor] = {}


class Decoder:
    """A function from the features of a backbone to the scores of all heads.

    `decoder(features, wanted)` is called once. It gets all features `{"P1": …, "P5": …}` and a
    dict with a `Wanted` for each head, and returns a dict with a `Prediction` under the same keys.
    Most networks need less, and use a short form:

    - A plain function from features to one map. Every head reads it through a 1×1 convolution;
      `read_through` sets another kernel size.
    - A function from features and one `Wanted` to scores, decorated with `scores`. It suits
      networks that add up scores, where heads have no map in common.

    Args:
        predict: function of `features` and `wanted`.

    Example:

    >>> @Decoder
    ... def linear(features, wanted):
    ...     return {
    ...         key: Prediction(layers.Conv2D(head.channels, 1)(features["P3"]))
    ...         for key, head in wanted.items()
    ...     }
    """

    def __init__(
        self, predict: Callable[[Features, dict[str, Wanted]], dict[str, Prediction]]
    ) -> None:
        self._predict = predict

    def __call__(self, features: Features, wanted: dict[str, Wanted]) -> dict[str, Prediction]:
        return self._predict(features, wanted)


def scores(function: Callable[[Features, Wanted], Tensor]) -> Decoder:
    """Make a decoder from a function that predicts the scores of one head.

    Args:
        function: `function(features, wanted)`, called once for each head; returns its scores.

    Returns:
        A `Decoder`.

    Example:

    >>> @scores
    ... def linear(features, wanted):
    ...     convolution = layers.Conv2D(wanted.channels, 1, name=f"{wanted.prefix}score")
    ...     return convolution(features["P3"])
    """

    def predict(features: Features, wanted: dict[str, Wanted]) -> dict[str, Prediction]:
        return {key: Prediction(function(features, head)) for key, head in wanted.items()}

    return Decoder(predict)


def read_through(kernel_size: int) -> Callable[[Callable[[Features], Tensor]], Decoder]:
    """Make a decoder from a function to one map, which heads read through a convolution.

    Args:
        kernel_size: int >= 1, kernel size of this convolution.

    Returns:
        A decorator: it turns a function from features to a map into a `Decoder`.

    Example:

    >>> @read_through(3)
    ... def middle(features):
    ...     return features["P3"]
    """
    kernel_size = _check.integer(kernel_size, "kernel_size", low=1)

    def decoder(function: Callable[[Features], Tensor]) -> Decoder:
        def predict(features: Features, wanted: dict[str, Wanted]) -> dict[str, Prediction]:
            shared = function(features)

            def read(head: Wanted) -> Prediction:
                x = shared
                if head.stride > 1:
                    # Pooled before the convolution, where there are fewer channels: means commute.
                    x = at_stride(x, source_of(x), head.stride, head.prefix, coarser_only=True)
                convolution = layers.Conv2D(
                    head.channels,
                    kernel_size,
                    padding="same",
                    name=f"{head.prefix}scores",
                    data_format="channels_last",
                )
                return Prediction(convolution(x))

            return {key: read(head) for key, head in wanted.items()}

        return Decoder(predict)

    return decoder


def as_decoder(decoder: Any) -> Decoder:
    """Make a decoder from a decoder, or from a function from features to a map.

    Raises:
        TypeError: for anything that cannot be called.

    >>> isinstance(as_decoder(lambda features: features["P3"]), Decoder)
    True
    """
    if isinstance(decoder, Decoder):
        return decoder
    if not callable(decoder):
        raise TypeError(
            "`decoder` must be a decoder such as kd.decoders.fpn(), or a function from the dict of "
            f"features to a map. Received: {decoder!r}"
        )
    return read_through(1)(decoder)


def at_stride(
    x: Tensor, image: Tensor, stride: int, prefix: str = "", *, coarser_only: bool = False
) -> Tensor:
    """Bring a map to another stride: upsample it bilinearly, or average over cells.

    Args:
        x: map `(B, h, w, C)`.
        image: the image, an input of the network.
        stride: int, stride of the result.
        prefix: str, prefix of the names of new layers.
        coarser_only: bool, whether a map that would have to be upsampled is returned unchanged.
    """
    factor = stride_between(image, x)
    fine = all(stride % n == 0 for n in factor)
    if coarser_only and not fine:
        return x
    if not fine:
        up: Any = tuple(n // stride if n % stride == 0 else n for n in factor)
        factor = tuple(n // u for n, u in zip(factor, up, strict=True))
        x = interpolate(x, up, image, stride=factor, name=f"{prefix}upsample")
    pool = tuple(stride // n for n in factor)
    return average(x, pool, name=f"{prefix}pool")


def average(x: Tensor, pool: Size, *, name: str) -> Tensor:
    """Average over blocks of cells; of sizes that they do not divide, blocks at the border are cut.

    >>> import keras
    >>> average(keras.Input((9, 8, 5)), 1, name="pool").shape
    (None, 9, 8, 5)
    """
    canvas, pool = current(), _check.pair(pool, "pool")
    if pool == (1, 1):
        return x
    if canvas is None or canvas.grid.divides:
        return layers.AveragePooling2D(pool, name=name, data_format="channels_last")(x)
    return AtrousAveragePooling2D(pool, strides=pool, padding="same", name=name)(x)

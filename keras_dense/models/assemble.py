"""Assembly of a backbone, a decoder and heads into a model for images of any size."""

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import keras

from keras_dense._types import Shape
from keras_dense.backbones import as_backbone, check_shape
from keras_dense.backbones.network import channels_last
from keras_dense.heads import Head, Heads
from keras_dense.layers import CropLike, Lightness, PadToMultiple
from keras_dense.layers.head_output import HeadOutput
from keras_dense.models.decoder import Decoder, Wanted, as_decoder, at_stride
from keras_dense.surgery.graph import check_channels_last
from keras_dense.surgery.strides import strides


def channels_of(input_shape: Shape) -> int:
    """Number of channels of an image, with a check of its shape.

    >>> channels_of((None, None, 3))
    3
    """
    return cast(int, check_shape(input_shape)[-1])


def prefix_of(key: str) -> str:
    """Prefix of the names of layers that belong to one head.

    >>> prefix_of("depth"), prefix_of("")
    ('depth_', '')
    """
    return f"{key}_" if key else ""


def finish(head: Head, scores: Any, key: str) -> Any:
    """Output of a head, from scores at its stride and cropped to its size."""
    prediction = head.finish(scores, name=f"{prefix_of(key)}activation")
    return HeadOutput(head, name=key or "prediction")(prediction)


@channels_last()  # For layers of a decoder that do not set the data format themselves.
def assemble(
    backbone: str | keras.Model,
    decoder: Decoder | Callable,
    heads: Head | Mapping[str, Head],
    *,
    input_shape: Shape = (None, None, 3),
    name: str | None = None,
) -> keras.Model:
    """Assemble a model from images of any size to predictions of the same size.

    The image is padded at the bottom and the right to a multiple of the backbone's stride; the
    predictions are upsampled (half-pixel bilinear) and cropped to the image. A head with a `stride`
    predicts at a fraction of the size, rounded up. With a head that predicts colors
    (`kd.heads.Colorization`), the backbone gets the image in gray.

    Args:
        backbone: a backbone from `kd.backbone` or `kd.surgery.feature_pyramid`, or your own: a
            functional `keras.Model` from the image to `{"P1": feature, …}`. A name or a classifier
            is turned into one.
        decoder: a `kd.decoders.Decoder`, such as `kd.decoders.fpn()`; or a function from the dict
            of features to a map, which each head reads through a 1×1 convolution.
        heads: a head, or a dict of heads; the output has the same structure.
        input_shape: `(height, width, channels)` of the image; `None` stands for any height or
            width.
        name: str, name of the model.

    Returns:
        A `keras.Model`: `(B, H, W, C)`, RGB 0–255, uint8 or float → float32 predictions
        `(B, H, W, channels of the head)`. It carries its heads, see `kd.heads.of`.

    Raises:
        ValueError: if the backbone takes another number of channels than the image has, or if a
            head reads a feature or an earlier prediction that does not exist.
        TypeError: for heads or decoders of another type.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> model = kd.assemble(backbone, kd.decoders.fpn((8, 8)), kd.heads.Segmentation(5))
    >>> model.output_shape
    (None, None, None, 5)
    """
    heads, decoder = Heads(heads), as_decoder(decoder)
    channels = channels_of(input_shape)
    backbone = as_backbone(backbone, channels=channels)
    _check_channels(backbone, channels)
    image = keras.Input(input_shape, name="image")
    seen = PadToMultiple(_multiple(backbone, heads), name="pad", dtype="float32")(image)
    if any(head.lightness_only for head in heads.values()):
        seen = Lightness(name="lightness")(seen)
    features = backbone(seen)
    wanted = {
        key: Wanted(head.channels, head.stride, prefix_of(key))
        for key, head in heads.final().items()
    }
    predictions = decoder(features, wanted)
    outputs = {}
    for key, head in heads.items():
        x = head.read(key, features, predictions, heads)
        x = at_stride(x, image, head.stride, prefix_of(key))
        x = CropLike(head.stride, name=f"{prefix_of(key)}crop")(x, image)
        outputs[key] = finish(head, x, key)
    model = keras.Model(image, heads.pack(outputs), name=name)
    check_channels_last(model)
    return model


def _multiple(backbone: keras.Model, heads: Heads) -> int:
    """The number that padded heights and widths are multiples of."""
    coarsest = max(max(s) if isinstance(s, tuple) else s for s in strides(backbone).values())
    return math.lcm(coarsest, *(head.stride for head in heads.values()))


def _check_channels(model: keras.Model, channels: int | None) -> None:
    if model.input_shape[-1] != channels:
        raise ValueError(
            "`input_shape` must have the channels of the backbone. Received: the backbone "
            f"{model.name!r} takes {model.input_shape[-1]} channels, but `input_shape` has "
            f"{channels}. Build it with `kd.backbone(…, channels={channels})`."
        )

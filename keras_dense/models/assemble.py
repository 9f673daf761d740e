"""Assembly of a backbone, a decoder and heads into a model for images of any size."""

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import keras

from keras_dense._types import Shape, Tensor
from keras_dense.backbones import as_backbone, check_shape
from keras_dense.backbones.network import channels_last
from keras_dense.heads import Head, Heads
from keras_dense.layers import CropLike, Lightness, PadToMultiple
from keras_dense.layers.head_output import HeadOutput
from keras_dense.models.decoder import Decoder, Wanted, as_decoder, at_stride
from keras_dense.models.grid import Canvas, Grid, as_grid, assembling, fits, mean_color
from keras_dense.models.upsampling import fit
from keras_dense.surgery.accelerate import accelerate
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
    grid: str | None = None,
) -> keras.Model:
    """Assemble a model from images of any size to predictions of the same size.

    The image is padded at the bottom and the right to a multiple of the backbone's stride; the
    predictions are upsampled (half-pixel bilinear) and cropped to the image. `grid` chooses other
    ways, on which published networks were trained. A head with a `stride` predicts at a fraction of
    the size, rounded up. With a head that predicts colors (`kd.heads.Colorization`), the backbone
    gets the image in gray.

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
        grid: str, "multiple", "multiple_corners", "image", "image_corners" or "corners": see the
            table in `kd.models.grid`; default: "multiple".

    Returns:
        A `keras.Model`: `(B, H, W, C)`, RGB 0–255, uint8 or float → float32 predictions
        `(B, H, W, channels of the head)`. It carries its heads, see `kd.heads.of`.

    Raises:
        ValueError: if the backbone takes another number of channels than the image has, if a head
            reads a feature or an earlier prediction that does not exist, or for an unknown grid.
        TypeError: for heads or decoders of another type.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> model = kd.assemble(backbone, kd.decoders.fpn((8, 8)), kd.heads.Segmentation(5))
    >>> model.output_shape
    (None, None, None, 5)
    """
    heads, decoder, chosen = Heads(heads), as_decoder(decoder), as_grid(grid)
    channels = channels_of(input_shape)
    backbone = as_backbone(backbone, channels=channels)
    _check_channels(backbone, channels)
    image = keras.Input(input_shape, name="image")
    canvas = Canvas(chosen, image, _padded(image, chosen, backbone, heads))
    with assembling(canvas):
        features = backbone(canvas.seen)
        wanted = {
            key: Wanted(head.channels, head.stride, prefix_of(key))
            for key, head in heads.final().items()
        }
        predictions = decoder(features, wanted)
        outputs = {}
        for key, head in heads.items():
            x = head.read(key, features, predictions, heads)
            if not head.per_image:
                x = at_stride(x, image, head.stride, prefix_of(key))
                x = _cropped(x, canvas, head.stride, prefix_of(key))
            outputs[key] = finish(head, x, key)
    model = keras.Model(image, heads.pack(outputs), name=name)
    check_channels_last(model)
    accelerate(model)
    return model


def _cropped(x: Tensor, canvas: Canvas, stride: int, prefix: str) -> Tensor:
    """A map at a stride, cut to the image without its padding."""
    if not canvas.grid.divides and not fits(x, canvas.seen, stride):
        x = fit(x, canvas.seen, stride=stride, name=f"{prefix}fit")
    if canvas.grid.padding == "none":
        return x
    return CropLike(stride, name=f"{prefix}crop")(x, canvas.image)


def _padded(image: Tensor, grid: Grid, backbone: keras.Model, heads: Heads) -> Tensor:
    """The image that the backbone sees."""
    lightness = any(head.lightness_only for head in heads.values())
    multiple, x = _multiple(backbone, heads), image
    if grid.padding == "multiple":
        x = PadToMultiple(multiple, name="pad", dtype="float32")(x)
    if lightness:
        x = Lightness(name="lightness")(x)
    if grid.padding == "corners":
        remainder, color = min(1, multiple - 1), mean_color(backbone)
        pad = PadToMultiple(multiple, remainder=remainder, color=color, name="pad", dtype="float32")
        x = pad(x)
    return x


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

"""The steps that builders share: the backbone first, the model and its starting weights last."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import keras

from keras_dense._types import PathLike, Shape
from keras_dense.backbones import as_backbone, family_of
from keras_dense.heads import Head
from keras_dense.models.assemble import assemble, channels_of
from keras_dense.models.decoder import Decoder
from keras_dense.models.initialize import initialize
from keras_dense.surgery.graph import walk
from keras_dense.surgery.strides import CONVOLUTIONS, Stride, stride_after

# One head, or a dict of heads.
HeadsLike: TypeAlias = Head | Mapping[str, Head]


def make_backbone(
    backbone: str | keras.Model, weights: PathLike | None, input_shape: Shape, **settings: Any
) -> keras.Model:
    """A backbone from the arguments of a builder.

    Args:
        backbone, weights: see `kd.backbones.as_backbone`.
        input_shape: `(height, width, channels)` of the image.
        **settings: further arguments of `as_backbone`.
    """
    return as_backbone(backbone, weights, channels=channels_of(input_shape), **settings)


def is_vgg_name(backbone: Any) -> bool:
    """Check whether a backbone is given by the name of a VGG.

    The papers' networks on VGG differ from those on other backbones: most keep its fully connected
    layers.

    >>> is_vgg_name("VGG-16"), is_vgg_name("resnet50")
    (True, False)
    """
    return isinstance(backbone, str) and family_of(backbone)[0].startswith("VGG")


def build(
    backbone: keras.Model,
    decoder: Decoder | Callable,
    heads: HeadsLike,
    input_shape: Shape,
    name: str,
    initialize_from: keras.Model | PathLike | None = None,
    grid: str | None = None,
) -> keras.Model:
    """Assemble a model and, if asked, copy weights into it."""
    model = assemble(backbone, decoder, heads, input_shape=input_shape, name=name, grid=grid)
    return model if initialize_from is None else initialize(model, initialize_from)


def windowed_convolutions(backbone: keras.Model, stride: int) -> list[str]:
    """Names of the convolutions with windows larger than 1×1 whose outputs have a given stride.

    >>> backbone = make_backbone("resnet50", None, (None, None, 3))
    >>> windowed_convolutions(backbone, 32)
    ['conv5_block1_2_conv', 'conv5_block2_2_conv', 'conv5_block3_2_conv']
    """
    names = []

    def visit(node, *args, **kwargs):
        after = stride_after(node, args, kwargs)
        op = node.operation
        if isinstance(op, CONVOLUTIONS) and max(op.kernel_size) > 1:
            if after.value == (stride, stride):
                names.append(op.name)
        return [after] * len(node.outputs)

    walk(backbone, Stride((1, 1)), visit)
    return names

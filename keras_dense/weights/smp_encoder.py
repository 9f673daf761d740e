"""An encoder of segmentation_models_pytorch, and how it is built here.

Its features are not everywhere those of `kd.backbone`: a DenseNet is read behind its batch norms, a
MobileNetV2 behind its blocks.
"""

import dataclasses
import re
import warnings
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from keras_dense._types import Nested, Tensor
from keras_dense._weights.rules import Rule, within
from keras_dense.backbones import published
from keras_dense.backbones.application import Preprocessing, family_of
from keras_dense.backbones.backbone import backbone
from keras_dense.backbones.network import channels_last
from keras_dense.backbones.torchvision import Network
from keras_dense.surgery import dilate
from keras_dense.surgery.feature_pyramid import image_of
from keras_dense.surgery.graph import rebuild

UNUSED = "layers behind the last feature that is read"


@dataclasses.dataclass(frozen=True)
class Encoder:
    """An encoder.

    Attributes:
        network: str, our name.
        rules: from names of the file, without "encoder.", to layers.
        widths: channels of P1 to P5.
        taps: patterns of the names of the layers whose output P1 to P5 are; the last one counts,
            or after "^" the first. Of "<layer" it is the input of the layer; "$" is the output of
            the network, and "" stands for a level that it does not have.
        prefix: str, what its names begin with.
        symmetric: bool, whether strided windows must be padded alike on all sides.
        epsilon: of its batch norms, where Keras has another one.
        strided_rate: str, see `kd.surgery.dilate`; `None` where it cannot be dilated.
        odd: names of layers that pad a map of odd size.
        same: bool, whether windows are padded as TensorFlow does, by the size of each map.
        center: bool, whether a U-Net has two more convolutions on P5.
        dropped: str, pattern of the names of layers that it lacks.
    """

    network: str
    rules: Sequence[Rule]
    widths: Sequence[int]
    taps: Sequence[str]
    prefix: str = "encoder."
    symmetric: bool = False
    epsilon: float | None = None
    strided_rate: str | None = "after"
    odd: Sequence[str] = ()
    same: bool = False
    center: bool = False
    dropped: str = ""

    def file_rules(self, depth: int) -> tuple[Rule, ...]:
        """Rules of the encoder within a network that reads P1 to P`depth`."""
        rules = within(self.rules, self.prefix, "backbone/")
        if depth < 5:
            rules = tuple(dataclasses.replace(rule, unless=UNUSED) for rule in rules)
        return rules

    def backbone(
        self, depth: int, output_stride: int, channels: int, preprocessing: Preprocessing | None
    ) -> keras.Model:
        """The backbone with P1 to P`depth`, for images 0–255 with so many channels."""
        model = self._model(channels)
        taps = {f"P{n}": tap for n, tap in enumerate(self.taps[:depth], 1) if tap}
        features = {level: _tapped(model, tap) for level, tap in taps.items()}
        model = keras.Model(image_of(model), features, name=model.name)
        found = backbone(model, channels=channels, preprocessing=preprocessing)
        if output_stride >= 2**depth or self.strided_rate is None:
            return found
        # Gates look at the whole map.
        return dilate(found, output_stride, mode="same", strided_rate=self.strided_rate)

    def _model(self, channels: int) -> keras.Model:
        """The network as PyTorch has it, without standardization."""
        name, family = family_of(self.network)
        shape: dict[str, Any] = {"include_top": False, "input_shape": (None, None, channels)}
        with warnings.catch_warnings():
            # Keras expects one or three channels, and for MobileNets a size.
            warnings.simplefilter("ignore", UserWarning)
            model = channels_last()(family.builder(name))(weights=None, **shape)
        variant = Network(
            self.rules, symmetric=self.symmetric, epsilon=self.epsilon, dropped=self.dropped
        )
        model = published.variant(published.without_preprocessing(model), variant)
        if self.same:
            return rebuild(model, _padded_by_size)
        return _padded_as_odd(model, self.odd) if self.odd else model


def _tapped(model: keras.Model, tap: str) -> Tensor:
    """The feature that a tap means, see `Encoder`."""
    if tap == "$":
        return model.output
    if tap.startswith("<"):
        return model.get_layer(tap[1:]).input
    found = [layer for layer in model.layers if re.fullmatch(tap, layer.name)]
    return found[0 if tap.startswith("^") else -1].output


def _padded_by_size(node: Any, copies: Any, *args: Any, **kwargs: Any) -> Nested | None:
    """A strided convolution that pads its map itself, instead of a layer before it."""
    op = node.operation
    if isinstance(op, layers.ZeroPadding2D):
        return args[0]
    strided = isinstance(op, (layers.Conv2D, layers.DepthwiseConv2D)) and max(op.strides) > 1
    return copies(op, *args, config={"padding": "same"}, **kwargs) if strided else None


def _padded_as_odd(model: keras.Model, names: Sequence[str]) -> keras.Model:
    """A network whose named paddings are alike on both sides."""

    def rewrite(node: Any, copies: Any, *args: Any, **kwargs: Any) -> Nested | None:
        op = node.operation
        if not isinstance(op, layers.ZeroPadding2D) or op.name not in names:
            return None
        padding = tuple((max(sides), max(sides)) for sides in op.padding)
        return copies(op, *args, config={"padding": padding}, **kwargs)

    return rebuild(model, rewrite)

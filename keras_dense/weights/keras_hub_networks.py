"""The segmentation networks of KerasHub, built again from its encoders and layers of this library.

Nothing but the encoder is KerasHub's. All else gets the weights of KerasHub's layers one by one, so
sizes are free, logits are upsampled instead of the features before them (both are linear), and the
model is one of this library to training, surgery and exports.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
from keras import layers

from keras_dense._types import Array, Features, Shape, Tensor
from keras_dense.backbones import backbone
from keras_dense.models.assemble import assemble
from keras_dense.models.blocks import aspp, conv_bn_relu
from keras_dense.models.build import HeadsLike
from keras_dense.models.decoder import read_through
from keras_dense.models.upsampling import resize, upsample
from keras_dense.surgery.feature_pyramid import feature
from keras_dense.surgery.strides import stride_between

Pairs = Iterator[tuple[str, Any]]


@dataclasses.dataclass(frozen=True, eq=False)
class Rebuilt:
    """A network that was built again.

    Attributes:
        model: ours; its encoder has its weights.
        pairs: dict from the name of our layer to the layer of KerasHub that has its weights.
        scores: kernel, and bias if there is one, of the scores, as arrays.
    """

    model: keras.Model
    pairs: Mapping[str, Any]
    scores: list[Array]

    def transfer(self) -> None:
        """Copy all weights but those of the scores."""
        for name, source in self.pairs.items():
            ours = self.model.get_layer(name)
            values = source.get_weights()
            ours.set_weights(
                [x.reshape(w.shape) for x, w in zip(values, ours.weights, strict=True)]
            )
            if isinstance(source, layers.BatchNormalization):
                ours.epsilon = source.epsilon


def deeplabv3(task: Any, heads: HeadsLike, input_shape: Shape, preprocessing: Any) -> Rebuilt:
    """DeepLabv3 and v3+: the pyramid on the last feature, beside a finer one, without dilation.

    Args:
        task: `DeepLabV3ImageSegmenter`.
        heads: a head, or a dict of heads.
        input_shape: `(height, width, channels)` of the image.
        preprocessing: see `kd.backbone`.
    """
    hub = task.backbone
    encoder, coarse, fine = (
        hub.image_encoder,
        hub.spatial_pyramid_pooling_key,
        hub.low_level_feature_key,
    )
    (pyramid,) = (x for x in hub.layers if type(x).__name__ == "SpatialPyramidPooling")

    @read_through(1)
    def decode(features: Features) -> Tensor:
        x = feature(features, coarse)
        x = aspp(x, pyramid.dilation_rates, filters=pyramid.num_channels, dropout=pyramid.dropout)
        if fine is None:
            x = upsample(x, hub.upsampling_size, name="upsample_encoder")
        else:
            low = feature(features, fine)
            low = conv_bn_relu(low, hub.projection_filters, 1, name="low_level")
            x = upsample(x, stride_between(low, x), like=low, name="upsample_encoder")
            x = layers.Concatenate(name="decoder_concatenate")([x, low])
        return conv_bn_relu(x, hub.get_layer("segmentation_head_conv").filters, 1, name="decoder_1")

    maps = {key: encoder.pyramid_outputs[key] for key in (fine, coarse) if key is not None}
    model = assemble(
        backbone(keras.Model(encoder.inputs[0], maps), preprocessing=preprocessing),
        decode,
        heads,
        input_shape=input_shape,
        name="deeplabv3" if fine is None else "deeplabv3plus",
        grid="multiple",
    )
    pairs = dict(_deeplabv3_pairs(hub, pyramid, fine is not None))
    return Rebuilt(model, pairs, task.output_conv.get_weights())


def _deeplabv3_pairs(hub: Any, pyramid: Any, plus: bool) -> Pairs:
    first, *rates, image = pyramid.aspp_parallel_channels
    yield from _unit("aspp_1x1", first)
    for n, branch in enumerate(rates, 1):
        yield from _unit(f"aspp_3x3_{n}", branch)
    yield from _unit("aspp_image", image)
    yield from _unit("aspp_project", pyramid.projection)
    ours = {"decoder_1": "segmentation_head", **({"low_level": "decoder"} if plus else {})}
    for name, theirs in ours.items():
        yield name, hub.get_layer(f"{theirs}_conv")
        yield f"{name}_bn", hub.get_layer(f"{theirs}_norm")


def _unit(name: str, sequence: keras.Sequential) -> Pairs:
    """A convolution and the batch norm after it."""
    convolution, norm = (layer for layer in sequence.layers if layer.weights)
    yield name, convolution
    yield f"{name}_bn", norm


def segformer(task: Any, heads: HeadsLike, input_shape: Shape, preprocessing: Any) -> Rebuilt:
    """SegFormer: all features through 1×1 convolutions, resized to the finest one, and joined.

    Args:
        task: `SegFormerImageSegmenter`.
        heads: a head, or a dict of heads.
        input_shape: `(height, width, channels)` of the image.
        preprocessing: see `kd.backbone`.
    """
    hub = task.backbone
    trunk = backbone(hub.image_encoder, preprocessing=preprocessing)
    # Finest first.
    levels = sorted(trunk.output)
    width = hub.projection_filters

    @read_through(1)
    def decode(features: Features) -> Tensor:
        finest, maps = feature(features, levels[0]), []
        for level in levels:
            x = layers.Conv2D(width, 1, name=f"linear_{level}", data_format="channels_last")(
                feature(features, level)
            )
            maps.append(x if level == levels[0] else resize(x, finest, name=f"resize_{level}"))
        x = layers.Concatenate(name="concatenate")(maps[::-1])
        x = conv_bn_relu(x, width, 1, name="fuse")
        return layers.Dropout(task.dropout.rate, name="dropout")(x)

    model = assemble(trunk, decode, heads, input_shape=input_shape, name="segformer", grid="image")
    pairs = {f"linear_{level}": x for level, x in zip(levels, hub.mlp_blocks, strict=True)}
    pairs.update(_unit("fuse", hub.linear_fuse))
    return Rebuilt(model, pairs, task.output_segmentation_head.get_weights())


NETWORKS: dict[str, Callable[[Any, HeadsLike, Shape, Any], Rebuilt]] = {
    "DeepLabV3ImageSegmenter": deeplabv3,
    "SegFormerImageSegmenter": segformer,
}

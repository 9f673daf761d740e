"""The networks of KerasHub, built again from its encoders and decoders of this library.

Sizes are free, logits are upsampled instead of the features before them (both are linear), and the
model is one of this library to training, surgery and exports. Weights are copied one by one.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_dense import _check
from keras_dense._types import Array, Features, Shape, Tensor
from keras_dense.backbones import backbone
from keras_dense.models.assemble import assemble
from keras_dense.models.blocks import aspp, conv_bn_relu
from keras_dense.models.build import HeadsLike
from keras_dense.models.decoder import read_through
from keras_dense.models.dpt import dpt_decoder
from keras_dense.models.segformer import segformer_decoder
from keras_dense.models.upsampling import upsample
from keras_dense.surgery.feature_pyramid import feature
from keras_dense.surgery.strides import stride_between

# The name of a layer here, and a layer of KerasHub or arrays for it. In names, `{head}` stands for
# the prefix of the head that the scores are for.
Pairs = Iterator[tuple[str, Any]]


@dataclasses.dataclass(frozen=True, eq=False)
class Rebuilt:
    """A network that was built again; its encoder has its weights.

    Attributes:
        model: the network.
        weights: dict from the name of a layer to the layer of KerasHub with its weights, or arrays.
        scores: kernel, and bias if there is one, of the scores.
    """

    model: keras.Model
    weights: Mapping[str, Any]
    scores: list[Array]

    def transfer(self, prefix: str | None) -> None:
        """Copy all weights but the scores.

        Args:
            prefix: str, prefix of the layers of the head that has the scores; `None` if none has.
        """
        for name, source in self.weights.items():
            if "{head}" in name and prefix is None:
                continue
            ours = self.model.get_layer(name.replace("{head}", prefix or ""))
            values = source if isinstance(source, list) else source.get_weights()
            shaped = zip(values, ours.weights, strict=True)
            ours.set_weights([np.reshape(x, w.shape) for x, w in shaped])
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
    weights = dict(_deeplabv3_pairs(hub, pyramid, fine is not None))
    return Rebuilt(model, weights, task.output_conv.get_weights())


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
    """SegFormer: features of a Mix Transformer, and a head of linear layers.

    Args:
        task: `SegFormerImageSegmenter`.
        heads: a head, or a dict of heads.
        input_shape: `(height, width, channels)` of the image.
        preprocessing: see `kd.backbone`.
    """
    hub = task.backbone
    features = backbone(hub.image_encoder, preprocessing=preprocessing)
    # Coarsest first, as they are concatenated.
    levels = sorted(features.output, reverse=True)
    decoder = segformer_decoder(hub.projection_filters, levels=levels, dropout=task.dropout.rate)
    model = assemble(
        features, decoder, heads, input_shape=input_shape, name="segformer", grid="image"
    )
    weights: dict[str, Any] = {}
    fusion, norm = (layer for layer in hub.linear_fuse.layers if layer.weights)
    (kernel,) = fusion.get_weights()
    parts = np.split(kernel[0, 0], len(levels))
    for level, part, linear in zip(levels, parts, hub.mlp_blocks[::-1], strict=True):
        weights |= {f"project_{level}": linear, f"fuse_{level}": [part]}
    return Rebuilt(model, {**weights, "fuse_bn": norm}, task.output_segmentation_head.get_weights())


_FACTORS = (4.0, 2.0, 1.0, 0.5)


def depth_anything(task: Any, heads: HeadsLike, input_shape: Shape, preprocessing: Any) -> Rebuilt:
    """Depth Anything: maps of patches of a DINOv2 from four depths, fused by DPT.

    Args:
        task: `DepthAnythingDepthEstimator`.
        heads: a head, or a dict of heads.
        input_shape: `(height, width, channels)` of the image.
        preprocessing: see `kd.backbone`.
    """
    hub = task.backbone
    encoder, neck = hub.image_encoder, hub.neck
    blocks = [int(key.lower().removeprefix("stage")) for key in hub.feature_keys]
    if not encoder.apply_layernorm or tuple(hub.reassemble_factors) != _FACTORS:
        raise _check.fail(
            "path",
            f"a preset with reassemble_factors={_FACTORS} and an encoder with apply_layernorm=True",
            {"apply_layernorm": encoder.apply_layernorm, "factors": hub.reassemble_factors},
        )
    decoder = dpt_decoder(
        hub.fusion_hidden_dim,
        reassemble=tuple(hub.neck_hidden_dims)[::-1],
        head_filters=hub.head_hidden_dim,
    )
    taps = {f"T{n}": block for n, block in enumerate(blocks, 1)}
    model = assemble(
        backbone(encoder, taps=taps, preprocessing=preprocessing),
        decoder,
        heads,
        input_shape=input_shape,
        name="depth_anything",
        grid="multiple_corners",
    )
    weights = dict(_depth_pairs(hub, neck))
    return Rebuilt(model, weights, hub.head.conv3.get_weights())


def _depth_pairs(hub: Any, neck: Any) -> Pairs:
    count = len(_FACTORS)
    for n, factor in enumerate(_FACTORS, 1):
        stage, fusion = neck.reassemble_stage[n - 1], neck.fusion_stage[count - n]
        yield f"reassemble_T{n}_project", stage.projection
        if factor != 1:
            yield f"reassemble_T{n}_{'upsample' if factor > 1 else 'reduce'}", stage.resize
        yield f"narrow_T{n}", neck.convs[n - 1]
        # The coarsest map meets no other.
        units = (1, 2) if n < count else (2,)
        for unit in units:
            source = getattr(fusion, f"residual_layer{unit}")
            for m in (1, 2):
                yield f"fusion_T{n}_unit_{unit}_conv_{m}", getattr(source, f"convolution{m}")
        yield f"fusion_T{n}_project", fusion.projection
    yield "{head}head_1", hub.head.conv1
    yield "{head}head_2", hub.head.conv2


NETWORKS: dict[str, Callable[[Any, HeadsLike, Shape, Any], Rebuilt]] = {
    "DeepLabV3ImageSegmenter": deeplabv3,
    "DepthAnythingDepthEstimator": depth_anything,
    "SegFormerImageSegmenter": segformer,
}

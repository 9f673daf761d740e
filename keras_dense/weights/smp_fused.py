"""UPerNet and SegFormer of segmentation_models_pytorch."""

from collections.abc import Mapping, Sequence
from typing import Any

from keras import layers

from keras_dense import _check
from keras_dense._types import Features, Tensor
from keras_dense._weights.rules import Rule
from keras_dense.models.blocks import conv_bn_relu
from keras_dense.models.decoder import Decoder, average, read_through
from keras_dense.models.upernet import upernet_decoder
from keras_dense.models.upsampling import upsample
from keras_dense.surgery.feature_pyramid import feature
from keras_dense.surgery.strides import stride_between
from keras_dense.weights.smp_encoder import Encoder
from keras_dense.weights.smp_plan import (
    OLD_NORM,
    Family,
    Plan,
    always_normalized,
    conv_norm,
    half_pixel,
)


def _upernet(settings: Mapping[str, Any], encoder: Encoder) -> Plan:
    always_normalized(settings)
    depth, bins = settings["encoder_depth"], (1, 2, 3, 6)
    levels = [f"P{n}" for n in range(depth, 1, -1)]
    # Norms are counted from the finest feature, all others from the coarsest.
    rules = [
        Rule(rf"decoder\.feature_norms\.{n}", f"norm_{level}", "layer_norm")
        for n, level in enumerate(levels[::-1])
    ]
    for n, count in enumerate(bins):
        rules += conv_norm(rf"decoder\.psp\.blocks\.{n}\.1", f"pool{count}_conv")
    rules += conv_norm(r"decoder\.psp\.out_conv", "pyramid_fuse")
    for n, level in enumerate(levels[1:]):
        lateral = rf"decoder\.fpn_lateral_blocks\.{n}\.conv_norm_relu"
        rules += conv_norm(lateral, f"lateral_{level}")
        rules += conv_norm(rf"decoder\.fpn_conv_blocks\.{n}", f"fpn_{level}")
    rules += conv_norm(r"decoder\.fusion_block", "fuse")
    width = _check.integer(settings["decoder_channels"], "decoder_channels", low=1)
    decoder = upernet_decoder(width, bins=bins, levels=levels, normalize=True, dropout=0.0)
    return Plan(half_pixel(decoder), rules, "multiple_corners", upsampling=4)


def _linear_layers(filters: int, levels: Sequence[str]) -> Decoder:
    """The head of SegFormer, which reads the feature at stride 2 as well, at stride 4."""

    @read_through(1)
    def decode(features: Features) -> Tensor:
        like, maps = feature(features, "P2"), []
        for level in levels:
            x = layers.Conv2D(filters, 1, name=f"project_{level}", data_format="channels_last")(
                feature(features, level)
            )
            if level == "P1":
                # Half as many cells, half-pixel: the mean of each four.
                x = average(x, 2, name="halve_P1")
            else:
                x = upsample(x, stride_between(like, x), like=like, name=f"upsample_{level}")
            maps.append(x)
        x = layers.Concatenate(name="concatenate")(maps)
        return conv_bn_relu(x, filters, 1, name="fuse")

    return decode


def _segformer(settings: Mapping[str, Any], encoder: Encoder) -> Plan:
    levels = [f"P{n}" for n in range(settings["encoder_depth"], 0, -1) if encoder.widths[n - 1]]
    width = settings["decoder_segmentation_channels"]
    width = _check.integer(width, "decoder_segmentation_channels", low=1)
    rules = [
        Rule(rf"decoder\.mlp_stage\.{n}\.linear", f"project_{level}", "linear_as_conv")
        for n, level in enumerate(levels)
    ]
    rules += conv_norm(r"decoder\.fuse_stage", "fuse")
    decoder = half_pixel(_linear_layers(width, levels))
    return Plan(decoder, rules, "multiple_corners", upsampling=4)


SEGFORMER = Family(
    {"encoder_depth": 5, "decoder_segmentation_channels": 256, "upsampling": 4}, _segformer
)
UPERNET = Family(
    {
        "encoder_depth": 5,
        "decoder_channels": 256,
        "decoder_use_norm": "batchnorm",
        "upsampling": 4,
    },
    _upernet,
    OLD_NORM,
)

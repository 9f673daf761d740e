"""UPerNet of segmentation_models_pytorch."""

from collections.abc import Mapping
from typing import Any

from keras_dense import _check
from keras_dense._weights.rules import Rule
from keras_dense.models.upernet import upernet_decoder
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

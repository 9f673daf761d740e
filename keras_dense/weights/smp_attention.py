"""MA-Net and PAN of segmentation_models_pytorch."""

from collections.abc import Iterator, Mapping
from typing import Any

from keras_dense import _check
from keras_dense._weights.rules import Rule
from keras_dense.models.manet import manet_decoder
from keras_dense.models.pan import pan_decoder
from keras_dense.weights.smp_encoder import Encoder
from keras_dense.weights.smp_plan import (
    OLD_NORM,
    Family,
    Plan,
    conv_norm,
    interpolation_of,
    normalized,
    output_stride_of,
    widths_of,
)


def _fusion(theirs: str, ours: str) -> Iterator[Rule]:
    """Multi-scale fusion attention of one level."""
    yield from conv_norm(rf"{theirs}\.hl_conv\.0", f"{ours}_high")
    yield from conv_norm(rf"{theirs}\.hl_conv\.1", f"{ours}_reduce")
    for part, of in (("SE_hl", "of_high"), ("SE_ll", "of_low")):
        yield Rule(rf"{theirs}\.{part}\.1", f"{ours}_{of}_squeeze", "conv")
        yield Rule(rf"{theirs}\.{part}\.3", f"{ours}_{of}_excite", "conv")


def _manet(settings: Mapping[str, Any], encoder: Encoder) -> Plan:
    depth, widths = settings["encoder_depth"], widths_of(settings)
    parts = {"center": "query", "top": "key", "bottom": "value", "out": "out"}
    rules = [
        Rule(rf"decoder\.center\.{theirs}_conv", f"attention_{ours}", "conv")
        for theirs, ours in parts.items()
    ]
    for n in range(depth):
        theirs, ours = rf"decoder\.blocks\.{n}", f"up{depth - 1 - n}"
        rules += _fusion(theirs, ours)
        for k in (1, 2):
            rules += conv_norm(rf"{theirs}\.conv{k}", f"{ours}_conv{k}", f"{ours}_bn{k}")
    decoder = manet_decoder(
        widths,
        attention_filters=settings["decoder_pab_channels"],
        upsampling=interpolation_of(settings),
        batch_norm=normalized(settings),
        joint=True,
    )
    return Plan(decoder, rules, "multiple")


def _unit(theirs: str, ours: str) -> Iterator[Rule]:
    yield Rule(rf"{theirs}\.conv", ours, "conv")
    yield Rule(rf"{theirs}\.bn", f"{ours}_bn", "batch_norm")


def _pan(settings: Mapping[str, Any], encoder: Encoder) -> Plan:
    depth = settings["encoder_depth"]
    levels = [f"P{n}" for n in range(depth, 1, -1)]
    units = {"branch1.1": "global", "mid.0": "middle", "conv1": "up1", "conv2": "up2"}
    units |= {f"down{n}.1": f"down{n}" for n in (1, 2, 3)} | {"down3.2": "up3"}
    rules: list[Rule] = []
    for theirs, ours in units.items():
        rules += _unit(rf"decoder\.fpa\.{theirs.replace('.', '[.]')}", f"fpa_{ours}")
    for n in range(1, depth - 1):
        rules += _unit(rf"decoder\.gau{n}\.conv1\.1", f"gau_P{n + 1}_gate")
        rules += _unit(rf"decoder\.gau{n}\.conv2", f"gau_P{n + 1}_low")
    decoder = pan_decoder(
        _check.integer(settings["decoder_channels"], "decoder_channels", low=1),
        levels=levels,
        upsampling=interpolation_of(settings),
        use_bias=True,
    )
    stride = output_stride_of(settings, encoder, (16, 32))
    return Plan(decoder, rules, "multiple_corners", stride, 4)


MANET = Family(
    {
        "encoder_depth": 5,
        "decoder_use_norm": "batchnorm",
        "decoder_channels": (256, 128, 64, 32, 16),
        "decoder_pab_channels": 64,
        "decoder_interpolation": "nearest",
    },
    _manet,
    OLD_NORM,
)
PAN = Family(
    {
        "encoder_depth": 5,
        "encoder_output_stride": 16,
        "decoder_channels": 32,
        "decoder_interpolation": "bilinear",
        "upsampling": 4,
    },
    _pan,
    {"upscale_mode": "decoder_interpolation"},
)

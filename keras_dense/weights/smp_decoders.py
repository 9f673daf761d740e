"""The decoders of segmentation_models_pytorch: ours with its options, and rules for its names."""

from collections.abc import Iterator, Mapping
from typing import Any

from keras_dense import _check
from keras_dense._weights.kinds import blocks
from keras_dense._weights.rules import Rule
from keras_dense.models.deeplabv3 import deeplabv3_decoder
from keras_dense.models.deeplabv3plus import deeplabv3plus_decoder
from keras_dense.models.fpn import fpn_decoder
from keras_dense.models.linknet import linknet_decoder
from keras_dense.models.pspnet import pspnet_decoder
from keras_dense.weights.smp_attention import MANET, PAN
from keras_dense.weights.smp_encoder import Encoder
from keras_dense.weights.smp_fused import SEGFORMER, UPERNET
from keras_dense.weights.smp_plan import (
    OLD_NORM,
    Family,
    Plan,
    always_normalized,
    conv_norm,
    interpolation_of,
    output_stride_of,
    with_finest_feature,
)
from keras_dense.weights.smp_unets import NESTED_UNET, UNET


def _linknet(settings: Mapping[str, Any], encoder: Encoder) -> Plan:
    always_normalized(settings)
    with_finest_feature(settings, encoder)
    rules: list[Rule] = []
    for n in range(settings["encoder_depth"]):
        ours, theirs = f"up{settings['encoder_depth'] - 1 - n}", rf"decoder\.blocks\.{n}\.block"
        rules += conv_norm(rf"{theirs}\.0", f"{ours}_reduce")
        rules += conv_norm(rf"{theirs}\.1", ours, kind="transposed")
        rules += conv_norm(rf"{theirs}\.2", f"{ours}_widen")
    return Plan(linknet_decoder(32, use_bias=True), rules, "multiple_corners")


def _fpn(settings: Mapping[str, Any], encoder: Encoder) -> Plan:
    depth = settings["encoder_depth"]
    if depth < 4:
        raise _check.fail("encoder_depth", "4 or 5 for FPN", depth)
    interpolation_of(settings, ("nearest",))
    levels = [f"P{n}" for n in range(depth, depth - 4, -1)]
    rules = [Rule(r"decoder\.p5", f"lateral_{levels[0]}", "conv")]
    for n, level in enumerate(levels):
        rules.append(Rule(rf"decoder\.p{5 - n}\.skip_conv", f"lateral_{level}", "conv"))
        for j in range(3):
            theirs, ours = (
                rf"decoder\.seg_blocks\.{n}\.block\.{j}\.block",
                f"branch_{level}_{j + 1}",
            )
            rules.append(Rule(rf"{theirs}\.0", ours, "conv"))
            rules.append(Rule(rf"{theirs}\.1", f"{ours}_gn", "layer_norm"))
    widths = settings["decoder_pyramid_channels"], settings["decoder_segmentation_channels"]
    decoder = fpn_decoder(
        widths,
        levels=levels,
        smooth=False,
        merge=_check.choice(
            settings["decoder_merge_policy"], "decoder_merge_policy", ("add", "cat")
        ),
        dropout=settings["decoder_dropout"],
    )
    return Plan(decoder, rules, "multiple_corners", upsampling=2 ** (depth - 3))


def _pspnet(settings: Mapping[str, Any], encoder: Encoder) -> Plan:
    always_normalized(settings)
    depth, bins = settings["encoder_depth"], (1, 2, 3, 6)
    width = encoder.widths[depth - 1]
    rules = [Rule(r"decoder\.psp\.blocks\.0\.pool\.1\.0", "pool1_conv", "conv")]
    for n, count in enumerate(bins[1:], 1):
        rules += conv_norm(rf"decoder\.psp\.blocks\.{n}\.pool\.1", f"pool{count}_conv")
    # The map comes after its means there, before them here.
    sizes = (*(width // 4,) * 4, width)
    rules += conv_norm(r"decoder\.conv", "fuse", kind=blocks("conv", (4, 0, 1, 2, 3), sizes))
    decoder = pspnet_decoder(
        bins,
        filters=settings["psp_out_channels"],
        mean_bn=False,
        fuse_size=1,
        scores_size=3,
        dropout=settings["psp_dropout"],
        level=f"P{depth}",
    )
    return Plan(decoder, rules, "multiple_corners", upsampling=2**depth)


def _pyramid(settings: Mapping[str, Any], theirs: str) -> tuple[dict[str, Any], list[Rule]]:
    """Arguments and rules of atrous spatial pyramid pooling."""
    separable = _check.flag(settings["decoder_aspp_separable"], "decoder_aspp_separable")
    rules = [*conv_norm(rf"{theirs}\.convs\.0", "aspp_1x1")]
    for n in (1, 2, 3):
        branch, ours = rf"{theirs}\.convs\.{n}", f"aspp_3x3_{n}"
        if separable:
            rules += _separable(rf"{branch}\.0", ours)
            rules.append(Rule(rf"{branch}\.1", f"{ours}_bn", "batch_norm"))
        else:
            rules += conv_norm(branch, ours)
    rules += [
        Rule(rf"{theirs}\.convs\.4\.1", "aspp_image", "conv"),
        Rule(rf"{theirs}\.convs\.4\.2", "aspp_image_bn", "batch_norm"),
        *conv_norm(rf"{theirs}\.project", "aspp_project"),
    ]
    arguments = {
        "rates": _check.integers(settings["decoder_atrous_rates"], "decoder_atrous_rates"),
        "filters": settings["decoder_channels"],
        "separable": separable,
        "depthwise_bn": False,
        "dropout": settings["decoder_aspp_dropout"],
        "level": f"P{settings['encoder_depth']}",
        "refine": True,
    }
    return arguments, rules


def _separable(theirs: str, ours: str) -> Iterator[Rule]:
    yield Rule(rf"{theirs}\.0", f"{ours}_depthwise", "depthwise")
    yield Rule(rf"{theirs}\.1", ours, "conv")


def _deeplabv3(settings: Mapping[str, Any], encoder: Encoder) -> Plan:
    stride = output_stride_of(settings, encoder)
    # Older files count the parts of the decoder.
    arguments, rules = _pyramid(settings, r"decoder\.(?:aspp|0)")
    rules += [
        Rule(r"decoder\.(?:conv|1)", "refine", "conv"),
        Rule(r"decoder\.(?:bn|2)", "refine_bn", "batch_norm"),
    ]
    return Plan(deeplabv3_decoder(**arguments), rules, "multiple_corners", stride, stride)


def _deeplabv3plus(settings: Mapping[str, Any], encoder: Encoder) -> Plan:
    stride = output_stride_of(settings, encoder)
    arguments, rules = _pyramid(settings, r"decoder\.aspp\.0")
    # The convolutions behind the pyramid are separable in any case.
    arguments["separable"] = arguments["separable"] or "decoder"
    rules += [
        *_separable(r"decoder\.aspp\.1", "refine"),
        Rule(r"decoder\.aspp\.2", "refine_bn", "batch_norm"),
        *conv_norm(r"decoder\.block1", "low_level"),
        *_separable(r"decoder\.block2\.0", "decoder_1"),
        Rule(r"decoder\.block2\.1", "decoder_1_bn", "batch_norm"),
    ]
    decoder = deeplabv3plus_decoder(convolutions=1, **arguments)
    return Plan(decoder, rules, "multiple_corners", stride, 4)


_DEEPLAB = {
    "encoder_depth": 5,
    "decoder_channels": 256,
    "decoder_atrous_rates": (12, 24, 36),
    "decoder_aspp_dropout": 0.5,
}
FAMILIES = {
    "Unet": UNET,
    "UnetPlusPlus": NESTED_UNET,
    "FPN": Family(
        {
            "encoder_depth": 5,
            "decoder_pyramid_channels": 256,
            "decoder_segmentation_channels": 128,
            "decoder_merge_policy": "add",
            "decoder_dropout": 0.2,
            "decoder_interpolation": "nearest",
            "upsampling": 4,
        },
        _fpn,
    ),
    "DeepLabV3": Family(
        {
            **_DEEPLAB,
            "encoder_output_stride": 8,
            "decoder_aspp_separable": False,
            "upsampling": None,
        },
        _deeplabv3,
    ),
    "DeepLabV3Plus": Family(
        {
            **_DEEPLAB,
            "encoder_output_stride": 16,
            "decoder_aspp_separable": True,
            "upsampling": 4,
        },
        _deeplabv3plus,
    ),
    "PSPNet": Family(
        {
            "encoder_depth": 3,
            "psp_out_channels": 512,
            "decoder_use_norm": "batchnorm",
            "psp_dropout": 0.2,
            "upsampling": 8,
        },
        _pspnet,
        {"psp_use_batchnorm": "decoder_use_norm"},
    ),
    "Linknet": Family({"encoder_depth": 5, "decoder_use_norm": "batchnorm"}, _linknet, OLD_NORM),
    "MAnet": MANET,
    "PAN": PAN,
    "UPerNet": UPERNET,
    "Segformer": SEGFORMER,
}

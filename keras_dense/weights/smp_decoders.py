"""The decoders of segmentation_models_pytorch: ours with its options, and rules for its names."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from keras_dense import _check
from keras_dense._weights.kinds import blocks, classes
from keras_dense._weights.rules import Rule
from keras_dense.models.decoder import Decoder
from keras_dense.models.deeplabv3 import deeplabv3_decoder
from keras_dense.models.deeplabv3plus import deeplabv3plus_decoder
from keras_dense.models.fpn import fpn_decoder
from keras_dense.models.linknet import linknet_decoder
from keras_dense.models.nested_unet import nested_unet_decoder
from keras_dense.models.pspnet import pspnet_decoder
from keras_dense.models.unet import unet_decoder
from keras_dense.weights.smp_encoders import Encoder

_NEVER = "layers that the network never calls"


@dataclasses.dataclass(frozen=True)
class Plan:
    """A decoder for settings.

    Attributes:
        decoder: the decoder.
        rules: from its names in the file to layers.
        grid: str, see `kd.assemble`.
        output_stride: int, stride of the backbone.
        upsampling: int, the factor between its result and the image.
    """

    decoder: Decoder
    rules: Sequence[Rule]
    grid: str
    output_stride: int = 32
    upsampling: int = 1


@dataclasses.dataclass(frozen=True)
class Family:
    """A class of segmentation_models_pytorch.

    Attributes:
        defaults: its settings beside those of all classes.
        plan: function from settings and encoder to a `Plan`.
        old: former names of settings.
    """

    defaults: Mapping[str, Any]
    plan: Callable[[Mapping[str, Any], Encoder], Plan]
    old: Mapping[str, str] = dataclasses.field(default_factory=dict)


def _normalized(settings: Mapping[str, Any]) -> bool:
    """Whether batch norm follows each convolution of the decoder.

    Raises:
        ValueError: for other normalizations.
    """
    use = settings["decoder_use_norm"]
    plain = {"type": "batchnorm", "eps": 1e-5}
    if isinstance(use, dict) and {**plain, **use, "momentum": 0} == {**plain, "momentum": 0}:
        return True
    known = {True: True, "batchnorm": True, False: False, "identity": False}
    if isinstance(use, dict) or use not in known:
        raise _check.fail("decoder_use_norm", "'batchnorm', True or False", use)
    return known[use]


def _always_normalized(settings: Mapping[str, Any]) -> None:
    if not _normalized(settings):
        use = settings["decoder_use_norm"]
        raise _check.fail("decoder_use_norm", "'batchnorm' or True for this network", use)


def _upsampling(settings: Mapping[str, Any], known: Sequence[str] = ("nearest", "bilinear")) -> str:
    """The interpolation of a decoder; "area" and "nearest-exact" double maps as "nearest" does."""
    way = settings["decoder_interpolation"]
    way = "nearest" if way in ("area", "nearest-exact") else way
    return _check.choice(way, "decoder_interpolation", known)


def _widths(settings: Mapping[str, Any]) -> tuple[int, ...]:
    depth = settings["encoder_depth"]
    return _check.integers(settings["decoder_channels"], "decoder_channels", length=depth)


def _conv_norm(theirs: str, ours: str, norm: str = "", kind: Any = "conv") -> Iterator[Rule]:
    """Rules of a convolution "0" and the batch norm "1" behind it."""
    yield Rule(rf"{theirs}\.0", ours, kind)
    yield Rule(rf"{theirs}\.1", norm or f"{ours}_bn", "batch_norm")


# U-Net and U-Net++


def _attention(theirs: str, ours: str, turn: Sequence[int], sizes: Sequence[int]) -> Iterator[Rule]:
    """Squeeze and excitation of a concatenation whose maps lie in another order here."""
    starts = [sum(sizes[:n]) for n in range(len(sizes))]
    order = [starts[n] + k for n in turn for k in range(sizes[n])]
    read = blocks("conv", turn, sizes)
    yield Rule(rf"{theirs}\.attention\.cSE\.1", f"{ours}_squeeze", read)
    yield Rule(rf"{theirs}\.attention\.cSE\.3", f"{ours}_excite", classes("conv", order))
    yield Rule(rf"{theirs}\.attention\.sSE\.0", f"{ours}_spatial", read)


def _double_conv(
    theirs: str, ours: str, sizes: Sequence[int], width: int, attention: bool
) -> Iterator[Rule]:
    """Two convolutions after a concatenation, whose maps lie in the reverse order here."""
    turn = range(len(sizes))[::-1]
    for n in (1, 2):
        kind = blocks("conv", turn, sizes) if n == 1 and len(sizes) > 1 else "conv"
        yield from _conv_norm(rf"{theirs}\.conv{n}", f"{ours}_conv{n}", f"{ours}_bn{n}", kind)
    if attention:
        if len(sizes) > 1:
            yield from _attention(rf"{theirs}\.attention1", f"{ours}_attention1", turn, sizes)
        yield from _attention(rf"{theirs}\.attention2", f"{ours}_attention2", (0,), (width,))
        if len(sizes) == 1:
            # Without a skip it is never called.
            yield Rule(rf"{theirs}\.attention1\..*", None, "skip", _NEVER)


def _unet_options(settings: Mapping[str, Any], encoder: Encoder) -> dict[str, Any]:
    return {
        "upsampling": _upsampling(settings),
        "reduction": None,
        "batch_norm": _normalized(settings),
        "attention": _attention_of(settings),
        "center": encoder.center,
        "scores_size": 3,
    }


def _attention_of(settings: Mapping[str, Any]) -> bool | str:
    kind = settings["decoder_attention_type"]
    return bool(_check.choice(kind, "decoder_attention_type", (None, "scse"))) and "scse"


def _center() -> Iterator[Rule]:
    for n in (1, 2):
        yield from _conv_norm(rf"decoder\.center\.{n - 1}", f"center_conv{n}", f"center_bn{n}")


def _unet(settings: Mapping[str, Any], encoder: Encoder) -> Plan:
    depth, widths = settings["encoder_depth"], _widths(settings)
    options = _unet_options(settings, encoder)
    rules = list(_center())
    x = encoder.widths[depth - 1]
    for n, width in enumerate(widths):
        level = depth - 1 - n
        sizes = (x, encoder.widths[level - 1]) if level else (x,)
        theirs = rf"decoder\.blocks\.{n}"
        rules += _double_conv(theirs, f"up{level}", sizes, width, bool(options["attention"]))
        x = width
    # At sizes that do not divide it resizes to the skip, or to the image.
    return Plan(unet_decoder(widths, **options), rules, "image")


def _nested_unet(settings: Mapping[str, Any], encoder: Encoder) -> Plan:
    depth, widths = settings["encoder_depth"], _widths(settings)
    # On a VGG it has two convolutions on P5, but never calls them.
    options = {**_unet_options(settings, encoder), "center": False}
    skips = (*encoder.widths[: depth - 1][::-1], 0)
    inputs = (encoder.widths[depth - 1], *widths[:-1])
    rules = [Rule(r"decoder\.center\..*", None, "skip", _NEVER)]
    for line in range(depth):
        last = line == depth - 1
        for d in range(1 if last else line + 1):
            x = skips[line - 1] if d else inputs[line]
            sizes = (x,) if last else (x, *(skips[line],) * (line + 1 - d))
            width = skips[line] if d else widths[line]
            theirs = rf"decoder\.blocks\.x_{d}_{line}"
            ours = f"node{depth - 1 - line}_{line + 1 - d}"
            rules += _double_conv(theirs, ours, sizes, width, bool(options["attention"]))
    return Plan(nested_unet_decoder(widths, keep_width=True, **options), rules, "multiple")


# The others


def _linknet(settings: Mapping[str, Any], encoder: Encoder) -> Plan:
    _always_normalized(settings)
    rules: list[Rule] = []
    for n in range(settings["encoder_depth"]):
        ours, theirs = f"up{settings['encoder_depth'] - 1 - n}", rf"decoder\.blocks\.{n}\.block"
        rules += _conv_norm(rf"{theirs}\.0", f"{ours}_reduce")
        rules += _conv_norm(rf"{theirs}\.1", ours, kind="transposed")
        rules += _conv_norm(rf"{theirs}\.2", f"{ours}_widen")
    return Plan(linknet_decoder(32), rules, "multiple_corners")


def _fpn(settings: Mapping[str, Any], encoder: Encoder) -> Plan:
    depth = settings["encoder_depth"]
    if depth < 4:
        raise _check.fail("encoder_depth", "4 or 5 for FPN", depth)
    _upsampling(settings, ("nearest",))
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
    _always_normalized(settings)
    depth, bins = settings["encoder_depth"], (1, 2, 3, 6)
    width = encoder.widths[depth - 1]
    rules = [Rule(r"decoder\.psp\.blocks\.0\.pool\.1\.0", "pool1_conv", "conv")]
    for n, count in enumerate(bins[1:], 1):
        rules += _conv_norm(rf"decoder\.psp\.blocks\.{n}\.pool\.1", f"pool{count}_conv")
    # The map comes after its means there, before them here.
    sizes = (*(width // 4,) * 4, width)
    rules += _conv_norm(r"decoder\.conv", "fuse", kind=blocks("conv", (4, 0, 1, 2, 3), sizes))
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
    rules = [*_conv_norm(rf"{theirs}\.convs\.0", "aspp_1x1")]
    for n in (1, 2, 3):
        branch, ours = rf"{theirs}\.convs\.{n}", f"aspp_3x3_{n}"
        if separable:
            rules += _separable(rf"{branch}\.0", ours)
            rules.append(Rule(rf"{branch}\.1", f"{ours}_bn", "batch_norm"))
        else:
            rules += _conv_norm(branch, ours)
    rules += [
        Rule(rf"{theirs}\.convs\.4\.1", "aspp_image", "conv"),
        Rule(rf"{theirs}\.convs\.4\.2", "aspp_image_bn", "batch_norm"),
        *_conv_norm(rf"{theirs}\.project", "aspp_project"),
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


def _output_stride(settings: Mapping[str, Any], encoder: Encoder) -> int:
    stride = _check.choice(settings["encoder_output_stride"], "encoder_output_stride", (8, 16))
    if encoder.strided_rate is None:
        name = settings["encoder_name"]
        raise _check.fail("encoder_name", "an encoder that is dilated, such as a ResNet", name)
    return min(stride, 2 ** settings["encoder_depth"])


def _deeplabv3(settings: Mapping[str, Any], encoder: Encoder) -> Plan:
    stride = _output_stride(settings, encoder)
    # Older files count the parts of the decoder.
    arguments, rules = _pyramid(settings, r"decoder\.(?:aspp|0)")
    rules += [
        Rule(r"decoder\.(?:conv|1)", "refine", "conv"),
        Rule(r"decoder\.(?:bn|2)", "refine_bn", "batch_norm"),
    ]
    return Plan(deeplabv3_decoder(**arguments), rules, "multiple_corners", stride, stride)


def _deeplabv3plus(settings: Mapping[str, Any], encoder: Encoder) -> Plan:
    stride = _output_stride(settings, encoder)
    arguments, rules = _pyramid(settings, r"decoder\.aspp\.0")
    # The convolutions behind the pyramid are separable in any case.
    arguments["separable"] = arguments["separable"] or "decoder"
    rules += [
        *_separable(r"decoder\.aspp\.1", "refine"),
        Rule(r"decoder\.aspp\.2", "refine_bn", "batch_norm"),
        *_conv_norm(r"decoder\.block1", "low_level"),
        *_separable(r"decoder\.block2\.0", "decoder_1"),
        Rule(r"decoder\.block2\.1", "decoder_1_bn", "batch_norm"),
    ]
    decoder = deeplabv3plus_decoder(convolutions=1, **arguments)
    return Plan(decoder, rules, "multiple_corners", stride, 4)


_OLD_NORM = {"decoder_use_batchnorm": "decoder_use_norm"}
_UNET = {
    "encoder_depth": 5,
    "decoder_use_norm": "batchnorm",
    "decoder_channels": (256, 128, 64, 32, 16),
    "decoder_attention_type": None,
    "decoder_interpolation": "nearest",
}
_DEEPLAB = {
    "encoder_depth": 5,
    "decoder_channels": 256,
    "decoder_atrous_rates": (12, 24, 36),
    "decoder_aspp_dropout": 0.5,
}
FAMILIES = {
    "Unet": Family(_UNET, _unet, _OLD_NORM),
    "UnetPlusPlus": Family(_UNET, _nested_unet, _OLD_NORM),
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
    "Linknet": Family({"encoder_depth": 5, "decoder_use_norm": "batchnorm"}, _linknet, _OLD_NORM),
}

"""U-Net and U-Net++ of segmentation_models_pytorch.

Maps are concatenated in the reverse order there: the coarser one first.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from keras_dense import _check
from keras_dense._weights.kinds import blocks, classes
from keras_dense._weights.rules import Rule
from keras_dense.models.nested_unet import nested_unet_decoder
from keras_dense.models.unet import unet_decoder
from keras_dense.weights.smp_encoder import Encoder
from keras_dense.weights.smp_plan import (
    NEVER,
    OLD_NORM,
    Family,
    Plan,
    conv_norm,
    interpolation_of,
    normalized,
    widths_of,
    with_finest_feature,
)


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
        yield from conv_norm(rf"{theirs}\.conv{n}", f"{ours}_conv{n}", f"{ours}_bn{n}", kind)
    if attention:
        if len(sizes) > 1:
            yield from _attention(rf"{theirs}\.attention1", f"{ours}_attention1", turn, sizes)
        yield from _attention(rf"{theirs}\.attention2", f"{ours}_attention2", (0,), (width,))
        if len(sizes) == 1:
            # Without a skip it is never called.
            yield Rule(rf"{theirs}\.attention1\..*", None, "skip", NEVER)


def _unet_options(settings: Mapping[str, Any], encoder: Encoder) -> dict[str, Any]:
    return {
        "upsampling": interpolation_of(settings),
        "reduction": None,
        "batch_norm": normalized(settings),
        "attention": _attention_of(settings),
        "center": encoder.center,
        "scores_size": 3,
    }


def _attention_of(settings: Mapping[str, Any]) -> bool | str:
    kind = settings["decoder_attention_type"]
    return bool(_check.choice(kind, "decoder_attention_type", (None, "scse"))) and "scse"


def _center() -> Iterator[Rule]:
    for n in (1, 2):
        yield from conv_norm(rf"decoder\.center\.{n - 1}", f"center_conv{n}", f"center_bn{n}")


def _unet(settings: Mapping[str, Any], encoder: Encoder) -> Plan:
    depth, widths = settings["encoder_depth"], widths_of(settings)
    options = _unet_options(settings, encoder)
    if options["attention"]:
        # Without a feature it is called on the map alone.
        with_finest_feature(settings, encoder)
    rules = list(_center())
    x = encoder.widths[depth - 1]
    for n, width in enumerate(widths):
        level = depth - 1 - n
        skip = encoder.widths[level - 1] if level else 0
        sizes = (x, skip) if skip else (x,)
        theirs = rf"decoder\.blocks\.{n}"
        rules += _double_conv(theirs, f"up{level}", sizes, width, bool(options["attention"]))
        x = width
    # At sizes that do not divide it resizes to the skip, or to the image.
    grid = "image" if all(encoder.widths) else "multiple"
    return Plan(unet_decoder(widths, **options), rules, grid)


def _nested_unet(settings: Mapping[str, Any], encoder: Encoder) -> Plan:
    with_finest_feature(settings, encoder)
    depth, widths = settings["encoder_depth"], widths_of(settings)
    # On a VGG it has two convolutions on P5, but never calls them.
    options = {**_unet_options(settings, encoder), "center": False}
    skips = (*encoder.widths[: depth - 1][::-1], 0)
    inputs = (encoder.widths[depth - 1], *widths[:-1])
    rules = [Rule(r"decoder\.center\..*", None, "skip", NEVER)]
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


_UNET = {
    "encoder_depth": 5,
    "decoder_use_norm": "batchnorm",
    "decoder_channels": (256, 128, 64, 32, 16),
    "decoder_attention_type": None,
    "decoder_interpolation": "nearest",
}
UNET = Family(_UNET, _unet, OLD_NORM)
NESTED_UNET = Family(_UNET, _nested_unet, OLD_NORM)

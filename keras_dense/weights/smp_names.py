"""Rules for a file of segmentation_models_pytorch without its settings, from names and shapes."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from keras_dense._types import Array, Shape
from keras_dense._weights.rules import COMMON, Rule, split, unwrapped
from keras_dense.weights.smp_decoders import FAMILIES
from keras_dense.weights.smp_encoder import Encoder
from keras_dense.weights.smp_encoders import ENCODERS
from keras_dense.weights.smp_plan import HEAD

Shapes = Mapping[str, Shape]
# By class: the first convolution of its decoder, and whether it reads a skip beside the coarsest
# feature. The first that a file has counts.
_FIRST = {
    "MAnet": ("decoder.center.top_conv", False),
    "Unet": ("decoder.blocks.0.conv1.0", True),
    "UnetPlusPlus": ("decoder.blocks.x_0_0.conv1.0", True),
    "Linknet": ("decoder.blocks.0.block.0.0", False),
    "FPN": ("decoder.p5", False),
    "PAN": ("decoder.fpa.mid.0.conv", False),
    "PSPNet": ("decoder.psp.blocks.0.pool.1.0", False),
    "UPerNet": ("decoder.psp.blocks.0.1.0", False),
    "Segformer": ("decoder.mlp_stage.0.linear", False),
    "DeepLabV3Plus": ("decoder.aspp.0.convs.0.0", False),
    "DeepLabV3": ("decoder.aspp.convs.0.0", False),
}


def recognized(tensors: Mapping[str, Array]) -> list[tuple[Rule, ...]]:
    """Rules for each network that a file may hold; none for a file of another project.

    Args:
        tensors: dict from the names of the file to arrays.

    Returns:
        A list of rules, see `kd.weights.load`: names and shapes leave open which of several
        encoders or depths it is only where these differ in what the decoder does not read.

    >>> import numpy as np
    >>> recognized({"features.0.weight": np.zeros((8, 3, 3, 3))})
    []
    """
    shapes: Shapes = {name: value.shape for name, value in unwrapped(tensors).items()}
    # The older names of DeepLabV3.
    shapes = {name.replace("decoder.0.", "decoder.aspp.", 1): s for name, s in shapes.items()}
    kind = next((k for k, (first, _) in _FIRST.items() if f"{first}.weight" in shapes), None)
    if kind is None or "segmentation_head.0.weight" not in shapes:
        return []
    found: dict[Any, tuple[Rule, ...]] = {}
    for encoder, depth in _encoders(kind, shapes):
        key = (id(encoder.rules), encoder.prefix, tuple(encoder.widths), depth)
        if key in found:
            continue
        family = FAMILIES[kind]
        settings = {**family.defaults, **_settings(kind, depth, shapes), "encoder_name": None}
        try:
            plan = family.plan(settings, encoder)
        except ValueError:
            continue  # It cannot be this encoder.
        found[key] = (*encoder.file_rules(depth), *plan.rules, *HEAD)
    return list(found.values())


def _encoders(kind: str, shapes: Shapes) -> Iterator[tuple[Encoder, int]]:
    """Encoders and depths that fit the first convolution, and know all names of the encoder."""
    first, skip = _FIRST[kind]
    channels = shapes[f"{first}.weight"][1]
    names = [name for name in shapes if name.startswith("encoder.")]
    for encoder, depth in itertools.product(ENCODERS.values(), (5, 4, 3)):
        widths = encoder.widths[:depth][::-1]
        fits = channels == sum(widths[: 2 if skip else 1])
        if fits and _knows((*encoder.file_rules(depth), *COMMON), names):
            yield encoder, depth


def _knows(rules: tuple[Rule, ...], names: list[str]) -> bool:
    return all(
        any(rule.match(name if rule.kind == "skip" else split(name)[0]) for rule in rules)
        for name in names
    )


def _settings(kind: str, depth: int, shapes: Shapes) -> dict[str, Any]:
    """Those of the settings that the rules depend on."""
    found: dict[str, Any] = {"encoder_depth": depth}
    if kind in ("Unet", "UnetPlusPlus", "MAnet"):
        block = "decoder.blocks.x_0_{}" if kind == "UnetPlusPlus" else "decoder.blocks.{}"
        names = [f"{block.format(n)}.conv1.0.weight" for n in range(depth)]
        found["decoder_channels"] = tuple(shapes[name][0] for name in names if name in shapes)
    if any(".attention2." in name for name in shapes):
        found["decoder_attention_type"] = "scse"
    if kind.startswith("DeepLab"):
        pyramid = _FIRST[kind][0].removesuffix(".convs.0.0")
        found["decoder_aspp_separable"] = f"{pyramid}.convs.1.0.0.weight" in shapes
    if kind == "PAN":
        found["encoder_output_stride"] = 32
    return found

"""The network that predicts a tile: what is mixed across tiles, and what it means."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dense._types import Array, Tensor
from keras_dense.heads import Head, Heads
from keras_dense.heads.model_heads import Given, found
from keras_dense.inference.lean import Lean
from keras_dense.surgery.graph import functional


@dataclass(frozen=True)
class Part:
    """One array that is written.

    Attributes:
        key: of the head; "" for a single one.
        dtype, shape: of the array, without height and width.
        outputs: pair, the outputs of the network that are mixed, and that hold the result.
        lost: the output with the share of pixels without a finite prediction, or `None`.
        finish: from mixed pixels `(h, w, C)` to those that are written.
        unknown: number that is written where the image is unknown.
        facts: dict, the meaning of the numbers, for files.
    """

    key: str
    dtype: str
    shape: tuple
    outputs: tuple
    lost: int | None
    finish: Callable
    unknown: Any
    facts: dict = field(default_factory=dict)


def final_heads(model: keras.Model, heads: Given = None) -> Heads | None:
    """The heads that predict; `None` for a model without any, whose outputs stay as they are."""
    chosen = found(model) if heads is None else Heads(heads)
    if chosen is None:
        return None
    chosen.match(model)
    return chosen.final()


def network_of(
    model: keras.Model, heads: Heads | None, raw: bool
) -> tuple[list[Part], keras.Model]:
    """The arrays that are written, and a network with all outputs that they need.

    Args:
        model: functional `keras.Model` of one image.
        heads: result of `final_heads`.
        raw: whether predictions are written as the network gives them.

    Raises:
        ValueError: if the model does not predict at every pixel.
    """
    model = functional(model)
    given = model.output
    if heads is None:
        predictions = given if isinstance(given, dict) else {"": given}
        _check_maps(predictions)
    else:
        predictions = heads.unpack(given)
    parts: list[Part] = []
    outputs: list[Tensor] = []
    for key, prediction in predictions.items():
        head = None if heads is None else heads[key]
        if head is None or raw:
            parts.append(_add_raw(outputs, key, head, prediction))
        else:
            parts.append(_add_decoded(outputs, key, head, prediction, model.input))
    return parts, Lean(keras.Model(model.input, outputs, name=f"{model.name}_tile"))


def _add_raw(outputs: list, key: str, head: Head | None, prediction: Tensor) -> Part:
    outputs.append(prediction)
    place = len(outputs) - 1
    facts: dict = {"name": "prediction"}
    if head is not None and len(head.class_names):
        facts["classes"] = list(head.class_names)
    return Part(
        key=key,
        dtype=keras.backend.standardize_dtype(prediction.dtype),
        shape=(prediction.shape[-1],),
        outputs=(place, place),
        lost=None,
        finish=_same if head is None else functools.partial(_blended, head),
        unknown=np.nan,
        facts={**facts, "unknown": np.nan},
    )


def _add_decoded(outputs: list, key: str, head: Head, prediction: Tensor, image: Tensor) -> Part:
    first = len(outputs)
    result = head.decode(prediction, image)
    dtype = keras.backend.standardize_dtype(result.dtype)
    if "int" in dtype and head.channels <= 256:
        dtype = "uint8"
        result = ops.cast(result, dtype)
    finish: Callable
    if head.needs_image:
        # Colors are mixed as colors: the prediction is at another size.
        finish = _rounded
    else:
        outputs.append(prediction)
        finish = functools.partial(_decoded, head, dtype)
    outputs.append(result)
    outputs.append(share_lost(prediction, "int" in dtype))
    unknown = _unknown(head, dtype)
    return Part(
        key=key,
        dtype=dtype,
        shape=tuple(result.shape[3:]),
        outputs=(first, len(outputs) - 2),
        lost=len(outputs) - 1,
        finish=finish,
        unknown=unknown,
        facts=_facts(head, unknown),
    )


def share_lost(prediction: Tensor, labels: bool) -> Tensor:
    """The share of pixels whose prediction is no finite number, for each image.

    A logit of minus infinity rules a class out, which is no loss while another is left.
    """
    x = ops.cast(prediction, "float32")
    bad = ops.any(ops.isnan(x), axis=-1)
    largest = ops.max(x if labels else ops.abs(x), axis=-1)
    bad = ops.logical_or(bad, ops.logical_not(ops.isfinite(largest)))
    return ops.mean(ops.cast(bad, "float32"), axis=(1, 2))


def _unknown(head: Head, dtype: str) -> float | int | None:
    """Number for unknown pixels in a file: that of the head's targets. `None` if there is none."""
    try:
        value = np.asarray(head.unknown((1, 1))).flat[0]
    except ValueError:
        return None if "int" in dtype else np.nan
    if "int" not in dtype:
        return float(value)
    if not np.isfinite(value):
        return 0
    limits = np.iinfo(dtype)
    return int(value) if limits.min <= value <= limits.max else None


def _facts(head: Head, unknown: float | int | None) -> dict:
    """Meaning of the numbers: the first of the facts that exports give of the head's outputs."""
    name, facts = next(iter(head.about().items()), ("prediction", {}))
    facts = {"name": name, **facts}
    if unknown is None or not _unambiguous(head, facts, unknown):
        return facts
    return {**facts, "unknown": unknown}


def _unambiguous(head: Head, facts: dict, unknown: float | int) -> bool:
    """Whether a number can only mean that a pixel is unknown."""
    if "classes" in facts:
        return not 0 <= unknown < max(len(facts["classes"]), head.channels)
    return not facts.get("unit", "").startswith(("RGB", "unit vector"))


def _same(mixed: Array) -> Array:
    return mixed


def _blended(head: Head, mixed: Array) -> Array:
    return ops.convert_to_numpy(head.blended(mixed))


def _rounded(mixed: Array) -> Array:
    return np.rint(mixed).clip(0, 255).astype("uint8")


def _decoded(head: Head, dtype: str, mixed: Array) -> Array:
    return ops.convert_to_numpy(head.decode(mixed[None]))[0].astype(dtype)


def _check_maps(predictions: Any) -> None:
    for x in predictions.values():
        if not isinstance(x, keras.KerasTensor):
            raise ValueError(
                "`model` must give one tensor or a dict of them. Received: a model that gives "
                f"{len(x)} in a {type(x).__name__}"
            )
        if len(x.shape) != 4:
            raise ValueError(
                "`model` must predict at every pixel, (B, H, W, channels). Received: an output of "
                f"shape {tuple(x.shape)}"
            )

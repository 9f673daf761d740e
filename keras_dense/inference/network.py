"""The network that predicts a tile: what is mixed across tiles, and what is meant by it."""

import functools
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dense.heads.auxiliary import Auxiliary
from keras_dense.heads.head import decode
from keras_dense.heads.heads import as_heads
from keras_dense.surgery.graph import functional


@dataclass(frozen=True)
class Part:
    """What is written for one head.

    Attributes:
        key: of the head, or `None`.
        dtype, shape: of what is written, without height and width.
        outputs: pair, which outputs of the network are mixed and are meant.
        lost: which output is the share of pixels without a finite prediction, or `None`.
        finish: from mixed pixels `(h, w, C)` to what is written.
        unknown: what is written where the image is unknown.
        facts: dict, what the numbers mean, for files.
    """

    key: Any
    dtype: str
    shape: tuple
    outputs: tuple
    lost: Any
    finish: Any
    unknown: Any
    facts: dict = field(default_factory=dict)


def pairs_of(heads):
    """Heads as a tuple of keys and heads, without auxiliary ones; `None` stays."""
    if heads is None:
        return None
    heads = as_heads(heads)
    items = heads.items() if isinstance(heads, dict) else [(None, heads)]
    return tuple((key, head) for key, head in items if not isinstance(head, Auxiliary))


def network_of(model, pairs, raw):
    """What is written, a list of `Part`, and a network that gives all it takes for that.

    Args:
        model: functional `keras.Model` of one image.
        pairs: what `pairs_of` returns.
        raw: whether predictions are written as the network gives them.

    Raises:
        ValueError: if heads and outputs do not fit, or the model does not predict at every pixel.
    """
    model = functional(model)
    given = model.output
    if pairs is None:
        keys = list(given) if isinstance(given, dict) else [None]
        pairs = tuple((key, None) for key in keys)
    _check_structure(given, pairs)
    parts, outputs = [], []
    for key, head in pairs:
        prediction = given if key is None else given[key]
        _check_channels(prediction, head)
        as_it_is = head is None or raw
        add = _add_raw if as_it_is else _add_decoded
        parts.append(add(outputs, key, head, prediction, model.input))
    return parts, keras.Model(model.input, outputs, name=f"{model.name}_tile")


def _add_raw(outputs, key, head, prediction, image):
    outputs.append(prediction)
    place = len(outputs) - 1
    facts = {"name": "prediction"}
    if head is not None and hasattr(head, "class_names"):
        facts["classes"] = head.class_names
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


def _add_decoded(outputs, key, head, prediction, image):
    first = len(outputs)
    meant = decode(head, prediction, image)
    dtype = keras.backend.standardize_dtype(meant.dtype)
    if "int" in dtype and head.channels <= 256:
        dtype = "uint8"
        meant = ops.cast(meant, dtype)
    if getattr(head, "needs_image", False):
        # Colors are mixed as colors: the prediction is at another size.
        finish = _rounded
    else:
        outputs.append(prediction)
        finish = functools.partial(_decoded, head, dtype)
    outputs.append(meant)
    outputs.append(share_lost(prediction, "int" in dtype))
    shape = tuple(meant.shape[3:])
    unknown = _unknown(head, dtype, shape)
    return Part(
        key=key,
        dtype=dtype,
        shape=shape,
        outputs=(first, len(outputs) - 2),
        lost=len(outputs) - 1,
        finish=finish,
        unknown=unknown,
        facts=_facts(head, unknown),
    )


def share_lost(prediction, labels):
    """The share of pixels whose prediction is no finite number, of each image.

    A logit of minus infinity rules a class out, which is no loss while another is left.
    """
    x = ops.cast(prediction, "float32")
    bad = ops.any(ops.isnan(x), axis=-1)
    largest = ops.max(x if labels else ops.abs(x), axis=-1)
    bad = ops.logical_or(bad, ops.logical_not(ops.isfinite(largest)))
    return ops.mean(ops.cast(bad, "float32"), axis=(1, 2))


def _unknown(head, dtype, shape):
    """What stands in a file for unknown: that of the head's targets. `None` if nothing can."""
    if not hasattr(head, "unknown"):
        return np.nan if "float" in dtype else None
    try:
        value = np.asarray(head.unknown((1, 1))).flat[0]
    except ValueError:
        return None
    if "int" not in dtype:
        return float(value)
    if not np.isfinite(value):
        return 0
    limits = np.iinfo(dtype)
    return int(value) if limits.min <= value <= limits.max else None


def _facts(head, unknown):
    """What the numbers mean: the first of what exports say of the head's outputs."""
    about = head.about() if hasattr(head, "about") else {}
    name, facts = next(iter(about.items()), ("prediction", {}))
    facts = {"name": name, **facts}
    if unknown is None or not _says(head, facts, unknown):
        return facts
    return {**facts, "unknown": unknown}


def _says(head, facts, unknown):
    """Whether a number can only mean that nothing is known there."""
    if "classes" in facts:
        return not 0 <= unknown < max(len(facts["classes"]), head.channels)
    return not facts.get("unit", "").startswith(("RGB", "unit vector"))


def _same(mixed):
    return mixed


def _blended(head, mixed):
    return ops.convert_to_numpy(head.blended(mixed))


def _rounded(mixed):
    return np.rint(mixed).clip(0, 255).astype("uint8")


def _decoded(head, dtype, mixed):
    return ops.convert_to_numpy(head.decode(mixed[None]))[0].astype(dtype)


def _check_structure(given, pairs):
    keys = [key for key, _ in pairs]
    several = keys[:1] != [None]
    if isinstance(given, dict) != several or (several and not set(keys) <= set(given)):
        raise ValueError(
            "`heads` must have the structure of the model's output. Received: heads "
            f"{keys if several else '(one)'}, outputs "
            f"{list(given) if isinstance(given, dict) else '(one)'}"
        )
    if not isinstance(given, (dict, keras.KerasTensor)):
        raise ValueError(
            "`model` must give one tensor or a dict of them. Received: a model that gives "
            f"{len(given)} in a {type(given).__name__}"
        )


def _check_channels(prediction, head):
    if len(prediction.shape) != 4:
        raise ValueError(
            "`model` must predict at every pixel, (B, H, W, C). Received: an output of shape "
            f"{tuple(prediction.shape)}"
        )
    if head is not None and prediction.shape[-1] != head.channels:
        raise ValueError(
            f"`heads` must be those of the model. Received: {type(head).__name__} with "
            f"{head.channels} channels for an output of shape {tuple(prediction.shape)}"
        )

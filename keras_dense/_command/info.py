"""Prints inputs, outputs, strides, receptive fields, cost and heads of a model.

Of a published network, also what is known about it; nothing is downloaded. Without a model: the
names of published networks.
"""

import argparse
import math
import pathlib
from typing import Any

import keras
import numpy as np

from keras_dense import weights as published
from keras_dense._command.files import check_drawing, write_drawing
from keras_dense._command.load import Unusable, is_published, load_heads, load_model
from keras_dense.plot import receptive_field as draw_fields
from keras_dense.surgery import Cost, ReceptiveField, cost, receptive_field, strides
from keras_dense.surgery.graph import nested_models
from keras_dense.surgery.strides import total_stride

HELP = "print inputs, outputs, receptive fields, cost and heads"
_SIZE = (512, 512)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        help="of the image whose cost is computed (default: that of the model, or 512 512)",
    )
    add(
        "--draw",
        type=pathlib.Path,
        metavar="FILE.png",
        help="also draw the receptive fields of all features and outputs",
    )


def run(args: argparse.Namespace) -> int:
    if args.draw is not None:
        check_drawing(args.draw, [args.model, args.weights])
    if args.model is None:
        args.document["published"] = published.list()
        print("\n".join(published.list()))
        return 0
    if args.weights is None and is_published(args.model):
        record = published.info(args.model)
        args.document["record"] = str(record)
        print(record)
        if record.loader is not None or record.stored is not None:
            return 0  # The network is known with its files: --weights.
        model = record.builder(heads=record.head(), input_shape=(None, None, 3), **record.arguments)
    else:
        model = load_model(args.model, args.weights)
    found = args.document
    _say_model(model, found)
    _say_outputs(model, found)
    _say_cost(model, args.size, found)
    _say_heads(model, args, found)
    if args.draw is not None:
        image = np.broadcast_to(np.uint8(190), (*_size(model, args.size), 3))
        write_drawing(args.draw, draw_fields(_fields(model), image))
        _say("drawing", args.draw)
    return 0


def _say_model(model: keras.Model, found: dict[str, Any]) -> None:
    _say("model", f"{model.name}, {len(model.layers)} layers")
    trained = sum(math.prod(w.shape) for w in model.trainable_weights)
    _say("parameters", f"{model.count_params():,}, {trained:,} of them trainable")
    _say("input", f"{_shape(model.inputs[0])} {model.inputs[0].dtype}")
    found |= {"model": model.name, "layers": len(model.layers)}
    found |= {"parameters": model.count_params(), "trainable_parameters": trained}
    found["input"] = {"shape": list(model.inputs[0].shape), "dtype": model.inputs[0].dtype}
    try:
        found["stride"] = total_stride(model)
        _say("coarsest stride", found["stride"])
    except (TypeError, ValueError) as error:
        found["stride"] = None
        _say("coarsest stride", f"unknown: {error}")


def _say_outputs(model: keras.Model, found: dict[str, Any]) -> None:
    found["outputs"] = {}
    for key, tensor in _outputs(model).items():
        _say(f"output {key}", f"{_shape(tensor)} {tensor.dtype}")
        facts: dict[str, Any] = {"shape": list(tensor.shape), "dtype": tensor.dtype}
        _say("  sees", _seen(keras.Model(model.inputs[0], tensor), facts))
        found["outputs"][str(key)] = facts


def _outputs(model: keras.Model) -> dict:
    outputs = model.output
    if isinstance(outputs, dict):
        return outputs
    listed = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    return dict(enumerate(listed)) if len(listed) > 1 else {"": listed[0]}


def _say_heads(model: keras.Model, args: argparse.Namespace, found: dict[str, Any]) -> None:
    try:
        _, heads = load_heads(model, args.model, args.heads)
    except Unusable as error:
        found["heads"] = None
        _say("heads", f"none: {error}")
        return
    found["heads"] = {
        key: {"kind": type(head).__name__, "classes": list(head.class_names)}
        for key, head in heads.items()
    }
    for key, head in heads.items():
        _say(f"head {key}", f"{type(head).__name__} {', '.join(head.class_names)}")


def _say_cost(model: keras.Model, size: list[int] | None, found: dict[str, Any]) -> None:
    chosen = _size(model, size)
    try:
        spent = cost(model, chosen)
    # A layer of the user's own may raise anything where its shapes are asked for.
    except Exception as error:
        if size:
            raise Unusable(f"the cost at --size {size[0]} {size[1]}: {error}") from error
        found["cost"] = None
        _say("cost", f"unknown: {error}")
        return
    _say("cost", f"of one image of {chosen[0]}×{chosen[1]}:")
    print(f"  {'':<16}{'parameters':>14}{'multiply-adds':>15}{'memory of maps':>16}")
    parts = spent.parts if len(spent.parts) > 1 else {}
    for name, part in {**parts, "total": spent}.items():
        print(
            f"  {name:<16}{part.parameters:>14,}{_large(part.multiply_adds):>15}"
            f"{_memory(part.activations):>16}"
        )
    kinds = ", ".join(f"{name} {_large(n)}" for name, n in spent.kinds.items())
    if kinds:
        _say("  multiply-adds", kinds)
    _say("  prediction", f"needs {_memory(spent.peak)} of the maps at the same time")
    if spent.uncounted:
        _say("  not counted", ", ".join(spent.uncounted))
    found["cost"] = {"size": list(chosen), **_facts(spent)}
    found["cost"] |= {"peak": spent.peak, "uncounted": list(spent.uncounted)}
    found["cost"]["parts"] = {name: _facts(part) for name, part in spent.parts.items()}


def _size(model: keras.Model, given: list[int] | None) -> tuple[int, int]:
    """The size of the image that the cost is computed for."""
    own = tuple(model.inputs[0].shape[1:3])
    height, width = given if given else own if None not in own else _SIZE
    return height, width


def _facts(spent: Cost) -> dict[str, Any]:
    return {
        "parameters": spent.parameters,
        "multiply_adds": spent.multiply_adds,
        "kinds": spent.kinds,
        "activations": spent.activations,
    }


def _large(number: int) -> str:
    """A number in thousands, millions or billions."""
    for factor, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= factor:
            return (
                f"{number / factor:.3g} {unit}"
                if number < 1000 * factor
                else f"{number / factor:,.0f} {unit}"
            )
    return str(number)


def _memory(count: int) -> str:
    return f"{count / 1e9:.3g} GB" if count >= 1e9 else f"{count / 1e6:.3g} MB"


def _say(what: str, value: object) -> None:
    print(f"{what.rstrip():<18}{value}".rstrip())


def _shape(tensor: Any) -> str:
    return "(" + ", ".join("any" if n is None else str(n) for n in tensor.shape) + ")"


def _seen(model: keras.Model, facts: dict[str, Any]) -> str:
    """Description of the pixels that a pixel of the output depends on; adds it to `facts`."""
    try:
        field, whole = (_field(model, gates=gates) for gates in (False, True))
        stride = strides(model)
    except (TypeError, ValueError) as error:
        facts["receptive_field"] = None
        return f"unknown: {error}"
    everything = math.inf in whole.size
    facts |= {"stride": stride, "sees_whole_image": everything}
    facts["receptive_field"] = None if math.inf in field.size else [float(n) for n in field.size]
    if math.inf in field.size:
        return "the whole image"
    text = f"{field.size[0]}×{field.size[1]} pixels, stride {stride}"
    return text + (", and what is pooled from the whole image" if everything else "")


def _field(model: keras.Model, gates: bool) -> ReceptiveField:
    """The receptive field of the only output."""
    field = receptive_field(model, gates=gates)
    if not isinstance(field, ReceptiveField):
        raise ValueError("the model has several outputs")
    return field


def _fields(model: keras.Model) -> dict[str, ReceptiveField]:
    """Receptive fields of the features of the backbone, and of the outputs."""
    ends = {f"output {key}".strip(): (model, y) for key, y in _outputs(model).items()}
    backbones = (x for x in nested_models(model) if isinstance(x.output, dict))
    backbone = next(backbones, None)
    if backbone is not None:
        ends = {str(key): (backbone, y) for key, y in backbone.output.items()} | ends
    found: dict[str, ReceptiveField] = {}
    for name, (part, y) in ends.items():
        try:
            found[name] = _field(keras.Model(part.inputs[0], y), gates=False)
        except (TypeError, ValueError):
            continue  # The line of the output says why.
    return found

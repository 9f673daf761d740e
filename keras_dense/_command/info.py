"""Prints inputs, outputs, strides, receptive fields and heads of a model.

Of a published network, also what is known about it; nothing is downloaded. Without a model: the
names of published networks.
"""

import math

import keras

from keras_dense import weights as published
from keras_dense._command.load import Unusable, is_published, load_heads, load_model
from keras_dense.surgery import receptive_field, strides
from keras_dense.surgery.strides import total_stride

HELP = "print inputs, outputs, receptive fields and heads"


def add_arguments(parser):
    """No arguments besides the model and its heads."""


def run(args):
    if args.model is None:
        print("\n".join(published.list()))
        return 0
    if args.weights is None and is_published(args.model):
        record = published.info(args.model)
        print(record)
        if record.loader is not None or record.stored is not None:
            return 0  # The network is known with its files: --weights.
        model = record.builder(heads=record.head(), input_shape=(None, None, 3), **record.arguments)
    else:
        model = load_model(args.model, args.weights)
    _say("model", f"{model.name}, {len(model.layers)} layers")
    trained = sum(math.prod(w.shape) for w in model.trainable_weights)
    _say("parameters", f"{model.count_params():,}, {trained:,} of them trainable")
    _say("input", f"{_shape(model.inputs[0])} {model.inputs[0].dtype}")
    try:
        _say("coarsest stride", total_stride(model))
    except (TypeError, ValueError) as error:
        _say("coarsest stride", f"unknown: {error}")

    outputs = model.output
    if not isinstance(outputs, dict):
        listed = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        outputs = dict(enumerate(listed)) if len(listed) > 1 else {"": listed[0]}
    for key, tensor in outputs.items():
        _say(f"output {key}", f"{_shape(tensor)} {tensor.dtype}")
        _say("  sees", _seen(keras.Model(model.inputs[0], tensor)))

    try:
        _, heads = load_heads(model, args.model, args.heads)
    except Unusable as error:
        _say("heads", f"none: {error}")
        return 0
    for key, head in heads.items():
        _say(f"head {key}", f"{type(head).__name__} {', '.join(head.class_names)}")
    return 0


def _say(what, value):
    print(f"{what.rstrip():<18}{value}".rstrip())


def _shape(tensor):
    return "(" + ", ".join("any" if n is None else str(n) for n in tensor.shape) + ")"


def _seen(model):
    """Description of the pixels that a pixel of the output depends on."""
    try:
        field, whole = (receptive_field(model, gates=gates) for gates in (False, True))
        stride = strides(model)
    except (TypeError, ValueError) as error:
        return f"unknown: {error}"
    if math.inf in field.size:
        return "the whole image"
    text = f"{field.size[0]}×{field.size[1]} pixels, stride {stride}"
    return text + (", and what is pooled from the whole image" if math.inf in whole.size else "")

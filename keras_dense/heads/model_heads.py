"""A model and its heads: read, attached, and used."""

from collections.abc import Mapping
from typing import Any

import keras

from keras_dense.heads.collection import Heads, carried
from keras_dense.heads.head import Head
from keras_dense.layers.head_output import HeadOutput
from keras_dense.surgery.graph import functional, has_graph

Given = Head | Mapping[str, Head] | Heads | None


def of(model: keras.Model) -> Head | dict[str, Head]:
    """The heads that a model was built with.

    They travel in the last layer of each output: through `.keras` files, `clone_model`, surgery,
    `kd.with_crf`, `kd.training.balanced` and `kd.training.on_sampled_pixels`.

    Args:
        model: a model of any builder, or one that was given heads by `attach`.

    Returns:
        A head, or a dict of heads in the structure of the model's output.

    Raises:
        ValueError: if the model carries no heads.
        TypeError: if its graph cannot be read.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> kd.heads.of(kd.fcn32s(backbone, 11)).channels
    11
    """
    heads = found(model)
    if heads is None:
        raise ValueError(
            f"The model {model.name!r} does not say which heads its outputs belong to. Give "
            "`heads`, or attach them: `model = kd.heads.attach(model, heads)`."
        )
    return heads.pack(heads)


def found(model: keras.Model) -> Heads | None:
    """The heads that a model carries; `None` if one of its outputs has none."""
    output = functional(model).output
    if isinstance(output, keras.KerasTensor):
        head = carried(output)
        return None if head is None else Heads(head)
    if not isinstance(output, dict):
        return None
    heads = {key: carried(y) for key, y in output.items()}
    if any(head is None for head in heads.values()):
        return None
    return Heads({key: head for key, head in heads.items() if head is not None})


def heads_of(model: Any, heads: Given = None) -> Heads:
    """The given heads, or without any those of the model; checked against its outputs.

    With heads given, the model may be any object that predicts; there is nothing to check then.
    """
    if heads is None:
        heads = of(model)
    chosen = Heads(heads)
    if has_graph(model):
        chosen.match(model)
    return chosen


def heads_from(given: keras.Model | Head | Mapping[str, Head]) -> Heads:
    """Heads that are given, or those of a model that is given."""
    return Heads(of(given) if isinstance(given, keras.Model) else given)


def attach(model: keras.Model, heads: Head | Mapping[str, Head]) -> keras.Model:
    """A model that carries heads, made of any model with the right outputs.

    Args:
        model: a functional model of one tensor `(B, H, W, channels)`, or of a dict of them. It is
            not changed.
        heads: a head, or a dict of heads in the structure of the output.

    Returns:
        A `keras.Model` of the same layers and weights, not compiled, to which `kd.heads.of` and
        all functions that take `heads` give these heads.

    Raises:
        ValueError: if heads and outputs do not fit.
        TypeError: if `heads` are no heads, or the model's graph cannot be read.

    Example:

    >>> model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(11, 1)])
    >>> from keras_dense.heads import Segmentation
    >>> of(attach(model, Segmentation(11))).channels
    11
    """
    chosen, model = Heads(heads), functional(model)
    taken = {layer.name for layer in model.layers}
    outputs = {}
    for key, y in chosen.match(model).items():
        name = key or "prediction"
        while name in taken:
            name = f"{name}_head"
        taken.add(name)
        outputs[key] = HeadOutput(chosen[key], name=name)(y)
    return keras.Model(model.input, chosen.pack(outputs), name=model.name)


def objectives(model: keras.Model | Head | Mapping[str, Head]) -> dict[str, Any]:
    """Arguments for `model.compile`: `loss`, `loss_weights`, `metrics`.

    Args:
        model: a model that carries heads, or a head, or a dict of heads.

    Returns:
        A dict to be unpacked: `model.compile("adam", **kd.objectives(model))`.

    Raises:
        ValueError: for a model without heads; see `kd.heads.attach`.

    Example:

    >>> from keras_dense.heads import Segmentation
    >>> sorted(objectives(Segmentation(3)))
    ['loss', 'loss_weights', 'metrics']
    """
    heads = heads_from(model)
    weights = heads.map(lambda _, head: head.weight)
    return {
        "loss": heads.map(lambda _, head: head.loss),
        # Keras takes the weight of a single output as a list.
        "loss_weights": [weights] if heads.single else weights,
        "metrics": heads.map(lambda _, head: head.metrics()),
    }


def decoded(model: keras.Model, heads: Given = None) -> keras.Model:
    """A model that returns results instead of predictions: labels instead of logits.

    Args:
        model: a model with an output for each head, such as any builder returns.
        heads: its heads; default: those that the model carries.

    Returns:
        A `keras.Model` with the same inputs, sharing the weights, and with the structure of
        `heads` as output: for `Segmentation` int32 labels `(B, H, W)`, for `Colorization` uint8
        RGB images `(B, H, W, 3)`. Auxiliary heads are left out.

    Raises:
        ValueError: if heads and outputs do not fit, or the model carries no heads.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> decoded(kd.fcn32s(backbone, 11)).output_shape
    (None, None, None)
    """
    chosen, model = heads_of(model, heads).final(), functional(model)
    outputs = chosen.map(lambda _, head, y: head.decode(y, model.input), model.output)
    return keras.Model(model.input, outputs, name=f"{model.name}_decoded")

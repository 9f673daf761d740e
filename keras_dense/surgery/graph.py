"""The walk over a functional network, the basis of all surgery.

`walk` visits every operation in order and lets a function compute any values in place of the
tensors: strides, receptive fields, new tensors. `rebuild` is the walk that computes new tensors and
copies the weights.

Keras has no public way to run a graph on anything but tensors. This file is the only one of the
subpackage that reads a network's nodes (`_nodes_by_depth`, `_keras_history`).
"""

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import keras
from keras import tree

from keras_dense._types import Nested, Tensor


def has_graph(model: Any) -> bool:
    """Whether `functional` can read a model: a functional or a built Sequential one.

    >>> layers = [keras.Input((4,)), keras.layers.ReLU()]
    >>> has_graph(keras.Sequential(layers)), has_graph("model.keras")
    (True, False)
    """
    if isinstance(model, keras.Sequential):
        return model.built
    return isinstance(model, keras.Model) and hasattr(model, "_nodes_by_depth")


def functional(model: Any, argument: str = "model") -> keras.Model:
    """`model` as a functional model.

    Raises:
        TypeError: for anything else, with the remedy; `argument` is its name in the message.
    """
    if has_graph(model):
        sequential = isinstance(model, keras.Sequential)
        return (
            keras.Model(model.inputs[0], model.outputs[0], name=model.name) if sequential else model
        )
    kind = type(model).__name__
    if isinstance(model, keras.Sequential):
        hint = "Give the Sequential model an `Input` first (or call `build`)."
    elif isinstance(model, keras.Model):
        hint = (
            "The graph of a subclassed model cannot be read. Rewrite it with "
            "`keras.Model(inputs, outputs)`, or pass the functional network inside it."
        )
    else:
        hint = "Pass a functional `keras.Model`."
    raise TypeError(f"`{argument}` must be a functional Keras model. Received: {kind}. {hint}")


def walk(
    model: keras.Model, inputs: Nested, visit: Callable[..., Nested], *, nested: bool = True
) -> Nested:
    """Run the graph of `model` with `visit` in place of its operations.

    Args:
        model: functional `keras.Model`.
        inputs: values in place of the inputs: any objects that are not containers.
        visit: called as `visit(node, *args, **kwargs)` for every call of an operation, with the
            values in place of its tensors; returns the values in place of its outputs.
            `node.operation` is the operation, `node.outputs` are the tensors of the original.
        nested: bool, whether to open the models inside the model; `False` visits each as one
            operation.

    Returns:
        The values in place of the outputs, in the structure of `model.output`.

    The number of operations between the input and the output:

    >>> mlp = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.ReLU()])
    >>> walk(mlp, 0, lambda node, depth: depth + 1)
    2
    """
    model = functional(model)
    known = {id(x): y for x, y in zip(model.inputs, tree.flatten(inputs), strict=True)}
    depths = sorted(model._nodes_by_depth, reverse=True)
    nodes = [n for depth in depths for n in model._nodes_by_depth[depth] if not n.is_input]
    # A value is dropped after its last use: with tensors, that is most of the memory.
    last = {id(x): place for place, node in enumerate(nodes) for x in node.input_tensors}
    last |= {id(x): len(nodes) for x in tree.flatten(model.output)}
    for place, node in enumerate(nodes):
        args, kwargs = node.arguments.fill_in(known)
        if nested and isinstance(node.operation, keras.Model):
            outputs = walk(node.operation, args[0] if args else kwargs["inputs"], visit)
        else:
            outputs = visit(node, *args, **kwargs)
        del args, kwargs
        for x in node.input_tensors:
            if last[id(x)] == place:
                known.pop(id(x), None)
        for x, y in zip(node.outputs, tree.flatten(outputs), strict=True):
            if id(x) in last:
                known[id(x)] = y
        del outputs, y
    return tree.map_structure(lambda x: known[id(x)], model.output)


def walk_inside(
    layer: keras.layers.Layer, args: tuple, kwargs: Mapping[str, Any], visit: Callable[..., Nested]
) -> Nested:
    """Run the calls that a layer makes with `visit` in their place; see `walk`.

    The layer's `call` runs on symbolic tensors, with a node for every operation and every layer
    inside. The nodes that this adds to those layers are removed again.

    Args:
        layer: a built layer.
        args, kwargs: the arguments of its call, with symbolic tensors of known shapes, which are
            also the values that the walk begins with.
        visit: as in `walk`. Calls that lead to no output are left out.

    Returns:
        The values in place of the outputs.

    >>> names = []
    >>> def visit(node, x):
    ...     names.append(type(node.operation).__name__)
    ...     return x
    >>> _ = walk_inside(keras.layers.ReLU(), (keras.KerasTensor((1, 4)),), {}, visit)
    >>> names
    ['ReLU']
    """
    parts = list(layer._flatten_layers())
    parts += [op for part in parts for op in getattr(part, "operations", ())]
    before = [(part, len(part._inbound_nodes), len(part._outbound_nodes)) for part in parts]
    given = [x for x in tree.flatten((args, kwargs)) if isinstance(x, keras.KerasTensor)]
    fresh = {id(x): keras.KerasTensor(x.shape, x.dtype) for x in given}
    known = {id(fresh[id(x)]): x for x in given}
    args, kwargs = tree.map_structure(lambda x: fresh.get(id(x), x), (args, dict(kwargs)))
    try:
        outputs = layer.call(*args, **kwargs)
        nodes = _nodes_before(tree.flatten(outputs))
    finally:
        for part, inbound, outbound in before:
            del part._inbound_nodes[inbound:], part._outbound_nodes[outbound:]
    for node in nodes:
        inner_args, inner_kwargs = node.arguments.fill_in(known)
        found = visit(node, *inner_args, **inner_kwargs)
        for x, y in zip(node.outputs, tree.flatten(found), strict=True):
            known[id(x)] = y
    return tree.map_structure(lambda x: known.get(id(x), x), outputs)


def _nodes_before(tensors: list) -> list:
    """All nodes that lead to symbolic tensors, each after those that it needs."""
    order: list = []
    seen: set[int] = set()
    waiting: list[tuple[Any, bool]] = [(x, False) for x in tensors]
    while waiting:
        x, finished = waiting.pop()
        if finished:
            order.append(x)
            continue
        history = getattr(x, "_keras_history", None)
        if history is None or history.operation is None:
            continue
        node = history.operation._inbound_nodes[history.node_index]
        if id(node) not in seen:
            seen.add(id(node))
            waiting.append((node, True))
            waiting += [(y, False) for y in node.input_tensors]
    return order


def nested_models(model: keras.Model) -> Iterator[keras.Model]:
    """The models inside a model, in order, and those inside them.

    >>> inner = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)], name="inner")
    >>> [x.name for x in nested_models(keras.Sequential([keras.Input((3,)), inner]))]
    ['inner']
    """
    for op in functional(model).operations:
        if isinstance(op, keras.Model):
            yield op
            yield from nested_models(op)


def check_channels_last(model: keras.Model) -> None:
    """Raise a `ValueError` that names the first layer with maps `(B, C, H, W)`, if there is one.

    >>> image = keras.Input((3, 32, 32))
    >>> conv = keras.layers.Conv2D(4, 3, data_format="channels_first", name="stem")
    >>> check_channels_last(keras.Model(image, conv(image)))
    Traceback (most recent call last):
    ValueError: The network must be channels_last, from images (B, H, W, C) on. Received: 'stem' \
(Conv2D) with data_format='channels_first'. Build the network with data_format='channels_last' \
(`keras.config.set_image_data_format`); its weights fit.
    """

    def visit(node, *args, **kwargs):
        op = node.operation
        is_map = any(len(x.shape) > 2 for x in node.input_tensors)
        if is_map and getattr(op, "data_format", None) == "channels_first":
            raise ValueError(
                "The network must be channels_last, from images (B, H, W, C) on. Received: "
                f"{op.name!r} ({type(op).__name__}) with data_format='channels_first'. Build the "
                "network with data_format='channels_last' "
                "(`keras.config.set_image_data_format`); its weights fit."
            )
        return [0] * len(node.outputs)

    walk(model, [0] * len(functional(model).inputs), visit)


def maker_of(tensor: Tensor) -> Any:
    """The operation whose output a symbolic tensor is.

    >>> maker_of(keras.layers.ReLU(name="relu")(keras.Input((8,)))).name
    'relu'
    """
    return tensor._keras_history.operation


def source_of(tensor: Tensor) -> Tensor | None:
    """The input of the graph from which a symbolic tensor is computed (of several, one).

    >>> image = keras.Input((8,))
    >>> source_of(keras.layers.ReLU()(image)) is image
    True
    """
    # `keras.utils.get_source_inputs` follows every path; n residual blocks have 2ⁿ.
    seen: set[int] = set()
    waiting = [tensor]
    while waiting:
        x = waiting.pop()
        history = x._keras_history
        node = history.operation._inbound_nodes[history.node_index]
        if node.is_input:
            return x
        fresh = [y for y in node.input_tensors if id(y) not in seen]
        seen.update(map(id, fresh))
        waiting.extend(fresh)
    return None


def values(args: tuple, kwargs: dict[str, Any], kind: type) -> list:
    """The positional and named arguments of an operation that are of type `kind`."""
    return [value for value in tree.flatten((args, kwargs)) if isinstance(value, kind)]


def transfer(layer: keras.layers.Layer, weights: Iterable) -> None:
    """Give a built layer the weights of another of the same shapes."""
    layer.set_weights(weights)
    for part in layer._flatten_layers():
        # Normalization stores values computed from its weights beside them.
        if hasattr(part, "finalize_state"):
            part.finalize_state()


def same_inputs(model: keras.Model) -> Nested:
    """Fresh inputs like those of `model`."""
    return tree.map_structure(
        lambda x: keras.Input(batch_shape=x.shape, dtype=x.dtype, name=x.name), model.input
    )


@contextlib.contextmanager
def _unset(layer: keras.layers.Layer) -> Iterator[None]:
    """Build a layer with zeros before its weights are set: random ones take most of the time."""
    initializers = {
        name: value
        for name, value in vars(layer).items()
        if isinstance(value, keras.initializers.Initializer)
    }
    for name in initializers:
        setattr(layer, name, keras.initializers.Zeros())
    try:
        yield
    finally:
        for name, initializer in initializers.items():
            setattr(layer, name, initializer)


def _anew(op, kind, name, changes):
    """A new operation from the configuration of another, with changes."""
    if isinstance(op, keras.layers.Lambda):
        raise TypeError("Python code is not made from a configuration")
    config = {**op.get_config(), "name": name, **changes}
    for setting in changes:
        if changes[setting] is None:
            del config[setting]
    return kind.from_config(config)


def _kept(op, kind, changed, error):
    """The operation itself, which cannot be made from its configuration.

    Raises:
        ValueError: if it would have to change.
    """
    name, reason = type(op).__name__, " ".join(str(error).split())
    if kind is not None or changed:
        raise ValueError(
            f"The layer {op.name!r} ({name}) cannot be copied, which is needed where it becomes "
            f"another (changed: {', '.join(changed) or kind.__name__}): it cannot be made from its "
            f"own configuration. Give {name} a complete `get_config`. Keras says: {reason:.400}"
        ) from error
    if getattr(op, "weights", None):
        warnings.warn(
            f"The layer {op.name!r} ({name}) cannot be copied: it cannot be made from its own "
            "configuration. The new network shares it, weights and all, with the old one: what "
            f"trains one trains both. Give {name} a complete `get_config` to have a copy. Keras "
            f"says: {reason:.400}",
            stacklevel=2,
        )
    return op


class _NoCopy(Exception):
    """An operation cannot be made from its own configuration."""


class Copies:
    """One copy of every operation of a network, with its weights, under a unique name.

    A call applies the copy; its weights are set as soon as it is built. An operation that cannot be
    made from its configuration (a `Lambda`, a layer with an incomplete `get_config`) is shared by
    both networks, with a warning if it has weights.
    """

    def __init__(self) -> None:
        self._copies: dict[tuple, Any] = {}
        self._names: set[str] = set()

    def name(self, name: str) -> str:
        """`name`, with a number where a nested model has the same name already."""
        unique, count = name, 1
        while unique in self._names:
            unique, count = f"{name}_{count}", count + 1
        self._names.add(unique)
        return unique

    def __call__(
        self,
        op: Any,
        *args: Any,
        kind: type | None = None,
        config: Mapping[str, Any] | tuple = (),
        weights: list | None = None,
        **kwargs: Any,
    ) -> Nested:
        """Apply the copy of `op`, with other settings or weights, or as another kind of layer.

        Settings that are `None` in `config` are removed: the other kind does not have them.
        """
        changes = dict(config)
        key = (id(op), kind, repr(sorted(changes.items(), key=repr)))
        if key in self._copies:
            return self._copies[key](*args, **kwargs)
        name = self.name(op.name)  # reserved for a shared operation, too
        try:
            outputs = self._copied(key, op, kind, name, changes, weights, args, kwargs)
        except _NoCopy as fault:
            changed = [*changes, *([] if weights is None else ["weights"])]
            self._copies[key] = _kept(op, kind, changed, fault.__cause__ or fault)
            return op(*args, **kwargs)
        copy = self._copies[key]
        # Of a layer of layers it would be set for all inside, too.
        if isinstance(op, keras.layers.Layer) and copy.trainable != op.trainable:
            copy.trainable = op.trainable
        return outputs

    def _copied(self, key, op, kind, name, changes, weights, args, kwargs):
        try:
            copy = self._copies[key] = _anew(op, kind or type(op), name, changes)
        except Exception as error:
            raise _NoCopy from error
        if not getattr(op, "weights", None):
            return copy(*args, **kwargs)
        with _unset(copy):
            outputs = copy(*args, **kwargs)
        if weights is None and [w.shape for w in copy.weights] != [w.shape for w in op.weights]:
            raise _NoCopy("the layer made from the configuration has other weights")
        transfer(copy, op.get_weights() if weights is None else weights)
        return outputs


def rebuild(
    model: keras.Model,
    rewrite: Callable[..., Nested] | None = None,
    *,
    inputs: Nested | None = None,
    name: str | None = None,
) -> keras.Model:
    """A copy of a network, operation by operation, with changes where asked.

    Nested models are opened. The original and its weights stay the same.

    Args:
        model: functional `keras.Model` or built `Sequential`.
        rewrite: called as `rewrite(node, copies, *args, **kwargs)` for every call of an operation,
            see `walk`; returns new tensors in place of its outputs, or `None` to copy the
            operation. `copies(op, *args, kind=, config=, weights=, **kwargs)` applies a copy of an
            operation, with changes.
        inputs: new `keras.Input`s in the structure of `model.input`; default: like those.
        name: str, the name of the new model; default: that of `model`.

    Returns:
        A functional `keras.Model` with the output structure of `model`.

    >>> import keras
    >>> mlp = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    >>> copy = rebuild(mlp)
    >>> bool((copy.get_weights()[0] == mlp.get_weights()[0]).all())
    True
    """
    model = functional(model)
    inputs = same_inputs(model) if inputs is None else inputs
    copies = Copies()

    def visit(node, *args, **kwargs):
        outputs = None if rewrite is None else rewrite(node, copies, *args, **kwargs)
        return copies(node.operation, *args, **kwargs) if outputs is None else outputs

    outputs = walk(model, inputs, visit)
    return keras.Model(inputs, outputs, name=name or model.name)

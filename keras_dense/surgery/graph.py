"""The walk over a functional network on which all surgery stands.

`walk` visits every operation in order and lets a function compute whatever it likes in place of
the tensors: strides, receptive fields, new tensors. `rebuild` is the walk that computes new
tensors and moves the weights along.
"""

import contextlib
import warnings

import keras
from keras import tree


def functional(model, argument="model"):
    """`model` as a functional model, or an error that says what to do."""
    if isinstance(model, keras.Sequential) and model.built:
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    if isinstance(model, keras.Model) and hasattr(model, "_nodes_by_depth"):
        return model
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


def walk(model, inputs, visit, nested=True):
    """Run the graph of `model` with `visit` in place of its operations.

    Args:
        model: functional `keras.Model`.
        inputs: what stands for the inputs: any objects that are not containers.
        visit: called as `visit(node, *args, **kwargs)` for every call of an operation, with the
            values that stand for its tensors; returns the values that stand for its outputs.
            `node.operation` is the operation, `node.outputs` are the tensors of the original.
        nested: open the models inside the model, instead of visiting them as one operation.

    Returns:
        The values that stand for the outputs, in the structure of `model.output`.

    How many operations lie between the input and the output:

    >>> mlp = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.ReLU()])
    >>> walk(mlp, 0, lambda node, depth: depth + 1)
    2
    """
    model = functional(model)
    known = {id(x): y for x, y in zip(model.inputs, tree.flatten(inputs), strict=True)}
    # Keras has no public way to run a graph on something other than tensors; this is the only
    # place that reads the nodes.
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if node.is_input:
                continue
            args, kwargs = node.arguments.fill_in(known)
            if nested and isinstance(node.operation, keras.Model):
                outputs = walk(node.operation, args[0] if args else kwargs["inputs"], visit)
            else:
                outputs = visit(node, *args, **kwargs)
            for x, y in zip(node.outputs, tree.flatten(outputs), strict=True):
                known[id(x)] = y
    return tree.map_structure(lambda x: known[id(x)], model.output)


def check_channels_last(model):
    """Raise a `ValueError` that names the first layer that takes its maps as `(B, C, H, W)`.

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


def source_of(tensor):
    """The input of the graph that a symbolic tensor was made from (of several, one).

    >>> image = keras.Input((8,))
    >>> source_of(keras.layers.ReLU()(image)) is image
    True
    """
    # `keras.utils.get_source_inputs` follows every path, of which residual blocks have 2ⁿ.
    seen, waiting = set(), [tensor]
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


def values(args, kwargs, kind):
    """The positional and named arguments of an operation that are of type `kind`."""
    return [value for value in tree.flatten((args, kwargs)) if isinstance(value, kind)]


def transfer(layer, weights):
    """Give a built layer the weights of another of the same shapes."""
    layer.set_weights(weights)
    for part in layer._flatten_layers():
        # Normalization keeps what it computes from its weights beside them.
        if hasattr(part, "finalize_state"):
            part.finalize_state()


def same_inputs(model):
    """Fresh inputs like those of `model`."""
    return tree.map_structure(
        lambda x: keras.Input(batch_shape=x.shape, dtype=x.dtype, name=x.name), model.input
    )


@contextlib.contextmanager
def _unset(layer):
    """Build a layer with zeros, for weights that follow: random ones take most of the time."""
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
    """An operation of the same settings but for the changes, from its configuration."""
    if isinstance(op, keras.layers.Lambda):
        raise TypeError("Python code is not made from a configuration")
    config = {**op.get_config(), "name": name, **changes}
    for setting in changes:
        if changes[setting] is None:
            del config[setting]
    return kind.from_config(config)


def _kept(op, kind, changed, error):
    """The operation itself, where it cannot be made anew from its configuration.

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
    """One copy of every operation of a network, with its weights, under a name of its own.

    Calling it applies the copy; the weights follow as soon as the copy is built. What cannot be
    made from its configuration (a `Lambda`, a layer with an incomplete `get_config`) is shared as
    it is, with a warning if it has weights.
    """

    def __init__(self):
        self._copies = {}
        self._names = set()

    def name(self, name):
        """`name`, or with a number where a nested model already brought the same."""
        unique, count = name, 1
        while unique in self._names:
            unique, count = f"{name}_{count}", count + 1
        self._names.add(unique)
        return unique

    def __call__(self, op, *args, kind=None, config=(), weights=None, **kwargs):
        """Apply the copy of `op`, with other settings or weights, or as another kind of layer.

        A setting of `None` in `config` is left out: the other kind does not have it.
        """
        changes = dict(config)
        key = (id(op), kind, repr(sorted(changes.items(), key=repr)))
        if key in self._copies:
            return self._copies[key](*args, **kwargs)
        name = self.name(op.name)  # also of what is shared: others must not have it
        try:
            outputs = self._copied(key, op, kind, name, changes, weights, args, kwargs)
        except _NoCopy as fault:
            changed = [*changes, *([] if weights is None else ["weights"])]
            self._copies[key] = _kept(op, kind, changed, fault.__cause__ or fault)
            return op(*args, **kwargs)
        if isinstance(op, keras.layers.Layer):
            self._copies[key].trainable = op.trainable
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
            raise _NoCopy("what is made from the configuration has other weights")
        transfer(copy, op.get_weights() if weights is None else weights)
        return outputs


def rebuild(model, rewrite=None, inputs=None, name=None):
    """The same network anew, operation by operation, with copies of the weights.

    Nested models are opened. The original and its weights stay as they are.

    Args:
        model: functional `keras.Model` or built `Sequential`.
        rewrite: `rewrite(node, copies, *args, **kwargs)`, asked for every call of an operation:
            returns the tensors that take the place of its outputs, or `None` to copy it.
        inputs: new `keras.Input`s in the structure of `model.input`; default: the same ones.
        name: name of the new model; default: that of the old.

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

"""All that decides what a model computes, to notice when a compiled network is outdated."""

import hashlib
import json

import keras
import numpy as np
from keras import ops

_PLAIN = (bool, int, float, complex, str, bytes, type(None))
# Bookkeeping of Keras that grows with every call of a layer.
_SKIPPED = {"_inbound_nodes", "_outbound_nodes", "_losses", "_loss_ids", "_metrics", "_tracker"}


class Computation:
    """The present computation of a model and its heads, without the values of the weights.

    Equal to another one if nothing has changed in between: neither the configuration of the
    model, nor an attribute of one of its layers or heads (`iterations`, `rate`, LoRA, a dtype
    policy, a replaced function), nor the compilation. Python objects inside an attribute are
    compared by identity.

    Args:
        model: `keras.Model`.
        heads: list of heads.

    >>> image = keras.Input((None, None, 3))
    >>> model = keras.Model(image, keras.layers.LeakyReLU(0.1)(image))
    >>> before = Computation(model)
    >>> model.layers[-1].negative_slope = 0.2
    >>> before == Computation(model)
    False
    """

    def __init__(self, model, heads=()):
        self._config = _config(model)
        # A compilation is an object of its own.
        self._state = [getattr(model, "_compile_config", None)]
        for part in [*_parts(model), *heads]:
            # The objects, not their addresses, which may be reused.
            if part is not model:  # The model itself is not kept alive.
                self._state.append((part, _attributes(part, model)))

    def __eq__(self, other):
        if not isinstance(other, Computation):
            return NotImplemented
        return self._config == other._config and _same(self._state, other._state)

    __hash__ = None  # type: ignore[assignment]  # As Python does it for a class with `__eq__`.


def digest(model):
    """Name a model for another process: structure, settings, and weights.

    Returns:
        str.
    """
    found = hashlib.blake2b((_config(model) or "").encode(), digest_size=16)
    for part in _parts(model):
        if not isinstance(part, keras.Model):
            public = {k: v for k, v in vars(part).items() if not k.startswith("_")}
            plain = {k: repr(v) for k, v in sorted(public.items()) if isinstance(v, _PLAIN)}
            found.update(f"{type(part).__qualname__} {plain}".encode())
    for weight in model.weights:
        found.update(f"{tuple(weight.shape)} {weight.dtype}".encode())
        # Bytes: NumPy has no name for some types of eight bits.
        found.update(np.ascontiguousarray(ops.convert_to_numpy(weight)).tobytes())
    return found.hexdigest()


def _parts(model):
    """Layers and operations, those of nested models, too."""
    found = {}
    for layer in model._flatten_layers():
        found[id(layer)] = layer
        found |= {id(op): op for op in getattr(layer, "operations", [])}
    return list(found.values())


def _config(model):
    """Structure and configurations as JSON, without the compilation; `None` if there is none."""
    try:
        found = json.loads(model.to_json())
    # A layer without `get_config` may raise anything.
    except Exception:
        return None
    found = {key: x for key, x in found.items() if key not in ("compile_config", "build_config")}
    return json.dumps(found, sort_keys=True)


def _attributes(part, model):
    return {k: _plain(x, model) for k, x in vars(part).items() if k not in _SKIPPED}


def _plain(x, model, depth=3):
    """A copy of values that can change in place, without a reference to the model."""
    if x is model:
        return "the model"
    if isinstance(x, np.ndarray) and x.size <= 4096:
        return x.shape, str(x.dtype), x.tobytes()
    if depth and isinstance(x, dict):
        return {key: _plain(value, model, depth - 1) for key, value in x.items()}
    if depth and isinstance(x, (list, tuple, set)):
        return [_plain(value, model, depth - 1) for value in x]
    return x


def _same(a, b):
    """Equality of plain values, identity of other objects."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, _PLAIN):
        return a == b or (a != a and b != b)
    return False

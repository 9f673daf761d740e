"""The weights of a model by the paths of their layers."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import keras


@dataclasses.dataclass(frozen=True)
class Target:
    """A layer with weights.

    Attributes:
        path: str, names of the nested models and the layer, joined by "/".
        layer: the layer.
        weights: dict from the name of a weight within the layer to its variable.
    """

    path: str
    layer: Any
    weights: dict[str, Any]

    def shape(self, weight: str) -> tuple[int, ...]:
        """The shape of a weight; `()` for one that the layer does not have."""
        return tuple(self.weights[weight].shape) if weight in self.weights else ()


def targets(model: keras.Model) -> dict[str, Target]:
    """All layers with weights by path, those of nested models as well.

    >>> inner = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="a")], name="in")
    >>> found = targets(keras.Sequential([keras.Input((3,)), inner]))
    >>> list(found), found["in/a"].shape("kernel")
    (['in/a'], (3, 2))
    """
    found: dict[str, Target] = {}
    seen: set[int] = set()
    for path, layer in _layers(model):
        # A layer that is reached on two paths counts once.
        if id(layer) not in seen:
            seen.add(id(layer))
            found[path] = Target(path, layer, _named(layer))
    return found


def _layers(model: keras.Model, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for layer in model.layers:
        path = f"{prefix}{layer.name}"
        if isinstance(layer, keras.Model):
            yield from _layers(layer, f"{path}/")
        elif layer.weights:
            yield path, layer


def _named(layer: Any) -> dict[str, Any]:
    """Weights of a layer by name; by path within the layer where names occur twice."""
    weights = list(layer.weights)
    # Keras counts weights without a name: "variable_3". The layer has a name for them.
    own = {id(value): name for name, value in vars(layer).items()}
    names = [own.get(id(w), w.name) if w.name.startswith("variable") else w.name for w in weights]
    if len(set(names)) < len(names):
        names = [weight.path.removeprefix(f"{layer.path}/") for weight in weights]
    return dict(zip(names, weights, strict=True))

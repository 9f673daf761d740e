"""Layers of KerasHub in models of our own."""

import contextlib
import importlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import keras

from keras_dense import _check
from keras_dense._types import Config, Shape, Tensor

_PACKAGE = "keras_hub."
_PLAIN = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_SETTINGS = ("self", "dtype", "name", "trainable")


def arguments_of(layer: keras.layers.Layer) -> dict[str, Any]:
    """The arguments of a layer's constructor, read off its attributes of the same names.

    Many layers of KerasHub leave some out of `get_config` or put others in: KerasHub makes them
    only together with their whole model.

    Raises:
        ValueError: for a layer that does not keep one of its arguments.

    >>> arguments_of(keras.layers.ReLU(max_value=6))
    {'max_value': 6, 'negative_slope': 0.0, 'threshold': 0.0}
    """
    parameters = inspect.signature(type(layer).__init__).parameters.values()
    names = [x.name for x in parameters if x.kind in _PLAIN and x.name not in _SETTINGS]
    missing = [name for name in names if not hasattr(layer, name)]
    if missing:
        raise ValueError(
            "A layer must keep the arguments of its constructor as attributes to be copied. "
            f"Received: {layer.name!r} ({type(layer).__name__}) without {', '.join(missing)}"
        )
    return {name: getattr(layer, name) for name in names}


def parts_of(layer: keras.layers.Layer, prefix: str = "") -> dict[str, keras.layers.Layer]:
    """All layers inside another by their places: `{"0": …, "0/0": …, "1": …}`.

    Names would not do: some of KerasHub's layers have the next free number in theirs, which is
    another in the next process.

    >>> list(parts_of(keras.Sequential([keras.layers.Dense(2), keras.layers.ReLU()])))
    ['0', '1']
    """
    found = {}
    parts = layer._flatten_layers(include_self=False, recursive=False)
    for place, part in enumerate(parts):
        found[f"{prefix}{place}"] = part
        found |= parts_of(part, f"{prefix}{place}/")
    return found


@contextlib.contextmanager
def _policy(policy: Any) -> Iterator[None]:
    """A dtype policy for layers whose authors forgot to hand it on."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


@keras.saving.register_keras_serializable("keras_dense")
class HubBlock(keras.layers.Layer):
    """A layer of KerasHub that keeps the shape of its first input, such as a transformer block.

    A model with it is saved and loaded like any other: the layer is made from all arguments of its
    constructor, even if its own `get_config` lacks some. The state of its parts, which are frozen
    and which have LoRA, is saved with it. `HubBlock.of(layer)` copies a layer, weights included.

    Args:
        kind: str, module and class, such as
            "keras_hub.src.models.vit.vit_layers.ViTEncoderBlock".
        arguments: dict, arguments of the constructor.
        frozen: places of parts that are not trained, such as `["0/1"]`.
        lora: dict from places of parts to `(rank, alpha)`.

    Raises:
        ValueError: if `kind` is not a layer of KerasHub.
        ImportError: if KerasHub is not installed.

    >>> kind = "keras_hub.src.models.vit.vit_layers.ViTEncoderBlock"
    >>> block = HubBlock(kind, {"num_heads": 2, "hidden_dim": 8, "mlp_dim": 16})
    >>> block(keras.Input((None, 8))).shape
    (None, None, 8)
    """

    def __init__(
        self,
        kind: str,
        arguments: Mapping[str, Any],
        *,
        frozen: Sequence[str] = (),
        lora: Mapping[str, Sequence[float]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kind = kind
        self._frozen, self._lora = tuple(frozen), dict(lora or {})
        name = kind.rpartition(".")[2].lower() if isinstance(kind, str) else None
        with _policy(self.dtype_policy):
            layer = _class_of(kind)(**arguments, dtype=self.dtype_policy, name=name)
        self.layer = layer

    @classmethod
    def of(
        cls, layer: keras.layers.Layer, shape: Shape, *, name: str | None = None, **kwargs: Any
    ) -> Self:
        """A copy of a built layer of KerasHub for inputs of a shape, with its weights."""
        kind = f"{type(layer).__module__}.{type(layer).__name__}"
        block = cls(
            kind, arguments_of(layer), dtype=layer.dtype_policy, name=name or layer.name, **kwargs
        )
        block._frozen, block._lora = _state_of(layer)
        block.build(shape)
        block.layer.set_weights(layer.get_weights())
        if not layer.trainable:
            block.trainable = False
        return block

    def build(self, inputs_shape: Shape) -> None:
        with _policy(self.dtype_policy):
            self.layer.build(inputs_shape)
        parts = parts_of(self.layer)
        for place, part in parts.items():  # the outer ones first: they decide for all inside
            trained = place not in self._frozen
            if part.trainable != trained:
                part.trainable = trained
        for place, (rank, alpha) in self._lora.items():
            parts[place].enable_lora(int(rank), lora_alpha=alpha)
        self.built = True

    def compute_output_shape(self, inputs_shape: Shape) -> Shape:
        return tuple(inputs_shape)

    def call(self, inputs: Tensor) -> Tensor:
        outputs = self.layer(inputs)
        # Some return attention scores, too, or `None` in their place.
        return outputs[0] if isinstance(outputs, tuple) else outputs

    def get_config(self) -> Config:
        frozen, lora = _state_of(self.layer) if self.built else (self._frozen, self._lora)
        arguments = keras.saving.serialize_keras_object(arguments_of(self.layer))
        config = {"kind": self.kind, "arguments": arguments, "frozen": frozen, "lora": lora}
        return {**super().get_config(), **config}

    @classmethod
    def from_config(cls, config: Config) -> Self:
        config = dict(config)
        arguments = keras.saving.deserialize_keras_object(config.pop("arguments"))
        return cls(arguments=arguments, **config)


def _class_of(kind):
    module, _, name = kind.rpartition(".") if isinstance(kind, str) else ("", "", "")
    if not module.startswith(_PACKAGE):  # A file must not make us import anything else.
        raise _check.fail("kind", "the module and class of a layer of KerasHub", kind)
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise ImportError(
            f"This model has layers of KerasHub ({name}), which could not be imported ({error}). "
            "Install it with: pip install keras-hub"
        ) from error
    if not (isinstance(found, type) and issubclass(found, keras.layers.Layer)):
        raise _check.fail("kind", "the module and class of a layer of KerasHub", kind)
    return found


def _state_of(layer):
    """The places of parts that are frozen, and rank and alpha of those with LoRA."""
    parts = parts_of(layer)
    frozen = [place for place, part in parts.items() if not part.trainable]
    lora = {
        place: (part.lora_rank, part.lora_alpha)
        for place, part in parts.items()
        if getattr(part, "lora_enabled", False)
    }
    return frozen, lora


@keras.saving.register_keras_serializable("keras_dense")
class RotaryHubBlock(HubBlock):
    """A block of KerasHub's DINOv3: `RotaryHubBlock(…)(tokens, cos, sin)`.

    Args:
        prefix: int ≥ 0, number of tokens before those of the patches, which are not turned.
        **kwargs: those of `HubBlock`.
    """

    def __init__(self, kind: str, arguments: Mapping[str, Any], *, prefix: int = 0, **kwargs: Any):
        super().__init__(kind, arguments, **kwargs)
        self.prefix = _check.integer(prefix, "prefix", low=0)

    def call(  # type: ignore[override]
        self, inputs: Tensor, cos: Tensor, sin: Tensor
    ) -> Tensor:
        return self.layer(inputs, position_embeddings=(cos, sin), num_prefix_tokens=self.prefix)

    def get_config(self) -> Config:
        return {**super().get_config(), "prefix": self.prefix}

"""One head or a dict of heads, as one mapping."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras

from keras_dense._types import Tensor
from keras_dense.heads.head import Head
from keras_dense.heads.segmentation import Segmentation
from keras_dense.layers.head_output import HeadOutput
from keras_dense.surgery.graph import functional


class Heads(Mapping):
    """The heads of a model by key; a single head has the key "".

    The structure of heads is the structure of outputs, targets and losses: a head means a tensor,
    a dict of heads a dict of tensors. `unpack` and `pack` go from one to the other.

    Args:
        heads: a head, or a dict of heads.

    Attributes:
        single: bool, whether it was a head, and no dict.

    Raises:
        ValueError: for an empty dict, or if all heads only help training.
        TypeError: if `heads` is neither a head nor a dict of heads.

    Example:

    >>> heads = Heads({"objects": Segmentation(11), "edges": Segmentation(1)})
    >>> heads.map(lambda key, head: head.channels)
    {'objects': 11, 'edges': 1}
    >>> Heads(Segmentation(11)).map(lambda key, head: head.channels)
    11
    """

    def __init__(self, heads: "Head | Mapping[str, Head] | Heads") -> None:
        several = not heads.single if isinstance(heads, Heads) else isinstance(heads, Mapping)
        self.single: bool = not several
        self._heads: dict[str, Head] = dict(heads) if isinstance(heads, Mapping) else {"": heads}
        if not self._heads:
            raise ValueError("`heads` must hold at least one head. Received: an empty dict")
        for head in self._heads.values():
            if not isinstance(head, Head):
                raise TypeError(
                    "`heads` must be a head such as kd.heads.Segmentation(21), an object that "
                    f"inherits from kd.heads.Head, or a dict of heads. Received: {head!r}"
                )
        if not any(head.final for head in self._heads.values()):
            raise ValueError(
                "`heads` must hold a head besides the auxiliary ones, which only help training: "
                "see kd.heads.with_auxiliary."
            )

    @classmethod
    def of(cls, heads: Any = None, num_classes: int | None = None) -> "Heads":
        """Heads from the arguments `heads` and `num_classes` of a builder.

        Raises:
            ValueError: if both are given; see also `Heads`.

        >>> Heads.of(num_classes=11)[""].channels
        11
        """
        if heads is None:
            return cls(Segmentation(21 if num_classes is None else num_classes))
        if num_classes is not None:
            raise ValueError(
                "Give either `num_classes` or `heads`: num_classes=n is short for "
                f"heads=kd.heads.Segmentation(n). Received: num_classes={num_classes}, "
                f"heads={heads}"
            )
        return cls(heads)

    def __getitem__(self, key: str) -> Head:
        return self._heads[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._heads)

    def __len__(self) -> int:
        return len(self._heads)

    def __repr__(self) -> str:
        return f"Heads({self.pack(self._heads)!r})"

    def final(self) -> "Heads":
        """The heads that predict, without those that only help training."""
        if self.single:
            return self
        return Heads({key: head for key, head in self.items() if head.final})

    def unpack(self, structure: Any) -> dict[str, Any]:
        """Dict by key, from one thing or a dict of them."""
        return {"": structure} if self.single else {key: structure[key] for key in self}

    def pack(self, by_key: Mapping[str, Any]) -> Any:
        """One thing for a single head, otherwise a dict of them."""
        return by_key[""] if self.single else {key: by_key[key] for key in self}

    def map(self, function: Callable, *structures: Any) -> Any:
        """`function(key, head, …)` for every head, in the structure of the heads."""
        parts = [self.unpack(structure) for structure in structures]
        return self.pack({k: function(k, head, *(p[k] for p in parts)) for k, head in self.items()})

    def match(self, model: keras.Model) -> dict[str, Tensor]:
        """The model's outputs by key, those of these heads.

        Raises:
            ValueError: if the model has other outputs, or one that belongs to another head.
        """
        given = functional(model).output
        several = isinstance(given, dict)
        if several == self.single or (several and not set(self) <= set(given)):
            raise ValueError(
                "`heads` must have the structure of the model's output. Received: "
                f"{'one head' if self.single else f'heads for {list(self)}'}, and a model with "
                f"{f'outputs {list(given)}' if several else _described(given)}"
            )
        found = self.unpack(given)
        for key, head in self.items():
            _check_output(key, head, found[key])
        return found


def _described(output: Any) -> str:
    return f"{len(output)} outputs" if isinstance(output, (list, tuple)) else "one output"


def _check_output(key: str, head: Head, output: Tensor) -> None:
    name = f"output {key!r}" if key else "output"
    shape = tuple(output.shape)
    if head.per_image and len(shape) != 2:
        raise ValueError(
            f"`model` must have one prediction for each image, (B, {head.channels}), for "
            f"{type(head).__name__}. Received: an {name} of shape {shape}"
        )
    if not head.per_image and len(shape) != 4:
        raise ValueError(
            f"`model` must predict at every pixel, (B, H, W, channels). Received: an {name} of "
            f"shape {shape}"
        )
    if shape[-1] != head.channels:
        raise ValueError(
            f"`heads` must be those of the model. Received: {type(head).__name__} with "
            f"{head.channels} channels for an {name} of shape {shape}"
        )
    own = carried(output)
    related = own is None or isinstance(head, type(own)) or isinstance(own, type(head))
    if not related:
        raise ValueError(
            f"`heads` must be those of the model: its {name} belongs to a head "
            f"{type(own).__name__}. Received: {type(head).__name__}"
        )


def carried(output: Tensor) -> Head | None:
    """The head that an output of a functional model carries, or `None`."""
    operation, _, index = output._keras_history
    if isinstance(operation, keras.Model):
        return carried(operation.outputs[index])
    return operation.head if isinstance(operation, HeadOutput) else None

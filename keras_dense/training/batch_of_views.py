"""A batch of two views in the graph, and targets of the strong views."""

from collections.abc import Mapping
from typing import Any

from keras import ops

from keras_dense._types import Tensor
from keras_dense.heads import Head
from keras_dense.training.views import OTHER


class Views:
    """A batch of `TwoViews`, or one of a loader, of which both views are the same.

    Args:
        seen: images that the network sees, `(B, H, W, C)`.
        targets: targets of the weak views, in the structure of the heads.
        weak: images that the teacher sees.
        partner, source: see `TwoViews`; `None` if both views are the same.
    """

    def __init__(
        self,
        seen: Tensor,
        targets: Any,
        weak: Tensor,
        partner: Tensor | None = None,
        source: Tensor | None = None,
    ) -> None:
        self.seen, self.targets, self.weak = seen, targets, weak
        self.partner, self.source = partner, source

    @classmethod
    def of(cls, x: Tensor, y: Any) -> "Views":
        """The batch that `fit` hands to a model."""
        if isinstance(y, Mapping) and {"targets", "weak", "partner", "source"} <= set(y):
            return cls(x, y["targets"], y["weak"], y["partner"], y["source"])
        return cls(x, y, x)

    def mixed(self, head: Head, values: Tensor, weight: bool = False) -> Tensor:
        """Values of the weak views, where their pixels are in the strong ones.

        Args:
            head: the head whose values they are.
            values: its targets, or weights of these.
            weight: bool, whether they are weights: of tags, they stay.
        """
        values = ops.convert_to_tensor(values)
        if self.source is None:
            return values
        other = ops.equal(self.source, OTHER)
        partners = ops.take(values, self.partner, axis=0)
        if head.per_image:
            if weight:
                return values
            zero = ops.logical_and(ops.equal(values, 0), ops.equal(partners, 0))
            both = ops.cast(ops.where(zero, 0, 255), values.dtype)
            return ops.where(ops.any(other, axis=(1, 2))[:, None], both, values)
        if len(values.shape) < 3:
            return values
        for _ in range(len(values.shape) - 3):
            other = other[..., None]
        return ops.where(other, partners, values)

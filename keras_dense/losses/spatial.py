"""Base of the losses that look at the neighbors of a pixel: skeletons and distances."""

from typing import NamedTuple

from keras import ops

from keras_dense._types import Tensor
from keras_dense.losses.contract import DenseLoss, Pixels
from keras_dense.losses.weighted import Costs
from keras_dense.ops.masked import safe_divide


class Maps(NamedTuple):
    """A batch of `Pixels` as maps; all float32 `(B, H, W, C)`.

    Attributes:
        probability: 0 where void.
        truth: 0 where void.
        weight: see `contract.Pixels`.
    """

    probability: Tensor
    truth: Tensor
    weight: Tensor


class SpatialLoss(DenseLoss):
    """Base of losses over maps `(B, H, W, C)`; void pixels are like pixels beyond the image.

    Subclasses implement `compute_maps(maps)`, which returns `Costs`.
    """

    def check_inputs(self, y_true, y_pred):
        super().check_inputs(y_true, y_pred)
        if len(y_pred.shape) != 4:
            raise ValueError(
                f"`y_pred` must be maps (B, H, W, C) for {type(self).__name__}, which looks at the "
                f"neighbors of pixels. Received: y_pred of shape {tuple(y_pred.shape)}"
            )

    def compute(self, pixels: Pixels) -> Costs:
        channels = pixels.logits.shape[-1]
        if pixels.mode == "multiclass":
            probability = ops.softmax(pixels.logits)
        else:
            probability = ops.sigmoid(pixels.logits)
        weight = pixels.weight * ops.ones_like(probability)
        known = ops.cast(weight > 0.0, "float32")
        parts = (known * probability, known * pixels.truth, weight)
        shape = (-1, *pixels.size, channels)
        return self.compute_maps(Maps(*(ops.reshape(x, shape) for x in parts)))

    def compute_maps(self, maps: Maps) -> Costs:
        """The loss of `Maps`."""
        raise TypeError(f"{type(self).__name__} must implement compute_maps(maps)")

    def pixel_costs(self, cost: Tensor, weight: Tensor) -> Costs:
        """`Costs` of pixels from costs of classes `(B, H, W, C)`: the mean over the classes.

        With several labels, each label has a cost of its own.
        """
        channels = cost.shape[-1]
        share = ops.ones((channels,), dtype="float32")
        if self.class_weight is not None:
            share = ops.convert_to_tensor(self.class_weight, dtype="float32")
        if self.mode == "multilabel":
            total, weight = weight * share * cost, weight * share
        else:
            total = weight[..., 0] * safe_divide(ops.sum(share * cost, axis=-1), ops.sum(share))
            weight = weight[..., 0]
        rows = (ops.shape(cost)[0], -1)
        return Costs(ops.reshape(total, rows), ops.reshape(weight, rows))

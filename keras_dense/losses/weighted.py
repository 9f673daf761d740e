"""Losses over sets of pixels: they take weights, and return what `reduction` asks for."""

from typing import NamedTuple

import keras
from keras import ops

from keras_dense._types import ArrayLike, Config, Tensor
from keras_dense.ops.image import sum_blocks
from keras_dense.ops.masked import safe_divide
from keras_dense.ops.replicas import mean_over_replicas
from keras_dense.ops.targets import as_input, as_sample_weight, nan_where, read_map

SUM_OVER_BATCH_SIZE = "sum_over_batch_size"
# Advice for losses that are always one number for the batch.
ONE_BY_ONE = "Call it with one image at a time for a loss of each."


class Costs(NamedTuple):
    """The terms of a mean: pixels, or images.

    Attributes:
        total: `(B, …)`, cost times weight of each; 0 where nothing is known.
        weight: of the same shape, what each adds to the divisor of the mean.
    """

    total: Tensor
    weight: Tensor


class WeightedLoss(keras.losses.Loss):
    """Base of losses that need the weights of pixels inside, as every loss here does.

    Keras multiplies a finished loss by the weights and divides by all pixels, known or not. Here
    the mean is over the known pixels, by their weights, and `reduction` means:

    | `reduction` | result |
    |---|---|
    | `"sum_over_batch_size"`, `"mean"`, `"mean_with_sample_weight"` | the weighted mean over known pixels, one number |
    | `"sum"` | the weighted sum, one number |
    | `"none"` or `None` | the terms of that sum, of each pixel or image; 0 where nothing is known |

    `"none"` is for your own calls: `fit` needs one number.

    On several devices or processes (docs/scale.md) the mean is over the known pixels of all of
    them. A loss that sorts the pixels of the batch sorts those of each part of it there.

    Subclasses implement `weighted(y_true, y_pred, sample_weight)`, which returns the result of
    their formula after `reduced`.

    Args:
        reduction: see above.
        name: name of the loss.
        whole: `None` for a loss of pixels or images. For a loss that is one number for the batch,
            and so has no `"sum"` and no `"none"`: str, for the message, what to do to get a loss
            of each image.

    Raises:
        ValueError: for an unknown reduction, or one that the loss cannot have.
    """  # noqa: E501

    def __init__(
        self,
        *,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str | None = None,
        whole: str | None = None,
    ):
        super().__init__(name=name, reduction=reduction, dtype="float32")
        if whole is not None:
            self._refuse_terms(whole)

    def _refuse_terms(self, remedy):
        if self.reduction in ("sum", "none", None):
            raise ValueError(
                f"`reduction` must be a mean for {type(self).__name__}, which is one number for "
                f"the batch. {remedy} Received: reduction={self.reduction!r}"
            )

    def __call__(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Tensor:
        y_true, y_pred = as_input(y_true, "y_true"), as_input(y_pred, "y_pred")
        self.check_inputs(y_true, y_pred)
        sample_weight = as_sample_weight(sample_weight)
        # Keras calls `call(y_true, y_pred)`, then multiplies by the weights itself. So the weights
        # travel with the target, and Keras converts both to float32 tensors.
        packed = (y_true,) if sample_weight is None else (y_true, sample_weight)
        return super().__call__(packed, y_pred)

    def check_inputs(self, y_true: Tensor, y_pred: Tensor) -> None:
        """Raise an error for wrong inputs; values can be seen if they are NumPy arrays."""

    def call(self, y_true: tuple[Tensor, ...], y_pred: Tensor) -> Tensor:
        sample_weight = y_true[1] if len(y_true) == 2 else None
        value = self.weighted(y_true[0], y_pred, sample_weight)
        if self.reduction in ("none", None):
            return value
        # Keras reduces a vector of one (and scales it for tf.distribute), but not a scalar.
        return ops.reshape(value, (1,))

    def weighted(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None) -> Tensor:
        """The loss of a batch, reduced; `sample_weight` may be `None`."""
        raise TypeError(f"{type(self).__name__} must implement weighted(y_true, y_pred, weight)")

    def reduced(self, found: Costs | Tensor) -> Tensor:
        """`Costs` after `reduction`; a single number, which has only a mean, stays as it is."""
        if not isinstance(found, Costs):
            self._refuse_terms("Let its formula return `Costs`.")
            return found
        if self.reduction in ("none", None):
            return found.total
        total = ops.sum(found.total)
        if self.reduction == "sum":
            return total
        # Replicas average their losses, so each divides by the weight of an average replica: then
        # it is the mean over the pixels of all of them, however many each knows.
        return safe_divide(total, mean_over_replicas(ops.sum(found.weight)))

    def get_config(self) -> Config:
        return {"name": self.name, "reduction": self.reduction}


class MapLoss(WeightedLoss):
    """Base of losses over maps whose targets show by themselves where they are unknown.

    The contract of every loss of depth, normals and color:

    - **Predictions** `y_pred` `(B, H, W, C)`, of any float dtype; computed in float32.
    - **Targets** `y_true` `(B, H, W, C')`; without the last axis where it is 1. A pixel that the
      target marks as unknown reaches neither value nor gradient, even if target or prediction is
      NaN there; a batch without a known pixel costs 0, with zero gradients.
    - **Weights** `(B,)`, `(B, H, W)` or `(B, H, W, 1)`, multiplied onto the known pixels. NumPy
      weights that are negative or not finite raise `ValueError`; inside a graph they make the loss
      NaN, and their pixels stay out of the gradient.
    - **Result**: one float32 number for the batch, or what `reduction` asks for, see
      `WeightedLoss`.

    Subclasses set `channels`, the channels of a target, perhaps `stride` (predictions are then
    `(B, ceil(H / stride), ceil(W / stride), C)`), and implement `known(y_true)`, the mask
    `(B, H, W, 1)` (bool), and `compute(y_true, y_pred, weight)`. There `weight` `(B, H, W, 1)` is 0
    and the target `filler` where nothing is known; so is the prediction, if it has the same size.
    """

    channels = 1
    stride = 1
    filler = 1.0

    def weighted(self, y_true, y_pred, sample_weight):
        y_true, weight, wrong = read_map(
            y_true, y_pred, sample_weight, self.channels, self.known, self.stride
        )
        y_true = ops.where(weight > 0, y_true, self.filler)
        if self.stride == 1:
            y_pred = ops.where(weight > 0, y_pred, self.filler)
        value = self.reduced(self.compute(y_true, y_pred, weight))
        if wrong is None:
            return value
        if len(value.shape) == 3 and self.stride > 1:
            wrong = sum_blocks(ops.cast(wrong, "float32"), self.stride) > 0
        return nan_where(value, wrong[..., 0])

    def known(self, y_true: Tensor) -> Tensor:
        """The mask of the known pixels of a target `(B, H, W, channels)`: bool `(B, H, W, 1)`."""
        raise TypeError(f"{type(self).__name__} must implement known(y_true)")

    def compute(self, y_true: Tensor, y_pred: Tensor, weight: Tensor) -> Costs | Tensor:
        """The loss: `Costs` of pixels `(B, H, W)` or images `(B,)`, or one number."""
        raise TypeError(f"{type(self).__name__} must implement compute(y_true, y_pred, weight)")


def pixel_costs(cost: Tensor, weight: Tensor) -> Costs:
    """`Costs` of maps `(B, H, W, 1)`."""
    return Costs((weight * cost)[..., 0], weight[..., 0])

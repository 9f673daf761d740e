"""Agreement of the borders of regions."""

from collections.abc import Sequence

import keras
from keras import ops

from keras_dense import _check
from keras_dense._types import Array, ArrayLike, Config, Tensor
from keras_dense.metrics.confusion_matrix import ConfusionMatrix
from keras_dense.ops.boundary import boundary
from keras_dense.ops.count import first_largest
from keras_dense.ops.labels import as_label_input, check_ignore_class, check_mode, read_labels
from keras_dense.ops.targets import as_input, as_sample_weight, expand_weight


@keras.saving.register_keras_serializable("keras_dense")
class BoundaryIoU(keras.metrics.Metric):
    """Mean over classes of the IoU of boundaries, over a whole data set.

    The boundary of a class is the part of its region at most d pixels from the region's border; d
    is the share `width` of the image's diagonal, and at least one pixel. So large regions cannot
    hide bad borders. Void pixels belong to no class and count nowhere, in truth and prediction.
    Counts are exact, and labels of no class, predictions of NaN and weights below 0 are reported,
    as in `ConfusionMatrix`.

    Args:
        num_classes: int >= 1, classes of the prediction; 1: one logit, of object over background.
        ignore_class: int, label of void pixels, or `None`.
        width: float > 0 and <= 1, share of the diagonal.
        name: name of the metric.

    Call arguments:
        y_true: integer labels `(B, H, W)` or `(B, H, W, 1)`.
        y_pred: logits `(B, H, W, num_classes)`.
        sample_weight: `(B,)`, `(B, H, W)` or `(B, H, W, 1)`: pixels of weight 0 are not counted.

    Raises:
        ValueError: for a width out of range; when called, for shapes that do not fit.

    Reference: Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation
    Evaluation", CVPR 2021, equation 2; pooled over the data set.

    >>> import numpy as np
    >>> truth = np.zeros((1, 30, 40), int)
    >>> truth[:, :, 20:] = 1
    >>> found = truth.copy()
    >>> found[:, :, 20] = 0  # one column too far to the right
    >>> metric, plain = BoundaryIoU(2), ConfusionMatrix(2)
    >>> for m in (metric, plain):
    ...     m.update_state(truth, np.eye(2)[found])
    >>> round(float(metric.result()), 3), round(float(plain.result()), 3)
    (0.536, 0.951)
    """

    def __init__(
        self,
        num_classes: int,
        *,
        ignore_class: int | None = 255,
        width: float = 0.02,
        name: str = "boundary_iou",
    ):
        super().__init__(name=name, dtype="float32")
        self.width = _check.number(width, "width", high=1, above=0)
        self.num_classes = _check.integer(num_classes, "num_classes", 1)
        self.ignore_class = check_ignore_class(ignore_class, check_mode(None, self.num_classes))
        self._direction = "up"
        self._counts = ConfusionMatrix(
            self.num_classes, mode="multilabel", ignore_class=None, from_logits=False
        )

    def update_state(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        """Measure a batch."""
        sample_weight = as_sample_weight(sample_weight)
        y_true = ops.convert_to_tensor(as_label_input(y_true))
        y_pred = ops.convert_to_tensor(as_input(y_pred, "y_pred"))
        y_true = self._checked(y_true, y_pred)
        binary = self.num_classes == 1
        label, known, wrong = read_labels(
            ops.cast(y_true, "float32"),
            "labels",
            2 if binary else self.num_classes,
            "multiclass",
            self.ignore_class,
        )
        predicted = ops.cast(y_pred > 0, "int32") if binary else first_largest(y_pred)
        index = ops.arange(self.num_classes, dtype="int32") + (1 if binary else 0)
        reach = self._reach(y_pred)
        known = ops.logical_or(known, wrong)
        truth, found = (
            boundary(ops.logical_and(ops.equal(labels, index), known), reach)
            for labels in (ops.where(wrong, -1, label), predicted)
        )
        no_number = ops.any(ops.isnan(y_pred), axis=-1, keepdims=True)
        truth, found = self._faulty(truth, wrong), self._faulty(found, no_number)
        weight = ops.cast(known, "float32")
        if sample_weight is not None:
            weight = weight * ops.cast(expand_weight(sample_weight, y_pred.shape), "float32")
        self._counts.update_state(truth, found, weight)

    def _checked(self, y_true, y_pred):
        """Labels `(B, H, W, 1)`, or an error for shapes that do not fit."""
        if len(y_pred.shape) != 4 or y_pred.shape[-1] != self.num_classes:
            raise ValueError(
                f"`y_pred` must be (B, H, W, {self.num_classes}). "
                f"Received: y_pred of shape {tuple(y_pred.shape)}"
            )
        if len(y_true.shape) == 3:
            y_true = ops.expand_dims(y_true, -1)
        if tuple(y_true.shape)[-1] != 1:
            raise ValueError(
                "`y_true` must be labels (B, H, W) or (B, H, W, 1). "
                f"Received: y_true of shape {tuple(y_true.shape)}"
            )
        return y_true

    def _reach(self, y_pred):
        """The width of boundaries in pixels, int32."""
        height, width = ops.shape(y_pred)[1:3]
        diagonal = ops.sqrt(ops.cast(height * height + width * width, "float32"))
        return ops.maximum(ops.cast(ops.round(self.width * diagonal), "int32"), 1)

    def _faulty(self, masks, fault):
        """Masks as float32, NaN in the first one where a pixel cannot be counted."""
        first = ops.equal(ops.arange(self.num_classes), 0)
        fault = ops.logical_and(fault, first)
        return ops.where(fault, float("nan"), ops.cast(masks, "float32"))

    def result(self) -> Tensor:
        """The mean over the classes that have a boundary, a float32 scalar; NaN if none has."""
        return self._counts.result()

    def scores(self) -> dict[str, float | Array]:
        """`{"boundary_iou": mean, "boundary_iou_per_class": array}`, in float64."""
        found = self._counts.scores()
        return {self.name: found["mean_iou"], f"{self.name}_per_class": found["iou"]}

    def assign_sums(self, sums: Sequence[Array]) -> None:
        """Set the counts to sums over the variables of several metrics, in their order."""
        self._counts.assign_sums(sums)

    def reset_state(self) -> None:
        """Reset all counts."""
        self._counts.reset_state()

    def get_config(self) -> Config:
        return {
            "num_classes": self.num_classes,
            "ignore_class": self.ignore_class,
            "width": self.width,
            "name": self.name,
        }

"""How well the borders of regions are met."""

import keras
import numpy as np
from keras import ops

from keras_dense import _check
from keras_dense._arrays import as_labels
from keras_dense.losses.contract import check_ignore_class, check_number
from keras_dense.losses.weighted import entered, entered_weight
from keras_dense.metrics.confusion_matrix import ConfusionMatrix
from keras_dense.ops.boundary import boundary
from keras_dense.ops.count import first_largest


@keras.saving.register_keras_serializable("keras_dense")
class BoundaryIoU(keras.metrics.Metric):
    """Mean over classes of the IoU of boundaries, over a whole data set.

    The boundary of a class is what of its region lies at most d pixels from its border, d being
    `width` of the image's diagonal, and one pixel at least. Large regions cannot hide bad borders
    there. Void pixels are of no class and count nowhere, and predictions are looked at as if the
    same pixels were void. Counts are exact, as in `ConfusionMatrix`, and labels of no class,
    predictions of NaN and weights below 0 are told in the same way.

    Args:
        num_classes: classes of the prediction; 1: one logit, of object over background.
        ignore_class: label of void pixels, or `None`.
        width: float > 0 and ≤ 1, share of the diagonal.
        name: name of the metric.

    Call arguments:
        y_true: integer labels `(B, H, W)` or `(B, H, W, 1)`.
        y_pred: logits `(B, H, W, num_classes)`.
        sample_weight: `(B,)`, `(B, H, W)` or `(B, H, W, 1)`: pixels of weight 0 are not counted.

    Raises:
        ValueError: for a width out of range, or predictions of other than `num_classes` channels.

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

    def __init__(self, num_classes, ignore_class=255, width=0.02, name="boundary_iou"):
        super().__init__(name=name, dtype="float32")
        self.width = check_number("width", width, 0.0, 1.0)
        if self.width == 0:
            raise ValueError(f"width must be above 0; received: width={width!r}")
        self.num_classes = _check.integer(num_classes, "num_classes", 1)
        mode = "binary" if self.num_classes == 1 else "multiclass"
        self.ignore_class = check_ignore_class(ignore_class, mode)
        self._direction = "up"
        self._counts = ConfusionMatrix(self.num_classes, None, mode="multilabel", from_logits=False)

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Measure a batch."""
        y_true, sample_weight = entered(y_true, "y_true"), entered_weight(sample_weight)
        if isinstance(y_true, np.ndarray) and y_true.dtype.kind in "iu":
            y_true = as_labels(y_true, "y_true")  # JAX would cut 64 bits to 32
        y_true = ops.convert_to_tensor(y_true)
        y_pred = ops.convert_to_tensor(entered(y_pred, "y_pred"))
        classes = self.num_classes
        if len(y_pred.shape) != 4 or y_pred.shape[-1] != classes:
            raise ValueError(
                f"y_pred must be (B, H, W, {classes}); received shape {tuple(y_pred.shape)}"
            )
        if len(y_true.shape) == 3:
            y_true = ops.expand_dims(y_true, -1)
        if tuple(y_true.shape)[-1] != 1:
            raise ValueError(
                "y_true must be labels (B, H, W) or (B, H, W, 1); "
                f"received shape {tuple(y_true.shape)}"
            )
        y_true = ops.cast(y_true, "float32")
        known = ops.ones_like(y_true, dtype="bool")
        if self.ignore_class is not None:
            known = ops.not_equal(y_true, float(self.ignore_class))
        binary = classes == 1
        predicted = ops.cast(y_pred > 0, "int32") if binary else first_largest(y_pred)
        index = ops.arange(classes, dtype="int32") + (1 if binary else 0)
        height, width = ops.shape(y_pred)[1:3]
        diagonal = ops.sqrt(ops.cast(height * height + width * width, "float32"))
        reach = ops.maximum(ops.cast(ops.round(self.width * diagonal), "int32"), 1)
        truth, found = (
            boundary(ops.logical_and(ops.equal(labels, ops.cast(index, "float32")), known), reach)
            for labels in (y_true, ops.cast(predicted, "float32"))
        )
        truth, found = self._faulty(y_true, y_pred, truth, found)
        weight = ops.cast(known, "float32")
        if sample_weight is not None:
            given = ops.cast(ops.convert_to_tensor(sample_weight), "float32")
            given = ops.expand_dims(given, -1) if len(given.shape) == 3 else given
            given = ops.reshape(given, (-1, 1, 1, 1)) if len(given.shape) == 1 else given
            weight = weight * given
        self._counts.update_state(truth, found, weight)

    def _faulty(self, y_true, y_pred, truth, found):
        """Masks as float32, NaN in that of the first class where a pixel cannot be counted."""
        labels = ops.arange(max(self.num_classes, 2), dtype="float32")
        no_class = ops.logical_not(ops.any(ops.equal(y_true, labels), axis=-1, keepdims=True))
        no_number = ops.any(ops.isnan(y_pred), axis=-1, keepdims=True)
        first = ops.equal(ops.arange(self.num_classes), 0)
        return tuple(
            ops.where(ops.logical_and(fault, first), float("nan"), ops.cast(mask, "float32"))
            for fault, mask in ((no_class, truth), (no_number, found))
        )

    def result(self):
        """The mean over the classes that have a boundary, a float32 scalar; NaN if none has."""
        return self._counts.result()

    def scores(self):
        """`{"boundary_iou": mean, "boundary_iou_per_class": array}`, in float64."""
        found = self._counts.scores()
        return {self.name: found["mean_iou"], f"{self.name}_per_class": found["iou"]}

    def reset_state(self):
        """Forget what was measured."""
        self._counts.reset_state()

    def get_config(self):
        return {
            "num_classes": self.num_classes,
            "ignore_class": self.ignore_class,
            "width": self.width,
            "name": self.name,
        }

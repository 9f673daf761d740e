"""Segmentation scores of a confusion matrix, with one formula for NumPy and for a graph."""

from typing import Any

from keras_dense._types import Array, Tensor

SCORES = (
    "mean_iou",
    "pixel_accuracy",
    "mean_accuracy",
    "frequency_weighted_iou",
    "mean_dice",
    "mean_precision",
)
PER_CLASS = ("iou", "accuracy", "precision", "dice")


def scores(matrix: Array | Tensor, xp: Any) -> dict[str, Any]:
    """Every score of a confusion matrix.

    With truth t_i, prediction p_i and hits n_ii of class i, over all pixels counted:

    ```
    iou[i] = n_ii / (t_i + p_i - n_ii)      mean_iou: over classes in truth or prediction
    accuracy[i] = n_ii / t_i                mean_accuracy: over classes in the truth
    precision[i] = n_ii / p_i               mean_precision: over classes predicted
    dice[i] = 2 n_ii / (t_i + p_i)          mean_dice: over classes in truth or prediction
    pixel_accuracy = sum_i n_ii / sum_i t_i
    frequency_weighted_iou = sum_i t_i iou[i] / sum_i t_i
    ```

    A score with an empty denominator is NaN and is part of no mean. (Long, Shelhamer and Darrell,
    "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015, section 5.)

    Args:
        matrix: floats, `(C, C)` with truth i and prediction j at [i, j], or `(C, 2, 2)`, one such
            matrix per label, of which class 1 (present) is scored.
        xp: `numpy` or `keras.ops`.

    Returns:
        dict from name to scalar (`SCORES`) or array of C (`PER_CLASS`).
    """
    if len(matrix.shape) == 2:
        hits = xp.diagonal(matrix)
        truth, predicted = xp.sum(matrix, axis=1), xp.sum(matrix, axis=0)
        right = xp.sum(hits)
    else:
        hits = matrix[:, 1, 1]
        truth, predicted = matrix[:, 1, 0] + hits, matrix[:, 0, 1] + hits
        right = xp.sum(hits) + xp.sum(matrix[:, 0, 0])
    union = truth + predicted - hits

    def divide(a, b):
        empty = b == 0
        return xp.where(empty, float("nan"), a / xp.where(empty, 1.0, b))

    def mean(values):
        known = values == values
        number = xp.sum(xp.where(known, 1.0, 0.0))
        return divide(xp.sum(xp.where(known, values, 0.0)), number)

    iou, accuracy, precision = divide(hits, union), divide(hits, truth), divide(hits, predicted)
    dice = divide(2.0 * hits, truth + predicted)
    return {
        "mean_iou": mean(iou),
        "pixel_accuracy": divide(right, xp.sum(matrix)),
        "mean_accuracy": mean(accuracy),
        "frequency_weighted_iou": divide(
            xp.sum(xp.where(truth > 0, truth * iou, 0.0)), xp.sum(truth)
        ),
        "mean_dice": mean(dice),
        "mean_precision": mean(precision),
        "iou": iou,
        "accuracy": accuracy,
        "precision": precision,
        "dice": dice,
    }

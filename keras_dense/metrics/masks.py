"""Regions of the classes in truth and prediction, and faulty pixels."""

from collections.abc import Iterable
from typing import NamedTuple

from keras import ops

from keras_dense._types import ArrayLike, Tensor
from keras_dense.ops.count import first_largest
from keras_dense.ops.labels import as_label_input, read_labels, target_form
from keras_dense.ops.targets import as_input, as_sample_weight, read_weight

# Faulty pixels are never dropped silently; they are counted by their kind.
FAULTS = (
    "{count} pixels of y_true name no class: neither of the {classes} classes nor void "
    "(ignore_class={ignore_class})",
    "y_pred is NaN at {count} known pixels",
    "sample_weight is negative or not finite at {count} known pixels",
)


def check_faults(counts: Iterable[int], num_classes: int, ignore_class: int | None) -> None:
    """Raise a `ValueError` if a fault was counted; counts in the order of `FAULTS`."""
    for number, fault in zip(counts, FAULTS, strict=True):
        if number:
            raise ValueError(
                fault.format(count=number, classes=num_classes, ignore_class=ignore_class)
            )


class Masks(NamedTuple):
    """A batch as regions.

    Attributes:
        truth: bool `(B, H, W, C)`, false where void; C is 1 when binary (the foreground).
        found: the same of the prediction, false where void.
        known: bool of this shape.
        faults: int32 `(3,)`, see `FAULTS`.
    """

    truth: Tensor
    found: Tensor
    known: Tensor
    faults: Tensor


def read_masks(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    sample_weight: ArrayLike | None,
    num_classes: int,
    mode: str,
    ignore_class: int | None,
) -> Masks:
    """`Masks` of labels (or one-hot rows) and logits; pixels of weight 0 are void.

    Raises:
        ValueError: for shapes that do not fit.

    >>> import numpy as np
    >>> masks = read_masks([[[0, 1, 255]]], np.eye(2)[[[[1, 1, 1]]]], None, 2, "multiclass", 255)
    >>> ops.convert_to_numpy(masks.found)[0, 0, :, 1].tolist()
    [True, True, False]
    """
    sample_weight = as_sample_weight(sample_weight)
    y_pred = ops.convert_to_tensor(as_input(y_pred, "y_pred"))
    y_true = ops.convert_to_tensor(as_label_input(y_true))
    if len(y_pred.shape) != 4 or y_pred.shape[-1] != num_classes:
        raise ValueError(
            f"`y_pred` must be (B, H, W, {num_classes}). "
            f"Received: y_pred of shape {tuple(y_pred.shape)}"
        )
    form = target_form(y_true.shape, y_pred.shape, mode)
    if len(y_true.shape) < len(y_pred.shape):
        y_true = ops.expand_dims(y_true, -1)
    label, valid, wrong = read_labels(
        ops.cast(y_true, "float32"), form, num_classes, mode, ignore_class
    )
    index = ops.arange(num_classes, dtype="int32")
    if mode == "multiclass":
        truth, found = ops.equal(label, index), ops.equal(first_largest(y_pred), index)
        no_number = ops.any(ops.isnan(y_pred), axis=-1, keepdims=True)
    else:
        truth, found, no_number = ops.equal(label, 1), y_pred > 0, ops.isnan(y_pred)
    counted, no_weight = ops.logical_or(valid, wrong), ops.zeros_like(wrong)
    if sample_weight is not None:
        last = (1, num_classes) if mode == "multilabel" else (1,)
        weight, bad = read_weight(ops.convert_to_tensor(sample_weight), y_pred.shape, last)
        no_weight = ops.logical_and(counted, bad)
        counted = ops.logical_and(counted, ops.logical_or(weight > 0.0, bad))
    faults = ops.stack(
        [
            ops.sum(ops.cast(ops.logical_and(counted, fault), "int32"))
            for fault in (wrong, no_number, no_weight)
        ]
    )
    known = ops.logical_and(ops.logical_and(counted, valid), ops.ones_like(found))
    truth, found = ops.logical_and(truth, known), ops.logical_and(found, known)
    return Masks(truth, found, known, ops.cast(faults, "int32"))

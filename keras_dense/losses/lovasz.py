"""Lovász losses: the convex extension of 1 - IoU, over softmax errors or hinge errors."""

from collections.abc import Sequence

import keras
from keras import ops

from keras_dense import _check
from keras_dense._types import ArrayLike, Config, Tensor
from keras_dense.losses.contract import (
    USE_PER_IMAGE,
    DenseLoss,
    Pixels,
    refuse_binary_class_weight,
)
from keras_dense.losses.weighted import SUM_OVER_BATCH_SIZE, Costs
from keras_dense.ops.masked import safe_divide

CLASSES = ("present", "all")


def lovasz_extension(errors: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Lovász extension of the weighted Jaccard loss.

    Sorts the errors in descending order; error i then has the weight `J(1..i) - J(1..i-1)`, with J
    the Jaccard loss of mispredicting exactly those pixels. The differences are written out, since
    subtracting two neighboring J in float32 would leave a few bits on a large image:

    ```
    foreground: w[i] / union[i]        background: w[i] * inter[i] / (union[i-1] * union[i])
    ```

    Args:
        errors: `(…, M)`, at least 0.
        truth: `(…, M)`, 1 for foreground, 0 for background.
        weight: `(…, M)`, 0 where void.

    Returns:
        `(…,)`. Without foreground J is 1 as soon as one pixel is wrong, so the result is the
        largest error; it is 0 if all pixels are void.
    """
    order = ops.argsort(-ops.stop_gradient(errors), axis=-1)
    foreground = ops.take_along_axis(truth * weight, order, axis=-1)
    background = ops.take_along_axis(weight, order, axis=-1) - foreground
    total = ops.sum(foreground, axis=-1, keepdims=True)
    inter = total - ops.cumsum(foreground, axis=-1)
    union = total + ops.cumsum(background, axis=-1)
    step = safe_divide(foreground, union)
    step = step + safe_divide(background * inter, (union - background) * union)
    loss = ops.sum(ops.take_along_axis(errors, order, axis=-1) * step, axis=-1)
    largest = ops.max(errors * ops.cast(weight > 0.0, "float32"), axis=-1)
    return ops.where(total[..., 0] > 0.0, loss, largest)


def lovasz(
    pixels: Pixels,
    class_weight: Sequence[float] | None = None,
    classes: str = "present",
    per_image: bool = False,
) -> Costs:
    """Mean over classes of `lovasz_extension`, over softmax errors or hinge errors.

    Args:
        pixels: `contract.Pixels`.
        class_weight: one number per class, or `None`.
        classes: `"present"` or `"all"`; multi-class only.
        per_image: bool; each image is sorted by itself, or the batch as one.

    Returns:
        `Costs` of the images (or the batch) that have a valid pixel.
    """
    truth, weight = pixels.truth, pixels.weight * ops.ones_like(pixels.truth)
    if pixels.mode == "multiclass":
        errors = ops.abs(truth - ops.softmax(pixels.logits))
    else:
        errors = ops.relu(1.0 - (2.0 * truth - 1.0) * pixels.logits)
    rows = [_rows(x, per_image) for x in (errors, truth, weight)]
    loss = lovasz_extension(*rows)  # (groups, C)
    _, truth, weight = rows
    counted = ops.any(weight > 0.0, axis=-1)
    if pixels.mode == "multiclass" and classes == "present":
        counted = ops.logical_and(counted, ops.sum(truth * weight, axis=-1) > 0.0)
    counted = ops.cast(counted, "float32")
    seen = ops.max(counted, axis=-1)
    if class_weight is not None:
        counted = counted * ops.convert_to_tensor(class_weight, dtype="float32")
    loss = safe_divide(ops.sum(counted * loss, axis=-1), ops.sum(counted, axis=-1))
    return Costs(seen * loss, seen)


def _rows(x, per_image):
    """`(B, N, C)` to `(B, C, N)`, or to `(1, C, B * N)`."""
    if not per_image:
        x = ops.reshape(x, (1, -1, x.shape[-1]))
    return ops.transpose(x, (0, 2, 1))


@keras.saving.register_keras_serializable("keras_dense")
class Lovasz(DenseLoss):
    """Lovász-softmax (multi-class) and Lovász hinge (binary, multi-label).

    A piecewise linear surrogate of the mean of `1 - IoU[c]`; the two are equal where all
    probabilities are 0 or 1. A class absent from the truth has the largest error as its loss: with
    `classes="all"`, and always with the hinge, so that false positives in an empty mask cost
    something. Berman, Rannen Triki and Blaschko, "The Lovász-Softmax loss", CVPR 2018, algorithm 1.
    Sorting every class takes more time than any other loss here; it is usually used for fine
    tuning, or summed with `CrossEntropy`.

    Args:
        mode: `"multiclass"`, `"binary"` or `"multilabel"`.
        ignore_class: label of void pixels, or `None`.
        class_weight: one number per class, which weights the mean over classes, or `None`; not
            when binary.
        classes: `"present"`, only the classes in the truth, or `"all"`; multi-class only.
        per_image: bool; each image is scored by itself (and the mean is over those with a valid
            pixel), or the batch as one.
        reduction: as in Keras: `"sum_over_batch_size"` (the mean; `"mean"` and
            `"mean_with_sample_weight"` are the same); with `per_image=True`, also `"sum"` over
            images, and `"none"`: the loss of each image, `(B,)`.
        name: name of the loss.

    Example:

    >>> import numpy as np
    >>> labels = np.array([[[0, 0, 1, 255]]])
    >>> wrong = np.array([[[[9, -9], [-99, 99], [-99, 99], [0, 0]]]], "float32")
    >>> round(float(Lovasz()(labels, wrong)), 4)  # the IoU of both classes is 1/2
    0.5
    """

    def __init__(
        self,
        mode: str = "multiclass",
        *,
        ignore_class: int | None = 255,
        class_weight: ArrayLike | None = None,
        classes: str = "present",
        per_image: bool = False,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str = "lovasz",
    ):
        per_image = _check.flag(per_image, "per_image")
        super().__init__(
            mode,
            ignore_class=ignore_class,
            class_weight=class_weight,
            reduction=reduction,
            name=name,
            whole=None if per_image else USE_PER_IMAGE,
        )
        refuse_binary_class_weight(self, mode, class_weight)
        self.classes = _check.choice(classes, "classes", CLASSES)
        self.per_image = per_image

    def compute(self, pixels: Pixels) -> Costs:
        return lovasz(pixels, self.class_weight, self.classes, self.per_image)

    def get_config(self) -> Config:
        return {**super().get_config(), "classes": self.classes, "per_image": self.per_image}

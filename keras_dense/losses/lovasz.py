"""Lovász losses: the convex extension of 1 - IoU (softmax), and its hinge."""

import keras
from keras import ops

from keras_dense.losses.contract import DenseLoss, check_flag
from keras_dense.losses.weighted import SUM_OVER_BATCH_SIZE, Costs, safe_divide


def lovasz_extension(errors, truth, weight):
    """Lovász extension of the weighted Jaccard loss.

    Sorts the errors in descending order; error i then has the weight `J(1..i) - J(1..i-1)`, with J
    the Jaccard loss of mispredicting exactly those pixels. The differences are written out, since
    subtracting two neighboring J in float32 would leave a few bits on a large image:

    ```
    foreground: w[i] / union[i]        background: w[i] * inter[i] / (union[i-1] * union[i])
    ```

    Args:
        errors: `(..., M)`, at least 0.
        truth: `(..., M)`, 1 for foreground, 0 for background.
        weight: `(..., M)`: 0 where void.

    Returns:
        `(...,)`. Without foreground J is 1 as soon as one pixel is wrong, so it is the largest
        error; and 0 where all is void.
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


def lovasz(pixels, class_weight=None, classes="present", per_image=False):
    """Mean over classes of `lovasz_extension`, over softmax errors or hinge errors.

    Args:
        pixels: `contract.Pixels`.
        class_weight: One number per class, or `None`.
        classes: `"present"` or `"all"`; only multi-class.
        per_image: Whether each image is sorted by itself, or the batch as one.

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

    A piecewise linear surrogate of the mean of `1 - IoU[c]`, which equals it where all
    probabilities are 0 or 1. A class absent from the truth has the largest error as its loss: with
    `classes="all"`, and always with the hinge, so that an empty mask punishes what is painted on
    it. Berman, Rannen Triki and Blaschko, "The Lovász-Softmax loss", CVPR 2018, algorithm 1.
    Sorting every class costs more than any other loss here; usually it fine tunes, or is summed
    with `CrossEntropy`.

    Args:
        mode: `"multiclass"`, `"binary"` or `"multilabel"`.
        ignore_class: Label of void pixels, or `None`.
        class_weight: One number per class, which weights the mean over classes, or `None`; not
            when binary.
        per_image: Whether each image is scored by itself (the mean of those with a valid pixel),
            or the batch as one.
        classes: `"present"`, only the classes in the truth, or `"all"`; multi-class only.
        name: Name of the loss.
        reduction: As in Keras: `"sum_over_batch_size"` (the mean; so are `"mean"` and
            `"mean_with_sample_weight"`); with `per_image=True`, also `"sum"` over images, and
            `"none"`: the loss of each image, `(B,)`.

    Example:

    >>> import numpy as np
    >>> labels = np.array([[[0, 0, 1, 255]]])
    >>> wrong = np.array([[[[9, -9], [-99, 99], [-99, 99], [0, 0]]]], "float32")
    >>> round(float(Lovasz()(labels, wrong)), 4)  # the IoU of both classes is 1/2
    0.5
    """

    def __init__(
        self,
        mode="multiclass",
        ignore_class=255,
        class_weight=None,
        per_image=False,
        classes="present",
        name="lovasz",
        reduction=SUM_OVER_BATCH_SIZE,
    ):
        per_image = check_flag("per_image", per_image)
        whole = None if per_image else "Use per_image=True: then there is a loss of each image."
        super().__init__(mode, ignore_class, class_weight, name, reduction, whole)
        if mode == "binary" and class_weight is not None:
            raise ValueError(
                "class_weight has no effect on Lovasz with mode='binary', "
                "where only the foreground is scored"
            )
        if classes not in ("present", "all"):
            raise ValueError(f"classes must be 'present' or 'all'; received: classes={classes!r}")
        self.per_image = per_image
        self.classes = classes

    def compute(self, pixels):
        return lovasz(pixels, self.class_weight, self.classes, self.per_image)

    def get_config(self):
        return {**super().get_config(), "per_image": self.per_image, "classes": self.classes}

"""Segmentation targets, read alike by losses and metrics: labels, one-hot rows, void pixels."""

from typing import NamedTuple

import numpy as np
from keras import ops

from keras_dense import _check
from keras_dense._arrays import as_labels
from keras_dense._types import Array, Shape, Tensor
from keras_dense.ops.count import first_largest
from keras_dense.ops.targets import as_input

MODES = ("multiclass", "binary", "multilabel")


class Target(NamedTuple):
    """A segmentation target in one form.

    A pixel that is neither valid nor wrong is void.

    Attributes:
        truth: what the function says that returns it.
        valid: bool `(B, …, 1)` or `(B, …, C)`, where a pixel counts.
        wrong: bool of the same shape, where a value belongs to no class and is not void.
    """

    truth: Tensor
    valid: Tensor
    wrong: Tensor


def check_mode(mode: str | None, num_classes: int | None = None) -> str:
    """The mode of a prediction, checked against its number of classes.

    Args:
        mode: one of `MODES`, or `None`: "binary" for one class, else "multiclass".
        num_classes: int >= 1; `None`: only the name is checked.

    Raises:
        ValueError: for an unknown mode, or one that does not fit the number of classes.

    >>> check_mode(None, 1), check_mode("multilabel", 1)
    ('binary', 'multilabel')
    """
    if mode is None:
        mode = "binary" if num_classes == 1 else "multiclass"
    _check.choice(mode, "mode", MODES)
    fits = num_classes is None or mode == "multilabel" or (mode == "binary") == (num_classes == 1)
    if not fits:
        raise ValueError(
            f"`mode` must be 'binary' for one class (the foreground) and 'multiclass' for at "
            f"least two. Received: mode={mode!r}, which does not go with num_classes={num_classes}"
        )
    return mode


def check_ignore_class(ignore_class: int | None, mode: str) -> int | None:
    """The label of void pixels as an int, or `None`.

    Raises:
        ValueError: if it is not an integer of 24 bits, or if it is a label of the mode.

    >>> check_ignore_class(np.uint8(255), "binary")
    255
    """
    if ignore_class is None:
        return None
    ignore_class = _check.integer(ignore_class, "ignore_class")
    if abs(ignore_class) > 2**24:  # float32 holds integers exactly up to here
        raise _check.fail("ignore_class", "an integer of at most 24 bits", ignore_class)
    if mode != "multiclass" and ignore_class in (0, 1):
        raise ValueError(
            f"`ignore_class` must not be 0 or 1 with mode={mode!r}, where both are labels; "
            f"use 255, for example. Received: ignore_class={ignore_class}"
        )
    return ignore_class


def as_label_input(y_true: Tensor) -> Tensor:
    """`as_input` for labels: integers of more than 32 bits, which JAX would cut, are refused."""
    y_true = as_input(y_true, "y_true")
    if isinstance(y_true, np.ndarray) and y_true.dtype.kind in "iu":
        return as_labels(y_true, "y_true")
    return y_true


def target_form(true_shape: Shape, pred_shape: Shape, mode: str) -> str:
    """The form of a target: `"labels"` (one number a pixel) or `"hot"` (one a channel).

    Args:
        true_shape: shape of the target, `None` for sizes that are not known.
        pred_shape: shape of the prediction, `(B, …, C)`.
        mode: one of `MODES`.

    Raises:
        ValueError: if the shapes cannot belong together.

    >>> target_form((2, 8, 8), (2, 8, 8, 3), "multiclass")
    'labels'
    """
    true_shape, pred_shape = tuple(true_shape), tuple(pred_shape)
    shapes = f"Received: y_true of shape {true_shape}, y_pred of shape {pred_shape}"
    _check_channels(pred_shape, mode, shapes)
    channels, last = pred_shape[-1], true_shape[-1] if true_shape else None
    same_rank = len(true_shape) == len(pred_shape)
    if len(true_shape) == len(pred_shape) - 1 or (same_rank and last == 1):
        form = "labels"
    elif same_rank and last in (channels, None):
        form = "hot"
    elif same_rank:
        raise ValueError(
            f"`y_true` must be integer labels (B, H, W), or one-hot with as many channels as "
            f"`y_pred`, {channels}. {shapes}"
        )
    else:
        raise ValueError(
            f"`y_true` must be integer labels (B, H, W) or one-hot (B, H, W, {channels}). {shapes}"
        )
    for t, p in zip(true_shape[: len(pred_shape) - 1], pred_shape[:-1], strict=True):
        if t is not None and p is not None and t != p:
            raise ValueError(f"`y_true` and `y_pred` must have the same size. {shapes}")
    # One channel: 0/1 per pixel is both forms at once, and "hot" keeps soft values.
    return "hot" if channels == 1 else form


def _check_channels(pred_shape: Shape, mode: str, shapes: str) -> None:
    """Raise a ValueError unless the channels of a prediction suit its mode."""
    if len(pred_shape) < 2:
        raise ValueError(f"`y_pred` must be logits of shape (B, H, W, classes). {shapes}")
    if pred_shape[-1] is None:
        raise ValueError(f"`y_pred` must have a known number of channels. {shapes}")
    if mode == "binary" and pred_shape[-1] != 1:
        raise ValueError(
            "`y_pred` must have one channel with mode='binary', (B, H, W, 1); for more channels "
            f"use mode='multiclass' or 'multilabel'. {shapes}"
        )
    if mode == "multiclass" and pred_shape[-1] == 1:
        raise ValueError(
            "`y_pred` must have a channel for each of at least two classes with "
            f"mode='multiclass'; for one channel use mode='binary'. {shapes}"
        )


def check_labels(
    y_true: Array, form: str, channels: int, mode: str, ignore_class: int | None
) -> None:
    """Raise a ValueError for a value in a NumPy target that belongs to no class."""
    values = np.asarray(y_true)
    if form == "labels":
        known = (values >= 0) & (values < channels) & (values == np.floor(values))
        allowed = f"labels from 0 to {channels - 1} ({channels} classes)"
    else:
        known = (values >= 0) & (values <= 1)
        allowed = f"from 0 to 1, a channel for each class (mode={mode!r})"
    if ignore_class is not None and (form == "labels" or mode != "multiclass"):
        known |= values == ignore_class
        allowed += f", or {ignore_class} for void pixels (ignore_class)"
    if not known.all():
        wrong = np.unique(values[~known])[:5].tolist()
        raise ValueError(f"`y_true` must be {allowed}. Received: y_true with {wrong}")


def read_target(
    y_true: Tensor, form: str, channels: int, mode: str, ignore_class: int | None
) -> Target:
    """A float32 target as shares of the classes.

    Returns:
        `Target` with truth `(B, …, C)`, float32: one-hot, or shares from 0 to 1 as they were
        given; zeros where the pixel is not valid.

    >>> labels = np.array([[[2.0], [255.0]]])
    >>> hot, valid, wrong = read_target(labels, "labels", 3, "multiclass", 255)
    >>> ops.convert_to_numpy(hot).astype(int).tolist()
    [[[0, 0, 1], [0, 0, 0]]]
    """
    if form == "labels":
        label, valid, wrong = read_labels(y_true, form, channels, "multiclass", ignore_class)
        hot = ops.equal(label, ops.arange(channels, dtype="int32"))
        return Target(ops.cast(ops.logical_and(hot, valid), "float32"), valid, wrong)
    inside = ops.logical_and(y_true >= 0.0, y_true <= 1.0)
    if mode == "multiclass":
        total = ops.sum(y_true, axis=-1, keepdims=True)
        known = ops.logical_and(
            ops.all(inside, axis=-1, keepdims=True), ops.abs(total - 1.0) < 0.01
        )
        void = ops.all(ops.equal(y_true, 0.0), axis=-1, keepdims=True)
        if ignore_class is not None and 0 <= ignore_class < channels:
            ignored = y_true[..., ignore_class : ignore_class + 1]
            largest = ops.max(y_true, axis=-1, keepdims=True)
            void = ops.logical_or(void, ops.logical_and(known, ops.equal(ignored, largest)))
    else:
        known, void = inside, _is_void(y_true, ignore_class)
    return _target(y_true, known, void)


def read_labels(
    y_true: Tensor, form: str, channels: int, mode: str, ignore_class: int | None
) -> Target:
    """A float32 target as whole numbers, for counting.

    Returns:
        `Target` with truth int32: with mode "multiclass" the class of each pixel, `(B, …, 1)` (of
        shares, the first largest); otherwise 0 or 1 for each class, `(B, …, C)`, and shares
        between 0 and 1 are wrong. Where the pixel is not valid, 0.

    >>> label, valid, wrong = read_labels(
    ...     np.array([[[2.0], [255.0], [3.0]]]), "labels", 3, "multiclass", 255)
    >>> [ops.convert_to_numpy(x).ravel().tolist() for x in (label, valid, wrong)]
    [[2, 0, 0], [True, False, False], [False, False, True]]
    """
    if mode == "multiclass" and form == "labels":
        inside = ops.logical_and(y_true >= 0, y_true < channels)
        label = ops.cast(ops.where(inside, y_true, 0.0), "int32")
        known = ops.logical_and(inside, ops.equal(ops.cast(label, "float32"), y_true))
        return _target(label, known, _is_void(y_true, ignore_class))
    truth, valid, wrong = read_target(y_true, form, channels, mode, ignore_class)
    if mode == "multiclass":
        return Target(first_largest(truth), valid, wrong)
    one = ops.equal(truth, 1.0)
    between = ops.logical_not(ops.logical_or(one, ops.equal(truth, 0.0)))
    valid, wrong = (
        ops.logical_and(valid, ops.logical_not(between)),
        ops.logical_or(wrong, between),
    )
    return Target(ops.cast(one, "int32"), valid, wrong)


def _is_void(y_true: Tensor, ignore_class: int | None) -> Tensor:
    if ignore_class is None:
        return ops.zeros_like(y_true, dtype="bool")
    return ops.equal(y_true, float(ignore_class))


def _target(truth: Tensor, known: Tensor, void: Tensor) -> Target:
    """Void pixels are not valid, even if their label is that of a class."""
    valid = ops.logical_and(known, ops.logical_not(void))
    wrong = ops.logical_not(ops.logical_or(known, void))
    return Target(ops.where(valid, truth, ops.zeros_like(truth)), valid, wrong)

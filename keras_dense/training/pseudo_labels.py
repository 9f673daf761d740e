"""Labels that a teacher fills in where none are known, in the graph."""

from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_dense._types import Tensor
from keras_dense.ops.replicas import mean_over_replicas
from keras_dense.ops.targets import two_or_more

_RULED_OUT = -1e4  # added to the logits of a class that is not there
_NOWHERE = -1e9  # below the logarithm of every probability
_STRIDE = 4  # between the pixels of which the surest are found


class Filled(NamedTuple):
    """Result of `fill_labels`.

    Attributes:
        labels: int32 `(B, H, W)`: the new labels, void elsewhere.
        share: float32, filled part of the pixels that may be filled; 0 if there are none.
    """

    labels: Tensor
    share: Tensor


def class_logits(prediction: Tensor) -> Tensor:
    """Logits of at least two classes, float32, of a prediction of one or more channels.

    >>> class_logits(ops.convert_to_tensor([[2.0]])).shape[-1]
    2
    """
    return two_or_more(ops.cast(prediction, "float32"))


def allowed(
    logits: Tensor, tags: Tensor, presence: Tensor | None = None, background: int | None = None
) -> Tensor:
    """Logits `(B, H, W, C)` among the classes that the tags of an image allow.

    Args:
        logits: of at least two classes.
        tags: `(B, C)` of 1, 0 and 255 (unknown).
        presence: logits of a prediction of the tags; unknown ones of images that have others are
            weighed by them. `None`: they are allowed.
        background: int, the class of what is no object; the probability of classes that are ruled
            out then goes to the objects that are allowed, in proportion, and not to it.

    >>> logits, tags = ops.zeros((1, 1, 1, 3)), ops.convert_to_tensor([[1, 0, 255]])
    >>> ops.convert_to_numpy(ops.softmax(allowed(logits, tags)))[0, 0, 0].tolist()
    [0.5, 0.0, 0.5]
    >>> moved = ops.softmax(allowed(logits, tags, background=0))
    >>> [round(float(p), 2) for p in moved[0, 0, 0]]
    [0.33, 0.0, 0.67]
    """
    tags = ops.cast(tags, "float32")
    if background is not None:
        logits = _objects_stay_objects(logits, ops.equal(tags, 0.0), background)
    filters = ops.where(ops.equal(tags, 0.0), _RULED_OUT, 0.0)
    if presence is not None:
        unknown = ops.equal(tags, 255.0)
        some = ops.logical_not(ops.all(unknown, axis=-1, keepdims=True))
        guess = ops.log_sigmoid(ops.cast(presence, "float32"))
        filters = ops.where(ops.logical_and(unknown, some), guess, filters)
    return ops.add(logits, filters[:, None, None, :])


def _objects_stay_objects(logits: Tensor, ruled_out: Tensor, background: int) -> Tensor:
    """Logits in which the objects that are allowed have the probability of those that are not."""
    index = ops.arange(ops.shape(logits)[-1], dtype="int32")
    objects = ops.logical_and(ops.logical_not(ruled_out), ops.not_equal(index, background))
    objects, ruled_out = objects[:, None, None, :], ruled_out[:, None, None, :]
    own, others = (
        ops.logsumexp(ops.where(which, logits, _NOWHERE), axis=-1, keepdims=True)
        for which in (objects, ruled_out)
    )
    return ops.where(objects, logits + (ops.logaddexp(own, others) - own), logits)


def fill_labels(
    logits: Tensor,
    fillable: Tensor,
    *,
    confidence: Any,
    relative: bool,
    floor: Any,
    tags: Tensor | None,
    void: int | None,
) -> Filled:
    """Labels of the pixels of which a teacher is sure.

    Args:
        logits: `(B, H, W, C)` of the teacher, among the allowed classes.
        fillable: bool `(B, H, W)`.
        confidence: `(C,)` or a number, the least probability of a label.
        relative: bool, whether it is relative to the highest probability that a label of the class
            has in the batch.
        floor: `(C,)` or a number, the share of pixels of an image that get a class that is
            certainly there, those with the highest probability of it, sure or not.
        tags: `(B, C)`, or `None`: there is no floor.
        void: int, the label of other pixels.
    """
    log_p = ops.log_softmax(logits, axis=-1)
    label, best = ops.argmax(log_p, axis=-1), ops.exp(ops.max(log_p, axis=-1))
    limits = ops.zeros((log_p.shape[-1],)) + ops.convert_to_tensor(confidence, "float32")
    if relative:
        index = ops.arange(log_p.shape[-1], dtype="int32")
        chosen = ops.equal(ops.cast(label, "int32")[..., None], index)
        chosen = ops.logical_and(chosen, fillable[..., None])
        limits = limits * ops.max(ops.where(chosen, best[..., None], 0.0), axis=(0, 1, 2))
    sure = best >= ops.take(limits, label, axis=0)
    if tags is not None and np.any(floor):
        forced, forced_label = _surest(log_p, fillable, tags, floor)
        label = ops.where(forced, forced_label, label)
        sure = ops.logical_or(sure, forced)
    filled = ops.logical_and(sure, fillable)
    counts = ops.stack([ops.sum(ops.cast(x, "float32")) for x in (filled, fillable)])
    counts = mean_over_replicas(counts)
    share = counts[0] / ops.maximum(counts[1], 1e-6)
    return Filled(ops.where(filled, ops.cast(label, "int32"), void), share)


def _surest(log_p, fillable, tags, floor):
    """The pixels that are among the surest of a class that is there, and that class."""
    # Logarithms: probabilities of a class that the teacher never says may all be 0.
    masked = ops.where(fillable[..., None], log_p, _NOWHERE)
    sample = masked[:, ::_STRIDE, ::_STRIDE]
    classes = log_p.shape[-1]
    ordered = ops.sort(ops.reshape(sample, (ops.shape(sample)[0], -1, classes)), axis=1)
    count = ops.shape(ordered)[1]
    floors = ops.zeros((classes,)) + ops.convert_to_tensor(floor, "float32")
    place = ops.cast(ops.floor(ops.cast(count, "float32") * (1.0 - floors)), "int32")
    place = ops.broadcast_to(ops.minimum(place, count - 1), (ops.shape(ordered)[0], 1, classes))
    limit = ops.take_along_axis(ordered, place, axis=1)[:, None]
    there = ops.logical_and(ops.equal(ops.cast(tags, "float32"), 1.0), floors > 0.0)
    among = ops.logical_and(masked >= limit, there[:, None, None, :])
    among = ops.logical_and(among, masked > 0.5 * _NOWHERE)
    # Of several classes, the one that stands out most against its own limit.
    score = ops.where(among, masked - limit, -1.0)
    return ops.any(among, axis=-1), ops.argmax(score, axis=-1)

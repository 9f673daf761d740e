"""Training in which an averaged teacher labels what has no label."""

import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_dense import _check
from keras_dense.heads import Heads, of
from keras_dense.training.batch_norm import batch_norms
from keras_dense.training.self_training_model import SelfTraining

FILLS = ("images", "pixels")


def self_training(
    model: keras.Model,
    key: str | None = None,
    *,
    momentum: float = 0.99,
    confidence: float | Sequence[float] = 0.9,
    relative: bool = True,
    tags: bool = True,
    presence: bool = False,
    floor: float | Sequence[float] = 0.02,
    background: int | None = None,
    fill: str = "images",
    colors: float = 0.0,
    weight: float = 1.0,
    ramp: int = 0,
    affinity: keras.losses.Loss | None = None,
    affinity_weight: float = 0.1,
) -> SelfTraining:
    """A model that also learns from labels which the average of itself fills in, during `fit`.

    ```python
    both = kd.datasets.together(few, many, shares=(4, 4))
    loader = kd.datasets.Loader(both, heads, 8, shuffle=True, missing="unknown", pad=32)
    strong = [kd.datasets.transforms.ColorJitter()]
    views = kd.training.TwoViews(loader, strong=strong, mix=kd.datasets.BoxMix())
    training = kd.training.self_training(model)
    training.compile("adam", **kd.objectives(training))
    training.fit(views, epochs=60, shuffle=False, validation_data=validation)
    model.save("trained.keras")             # the network alone; both share their weights
    training.teacher.save("teacher.keras")  # its average, often the better one
    ```

    In each step, the teacher, whose weights and batch norm statistics are moving averages of the
    network's, labels the weak views. The network is trained on the strong views with the known
    labels, and with the teacher's where no label is known and the teacher is sure:

    ```
    loss(known labels) + weight · min(1, step / ramp) · share · loss(filled labels)
    ```

    with `share` the filled part of the pixels that may be filled. Both are means over their own
    pixels, so few labeled images are not outweighed. Auxiliary heads of the segmentation
    (`kd.heads.Auxiliary`, `Intermediate`) learn from the filled labels, too.

    Tags tell the teacher which classes are possible: it chooses among those that are there or
    unknown. Scribbles and points are masks that are void elsewhere; give `fill="pixels"`.

    The logs of `fit` have `filled`, the share of pixels that were filled, and `agreement`, the
    share of these of which the network has the same label. Saved to `.keras`, or by
    `kd.training.Checkpoint`, training continues exactly.

    On several devices or processes (docs/scale.md), each labels its own part of the batch: with
    `relative`, the highest probability of a class is that of the part.

    Set a short `batch_norm_momentum` before: statistics that lag behind make a teacher that says
    one class everywhere.

    Args:
        model: a functional model that carries heads; one of them is a segmentation.
        key: str, the segmentation; needed if there are several.
        momentum: float from 0 to below 1, of the average; the first steps average over all steps so
            far. It reaches back `1 / (1 - momentum)` steps, which should be few against all.
        confidence: float from 0 to 1, the least probability of a label that is filled in; or one
            for each class.
        relative: bool, whether `confidence` is relative to the highest probability of a label of
            the same class in the batch, so that classes of which the teacher is never sure are
            filled, too.
        tags: bool, whether to use the targets of the head `kd.heads.Tags`, if the model has one.
        presence: bool, whether tags that are unknown in images with other tags are weighed by the
            teacher's prediction of them.
        floor: float from 0 to below 1, the share of an image that gets a class that its tags say
            is there, whether the teacher is sure or not: the pixels with the highest probability;
            or one for each class, such as 0.4 times `kd.training.class_shares(few)`.
        background: int, the class of what is no object, if there is one, such as 0 for PASCAL VOC.
            Where the teacher sees an object that the tags rule out, it then chooses among the
            objects that are there, and not the background.
        fill: `"images"`: images without a known pixel are filled; `"pixels"`: all void pixels are.
        colors: float >= 0, how much labels are moved toward those by which the image can be rebuilt
            from the colors of its classes before they are filled in, the weight of
            `kd.layers.RebuildByColor`; 0: not at all.
        weight: float >= 0, of the filled labels.
        ramp: int >= 0, the number of steps in which their weight grows from 0.
        affinity: a loss of image and logits for void pixels, too, such as
            `kd.losses.PairwiseAffinity()`, or `None`.
        affinity_weight: float >= 0.

    Returns:
        A `keras.Model` with the same inputs, outputs, layers and weights, and the attribute
        `teacher`. It is trained on `TwoViews`, or on a loader (both views are then the same), and
        evaluated on a loader.

    Raises:
        ValueError: if the model has no segmentation `key` with labels for void, or a number is out
            of range.
        TypeError: for a model whose graph cannot be read.

    Warns:
        UserWarning: if batch norm averages over more than 100 steps.

    Reference: Tarvainen and Valpola, "Mean teachers are better role models", NIPS 2017 (the
        average); Sohn et al., "FixMatch", NeurIPS 2020 (weak and strong views); Papandreou et al.,
        "Weakly- and Semi-Supervised Learning of a Deep Convolutional Network", ICCV 2015 (tags);
        Luo et al., "Deep Dual Learning for Semantic Image Segmentation", ICCV 2017 (colors).

    Example:

    >>> import keras_dense as kd
    >>> image = keras.Input((None, None, 3))
    >>> head = kd.heads.Segmentation(3)
    >>> model = kd.heads.attach(keras.Model(image, keras.layers.Conv2D(3, 1)(image)), head)
    >>> training = self_training(model, momentum=0.9)
    >>> training.compile("sgd", **kd.objectives(training))
    >>> images, labels = np.zeros((2, 8, 8, 3)), np.full((2, 8, 8), 255)
    >>> labels[0] = 1
    >>> sorted(training.fit(images, labels, verbose=0).history)
    ['agreement', 'filled', 'loss', 'mean_iou', 'pixel_accuracy']
    """
    heads = Heads(of(model))
    key = segmentation_key(heads, key)
    classes = max(heads[key].channels, 2)
    settings = {
        "key": key,
        "momentum": _check.number(momentum, "momentum", 0, below=1),
        "confidence": for_classes(confidence, "confidence", classes, high=1),
        "relative": _check.flag(relative, "relative"),
        "tags": _check.flag(tags, "tags"),
        "presence": _check.flag(presence, "presence"),
        "floor": for_classes(floor, "floor", classes, below=1),
        "background": background_class(background, classes),
        "fill": _check.choice(fill, "fill", FILLS),
        "colors": _check.number(colors, "colors", 0),
        "weight": _check.number(weight, "weight", 0),
        "ramp": _check.integer(ramp, "ramp", low=0),
        "affinity": affinity,
        "affinity_weight": _check.number(affinity_weight, "affinity_weight", 0),
    }
    if affinity is not None and not isinstance(affinity, keras.losses.Loss):
        raise TypeError(f"`affinity` must be a loss, or None. Received: affinity={affinity!r}")
    slow = [layer.momentum for layer in batch_norms(model) if layer.trainable]
    if max(slow, default=0) > 0.99:
        warnings.warn(
            f"Batch norm averages over {1 / (1 - max(slow)):.0f} steps (momentum {max(slow)}): the "
            "teacher then uses outdated statistics. Call kd.training.batch_norm_momentum(model, "
            "0.95) or freeze_batch_norm(model) before self_training",
            stacklevel=2,
        )
    return SelfTraining(model.input, model.output, name=model.name, settings=settings)


def segmentation_key(heads: Heads, key: str | None) -> str:
    """The key of the segmentation whose labels are filled in.

    Raises:
        ValueError: if there is none, several and no `key`, or it has no label for void.
    """
    found = [k for k, h in heads.items() if h.final and h.mode in ("multiclass", "binary")]
    if key is None and len(found) == 1:
        key = found[0]
    if key is None or key not in found:
        raise ValueError(
            "`key` must be a segmentation of the model of which each pixel has one class, one of: "
            f"{', '.join(map(repr, found)) or 'none'}. Received: key={key!r}"
        )
    if heads[key].ignore_class is None:
        raise ValueError(
            "The segmentation must have an `ignore_class`, the label of pixels that are filled. "
            "Received: ignore_class=None"
        )
    return key


def background_class(background: int | None, classes: int) -> int | None:
    """A class of what is no object, checked.

    >>> background_class(0, 21), background_class(None, 21)
    (0, None)
    """
    if background is None:
        return None
    return _check.integer(background, "background", low=0, high=classes - 1)


def for_classes(value: Any, name: str, classes: int, **bounds: float) -> float | list[float]:
    """A number from 0 to a bound (`high` or `below`), for all classes or one for each.

    Raises:
        ValueError: if it is out of range, or there are more or fewer than classes.

    >>> for_classes([0.5, 1], "confidence", 2, high=1)
    [0.5, 1.0]
    """
    if np.ndim(value) == 0:
        return _check.number(value, name, 0, **bounds)
    found = [_check.number(v, name, 0, **bounds) for v in value]
    if len(found) != classes:
        raise ValueError(
            f"`{name}` must be a number, or one for each of {classes} classes. Received: "
            f"{len(found)} numbers"
        )
    return found

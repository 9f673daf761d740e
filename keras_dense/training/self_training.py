"""Training in which an averaged teacher labels what has no label."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dense import _check
from keras_dense.heads import Heads, of
from keras_dense.training.batch_norm import batch_norms
from keras_dense.training.losses_of_heads import HeadLosses
from keras_dense.training.pseudo_labels import Filled, allowed, class_logits, fill_labels
from keras_dense.training.views import HIDDEN, OTHER

FILLS = ("images", "pixels")


@keras.saving.register_keras_serializable("keras_dense")
class Average(keras.layers.Layer):
    """A copy of a network whose weights are averages over steps of training.

    Args:
        network: the network; it is copied, with its weights.
        momentum: float from 0 to below 1.

    ```python
    average = Average(model, momentum=0.99)
    average.network.predict(images)
    ```
    """

    def __init__(self, network: keras.Model, momentum: float) -> None:
        super().__init__(name="average", dtype="float32")
        self.momentum = momentum
        # On torch, Keras clears the gradients of variables by their paths: each needs its own.
        with keras.name_scope("average"):
            self.network = keras.models.clone_model(network)
        self.network.set_weights(network.get_weights())
        self.steps = self.add_weight(
            name="steps", shape=(), dtype="int32", initializer="zeros", trainable=False
        )
        # Before `built`, so that it is no part of what an optimizer changes.
        self.network.trainable = self.trainable = False
        self.built = True

    def follow(self, layers: Sequence[keras.Layer]) -> None:
        """Move the averages toward the weights of the network's layers, one step."""
        steps = ops.cast(self.steps, "float32")
        # The first steps average over all so far: the weights at the start count no more.
        keep = ops.minimum(self.momentum, 1.0 - 1.0 / (steps + 1.0))
        for own, other in zip(self.network.layers, layers, strict=True):
            for mean, weight in zip(own.weights, other.weights, strict=True):
                new = ops.stop_gradient(ops.convert_to_tensor(weight))
                old = ops.convert_to_tensor(mean)
                share = ops.cast(keep, mean.dtype)
                mean.assign(share * old + (1.0 - share) * new)
        self.steps.assign(self.steps + 1)


@keras.saving.register_keras_serializable("keras_dense")
class SelfTraining(keras.Model):
    """A network that learns from labels, and from those that its own average fills in.

    Made by `self_training`; see there.

    Attributes:
        teacher: `keras.Model`, the average of the network.

    ```python
    training = kd.training.self_training(model)
    training.teacher.save("teacher.keras")
    ```
    """

    # Keras restores a functional model only with these arguments in front.
    def __init__(
        self,
        inputs: Any,
        outputs: Any,
        name: str | None = None,
        *,
        settings: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(inputs, outputs, name=name, **kwargs)
        if settings is not None:
            self._take(settings)

    def _take(self, settings: dict[str, Any]) -> None:
        self.settings = dict(settings)
        self.heads = Heads(of(self))
        self.key: str = settings["key"]
        self.tags_key = _tags_key(self.heads, self.key) if settings["tags"] else None
        self.affinity = settings["affinity"]
        self.average = Average(keras.Model(self.input, self.output), settings["momentum"])
        self.filled_tracker = keras.metrics.Mean(name="filled")
        self.agreement_tracker = keras.metrics.Mean(name="agreement")

    @property
    def teacher(self) -> keras.Model:
        """The average of the network, a model with its inputs and outputs."""
        return self.average.network

    def compile(self, optimizer="rmsprop", loss=None, loss_weights=None, **kwargs):
        """Compile as `keras.Model` does, with a loss for every head (`kd.objectives`)."""
        losses = HeadLosses(self.heads, loss, loss_weights)
        super().compile(optimizer=optimizer, loss=loss, loss_weights=loss_weights, **kwargs)
        self.head_losses = losses

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        # 1, and under `tf.distribute`, where losses come divided by the replicas, 1 / replicas.
        replica = keras.losses.MeanAbsoluteError()(ops.ones((1, 1)), ops.zeros((1, 1)))
        penalties = list(self.losses)  # before the teacher adds its own
        views = _Views.of(x, y)
        predicted = self.heads.unpack(y_pred)
        targets = self.heads.unpack(views.targets)
        weights = self._weights(sample_weight)
        mixed = {k: views.mixed(head, targets[k]) for k, head in self.heads.items()}
        mixed_weights = {
            k: None if w is None else views.mixed(self.heads[k], w, weight=True)
            for k, w in weights.items()
        }
        total = self.head_losses(mixed, predicted, mixed_weights) / replica
        if training:
            filled = self._fill(views, targets, weights[self.key])
            total = total + self._filled_loss(views, filled, predicted, mixed_weights) / replica
        for penalty in penalties:
            total = total + ops.sum(ops.cast(penalty, "float32"))
        return total * replica

    def _weights(self, sample_weight):
        if sample_weight is None or isinstance(sample_weight, Mapping):
            given = sample_weight or {}
            return {key: given.get(key) for key in self.heads}
        return {key: None if head.per_image else sample_weight for key, head in self.heads.items()}

    def _fill(self, views, targets, weight) -> Filled:
        """Labels of the teacher for the weak views."""
        self.average.follow(self.layers)
        head, settings = self.heads[self.key], self.settings
        outputs = self.heads.unpack(self.teacher(views.weak, training=False))
        logits = ops.stop_gradient(class_logits(outputs[self.key]))
        labels = ops.cast(targets[self.key], "int32")
        labels = labels[..., 0] if len(labels.shape) == 4 else labels
        fillable = ops.equal(labels, head.ignore_class)
        if settings["fill"] == "images":
            fillable = ops.logical_and(fillable, ops.all(fillable, axis=(1, 2), keepdims=True))
        if weight is not None and len(weight.shape) >= 3:
            weight = weight[..., 0] if len(weight.shape) == 4 else weight
            fillable = ops.logical_and(fillable, weight > 0)
        tags = None if self.tags_key is None else targets[self.tags_key]
        if tags is not None:
            presence = outputs[self.tags_key] if settings["presence"] else None
            logits = allowed(
                logits, tags, None if presence is None else ops.stop_gradient(presence)
            )
        return fill_labels(
            logits,
            fillable,
            confidence=settings["confidence"],
            relative=settings["relative"],
            floor=settings["floor"],
            tags=tags,
            void=head.ignore_class,
        )

    def _filled_loss(self, views, filled, predicted, weights):
        head, prediction = self.heads[self.key], predicted[self.key]
        labels = views.mixed(head, filled.labels)
        if views.source is not None:
            labels = ops.where(ops.equal(views.source, HIDDEN), head.ignore_class, labels)
        labels = ops.stop_gradient(labels)
        known = ops.cast(ops.not_equal(labels, head.ignore_class), "float32")
        found = ops.cast(ops.argmax(class_logits(prediction), axis=-1), "int32")
        agree = ops.cast(ops.equal(found, labels), "float32")
        count = ops.cast(ops.shape(labels)[0], "float32")
        self.filled_tracker.update_state(ops.stop_gradient(filled.share), sample_weight=count)
        share = ops.sum(known * agree) / ops.maximum(ops.sum(known), 1.0)
        self.agreement_tracker.update_state(ops.stop_gradient(share), sample_weight=ops.sum(known))
        loss = self.head_losses.one(self.key, labels, prediction, weights[self.key])
        total = self._strength() * filled.share * loss
        if self.affinity is not None:
            pixels = weights[self.key]
            cost = self.affinity(ops.cast(views.seen, "float32"), prediction, sample_weight=pixels)
            total = total + self.settings["affinity_weight"] * ops.cast(cost, "float32")
        return total

    def _strength(self):
        """Weight of the filled labels, which grows over the first steps."""
        ramp = self.settings["ramp"]
        if not ramp:
            return self.settings["weight"]
        steps = ops.cast(self.average.steps, "float32")
        return self.settings["weight"] * ops.minimum(1.0, steps / float(ramp))

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        views = _Views.of(x, y)
        y = self.heads.map(lambda _, head, t: views.mixed(head, t), views.targets)
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def get_config(self):
        affinity = keras.saving.serialize_keras_object(self.affinity)
        return {**super().get_config(), "settings": {**self.settings, "affinity": affinity}}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        settings = dict(config.pop("settings"))
        settings["affinity"] = keras.saving.deserialize_keras_object(settings["affinity"])
        model = super().from_config(config, custom_objects=custom_objects)
        model._take(settings)
        return model


class _Views:
    """A batch of `TwoViews`, or one of a loader, of which both views are the same."""

    def __init__(self, seen, targets, weak, partner, source):
        self.seen, self.targets, self.weak = seen, targets, weak
        self.partner, self.source = partner, source

    @classmethod
    def of(cls, x, y):
        if isinstance(y, Mapping) and {"targets", "weak", "partner", "source"} <= set(y):
            return cls(x, y["targets"], y["weak"], y["partner"], y["source"])
        return cls(x, y, x, None, None)

    def mixed(self, head, values, weight=False):
        """Values of the weak views, where their pixels are in the strong ones."""
        values = ops.convert_to_tensor(values)
        if self.source is None:
            return values
        other = ops.equal(self.source, OTHER)
        partners = ops.take(values, self.partner, axis=0)
        if head.per_image:
            if weight:
                return values
            zero = ops.logical_and(ops.equal(values, 0), ops.equal(partners, 0))
            both = ops.cast(ops.where(zero, 0, 255), values.dtype)
            return ops.where(ops.any(other, axis=(1, 2))[:, None], both, values)
        if len(values.shape) < 3:
            return values
        for _ in range(len(values.shape) - 3):
            other = other[..., None]
        return ops.where(other, partners, values)


def self_training(
    model: keras.Model,
    key: str | None = None,
    *,
    momentum: float = 0.99,
    confidence: float | Sequence[float] = 0.9,
    relative: bool = True,
    tags: bool = True,
    presence: bool = False,
    floor: float = 0.02,
    fill: str = "images",
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
    pixels, so few labeled images are not outweighed.

    Tags tell the teacher which classes are possible: it chooses among those that are there or
    unknown. Scribbles and points are masks that are void elsewhere; give `fill="pixels"`.

    The logs of `fit` have `filled`, the share of pixels that were filled, and `agreement`, the
    share of these of which the network has the same label. Saved to `.keras`, or by
    `kd.training.Checkpoint`, training continues exactly.

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
            is there, whether the teacher is sure or not: the pixels with the highest probability.
        fill: `"images"`: images without a known pixel are filled; `"pixels"`: all void pixels are.
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
        "Weakly- and Semi-Supervised Learning of a Deep Convolutional Network", ICCV 2015 (tags).

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
        "confidence": _confidence(confidence, classes),
        "relative": _check.flag(relative, "relative"),
        "tags": _check.flag(tags, "tags"),
        "presence": _check.flag(presence, "presence"),
        "floor": _check.number(floor, "floor", 0, below=1),
        "fill": _check.choice(fill, "fill", FILLS),
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
    if key not in found:
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


def _tags_key(heads: Heads, key: str) -> str | None:
    classes = max(heads[key].channels, 2)
    found = [k for k, head in heads.items() if head.per_image and head.channels == classes]
    return found[0] if found else None


def _confidence(value: Any, classes: int) -> float | list[float]:
    if np.ndim(value) == 0:
        return _check.number(value, "confidence", 0, 1)
    found = [_check.number(v, "confidence", 0, 1) for v in value]
    if len(found) != classes:
        raise ValueError(
            f"`confidence` must be a number, or one for each of {classes} classes. Received: "
            f"{len(found)} numbers"
        )
    return found

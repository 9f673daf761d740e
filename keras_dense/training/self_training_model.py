"""A model that is trained with labels which its average fills in."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from keras_dense.heads import Heads, of
from keras_dense.ops.class_colors import rebuild_by_color
from keras_dense.training.average import MovingAverage
from keras_dense.training.batch_of_views import Views
from keras_dense.training.losses_of_heads import HeadLosses
from keras_dense.training.pseudo_labels import Filled, allowed, class_logits, fill_labels
from keras_dense.training.views import HIDDEN


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
        self._fills = True
        self.key: str = settings["key"]
        self.assisting = _assisting(self.heads, self.key)
        self.tags_key = _tags_key(self.heads, self.key) if settings["tags"] else None
        self.affinity = settings["affinity"]
        self.average = MovingAverage(keras.Model(self.input, self.output), settings["momentum"])
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
        self._fills = training
        penalties = list(self.losses)  # before the teacher adds its own
        views = Views.of(x, y)
        predicted = self.heads.unpack(y_pred)
        targets = self.heads.unpack(views.targets)
        weights = self._weights(sample_weight)
        mixed = {k: views.mixed(head, targets[k]) for k, head in self.heads.items()}
        mixed_weights = self._mixed_weights(views, weights)
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

    def _mixed_weights(self, views, weights):
        """Weights of the strong views, by the keys of the heads; `None` where there are none."""
        return {
            key: None if weight is None else views.mixed(self.heads[key], weight, weight=True)
            for key, weight in weights.items()
        }

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
        if tags is not None and self.tags_key is not None:
            presence = outputs[self.tags_key] if settings["presence"] else None
            presence = None if presence is None else ops.stop_gradient(presence)
            logits = allowed(logits, tags, presence, settings["background"])
        if settings["colors"]:
            logits = rebuild_by_color(logits, views.weak, weight=settings["colors"])
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
        loss = sum(
            self.head_losses.one(key, labels, predicted[key], weights[key])
            for key in (self.key, *self.assisting)
        )
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
        views = Views.of(x, y)
        y = self.heads.map(lambda _, head, t: views.mixed(head, t), views.targets)
        if sample_weight is not None:
            weights = self._mixed_weights(views, self._weights(sample_weight))
            ones = ops.ones((ops.shape(views.seen)[0],))
            by_key = {key: ones if w is None else w for key, w in weights.items()}
            sample_weight = self.heads.pack(by_key)
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def get_metrics_result(self):
        # An evaluation fills nothing. (This is called in the graph of a step, after its loss.)
        logs = super().get_metrics_result()
        own = () if self._fills else (self.filled_tracker.name, self.agreement_tracker.name)
        return {key: value for key, value in logs.items() if key not in own}

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


def _assisting(heads: Heads, key: str) -> list[str]:
    """Keys of the heads that help to train a segmentation, and have the same targets."""
    main = heads[key]
    return [
        k
        for k, head in heads.items()
        if not head.final
        and (head.target, head.mode, head.channels) == (main.target, main.mode, main.channels)
    ]


def _tags_key(heads: Heads, key: str) -> str | None:
    classes = max(heads[key].channels, 2)
    found = [k for k, head in heads.items() if head.per_image and head.channels == classes]
    return found[0] if found else None

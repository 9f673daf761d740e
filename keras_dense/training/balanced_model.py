"""A model that balances the losses of its tasks while it trains."""

from typing import Any

import keras
from keras import ops

from keras_dense._types import Tensor
from keras_dense.ops.replicas import as_of_whole_batch
from keras_dense.training.balancers import Balancer


class _Reduced(keras.losses.Loss):
    """A loss function, such as that of "mse", followed by a mean."""

    def __init__(self, function: Any) -> None:
        super().__init__(name=function.__name__)
        self.call = function


def as_loss(loss: Any) -> keras.losses.Loss:
    """Loss object of a loss, a name or a function.

    >>> as_loss("mse").name
    'mean_squared_error'
    """
    loss = keras.losses.get(loss)
    return loss if isinstance(loss, keras.losses.Loss) else _Reduced(loss)


class _Epochs(keras.callbacks.Callback):
    """Writes the weights to the logs of `fit`, and updates the balancer after each epoch."""

    def on_epoch_end(self, epoch, logs=None):
        balancer = self.model.balancer
        if logs is not None:
            logs.update({f"{name}_weight": w for name, w in balancer.current().items()})
        balancer.end_epoch()


@keras.saving.register_keras_serializable("keras_dense")
class BalancedModel(keras.Model):
    """A functional model of several outputs whose losses are weighed by a `Balancer`.

    Made by `balanced`; see there.

    Attributes:
        balancer: the `Balancer`; `model.balancer.current()` gives the weights.

    ```python
    model = kd.training.balanced(model, kd.training.UncertaintyWeighting())
    model.balancer.current()
    ```
    """

    # Keras restores a functional model only with these arguments in front.
    def __init__(
        self,
        inputs: Any,
        outputs: dict[str, Tensor],
        name: str | None = None,
        *,
        balancer: Balancer | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(inputs, outputs, name=name, **kwargs)
        self.task_names = tuple(sorted(outputs))
        self.task_trackers = [keras.metrics.Mean(name=f"{key}_loss") for key in self.task_names]
        if balancer is not None:
            self._take(balancer)

    def _take(self, balancer: Balancer) -> None:
        balancer.attach(self.task_names)
        self.balancer = balancer

    def compile(self, optimizer="rmsprop", loss=None, loss_weights=None, **kwargs):
        """Compile as `keras.Model` does, with a dict of losses, one for every output.

        Each loss is multiplied by its entry of `loss_weights` before the balancer sees it.
        """
        weights = dict.fromkeys(self.task_names, 1.0) if loss_weights is None else loss_weights
        for key, value in (("loss", loss), ("loss_weights", weights)):
            if not isinstance(value, dict) or sorted(value) != list(self.task_names):
                raise ValueError(
                    f"`{key}` must be a dict with the keys {', '.join(self.task_names)}, as "
                    f"kd.objectives(model) makes it. Received: {key}={value!r}"
                )
        super().compile(optimizer=optimizer, loss=loss, loss_weights=loss_weights, **kwargs)
        self._tasks = [(as_loss(loss[key]), weights[key]) for key in self.task_names]
        self._exclude_from_decay(self.optimizer)

    def _exclude_from_decay(self, optimizer):
        inner = (getattr(optimizer, name, None) for name in ("optimizer", "inner_optimizer"))
        for wrapped in inner:
            if wrapped is not None:
                return self._exclude_from_decay(wrapped)
        variables = self.balancer.trainable_variables
        if variables and getattr(optimizer, "weight_decay", None) and not optimizer.built:
            # Keras forgets earlier exclusions: keep them.
            before = getattr(optimizer, "_exclude_from_weight_decay", set())
            pattern = getattr(optimizer, "_exclude_from_weight_decay_pattern", None)
            optimizer.exclude_from_weight_decay(var_list=variables)
            optimizer._exclude_from_weight_decay |= before
            optimizer._exclude_from_weight_decay_pattern = pattern

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        if not isinstance(y, dict) or any(key not in y for key in self.task_names):
            found = sorted(y) if isinstance(y, dict) else type(y).__name__
            raise ValueError(
                f"Targets must be a dict with the keys {', '.join(self.task_names)}. "
                f"Received: {found}"
            )
        # 1, and under `tf.distribute`, where losses come divided by the replicas, 1 / replicas.
        share = keras.losses.MeanAbsoluteError()(ops.ones((1, 1)), ops.zeros((1, 1)))
        count = ops.cast(ops.shape(y_pred[self.task_names[0]])[0], "float32")
        values = []
        for key, (loss, weight), tracker in zip(
            self.task_names, self._tasks, self.task_trackers, strict=True
        ):
            per_pixel = sample_weight.get(key) if isinstance(sample_weight, dict) else sample_weight
            value = loss(y[key], y_pred[key], sample_weight=per_pixel)
            value = ops.cast(value, "float32") / share
            tracker.update_state(ops.stop_gradient(value), sample_weight=count)
            values.append(value * weight)
        # Balancers are no means: on several replicas they need the losses of the whole batch.
        losses = as_of_whole_batch(ops.stack(values))
        total = self.balancer.total(losses, count, training)
        for penalty in self.losses:
            total = total + ops.sum(ops.cast(penalty, "float32"))
        return total * share

    def fit(self, x=None, y=None, batch_size=None, epochs=1, verbose="auto", callbacks=None, **kw):
        # First, so that other callbacks see the weights in the logs, and save them.
        if isinstance(callbacks, keras.callbacks.CallbackList):
            if not any(isinstance(c, _Epochs) for c in callbacks.callbacks):
                first = _Epochs()
                first.set_model(self)
                callbacks.callbacks.insert(0, first)
        else:
            others = callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]
            callbacks = [_Epochs(), *(c for c in others if c is not None)]
        return super().fit(x, y, batch_size, epochs, verbose, callbacks, **kw)

    def get_config(self):
        return {
            **super().get_config(),
            "balancer": keras.saving.serialize_keras_object(self.balancer),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        balancer = keras.saving.deserialize_keras_object(config.pop("balancer"))
        model = super().from_config(config, custom_objects=custom_objects)
        model._take(balancer)
        return model


def balanced(model: keras.Model, balancer: Balancer) -> BalancedModel:
    """A model that finds the weight of each task's loss during `fit`.

    ```python
    model = kd.unet("resnet50", heads=heads)
    training = kd.training.balanced(model, kd.training.UncertaintyWeighting())
    training.compile("adam", **kd.objectives(training))
    training.fit(loader, epochs=60, shuffle=False)
    model.save("trained.keras")  # the network alone; both share their weights
    ```

    The weights are in the logs of `fit` as `<task>_weight` after each epoch, and at any time in
    `training.balancer.current()`. The logged loss of a task is the plain one. `val_loss` contains
    the weights and must not be compared between epochs: watch a metric instead.

    The compiled `loss_weights` multiply the losses before the balancer sees them. In a loop of
    `train_on_batch` instead of `fit`, call `training.balancer.end_epoch()` after each epoch.

    Args:
        model: a functional `keras.Model` with a dict of at least two outputs, such as any builder
            makes from a dict of heads.
        balancer: `UncertaintyWeighting`, `DynamicWeightAverage`, `RandomWeighting` or `LogSum`,
            not yet used for another model. (For fixed weights see `loss_weights` of `compile`, or
            `weight` of a head.)

    Returns:
        A `keras.Model` with the same inputs, outputs, layers and weights, and the attribute
        `balancer`. A `.keras` file holds the state of the balancer as well.

    Raises:
        TypeError: if `balancer` is no balancer.
        ValueError: if the model's output is no dict of at least two, or the balancer is in use.

    Example:

    >>> import numpy as np
    >>> from keras_dense.training import RandomWeighting
    >>> image = keras.Input((None, None, 3))
    >>> outputs = {key: keras.layers.Conv2D(1, 1)(image) for key in ("depth", "edges")}
    >>> model = balanced(keras.Model(image, outputs), RandomWeighting())
    >>> model.compile("sgd", loss={"depth": "mae", "edges": "mse"})
    >>> x, y = np.ones((2, 4, 4, 3)), np.zeros((2, 4, 4, 1))
    >>> history = model.fit(x, {"depth": y, "edges": y}, verbose=0).history
    >>> sorted(history)
    ['depth_loss', 'depth_weight', 'edges_loss', 'edges_weight', 'loss']
    """
    if not isinstance(balancer, Balancer):
        raise TypeError(
            "`balancer` must be UncertaintyWeighting(), DynamicWeightAverage(), RandomWeighting() "
            f"or LogSum(). Received: balancer={balancer!r}"
        )
    outputs = getattr(model, "output", None)
    if not isinstance(outputs, dict) or len(outputs) < 2:
        found = sorted(outputs) if isinstance(outputs, dict) else "a single output"
        raise ValueError(
            "`model` must be a functional model with a dict of at least two outputs: there is "
            f"nothing to balance otherwise. Received a model with: {found}"
        )
    return BalancedModel(model.input, outputs, name=model.name, balancer=balancer)

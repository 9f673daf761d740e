"""What the losses of several tasks weigh in one training, found while it runs."""

import keras
import numpy as np
from keras import ops

from keras_dense import _check

LOG_VARIANCE_LIMIT = 10.0
_EPSILON = 1e-8


class Balancer(keras.layers.Layer):
    """Base of what turns the losses of K tasks into one number to minimise.

    It belongs to one model (`balanced` brings them together), and what it has learned or counted
    is saved with that model. Subclasses implement `total`, and `create` where they have variables
    of their own; they keep `used`, `(K,)`, up to date in training.
    """

    def __init__(self, name=None):
        super().__init__(name=name, dtype="float32")
        self.names = None

    def attach(self, names):
        """Make the variables, for the tasks of these names."""
        if self.names is not None:
            raise ValueError(
                f"`balancer` already balances the tasks {', '.join(self.names)} of a model: make "
                "one for each model."
            )
        self.names = tuple(names)
        self.used = self.variable("used", "ones")
        self.create()
        self.built = True

    def variable(self, name, initializer="zeros", shape=None, aggregation="mean"):
        """A variable that training does not touch, one number a task."""
        shape = (len(self.names),) if shape is None else shape
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer,
            trainable=False,
            aggregation=aggregation,
        )

    def create(self):
        """Make variables besides `used`."""

    def total(self, losses, count, training):
        """What is minimised.

        Args:
            losses: `(K,)`, of a batch. Exactly 0 is a task of which nothing in it is known.
            count: how many images are in the batch, a float32 scalar.
            training: bool.
        """
        raise TypeError(f"{type(self).__name__} must implement total(losses, count, training)")

    def end_epoch(self):
        """What has to be done after an epoch of training; `fit` calls it."""

    def current(self):
        """What the gradient of each task's loss is multiplied by: a dict from names to floats."""
        return dict(zip(self.names, ops.convert_to_numpy(self.used.value).tolist(), strict=True))

    def get_config(self):
        return {"name": self.name}


def _known(losses):
    return ops.cast(ops.not_equal(losses, 0.0), "float32")


@keras.saving.register_keras_serializable("keras_dense")
class UncertaintyWeighting(Balancer):
    """Learned weights: a task whose loss stays large counts less.

    ```
    total = sum_k L_k / (2 exp(s_k)) + s_k / 2
    ```

    The log variances s are trained with the network, by its optimizer, but never decay, and stay
    within ±10. For a constant loss the best is s = ln L, whatever the loss' unit. The total may
    become negative. A task of which a batch knows nothing (its loss is exactly 0) keeps its s.
    Losses should be positive: one that is not (a negative log likelihood) drives s to its limit.

    Args:
        initial: float, where s starts.
        name: name of the layer.

    Raises:
        TypeError, ValueError: if `initial` is no number from -10 to 10.

    Reference: Kendall, Gal, Cipolla, "Multi-task learning using uncertainty to weigh losses",
        CVPR 2018, equation 7; the same form is used for every task here.

    Example:

    >>> balancer = UncertaintyWeighting()
    >>> balancer.attach(["depth", "normals"])
    >>> round(balancer.current()["depth"], 4)  # 1 / (2 exp(-0.5))
    0.8244
    """

    def __init__(self, initial=-0.5, name=None):
        super().__init__(name)
        self.initial = _check.number(initial, "initial", -LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT)

    def create(self):
        self.log_variance = self.add_weight(
            name="log_variance",
            shape=(len(self.names),),
            initializer=keras.initializers.Constant(self.initial),
            # After each step, not in the formula: clipped there, s could not come back.
            constraint=lambda s: ops.clip(s, -LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT),
        )

    def total(self, losses, count, training):
        s = ops.convert_to_tensor(self.log_variance)
        return 0.5 * ops.sum(_known(losses) * (losses * ops.exp(-s) + s))

    def current(self):
        weights = 0.5 * np.exp(-ops.convert_to_numpy(self.log_variance.value))
        return dict(zip(self.names, weights.tolist(), strict=True))

    def get_config(self):
        return {"initial": self.initial, "name": self.name}


@keras.saving.register_keras_serializable("keras_dense")
class DynamicWeightAverage(Balancer):
    """Weights that follow progress: a task whose training loss falls more slowly counts more.

    ```
    w_k = K softmax_k(r_k / temperature),    r_k = L_k(last epoch) / L_k(epoch before it)
    ```

    All are 1 in the first two epochs. L is the mean over an epoch of the training losses, of the
    batches that know something of the task.

    Args:
        temperature: float > 0; the larger, the more alike the weights are.
        name: name of the layer.

    Raises:
        TypeError, ValueError: if `temperature` is no positive number.

    Reference: Liu, Johns, Davison, "End-to-end multi-task learning with attention", CVPR 2019,
        equation 7.

    Example:

    >>> balancer = DynamicWeightAverage()
    >>> balancer.attach(["depth", "normals"])
    >>> for losses in ([2.0, 2.0], [1.0, 2.0]):
    ...     _ = balancer.total(ops.convert_to_tensor(losses), ops.ones(()), training=True)
    ...     balancer.end_epoch()
    >>> [round(weight, 4) for weight in balancer.current().values()]
    [0.8756, 1.1244]
    """

    def __init__(self, temperature=2.0, name=None):
        super().__init__(name)
        self.temperature = _check.number(temperature, "temperature", above=0)

    def create(self):
        self.sums = self.variable("sums", aggregation="sum")
        self.counts = self.variable("counts", aggregation="sum")
        # Of the last two epochs, the last one first; 0 where there was none.
        self.means = self.variable("means", shape=(2, len(self.names)))

    def total(self, losses, count, training):
        if training:
            values = ops.stop_gradient(losses)
            self.sums.assign_add(values * count)
            self.counts.assign_add(_known(values) * count)
        return ops.sum(losses * ops.convert_to_tensor(self.used))

    def end_epoch(self):
        sums, counts, means = (
            ops.convert_to_numpy(v.value).astype("float64")
            for v in (self.sums, self.counts, self.means)
        )
        last = np.where(counts > 0, sums / np.maximum(counts, 1.0), means[0])
        before = means[0]
        ratio = np.where(before > 0, last / np.where(before > 0, before, 1.0), 1.0)
        ratio = np.where(np.isfinite(ratio), ratio, 1.0)
        share = np.exp((ratio - ratio.max()) / self.temperature)
        self.used.assign((len(share) * share / share.sum()).astype("float32"))
        self.means.assign(np.stack([last, before]).astype("float32"))
        self.sums.assign(np.zeros_like(sums, "float32"))
        self.counts.assign(np.zeros_like(counts, "float32"))

    def get_config(self):
        return {"temperature": self.temperature, "name": self.name}


@keras.saving.register_keras_serializable("keras_dense")
class RandomWeighting(Balancer):
    """Weights drawn anew for every step: w = K softmax(z), z from a standard normal distribution.

    Outside training all are 1.

    Args:
        seed: int ≥ 0; the same seed draws the same weights.
        name: name of the layer.

    Raises:
        ValueError: if `seed` is no int ≥ 0.

    Reference: Lin, Ye, Zhang, Tsang, "Reasonable effectiveness of random weighting", TMLR 2022,
        with the weights' sum K instead of 1.

    Example:

    >>> balancer = RandomWeighting(seed=1)
    >>> balancer.attach(["depth", "normals", "color"])
    >>> _ = balancer.total(ops.ones((3,)), ops.ones(()), training=True)
    >>> round(sum(balancer.current().values()), 4)
    3.0
    """

    def __init__(self, seed=0, name=None):
        super().__init__(name)
        self.seed = _check.integer(seed, "seed", low=0)

    def create(self):
        # Spread: with PyTorch, Keras draws for seed 1 what it draws for seed 0 a step later.
        start = int(np.random.SeedSequence(self.seed).generate_state(1)[0]) >> 1
        self.seed_generator = keras.random.SeedGenerator(start)

    def total(self, losses, count, training):
        if not training:
            return ops.sum(losses)
        normal = keras.random.normal((len(self.names),), dtype="float32", seed=self.seed_generator)
        weights = len(self.names) * ops.softmax(normal)
        self.used.assign(weights)
        return ops.sum(losses * weights)

    def save_own_variables(self, store):
        super().save_own_variables(store)
        # Keras does not save it, and would draw the same weights again.
        store["seed"] = ops.convert_to_numpy(self.seed_generator.state.value)

    def load_own_variables(self, store):
        self.seed_generator.state.assign(store["seed"][...])
        super().load_own_variables({key: store[key] for key in store.keys() if key != "seed"})

    def get_config(self):
        return {"seed": self.seed, "name": self.name}


@keras.saving.register_keras_serializable("keras_dense")
class LogSum(Balancer):
    """The sum of the losses' logarithms: no unit and no scale of a loss matters.

    ```
    total = sum_k ln(L_k + 1e-8)
    ```

    So each loss weighs 1 / L. A task of which a batch knows nothing (its loss is exactly 0) is
    left out of it. Losses must be positive: the logarithm of one that is not (a negative log
    likelihood) is NaN.

    Reference: Lin et al., "Dual-balancing for multi-task learning", 2023 (arXiv 2308.12029),
        section 3.1.

    Example:

    >>> balancer = LogSum()
    >>> balancer.attach(["depth", "normals"])
    >>> losses = ops.convert_to_tensor([0.5, 4.0])
    >>> round(float(balancer.total(losses, ops.ones(()), training=True)), 4)  # ln 2
    0.6931
    >>> [round(weight, 4) for weight in balancer.current().values()]
    [2.0, 0.25]
    """

    def total(self, losses, count, training):
        known = _known(losses)
        # A loss that is 0 has no gradient, whatever its weight is.
        safe = ops.where(known > 0, losses, 1.0) + _EPSILON
        if training:
            self.used.assign(ops.stop_gradient(known / safe))
        return ops.sum(known * ops.log(safe))


class _Reduced(keras.losses.Loss):
    """A loss function, such as `"mse"` names, with a mean at its end."""

    def __init__(self, function):
        super().__init__(name=function.__name__)
        self.call = function


def _as_loss(loss):
    loss = keras.losses.get(loss)
    return loss if isinstance(loss, keras.losses.Loss) else _Reduced(loss)


class _Epochs(keras.callbacks.Callback):
    """Writes the weights into the logs of `fit`, and tells the balancer that an epoch is over."""

    def on_epoch_end(self, epoch, logs=None):
        balancer = self.model.balancer
        if logs is not None:
            logs.update({f"{name}_weight": w for name, w in balancer.current().items()})
        balancer.end_epoch()


@keras.saving.register_keras_serializable("keras_dense")
class BalancedModel(keras.Model):
    """A functional model of several outputs whose losses are weighed by a `Balancer`.

    `balanced` makes it, and says all about it.

    Attributes:
        balancer: the `Balancer`; `model.balancer.current()` are the weights.

    ```python
    model = kd.training.balanced(model, kd.training.UncertaintyWeighting())
    model.balancer.current()
    ```
    """

    # Keras restores a functional model only with these arguments in front.
    def __init__(self, inputs, outputs, name=None, *, balancer=None, **kwargs):
        super().__init__(inputs, outputs, name=name, **kwargs)
        self.task_names = tuple(sorted(outputs))
        self.task_trackers = [keras.metrics.Mean(name=f"{key}_loss") for key in self.task_names]
        if balancer is not None:
            self._take(balancer)

    def _take(self, balancer):
        balancer.attach(self.task_names)
        self.balancer = balancer

    def compile(self, optimizer="rmsprop", loss=None, loss_weights=None, **kwargs):
        """As of `keras.Model`; `loss` is a dict with a loss for every output.

        A loss is multiplied by its weight in `loss_weights` before the balancer sees it.
        """
        weights = dict.fromkeys(self.task_names, 1.0) if loss_weights is None else loss_weights
        for key, value in (("loss", loss), ("loss_weights", weights)):
            if not isinstance(value, dict) or sorted(value) != list(self.task_names):
                raise ValueError(
                    f"`{key}` must be a dict with the keys {', '.join(self.task_names)}, as "
                    f"kd.objectives(heads) makes it. Received: {key}={value!r}"
                )
        super().compile(optimizer=optimizer, loss=loss, loss_weights=loss_weights, **kwargs)
        self._tasks = [(_as_loss(loss[key]), weights[key]) for key in self.task_names]
        self._exclude_from_decay(self.optimizer)

    def _exclude_from_decay(self, optimizer):
        inner = (getattr(optimizer, name, None) for name in ("optimizer", "inner_optimizer"))
        for wrapped in inner:
            if wrapped is not None:
                return self._exclude_from_decay(wrapped)
        variables = self.balancer.trainable_variables
        if variables and getattr(optimizer, "weight_decay", None) and not optimizer.built:
            # Keras forgets what was excluded before: hand it on.
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
        total = self.balancer.total(ops.stack(values), count, training)
        for penalty in self.losses:
            total = total + ops.sum(ops.cast(penalty, "float32"))
        return total * share

    def fit(self, x=None, y=None, batch_size=None, epochs=1, verbose="auto", callbacks=None, **kw):
        # First, so that other callbacks see the weights in the logs, and save what has changed.
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


def balanced(model, balancer):
    """A model whose `fit` finds by itself what the loss of each task weighs.

    ```python
    model = kd.unet("resnet50", heads=heads)
    training = kd.training.balanced(model, kd.training.UncertaintyWeighting())
    training.compile("adam", **kd.objectives(heads))
    training.fit(loader, epochs=60, shuffle=False)
    model.save("trained.keras")  # the network alone, which shares the weights
    ```

    The weights are in the logs of `fit` as `<task>_weight`, at each epoch's end, and at any time in
    `training.balancer.current()`. The loss of a task in the logs is the plain one. `val_loss` is
    in the balancer's terms and not to be compared between epochs: watch a metric instead.

    A weight of the compiled `loss_weights` multiplies its loss before the balancer sees it. In a
    loop of `train_on_batch` instead of `fit`, call `training.balancer.end_epoch()` after each
    epoch.

    Args:
        model: a functional `keras.Model` with a dict of at least two outputs, such as any builder
            makes from a dict of heads.
        balancer: `UncertaintyWeighting`, `DynamicWeightAverage`, `RandomWeighting` or `LogSum`,
            not yet used for another model. (Fixed weights need none: see `loss_weights` of
            `compile`, or `weight` of a head.)

    Returns:
        A `keras.Model` with the same inputs, outputs, layers and weights, and the attribute
        `balancer`. It is saved to `.keras` with the balancer's state, and goes on from there.

    Raises:
        TypeError: if `balancer` is none.
        ValueError: if the model's output is no dict of at least two, or the balancer is in use.

    Example:

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

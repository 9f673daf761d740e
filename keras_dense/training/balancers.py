"""Weights for the losses of several tasks, found during training."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_dense import _check
from keras_dense._types import Config, Tensor

LOG_VARIANCE_LIMIT = 10.0
_EPSILON = 1e-8


class Balancer(keras.layers.Layer):
    """Base class: turns the losses of K tasks into one number to minimize.

    A balancer belongs to one model (see `balanced`) and is saved with it. Subclasses implement
    `total`, and `create` if they have variables of their own; they keep `used`, `(K,)`, up to date
    in training.

    ```python
    class Equal(kd.training.Balancer):
        def total(self, losses, count, training):
            return keras.ops.sum(losses)
    ```
    """

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__(name=name, dtype="float32")
        self.names: tuple[str, ...] = ()

    def attach(self, names: Sequence[str]) -> None:
        """Make the variables for tasks of these names."""
        if self.names:
            raise ValueError(
                f"`balancer` already balances the tasks {', '.join(self.names)} of a model: make "
                "one for each model."
            )
        self.names = tuple(names)
        self.used = self.variable("used", "ones")
        self.create()
        self.built = True

    def variable(
        self,
        name: str,
        initializer: str = "zeros",
        shape: tuple | None = None,
        aggregation: str = "mean",
    ) -> keras.Variable:
        """Variable that no optimizer changes, one number for each task."""
        shape = (len(self.names),) if shape is None else shape
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer,
            trainable=False,
            aggregation=aggregation,
        )

    def create(self) -> None:
        """Make variables besides `used`."""

    def total(self, losses: Tensor, count: Tensor, training: bool) -> Tensor:
        """Number to minimize.

        Args:
            losses: `(K,)`, of a batch. A loss of exactly 0 means that the batch has no known
                target for the task.
            count: float32 scalar, the number of images in the batch.
            training: bool.
        """
        raise TypeError(f"{type(self).__name__} must implement total(losses, count, training)")

    def end_epoch(self) -> None:
        """Update after an epoch of training; `fit` calls it."""

    def current(self) -> dict[str, float]:
        """Factor of the gradient of each task's loss, by name."""
        return dict(zip(self.names, ops.convert_to_numpy(self.used.value).tolist(), strict=True))

    def get_config(self) -> Config:
        return {"name": self.name}


def _known(losses: Tensor) -> Tensor:
    return ops.cast(ops.not_equal(losses, 0.0), "float32")


@keras.saving.register_keras_serializable("keras_dense")
class UncertaintyWeighting(Balancer):
    """Learned weights: a task whose loss stays large counts less.

    ```
    total = sum_k L_k / (2 exp(s_k)) + s_k / 2
    ```

    The log variances s are trained with the network, by its optimizer, but without weight decay,
    and stay within ±10. For a constant loss the best is s = ln L, in any unit of the loss. The
    total may become negative. A task without known targets in a batch (its loss is exactly 0)
    keeps its s. Losses should be positive: others (a negative log likelihood) drive s to its
    limit.

    Args:
        initial: float from -10 to 10, the initial s.
        name: str, name of the layer.

    Raises:
        ValueError: if `initial` is no number from -10 to 10.

    Reference: Kendall, Gal, Cipolla, "Multi-task learning using uncertainty to weigh losses",
        CVPR 2018, equation 7; the same form is used for every task here.

    Example:

    >>> balancer = UncertaintyWeighting()
    >>> balancer.attach(["depth", "normals"])
    >>> round(balancer.current()["depth"], 4)  # 1 / (2 exp(-0.5))
    0.8244
    """

    def __init__(self, initial: float = -0.5, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.initial = _check.number(initial, "initial", -LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT)

    def create(self) -> None:
        self.log_variance = self.add_weight(
            name="log_variance",
            shape=(len(self.names),),
            initializer=keras.initializers.Constant(self.initial),
            # After each step, not in the formula: clipped there, s could not come back.
            constraint=lambda s: ops.clip(s, -LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT),
        )

    def total(self, losses: Tensor, count: Tensor, training: bool) -> Tensor:
        s = ops.convert_to_tensor(self.log_variance)
        return 0.5 * ops.sum(_known(losses) * (losses * ops.exp(-s) + s))

    def current(self) -> dict[str, float]:
        weights = 0.5 * np.exp(-ops.convert_to_numpy(self.log_variance.value))
        return dict(zip(self.names, weights.tolist(), strict=True))

    def get_config(self) -> Config:
        return {"initial": self.initial, "name": self.name}


@keras.saving.register_keras_serializable("keras_dense")
class DynamicWeightAverage(Balancer):
    """Weights by progress: a task whose training loss falls more slowly counts more.

    ```
    w_k = K softmax_k(r_k / temperature),    r_k = L_k(last epoch) / L_k(epoch before it)
    ```

    All are 1 in the first two epochs. L is the mean of the training loss over the batches of an
    epoch that have known targets for the task.

    Args:
        temperature: float > 0; larger values make the weights more alike.
        name: str, name of the layer.

    Raises:
        ValueError: if `temperature` is no positive number.

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

    def __init__(self, temperature: float = 2.0, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.temperature = _check.number(temperature, "temperature", above=0)

    def create(self) -> None:
        self.sums = self.variable("sums", aggregation="sum")
        self.counts = self.variable("counts", aggregation="sum")
        # Of the last two epochs, the latest first; 0 before there is one.
        self.means = self.variable("means", shape=(2, len(self.names)))

    def total(self, losses: Tensor, count: Tensor, training: bool) -> Tensor:
        if training:
            values = ops.stop_gradient(losses)
            self.sums.assign_add(values * count)
            self.counts.assign_add(_known(values) * count)
        return ops.sum(losses * ops.convert_to_tensor(self.used))

    def end_epoch(self) -> None:
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

    def get_config(self) -> Config:
        return {"temperature": self.temperature, "name": self.name}


@keras.saving.register_keras_serializable("keras_dense")
class RandomWeighting(Balancer):
    """Random weights, new in every step: w = K softmax(z), z from a standard normal distribution.

    Outside training all are 1.

    Args:
        seed: int >= 0; the same seed draws the same weights.
        name: str, name of the layer.

    Raises:
        ValueError: if `seed` is no integer >= 0.

    Reference: Lin, Ye, Zhang, Tsang, "Reasonable effectiveness of random weighting", TMLR 2022,
        with the weights' sum K instead of 1.

    Example:

    >>> balancer = RandomWeighting(seed=1)
    >>> balancer.attach(["depth", "normals", "color"])
    >>> _ = balancer.total(ops.ones((3,)), ops.ones(()), training=True)
    >>> round(sum(balancer.current().values()), 4)
    3.0
    """

    def __init__(self, seed: int = 0, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.seed = _check.integer(seed, "seed", low=0)

    def create(self) -> None:
        # Hashed: with PyTorch, Keras draws for seed 1 the numbers of seed 0 one step later.
        start = int(np.random.SeedSequence(self.seed).generate_state(1)[0]) >> 1
        self.seed_generator = keras.random.SeedGenerator(start)

    def total(self, losses: Tensor, count: Tensor, training: bool) -> Tensor:
        if not training:
            return ops.sum(losses)
        normal = keras.random.normal((len(self.names),), dtype="float32", seed=self.seed_generator)
        weights = len(self.names) * ops.softmax(normal)
        self.used.assign(weights)
        return ops.sum(losses * weights)

    def save_own_variables(self, store):
        super().save_own_variables(store)
        # Keras does not save the state, and would draw the same weights again.
        store["seed"] = ops.convert_to_numpy(self.seed_generator.state.value)

    def load_own_variables(self, store):
        self.seed_generator.state.assign(store["seed"][...])
        super().load_own_variables({key: store[key] for key in store.keys() if key != "seed"})

    def get_config(self) -> Config:
        return {"seed": self.seed, "name": self.name}


@keras.saving.register_keras_serializable("keras_dense")
class LogSum(Balancer):
    """Sum of the losses' logarithms, which no unit or scale of a loss changes.

    ```
    total = sum_k ln(L_k + 1e-8)
    ```

    Each loss has the weight 1 / L. A task without known targets in a batch (its loss is exactly 0)
    is left out. Losses must be positive: others (a negative log likelihood) give NaN.

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

    def total(self, losses: Tensor, count: Tensor, training: bool) -> Tensor:
        known = _known(losses)
        # A loss of 0 has no gradient at any weight.
        safe = ops.where(known > 0, losses, 1.0) + _EPSILON
        if training:
            self.used.assign(ops.stop_gradient(known / safe))
        return ops.sum(known * ops.log(safe))

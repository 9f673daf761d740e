"""Learning rates that differ between layers."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras

from keras_dense import _check
from keras_dense._types import Config, Tensor
from keras_dense.training.batch_norm import sublayers


def layerwise(
    model: keras.Model,
    optimizer: Any,
    multipliers: Mapping[str, float] | Callable[[keras.Variable], float],
) -> "LayerwiseOptimizer":
    """Optimizer with a learning rate that differs between layers.

    The usual recipe trains new layers at the full rate and the pretrained backbone at a tenth:

    ```python
    schedule = keras.optimizers.schedules.PolynomialDecay(0.01, steps, 0.0, power=0.9)
    optimizer = keras.optimizers.SGD(schedule, momentum=0.9)
    model.compile(kd.training.layerwise(model, optimizer, {"backbone": 0.1}), ...)
    ```

    The multipliers belong to the present trainable variables of the model: freeze layers first,
    then call this, then `compile`.

    Args:
        model: the Keras model to train, already built.
        optimizer: any Keras optimizer, with any schedule, clipping or weight decay.
        multipliers: dict from layer names to factors >= 0 (a layer inside a nested model is
            `"outer/inner"`; a name includes all layers inside; the longest matching name decides;
            other layers have 1), or a function from a variable to its factor, such as
            `lambda v: 2.0 if v.name == "bias" else 1.0`.

    Returns:
        A `LayerwiseOptimizer`.

    Raises:
        TypeError: for an argument of another type.
        ValueError: if the model has nothing to train, a name is not a layer of it, or a factor is
            negative.

    Reference: Chen et al., "DeepLab", ICLR 2015 (arXiv 1412.7062), section 4.1: the classifier's
    rate is ten times the backbone's. Long et al., "FCN", CVPR 2015, section 4.3: biases learn at
    twice the rate.

    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="backbone"),
    ...                           keras.layers.Dense(1, name="head")])
    >>> layerwise(model, keras.optimizers.SGD(0.1), {"backbone": 0.1}).multipliers
    [0.1, 0.1, 1.0, 1.0]
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"`model` must be a Keras model. Received: model={model!r}")
    variables = model.trainable_variables
    if not variables:
        raise ValueError(
            f"Model '{model.name}' has no trainable variables: build it first, and leave some "
            "layers unfrozen."
        )
    if callable(multipliers):
        factors = [multipliers(variable) for variable in variables]
    elif isinstance(multipliers, Mapping):
        factors = _by_name(model, variables, multipliers)
    else:
        raise TypeError(
            "`multipliers` must be a dict from layer names to factors, or a function from a "
            f"variable to its factor. Received: multipliers={multipliers!r}"
        )
    return LayerwiseOptimizer(optimizer, factors)


def _by_name(model: keras.Model, variables: list, multipliers: Mapping[str, float]) -> list:
    layers = sublayers(model)
    unknown = [name for name in multipliers if name not in layers]
    if unknown:
        raise ValueError(
            f"`multipliers` names {unknown}, which '{model.name}' does not have. Its layers: "
            f"{[layer.name for layer in model.layers]} (a layer inside one is 'outer/inner')."
        )
    factors = {id(variable): 1.0 for variable in variables}
    for name in sorted(multipliers, key=lambda name: name.count("/")):  # inner ones last: they win
        for variable in layers[name].trainable_variables:
            factors[id(variable)] = multipliers[name]
    return [factors[id(variable)] for variable in variables]


@keras.saving.register_keras_serializable("keras_dense")
class LayerwiseOptimizer(keras.optimizers.Optimizer):
    """Wrap an optimizer and scale its step on each variable.

        w ← w + m · (w' − w),    w' the wrapped optimizer's update of w

    Every Keras optimizer takes steps proportional to its learning rate (decoupled weight decay
    included), so each variable is trained at m times the rate. A factor of 1 leaves the variable to
    the wrapped optimizer, bit for bit; 0 freezes it. Clipping by global norm sees all gradients
    together, as without factors. Schedules, gradient accumulation, loss scaling and `.keras` files
    work as with the wrapped optimizer, which holds all of the state.

    `keras.optimizers.MultiOptimizer` is an alternative: one optimizer for each group, chosen by the
    variables' paths. Variables of a nested model do not have that model's name in their path, so
    `"backbone/.*"` would match none.

    Args:
        optimizer: a Keras optimizer.
        multipliers: a factor >= 0 for each trainable variable, in the order of
            `model.trainable_variables`. `layerwise` makes this list from names of layers.
        name: str, name of the optimizer.

    Raises:
        TypeError: if `optimizer` is not a Keras optimizer.
        ValueError: if a factor is negative or not a number; for an optimizer with `use_ema`, whose
            average would follow the unscaled steps; for a `LossScaleOptimizer`, which belongs
            outside (`compile` adds it); when built for another number of variables.

    >>> optimizer = LayerwiseOptimizer(keras.optimizers.SGD(0.5), [1.0, 0.1])
    >>> a, b = keras.Variable(1.0), keras.Variable(1.0)
    >>> optimizer.apply([keras.ops.ones(()), keras.ops.ones(())], [a, b])
    >>> [round(float(v.numpy()), 4) for v in (a, b)]
    [0.5, 0.95]
    """

    def __init__(
        self, optimizer: Any, multipliers: Iterable[float], *, name: str | None = None
    ) -> None:
        if not isinstance(optimizer, keras.optimizers.Optimizer):
            optimizer = keras.optimizers.get(optimizer)
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            raise ValueError(
                "Give the plain optimizer and let `compile` (or you) put `LossScaleOptimizer` "
                f"around the result. Received: optimizer={optimizer!r}"
            )
        if getattr(optimizer, "use_ema", False):
            raise ValueError(
                "An optimizer with `use_ema=True` averages weights before their step is scaled. "
                "Leave `use_ema` out. Received an optimizer with use_ema=True."
            )
        factors = [_check.number(factor, "multipliers", 0) for factor in multipliers]
        super().__init__(learning_rate=0.0, name=name)
        self.optimizer = optimizer
        self.multipliers = factors

    def build(self, variables: list) -> None:
        if len(variables) != len(self.multipliers):
            raise ValueError(
                f"The {len(self.multipliers)} multipliers were made for as many trainable "
                f"variables, and the model now trains {len(variables)}. Call "
                "`keras_dense.training.layerwise` again after freezing or unfreezing layers."
            )
        if not self.optimizer.built:
            self.optimizer.build(variables)
        super().build(variables)
        # In a function, since Keras tracks any list of variables as its own state.
        targets = {id(v): m for v, m in zip(variables, self.multipliers, strict=True) if m != 1.0}
        self._factor_of = lambda variable: targets.get(id(variable), 1.0)
        everything = tuple(variables)
        self._all_variables = lambda: everything

    def apply(self, grads: list, trainable_variables: Any = None) -> None:
        given = None if trainable_variables is None else list(trainable_variables)
        if not self.built:
            self.build(given or [])
        variables = self._all_variables() if given is None else given
        before = [
            (variable, factor, keras.ops.copy(variable.value))
            for variable in variables
            if (factor := self._factor_of(variable)) != 1.0
        ]
        self.optimizer.apply(grads, variables)
        for variable, factor, old in before:
            step = keras.ops.subtract(variable.value, old)
            variable.assign(keras.ops.add(old, keras.ops.multiply(step, factor)) if factor else old)

    @property
    def variables(self):
        return self.optimizer.variables

    @property
    def learning_rate(self):
        """The wrapped optimizer's rate: the one with a multiplier of 1."""
        return self.optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, value):
        self.optimizer.learning_rate = value

    @property
    def iterations(self):
        return self.optimizer.iterations

    @property
    def loss_scale_factor(self):
        # Absent while the base class is still constructing itself.
        return self.optimizer.loss_scale_factor if hasattr(self, "optimizer") else None

    @loss_scale_factor.setter
    def loss_scale_factor(self, value):
        if hasattr(self, "optimizer"):
            self.optimizer.loss_scale_factor = value

    def scale_loss(self, loss: Tensor) -> Tensor:
        return self.optimizer.scale_loss(loss)

    def finalize_variable_values(self, var_list):
        self.optimizer.finalize_variable_values(var_list)

    def get_config(self) -> Config:
        return {
            "name": self.name,
            "optimizer": keras.saving.serialize_keras_object(self.optimizer),
            "multipliers": list(self.multipliers),
        }

    @classmethod
    def from_config(
        cls, config: Config, custom_objects: dict | None = None
    ) -> "LayerwiseOptimizer":
        config = dict(config)
        optimizer = keras.saving.deserialize_keras_object(
            config.pop("optimizer"), custom_objects=custom_objects
        )
        return cls(optimizer, **config)

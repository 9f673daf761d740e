"""A copy of a network whose weights are averages over steps of training."""

from collections.abc import Sequence

import keras
from keras import ops


@keras.saving.register_keras_serializable("keras_dense")
class MovingAverage(keras.layers.Layer):
    """A copy of a network whose weights are averages over steps of training.

    Args:
        network: the network; it is copied, with its weights.
        momentum: float from 0 to below 1.

    ```python
    average = MovingAverage(model, momentum=0.99)
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

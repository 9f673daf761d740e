"""Batch norm added to a network without it."""

import keras
from keras import layers

from keras_dense import _check
from keras_dense.surgery.effect import CONVOLUTIONS
from keras_dense.surgery.graph import maker_of, rebuild

_ACTIVATIONS = (layers.Activation, layers.ReLU, layers.LeakyReLU, layers.ELU, layers.PReLU)
# Activations of scores and gates, which are not normalized.
_LEFT_ALONE = tuple(
    getattr(keras.activations, name) for name in ("linear", "softmax", "sigmoid", "hard_sigmoid")
)


def insert_batch_norm(
    model: keras.Model, *, epsilon: float = 1e-5, name: str | None = None
) -> keras.Model:
    """A network with a batch norm between each convolution and its activation.

    Convolutions with an activation of their own are split; where the activation is a layer, the
    batch norm comes between both; where there is a batch norm already, nothing changes. Biases
    stay. A fresh batch norm is the identity (but for `epsilon`): in inference, the network computes
    the same as before.

    Args:
        model: functional `keras.Model`, nested models included.
        epsilon: float >= 0, of the new layers.
        name: str, the name of the new model; default: that of `model`.

    Returns:
        A `keras.Model` with the output structure of `model`, with copies of the weights. The batch
        norm of a convolution "x" is called "x_bn", its activation "x_relu" (or by its own name).

    Raises:
        TypeError: for a model whose graph cannot be read.

    >>> image = keras.Input((None, None, 3))
    >>> model = keras.Model(image, layers.Conv2D(4, 3, activation="relu", name="conv1")(image))
    >>> [x.name for x in insert_batch_norm(model).layers[1:]]
    ['conv1', 'conv1_bn', 'conv1_relu']
    """
    epsilon = _check.number(epsilon, "epsilon", low=0)

    def normalized(x, op, copies):
        name = copies.name(f"{op.name}_bn")
        axis = 1 if op.data_format == "channels_first" else -1
        return layers.BatchNormalization(axis, epsilon=epsilon, name=name, dtype=op.dtype_policy)(x)

    def rewrite(node, copies, *args, **kwargs):
        op = node.operation
        if isinstance(op, CONVOLUTIONS) and op.activation not in _LEFT_ALONE:
            x = copies(op, *args, config={"activation": "linear"}, **kwargs)
            kind = getattr(op.activation, "__name__", "activation")
            activate = layers.Activation(
                op.activation, name=copies.name(f"{op.name}_{kind}"), dtype=op.dtype_policy
            )
            return activate(normalized(x, op, copies))
        if isinstance(op, _ACTIVATIONS) and getattr(op, "activation", None) not in _LEFT_ALONE:
            before = maker_of(args[0])
            if isinstance(before, CONVOLUTIONS) and before.activation is keras.activations.linear:
                return copies(op, normalized(args[0], before, copies), *args[1:], **kwargs)
        return None

    return rebuild(model, rewrite, name=name)

"""Batch norm for networks that were built without it."""

import keras
from keras import layers

from keras_dense.surgery.graph import rebuild
from keras_dense.surgery.strides import CONVOLUTIONS

_ACTIVATIONS = (layers.Activation, layers.ReLU, layers.LeakyReLU, layers.ELU, layers.PReLU)
# Of scores and gates, which are not normalized.
_LEFT_ALONE = tuple(
    getattr(keras.activations, name) for name in ("linear", "softmax", "sigmoid", "hard_sigmoid")
)


def insert_batch_norm(model, epsilon=1e-5, name=None):
    """A network with a batch norm between each convolution and its activation.

    Convolutions with an activation of their own are split; a convolution whose activation is a
    layer gets its batch norm between both; where one is already, nothing changes. Biases stay. A
    fresh batch norm is the identity (but for `epsilon`): in inference the network computes what
    it did.

    Args:
        model: functional `keras.Model`, nested models included.
        epsilon: of the new layers.
        name: name of the new model.

    Returns:
        A `keras.Model` with the output structure of `model`, with copies of the weights. The batch
        norm of a convolution "x" is called "x_bn", its activation "x_relu" (or what it is).

    Raises:
        TypeError: for a model whose graph cannot be read.

    >>> image = keras.Input((None, None, 3))
    >>> model = keras.Model(image, layers.Conv2D(4, 3, activation="relu", name="conv1")(image))
    >>> [x.name for x in insert_batch_norm(model).layers[1:]]
    ['conv1', 'conv1_bn', 'conv1_relu']
    """

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
            before = args[0]._keras_history.operation
            if isinstance(before, CONVOLUTIONS) and before.activation is keras.activations.linear:
                return copies(op, normalized(args[0], before, copies), *args[1:], **kwargs)
        return None

    return rebuild(model, rewrite, name=name)

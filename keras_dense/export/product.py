"""The graph that leaves, the same for all formats: images in, what people use out."""

import json

import keras
import numpy as np
from keras import layers

from keras_dense.export.outputs import described, handed_out, name_of
from keras_dense.heads import Auxiliary
from keras_dense.surgery import fold_batch_norm, rebuild
from keras_dense.surgery.graph import functional

_SETTINGS = ("initializer", "regularizer", "constraint")


class Product:
    """A model made ready to leave.

    Auxiliary heads and what only they need are left out, batch norms are folded into
    convolutions, those with a group for each channel become depthwise, mixed precision becomes
    float32, dropout does nothing in inference.

    Args:
        model: functional `keras.Model` of one image.
        heads: the heads it was built with.
        size: `(height, width)` or `(None, None)`.
        batch: int, or `None` for any.
    """

    def __init__(self, model, heads, size, batch=None):
        self.name = model.name
        self.single = not isinstance(heads, dict)
        self.heads = {None: heads} if self.single else _final(heads)
        self.shape = (batch, *size, model.input_shape[-1])
        # In float32, so that a comparison shows what the other runtime does.
        self.model = _in_float32(self._pruned(functional(model)))
        self.network = _depthwise(fold_batch_norm(self.model))

    def _pruned(self, model):
        outputs = model.output
        if not self.single:
            outputs = {key: outputs[key] for key in self.heads}
        return keras.Model(model.input, outputs, name=model.name)

    @property
    def about(self):
        """What the input and the outputs are, as JSON."""
        outputs = {
            name_of(key, kind): facts
            for key, head in self.heads.items()
            for kind, facts in described(head).items()
        }
        image = {"dtype": "uint8", "range": [0, 255], "shape": self.shape}
        if self.shape[-1] == 3:
            image["channels"] = "RGB"
        about = {"model": self.name, "inputs": {"images": image}, "outputs": outputs}
        return json.dumps(about, ensure_ascii=False)

    def raw(self, images, model=None):
        """`{key: prediction}` as the model gives them; that of a single head is "prediction"."""
        import tensorflow as tf

        y = (model or self.network)(tf.cast(images, tf.float32), training=False)
        return {"prediction": y} if self.single else y

    def __call__(self, images, model=None):
        """`{name: tensor}` of a batch of images, uint8."""
        import tensorflow as tf

        predictions = self.raw(images, model)
        floats = tf.cast(images, tf.float32)
        return {
            name_of(key, kind): y
            for key, head in self.heads.items()
            for kind, y in handed_out(head, predictions[key or "prediction"], floats).items()
        }

    def reference(self, images):
        """The same as arrays from the model that was given, for comparison."""
        return {key: np.asarray(y) for key, y in self(images, self.model).items()}

    def function(self, call=None):
        """A `tf.function` of images, of `__call__` or another method."""
        import tensorflow as tf

        spec = tf.TensorSpec(self.shape, tf.uint8, name="images")
        return tf.function(call or self.__call__, input_signature=[spec])

    def save(self, folder, signatures, **assets):
        """Write a SavedModel."""
        import tensorflow as tf

        module = tf.Module()
        module.weights = [weight.value for weight in self.network.variables]
        module.functions = list(signatures.values())
        for name, file in assets.items():
            setattr(module, name, tf.saved_model.Asset(str(file)))
        tf.saved_model.save(module, str(folder), signatures=signatures)


def _final(heads):
    return {key: head for key, head in heads.items() if not isinstance(head, Auxiliary)}


def _in_float32(model):
    """The network itself, or the same with the same weights where some of it computes in less."""

    def less(op):
        return getattr(op, "compute_dtype", "float32") in ("float16", "bfloat16")

    if not any(less(layer) for layer in model._flatten_layers()):
        return model

    def rewrite(node, copies, *args, **kwargs):
        if less(node.operation):
            return copies(node.operation, *args, config={"dtype": "float32"}, **kwargs)
        return None

    return rebuild(model, rewrite)


def _depthwise(model):
    """The network with depthwise convolutions for those that have a group for each channel.

    Keras compiles these by XLA, which only TensorFlow can run.
    """

    def rewrite(node, copies, *args, **kwargs):
        op = node.operation
        if type(op) is not layers.Conv2D or op.groups == 1 or op.kernel.shape[2] > 1:
            return None
        if op.strides[0] != op.strides[1]:
            return None
        multiplier = op.filters // op.groups
        ours = ("filters", "groups", *(f"kernel_{x}" for x in _SETTINGS))
        config = {**dict.fromkeys(ours), "depth_multiplier": multiplier}
        kernel, *bias = op.get_weights()
        kernel = kernel.reshape(*kernel.shape[:2], op.groups, multiplier)
        kind = layers.DepthwiseConv2D
        return copies(op, *args, kind=kind, config=config, weights=[kernel, *bias], **kwargs)

    return rebuild(model, rewrite)

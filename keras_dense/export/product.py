"""The graph of all exports: images in, results out."""

import json

import keras
import numpy as np
from keras import layers

from keras_dense.export.rewrites import depthwise, in_float32, resized
from keras_dense.layers import BilinearInitConvTranspose, BilinearUpsampling, CropLike
from keras_dense.layers.head_output import HeadOutput
from keras_dense.surgery import fold_batch_norm, rebuild
from keras_dense.surgery.graph import functional

_UPSAMPLING = (BilinearUpsampling, BilinearInitConvTranspose)


class Product:
    """A model prepared for export.

    Auxiliary heads and all that only they need are left out, batch norms are folded into
    convolutions, those with a group for each channel become depthwise, upsampling becomes the
    resizing that runtimes have, mixed precision becomes float32, dropout does nothing in inference.

    Args:
        model: functional `keras.Model` of one image.
        heads: its `Heads`.
        size: `(height, width)` or `(None, None)`.
        batch: int, or `None` for any.
        early_labels: bool, whether labels are decided before the last upsampling.
    """

    def __init__(self, model, heads, size, batch=None, early_labels=False):
        self.name = model.name
        self.heads = heads.final()
        self.shape = (batch, *size, model.input_shape[-1])
        # In float32, so that a comparison shows only differences of the other runtime.
        self.model = in_float32(self._pruned(functional(model)))
        self.factors = {}
        self.expected = self._with_coarse_scores() if early_labels else self.model
        self.network = resized(depthwise(fold_batch_norm(self.expected)))

    def _pruned(self, model):
        outputs = self.heads.pack(self.heads.unpack(model.output))
        return keras.Model(model.input, outputs, name=model.name)

    def _with_coarse_scores(self):
        """The model with one more output for each segmentation: its scores before they grow."""
        flat, coarse = rebuild(self.model), {}
        outputs = self.heads.unpack(flat.output)
        for key, head in self.heads.items():
            if head.coarse_labels:
                y, self.factors[key] = _before_upsampling(outputs[key])
                coarse[key or "prediction"] = y
        if not coarse:
            raise ValueError("`early_labels=True` needs a head that predicts labels.")
        return keras.Model(flat.input, (flat.output, coarse), name=flat.name)

    @property
    def labels(self) -> set[str]:
        """Names of the outputs that hold labels: classes, not quantities."""
        return {
            _name_of(key, kind)
            for key, head in self.heads.items()
            for kind, facts in head.about().items()
            if "classes" in facts
        }

    @property
    def about(self) -> str:
        """Description of the input and the outputs, as JSON."""
        outputs = {
            _name_of(key, kind): facts
            for key, head in self.heads.items()
            for kind, facts in head.about().items()
        }
        image = {"dtype": "uint8", "range": [0, 255], "shape": self.shape}
        if self.shape[-1] == 3:
            image["channels"] = "RGB"
        about = {"model": self.name, "inputs": {"images": image}, "outputs": outputs}
        return json.dumps(about, ensure_ascii=False)

    def raw(self, images, model=None):
        """`{key: prediction}` as the model gives them; that of a single head is "prediction"."""
        return self._predicted(images, model)[0]

    def _predicted(self, images, model=None):
        """Predictions, and the coarse scores of the heads that have them."""
        import tensorflow as tf

        model = model or self.network
        y, coarse = model(tf.cast(images, tf.float32), training=False), {}
        if self.factors and model is not self.model:
            y, coarse = y
        return ({"prediction": y} if self.heads.single else y), coarse

    def __call__(self, images, model=None):
        """`{name: tensor}` of a batch of images, uint8."""
        import tensorflow as tf

        predictions, coarse = self._predicted(images, model)
        floats, outputs = tf.cast(images, tf.float32), {}
        for key, head in self.heads.items():
            of = key or "prediction"
            found = head.outputs(coarse.get(of, predictions[of]), floats)
            if of in coarse:
                found = {k: _repeated(y, self.factors[key], images) for k, y in found.items()}
            outputs.update({_name_of(key, kind): y for kind, y in found.items()})
        return outputs

    def reference(self, images, model=None):
        """The same as arrays, of the model that was given or of another, for comparison."""
        return {key: np.asarray(y) for key, y in self(images, model or self.model).items()}

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


def _name_of(key, kind):
    """The name of an output: its kind, after the key of its head where that is another word."""
    return kind if key in ("", kind) else f"{key}_{kind}"


def _before_upsampling(y):
    """The scores that were upsampled last to make a prediction, and by how much."""
    operation = None
    while not isinstance(operation, _UPSAMPLING):
        operation, index, _ = y._keras_history
        if not isinstance(operation, (layers.Activation, CropLike, HeadOutput, *_UPSAMPLING)):
            raise ValueError(
                "`early_labels=True` is for a model that ends in bilinear upsampling, fixed or "
                f"learned. Received: one that ends in {type(operation).__name__} "
                f"{operation.name!r}"
            )
        y = operation._inbound_nodes[index].input_tensors[0]
    if getattr(operation, "filters", y.shape[-1]) != y.shape[-1]:
        raise ValueError(f"`early_labels=True`: {operation.name!r} changes the number of channels.")
    return y, operation.factor


def _repeated(y, factor, images):
    """A map `(B, h, w, …)` with each cell repeated, cut to the size of the images."""
    import tensorflow as tf

    size = tf.shape(images)
    y = tf.repeat(tf.repeat(y, factor[0], axis=1), factor[1], axis=2)
    return y[:, : size[1], : size[2]]

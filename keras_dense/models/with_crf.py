"""A network that ends in a conditional random field (CRF-as-RNN).

Zheng et al., "Conditional Random Fields as Recurrent Neural Networks", ICCV 2015.
"""

from typing import Any

import keras

from keras_dense.layers import CRFasRNN
from keras_dense.models.taken_output import take_output


def with_crf(
    model: keras.Model, key: str | None = None, *, name: str | None = None, **settings: Any
) -> keras.Model:
    """Add a dense CRF to the end of a network, which refines its scores with the image.

    The new model shares layers and weights with `model`, so training one trains the other. Both
    parts are trained jointly, unless the layers of the network are frozen:

        joint = kd.with_crf(model)
        for layer in model.layers:
            layer.trainable = False  # before `compile`; now only the CRF learns

    Args:
        model: a model from an image `(B, H, W, channels)`, 0–255, to logits `(B, H, W, C)` of the
            same size over at least 2 classes, or to a dict of outputs, such as any builder returns.
        key: str, the output that the CRF refines; needed for a dict of several segmentations.
        name: str, name of the new model.
        **settings: arguments of `kd.layers.CRFasRNN`: `iterations`, `theta_alpha`, …

    Returns:
        A `keras.Model` with the same input and output structure. Its layer "crf" is the `CRFasRNN`;
        set `model.get_layer("crf").iterations = 10` to predict, and compile anew.

    Raises:
        ValueError: for a `key` that the model does not have, or outputs that are no scores of at
            least 2 classes at the size of the image.
        TypeError: for a model whose graph cannot be read, or with several inputs.

    Reference: Zheng et al., ICCV 2015, section 5.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> model = kd.with_crf(kd.fcn8s(backbone, 5), theta_beta=10.0)
    >>> model.output_shape, model.get_layer("crf").iterations
    ((None, None, None, 5), 5)
    """
    taken = take_output(model, key, "the CRF refines")
    crf = CRFasRNN(**settings, dtype="float32", name="crf")
    return taken.replaced(crf(taken.scores, taken.model.input), "crf", name)

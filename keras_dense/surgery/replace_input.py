"""Another number of input channels for a pretrained network."""

import keras
import numpy as np
from keras import layers

from keras_dense.layers import PadToMultiple, Standardize
from keras_dense.surgery.feature_pyramid import image_of, resized
from keras_dense.surgery.graph import functional, rebuild

_CHANNELWISE = (
    layers.Activation,
    layers.Cropping2D,
    layers.Dropout,
    layers.Identity,
    layers.ZeroPadding2D,
    PadToMultiple,
)


def _spread(stored, channels):
    """Values for each stored channel, as values for `channels` of them."""
    if np.ndim(stored) == 0:
        return stored
    stored = np.asarray(stored, "float64").reshape(-1)
    if channels == 1:
        return [float(stored.mean())]
    return [float(stored[i % len(stored)]) for i in range(channels)]


def _spread_kernel(kernel, channels):
    """A kernel `(h, w, C, …)` for another C, that answers gray images as before."""
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True)
    stored = kernel.shape[2]
    return kernel[:, :, np.arange(channels) % stored] * (stored / channels)


class _Adapter:
    """The rewriting: follows the raw channels up to the first convolutions and changes these."""

    def __init__(self, channels, image, stored):
        self.channels = channels
        # For tensors that still have the image's channels: which of the RGB each one is.
        self.raw = {id(image): list(range(stored))}
        self.adapted = False

    def __call__(self, node, copies, *args, **kwargs):
        op, x = node.operation, args[0] if args else None
        order = self.raw.get(id(x))
        if order is None:
            return None
        if (
            isinstance(op, (layers.Conv2D, layers.SeparableConv2D))
            and getattr(op, "groups", 1) == 1
        ):
            kernel, *others = op.get_weights()
            kernel = _spread_kernel(kernel[:, :, np.argsort(order)], self.channels)
            self.adapted = True
            return copies(op, *args, weights=[kernel, *others], **kwargs)
        if isinstance(op, Standardize):
            mean, std = (_spread(value, self.channels) for value in (op.mean, op.std))
            outputs = copies(
                op, x, config={"mean": mean, "std": std, "reverse_channels": False}, **kwargs
            )
            order = order[::-1] if op.reverse_channels else order
        elif isinstance(op, layers.Rescaling):
            config = {key: _spread(getattr(op, key), self.channels) for key in ("scale", "offset")}
            outputs = copies(op, x, config=config, **kwargs)
        elif isinstance(op, layers.Normalization):
            outputs = self.normalization(op, copies, x)
        elif isinstance(op, _CHANNELWISE) or not (getattr(op, "weights", ()) or _mixes(node)):
            outputs = copies(op, *args, **kwargs)
        else:
            raise ValueError(
                f"The input of the network goes through {op.name!r} ({type(op).__name__}) before "
                "its first convolution, and that layer cannot be given another number of channels."
            )
        self.raw[id(outputs)] = order
        return outputs

    def normalization(self, op, copies, x):
        mean, variance = (np.ravel(np.asarray(v)) for v in _statistics(op))
        spread = {
            "mean": _spread(mean, self.channels),
            "variance": _spread(variance, self.channels),
        }
        new = layers.Normalization(
            axis=-1, invert=op.invert, dtype=op.dtype_policy, name=copies.name(op.name), **spread
        )
        return new(x)


def _mixes(node):
    return (
        len(node.input_tensors) != 1
        or node.outputs[0].shape[-1:] != node.input_tensors[0].shape[-1:]
    )


def _statistics(op):
    return keras.ops.convert_to_numpy(op.mean), keras.ops.convert_to_numpy(op.variance)


def replace_input(model, channels, name=None):
    """A pretrained network for images with another number of channels.

    The first convolution is adapted: for one channel its kernel is summed over RGB, so that a
    gray image is answered as its RGB copy was; for other numbers the RGB parts are repeated in
    turn (R, G, B, R, …) and scaled by 3/n, so that the size of the response stays. Standardizing
    layers before it follow (a mean over RGB for one channel: exact where RGB are standardized
    alike). All other weights are kept.

    Args:
        model: functional `keras.Model` of one image `(B, H, W, C)`.
        channels: int ≥ 1, the new number of channels. Channels count in RGB order even where the
            network turns them into BGR inside.
        name: name of the new model.

    Returns:
        A `keras.Model` for images `(B, H, W, channels)` of any size, with copies of the weights.

    Raises:
        TypeError: for a model whose graph cannot be read.
        ValueError: for channels below 1, or a first layer that cannot be adapted (named).

    >>> import keras
    >>> app = keras.applications.MobileNetV2(weights=None, include_top=False, alpha=0.35)
    >>> replace_input(app, 4).input_shape
    (None, None, None, 4)
    """
    if not isinstance(channels, int) or channels < 1:
        raise ValueError(f"`channels` must be an integer >= 1. Received: channels={channels!r}")
    model = functional(model)
    image = resized(image_of(model), channels=channels)
    adapter = _Adapter(channels, image, image_of(model).shape[-1])
    new = rebuild(model, adapter, image, name)
    if not adapter.adapted:
        raise ValueError(f"{model.name!r} has no convolution that reads the image.")
    return new

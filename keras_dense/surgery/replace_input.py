"""Another number of input channels for a pretrained network."""

import keras
import numpy as np
from keras import layers

from keras_dense import _check
from keras_dense.layers import PadToMultiple, Standardize
from keras_dense.layers.rotary import RotaryPositions
from keras_dense.layers.tokens import PatchTokens
from keras_dense.surgery.feature_pyramid import image_of, resized
from keras_dense.surgery.graph import functional, rebuild
from keras_dense.surgery.top import flattens

_CHANNELWISE = (
    layers.Activation,
    layers.Cropping2D,
    layers.Dropout,
    layers.Identity,
    layers.ZeroPadding2D,
    PadToMultiple,
)


def _for_channels(stored, channels):
    """One value for each of `channels`, from one for each channel of the old network."""
    if np.ndim(stored) == 0:
        return stored
    stored = np.asarray(stored, "float64").reshape(-1)
    if channels == 1:
        return [float(stored.mean())]
    return [float(stored[i % len(stored)]) for i in range(channels)]


def _kernel_for_channels(kernel, channels):
    """A kernel `(h, w, C, …)` for another C, with the same response to gray images."""
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True)
    stored = kernel.shape[2]
    return kernel[:, :, np.arange(channels) % stored] * (stored / channels)


class _Adapter:
    """The rewriting: follows the image's channels to the first convolutions and adapts these."""

    def __init__(self, channels, image, stored):
        self.channels = channels
        # For tensors that still have the image's channels: which of the RGB each one is.
        self.raw = {id(image): list(range(stored))}
        self.adapted = False

    def __call__(self, node, copies, *args, **kwargs):
        op, x = node.operation, args[0] if args else None
        order = self.raw.get(id(x))
        if order is None or isinstance(op, RotaryPositions):  # it reads the size only
            return None
        if (
            isinstance(op, (layers.Conv2D, layers.SeparableConv2D, PatchTokens))
            and getattr(op, "groups", 1) == 1
        ):
            kernel, *others = op.get_weights()
            kernel = _kernel_for_channels(kernel[:, :, np.argsort(order)], self.channels)
            self.adapted = True
            return copies(op, *args, weights=[kernel, *others], **kwargs)
        if isinstance(op, Standardize):
            mean, std = (_for_channels(value, self.channels) for value in (op.mean, op.std))
            outputs = copies(
                op, x, config={"mean": mean, "std": std, "reverse_channels": False}, **kwargs
            )
            order = order[::-1] if op.reverse_channels else order
        elif isinstance(op, layers.Rescaling):
            config = {
                key: _for_channels(getattr(op, key), self.channels) for key in ("scale", "offset")
            }
            outputs = copies(op, x, config=config, **kwargs)
        elif isinstance(op, layers.Normalization):
            outputs = self.normalization(op, copies, x)
        elif isinstance(op, _CHANNELWISE) or not (getattr(op, "weights", ()) or _mixes(node)):
            outputs = copies(op, *args, **kwargs)
        else:
            raise ValueError(
                "`model` must have only layers before its first convolution that take another "
                f"number of channels. Received: {op.name!r} ({type(op).__name__}), which does not."
            )
        self.raw[id(outputs)] = order
        return outputs

    def normalization(self, op, copies, x):
        mean, variance = (np.ravel(np.asarray(v)) for v in _statistics(op))
        new = layers.Normalization(
            axis=-1,
            mean=_for_channels(mean, self.channels),
            variance=_for_channels(variance, self.channels),
            invert=op.invert,
            dtype=op.dtype_policy,
            name=copies.name(op.name),
        )
        return new(x)


def _mixes(node):
    return (
        len(node.input_tensors) != 1
        or node.outputs[0].shape[-1:] != node.input_tensors[0].shape[-1:]
    )


def _statistics(op):
    return keras.ops.convert_to_numpy(op.mean), keras.ops.convert_to_numpy(op.variance)


def replace_input(model: keras.Model, channels: int, *, name: str | None = None) -> keras.Model:
    """A pretrained network for images with another number of channels.

    The first convolution is adapted: for one channel its kernel is summed over RGB, so that a
    gray image gets the output of its RGB copy; for other numbers the RGB parts are repeated in
    turn (R, G, B, R, …) and scaled by 3/n, which keeps the scale of the response. Standardizing
    layers before it are adapted, too (a mean over RGB for one channel: exact where RGB are
    standardized equally). All other weights are kept.

    Args:
        model: functional `keras.Model` of one image `(B, H, W, C)`.
        channels: int ≥ 1, the new number of channels. Channels count in RGB order even where the
            network turns them into BGR inside.
        name: str, the name of the new model; default: that of `model`.

    Returns:
        A `keras.Model` for images `(B, H, W, channels)`, with copies of the weights: of any size,
        or of the size of `model` where its top needs that (`Flatten`).

    Raises:
        TypeError: for a model whose graph cannot be read.
        ValueError: for channels below 1, or a first layer that cannot be adapted (named).

    >>> import keras
    >>> app = keras.applications.MobileNetV2(weights=None, include_top=False, alpha=0.35)
    >>> replace_input(app, 4).input_shape
    (None, None, None, 4)
    """
    channels = _check.integer(channels, "channels", low=1)
    model = functional(model)
    old = image_of(model)
    sizes = old.shape[1:3] if flattens(model) else ()
    image = resized(old, *sizes, channels=channels)
    adapter = _Adapter(channels, image, old.shape[-1])
    new = rebuild(model, adapter, inputs=image, name=name)
    if not adapter.adapted:
        raise ValueError(
            f"`model` must have a convolution that reads the image. Received: {model.name!r}"
        )
    return new

"""Depth: how far every pixel is."""

import keras
import numpy as np
from keras import ops

from keras_dense.heads import picture
from keras_dense.heads.annotation import as_weight, float_annotation
from keras_dense.heads.head import Head
from keras_dense.layers.depth import DepthActivation
from keras_dense.losses import ScaleInvariantLog
from keras_dense.metrics import DepthErrors


@keras.saving.register_keras_serializable("keras_dense")
class Depth(Head):
    """What is predicted at a pixel: its depth, meters along the optical axis.

    Targets are meters `(B, H, W, 1)` (or `(B, H, W)`), unknown where not finite or <= 0.
    Predictions are meters `(B, H, W, 1)` in float32, positive by construction.

    Args:
        min_depth, max_depth: meters, the range that is predicted. Targets outside are unknown: the
            head could not reach them, and no metric counts them.
        activation: from scores to meters: "range_sigmoid" (evenly over the range), "log_sigmoid"
            (evenly in log depth), "disparity" (evenly in 1 / depth), "exp" or "softplus" (above
            `min_depth`, without an upper end). See `kd.layers.DepthActivation`.
        loss: a loss of depth; default `kd.losses.ScaleInvariantLog()`.
        weight: weight of this head's loss among several heads.
        target: the key of a sample that holds this head's annotation.

    Raises:
        ValueError: for an unknown activation, or not 0 < min_depth < max_depth.

    >>> head = Depth(max_depth=10.0)
    >>> head.channels, [metric.name for metric in head.metrics()]
    (1, ['abs_rel', 'rmse', 'delta1'])
    """

    channels = 1

    def __init__(
        self,
        min_depth=1e-3,
        max_depth=10.0,
        *,
        activation="range_sigmoid",
        loss=None,
        weight=1.0,
        target="depth",
    ):
        # The layer says what is wrong with these.
        checked = DepthActivation(activation, min_depth, max_depth)
        self.min_depth, self.max_depth = checked.min_depth, checked.max_depth
        self.activation = activation
        self._own_loss = loss
        self.loss = loss or ScaleInvariantLog()
        self.weight = as_weight(weight)
        self.target = target

    def metrics(self):
        """Fresh metrics within the range, over all pixels: AbsRel, RMSE, δ < 1.25.

        For a published protocol (crop, cap, mean over images) see `kd.metrics.DepthErrors`.
        """
        abs_rel = DepthErrors(
            "abs_rel", min_depth=self.min_depth, max_depth=self.max_depth, reduction="pixel"
        )
        return [abs_rel, abs_rel.also("rmse"), abs_rel.also("delta1")]

    def finish(self, x, name):
        """The output from the upsampled scores: meters, in float32."""
        return DepthActivation(self.activation, self.min_depth, self.max_depth, name=name)(x)

    def encode(self, sample):
        """The target of a sample: meters, float32 `(H, W, 1)`, 0 where unknown or out of range.

        Raises:
            KeyError: if the sample has no depth.
            TypeError, ValueError: if it is no array of floats, or of another shape.
        """
        meters = float_annotation(
            sample,
            self.target,
            "divide by the units of a meter (kd.datasets.depth_from_png16), or call "
            ".astype('float32') if these are meters",
        )
        meters = meters[..., None] if meters.ndim == 2 else meters
        if meters.ndim != 3 or meters.shape[2] != 1:
            raise ValueError(
                f"The sample's {self.target!r} must be depth of shape (height, width, 1). "
                f"Received: shape {meters.shape}"
            )
        # Comparisons with NaN are false.
        inside = (meters >= self.min_depth) & (meters <= self.max_depth)
        return np.where(inside, meters, np.float32(0))

    def unknown(self, size):
        """A target of `(height, width)` where nothing is known: zeros."""
        return np.zeros((*size, 1), "float32")

    def decode(self, meters):
        """Meters `(B, H, W, 1)`, clipped to the range where the activation has no upper end."""
        return ops.clip(meters, self.min_depth, self.max_depth)

    def rescaled(self, prediction, scale):
        """Depth in an image zoomed by `scale`, as that of the image: what is shown twice as large
        seems half as far.
        """
        return prediction * scale

    def to_mean(self, prediction):
        """What is averaged over several views of an image: log depth, where ratios count alike."""
        return ops.log(ops.maximum(ops.cast(prediction, "float32"), keras.config.epsilon()))

    def from_mean(self, mean):
        """Meters from such a mean."""
        return ops.exp(mean)

    def outputs(self, meters, image):
        """`depth`, meters `(B, H, W, 1)`."""
        return {"depth": self.decode(meters)}

    def about(self):
        """Unit and range."""
        return {"depth": {"unit": "meter", "range": [self.min_depth, self.max_depth]}}

    @property
    def _shown(self):
        return max(self.min_depth, self.max_depth / 20), self.max_depth

    def draw(self, meters):
        """Depth `(H, W, 1)` as an RGB picture, uint8; unknown is hatched.

        Near is bright, far is dark, evenly in log depth; the scale is the same for all pictures:
        from `max_depth` / 20 (or `min_depth`, where that is more) to `max_depth`.
        """
        return picture.depth(meters, *self._shown)

    def error(self, truth, prediction, image=None):
        """|p - t| / t as an RGB picture: black is right, light yellow wrong by half or more."""
        return picture.relative_error(truth, prediction)

    def legend(self):
        """Pairs of depth and RGB color, from near to far."""
        meters = np.geomspace(*self._shown, 5)
        colors = self.draw(meters[None])[0].tolist()
        return [(f"{m:.3g} m", tuple(c)) for m, c in zip(meters, colors, strict=True)]

    def get_config(self):
        return {
            "min_depth": self.min_depth,
            "max_depth": self.max_depth,
            "activation": self.activation,
            "loss": keras.saving.serialize_keras_object(self._own_loss),
            "weight": self.weight,
            "target": self.target,
        }

    @classmethod
    def from_config(cls, config):
        loss = keras.saving.deserialize_keras_object(config["loss"])
        return cls(**{**config, "loss": loss})

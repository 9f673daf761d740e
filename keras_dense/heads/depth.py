"""Depth: how far every pixel is."""

import keras
import numpy as np
from keras import ops

from keras_dense import _check
from keras_dense._types import Array, Config, Sample, Tensor
from keras_dense.heads import drawing
from keras_dense.heads.annotation import meters_of
from keras_dense.heads.head import Head, Stored
from keras_dense.layers.depth import ACTIVATIONS, DepthActivation, check_range
from keras_dense.losses import ScaleInvariantLog
from keras_dense.metrics import DepthErrors


@keras.saving.register_keras_serializable("keras_dense")
class Depth(Head):
    """The depth of every pixel: meters along the optical axis.

    Targets are meters `(B, H, W, 1)` or `(B, H, W)`; values that are not finite or <= 0 are
    unknown. Predictions are float32 meters `(B, H, W, 1)`, positive by construction.

    Args:
        min_depth, max_depth: floats, range of predictions in meters. Targets outside are unknown:
            the head cannot predict them, and no metric counts them.
        activation: str, function from scores to meters: "range_sigmoid" (even over the range),
            "log_sigmoid" (even in log depth), "disparity" (even in 1 / depth), "exp" or "softplus"
            (above `min_depth`, without an upper end). See `kd.layers.DepthActivation`.
        loss: a Keras loss of depth; default: `kd.losses.ScaleInvariantLog()`.
        weight: float >= 0, weight of this head's loss among several heads.
        target: str, key of a sample that holds the annotation.

    Raises:
        ValueError: for an unknown activation, or unless 0 < min_depth < max_depth.

    >>> head = Depth(max_depth=10.0)
    >>> head.channels, [metric.name for metric in head.metrics()]
    (1, ['abs_rel', 'rmse', 'delta1'])
    """

    channels = 1
    annotation = "depth"
    suffix = ".png"

    def __init__(
        self,
        min_depth: float = 1e-3,
        max_depth: float = 10.0,
        *,
        activation: str = "range_sigmoid",
        loss: keras.losses.Loss | None = None,
        weight: float = 1.0,
        target: str = "depth",
    ) -> None:
        self.min_depth, self.max_depth = check_range(min_depth, max_depth)
        self.activation = _check.choice(activation, "activation", ACTIVATIONS)
        super().__init__(loss=loss, weight=weight, target=target)

    def default_loss(self) -> keras.losses.Loss:
        """The scale-invariant error in log depth."""
        return ScaleInvariantLog()

    def metrics(self) -> list:
        """Fresh metrics within the range, over all pixels: AbsRel, RMSE, δ < 1.25.

        For a published protocol (crop, cap, mean over images) see `kd.metrics.DepthErrors`.
        """
        abs_rel = DepthErrors(
            "abs_rel", min_depth=self.min_depth, max_depth=self.max_depth, reduction="pixel"
        )
        return [abs_rel, abs_rel.also("rmse"), abs_rel.also("delta1")]

    def finish(self, scores: Tensor, name: str) -> Tensor:
        """Meters from scores, in float32."""
        activation = DepthActivation(
            self.activation, min_depth=self.min_depth, max_depth=self.max_depth, name=name
        )
        return activation(scores)

    def encode(self, sample: Sample) -> Array:
        """Target of a sample: meters, float32 `(H, W, 1)`, 0 for unknown or out of range.

        Raises:
            KeyError: if the sample has no depth.
            TypeError, ValueError: if it is no array of floats, or of another shape.
        """
        meters = meters_of(sample, self.target)
        # Comparisons with NaN are false.
        inside = (meters >= self.min_depth) & (meters <= self.max_depth)
        return np.where(inside, meters, np.float32(0))

    def unknown(self, size: tuple[int, int]) -> Array:
        """Target of `(height, width)` without a known pixel: zeros."""
        return np.zeros((*size, 1), "float32")

    def example(
        self, size: tuple[int, int], rng: np.random.Generator, known: bool = True
    ) -> Sample:
        """Sample of one depth within the range, or of unknown pixels."""
        meters = (self.min_depth * self.max_depth) ** 0.5 if known else 0.0
        return {self.target: np.full((*size, 1), meters, "float32")}

    def decode(self, prediction: Tensor, image: Tensor | None = None) -> Tensor:
        """Meters `(B, H, W, 1)`, clipped to the range where the activation has no upper end."""
        return ops.clip(prediction, self.min_depth, self.max_depth)

    def rescaled(self, prediction: Tensor, scale: float) -> Tensor:
        """Depth times `scale`: an object shown twice as large seems half as far."""
        return prediction * scale

    def to_mean(self, prediction: Tensor) -> Tensor:
        """Log depth, in which ratios count alike, for averages over several views."""
        return ops.log(ops.maximum(ops.cast(prediction, "float32"), keras.config.epsilon()))

    def from_mean(self, mean: Tensor) -> Tensor:
        """Meters from such a mean."""
        return ops.exp(mean)

    def outputs(self, prediction: Tensor, image: Tensor) -> dict[str, Tensor]:
        """`depth`, meters `(B, H, W, 1)`."""
        return {"depth": self.decode(prediction)}

    def about(self) -> dict[str, dict]:
        """Unit and range."""
        return {"depth": {"unit": "meter", "range": [self.min_depth, self.max_depth]}}

    @property
    def units_per_meter(self) -> float:
        """Numbers for each meter in files of 16 bits: the finest usual one that holds the range.

        >>> [Depth(max_depth=most).units_per_meter for most in (10.0, 80.0, 1000.0)]
        [1000, 256, 65]
        """
        for scale in (1000, 256):
            if self.max_depth * scale <= 65535:
                return scale
        return int(65535 // self.max_depth) or 65535 / self.max_depth

    def stored(self, result: Array) -> Stored:
        """Depth in 16 bits: millimeters, or coarser beyond 65.5 m."""
        scale = self.units_per_meter
        units = np.rint(np.asarray(result, "float64")[..., 0] * scale).clip(0, 65535)
        facts = {**self.about()["depth"], "unit": f"meter / {scale:g}"}
        return Stored(units.astype("uint16"), facts=facts)

    @property
    def _shown(self) -> tuple[float, float]:
        return max(self.min_depth, self.max_depth / 20), self.max_depth

    def draw(self, result: Array) -> Array:
        """Depth `(H, W, 1)` as colors, uint8 RGB: near is bright, far is dark, unknown is hatched.

        The scale is even in log depth and the same for all images: from `max_depth` / 20 (or
        `min_depth`, if that is larger) to `max_depth`.
        """
        low, high = self._shown
        return drawing.depth(result, low=low, high=high)

    def error(self, truth: Array, prediction: Array, image: Array | None = None) -> Array:
        """Relative error |p - t| / t as colors: black is right, light yellow is 0.5 or more."""
        return drawing.relative_error(truth, prediction)

    def legend(self) -> list[tuple[str, tuple]]:
        """Pairs of depth and RGB color, from near to far."""
        meters = np.geomspace(*self._shown, 5)
        colors = self.draw(meters[None])[0].tolist()
        return [(f"{m:.3g} m", tuple(c)) for m, c in zip(meters, colors, strict=True)]

    def get_config(self) -> Config:
        return {
            "min_depth": self.min_depth,
            "max_depth": self.max_depth,
            "activation": self.activation,
            **super().get_config(),
        }

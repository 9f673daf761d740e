"""Relative inverse depth: what is nearer, without a unit."""

import keras
import numpy as np
from keras import layers

from keras_dense import _check
from keras_dense._types import Array, Config, Sample, Tensor
from keras_dense.heads import drawing
from keras_dense.heads.annotation import meters_of
from keras_dense.heads.head import Head, Stored
from keras_dense.layers.depth import check_range
from keras_dense.losses import ScaleAndShiftInvariant
from keras_dense.metrics import RelativeDepthErrors

ACTIVATIONS = ("softplus", "relu", "linear")


@keras.saving.register_keras_serializable("keras_dense")
class RelativeDepth(Head):
    """The inverse depth of every pixel up to a scale and a shift that differ between images.

    Larger is nearer. Networks that are trained on many sources of depth at once predict this, such
    as MiDaS, DPT and Depth Anything. Samples hold meters `(H, W, 1)` or `(H, W)`; targets are
    inverse depth, 1/m `(B, H, W, 1)`, NaN where unknown. Predictions are float32 `(B, H, W, 1)`,
    without a unit.

    The default loss compares shapes, not numbers: it cannot move a network that predicts the same
    everywhere, as FCNs do at first, whose scores start with zeros. Start those from other weights.

    Args:
        min_depth, max_depth: floats, meters. Annotations outside are unknown.
        activation: str, function of the scores: "softplus", "relu" (of the published networks; a
            network of random weights may not leave 0 any more), or "linear".
        loss: a Keras loss of inverse depth; default: `kd.losses.ScaleAndShiftInvariant` with
            gradients of weight 0.5.
        weight: float >= 0, weight of this head's loss among several heads.
        target: str, key of a sample that holds the annotation.

    Raises:
        ValueError: for an unknown activation, or unless 0 < min_depth < max_depth.

    Reference: Ranftl et al., "Towards Robust Monocular Depth Estimation", PAMI 2022, section 5.

    >>> head = RelativeDepth()
    >>> head.encode({"depth": np.array([[2.0, 0.0]])})[..., 0].tolist()
    [[0.5, nan]]
    """

    channels = 1
    annotation = "depth"
    suffix = ".npy"

    def __init__(
        self,
        min_depth: float = 1e-3,
        max_depth: float = 1000.0,
        *,
        activation: str = "softplus",
        loss: keras.losses.Loss | None = None,
        weight: float = 1.0,
        target: str = "depth",
    ) -> None:
        self.min_depth, self.max_depth = check_range(min_depth, max_depth)
        self.activation = _check.choice(activation, "activation", ACTIVATIONS)
        super().__init__(loss=loss, weight=weight, target=target)

    def default_loss(self) -> keras.losses.Loss:
        """Absolute differences of inverse depth and of its slopes, after alignment."""
        return ScaleAndShiftInvariant(gradient_weight=0.5)

    def metrics(self) -> list:
        """Fresh metrics of depth after alignment, over all pixels: AbsRel, δ < 1.25."""
        abs_rel = RelativeDepthErrors(
            "abs_rel", min_depth=self.min_depth, max_depth=self.max_depth, reduction="pixel"
        )
        return [abs_rel, abs_rel.also("delta1")]

    def finish(self, scores: Tensor, name: str) -> Tensor:
        """Relative inverse depth from scores, in float32."""
        return layers.Activation(self.activation, dtype="float32", name=name)(scores)

    def encode(self, sample: Sample) -> Array:
        """Target of a sample: 1/m, float32 `(H, W, 1)`, NaN for unknown or out of range.

        Raises:
            KeyError: if the sample has no depth.
            TypeError, ValueError: if it is no array of floats, or of another shape.
        """
        meters = meters_of(sample, self.target)
        inside = (meters >= self.min_depth) & (meters <= self.max_depth)
        return np.where(inside, 1 / np.where(inside, meters, 1), np.float32(np.nan))

    def unknown(self, size: tuple[int, int]) -> Array:
        """Target of `(height, width)` without a known pixel: NaN."""
        return np.full((*size, 1), np.nan, "float32")

    def example(
        self, size: tuple[int, int], rng: np.random.Generator, known: bool = True
    ) -> Sample:
        """Sample of random depth within the range, or of unknown pixels."""
        far = min(self.max_depth, 10 * self.min_depth)
        meters = rng.uniform(self.min_depth, far, (*size, 1)).astype("float32")
        meters = meters.clip(self.min_depth, self.max_depth)
        return {self.target: meters if known else np.zeros_like(meters)}

    def outputs(self, prediction: Tensor, image: Tensor) -> dict[str, Tensor]:
        """`relative_depth`, relative inverse depth `(B, H, W, 1)`."""
        return {"relative_depth": self.decode(prediction)}

    def about(self) -> dict[str, dict]:
        """Unit and meaning."""
        return {
            "relative_depth": {
                "unit": "relative",
                "of": "inverse depth, larger is nearer, scale and shift unknown",
            }
        }

    def stored(self, result: Array) -> Stored:
        """Relative inverse depth as it comes, float32 `(H, W)`."""
        values = np.asarray(result, "float32")[..., 0]
        return Stored(values, facts=self.about()["relative_depth"])

    def draw(self, result: Array) -> Array:
        """Inverse depth `(H, W, 1)` as colors, uint8 RGB: near is bright, far is dark.

        The scale is that of the image, from the 2nd to the 98th percentile; values that are not
        finite are hatched.
        """
        values = np.asarray(result, "float64")
        values = values[..., 0] if values.ndim == 3 else values
        known = np.isfinite(values)
        if not known.any():
            return drawing.hatch(*values.shape)
        low, high = np.percentile(values[known], (2, 98))
        share = (np.where(known, values, low) - low) / max(high - low, 1e-12)
        return drawing.hatch_unknown(drawing.magma(share.clip(0, 1)), known)

    def error(self, truth: Array, prediction: Array, image: Array | None = None) -> Array:
        """Relative error of inverse depth after alignment: black is right, light yellow is 0.5."""
        t, p = (np.asarray(x, "float64").reshape(x.shape[:2]) for x in (truth, prediction))
        known = np.isfinite(t) & (t > 0) & np.isfinite(p)
        if known.any():
            line = np.stack([p[known], np.ones(known.sum())], -1)
            scale, shift = np.linalg.lstsq(line, t[known], rcond=None)[0]
            p = scale * p + shift
        return drawing.relative_error(t, p)

    def legend(self) -> list[tuple[str, tuple]]:
        """Near and far with their RGB colors."""
        near, far = drawing.magma(np.array([1.0, 0.0])).tolist()
        return [("near", tuple(near)), ("far", tuple(far))]

    def get_config(self) -> Config:
        return {
            "min_depth": self.min_depth,
            "max_depth": self.max_depth,
            "activation": self.activation,
            **super().get_config(),
        }

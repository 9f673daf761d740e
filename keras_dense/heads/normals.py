"""Surface normals: the direction of what is seen at every pixel."""

import keras
import numpy as np
from keras import ops

from keras_dense import _check
from keras_dense._types import Array, Config, Sample, Tensor
from keras_dense.heads.annotation import float_annotation
from keras_dense.heads.drawing import error_colors, normal_colors
from keras_dense.heads.head import Head, Stored
from keras_dense.layers.unit_normals import UnitNormals
from keras_dense.losses import AngularVonMisesFisher, NormalsCosine, expected_angle
from keras_dense.metrics.normals import NormalsErrors
from keras_dense.ops.geometry import check_frame, convert_normals, normalize

MAX_ERROR = 45.0  # degrees drawn brightest


@keras.saving.register_keras_serializable("keras_dense")
class Normals(Head):
    """The unit normal of the surface at every pixel.

    Samples hold normals with x right, y down, z forward that face the camera; (0, 0, 0) and values
    that are not finite are unknown. Targets and predictions `(B, H, W, 3)` use the axes of `frame`.
    Predictions are float32 vectors of length 1; scores of 0 mean a wall straight ahead.

    Args:
        frame: str, "opencv", the axes of samples, or another of `kd.ops.FRAMES`: "dsine", "opengl",
            "omnidata", "eigen" (see `kd.ops.convert_normals`).
        concentration: bool, whether to predict a fourth channel, κ > 0.01, which is large for
            certain directions.
        loss: a Keras loss of normals; default: `kd.losses.NormalsCosine`, with `concentration`
            `kd.losses.AngularVonMisesFisher`.
        weight: float >= 0, weight of this head's loss among several heads.
        target: str, key of a sample that holds the normals.

    Raises:
        ValueError: for an unknown frame.

    >>> head = Normals()
    >>> head.channels, head.draw(np.array([[[0.0, 0.0, -1.0]]])).tolist()
    (3, [[[128, 128, 255]]])
    """

    suffix = ".png"

    def __init__(
        self,
        frame: str = "opencv",
        *,
        concentration: bool = False,
        loss: keras.losses.Loss | None = None,
        weight: float = 1.0,
        target: str = "normals",
    ) -> None:
        self.frame = check_frame("frame", frame)
        self.concentration = _check.flag(concentration, "concentration")
        self.channels = 4 if self.concentration else 3
        super().__init__(loss=loss, weight=weight, target=target)

    def default_loss(self) -> keras.losses.Loss:
        """The cosine of the error, or with a concentration the likelihood of the angle."""
        return AngularVonMisesFisher() if self.concentration else NormalsCosine()

    def metrics(self) -> list:
        """Fresh metrics: mean and median error in degrees, and the share within 11.25."""
        mean = NormalsErrors("mean")
        return [mean, mean.also("median"), mean.also("within_11.25")]

    def finish(self, scores: Tensor, name: str) -> Tensor:
        """Unit normals (and concentrations) from scores, in float32."""
        ahead = convert_normals(np.array([0.0, 0.0, -1.0]), "opencv", self.frame)
        return UnitNormals(ahead=ahead.tolist(), concentration=self.concentration, name=name)(
            scores
        )

    def encode(self, sample: Sample) -> Array:
        """Target of a sample: float32 normals `(H, W, 3)` in the axes of this head; 0 for unknown.

        Raises:
            KeyError: if the sample has no normals.
            TypeError, ValueError: if they are no array of floats, or of another shape.
        """
        normals = float_annotation(sample, self.target, "bring them to unit vectors first")
        if normals.ndim != 3 or normals.shape[2] != 3:
            raise ValueError(
                f"The sample's {self.target!r} must have shape (height, width, 3). "
                f"Received: {normals.shape}"
            )
        known = np.isfinite(normals).all(-1, keepdims=True)
        return convert_normals(np.where(known, normals, np.float32(0)), "opencv", self.frame)

    def unknown(self, size: tuple[int, int]) -> Array:
        """Target of `(height, width)` without a known pixel: zeros."""
        return np.zeros((*size, 3), "float32")

    def example(
        self, size: tuple[int, int], rng: np.random.Generator, known: bool = True
    ) -> Sample:
        """Sample of one direction, or of unknown pixels."""
        return {self.target: np.full((*size, 3), 3**-0.5 if known else 0.0, "float32")}

    def decode(self, prediction: Tensor, image: Tensor | None = None) -> Tensor:
        """Unit normals `(B, H, W, 3)` in the axes of this head, from a prediction."""
        return normalize(prediction[..., :3])

    def flipped(self, prediction: Tensor) -> Tensor:
        """Prediction of the image itself from that of the mirrored one: left becomes right."""
        # The first axis of every frame is the horizontal one, and no other is.
        sign = np.array([-1.0] + [1.0] * (self.channels - 1), "float32")
        return ops.multiply(ops.flip(prediction, axis=2), sign)

    def blended(self, mean: Tensor) -> Tensor:
        """Prediction from a weighted mean of predictions: at length 1 again."""
        unit = normalize(mean[..., :3])
        return ops.concatenate([unit, mean[..., 3:]], -1) if self.concentration else unit

    def uncertainty(self, prediction: Tensor) -> Tensor:
        """Expected error of a prediction with concentration: degrees `(B, H, W, 1)`.

        Raises:
            ValueError: if this head predicts no concentration.
        """
        if not self.concentration:
            raise ValueError("`concentration` must be True for an uncertainty. Received: False")
        return expected_angle(prediction[..., 3:]) * (180.0 / np.pi)

    def outputs(self, prediction: Tensor, image: Tensor) -> dict[str, Tensor]:
        """`normals`, unit vectors `(B, H, W, 3)`; with concentration `uncertainty`, degrees."""
        normals = {"normals": self.decode(prediction)}
        if not self.concentration:
            return normals
        return {**normals, "uncertainty": self.uncertainty(prediction)}

    def about(self) -> dict[str, dict]:
        """Units, and the frame."""
        facts = {"normals": {"unit": "unit vector", "frame": self.frame}}
        return {**facts, "uncertainty": {"unit": "degree"}} if self.concentration else facts

    def stored(self, result: Array) -> Stored:
        """Unit vectors in bytes: 127.5 (n + 1)."""
        facts = {**self.about()["normals"], "unit": "(unit vector + 1) * 127.5"}
        return Stored(np.rint((result + 1) * 127.5).clip(0, 255).astype("uint8"), facts=facts)

    def draw(self, result: Array) -> Array:
        """Normals `(H, W, 3)` as colors, uint8 RGB: red to the right, green up, blue towards the
        camera, in every frame. Unknown pixels are hatched.
        """
        return normal_colors(convert_normals(np.asarray(result, float), self.frame, "opencv"))

    def error(self, truth: Array, prediction: Array, image: Array | None = None) -> Array:
        """Angle between two maps `(H, W, 3)` as colors, uint8 RGB; unknown pixels are hatched.

        Black is right, light yellow is 45 degrees or more.
        """
        truth, prediction = (np.asarray(n, "float64") for n in (truth, prediction))
        known = np.linalg.norm(truth, axis=-1) >= 0.5
        truth = np.where(known[..., None], truth, 1.0)
        sine = np.linalg.norm(np.cross(truth, prediction), axis=-1)
        angle = np.degrees(np.arctan2(sine, (truth * prediction).sum(-1)))
        return error_colors(angle / MAX_ERROR, known)

    def legend(self) -> list[tuple[str, tuple]]:
        """Pairs of direction and RGB color; `kd.plot.normals_legend` draws them all."""
        faces = {"right": (1, 0, 0), "left": (-1, 0, 0), "up": (0, -1, 0), "down": (0, 1, 0)}
        faces["towards the camera"] = (0, 0, -1)
        vectors = convert_normals(np.array([list(faces.values())], float), "opencv", self.frame)
        colors = self.draw(vectors)[0].tolist()
        return [(name, tuple(color)) for name, color in zip(faces, colors, strict=True)]

    def get_config(self) -> Config:
        return {
            "frame": self.frame,
            "concentration": self.concentration,
            **super().get_config(),
        }

"""Surface normals: the direction of what is seen at every pixel."""

import keras
import numpy as np
from keras import ops

from keras_dense.heads.annotation import as_weight, float_annotation
from keras_dense.heads.head import Head
from keras_dense.layers.unit_normals import UnitNormals
from keras_dense.losses import AngularVonMisesFisher, NormalsCosine, expected_angle
from keras_dense.metrics.normals import NormalsErrors
from keras_dense.ops.geometry import check_frame, convert_normals, normalize

UNKNOWN = (224, 224, 224)
MAX_ERROR = 45.0  # degrees drawn brightest


@keras.saving.register_keras_serializable("keras_dense")
class Normals(Head):
    """What is predicted at a pixel: the unit normal of the surface.

    Samples hold normals x right, y down, z forward, towards the camera, with (0, 0, 0) (or
    what is not finite) where unknown. Targets and predictions `(B, H, W, 3)` are in the axes of
    `frame`; predictions are of length 1 and float32, and scores of 0 are a wall straight ahead.

    Args:
        frame: "opencv", the axes of samples, or another of `kd.ops.FRAMES`: "dsine", "opengl",
            "omnidata", "eigen" (see `kd.ops.convert_normals`).
        concentration: bool: predict a fourth channel, κ > 0.01, large where the direction is sure.
        loss: a loss of normals; default `kd.losses.NormalsCosine`, and with `concentration`
            `kd.losses.AngularVonMisesFisher`.
        weight: weight of this head's loss among several heads.
        target: the key of a sample that holds the normals.

    Raises:
        ValueError: for an unknown frame.

    >>> head = Normals()
    >>> head.channels, head.draw(np.array([[[0.0, 0.0, -1.0]]])).tolist()
    (3, [[[128, 128, 255]]])
    """

    def __init__(
        self, frame="opencv", *, concentration=False, loss=None, weight=1.0, target="normals"
    ):
        self.frame = check_frame("frame", frame)
        self.concentration = bool(concentration)
        self._own_loss = loss
        self.loss = loss or (AngularVonMisesFisher() if concentration else NormalsCosine())
        self.weight = as_weight(weight)
        self.target = target

    @property
    def channels(self):
        """Channels of the prediction."""
        return 4 if self.concentration else 3

    def metrics(self):
        """Fresh metrics: mean and median error in degrees, and the share within 11.25."""
        mean = NormalsErrors("mean")
        return [mean, mean.also("median"), mean.also("within_11.25")]

    def finish(self, x, name):
        """The output from the upsampled scores: unit normals (and concentrations), in float32."""
        ahead = convert_normals(np.array([0.0, 0.0, -1.0]), "opencv", self.frame)
        return UnitNormals(ahead=ahead.tolist(), concentration=self.concentration, name=name)(x)

    def encode(self, sample):
        """The target of a sample: its normals in the axes of this head, float32 `(H, W, 3)`; 0
        where one is not finite.

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

    def unknown(self, size):
        """A target of `(height, width)` where nothing is known: zeros."""
        return np.zeros((*size, 3), "float32")

    def decode(self, prediction):
        """Unit normals `(B, H, W, 3)` in the axes of this head, from a prediction."""
        return normalize(prediction[..., :3])

    def flipped(self, prediction):
        """The prediction `(B, H, W, C)` of a mirrored image, as one of the image itself: what
        faced left faces right.
        """
        # The first axis of every frame is the horizontal one, and no other is.
        sign = np.array([-1.0] + [1.0] * (self.channels - 1), "float32")
        return ops.multiply(ops.flip(prediction, axis=2), sign)

    def blended(self, mean):
        """A weighted mean of predictions as a prediction: at length 1 again."""
        unit = normalize(mean[..., :3])
        return ops.concatenate([unit, mean[..., 3:]], -1) if self.concentration else unit

    def uncertainty(self, prediction):
        """The error to be expected of a prediction with concentration: degrees `(B, H, W, 1)`.

        Raises:
            ValueError: if this head predicts no concentration.
        """
        if not self.concentration:
            raise ValueError("Normals: only a head with concentration=True knows its uncertainty")
        return expected_angle(prediction[..., 3:]) * (180.0 / np.pi)

    def outputs(self, prediction, image):
        """`normals`, unit vectors `(B, H, W, 3)`; with concentration `uncertainty`, degrees."""
        normals = {"normals": self.decode(prediction)}
        if not self.concentration:
            return normals
        return {**normals, "uncertainty": self.uncertainty(prediction)}

    def about(self):
        """Units, and the frame."""
        facts = {"normals": {"unit": "unit vector", "frame": self.frame}}
        return {**facts, "uncertainty": {"unit": "degree"}} if self.concentration else facts

    def draw(self, normals):
        """Normals `(H, W, 3)` as an RGB picture, uint8: red to the right, green up, blue towards
        the camera, whatever the frame; unknown in white-gray.
        """
        normals = np.asarray(normals, "float64")
        length = np.linalg.norm(normals, axis=-1, keepdims=True)
        known = length >= 0.5
        unit = np.where(known, normals, 0.0) / np.where(known, length, 1.0)
        unit = convert_normals(unit, self.frame, "opengl")
        return np.where(known, 127.5 + 127.5 * unit + 0.5, UNKNOWN).astype("uint8")

    def error(self, truth, prediction, image=None):
        """The angle between two maps `(H, W, 3)` as an RGB picture, uint8.

        From black (0) over red, orange and yellow to white (45 degrees and more); unknown in gray.
        """
        truth, prediction = (np.asarray(n, "float64") for n in (truth, prediction))
        known = np.linalg.norm(truth, axis=-1) >= 0.5
        truth = np.where(known[..., None], truth, 1.0)
        sine = np.linalg.norm(np.cross(truth, prediction), axis=-1)
        angle = np.degrees(np.arctan2(sine, (truth * prediction).sum(-1)))
        heat = np.clip(3 * angle[..., None] / MAX_ERROR - np.arange(3), 0, 1)
        return np.where(known[..., None], 255 * heat + 0.5, 128).astype("uint8")

    def legend(self):
        """Pairs of direction and RGB color; `kd.plot.normals_legend` draws them all."""
        faces = {"right": (1, 0, 0), "left": (-1, 0, 0), "up": (0, -1, 0), "down": (0, 1, 0)}
        faces["towards the camera"] = (0, 0, -1)
        vectors = convert_normals(np.array([list(faces.values())], float), "opencv", self.frame)
        colors = self.draw(vectors)[0].tolist()
        return [(name, tuple(color)) for name, color in zip(faces, colors, strict=True)]

    def get_config(self):
        return {
            "frame": self.frame,
            "concentration": self.concentration,
            "loss": keras.saving.serialize_keras_object(self._own_loss),
            "weight": self.weight,
            "target": self.target,
        }

    @classmethod
    def from_config(cls, config):
        loss = keras.saving.deserialize_keras_object(config["loss"])
        return cls(**{**config, "loss": loss})

"""The contract of a head: all that others ask of one, with defaults."""

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_dense import _check
from keras_dense._types import Array, Config, Features, Sample, Tensor
from keras_dense.heads.drawing import bands, hatch_unknown, magma


class Stored(NamedTuple):
    """A result as it is written to a file.

    Attributes:
        array: of a dtype that the format of the file holds.
        palette: uint8 `(n, 3)`, the colors of an array of labels, or `None`.
        facts: what the numbers mean, for the file's metadata.

    >>> Stored(np.zeros((2, 3), "uint8"), facts={"unit": "meter / 1000"}).array.shape
    (2, 3)
    """

    array: Array
    palette: Array | None = None
    facts: dict = {}


class Head:
    """Base class of heads: a head says all there is to know about one prediction.

    A head of your own sets `channels`, and writes `default_loss` and `encode`. All other members
    have defaults that suit a map of numbers `(B, H, W, channels)`; overwrite those that differ.
    Register the class with Keras, so that models that carry it can be loaded:

    ```python
    @keras.saving.register_keras_serializable("my_project")
    class Heat(kd.heads.Head):
        channels = 1

        def __init__(self, *, loss=None, weight=1.0, target="heat"):
            super().__init__(loss=loss, weight=weight, target=target)

        def default_loss(self):
            return keras.losses.MeanSquaredError()

        def encode(self, sample):
            return np.asarray(sample[self.target], "float32")[..., None]
    ```

    Args:
        loss: a Keras loss; default: `default_loss()`.
        weight: float >= 0, weight of this loss among those of all heads.
        target: str, the key of a sample that holds the annotation.

    Attributes:
        channels: int, the number of channels of the prediction.
        loss: `keras.losses.Loss` of targets and predictions.
        weight: float, see above.
        target: str, see above.
        stride: int, the prediction has 1/stride of the image's height and width, rounded up.
        lightness_only: bool, whether the network may see the image's lightness only.
        needs_image: bool, whether `decode` needs the image; the result is then an image itself,
            and tiles of it are mixed instead of predictions.
        final: bool, `False` for a head that only helps training; `kd.decoded` leaves it out.
        per_image: bool, whether there is one prediction for the image, `(B, channels)`, and not one
            at every pixel; only a head that is not `final` may be so.
        levels: tuple of the features that the head reads by itself.
        stage: str, the earlier prediction of a decoder that the head hands out, or `None`.
        mode: "multiclass", "binary" or "multilabel" for predictions of classes, otherwise `None`.
        class_names: list of str, one for each class; empty if there are none.
        palette: uint8 `(n, 3)`, colors of the classes, or `None`.
        ignore_class: int, the label of void, or `None`.
        coarse_labels: bool, whether `outputs` may be computed before the last upsampling.
        annotation: str, the kind of file that holds an annotation: "labels", "depth", "instances"
            or "array".
        min_size: int, the fewest pixels of a numbered object, see `objects`.
        suffix: str, ending of the file of a result: ".png" or ".npy".

    >>> import numpy as np
    >>> head = Head(loss=keras.losses.MeanSquaredError(), target="heat")
    >>> ops.convert_to_numpy(head.flipped(np.array([[[[1.0], [2.0]]]]))).ravel().tolist()
    [2.0, 1.0]
    """

    channels: int
    loss: keras.losses.Loss
    weight: float
    target: str
    stride: int = 1
    lightness_only: bool = False
    needs_image: bool = False
    final: bool = True
    per_image: bool = False
    levels: tuple[str, ...] = ()
    stage: str | None = None
    mode: str | None = None
    class_names: Any = ()
    palette: Any = None
    ignore_class: int | None = None
    coarse_labels: bool = False
    annotation: str = "array"
    min_size: int = 0
    suffix: str = ".npy"

    def __init__(
        self, *, loss: keras.losses.Loss | None = None, weight: float = 1.0, target: str
    ) -> None:
        self._own_loss = loss
        self.weight = _check.number(weight, "weight", 0)
        self.target = target
        self.loss = self.default_loss() if loss is None else loss

    # What a network and its training need.

    def default_loss(self) -> keras.losses.Loss:
        """Loss that is used unless another one is given."""
        raise TypeError(f"{type(self).__name__} needs a `loss`, or `default_loss()`.")

    def metrics(self) -> list:
        """Fresh metrics for `compile`."""
        return []

    def read(self, key: str, features: Features, predictions: dict, heads: Any) -> Tensor:
        """Scores of this head: by default the decoder's.

        Args:
            key: str, its own key.
            features: the features of the backbone.
            predictions: dict from the key of each final head to what the decoder predicts for it,
                with `scores` and `early`.
            heads: all heads of the model, a mapping.
        """
        return predictions[key].scores

    def finish(self, scores: Tensor, name: str) -> Tensor:
        """Prediction from scores at the head's stride; `name` is for the layer that makes it."""
        return scores

    # What a data set needs.

    def annotated(self, sample: Sample) -> bool:
        """Return whether a sample has an annotation for this head: by default, its target."""
        return self.target in sample

    def encode(self, sample: Sample) -> Array:
        """Target of a sample, an array."""
        raise TypeError(f"{type(self).__name__} must have a method encode(sample).")

    def unknown(self, size: tuple[int, int]) -> Array:
        """Target of an image of `(height, width)` without a known pixel.

        Raises:
            ValueError: if the head has no such target.
        """
        raise ValueError(f"{type(self).__name__} has no target for unknown pixels.")

    def check_targets(self, targets: Array) -> None:
        """Raise a `ValueError` for targets that the head does not know."""

    def example(
        self, size: tuple[int, int], rng: np.random.Generator, known: bool = True
    ) -> Sample:
        """Random sample to try a model on; with `known=False` no pixel of it is known."""
        target = rng.uniform(0, 1, (*size, self.channels)).astype("float32")
        return {self.target: target if known else np.full_like(target, np.nan)}

    # What becomes of a prediction.

    def decode(self, prediction: Tensor, image: Tensor | None = None) -> Tensor:
        """Result that people use, from a prediction: by default itself.

        Args:
            prediction: output of the model.
            image: images `(B, H, W, C)`, 0–255, for heads with `needs_image`.
        """
        return prediction

    def flipped(self, prediction: Tensor) -> Tensor:
        """Prediction of the image itself, from that of the mirrored image."""
        return ops.flip(prediction, axis=2)

    def rescaled(self, prediction: Tensor, scale: float) -> Tensor:
        """Prediction of the image itself, from that of the image zoomed by `scale`."""
        return prediction

    def blended(self, mean: Tensor) -> Tensor:
        """Prediction from a weighted mean of predictions: by default the mean."""
        return mean

    def to_mean(self, prediction: Tensor) -> Tensor:
        """Numbers to average over views of an image: by default the prediction in float32."""
        return ops.cast(prediction, "float32")

    def from_mean(self, mean: Tensor) -> Tensor:
        """Prediction from an average of `to_mean`."""
        return self.blended(mean)

    def outputs(self, prediction: Tensor, image: Tensor) -> dict[str, Tensor]:
        """Outputs of an exported model, by name.

        Args:
            prediction: output of the model.
            image: images, 0–255.
        """
        return {"prediction": self.decode(prediction, image)}

    def about(self) -> dict[str, dict]:
        """Facts about each of these outputs, which can be written as JSON."""
        return {"prediction": {}}

    def stored(self, result: Array) -> Stored:
        """Result `(H, W, …)` of one image as it is written to a file that ends in `suffix`."""
        return Stored(result, facts=next(iter(self.about().values()), {}))

    def objects(self, result: Array, *, min_size: int | None = None) -> Array:
        """Numbers of the objects in a result `(H, W, …)` of one image.

        Args:
            result: of `decode`, or of `kd.inference.predict_tiled`.
            min_size: int, objects of fewer pixels are left out; default: `self.min_size`.

        Returns:
            Ints `(H, W)`: 0 for none, objects numbered 1, 2, ….

        Raises:
            TypeError: if the head predicts no objects apart.
        """
        raise TypeError(f"{type(self).__name__} predicts no numbered objects.")

    # How it is drawn.

    def draw(self, result: Array) -> Array:
        """RGB drawing of a target or result `(H, W, …)`, uint8.

        By default the mean of the channels, from black (the smallest) to light yellow; pixels that
        are not finite are hatched.
        """
        values = np.asarray(result, "float64")
        values = values.mean(-1) if values.ndim == 3 else values
        known = np.isfinite(values)
        low, high = (values[known].min(), values[known].max()) if known.any() else (0.0, 0.0)
        share = (np.where(known, values, low) - low) / max(high - low, 1e-12)
        return hatch_unknown(magma(share), known)

    def error(self, truth: Array, prediction: Array, image: Array | None = None) -> Array:
        """RGB drawing of the error, uint8: by default of the absolute difference."""
        return self.draw(np.abs(np.asarray(truth, "float64") - np.asarray(prediction, "float64")))

    def overlay(self, result: Array, image: Array) -> Array:
        """Drawing of a result over its image, uint8 RGB: by default the mean of both."""
        drawing = np.array(self.draw(result))
        for rows in bands(len(drawing)):
            mixed = (drawing[rows].astype("uint16") + image[rows] + 1) // 2
            drawing[rows] = mixed.astype("uint8")
        return drawing

    def legend(self) -> list[tuple[str, tuple]]:
        """Pairs of a name and an RGB color."""
        return []

    # How it is saved.

    def get_config(self) -> Config:
        return {
            "loss": keras.saving.serialize_keras_object(self._own_loss),
            "weight": self.weight,
            "target": self.target,
        }

    @classmethod
    def from_config(cls, config: Config) -> "Head":
        return cls(**{**config, "loss": keras.saving.deserialize_keras_object(config["loss"])})

"""Semantic segmentation: a class, or several, for every pixel."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_dense import _check
from keras_dense._arrays import as_array, as_labels
from keras_dense._types import Array, ArrayLike, Config, Sample, Tensor
from keras_dense.heads.annotation import check_labels, label_annotation
from keras_dense.heads.drawing import label_colors, right_and_wrong
from keras_dense.heads.head import Head, Stored
from keras_dense.heads.palette import as_palette, legend_of, voc_palette
from keras_dense.losses import CrossEntropy
from keras_dense.metrics import ConfusionMatrix
from keras_dense.ops.count import plain_argmax
from keras_dense.ops.labels import check_mode

_TINY = 1e-7  # the least probability that has a logarithm


@keras.saving.register_keras_serializable("keras_dense")
class Segmentation(Head):
    """The class of every pixel, or several classes.

    Targets are integers `(B, H, W)`, with `ignore_class` for void; predictions are float32 logits
    `(B, H, W, channels)`.

    Args:
        num_classes: int >= 1. One class means `mode="binary"` by default.
        mode: "multiclass": exactly one class for each pixel (softmax; labels 0 … num_classes - 1);
            "binary": foreground or background (one sigmoid channel; labels 0 and 1);
            "multilabel": any number of classes (sigmoids; targets `(B, H, W, num_classes)` of 0
            and 1).
        ignore_class: int, the label of void, or `None`.
        class_names: names, one for each class, for legends and tables.
        palette: `(num_classes, 3)` uint8 RGB colors; default: the VOC color map.
        loss: a Keras loss of logits; default: `kd.losses.CrossEntropy`.
        class_weight: weights of the classes in the default loss.
        weight: float >= 0, weight of this head's loss among several heads.
        target: str, key of a sample that holds the annotation.

    Raises:
        ValueError: for a number of classes below 1, an unknown mode, names or colors of another
            number.

    >>> head = Segmentation(3, class_names=["sky", "road", "car"])
    >>> head.channels, head.legend()[1][0]
    (3, 'road')
    """

    annotation = "labels"
    coarse_labels = True

    def __init__(
        self,
        num_classes: int = 21,
        *,
        mode: str | None = None,
        ignore_class: int | None = 255,
        class_names: Sequence[str] | None = None,
        palette: ArrayLike | None = None,
        loss: keras.losses.Loss | None = None,
        class_weight: ArrayLike | dict[int, float] | None = None,
        weight: float = 1.0,
        target: str = "segmentation",
    ) -> None:
        num_classes = _check.integer(num_classes, "num_classes", low=1)
        if ignore_class is not None:
            ignore_class = _check.integer(ignore_class, "ignore_class")
        self.mode: str = check_mode(mode, num_classes)
        if loss is not None and class_weight is not None:
            raise ValueError(
                "`class_weight` belongs to the default loss; give it to your own `loss` instead."
            )
        self.num_classes = num_classes
        self.ignore_class = ignore_class
        shown = 2 if self.mode == "binary" else self.num_classes
        default = ["background", "foreground"] if self.mode == "binary" else range(shown)
        self.class_names = [str(name) for name in (default if class_names is None else class_names)]
        self.palette: Array = voc_palette(shown) if palette is None else as_palette(palette)
        if len(self.class_names) != shown or self.palette.shape != (shown, 3):
            raise ValueError(
                f"`class_names` and `palette` must have one entry for each of {shown} classes. "
                f"Received: {len(self.class_names)} names, palette of shape {self.palette.shape}"
            )
        # What cannot be made a list is refused by the loss.
        if class_weight is not None and not isinstance(class_weight, dict):
            class_weight = as_array(class_weight, "class_weight").tolist()
        self.class_weight = class_weight
        self.channels = num_classes
        self.suffix = ".npy" if self.mode == "multilabel" else ".png"
        super().__init__(loss=loss, weight=weight, target=target)

    def default_loss(self) -> keras.losses.Loss:
        """Cross entropy with the weights of the classes."""
        return CrossEntropy(
            mode=self.mode, ignore_class=self.ignore_class, class_weight=self.class_weight
        )

    def metrics(self) -> list:
        """Fresh metrics: mean IoU and pixel accuracy."""
        mean_iou = ConfusionMatrix(
            self.num_classes, ignore_class=self.ignore_class, mode=self.mode, score="mean_iou"
        )
        return [mean_iou, mean_iou.also("pixel_accuracy")]

    def encode(self, sample: Sample) -> Array:
        """Target of a sample: its labels as int32, `(H, W)`, or `(H, W, classes)`.

        Raises:
            KeyError: if the sample has no labels.
            TypeError, ValueError: if they are not whole numbers, of another shape, or out of range.
        """
        labels = label_annotation(
            sample, self.target, self._values, self.ignore_class, self._remedy(sample)
        )
        if self.mode != "multilabel":
            labels = labels[..., 0] if labels.ndim == 3 and labels.shape[2] == 1 else labels
            wanted, good = "(height, width)", labels.ndim == 2
        else:
            wanted = f"(height, width, {self.num_classes})"
            good = labels.ndim == 3 and labels.shape[2] == self.num_classes
        if not good:
            raise ValueError(f"`{self.target}` must have shape {wanted}. Received: {labels.shape}")
        return labels

    @property
    def _values(self):
        """Number of values of a label."""
        return self.num_classes if self.mode == "multiclass" else 2

    def _remedy(self, sample):
        if self._values != 2 or self.mode == "multilabel":
            return ""
        return "; black and white masks are read with remap={255: 1}"

    def check_targets(self, targets: Array) -> None:
        """Raise a `ValueError` for labels `(B, H, W)` that this head does not know.

        Targets in another form, with a share for each class, are not checked.
        """
        if np.ndim(targets) == 3 or self.mode == "multilabel":
            check_labels(as_labels(targets, "targets"), "targets", self._values, self.ignore_class)

    def unknown(self, size: tuple[int, int]) -> Array:
        """Target of `(height, width)` without a known pixel: void.

        Raises:
            ValueError: if there is no `ignore_class`.
        """
        if self.ignore_class is None:
            raise ValueError(
                "`ignore_class` must be a label for unknown pixels. Received: ignore_class=None"
            )
        shape = (*size, self.num_classes) if self.mode == "multilabel" else tuple(size)
        return np.full(shape, self.ignore_class, "int32")

    def example(
        self, size: tuple[int, int], rng: np.random.Generator, known: bool = True
    ) -> Sample:
        """Sample of random labels, or of void alone."""
        shape = (*size, self.num_classes) if self.mode == "multilabel" else size
        labels = rng.integers(0, min(self._values, 2), shape)
        return {self.target: labels if known else self.unknown(size)}

    def decode(self, prediction: Tensor, image: Tensor | None = None) -> Tensor:
        """Labels from logits: int32 `(B, H, W)`; multilabel 0/1 `(B, H, W, classes)`."""
        if self.mode == "multiclass":
            return ops.cast(ops.argmax(prediction, axis=-1), "int32")
        labels = ops.cast(prediction > 0, "int32")
        return labels[..., 0] if self.mode == "binary" else labels

    def to_mean(self, prediction: Tensor) -> Tensor:
        """Probabilities, which are averaged over several views of an image."""
        activation = ops.softmax if self.mode == "multiclass" else ops.sigmoid
        return activation(ops.cast(prediction, "float32"))

    def from_mean(self, mean: Tensor) -> Tensor:
        """Logits with such a mean as probabilities: multiclass, the logarithms themselves."""
        logits = ops.log(ops.maximum(mean, _TINY))
        if self.mode == "multiclass":
            return logits
        return logits - ops.log(ops.maximum(1.0 - mean, _TINY))

    def outputs(self, prediction: Tensor, image: Tensor) -> dict[str, Tensor]:
        """`labels` `(B, H, W)`, uint8 (int32 of more than 256 classes), and `confidence`, the
        probability of the label, float32; multilabel both with a last axis of classes.
        """
        if self.mode == "multiclass":
            # The softmax of the largest without all others: in ONNX Runtime .3 of the time.
            above = prediction - ops.max(prediction, axis=-1, keepdims=True)
            labels, confidence = plain_argmax(prediction), 1.0 / ops.sum(ops.exp(above), axis=-1)
        else:
            labels, confidence = prediction > 0, ops.sigmoid(ops.abs(prediction))
            if self.mode == "binary":
                labels, confidence = labels[..., 0], confidence[..., 0]
        dtype = "uint8" if self.num_classes <= 256 else "int32"
        return {"labels": ops.cast(labels, dtype), "confidence": confidence}

    def about(self) -> dict[str, dict]:
        """Names and colors of the classes, and the range of `confidence`."""
        classes = {"classes": self.class_names, "palette": self.palette.tolist()}
        confidence = {"range": [0, 1], "of": "labels"}
        return {"labels": {"mode": self.mode, **classes}, "confidence": confidence}

    def stored(self, result: Array) -> Stored:
        """Labels with their palette; 16 bits without one above 256 classes."""
        if self.num_classes > 256:
            return Stored(result.astype("uint16"), facts=self.about()["labels"])
        palette = None if self.mode == "multilabel" else self.palette
        return Stored(result.astype("uint8"), palette, self.about()["labels"])

    def draw(self, result: Array) -> Array:
        """Labels `(H, W)` in the colors of the palette, uint8 RGB; void is hatched.

        A multilabel map `(H, W, classes)` shows the last class of each pixel; pixels without a
        class are hatched.
        """
        labels = np.asarray(result)
        if self.mode == "multilabel" and labels.ndim == 3:
            on = labels == 1
            last = self.num_classes - 1 - np.argmax(on[..., ::-1], axis=-1)
            labels = np.where(on.any(-1), last, -1)
        # No label equals `None`.
        void = np.int16(-1)
        return label_colors(np.where(labels == self.ignore_class, void, labels), self.palette)

    def error(self, truth: Array, prediction: Array, image: Array | None = None) -> Array:
        """Right labels in green and wrong ones in red over the image, uint8 RGB; void is hatched.

        A pixel of a multilabel map is wrong if one of its known labels is wrong, and void if all
        its labels are void.
        """
        truth, prediction = np.asarray(truth), np.asarray(prediction)
        # No label equals `None`.
        unknown = np.equal(truth, self.ignore_class).astype(bool)
        wrong = (truth != prediction) & ~unknown
        if self.mode == "multilabel":
            wrong, unknown = wrong.any(-1), unknown.all(-1)
        return right_and_wrong(wrong, ~unknown, image)

    def legend(self) -> list[tuple[str, tuple]]:
        """Pairs of class name and RGB color."""
        return legend_of(self.class_names, self.palette)

    def get_config(self) -> Config:
        return {
            "num_classes": self.num_classes,
            "mode": self.mode,
            "ignore_class": self.ignore_class,
            "class_names": self.class_names,
            "palette": self.palette.tolist(),
            "class_weight": self.class_weight,
            **super().get_config(),
        }

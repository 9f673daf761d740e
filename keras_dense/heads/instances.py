"""Instance segmentation: objects apart, each with a number."""

import keras
import numpy as np
from keras import ops

from keras_dense import _check
from keras_dense._arrays import as_labels
from keras_dense._types import Array, Config, Sample, Tensor
from keras_dense.heads.annotation import entry
from keras_dense.heads.drawing import (
    hatch_unknown,
    number_colors,
    outlines,
    right_and_wrong,
)
from keras_dense.heads.head import Head, Stored
from keras_dense.heads.instance_maps import (
    decode_instances,
    encode_instances,
    in_order,
    unmatched,
)
from keras_dense.losses import InstanceCrossEntropy
from keras_dense.metrics import InstanceMapErrors

_TINY = 1e-7  # the least probability that has a logarithm


@keras.saving.register_keras_serializable("keras_dense")
class Instances(Head):
    """Objects of one kind, each with a number: cells, nuclei, leaves, trees.

    Samples hold ints `(H, W)`: 0 is background, every object has its own number, and negative
    numbers are unknown. The network predicts two maps, from which objects are decoded outside the
    graph: foreground, and the distance of each pixel to the border of its object, as a share of the
    largest within that object, so that small and large objects have a peak of 1. Targets are these
    maps, float32 `(B, H, W, 2)`, NaN where unknown; predictions are float32 logits `(B, H, W, 2)`,
    and `decode` gives numbers from 0 to 1.

    Targets need SciPy, objects scikit-image as well (`pip install keras_dense[objects]`).

    Args:
        threshold: float > 0 and < 1, probability above which a pixel is foreground.
        prominence: float > 0 and <= 1. Two peaks of the distance are two objects if it falls so far
            between them; smaller values split more.
        min_size: int >= 0, objects of fewer pixels are left out.
        loss: a Keras loss of the maps; default: `kd.losses.InstanceCrossEntropy`.
        weight: float >= 0, weight of this head's loss among several heads.
        target: str, key of a sample that holds the numbers.

    Raises:
        ValueError: for a threshold, prominence or size out of range.

    Reference: Schmidt et al., "Cell Detection with Star-convex Polygons", MICCAI 2018 (the relative
    distance); Bai and Urtasun, "Deep Watershed Transform for Instance Segmentation", CVPR 2017.

    >>> head = Instances()
    >>> head.encode({"instances": np.array([[0, 7, 7, 7, 0]])})[0, :, 1].tolist()
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """

    channels = 2
    annotation = "instances"
    suffix = ".png"

    def __init__(
        self,
        threshold: float = 0.5,
        *,
        prominence: float = 0.15,
        min_size: int = 10,
        loss: keras.losses.Loss | None = None,
        weight: float = 1.0,
        target: str = "instances",
    ) -> None:
        self.threshold = _check.number(threshold, "threshold", above=0, below=1)
        self.prominence = _check.number(prominence, "prominence", high=1, above=0)
        self.min_size = _check.integer(min_size, "min_size", low=0)
        super().__init__(loss=loss, weight=weight, target=target)

    def default_loss(self) -> keras.losses.Loss:
        """Cross-entropy of foreground and distance."""
        return InstanceCrossEntropy()

    def metrics(self) -> list:
        """Fresh metrics of the maps: IoU of the foreground, mean error of the distance."""
        iou = InstanceMapErrors("foreground_iou", threshold=self.threshold)
        return [iou, iou.also("distance_error")]

    def encode(self, sample: Sample) -> Array:
        """Target of a sample: foreground and relative distance, float32 `(H, W, 2)`.

        An object that the edge of the image cuts is encoded as far as it is visible. The edge is
        no border: the object is as deep there as it was before a crop.

        Raises:
            KeyError: if the sample has no numbered objects.
            TypeError, ValueError: if they are not whole numbers, or of another shape.
            ImportError: without SciPy.
        """
        numbers = as_labels(entry(sample, self.target), self.target)
        numbers = numbers[..., 0] if numbers.ndim == 3 and numbers.shape[2] == 1 else numbers
        if numbers.ndim != 2:
            raise ValueError(
                f"`{self.target}` must have shape (height, width). Received: {numbers.shape}"
            )
        return encode_instances(numbers.astype("int64", copy=False))

    def unknown(self, size: tuple[int, int]) -> Array:
        """Target of `(height, width)` without a known pixel: NaN."""
        return np.full((*size, 2), np.nan, "float32")

    def check_targets(self, targets: Array) -> None:
        """Raise a `ValueError` for targets that are not from 0 to 1."""
        targets = np.asarray(targets)
        known = targets[np.isfinite(targets)]
        if known.size and not 0 <= known.min() <= known.max() <= 1:
            raise ValueError(
                "Targets must be foreground and relative distance, from 0 to 1. "
                f"Received: {known.min():.6g} to {known.max():.6g}"
            )

    def example(
        self, size: tuple[int, int], rng: np.random.Generator, known: bool = True
    ) -> Sample:
        """Sample of random blocks, or of unknown pixels."""
        if not known:
            return {self.target: np.full(size, -1)}
        blocks = rng.integers(0, 9, [-(-n // 4) for n in size])
        return {self.target: blocks.repeat(4, 0).repeat(4, 1)[: size[0], : size[1]]}

    def decode(self, prediction: Tensor, image: Tensor | None = None) -> Tensor:
        """Foreground and relative distance from logits, `(B, H, W, 2)` from 0 to 1."""
        return ops.sigmoid(ops.cast(prediction, "float32"))

    def to_mean(self, prediction: Tensor) -> Tensor:
        """Numbers from 0 to 1, which are averaged over several views of an image."""
        return self.decode(prediction)

    def from_mean(self, mean: Tensor) -> Tensor:
        """Logits with such a mean as result."""
        logits = ops.log(ops.maximum(mean, _TINY))
        return logits - ops.log(ops.maximum(1.0 - mean, _TINY))

    def outputs(self, prediction: Tensor, image: Tensor) -> dict[str, Tensor]:
        """`maps`, foreground and relative distance, `(B, H, W, 2)` from 0 to 1."""
        return {"maps": self.decode(prediction)}

    def about(self) -> dict[str, dict]:
        """Channels and range of the maps, and the numbers to decode them with."""
        settings = {
            "threshold": self.threshold,
            "prominence": self.prominence,
            "min_size": self.min_size,
        }
        channels = ["foreground", "relative distance to the border"]
        return {"maps": {"channels": channels, "range": [0, 1], **settings}}

    def objects(self, result: Array, *, min_size: int | None = None) -> Array:
        """Numbers of the objects: a watershed from the peaks of the distance.

        An object is a part of the foreground around a peak. Pixels that are not finite are
        background.

        Args:
            result: maps `(H, W, 2)`, of `decode` or a target; or numbers `(H, W)`, which stay as
                they are.
            min_size: int >= 0, objects of fewer pixels are left out; default: that of the head.

        Returns:
            Ints `(H, W)`, uint16 (uint32 for more than 65,535 objects): 0 for background, objects
            numbered in reading order of their first pixels.

        Raises:
            ValueError: for maps of another shape, or a negative size.
            ImportError: without SciPy or scikit-image.
        """
        result = np.asarray(result)
        if result.ndim == 2 and result.dtype.kind in "iu":
            return result
        if result.ndim != 3 or result.shape[2] != 2:
            raise ValueError(
                f"`result` must be maps of shape (height, width, 2). Received: {result.shape}"
            )
        if min_size is None:
            min_size = self.min_size
        min_size = _check.integer(min_size, "min_size", low=0)
        return in_order(decode_instances(result, self.threshold, self.prominence), min_size)

    def stored(self, result: Array) -> Stored:
        """Numbers of the objects in 16 bits.

        Raises:
            ValueError: for more than 65,535 objects; see `kd.inference.number_objects`.
        """
        numbers = self.objects(result)
        count = int(numbers.max(initial=0))
        if count > 65535:
            raise ValueError(
                f"{count} objects are more than a PNG of 16 bits can number; give a file to "
                "kd.inference.number_objects"
            )
        facts = {"unit": "number of an object, 0 for background", "objects": count}
        return Stored(numbers.astype("uint16"), facts=facts)

    def draw(self, result: Array) -> Array:
        """Objects in a color each, with a lighter border, uint8 RGB; unknown pixels are hatched.

        Args:
            result: see `objects`.

        A color depends on the number alone.
        """
        numbers, known = self._read(result)
        colors = number_colors(numbers)
        lighter: Array = 255 - (255 - colors) // 3
        return hatch_unknown(np.where(outlines(numbers)[..., None], lighter, colors), known)

    def error(self, truth: Array, prediction: Array, image: Array | None = None) -> Array:
        """Objects that are found in green, uint8 RGB; unknown pixels are hatched.

        An object is found if it and a predicted one share more than half of what both cover. Other
        objects, true or predicted, are red, as are wrong pixels of found ones.
        """
        numbers, known = self._read(truth)
        found, _ = self._read(prediction)
        found = np.where(known, found, 0)
        return right_and_wrong(unmatched(numbers, found), known, image)

    def overlay(self, result: Array, image: Array) -> Array:
        """Objects over their image: tinted, with a border in full color."""
        numbers, known = self._read(result)
        colors, image = number_colors(numbers), np.asarray(image, "uint16")
        tinted = np.where((numbers > 0)[..., None], (3 * image + colors + 2) // 4, image)
        return hatch_unknown(np.where(outlines(numbers)[..., None], colors, tinted), known)

    def _read(self, result):
        """Numbers of objects, 0 where unknown, and the mask of the known pixels."""
        result = np.asarray(result)
        numbers = self.objects(result)
        known = np.isfinite(result[..., 0]) if result.ndim == 3 else numbers >= 0
        return np.where(known, numbers, 0), known

    def get_config(self) -> Config:
        return {
            "threshold": self.threshold,
            "prominence": self.prominence,
            "min_size": self.min_size,
            **super().get_config(),
        }

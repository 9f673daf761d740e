"""Distances between the borders of regions: Hausdorff distance, average surface distance."""

import math

import keras
import numpy as np
from keras import ops

from keras_dense import _check
from keras_dense._types import Array, Config, Tensor
from keras_dense.metrics.image_metric import ImageMetric
from keras_dense.metrics.surfaces import Spacing, check_spacing, surface_distances
from keras_dense.ops.host import on_host

MISSING = ("diagonal", "infinity", "ignore")


class SurfaceMetric(ImageMetric):
    """Base of metrics of the distances between the surfaces of two regions.

    A class that truth and prediction of an image both lack has no value there. Subclasses implement
    `of_distances(from_truth, from_found, size)` for all others.

    Distances are computed by NumPy and SciPy, on the host, wherever the network runs.
    """

    def __init__(self, num_classes, *, spacing, **common):
        super().__init__(num_classes, **common)
        self.spacing = check_spacing(spacing)

    def measure(self, truth: Tensor, found: Tensor, known: Tensor) -> Tensor:
        shape = (ops.shape(truth)[0], self.num_classes)
        name = f"{type(self).__name__}_needs_jit_compile_False_in_compile"
        return on_host(self._values, (truth, found), shape, name)

    def _values(self, truth: Array, found: Array) -> Array:
        values = np.full((truth.shape[0], truth.shape[3]), np.nan)
        extent = tuple(n * s for n, s in zip(truth.shape[1:3], self.spacing, strict=True))
        for n, c in np.ndindex(values.shape):
            distances = surface_distances(
                truth[n, :, :, c], found[n, :, :, c], spacing=self.spacing
            )
            if sum(map(len, distances)):
                values[n, c] = self.of_distances(*distances, math.hypot(*extent))
        return values

    def of_distances(self, from_truth: Array, from_found: Array, diagonal: float) -> float:
        """The value of one image and class, from the result of `surface_distances`.

        Args:
            from_truth, from_found: float64 `(n,)`, not both empty.
            diagonal: float, length of the diagonal of the image, in the same unit.
        """
        raise TypeError(f"{type(self).__name__} must implement of_distances")

    def get_config(self) -> Config:
        return {**super().get_config(), "spacing": list(self.spacing)}


class _Distance(SurfaceMetric):
    """Base of the two whose values are lengths."""

    def __init__(self, num_classes, *, missing, **common):
        super().__init__(num_classes, direction="down", **common)
        self.missing = _check.choice(missing, "missing", MISSING)

    def of_distances(self, from_truth, from_found, diagonal):
        if len(from_truth) and len(from_found):
            return self.length(from_truth, from_found)
        return {"diagonal": diagonal, "infinity": math.inf, "ignore": math.nan}[self.missing]

    def get_config(self) -> Config:
        return {**super().get_config(), "missing": self.missing}


@keras.saving.register_keras_serializable("keras_dense")
class HausdorffDistance(_Distance):
    """Hausdorff distance of each image and class, or a percentile of it, averaged over the images.

    ```
    max(percentile of distances from truth to prediction, percentile of those from prediction to truth)
    ```

    with distances between surface pixels, see `kd.metrics.surface_distances`. 100 is the Hausdorff
    distance itself, which a single wrong pixel decides; 95 is what medical challenges report.

    Empty regions: a class in neither truth nor prediction has no value and stays out of the mean. A
    class that only one of them has would be infinitely far: it counts as the diagonal of the image,
    the largest possible distance. (`missing="infinity"` is what MONAI returns, which makes the mean
    infinite; `missing="ignore"` leaves such images out, so that a network gains by predicting
    nothing.) Void pixels belong to no region, in truth and prediction; labels of no class,
    predictions of NaN and wrong weights are reported as in `ConfusionMatrix`.

    Runs on the host with SciPy, within `fit`, too. On TensorFlow that needs
    `model.compile(..., jit_compile=False)`.

    Args:
        num_classes: int >= 1, classes of the prediction; 1: one logit, of object over background.
        percentile: float > 0 and <= 100.
        spacing: the distance of neighboring pixels, in any unit: a float > 0, or two, of pixels in
            a column and of pixels in a row. The metric has this unit.
        missing: `"diagonal"`, `"infinity"` or `"ignore"`, see above.
        mode: see `kd.metrics.ConfusionMatrix`.
        ignore_class: int, label of void pixels, or `None`.
        name: name of the metric.

    Call arguments:
        y_true: integers `(B, H, W)` or `(B, H, W, 1)`, or one-hot `(B, H, W, C)`.
        y_pred: logits `(B, H, W, C)`.
        sample_weight: `(B,)`, `(B, H, W)` or `(B, H, W, 1)`: pixels of weight 0 are void.

    Raises:
        ValueError: for an argument out of range; when called, for shapes that do not fit.
        ImportError: when called, without SciPy.

    Reference: Huttenlocher, Klanderman and Rucklidge, "Comparing Images Using the Hausdorff
    Distance", PAMI 1993; percentiles as in MONAI's `compute_hausdorff_distance`.

    >>> truth = np.zeros((1, 20, 30), int)
    >>> truth[:, 5:15, 5:15] = 1
    >>> found = np.roll(truth, 3, axis=2)
    >>> metric = HausdorffDistance(2, percentile=100, spacing=0.5)  # millimeters
    >>> metric.update_state(truth, np.eye(2)[found])
    >>> metric.scores()["hausdorff_distance_per_class"].tolist()
    [1.5, 1.5]
    """  # noqa: E501

    def __init__(
        self,
        num_classes: int,
        *,
        percentile: float = 95.0,
        spacing: Spacing = 1.0,
        missing: str = "diagonal",
        mode: str | None = None,
        ignore_class: int | None = 255,
        name: str = "hausdorff_distance",
    ):
        super().__init__(
            num_classes,
            spacing=spacing,
            missing=missing,
            mode=mode,
            ignore_class=ignore_class,
            name=name,
        )
        self.percentile = _check.number(percentile, "percentile", high=100, above=0)

    def length(self, from_truth: Array, from_found: Array) -> float:
        """The distance of two surfaces that are not empty."""
        return max(float(np.percentile(d, self.percentile)) for d in (from_truth, from_found))

    def get_config(self) -> Config:
        return {**super().get_config(), "percentile": self.percentile}


@keras.saving.register_keras_serializable("keras_dense")
class AverageSurfaceDistance(_Distance):
    """Average symmetric surface distance of each image and class, averaged over the images.

    The mean over all surface pixels of both regions of the distance to the other surface, see
    `kd.metrics.surface_distances` (MONAI's `compute_average_surface_distance(symmetric=True)`).
    Empty regions, void pixels, faulty inputs, arguments and `fit` as in `HausdorffDistance`.

    Args:
        num_classes: int >= 1, classes of the prediction; 1: one logit, of object over background.
        spacing: the distance of neighboring pixels, in any unit: a float > 0, or two, of pixels in
            a column and of pixels in a row. The metric has this unit.
        missing: value where only one of truth and prediction has a class: `"diagonal"` of the
            image, `"infinity"`, or `"ignore"`.
        mode: see `kd.metrics.ConfusionMatrix`.
        ignore_class: int, label of void pixels, or `None`.
        name: name of the metric.

    Raises:
        ValueError: for an argument out of range; when called, for shapes that do not fit.
        ImportError: when called, without SciPy.

    Reference: Heimann et al., "Comparison and Evaluation of Methods for Liver Segmentation From CT
    Datasets", TMI 2009, section II-D.

    >>> truth = np.zeros((1, 20, 30), int)
    >>> truth[:, 5:15, 5:15] = 1
    >>> found = np.roll(truth, 3, axis=2)
    >>> metric = AverageSurfaceDistance(1)
    >>> metric.update_state(truth, found[..., None] - 0.5)
    >>> round(float(metric.result()), 3)
    1.5
    """

    def __init__(
        self,
        num_classes: int,
        *,
        spacing: Spacing = 1.0,
        missing: str = "diagonal",
        mode: str | None = None,
        ignore_class: int | None = 255,
        name: str = "average_surface_distance",
    ):
        super().__init__(
            num_classes,
            spacing=spacing,
            missing=missing,
            mode=mode,
            ignore_class=ignore_class,
            name=name,
        )

    def length(self, from_truth: Array, from_found: Array) -> float:
        """The distance of two surfaces that are not empty."""
        return float(np.concatenate([from_truth, from_found]).mean())

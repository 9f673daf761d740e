"""Shares of the borders of regions within a tolerance: surface Dice, boundary F."""

import math

import keras
import numpy as np

from keras_dense import _check
from keras_dense._types import Array, Config
from keras_dense.metrics.surface_metrics import SurfaceMetric
from keras_dense.metrics.surfaces import Spacing


@keras.saving.register_keras_serializable("keras_dense")
class SurfaceDice(SurfaceMetric):
    """Share of both surfaces within a tolerance of each other (NSD), averaged over the images.

    ```
    (|surface of T within tolerance of P| + |surface of P within tolerance of T|) / (|surface of T| + |surface of P|)
    ```

    Borders are drawn with some error, even by people; within `tolerance` they are right. A class in
    neither truth nor prediction of an image stays out of the mean; one in only one of them scores
    0, as in MONAI. Void pixels, faulty inputs and `fit` as in `HausdorffDistance`. Pixels are
    counted, as by MONAI's `compute_surface_dice`; `surface-distance` of DeepMind weights them by
    the length of the border within, which needs no other arguments and differs little.

    Args:
        num_classes: int >= 1, classes of the prediction; 1: one logit, of object over background.
        tolerance: float >= 0, in the unit of `spacing`.
        spacing: the distance of neighboring pixels, in any unit: a float > 0, or two, of pixels in
            a column and of pixels in a row.
        mode: see `kd.metrics.ConfusionMatrix`.
        ignore_class: int, label of void pixels, or `None`.
        name: name of the metric.

    Raises:
        ValueError: for an argument out of range; when called, for shapes that do not fit.
        ImportError: when called, without SciPy.

    Reference: Nikolov et al., "Clinically Applicable Segmentation of Head and Neck Anatomy for
    Radiotherapy", J Med Internet Res 2021, "surface DSC".

    >>> truth = np.zeros((1, 20, 30), int)
    >>> truth[:, 5:15, 5:15] = 1
    >>> found = np.roll(truth, 2, axis=2)
    >>> for tolerance in (1.0, 2.0):
    ...     metric = SurfaceDice(1, tolerance=tolerance)
    ...     metric.update_state(truth, found[..., None] - 0.5)
    ...     print(round(float(metric.result()), 3))
    0.556
    1.0
    """  # noqa: E501

    def __init__(
        self,
        num_classes: int,
        *,
        tolerance: float = 1.0,
        spacing: Spacing = 1.0,
        mode: str | None = None,
        ignore_class: int | None = 255,
        name: str = "surface_dice",
    ):
        super().__init__(
            num_classes,
            spacing=spacing,
            mode=mode,
            ignore_class=ignore_class,
            name=name,
            direction="up",
        )
        self.tolerance = _check.number(tolerance, "tolerance", 0)

    def of_distances(self, from_truth: Array, from_found: Array, diagonal: float) -> float:
        return float((np.concatenate([from_truth, from_found]) <= self.tolerance).mean())

    def get_config(self) -> Config:
        return {**super().get_config(), "tolerance": self.tolerance}


@keras.saving.register_keras_serializable("keras_dense")
class BoundaryF(SurfaceMetric):
    """F score of boundaries within a tolerance, averaged over the images.

    ```
    F = 2 P R / (P + R)    P: share of the predicted surface within tolerance of the true one, R: the reverse
    ```

    The score of sharp contours in video segmentation (DAVIS) and, for each class, in street scenes
    (the BF score). A class in neither truth nor prediction of an image stays out of the mean; one
    in only one of them scores 0. Surfaces are those of `kd.metrics.surface_distances`; void pixels,
    faulty inputs and `fit` as in `HausdorffDistance`. `kd.metrics.BoundaryIoU` compares bands along
    the boundaries instead, and `kd.datasets.trimap` gives weights for any score near a border.

    Args:
        num_classes: int >= 1, classes of the prediction; 1: one logit, of object over background.
        tolerance: float >= 0, in the unit of `spacing`; `None`: the share 0.008 of the diagonal of
            the image, rounded up to whole pixels, as in DAVIS (with a spacing, of the same unit).
        spacing: the distance of neighboring pixels, in any unit: a float > 0, or two, of pixels in
            a column and of pixels in a row.
        mode: see `kd.metrics.ConfusionMatrix`.
        ignore_class: int, label of void pixels, or `None`.
        name: name of the metric.

    Raises:
        ValueError: for an argument out of range; when called, for shapes that do not fit.
        ImportError: when called, without SciPy.

    Reference: Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object
    Segmentation", CVPR 2016, section 4; Csurka, Larlus and Perronnin, "What is a good evaluation
    measure for semantic segmentation?", BMVC 2013, section 3.

    >>> truth = np.zeros((1, 20, 30), int)
    >>> truth[:, 5:15, 5:15] = 1
    >>> found = np.roll(truth, 2, axis=2)
    >>> metric = BoundaryF(1)  # 0.008 of the diagonal: 1 pixel
    >>> metric.update_state(truth, found[..., None] - 0.5)
    >>> round(float(metric.result()), 3)
    0.556
    """  # noqa: E501

    def __init__(
        self,
        num_classes: int,
        *,
        tolerance: float | None = None,
        spacing: Spacing = 1.0,
        mode: str | None = None,
        ignore_class: int | None = 255,
        name: str = "boundary_f",
    ):
        super().__init__(
            num_classes,
            spacing=spacing,
            mode=mode,
            ignore_class=ignore_class,
            name=name,
            direction="up",
        )
        self.tolerance = None if tolerance is None else _check.number(tolerance, "tolerance", 0)

    def of_distances(self, from_truth: Array, from_found: Array, diagonal: float) -> float:
        if not (len(from_truth) and len(from_found)):
            return 0.0
        tolerance = self.tolerance
        if tolerance is None:
            pixel = min(self.spacing)
            tolerance = math.ceil(0.008 * diagonal / pixel) * pixel
        recall, precision = ((d <= tolerance).mean() for d in (from_truth, from_found))
        both = recall + precision
        return float(2 * precision * recall / both) if both else 0.0

    def get_config(self) -> Config:
        return {**super().get_config(), "tolerance": self.tolerance}

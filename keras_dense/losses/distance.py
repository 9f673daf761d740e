"""Losses that weight errors by their distance from the border: Boundary and Hausdorff."""

import keras
from keras import ops

from keras_dense import _check
from keras_dense._types import ArrayLike, Config, Tensor
from keras_dense.losses.contract import refuse_binary_class_weight
from keras_dense.losses.spatial import Maps, SpatialLoss
from keras_dense.losses.weighted import SUM_OVER_BATCH_SIZE, Costs
from keras_dense.ops.distance import nearest_distance


def signed_distance(inside: Tensor, known: Tensor) -> Tensor:
    """Distances to the border of regions, in pixels: negative inside, positive outside.

    Outside, the distance to the nearest pixel of the region; inside, that to the nearest pixel of
    the outside less 1, so both pixels at a border are next to 0.

    Args:
        inside: bool `(B, H, W, C)`.
        known: bool of this shape; pixels that are not known are neither inside nor outside.

    Returns:
        float32 `(B, H, W, C)`, 0 in maps without inside or without outside.

    >>> import numpy as np
    >>> inside = np.array([0, 0, 1, 1, 1, 0], "bool")[None, None, :, None]
    >>> found = signed_distance(inside, np.ones_like(inside))
    >>> ops.convert_to_numpy(found).ravel().tolist()
    [2.0, 1.0, 0.0, -1.0, 0.0, 1.0]
    """
    inside = ops.logical_and(inside, known)
    outside = ops.logical_and(ops.logical_not(inside), known)
    depth = ops.where(inside, 1.0 - nearest_distance(outside), 0.0)
    return _has_border(inside, outside) * ops.where(outside, nearest_distance(inside), depth)


def border_distance(inside: Tensor, known: Tensor) -> Tensor:
    """Distances of pixels of a region to its outside, and of those outside to the region.

    Arguments and result as of `signed_distance`; at least 1 where there is a border.
    """
    inside = ops.logical_and(inside, known)
    outside = ops.logical_and(ops.logical_not(inside), known)
    # Of its own sites a pixel has distance 0.
    distance = nearest_distance(inside) + nearest_distance(outside)
    return _has_border(inside, outside) * distance


def _has_border(inside, outside):
    both = ops.logical_and(*(ops.any(x, axis=(1, 2), keepdims=True) for x in (inside, outside)))
    return ops.cast(both, "float32")


class _Distance(SpatialLoss):
    """Base of the two: the limit of distances, and class weights."""

    def __init__(self, mode, *, reach, **common):
        super().__init__(mode, **common)
        refuse_binary_class_weight(self, mode, self.class_weight)
        self.reach = None if reach is None else _check.number(reach, "reach", above=0)

    def limited(self, distance: Tensor) -> Tensor:
        """A distance in pixels, no farther than `reach`."""
        return distance if self.reach is None else ops.clip(distance, -self.reach, self.reach)

    def get_config(self) -> Config:
        return {**super().get_config(), "reach": self.reach}


@keras.saving.register_keras_serializable("keras_dense")
class Boundary(_Distance):
    """Boundary loss: probabilities times the signed distance to the true border.

    ```
    loss = sum_n w[n] mean_c phi_c[n] p_c[n] / sum_n w[n]
    ```

    with phi_c the distance in pixels from the border of class c in the truth, negative inside the
    class (see `signed_distance`), and 0 in images that lack the class or have nothing else. A pixel
    far from the border costs more, so small regions are not outweighed by large ones. The least
    value is below 0. It has no pull where everything is far: the paper adds it to a region loss,
    with a weight that grows from 0.01, `kd.losses.Sum([Dice(), Boundary()], [1.0, 0.01])`.

    Distances are exact and are computed in the loss from the labels, on every backend, in W steps
    over all pixels and classes. Void pixels are like pixels beyond the image. Kervadec et
    al., "Boundary loss for highly unbalanced segmentation", MIDL 2019, equation 5.

    Args:
        mode: `"multiclass"`, `"binary"` (the foreground is scored) or `"multilabel"`.
        ignore_class: label of void pixels, or `None`.
        class_weight: one number per class, or `None`; not when binary.
        reach: float > 0, limit of distances in pixels, or `None`.
        reduction: as in Keras: `"sum_over_batch_size"` (the weighted mean over known pixels;
            `"mean"` and `"mean_with_sample_weight"` are the same), `"sum"`, or `"none"`: the loss
            of each pixel, `(B, H, W)`; with several labels of each label, `(B, H, W, C)`.
        name: name of the loss.

    Raises:
        ValueError: for a reach that is not above 0; when called, for predictions that are no maps.

    Example:

    >>> import numpy as np
    >>> labels = np.array([[[0, 0, 1, 1, 1, 0]]])  # distances 2, 1, 0, -1, 0, 1
    >>> loss = Boundary("binary")
    >>> float(loss(labels, np.zeros((1, 1, 6, 1))))  # their mean, times 1/2
    0.25
    """

    def __init__(
        self,
        mode: str = "multiclass",
        *,
        ignore_class: int | None = 255,
        class_weight: ArrayLike | None = None,
        reach: float | None = None,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str = "boundary",
    ):
        super().__init__(
            mode,
            ignore_class=ignore_class,
            class_weight=class_weight,
            reach=reach,
            reduction=reduction,
            name=name,
        )

    def compute_maps(self, maps: Maps) -> Costs:
        distance = signed_distance(maps.truth > 0.5, maps.weight > 0.0)
        return self.pixel_costs(self.limited(distance) * maps.probability, maps.weight)


@keras.saving.register_keras_serializable("keras_dense")
class Hausdorff(_Distance):
    """Hausdorff loss: squared errors, weighted by the distances to both borders.

    ```
    loss = sum_n w[n] mean_c (p_c[n] - t_c[n])² (d_c[n]^alpha + e_c[n]^alpha) / sum_n w[n]
    ```

    with d_c and e_c the distances in pixels to the border of class c in the truth and in the
    prediction (where p > 1/2); each is 0 in images where the class has no border. A smooth stand-in
    for the Hausdorff distance: errors far from the border cost most. Beside a region loss, as the
    paper has it, for a wrong region far from everything pulls as hard as all others together.

    Distances are exact and are computed in the loss, on every backend, in W steps over all pixels
    and classes. Void pixels are like pixels beyond the image. Karimi and Salcudean,
    "Reducing the Hausdorff Distance in Medical Image Segmentation with Convolutional Neural
    Networks", TMI 2019, equation 8.

    Args:
        mode: `"multiclass"`, `"binary"` (the foreground is scored) or `"multilabel"`.
        ignore_class: label of void pixels, or `None`.
        class_weight: one number per class, or `None`; not when binary.
        alpha: float > 0, exponent of the distances.
        reach: float > 0, limit of distances in pixels, or `None`.
        reduction: as in Keras: `"sum_over_batch_size"` (the weighted mean over known pixels;
            `"mean"` and `"mean_with_sample_weight"` are the same), `"sum"`, or `"none"`: the loss
            of each pixel, `(B, H, W)`; with several labels of each label, `(B, H, W, C)`.
        name: name of the loss.

    Raises:
        ValueError: for an alpha or a reach that is not above 0; when called, for predictions that
            are no maps.

    Example:

    >>> import numpy as np
    >>> labels = np.array([[[0, 0, 0, 1]]])
    >>> near, far = np.array([-9.0, -9, 9, 9]), np.array([9.0, -9, -9, 9])
    >>> loss = Hausdorff("binary")
    >>> [round(float(loss(labels, x.reshape(1, 1, 4, 1))), 2) for x in (near, far)]
    [0.5, 2.5]
    """

    def __init__(
        self,
        mode: str = "multiclass",
        *,
        ignore_class: int | None = 255,
        class_weight: ArrayLike | None = None,
        alpha: float = 2.0,
        reach: float | None = None,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str = "hausdorff",
    ):
        super().__init__(
            mode,
            ignore_class=ignore_class,
            class_weight=class_weight,
            reach=reach,
            reduction=reduction,
            name=name,
        )
        self.alpha = _check.number(alpha, "alpha", above=0)

    def compute_maps(self, maps: Maps) -> Costs:
        known = maps.weight > 0.0
        distance = sum(
            ops.power(self.limited(border_distance(region > 0.5, known)), self.alpha)
            for region in (maps.truth, ops.stop_gradient(maps.probability))
        )
        return self.pixel_costs(distance * ops.square(maps.probability - maps.truth), maps.weight)

    def get_config(self) -> Config:
        return {**super().get_config(), "alpha": self.alpha}

"""Virtual normals: planes through distant points of a scene, in truth and prediction."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_dense import _check
from keras_dense._types import Config, Tensor
from keras_dense.losses.depth import DepthLoss, safe_sqrt
from keras_dense.losses.weighted import ONE_BY_ONE, SUM_OVER_BATCH_SIZE
from keras_dense.ops.masked import safe_divide

# A triplet is left out where two of its edges are nearly parallel, or its points nearly one.
_PARALLEL, _NEAR = 0.867, 0.005


def unit(vectors: Tensor) -> Tensor:
    """Vectors `(…, 3)` at length 1; those shorter than 1e-6 become 0, with zero gradient.

    >>> ops.convert_to_numpy(unit(ops.convert_to_tensor([0.0, 0.0, 2.0]))).tolist()
    [0.0, 0.0, 1.0]
    """
    length = safe_sqrt(ops.sum(ops.square(vectors), axis=-1, keepdims=True))
    return safe_divide(vectors, length)


def cross(a: Tensor, b: Tensor) -> Tensor:
    """The vector product of `(…, 3)`.

    >>> a, b = ops.convert_to_tensor([1.0, 0, 0]), ops.convert_to_tensor([0, 1.0, 0])
    >>> ops.convert_to_numpy(cross(a, b)).tolist()
    [0.0, 0.0, 1.0]
    """
    x, y, z = (a[..., i] for i in range(3))
    u, v, w = (b[..., i] for i in range(3))
    return ops.stack([y * w - z * v, z * u - x * w, x * v - y * u], axis=-1)


def plane_normals(points: Tensor) -> Tensor:
    """Unit normals `(B, N, 3)` of planes through triplets `(B, N, 3, 3)`; 0 for lines."""
    first, second, third = (points[:, :, i] for i in range(3))
    return unit(cross(unit(second - first), unit(third - first)))


def well_spread(points: Tensor) -> Tensor:
    """The triplets `(B, N, 3, 3)` that span a plane worth comparing: bool `(B, N)`."""
    edges = [points[:, :, j] - points[:, :, i] for i, j in ((0, 1), (0, 2), (1, 2))]
    units = [unit(edge) for edge in edges]
    cosines = [ops.sum(units[i] * units[j], axis=-1) for i, j in ((0, 1), (0, 2), (1, 2))]
    parallel = ops.any(ops.absolute(ops.stack(cosines)) > _PARALLEL, axis=0)
    close = ops.any(ops.absolute(ops.stack(edges)) < _NEAR, axis=0)
    return ops.logical_not(ops.logical_or(parallel, ops.all(close, axis=-1)))


@keras.saving.register_keras_serializable("keras_dense")
class VirtualNormal(DepthLoss):
    """Difference of the planes through random triplets of points, in truth and prediction.

    ```
    P = z ((u - cx) / fx, (v - cy) / fy, 1)
    n = unit((P2 - P1) × (P3 - P1))
    loss = mean |n(y_pred) - n(y_true)|₁
    ```

    over triplets of known pixels of the batch, without the share `drop` of them that differ least.
    Triplets are left out if, in the truth, two of their edges are within 30° of parallel, or if,
    in every coordinate, two of their points lie within 5 mm of each other. Yin et al., "Enforcing
    geometric constraints of virtual normal for depth prediction", ICCV 2019, section 3.2.

    Args:
        intrinsics: `(fx, fy, cx, cy)` in pixels of the maps; the center of the top left pixel is
            (0, 0).
        triplets: int >= 1, how many are drawn in each image.
        drop: float from 0 to 0.999, share of the triplets that is left out.
        seed: int >= 0, of the pattern of triplets. The pattern is shifted by the mean of the
            targets: the same targets are compared at the same pixels, others elsewhere.
        reduction: a mean (`"sum_over_batch_size"`, `"mean"` or `"mean_with_sample_weight"`, which
            are the same): there is no loss of each pixel to sum or return.
        name: name of the loss.

    Weights of pixels only select: a triplet counts if the weights of all three are positive.

    Example:

    >>> import numpy as np
    >>> meters = np.full((1, 8, 8), 2.0)
    >>> round(float(VirtualNormal((8, 8, 4, 4))(meters, 3 * meters[..., None])), 6)
    0.0
    """

    def __init__(
        self,
        intrinsics: Sequence[float],
        *,
        triplets: int = 10000,
        drop: float = 0.25,
        seed: int = 0,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str = "virtual_normal",
    ):
        super().__init__(reduction=reduction, name=name, whole=ONE_BY_ONE)
        values = np.asarray(intrinsics, "float64")
        if values.shape != (4,) or not np.isfinite(values).all() or min(values[:2]) <= 0:
            wanted = "(fx, fy, cx, cy) in pixels, with fx and fy positive"
            raise _check.fail("intrinsics", wanted, intrinsics)
        self.intrinsics = tuple(values.tolist())
        self.triplets = _check.integer(triplets, "triplets", 1)
        self.drop = _check.number(drop, "drop", 0, 0.999)
        self.seed = _check.integer(seed, "seed", 0)

    def places(self, y_true: Tensor) -> Tensor:
        """Indices of the pixels of all triplets, `(triplets * 3,)`, row by row."""
        height, width = ops.shape(y_true)[1:3]
        rng = np.random.default_rng(self.seed)
        pattern = ops.convert_to_tensor(rng.random((2, self.triplets * 3)), "float32")
        shift = ops.mean(y_true) * ops.convert_to_tensor([[997.0], [1499.0]], "float32")
        pattern = pattern + shift
        pattern = pattern - ops.floor(pattern)
        row, column = (
            ops.minimum(ops.cast(share * ops.cast(size, "float32"), "int32"), size - 1)
            for share, size in ((pattern[0], height), (pattern[1], width))
        )
        return row * width + column

    def score(self, y_true: Tensor, y_pred: Tensor, weight: Tensor) -> Tensor:
        batch, height, width = ops.shape(y_true)[:3]
        fx, fy, cx, cy = self.intrinsics
        u = (ops.arange(width, dtype="float32") - cx) / fx
        v = (ops.arange(height, dtype="float32") - cy) / fy
        shape = (1, height, width)
        u = ops.broadcast_to(ops.reshape(u, (1, 1, -1)), shape)
        v = ops.broadcast_to(ops.reshape(v, (1, -1, 1)), shape)
        rays = ops.stack([u, v, ops.ones_like(u)], axis=-1)
        places = self.places(y_true)

        def chosen(x):
            x = ops.take(ops.reshape(x, (batch, -1, x.shape[-1])), places, axis=1)
            return ops.reshape(x, (batch, self.triplets, 3, x.shape[-1]))

        truth, prediction = chosen(y_true * rays), chosen(y_pred * rays)
        known = ops.all(chosen(weight)[..., 0] > 0, axis=-1)
        counts = ops.reshape(ops.logical_and(known, well_spread(truth)), (-1,))
        difference = ops.absolute(plane_normals(prediction) - plane_normals(truth))
        difference = ops.reshape(ops.sum(difference, axis=-1), (-1,))
        # Triplets that do not count come first in the order, those that differ least after them.
        order = ops.sort(ops.where(counts, difference, -1.0))
        n = ops.sum(ops.cast(counts, "int32"))
        dropped = ops.cast(ops.floor(self.drop * ops.cast(n, "float32")), "int32")
        first = ops.shape(order)[0] - n + dropped
        rank = ops.arange(ops.shape(order)[0], dtype="int32")
        kept = ops.cast(rank >= first, "float32")
        return safe_divide(ops.sum(kept * order), ops.sum(kept))

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "intrinsics": self.intrinsics,
            "triplets": self.triplets,
            "drop": self.drop,
            "seed": self.seed,
        }

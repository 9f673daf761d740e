"""Virtual normals: planes through far points of the scene, in truth and prediction."""

import keras
import numpy as np
from keras import ops

from keras_dense import _check
from keras_dense.losses.contract import check_number
from keras_dense.losses.depth import DepthLoss, safe_sqrt
from keras_dense.losses.depth_structure import ONE_BY_ONE
from keras_dense.losses.weighted import SUM_OVER_BATCH_SIZE, safe_divide

# A triplet is left out where two of its edges are nearly parallel, or its points nearly one.
_PARALLEL, _NEAR = 0.867, 0.005


def unit(vectors):
    """Vectors `(…, 3)` of length 1; 0, with zero gradient, instead of those shorter than 1e-6.

    >>> ops.convert_to_numpy(unit(ops.convert_to_tensor([0.0, 0.0, 2.0]))).tolist()
    [0.0, 0.0, 1.0]
    """
    length = safe_sqrt(ops.sum(ops.square(vectors), axis=-1, keepdims=True))
    return safe_divide(vectors, length)


def cross(a, b):
    """The vector product of `(…, 3)`.

    >>> a, b = ops.convert_to_tensor([1.0, 0, 0]), ops.convert_to_tensor([0, 1.0, 0])
    >>> ops.convert_to_numpy(cross(a, b)).tolist()
    [0.0, 0.0, 1.0]
    """
    x, y, z = (a[..., i] for i in range(3))
    u, v, w = (b[..., i] for i in range(3))
    return ops.stack([y * w - z * v, z * u - x * w, x * v - y * u], axis=-1)


def plane_normals(points):
    """Unit normals `(B, N, 3)` of the planes through triplets `(B, N, 3, 3)`; 0 where on a line."""
    first, second, third = (points[:, :, i] for i in range(3))
    return unit(cross(unit(second - first), unit(third - first)))


def well_spread(points):
    """Which triplets `(B, N, 3, 3)` span a plane worth comparing: bool `(B, N)`."""
    edges = [points[:, :, j] - points[:, :, i] for i, j in ((0, 1), (0, 2), (1, 2))]
    units = [unit(edge) for edge in edges]
    cosines = [ops.sum(units[i] * units[j], axis=-1) for i, j in ((0, 1), (0, 2), (1, 2))]
    parallel = ops.any(ops.absolute(ops.stack(cosines)) > _PARALLEL, axis=0)
    close = ops.any(ops.absolute(ops.stack(edges)) < _NEAR, axis=0)
    return ops.logical_not(ops.logical_or(parallel, ops.all(close, axis=-1)))


@keras.saving.register_keras_serializable("keras_dense")
class VirtualNormal(DepthLoss):
    """The planes through random triplets of points, in the truth and in the prediction.

    ```
    P = z ((u - cx) / fx, (v - cy) / fy, 1)
    n = unit((P2 - P1) × (P3 - P1))
    loss = mean |n(y_pred) - n(y_true)|₁
    ```

    over triplets of known pixels of the batch, without the `drop` of them that differ least. Left
    out are those that in the truth have two edges within 30° of parallel, or lie within 5 mm of
    each other in every coordinate. Yin et al., "Enforcing geometric constraints of virtual normal
    for depth prediction", ICCV 2019, section 3.2.

    Args:
        intrinsics: `(fx, fy, cx, cy)` in pixels of the maps; the center of the top left pixel is
            (0, 0).
        triplets: int >= 1, drawn in each image.
        drop: Share of the triplets that counts nothing, in [0, 1).
        seed: int, of the pattern of triplets. It is shifted by what the targets hold: other
            targets are looked at elsewhere, the same ones at the same pixels.
        name: Name of the loss.
        reduction: A mean, as Keras calls it (`"sum_over_batch_size"`, `"mean"`,
            `"mean_with_sample_weight"`): there is no loss of each pixel to sum or return.

    Weights of pixels only choose: a triplet counts where all three are positive.

    Example:

    >>> import numpy as np
    >>> meters = np.full((1, 8, 8), 2.0)
    >>> round(float(VirtualNormal((8, 8, 4, 4))(meters, 3 * meters[..., None])), 6)
    0.0
    """

    def __init__(
        self,
        intrinsics,
        triplets=10000,
        drop=0.25,
        seed=0,
        name="virtual_normal",
        reduction=SUM_OVER_BATCH_SIZE,
    ):
        super().__init__(name, reduction, whole=ONE_BY_ONE)
        values = np.asarray(intrinsics, "float64")
        if values.shape != (4,) or not np.isfinite(values).all() or min(values[:2]) <= 0:
            raise ValueError(
                "`intrinsics` must be (fx, fy, cx, cy) in pixels, fx and fy positive. "
                f"Received: intrinsics={intrinsics!r}"
            )
        self.intrinsics = tuple(values.tolist())
        self.triplets = _check.integer(triplets, "triplets", 1)
        self.drop = check_number("drop", drop, 0.0, 0.999)
        self.seed = _check.integer(seed, "seed", 0)

    def places(self, y_true):
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

    def score(self, y_true, y_pred, weight):
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

    def get_config(self):
        return {
            **super().get_config(),
            "intrinsics": self.intrinsics,
            "triplets": self.triplets,
            "drop": self.drop,
            "seed": self.seed,
        }

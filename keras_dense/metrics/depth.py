"""Errors of depth, summed over a whole data set, by the protocols that papers report."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dense import _check
from keras_dense._types import Config, Tensor
from keras_dense.metrics.shared import SharedMetric
from keras_dense.ops.masked import image_median, safe_divide
from keras_dense.ops.targets import nan_where, read_map

SCORES = (
    "abs_rel",
    "sq_rel",
    "rmse",
    "rmse_log",
    "log10",
    "silog",
    "delta1",
    "delta2",
    "delta3",
)

# Rows and columns are half-open: (top, bottom, left, right).
_NYU = {"min_depth": 1e-3, "max_depth": 10.0, "size": (480, 640)}
_KITTI = {"min_depth": 1e-3, "max_depth": 80.0, "reduction": "image", "size": None}
PROTOCOLS = {
    "nyu_bts": {**_NYU, "crop": (45, 471, 41, 601), "reduction": "image"},
    "nyu_densedepth": {**_NYU, "crop": (20, 460, 24, 616), "reduction": "pixel"},
    "nyu_geonet": {**_NYU, "crop": (44, 471, 40, 601), "reduction": "pixel"},
    "kitti_garg": {**_KITTI, "crop": (0.40810811, 0.99189189, 0.03594771, 0.96405229)},
    "kitti_eigen": {**_KITTI, "crop": (0.3324324, 0.91351351, 0.0359477, 0.96405229)},
}


def check_crop(crop: Sequence[float] | None) -> tuple[float, ...] | None:
    """A crop as four numbers, or `None`.

    Raises:
        ValueError: if it is not a crop; the message says what one is.

    >>> check_crop([45, 471, 41, 601])
    (45, 471, 41, 601)
    """
    if crop is None:
        return None
    values = crop.tolist() if isinstance(crop, np.ndarray) else crop
    values = tuple(values) if isinstance(values, (tuple, list)) else ()
    values = tuple(v.item() if isinstance(v, np.generic) else v for v in values)
    right = all(
        0.0 <= v <= 1.0 if isinstance(v, float) else _check.is_integer(v) and v >= 0 for v in values
    )
    if len(values) != 4 or not right or values[0] >= values[1] or values[2] >= values[3]:
        wanted = (
            "(top, bottom, left, right), top < bottom and left < right: ints are rows and columns, "
            "floats shares of the height and width from 0 to 1"
        )
        raise _check.fail("crop", wanted, crop)
    return values


def edge(value: float, size: Any) -> Any:
    """The cell where a crop begins or ends on an axis.

    Args:
        value: an int, which is returned as it is; or a float from 0 to 1, a share of `size`,
            rounded down. It is computed in integers, as float32 would round
            0.99189189 * 370 = 366.9999993 up.
        size: int or integer scalar.

    >>> edge(0.99189189, 370), edge(45, 480)
    (366, 45)
    """
    if isinstance(value, int):
        return value
    coarse, fine = divmod(round(value * 10**8), 10**4)
    return (coarse * size + (fine * size) // 10**4) // 10**4


@keras.saving.register_keras_serializable("keras_dense")
class DepthErrors(SharedMetric):
    """Errors of predicted depth p against the true depth t, in meters.

    | score | over the known pixels |
    |---|---|
    | `"abs_rel"`, `"sq_rel"` | mean \\|p - t\\| / t, mean (p - t)² / t |
    | `"rmse"`, `"rmse_log"` | root of the mean of (p - t)², of (ln p - ln t)² |
    | `"log10"` | mean \\|log10 p - log10 t\\| |
    | `"silog"` | 100 sqrt(mean d² - (mean d)²), d = ln p - ln t |
    | `"delta1"`, `"delta2"`, `"delta3"` | share with max(p / t, t / p) < 1.25, 1.25², 1.25³ |

    Pixels with `min_depth` < t < `max_depth` inside the crop are counted. Predictions are clipped
    to that range, NaN counts as `min_depth`. Sums are kept in two float32 words, so no digits are
    lost over a large data set. A score is NaN while nothing was counted, and once a known pixel had
    a weight that is negative or not finite.

    Predictions must have the size of the truth: upsample them first.

    | `protocol` | range | crop | reduction | as evaluated by |
    |---|---|---|---|---|
    | `"nyu_bts"` | 10 m | rows 45–470, columns 41–600 | image | BTS, AdaBins, ZoeDepth ("Eigen crop") |
    | `"nyu_densedepth"` | 10 m | rows 20–459, columns 24–615 | pixel | DenseDepth (which divides AbsRel and SqRel by the prediction; here by the truth) |
    | `"nyu_geonet"` | 10 m | rows 44–470, columns 40–600 | pixel | GeoNet |
    | `"kitti_garg"` | 80 m | rows 0.408–0.992 H, columns 0.036–0.964 W | image | Garg et al., most others |
    | `"kitti_eigen"` | 80 m | rows 0.332–0.914 H, columns 0.036–0.964 W | image | Eigen et al. |

    Args:
        score: result of `result()`, one of the above.
        min_depth: float > 0, meters; 0.001 unless the protocol has another value.
        max_depth: float, meters, or `None`: no limit.
        crop: `(top, bottom, left, right)`, half-open: ints are rows and columns, floats shares of
            the height and width (rounded down to whole pixels); `None`: the whole image.
        reduction: `"image"` (default): the mean over images of the score of each; `"pixel"`: the
            score of all pixels together.
        median_scaling: bool; a prediction is first multiplied by median(t) / median(p) of its
            image, for networks that predict depth up to a scale.
        protocol: str, a protocol whose values are used for the arguments that are `None`.
        name: name of the metric; by default the name of the score.

    Call arguments:
        y_true: meters `(B, H, W, 1)` or `(B, H, W)`.
        y_pred: meters `(B, H, W, 1)`.
        sample_weight: `(B,)`, `(B, H, W)` or `(B, H, W, 1)`: pixels of weight 0 are not counted,
            all others once.

    Reference: Eigen et al., "Depth Map Prediction from a Single Image using a Multi-Scale Deep
    Network", NIPS 2014, section 4.3.

    Example:

    >>> import numpy as np
    >>> metric = DepthErrors("abs_rel", max_depth=10.0)
    >>> truth = np.array([[[2.0, 4.0, 0.0]]])  # the last pixel is unknown
    >>> metric.update_state(truth, np.array([[[[3.0], [4.0], [7.0]]]]))
    >>> round(float(metric.result()), 4), round(metric.scores()["delta3"], 4)
    (0.25, 1.0)
    >>> DepthErrors("rmse", protocol="nyu_bts").crop
    (45, 471, 41, 601)
    """  # noqa: E501

    def __init__(
        self,
        score: str = "abs_rel",
        *,
        min_depth: float | None = None,
        max_depth: float | None = None,
        crop: Sequence[float] | None = None,
        reduction: str | None = None,
        median_scaling: bool = False,
        protocol: str | None = None,
        name: str | None = None,
    ):
        _check.choice(score, "score", SCORES)
        _check.choice(protocol, "protocol", (*PROTOCOLS, None))
        given = {
            "min_depth": min_depth,
            "max_depth": max_depth,
            "crop": crop,
            "reduction": reduction,
        }
        settings: dict[str, Any] = {
            "min_depth": 1e-3,
            "reduction": "image",
            "max_depth": None,
            "crop": None,
            **PROTOCOLS.get(protocol or "", {}),
            **{key: value for key, value in given.items() if value is not None},
        }
        super().__init__(name or score, "up" if score.startswith("delta") else "down")
        self.score = score
        self.min_depth = _check.number(settings["min_depth"], "min_depth", 1e-12)
        self.max_depth = settings["max_depth"]
        if self.max_depth is not None:
            self.max_depth = _check.number(self.max_depth, "max_depth", 0)
            if self.max_depth <= self.min_depth:
                wanted = f"more than min_depth={self.min_depth}"
                raise _check.fail("max_depth", wanted, self.max_depth)
        self.crop = check_crop(settings["crop"])
        self.reduction = _check.choice(settings["reduction"], "reduction", ("image", "pixel"))
        self.median_scaling = _check.flag(median_scaling, "median_scaling")
        self.protocol = protocol
        self._size = settings.get("size")
        shape = (len(SCORES) + 1,)
        self._sums = self.add_variable(shape, "zeros", name="sums")
        self._rests = self.add_variable(shape, "zeros", name="rests")

    def measure(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None) -> Tensor:
        """Sums over the pixels of the batch, or over its images, and their number."""
        y_pred = ops.cast(ops.convert_to_tensor(y_pred), "float32")
        if y_pred.shape[-1] != 1:
            raise ValueError(
                "`y_pred` must be depth of shape (B, H, W, 1). "
                f"Received: y_pred of shape {tuple(y_pred.shape)}"
            )
        y_true = ops.convert_to_tensor(y_true)
        y_true, weight, wrong = read_map(y_true, y_pred, sample_weight, 1, self._known)
        known = ops.logical_and(weight > 0, self._inside(y_pred))
        measured = self._sums_of(self._errors(y_true, y_pred, known))
        return measured if wrong is None else nan_where(measured, ops.any(wrong))

    def _sums_of(self, errors):
        """The sums over all pixels, or over the images of their scores."""
        # Row by row: a single float32 sum over all pixels would lose a digit on some backends.
        sums = ops.sum(ops.sum(errors, axis=2), axis=1)
        if self.reduction == "pixel":
            return ops.sum(sums, axis=0)
        n = sums[:, -1:]
        means = safe_divide(sums[:, :-1], n)
        d, one = errors[..., 5:6], errors[..., -1:]
        centered = ops.square(d - one * means[:, None, None, 5:6])
        variance = safe_divide(ops.sum(ops.sum(centered, axis=2), axis=1), n)[:, 0]
        values = _scores([means[:, i] for i in range(len(SCORES))], variance, ops)
        seen = ops.cast(n > 0, "float32")
        each = ops.stack(list(values.values()), axis=-1)
        return ops.sum(ops.concatenate([seen * each, seen], axis=-1), axis=0)

    def _known(self, y_true):
        last = float("inf") if self.max_depth is None else self.max_depth
        return ops.logical_and(y_true > self.min_depth, y_true < last)

    def _inside(self, y_pred):
        """The pixels in the crop: bool `(1, H, W, 1)`."""
        static = tuple(y_pred.shape[1:3])
        if self._size is not None and None not in static and static != self._size:
            raise ValueError(
                f"`y_pred` must be of size {self._size} (height, width) for "
                f"protocol={self.protocol!r}: upsample the predictions. Received: {static}"
            )
        crop = (0.0, 1.0, 0.0, 1.0) if self.crop is None else self.crop
        inside = []
        for size, first, last in zip(ops.shape(y_pred)[1:3], crop[::2], crop[1::2], strict=True):
            if isinstance(last, int) and isinstance(size, int) and last > size:
                raise ValueError(
                    f"`crop` must lie within the maps, which are {static} (height, width). "
                    f"Received: crop={self.crop}"
                )
            place = ops.arange(size, dtype="int32")
            within = ops.logical_and(place >= edge(first, size), place < edge(last, size))
            inside.append(within)
        return ops.logical_and(inside[0][None, :, None, None], inside[1][None, None, :, None])

    def _errors(self, t, p, known):
        """The terms of each sum, and 1 to count; 0 where unknown: `(B, H, W, 10)`."""
        p = ops.where(ops.isnan(p), self.min_depth, p)
        if self.median_scaling:
            p = p * safe_divide(image_median(t, known), image_median(p, known))
        p = ops.maximum(p, self.min_depth)
        if self.max_depth is not None:
            p = ops.minimum(p, self.max_depth)
        t, p = ops.where(known, t, 1.0), ops.where(known, p, 1.0)
        difference, ratio = p - t, p / t
        d = ops.log(ratio)
        squared, log_squared = ops.square(difference), ops.square(d)
        ratio = ops.maximum(ratio, t / p)
        deltas = [ops.cast(ratio < 1.25**k, "float32") for k in (1, 2, 3)]
        relative = [ops.absolute(difference) / t, squared / t]
        logs = [log_squared, ops.absolute(d) / math.log(10.0), d]
        one = ops.ones_like(d)
        errors = ops.concatenate([*relative, squared, *logs, *deltas, one], axis=-1)
        return errors * ops.cast(known, "float32")

    def add(self, measured: Tensor) -> None:
        # The sum of two floats is a float and a rest, exactly (Knuth).
        sums, rests = ops.convert_to_tensor(self._sums), ops.convert_to_tensor(self._rests)
        total = sums + measured
        added = total - sums
        rest = rests + ((sums - (total - added)) + (measured - added))
        whole = total + rest
        self._rests.assign(rest - (whole - total))
        self._sums.assign(whole)

    def result(self) -> Tensor:
        """The chosen score, a float32 scalar."""
        sums = ops.add(self._sums, self._rests)
        value = self._from_sums(sums, ops)[self.score]
        return ops.where(sums[-1] > 0, value, float("nan"))

    def scores(self) -> dict[str, float]:
        """Every score so far, computed in float64: a dict of floats."""
        sums = sum(
            ops.convert_to_numpy(v.value).astype("float64") for v in (self._sums, self._rests)
        )
        if not sums[-1] > 0:
            return dict.fromkeys(SCORES, math.nan)
        return {name: float(value) for name, value in self._from_sums(sums, np).items()}

    def _from_sums(self, sums, xp):
        means = sums[:-1] / xp.maximum(sums[-1], 1.0)
        means = [means[i] for i in range(len(SCORES))]
        if self.reduction == "image":
            return dict(zip(SCORES, means, strict=True))
        return _scores(means, means[3] - xp.square(means[5]), xp)

    def get_config(self) -> Config:
        return {
            "score": self.score,
            "min_depth": self.min_depth,
            "max_depth": self.max_depth,
            "crop": self.crop,
            "reduction": self.reduction,
            "median_scaling": self.median_scaling,
            "protocol": self.protocol,
            "name": self.name,
        }


def _scores(means, variance, xp):
    """The scores from the means of their terms, and the variance of d."""
    abs_rel, sq_rel, squared, log_squared, log10, _, *deltas = means
    silog = 100.0 * xp.sqrt(xp.maximum(variance, 0.0))
    rmse = [xp.sqrt(squared), xp.sqrt(log_squared)]
    return dict(zip(SCORES, [abs_rel, sq_rel, *rmse, log10, silog, *deltas], strict=True))

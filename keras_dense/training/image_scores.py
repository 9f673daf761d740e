"""The share of each image in the scores of a data set, for intervals and comparisons."""

import json
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dense._types import Array, Nested, PathLike
from keras_dense.heads.model_heads import Given
from keras_dense.training.evaluate import measure, results

_ADD_UP = 1e-4  # float32 sums in another order


class ImageScores:
    """The sums that the metrics of `evaluate` keep, of each image by itself.

    Made by `kd.training.score_images`.

    Args:
        metrics: dict from the key of each head to its metrics.
        rows: float64 `(images, n)`, the variables of all metrics after each image.
        single: bool, one head without a key.

    ```python
    found = kd.training.score_images(model, kd.datasets.Loader(val, head, 1))
    found.scores()["mean_iou"], len(found)
    found.save("runs/a/images.npz")  # to compare it with another run, some day
    other = kd.training.ImageScores.load("runs/b/images.npz")
    kd.training.paired_bootstrap(found, other)
    ```
    """

    def __init__(self, metrics: Mapping[str, list], rows: Array, single: bool) -> None:
        self._metrics, self._rows, self._single = metrics, rows, single

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self) -> Array:
        """Sums of each image, float64 `(images, n)`, for `of_sums`."""
        return self._rows

    def of_sums(self, sums: Array) -> dict[str, Any]:
        """The scores of a weighted sum of `rows()`; see `kd.training.bootstrap`."""
        start, found = 0, {}
        for key, group in self._metrics.items():
            for metric in group:
                parts = []
                for variable in metric.variables:
                    size = int(np.prod(variable.shape))
                    parts.append(sums[start : start + size].reshape(variable.shape))
                    start += size
                _assign(metric, parts)
            found[key] = results(group)
        return found[""] if self._single else found

    def scores(self) -> dict[str, Any]:
        """All scores, as of `kd.training.evaluate`."""
        return self.of_sums(self._rows.sum(0))

    def save(self, path: PathLike) -> pathlib.Path:
        """Write the sums and the settings of the metrics to a `.npz` file; returns its path."""
        path = pathlib.Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        settings = {
            key: [keras.saving.serialize_keras_object(metric) for metric in group]
            for key, group in self._metrics.items()
        }
        with path.open("wb") as file:
            np.savez_compressed(
                file, rows=self._rows, metrics=json.dumps(settings), single=self._single
            )
        return path

    @classmethod
    def load(cls, path: PathLike) -> "ImageScores":
        """Read a file that `save` wrote.

        Raises:
            ValueError: if it is another file.
        """
        with np.load(path, allow_pickle=False) as file:
            if not {"rows", "metrics", "single"} <= set(getattr(file, "files", ())):
                raise ValueError(f"{path}: must be a file of ImageScores.save. Received: another")
            rows, single = file["rows"], bool(file["single"])
            settings = json.loads(str(file["metrics"]))
        groups = {
            key: [keras.saving.deserialize_keras_object(x) for x in group]
            for key, group in settings.items()
        }
        return cls(groups, rows, single)


def _assign(metric, sums):
    if hasattr(metric, "assign_sums"):  # metrics that keep counts in words
        metric.assign_sums(sums)
        return
    for variable, value in zip(metric.variables, sums, strict=True):
        variable.assign(value.astype(variable.dtype))


def _state(metric):
    arrays = [ops.convert_to_numpy(v.value).astype("float64").ravel() for v in metric.variables]
    return np.concatenate(arrays) if arrays else np.zeros(0)


def score_images(
    model: Any,
    batches: Iterable,
    heads: Given = None,
    *,
    metrics: Nested | None = None,
) -> ImageScores:
    """Measure each image by itself, for intervals of all scores and for comparisons.

    Takes as long as `evaluate`, and gives its scores. A score of the whole data set, such as the
    mean IoU of all pixels, is computed from sums over images, so these sums are kept of each image:
    `kd.training.bootstrap` draws images anew, adds their sums up and computes the score of each
    drawing.

    Args:
        model: a Keras model with the heads' raw outputs.
        batches: pairs `(images, targets)`, as for `evaluate`.
        heads: its heads; default: those that the model carries.
        metrics: more metrics, as for `evaluate`.

    Returns:
        `ImageScores`: `scores()`, `len()`, and what `bootstrap` and `paired_bootstrap` need.

    Raises:
        ValueError: see `evaluate`; also for a metric whose variables do not add up over images.

    ```python
    ours = kd.training.score_images(model, kd.datasets.Loader(val, head, 1))
    theirs = kd.training.score_images(other, kd.datasets.Loader(val, head, 1))
    kd.training.bootstrap(ours)["mean_iou"]  # Interval(value=0.71, low=0.69, high=0.73)
    kd.training.paired_bootstrap(theirs, ours)["mean_iou"].low > 0  # ours is better
    ```
    """
    rows: list[Array] = []
    checks: dict[int, Any] = {}

    def update(groups, targets, outputs):
        keys = list(groups)
        number = len(next(iter(targets.values())))
        for n in range(number):
            row = []
            for key in keys:
                pair = targets[key][n : n + 1], outputs[key][n : n + 1]
                for metric in groups[key]:
                    metric.reset_state()
                for metric in groups[key]:
                    metric.update_state(*pair)
                    row.append(_state(metric))
                    _check_sums(metric, pair, row[-1], checks)
            rows.append(np.concatenate(row) if row else np.zeros(0))

    groups, single = measure(model, batches, heads, metrics, update)
    return ImageScores(groups, np.stack(rows), single)


def _check_sums(metric, pair, state, checks):
    """An error if two images do not give the sum of their variables (not for counts in words)."""
    if hasattr(metric, "assign_sums"):
        return
    first = checks.get(id(metric))
    if first is None:
        checks[id(metric)] = pair, state
    elif first != "right":
        metric.update_state(*first[0])
        both = first[1] + state
        if not np.allclose(_state(metric), both, rtol=_ADD_UP, atol=_ADD_UP, equal_nan=True):
            raise ValueError(
                f"`metrics` must keep sums over images. Received: {metric.name!r}, whose variables "
                "after two images are not the sums of those after each"
            )
        checks[id(metric)] = "right"

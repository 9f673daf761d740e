"""Checks of a whole data set: faulty samples, and suspicious ones."""

import collections
import concurrent.futures
import hashlib
import math
import threading
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from keras_dense import _check
from keras_dense._types import Array, Sample
from keras_dense.datasets.agreement import DatasetWarning, check_classes
from keras_dense.datasets.findings import findings
from keras_dense.datasets.parts import describe
from keras_dense.datasets.sample import VOID, check_sample
from keras_dense.heads.collection import Heads
from keras_dense.heads.head import Head
from keras_dense.heads.model_heads import heads_from

Facts = list[dict[str, Any]]


class Report(dict):
    """Result of `check`: a dict that prints as plain text."""

    def __str__(self) -> str:
        lines = [f"{self['samples']} samples" + _sizes(self["sizes"])]
        if "pixels" in self:
            total = max(int(self["pixels"].sum()) + self["void"], 1)
            for name, count in zip(self["class_names"], self["pixels"], strict=True):
                lines.append(f"  {name}: {100 * count / total:.2f} % of the pixels")
            lines.append(f"  void: {100 * self['void'] / total:.2f} %")
        elif "values" in self:
            values = ", ".join(f"{value}: {count}" for value, count in self["values"].items())
            lines.append(f"  labels, with their pixels: {values}")
        for key in ("depth", "normals"):
            if key in self:
                lines.append("  " + _known(key, self[key]))
        lines += [f"- {text}" for text in self["warnings"]]
        return "\n".join(lines)


def _sizes(sizes: dict[tuple[int, int], int]) -> str:
    shown = [f"{h} x {w}" for h, w in list(sizes)[:3]]
    more = f" and {len(sizes) - 3} other sizes" if len(sizes) > 3 else ""
    return f" of {', '.join(shown)}{more} (height x width)"


def _known(key: str, found: dict[str, float]) -> str:
    text = f"{key}: {100 * found['known']:.1f} % of the pixels known"
    return text + (f", {found['low']:.4g} to {found['high']:.4g} m" if "low" in found else "")


def check(
    dataset: Any,
    heads: Head | Mapping[str, Head] | keras.Model | None = None,
    *,
    against: Any = None,
    limit: int | None = None,
    workers: int = 2,
) -> Report:
    """Read all samples, report all faults at once, and warn of suspicious data.

    Faults are files that cannot be read, arrays of the wrong kind or size, and labels out of range.
    One `DatasetWarning` lists all that is valid but suspicious: classes that never occur, masks
    with only 0 and 255 (black and white), masks of void, images of one color or from 0 to 1, images
    that occur twice or in another split, depth that is implausible in meters, normals that do not
    have length 1 or that face away.

    Args:
        dataset: a data set.
        heads: head, dict of heads, or model to be trained; their targets are encoded and checked,
            too.
        against: another data set, such as the other split; images that are in both are reported.
        limit: int >= 1, number of samples to read, spread evenly (also of `against`); all by
            default.
        workers: int >= 0, number of threads.

    Returns:
        A `Report`, a dict that prints as plain text: `"samples"`, their number; `"sizes"`, a dict
        from `(height, width)` to the number of samples; `"warnings"`, a list of warnings;
        `"duplicates"` and, with `against`, `"shared"`, lists of pairs of names.
        With labels `"values"`, a dict from each label to its number of pixels, and, if the number
        of classes is known, `"pixels"`, an int array of the number of pixels of each class, and
        `"void"`, the number of void pixels. With depth and normals `"depth"` and `"normals"`: the
        share of `"known"` pixels, and for depth `"low"` and `"high"` in meters.

    Raises:
        ValueError: if samples are faulty (the message has a line for each), if the data set has
            more classes than a head, or if there is not a single known pixel to learn from.

    Example:

    >>> import keras_dense.datasets
    >>> report = check(keras_dense.datasets.scenes(count=40, size=32))
    >>> report["sizes"], int(report["pixels"].sum()), report["warnings"]
    ({(32, 32): 40}, 40960, [])
    """
    workers = max(1, _check.integer(workers, "workers", low=0))
    found = None if heads is None else heads_from(heads)
    check_classes(dataset, found)
    classes, void, names = _classes(dataset, found)
    facts = _facts(dataset, workers, limit, lambda s: _look(s, classes, void, found))
    report = Report(samples=len(facts), sizes=dict(sorted(_count(facts, "size").items())))
    _add_labels(report, facts, classes, void, names)
    for key in ("depth", "normals"):
        _add_known(report, facts, key)
    report["duplicates"] = _twice(facts)
    if against is not None:
        others = _facts(against, workers, limit, lambda s: {"hash": _hash(s["image"])})
        first: dict[str, str] = {}
        for fact in others:
            first.setdefault(fact["hash"], fact["name"])
        report["shared"] = [(f["name"], first[f["hash"]]) for f in facts if f["hash"] in first]
    errors, report["warnings"] = findings(report, facts, void)
    if errors:
        raise ValueError(" ".join(errors))
    if report["warnings"]:
        text = "\n".join(f"- {line}" for line in report["warnings"])
        name = getattr(dataset, "name", "the data set")
        warnings.warn(f"{name} is probably not as intended:\n{text}", DatasetWarning, stacklevel=2)
    return report


def _classes(dataset: Any, heads: Heads | None) -> tuple[int | None, Any, list[str]]:
    """Return number of classes, label of void and names, from a head or else the data set."""
    for head in () if heads is None else heads.values():
        if head.target == "segmentation" and head.mode in ("multiclass", "binary"):
            return len(head.class_names), head.ignore_class, list(head.class_names)
    count = getattr(dataset, "num_classes", None)
    if count is None:
        return None, VOID, []
    names = getattr(dataset, "class_names", None)
    names = list(names) if names is not None and len(names) == count else range(count)
    return int(count), getattr(dataset, "ignore_class", VOID), [str(name) for name in names]


def _facts(
    dataset: Any, workers: int, limit: int | None, look: Callable[[Sample], dict[str, Any]]
) -> Facts:
    """Collect `look(sample)` and the name of each sample; raise one error for all faulty ones."""
    count = len(dataset)
    limit = count if limit is None else min(_check.integer(limit, "limit", low=1), count)
    if not count:
        raise ValueError("`dataset` must have samples. Received: an empty data set")
    indices = np.linspace(0, count - 1, limit).round().astype(int).tolist()
    faults: dict[int, Exception] = {}
    lock = threading.Lock()

    def one(index: int) -> Any:
        try:
            return {"name": describe(dataset, index), **look(check_sample(dataset[index]))}
        except (ImportError, MemoryError):
            raise
        except Exception as error:
            with lock:
                faults[index] = error
            return None

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        facts = list(pool.map(one, indices))
    if faults:
        lines = "\n  ".join(_line(dataset, i, faults[i]) for i in sorted(faults))
        raise ValueError(f"{len(faults)} of {len(indices)} samples are faulty:\n  {lines}")
    seen = collections.Counter(fact["name"] for fact in facts)
    for index, fact in zip(indices, facts, strict=True):
        if seen[fact["name"]] > 1:  # data sets without names for samples
            fact["name"] = f"sample {index}"
    return facts


def _line(dataset: Any, index: int, error: Exception) -> str:
    text, name = str(error) or type(error).__name__, describe(dataset, index)
    return f"sample {index}: {text if name in text else f'{name}: {text}'}"


def _look(sample: Sample, classes: int | None, void: Any, heads: Heads | None) -> dict[str, Any]:
    image = sample["image"]
    fact = {
        "size": image.shape[:2],
        "hash": _hash(image),
        "low": int(image.min()),
        "high": int(image.max()),
        "flat": bool((image == image[:1, :1]).all()),
    }
    if "segmentation" in sample:
        values = zip(*np.unique(sample["segmentation"], return_counts=True), strict=True)
        fact["labels"] = {int(value): int(count) for value, count in values}
        bad = [v for v in fact["labels"] if v != void and not 0 <= v < (classes or math.inf)]
        if bad:
            raise ValueError(f"labels {bad} are out of range for {classes} classes")
    if "depth" in sample:
        depth = sample["depth"]
        known = depth[np.isfinite(depth) & (depth > 0)]
        fact["depth"] = {"known": known.size, "of": depth.size}
        if known.size:
            fact["depth"] |= {
                "low": float(known.min()),
                "high": float(known.max()),
                "median": float(np.median(known)),
            }
    if "normals" in sample:
        normals = sample["normals"]
        length = np.linalg.norm(normals, axis=-1)
        known = np.isfinite(length) & (length >= 0.5)
        fact["normals"] = {
            "known": int(known.sum()),
            "of": known.size,
            "long": int((np.abs(length[known] - 1) > 0.05).sum()),
            "away": int((normals[..., 2][known] > 0).sum()),
        }
    if "weight" in sample:
        fact["weightless"] = not sample["weight"].any()
    parts = () if heads is None else heads.items()
    fact["heads"] = {key: _known_to(head, sample) for key, head in parts}
    return fact


def _known_to(head: Head, sample: Sample) -> int | None:
    if not head.annotated(sample):
        return 0  # like a Loader with missing="unknown"
    return known_pixels(head, head.encode(sample))


def known_pixels(head: Head, target: Array) -> int | None:
    """Count the known numbers of a target `(H, W, …)`; `None` if the head does not define them.

    >>> from keras_dense.heads import Depth
    >>> known_pixels(Depth(), np.array([[[0.0], [2.0]]]))
    1
    """
    try:
        unknown = head.unknown(target.shape[:2])
    except ValueError:
        return None
    if unknown.shape != target.shape:
        return None
    # NaN is unknown, too, and is not equal to itself.
    return int(((target != unknown) & (target == target)).sum())


def _hash(image: Array) -> str:
    pixels = np.ascontiguousarray(image)
    return hashlib.blake2b(pixels, digest_size=16, key=str(pixels.shape).encode()).hexdigest()


def _count(facts: Facts, key: str) -> collections.Counter:
    return collections.Counter(fact[key] for fact in facts)


def _twice(facts: Facts) -> list[tuple[str, str]]:
    first: dict[str, str] = {}
    pairs = []
    for fact in facts:
        if fact["hash"] in first:
            pairs.append((first[fact["hash"]], fact["name"]))
        first.setdefault(fact["hash"], fact["name"])
    return pairs


def _add_labels(
    report: Report, facts: Facts, classes: int | None, void: Any, names: list[str]
) -> None:
    values: collections.Counter = collections.Counter()
    for fact in facts:
        values.update(fact.get("labels", {}))
    if values:
        report["values"] = dict(sorted(values.items()))
    if values and classes is not None:
        report["pixels"] = np.array([values[c] if c != void else 0 for c in range(classes)])
        report.update(void=values[void], class_names=names)


def _add_known(report: Report, facts: Facts, key: str) -> None:
    found = [fact[key] for fact in facts if key in fact]
    if found:
        report[key] = {"known": sum(f["known"] for f in found) / sum(f["of"] for f in found)}
    ranges = [f for f in found if "low" in f]
    if ranges:
        report[key] |= {
            "low": min(f["low"] for f in ranges),
            "high": max(f["high"] for f in ranges),
        }

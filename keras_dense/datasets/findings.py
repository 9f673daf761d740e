"""Suspicious facts of a data set, in words, with the remedy."""

from collections.abc import Iterable
from typing import Any

import numpy as np

MOSTLY_VOID = 0.9
NEAR, FAR = 0.05, 1000.0  # plausible range of the median depth, in meters


def findings(report: dict, facts: list[dict[str, Any]], void: Any) -> tuple[list[str], list[str]]:
    """Return the errors and warnings of `kd.datasets.check`.

    Args:
        report: dict, the report so far.
        facts: list of dicts, facts of each sample.
        void: the label of void, or `None`.

    Returns:
        Two lists of sentences: errors, if training is impossible, and warnings.
    """
    errors: list[str] = []
    texts: list[str] = []
    for part in (_labels, _depth, _normals, _heads):
        part(report, facts, void, errors, texts)
    _images(report, facts, texts)
    return errors, texts


def black_and_white(values: Iterable[int], void: Any) -> bool:
    """Return whether labels look like black-and-white masks, with white read as void.

    >>> black_and_white([0, 255], 255), black_and_white([0, 1, 255], 255)
    (True, False)
    """
    return void == 255 and set(values) == {0, 255}


BLACK_AND_WHITE = (
    "The only labels are 0 and 255, and 255 is void: they look like black-and-white masks. Read "
    "these with remap={255: 1}."
)


def _labels(report: dict, facts: list, void: Any, errors: list[str], texts: list[str]) -> None:
    values = report.get("values")
    if values is None:
        return
    total = sum(values.values())
    share = values.get(void, 0) / total
    if share == 1:
        errors.append(
            f"Every pixel of every mask is void ({void}), so there is nothing to learn or "
            "evaluate. Check the values in the files (remap, encoding, palette)."
        )
        return
    if black_and_white(values, void):
        texts.append(BLACK_AND_WHITE)
    elif "pixels" in report:
        names = report["class_names"]
        never = [f"{names[c]} ({c})" for c in np.flatnonzero(report["pixels"] == 0) if c != void]
        if never:
            texts.append(f"{len(never)} of {len(names)} classes never occur: {some(never)}.")
    empty = [f["name"] for f in facts if set(f.get("labels", {0})) == {void}]
    listed(texts, "Masks of only void", empty)
    if not empty and share > MOSTLY_VOID:
        texts.append(f"{100 * share:.1f} % of the pixels are void.")
    lacking = [f["name"] for f in facts if "labels" not in f]
    listed(texts, "Samples without labels", lacking)


def _depth(report: dict, facts: list, void: Any, errors: list[str], texts: list[str]) -> None:
    found = report.get("depth")
    if found is None:
        return
    if not found["known"]:
        errors.append(
            "No pixel of depth is known (finite and > 0), so there is nothing to learn or evaluate."
        )
        return
    median = np.median([f["depth"]["median"] for f in facts if "median" in f.get("depth", {})])
    if not NEAR <= median <= FAR:
        texts.append(
            f"The median depth is {median:.4g} m: check that depth is in meters. `scale` is the "
            "number of units per meter in the files."
        )
    constant = [
        f["name"]
        for f in facts
        if "low" in f.get("depth", {}) and f["depth"]["low"] == f["depth"]["high"]
    ]
    listed(texts, "Depth maps with one value", constant)
    empty = [f["name"] for f in facts if "depth" in f and not f["depth"]["known"]]
    listed(texts, "Depth maps without a known pixel", empty)


def _normals(report: dict, facts: list, void: Any, errors: list[str], texts: list[str]) -> None:
    found = [f["normals"] for f in facts if "normals" in f]
    if not found:
        return
    known, long, away = (sum(f[key] for f in found) for key in ("known", "long", "away"))
    if not known:
        errors.append("No normal is known (of length 1), so there is nothing to learn or evaluate.")
        return
    if long > 0.01 * known:
        texts.append(f"{100 * long / known:.1f} % of the normals do not have length 1.")
    if away > 0.5 * known:
        texts.append(
            f"{100 * away / known:.1f} % of the normals face away from the camera (z > 0): give "
            "their axes (`kd.ops.convert_normals`, `normals_frame`)."
        )
    empty = [f["name"] for f in facts if "normals" in f and not f["normals"]["known"]]
    listed(texts, "Normal maps without a known pixel", empty)


def _heads(report: dict, facts: list, void: Any, errors: list[str], texts: list[str]) -> None:
    for key in facts[0]["heads"]:
        known = [f["heads"][key] for f in facts]
        if None not in known and not any(known):
            name = f"head {key!r}" if key else "the head"
            errors.append(
                f"No pixel of any sample is known to {name}: check the units and the range of the "
                "data."
            )


def _images(report: dict, facts: list, texts: list[str]) -> None:
    dark = [f["name"] for f in facts if f["high"] == 1]
    listed(texts, "Images with only 0 and 1, like a range of 0.0 to 1.0; images are 0 to 255", dark)
    listed(texts, "Images of one color", [f["name"] for f in facts if f["flat"]])
    twice, shared = ([f"{a} = {b}" for a, b in report.get(k, [])] for k in ("duplicates", "shared"))
    listed(texts, "Images that occur more than once", twice)
    listed(
        texts,
        "Images that are also in the other data set, which makes its scores unreliable",
        shared,
    )
    weightless = [f["name"] for f in facts if f.get("weightless")]
    listed(texts, "Samples with weight 0 at every pixel", weightless)


def listed(texts: list[str], what: str, names: Iterable[str]) -> None:
    """Append a sentence with the number of names and the first of them, if there is any.

    >>> texts = []
    >>> listed(texts, "Black images", ["a.png", "b.png"])
    >>> texts
    ['Black images: 2 (a.png, b.png).']
    """
    names = list(names)
    if names:
        texts.append(f"{what}: {len(names)} ({some(names)}).")


def some(names: Iterable[str]) -> str:
    """Return the first few of many names.

    >>> some("abcdef")
    'a, b, c, d and 2 more'
    """
    names = list(names)
    more = f" and {len(names) - 4} more" if len(names) > 5 else ""
    return ", ".join(names[: 4 if more else 5]) + more

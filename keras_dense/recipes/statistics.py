"""Statistics of classes, and whether images have an up and a down."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_dense.datasets.masks import VOC_BORDER
from keras_dense.datasets.sample import VOID
from keras_dense.recipes.facts import color_of
from keras_dense.recipes.numbers import FEW_FOR_UP_AND_DOWN, UP_AND_DOWN, UP_AND_DOWN_T

Facts = Sequence[dict[str, Any]]


def class_of(number: int, read: dict[str, Any]) -> int:
    """Return the class of a number of a mask file, or 255 for void.

    >>> class_of(255, {"kind": "binary", "values": {0: 0, 255: 1}})
    1
    """
    if read["kind"] == "objects":
        return int(number > 0)
    if read["kind"] == "colors":
        color = color_of(number)
        if color in VOC_BORDER and list(color) not in read["palette"]:
            return VOID
        gaps = np.abs(np.subtract(read["palette"], color)).sum(1)
        return int(gaps.argmin())
    if "threshold" in read:
        return int(number > read["threshold"])
    return read["values"].get(number, number)


def by_class(counts: dict[int, int] | None, read: dict[str, Any]) -> tuple[np.ndarray, int]:
    """Sum the pixels of each class, and of void."""
    pixels, void = np.zeros(len(read["class_names"])), 0
    for number, count in (counts or {}).items():
        c = class_of(number, read)
        if c == VOID:
            void += count
        else:
            pixels[c] += count
    return pixels, void


def class_statistics(
    masks: Facts, read: dict[str, Any]
) -> tuple[list[dict[str, Any]], float, list[list[int]]]:
    """Return facts of each class, the share of void, and the classes of each image.

    A class has a name, its share of the pixels, the number of images with it, and the mean width
    of its areas in pixels: twice the area by the length of the edge.
    """
    count = len(read["class_names"])
    pixels, edges = np.zeros(count), np.zeros(count)
    images: np.ndarray = np.zeros(count, int)
    void, present = 0, []
    for fact in masks:
        found, unknown = by_class(fact["numbers"], read)
        pixels += found
        void += unknown
        edges += by_class(fact.get("edges"), read)[0]
        images += found > 0
        present.append(np.flatnonzero(found).tolist())
    total = max(pixels.sum() + void, 1)
    classes = [
        {
            "name": name,
            "share": float(pixels[i] / total),
            "images": int(images[i]),
            # An area of width w has 2 of w pixels at its edge.
            "width": float(2 * pixels[i] / edges[i]) if edges[i] else None,
        }
        for i, name in enumerate(read["class_names"])
    ]
    return classes, float(void / total), present


def up_and_down(facts: Facts, read: dict[str, Any] | None) -> dict[str, Any]:
    """Judge whether images have an up and a down, by colors and classes of their halves.

    Photographs have sky above and ground below; cells and aerial images look the same upside down.

    Returns:
        A dict with "answer", bool, and "why", a sentence.
    """
    if len(facts) < FEW_FOR_UP_AND_DOWN:
        why = f"{len(facts)} images do not tell whether there is an up and a down; it is assumed."
        return {"answer": True, "why": why}
    rows: list[tuple[str, list[float]]] = []
    down = np.array([_padded(fact["image"]["down"]) for fact in facts])
    names = ("red", "green", "blue") if (down != down[:, :1]).any() else ("brightness",)
    rows += [(name, down[:, i].tolist()) for i, name in enumerate(names)]
    if read is not None and all(f["mask"].get("upper") for f in facts):
        differences = np.array([_shares(fact["mask"], read) for fact in facts])
        rows += [(name, differences[:, i].tolist()) for i, name in enumerate(read["class_names"])]
    best, which = 0.0, ""
    for name, values in rows:
        array = np.array(values)
        spread = array.std() + 1e-9
        effect = abs(array.mean()) / spread
        if effect * math.sqrt(len(array)) > UP_AND_DOWN_T and effect > best:
            best, which = effect, name
    if best > UP_AND_DOWN:
        why = (
            f"There is an up and a down: {which} differs between the upper and the lower half of "
            f"the images (effect {best:.1f})."
        )
        return {"answer": True, "why": why}
    why = "There is no up and down: the upper halves of the images look like the lower ones."
    return {"answer": False, "why": why}


def _padded(values: list[float]) -> list[float]:
    return (values * 3)[:3] if len(values) < 3 else values[:3]


def _shares(mask: dict[str, Any], read: dict[str, Any]) -> np.ndarray:
    """Share of each class in the upper half, minus that in the lower."""
    whole, _ = by_class(mask["numbers"], read)
    upper, _ = by_class(mask["upper"], read)
    lower = whole - upper
    return upper / max(upper.sum(), 1) - lower / max(lower.sum(), 1)

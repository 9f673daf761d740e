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
    """Judge whether images have an up and a down, by the classes of their halves.

    Photographs have sky above and ground below; cells and aerial images look the same upside down.
    Only classes count: uneven light above and below is no reason against a flip. Left and right are
    the measure: what differs between them as much is a property of a few images.

    Returns:
        A dict with "answer", bool, and "why", a sentence.
    """
    if read is None:
        return {"answer": True, "why": "Depth has an up and a down."}
    if len(facts) < FEW_FOR_UP_AND_DOWN:
        why = f"{len(facts)} images do not tell whether there is an up and a down; it is assumed."
        return {"answer": True, "why": why}
    down, across = (
        np.array([_shares(fact["mask"], half, read) for fact in facts])
        for half in ("upper", "left")
    )
    effects = np.abs(down.mean(0)) / (down.std(0) + 1e-9)
    sideways = float((np.abs(across.mean(0)) / (across.std(0) + 1e-9)).max())
    best = int(effects.argmax())
    effect = float(effects[best])
    sure = effect * math.sqrt(len(facts)) > UP_AND_DOWN_T and effect > sideways
    if effect > UP_AND_DOWN and sure:
        where = "upper" if down[:, best].mean() > 0 else "lower"
        name = read["class_names"][best]
        why = (
            f"There is an up and a down: there is more of {name} in the {where} half of the images."
        )
        return {"answer": True, "why": why}
    why = "There is no up and down: classes are as frequent in the upper half as in the lower."
    return {"answer": False, "why": why}


def _shares(mask: dict[str, Any], half: str, read: dict[str, Any]) -> np.ndarray:
    """Share of each class in a half, minus that in the other."""
    whole, _ = by_class(mask["numbers"], read)
    first, _ = by_class(mask[half], read)
    second = whole - first
    return first / max(first.sum(), 1) - second / max(second.sum(), 1)

"""Meaning of a folder of masks: labels, black and white, colors, or numbered objects."""

import collections
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_dense import _check
from keras_dense.datasets.findings import some
from keras_dense.datasets.masks import VOC_BORDER
from keras_dense.datasets.sample import VOID
from keras_dense.heads.palette import voc_palette
from keras_dense.recipes.facts import color_of

KINDS = ("labels", "binary", "colors", "objects")
_MOST_COLORS = 64  # of color-coded masks; more are drawings, or numbered objects
_DENSE = 2  # labels up to this multiple of their number are class indices
_SMALL = 32  # labels below it are class indices
_BLURRED = 0.05  # share of pixels of a lossy mask that are neither black nor white
_OBJECTS = 5  # objects in an image, at least, for a mask that is not of 16 bits

Facts = Sequence[dict[str, Any]]


def judge(
    facts: Facts,
    *,
    kind: str | None = None,
    classes: Sequence[str] | int | None = None,
    palette: Any = None,
    void: Sequence[int] = (),
) -> tuple[dict[str, Any], list[str]]:
    """Decide how masks are read.

    Args:
        facts: results of `mask_facts`.
        kind: one of `KINDS`; by default found out.
        classes: names of the classes, or their number.
        palette: `(n, 3)`, colors of the classes.
        void: numbers that mean void.

    Returns:
        A dict of plain values for `datasets_of`: "kind", "threshold", "channel", "nearest",
        "values" (dict from numbers in the files to classes), "class_names", "palette"; and
        sentences about it.

    Raises:
        ValueError: if masks cannot be read without loss, or contradict the arguments.
    """
    if kind is not None:
        _check.choice(kind, "kind", KINDS)
    names = [f"class {i}" for i in range(classes)] if isinstance(classes, int) else classes
    said: list[str] = []
    lossy = [fact for fact in facts if fact["lossy"]]
    colored = sum(fact["model"] == "colors" for fact in facts)
    if palette is not None and (colored or kind == "colors"):
        return _of_palette(facts, np.asarray(palette), names, void, said), said
    if lossy:
        return _lossy(facts, lossy, names, said), said
    if any(fact["numbers"] is None for fact in facts):
        example = next(fact["some"] for fact in facts if fact["numbers"] is None)
        raise ValueError(
            f"`masks` must be of classes or of numbered objects. Received: a mask with thousands "
            f"of different values, such as {example[:4]}: is it a photograph, or smoothed? Save "
            "masks as PNG without smoothing"
        )
    counts = totals(facts)
    if colored:
        return _colors(facts, counts, names, void, said), said
    objects = kind == "objects" or (kind is None and names is None and are_objects(facts))
    read: dict[str, Any] = {"kind": "labels"}
    if any(fact["model"] == "gray RGB" for fact in facts):
        read["channel"] = 0
        said.append("Masks are gray images saved as RGB: their first channel is read.")
    if objects:
        return _objects(facts, counts, read, names, said), said
    return _labels(facts, counts, read, kind, names, palette, void, said), said


def totals(facts: Facts, key: str = "numbers") -> collections.Counter:
    """Sum the pixels of each number over masks."""
    counts: collections.Counter = collections.Counter()
    for fact in facts:
        counts.update(fact[key] or {})
    return counts


def are_objects(facts: Facts) -> bool:
    """Return whether masks number objects: 1 to n in each image, each in one piece, n varies."""
    numbers = [sorted(set(fact["numbers"]) - {0}) for fact in facts]
    numbers = [found for found in numbers if found]
    if not numbers or any(found[0] < 0 for found in numbers):
        return False
    most = max(len(found) for found in numbers)
    deep = any(fact["bits"] > 8 for fact in facts)
    if most < (2 if deep else _OBJECTS) or len({len(found) for found in numbers}) < 2:
        return len(facts) < 3 and deep and most > _SMALL
    filled = np.median([len(found) / found[-1] for found in numbers])
    pieces = [parts == 1 for fact in facts for parts in fact.get("parts", {}).values()]
    whole = np.mean(pieces) if pieces else float(deep)
    return bool(filled > 0.8 and whole > 0.85)


def _objects(facts, counts, read, names, said):
    if sum(number > 0 for number in counts) == 0:
        raise ValueError("`masks` must have objects. Received: only background (0)")
    each = [sum(number > 0 for number in fact["numbers"]) for fact in facts]
    said.append(
        f"Masks are numbered objects: {min(each)} to {max(each)} in an image, {sum(each)} in all."
    )
    names = ["background", "object"] if names is None else list(names)
    if len(names) != 2:
        raise ValueError(
            "`classes` must be two names for numbered objects, of background and objects. "
            f"Received: {names}; if the numbers are classes, give kind='labels'"
        )
    return {**read, "kind": "objects", "class_names": names, "palette": [[0, 0, 0], [255, 200, 60]]}


def _labels(facts, counts, read, kind, names, palette, void, said):
    numbers = [n for n in sorted(counts) if n not in void]
    for n in void:
        if n not in counts:
            said.append(f"No mask has {n}, which was given as void.")
        elif n != VOID:
            said.append(f"{n} is read as void, as given: {_share(counts, n)} of the pixels.")
    values: dict[int, int] = {int(n): VOID for n in void}
    without = [n for n in numbers if n != VOID]
    if kind == "binary" and len(numbers) > 2:
        raise ValueError(
            f"`kind` must be 'labels' for masks of {len(numbers)} numbers: "
            f"{some(map(str, numbers))}"
        )
    if VOID in numbers and VOID not in void and without in ([0], []):
        # Black and white: white is the object, and never void in silence.
        values |= {0: 0, VOID: 1}
        said.append(
            "Masks are black and white (0 and 255): white is the foreground, class 1. If white "
            "means void, give void=[255]."
        )
        count = 2
    else:
        if VOID in numbers:
            values[VOID] = VOID
            said.append(f"255 is read as void: {_share(counts, VOID)} of the pixels.")
        count = _dense(without, values, kind, said)
    if names is not None:
        if count > len(names):
            raise ValueError(
                f"`classes` must name every label. Received: {len(names)} classes, and masks with "
                f"labels up to {count - 1}; a label that means void is given as "
                f"void=[{count - 1}]"
            )
        count = len(names)
    if count < 2:
        raise ValueError(
            "`masks` must have at least two classes. Received: masks with the numbers "
            f"{some(map(str, sorted(counts)))} only, so there is nothing to tell apart"
        )
    binary = count == 2
    named = ["background", "foreground"] if binary else [f"class {i}" for i in range(count)]
    found = {"kind": "binary" if binary else "labels", "values": values}
    found["class_names"] = named if names is None else list(names)
    found["palette"] = _palette(facts, count, palette, values)
    return {**read, **found}


def _dense(numbers, values, kind, said):
    """Number of classes; gray levels far apart become consecutive classes."""
    if not numbers or numbers[0] < 0:
        raise ValueError(f"`masks` must have labels >= 0. Received: {numbers[:1]}")
    top = numbers[-1] + 1
    if len(numbers) == 2 and numbers[0] == 0 and numbers[1] > 1 and kind in (None, "binary"):
        values |= {0: 0, numbers[1]: 1}
        said.append(f"Masks have only 0 and {numbers[1]}: {numbers[1]} is the foreground, class 1.")
        return 2
    if top <= max(_DENSE * len(numbers), _SMALL):
        return top
    values |= {n: i for i, n in enumerate(numbers)}
    listed = ", ".join(f"{n}: class {i}" for i, n in enumerate(numbers[:8]))
    said.append(
        f"Masks have {len(numbers)} numbers far apart, which become consecutive classes: {listed}"
        f"{', …' if len(numbers) > 8 else ''}."
    )
    return len(numbers)


def _palette(facts, count, palette, values):
    """Colors of the classes: given, those of the files, or those of VOC."""
    if palette is not None:
        if len(palette) != count:
            raise ValueError(
                f"`palette` must have a color for each of {count} classes. Received: {len(palette)}"
            )
        return np.asarray(palette).tolist()
    own = {str(fact["palette"]) for fact in facts}
    colors = facts[0]["palette"]
    if len(own) == 1 and colors and not values and len(colors) >= count:
        if len({tuple(color) for color in colors[:count]}) == count:
            return colors[:count]
    if count > 256:
        return np.random.default_rng(0).integers(0, 256, (count, 3)).tolist()
    return voc_palette(count).tolist()


def _colors(facts, counts, names, void, said):
    codes = sorted(counts, key=lambda code: -counts[code])
    border = {code for code in codes if color_of(code) in VOC_BORDER}
    shown = sorted(code for code in codes if code not in border)
    if len(shown) > _MOST_COLORS:
        raise ValueError(
            f"`masks` must be of few colors, one for each class. Received: {len(codes)} colors, "
            f"such as {some(str(color_of(c)) for c in codes)}. Give the colors of the classes as "
            "`palette`; if each object has a color of its own, save numbers instead"
        )
    if names is not None and len(names) != len(shown):
        raise ValueError(
            f"`classes` must name each of {len(shown)} colors, or `palette` must be given, too. "
            f"Received: {len(names)} names, and the colors "
            f"{some(str(color_of(c)) for c in shown)}"
        )
    if len(shown) < 2:
        raise ValueError(
            f"`masks` must have at least two classes. Received: the color {color_of(shown[0])} only"
        )
    palette = [list(color_of(code)) for code in shown]
    default = [f"color {r}-{g}-{b}" for r, g, b in palette]
    said.append(
        f"Masks are colors: each of the {len(shown)} colors is a class, in the order of red, green "
        "and blue. Give `palette` and `classes` for an order and names of your own."
    )
    if border:
        share = 100 * sum(counts[c] for c in border) / sum(counts.values())
        said.append(f"The color (224, 224, 192) of VOC is void: {share:.2f} % of the pixels.")
    chosen = default if names is None else list(names)
    return {"kind": "colors", "class_names": chosen, "palette": palette}


def _of_palette(facts, palette, names, void, said):
    count = len(palette)
    if names is not None and len(names) != count:
        raise ValueError(
            f"`palette` must have a color for each class. Received: {count} colors and "
            f"{len(names)} classes"
        )
    names = [f"class {i}" for i in range(count)] if names is None else list(names)
    read = {"kind": "colors", "class_names": names, "palette": palette.tolist()}
    if any(fact["nearest"] for fact in facts):
        read["nearest"] = True
        why = "compression changed them" if any(f["lossy"] for f in facts) else "others occur"
        said.append(
            f"Masks are read as the nearest of the {count} given colors, since {why}. Save masks "
            "as PNG to be exact."
        )
    else:
        said.append(f"Masks are read by the {count} given colors.")
    return read


def _lossy(facts, lossy, names, said):
    """Masks that were compressed with loss: black and white can be repaired."""
    name = lossy[0]["lossy"].removeprefix("a ")
    colors = any(fact["model"] == "colors" for fact in lossy)
    blurred = max(fact["between"] for fact in lossy)
    exact = [fact for fact in facts if not fact["lossy"]]
    others = any(set(fact["numbers"] or {1: 1}) - {0, VOID} for fact in exact)
    if colors or others or blurred > _BLURRED or not any(fact["white"] for fact in facts):
        remedy = (
            "give the colors of the classes as `palette`, and each pixel gets the nearest one"
            if colors
            else "labels close to each other cannot be told apart any more"
        )
        raise ValueError(
            f"`masks` must be PNG or TIFF. Received: {len(lossy)} {name} files, whose compression "
            f"changes numbers: {remedy}. Save the masks as PNG from the program that drew them"
        )
    said.append(
        f"{len(lossy)} masks are {name} files, whose compression changes numbers: they are read as "
        f"black and white, white from 128 on ({100 * blurred:.2f} % of the pixels of the worst are "
        "neither). Save masks as PNG to be exact."
    )
    names = ["background", "foreground"] if names is None else list(names)
    if len(names) != 2:
        raise ValueError(
            f"`classes` must be two names for black and white masks. Received: {len(names)} names"
        )
    return {
        "kind": "binary",
        "threshold": 127,
        "class_names": names,
        "palette": voc_palette(2).tolist(),
    }


def _share(counts, number):
    return f"{100 * counts[number] / max(sum(counts.values()), 1):.2f} %"

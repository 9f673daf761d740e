"""Training and validation without near-duplicates across."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_dense.recipes.numbers import LONG_SEQUENCE, SEQUENCE_BLOCKS, SHORT_BLOCK, VALIDATION_MOST

_TRIES = 300


def units_of(findings: dict[str, Any]) -> list[list[int]]:
    """Split images into units that stay together: groups, and stretches of sequences.

    Returns:
        Lists of indices of `findings["names"]`; stretches are in order.

    >>> units_of({"names": list("abcd"), "looked": list("abcd"), "groups": [0, 1, 2, 1],
    ...           "sequences": []})
    [[0], [1, 3], [2]]
    """
    names, looked = findings["names"], findings["looked"]
    group = list(findings["groups"])
    sequences = findings["sequences"]
    if len(looked) < len(names):  # the others belong to the last one before them that was looked at
        place = np.searchsorted([names.index(name) for name in looked], range(len(names)), "right")
        nearest = np.maximum(place - 1, 0)
        group = [group[i] for i in nearest]
        sequences = [
            [i for i in range(len(names)) if nearest[i] in set(sequence)] for sequence in sequences
        ]
    units, taken = [], set()
    for sequence in sequences:
        size = _block(len(sequence))
        for start in range(0, len(sequence), size):
            units.append(sequence[start : start + size])
        taken |= set(sequence)
    by_group: dict[int, list[int]] = {}
    for i in range(len(names)):
        if i not in taken:
            by_group.setdefault(group[i], []).append(i)
    return units + list(by_group.values())


def _block(count: int) -> int:
    """Length of the contiguous parts of so many images."""
    return max(1, -(-count // SEQUENCE_BLOCKS), min(SHORT_BLOCK, count // 3))


def split(findings: dict[str, Any], share: float, seed: int = 0) -> tuple[list[str], str]:
    """Choose images for validation: whole groups, with every class on both sides if possible.

    Args:
        findings: result of `look`.
        share: float from 0 to 1.
        seed: int >= 0.

    Returns:
        Names for validation, in order, and a sentence.

    Raises:
        ValueError: if there are fewer than two units, so that nothing can be held out.
    """
    names = findings["names"]
    units = units_of(findings)
    if len(names) < 2:
        raise ValueError(
            f"`images` must be at least 2, one to train on and one to validate. Received: "
            f"{len(names)}"
        )
    if len(units) < 2:  # all look alike: stretches in the order of names
        size = _block(len(names))
        units = [list(range(i, min(i + size, len(names)))) for i in range(0, len(names), size)]
    wanted = int(np.clip(round(share * len(names)), 1, min(VALIDATION_MOST, len(names) - 1)))
    present = _presence(findings)
    rng = np.random.default_rng((seed, 1))
    tries = [_draw(units, wanted, rng.permutation(len(units))) for _ in range(_TRIES)]
    best = min(tries, key=lambda chosen: _cost(chosen, units, wanted, present, len(names)))
    held = sorted(i for u in best for i in units[u])
    why = (
        f"{len(held)} of {len(names)} images, drawn so that near-duplicates stay on one side"
        f"{' and every class is on both, where that is possible' if present is not None else ''}."
    )
    return [names[i] for i in held], why


def _draw(units: Sequence[Sequence[int]], wanted: int, order: np.ndarray) -> list[int]:
    """Units in random order until there are enough images."""
    chosen: list[int] = []
    count = 0
    for u in order:
        if count and count + len(units[u]) > 1.5 * wanted:
            continue
        if count >= wanted or len(chosen) == len(units) - 1:
            break
        chosen.append(int(u))
        count += len(units[u])
    return chosen


def _presence(findings: dict[str, Any]) -> np.ndarray | None:
    """Whether each class is in each image, bool `(images, classes)`."""
    if "present" not in findings or len(findings["looked"]) < len(findings["names"]):
        return None
    found: np.ndarray = np.zeros((len(findings["names"]), len(findings["classes"])), bool)
    for i, classes in enumerate(findings["present"]):
        found[i, classes] = True
    return found


def _cost(chosen, units, wanted, present, count) -> float:
    held = np.zeros(count, bool)
    held[[i for u in chosen for i in units[u]]] = True
    off = abs(int(held.sum()) - wanted) / wanted
    if present is None:
        return off
    learned, scored = present[~held].any(0), present[held].any(0)
    possible = present.any(0)
    lacking, unscored = (possible & ~learned).sum(), (possible & ~scored).sum()
    uneven = np.abs(present[held].mean(0) - present[~held].mean(0)).mean()
    return float(100 * lacking + 10 * unscored + off + uneven)


def without_borders(findings: dict[str, Any], validation: Sequence[str]) -> list[str]:
    """Return names to train on: those not held out, and not beside held-out ones in a sequence.

    >>> names = [f"{i:02}" for i in range(60)]
    >>> findings = {"names": names, "looked": names, "groups": list(range(60)),
    ...             "sequences": [list(range(60))]}
    >>> without_borders(findings, names[10:16])[8:12]
    ['08', '17', '18', '19']
    """
    names = findings["names"]
    held = set(validation)
    out = set()
    if len(findings["looked"]) == len(names):
        for sequence in findings["sequences"]:
            if len(sequence) < LONG_SEQUENCE:
                continue
            for a, b in zip(sequence[:-1], sequence[1:], strict=True):
                if (names[a] in held) != (names[b] in held):
                    out.add(names[a] if names[b] in held else names[b])
    return [name for name in names if name not in held and name not in out]


def folds(findings: dict[str, Any], count: int, seed: int = 0) -> list[list[str]]:
    """Split all images into folds of about equal size, groups together.

    Raises:
        ValueError: if there are fewer groups than folds.
    """
    units = units_of(findings)
    if len(units) < count:
        raise ValueError(
            f"`folds` must be at most {len(units)}, the number of groups of images that look "
            f"different. Received: folds={count}"
        )
    order = np.random.default_rng((seed, 2)).permutation(len(units))
    parts: list[list[int]] = [[] for _ in range(count)]
    for u in sorted(order, key=lambda u: -len(units[u])):
        min(parts, key=len).extend(units[u])
    return [[findings["names"][i] for i in sorted(part)] for part in parts]

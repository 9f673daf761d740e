"""Recipes: all that a training does, in one plain file."""

import json
import pathlib
from typing import Any

from keras_dense._files import whole
from keras_dense._types import PathLike

FORMAT = 1
FILE = "recipe.json"
GIVEN = "Given."
_KEYS = ("format", "data", "train", "validation", "choices", "said", "warned")


class Recipe(dict):
    """Choices of a training with their reasons: a dict of plain values that prints as text.

    Keys: "data" (folders, and how they are read), "train" and "validation" (names of images),
    "choices" (dict from a name to {"value": …, "why": …}), "said" and "warned" (what was found).

    >>> recipe = Recipe(choices={"crop": {"value": [64, 96], "why": "The size of the images."}})
    >>> recipe.value("crop")
    [64, 96]
    >>> print(recipe)
    crop: [64, 96]
        The size of the images.
    """

    def value(self, name: str) -> Any:
        """Return a choice."""
        return self["choices"][name]["value"]

    def set(self, name: str, value: Any, why: str) -> None:
        """Make a choice."""
        self["choices"][name] = {"value": value, "why": why}

    def __str__(self) -> str:
        lines = []
        for name, choice in self["choices"].items():
            lines += [f"{name}: {json.dumps(choice['value'])}", f"    {choice['why']}"]
        return "\n".join(lines)

    def save(self, path: PathLike) -> None:
        """Write the recipe as JSON; the file appears when it is complete."""
        with whole(path, fsync=True) as draft:
            draft.write_text(json.dumps(self, indent=1, ensure_ascii=False), encoding="utf-8")


def tells_apart(recipe: Recipe) -> bool:
    """Whether numbered objects are learned one by one, not as one class."""
    return recipe["choices"].get("objects", {}).get("value") == "instances"


def load(path: PathLike) -> Recipe:
    """Read a recipe.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no recipe.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no recipe {str(path)!r}")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is not JSON: {error}") from error
    lacking = [key for key in _KEYS if not isinstance(found, dict) or key not in found]
    if lacking or found["format"] != FORMAT:
        raise ValueError(
            f"{str(path)!r} must be a recipe of format {FORMAT}, as `train` writes them to "
            f"{FILE}. Received: one without {', '.join(lacking) or 'this format'}"
        )
    read = found["data"].get("read")
    if read and "values" in read:
        read["values"] = {int(k): v for k, v in read["values"].items()}
    return Recipe(found)

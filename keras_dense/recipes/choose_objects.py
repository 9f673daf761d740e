"""The choice of how numbered objects are learned."""

from keras_dense import _check
from keras_dense._optional import require
from keras_dense.recipes.recipe import GIVEN, Recipe, tells_apart

WAYS = ("instances", "foreground")
_MODULES = ("scipy.ndimage", "skimage.segmentation")
_LOSS = "instance_cross_entropy"


def choose_objects(recipe: Recipe, given: str | None = None) -> None:
    """Set how objects are learned, where masks are numbered objects.

    Args:
        recipe: changed in place.
        given: `"instances"`, `"foreground"`, or `None` to choose.
    """
    if not _numbered(recipe):
        return
    if given is not None:
        recipe.set("objects", given, GIVEN)
        return
    fault = _lacking()
    if fault is None:
        why = (
            "Masks are numbered objects: their foreground and the distance to their borders are "
            "learned, from which each object is found. Weights are chosen by the panoptic quality: "
            "it counts objects that are missed, merged or split, and how well found ones fit."
        )
        recipe.set("objects", "instances", why)
        return
    why = (
        "Numbered objects are learned as one class, with more weight between close ones: to tell "
        "them apart needs SciPy and scikit-image (pip install keras_dense[objects])."
    )
    recipe.set("objects", "foreground", why)
    recipe["warned"].append(f"{why} {fault}")


def check_objects(recipe: Recipe) -> None:
    """Check how objects are learned.

    Raises:
        ValueError: for an unknown way, or losses of the other one.
        ImportError: if objects are told apart, without SciPy or scikit-image.
    """
    if not _numbered(recipe) or "objects" not in recipe["choices"]:
        return
    way = _check.choice(recipe.value("objects"), "objects", WAYS)
    names = [name for name, _ in recipe.value("losses")]
    if tells_apart(recipe) != (names == [_LOSS]):
        wanted = f"[[{_LOSS!r}, 1.0]]" if tells_apart(recipe) else "losses of labels"
        raise ValueError(f"`losses` must be {wanted} for objects={way!r}. Received: losses={names}")
    if tells_apart(recipe):
        for module in _MODULES:
            require(module, extra="objects")


def _numbered(recipe: Recipe) -> bool:
    return recipe["data"].get("read", {}).get("kind") == "objects"


def _lacking() -> str | None:
    """The message of the error without a package, or `None`."""
    try:
        for module in _MODULES:
            require(module, extra="objects")
    except ImportError as error:
        return str(error)
    return None

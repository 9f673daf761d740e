"""Choices of a training, each with its reason."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_dense import _check
from keras_dense._types import PathLike
from keras_dense.recipes import numbers as N
from keras_dense.recipes.choose_network import choose_network
from keras_dense.recipes.choose_objects import check_objects, choose_objects
from keras_dense.recipes.recipe import FORMAT, GIVEN, Recipe, tells_apart
from keras_dense.recipes.split import folds as fold_names
from keras_dense.recipes.split import split, without_borders

FLIPS = ("none", "horizontal", "all")


def choose(
    findings: Mapping[str, Any],
    *,
    network: str | None = None,
    backbone: str | None = None,
    weights: PathLike | None = "imagenet",
    minutes: float = N.MINUTES,
    validation: float = N.VALIDATION_SHARE,
    folds: int | None = None,
    seed: int = 0,
    **settings: Any,
) -> Recipe:
    """Choose how to train on what `look` found, with a reason for each choice.

    Args:
        findings: result of `look`.
        network: str, name of a builder such as "unet", or of a decoder such as "fcn"; chosen by the
            images by default.
        backbone: str, name of a backbone; by default that of the file of weights, or MobileNetV2.
        weights: "imagenet", path of a file, `None` for random weights, or the name of a published
            network (`kd.weights.list()`), which is then trained on.
        minutes: float > 0, time for everything: the training, its evaluation and the exports.
        validation: float from 0 to 1, share of the images that are held out.
        folds: int >= 2, number of parts for a cross-validation, each of which is held out once; the
            final model is then the mean of so many.
        seed: int >= 0.
        **settings: other choices by their names, such as `crop=[256, 256]`, `flips="none"`,
            `batch_size=4`, `steps=500`; see the recipe of a run.

    Returns:
        A `Recipe`.

    Raises:
        ValueError: for an unknown name or a value out of range.
        FileNotFoundError: if the file of weights does not exist.
        ImportError: for `objects="instances"` without SciPy or scikit-image.

    Example:

    ```python
    findings = kd.recipes.look("images", "masks")
    recipe = kd.recipes.choose(findings, weights=None, minutes=10)
    print(recipe)
    kd.recipes.train(recipe=recipe, out="run")
    ```
    """
    seed = _check.integer(seed, "seed", low=0)
    validation = _check.number(validation, "validation", above=0, below=1)
    held, why = split(dict(findings), validation, seed)
    recipe = Recipe(
        format=FORMAT,
        data={key: findings[key] for key in _DATA if key in findings},
        train=without_borders(dict(findings), held),
        validation=held,
        choices={},
        said=list(findings["said"]),
        warned=list(findings["warned"]),
    )
    recipe["data"]["classes"] = findings.get("classes", [])
    if folds is not None:
        parts = fold_names(dict(findings), _check.integer(folds, "folds", low=2), seed)
        recipe["folds"] = [
            {"train": without_borders(dict(findings), part), "validation": part} for part in parts
        ]
    recipe.set("validation", validation, why)
    kind = _kind(recipe, findings)
    choose_network(recipe, kind, network, backbone, weights)
    _images(recipe, kind, findings)
    choose_objects(recipe, settings.get("objects"))
    _loss(recipe, kind, findings)
    _optimizer(recipe)
    recipe.set("minutes", _check.number(minutes, "minutes", above=0), "Time for everything.")
    recipe.set("steps", None, "Measured before the training, so that all of it ends in time.")
    recipe.set("rounds", None, "Validations, spread evenly.")
    recipe.set("seed", seed, "Of the order, the augmentation, and the first weights.")
    _override(recipe, settings)
    return recipe


_DATA = (
    *("images", "masks", "depth", "normals", "suffixes", "recursive", "read", "decode"),
    *("sizes", "gray", "up_and_down", "void"),
)


def _kind(recipe: Recipe, findings: Mapping[str, Any]) -> N.Kind:
    if "depth" in findings:
        name, why = "geometry", "There is depth to learn."
    elif findings["up_and_down"]:
        name, why = "scenes", "Images have an up and a down, as photographs have."
    elif _thin(findings):
        width = min(c["width"] for c in findings["classes"] if c["width"])
        name, why = "thin", f"No up and down, and areas {width:.1f} pixels wide."
    else:
        name, why = "surfaces", "No up and down, and no class is thin."
    recipe.set("kind", name, why)
    return N.KINDS[name]


def _thin(findings: Mapping[str, Any]) -> bool:
    """Whether most of what is to be found is a few pixels wide."""
    classes = [c for c in findings["classes"] if c["width"] and c["share"] > 0.005]
    if len(classes) == 2:
        return min(c["width"] for c in classes) < N.THIN
    widths = sorted(c["width"] for c in classes)
    return bool(widths) and widths[len(widths) // 2] < N.THIN


def _images(recipe: Recipe, kind: N.Kind, findings: Mapping[str, Any]) -> None:
    middle = findings["sizes"]["median"]
    multiple = N.CROP_MULTIPLE
    crop = [max(multiple, min(kind.crop, side) // multiple * multiple) for side in middle]
    part = min(1.0, crop[0] * crop[1] / (middle[0] * middle[1]))
    recipe.set(
        "crop",
        crop,
        f"Height and width of the windows that are trained on, {100 * part:.0f} % of an image of "
        f"{middle[0]} x {middle[1]}; smaller images are padded with void.",
    )
    if part < 0.02:
        recipe["warned"].append(
            f"A window of {crop[0]} x {crop[1]} shows {100 * part:.1f} % of an image: if objects "
            "are larger than that, use images of a lower resolution."
        )
    recipe.set("scale_range", list(kind.scale_range), "Random zooms: objects of other sizes.")
    free = not findings["up_and_down"] and "depth" not in findings
    recipe.set(
        "flips",
        "all" if free else ("none" if "normals" in findings else "horizontal"),
        "No up and down: mirrored in both directions, and turned by quarters."
        if free
        else "There is an up and a down: left and right are exchanged only.",
    )
    if "normals" in findings:
        recipe.set("flips", "none", "A room is not symmetric: flips made normals worse.")
    recipe.set("rotate", kind.rotate if free else 0.0, "Degrees; small angles where nothing is up.")
    color = dict(kind.color)
    if findings["gray"]:
        color = {**color, "saturation": 0.0, "hue": 0.0}
    recipe.set("color", color, "Random changes of color; gray images have no saturation and hue.")
    recipe.set("batch_size", N.BATCH_SIZE, "Images in a step.")


def _loss(recipe: Recipe, kind: N.Kind, findings: Mapping[str, Any]) -> None:
    if "classes" not in findings:
        return
    if tells_apart(recipe):
        recipe.set("losses", [["instance_cross_entropy", 1.0]], "Of both maps of the objects.")
        recipe.set("class_weights", None, "There are no classes.")
        recipe.set("border_weights", None, "Objects are told apart by their distances.")
        return
    recipe.set(
        "losses",
        [list(pair) for pair in kind.losses],
        "Cross entropy for each pixel, and the overlap of each class, which counts rare classes "
        "like others.",
    )
    often = min(N.OFTEN, max(c["images"] for c in findings["classes"]))
    shares = [c["share"] for c in findings["classes"] if c["images"] >= often]
    ratio = max(shares) / min(shares)
    weights = None
    why = f"Not needed: the most frequent class has {ratio:.0f} times the pixels of the rarest."
    if ratio > N.STRONG_IMBALANCE:
        weights = _class_weights([c["share"] for c in findings["classes"]])
        why = f"The most frequent class has {ratio:.0f} times the pixels of the rarest."
    recipe.set("class_weights", weights, why)
    objects = findings["read"]["kind"] == "objects"
    recipe.set(
        "border_weights",
        list(N.BORDER_WEIGHTS) if objects else None,
        "Background between close objects counts more, as in U-Net (w0, sigma)."
        if objects
        else "Only for numbered objects.",
    )


def _class_weights(shares: list[float]) -> list[float]:
    known = np.array([share for share in shares if share > 0])
    middle = np.median(known)
    return [
        round(float(np.clip((middle / s) ** N.CLASS_WEIGHT_POWER, *N.CLASS_WEIGHT_RANGE)), 3)
        if s > 0
        else 1.0
        for s in shares
    ]


def _optimizer(recipe: Recipe) -> None:
    rate, why = _backbone_rate(recipe)
    recipe.set("learning_rate", N.LEARNING_RATE, "Of AdamW, for new layers.")
    recipe.set("backbone_rate", rate, why)
    recipe.set("weight_decay", N.WEIGHT_DECAY, "Of AdamW; not of biases and batch norms.")
    recipe.set("schedule", dict(N.SCHEDULE), "The rate falls to zero; a warmup is a share of it.")
    recipe.set(
        "batch_norm",
        {"momentum": N.BATCH_NORM_MOMENTUM, "recalibrate": N.RECALIBRATION_IMAGES},
        "Averages that follow a short training, and are computed anew at its end, over so many "
        "whole training images without augmentation.",
    )
    recipe.set(
        "average_rounds",
        N.AVERAGE_ROUNDS,
        "The mean of the weights after the last rounds is used if it validates better.",
    )


def _backbone_rate(recipe: Recipe) -> tuple[float, str]:
    """The backbone's multiple of the learning rate, and the reason."""
    if recipe.value("weights") is None:
        return 1.0, "The backbone starts from random weights, like all else."
    photographs = recipe.value("kind") == "scenes"
    if photographs and len(recipe["train"]) < N.FEW_PHOTOGRAPHS:
        return N.BACKBONE_RATE_OF_FEW, (
            f"Multiple of the learning rate for the backbone: {len(recipe['train'])} photographs "
            "teach less than it has learned before, and would make it forget."
        )
    return (
        N.BACKBONE_RATE,
        "Multiple of the learning rate for the backbone, which has learned before.",
    )


def _override(recipe: Recipe, settings: Mapping[str, Any]) -> None:
    """Set choices that were given."""
    unknown = sorted(set(settings) - set(recipe["choices"]))
    if unknown:
        raise ValueError(
            f"settings must be among {', '.join(recipe['choices'])}. Received: {unknown[0]}"
        )
    for name, value in settings.items():
        recipe.set(name, list(value) if isinstance(value, tuple) else value, GIVEN)
    check(recipe)


def check(recipe: Recipe) -> None:
    """Check the numbers of a recipe, which may have been edited.

    Raises:
        ValueError: for a value out of range.
        ImportError: if objects are told apart, without SciPy or scikit-image.
    """
    _check.pair(recipe.value("crop"), "crop")
    _check.choice(recipe.value("flips"), "flips", FLIPS)
    _check.integer(recipe.value("batch_size"), "batch_size", low=1)
    _check.number(recipe.value("learning_rate"), "learning_rate", above=0)
    _check.number(recipe.value("backbone_rate"), "backbone_rate", low=0)
    _check.number(recipe.value("minutes"), "minutes", above=0)
    _check.integer(recipe.value("average_rounds"), "average_rounds", low=0)
    check_objects(recipe)
    for name in ("steps", "rounds"):
        if recipe.value(name) is not None:
            _check.integer(recipe.value(name), name, low=1)
    if not recipe["train"] or not recipe["validation"]:
        raise ValueError(
            "a recipe must have images to train on and to validate. Received: "
            f"{len(recipe['train'])} and {len(recipe['validation'])}"
        )
    both = set(recipe["train"]) & set(recipe["validation"])
    if both:
        raise ValueError(
            "`validation` must not have images of `train`. Received: "
            f"{len(both)} in both, such as {sorted(both)[0]!r}"
        )

"""Trains a model on a folder of images and a folder of masks, in a given time.

It looks at the data, chooses how to train and says why, trains, and writes a model, a report and
exports. The same command continues a run that was stopped.
"""

import argparse
import ast
import pathlib
import warnings
from typing import Any

import numpy as np

from keras_dense import recipes
from keras_dense._command.console import plain
from keras_dense._command.load import Unusable
from keras_dense.recipes.masks import KINDS

_CHOICES = ("minutes", "network", "validation", "folds", "seed")
HELP = "train on a folder of images and a folder of masks"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("images", nargs="?", help="folder of images")
    add("masks", nargs="?", help="folder of masks of the same names")
    add("--out", required=True, type=pathlib.Path, help="folder of the run; continued if it exists")
    add("--minutes", type=float, help="time for everything (default: 20)")
    weights = (
        "of the backbone: imagenet (default), none, a file; or a published network to train on"
    )
    add("--weights", help=weights)
    add("--backbone", nargs="+", metavar=("NAME", "KEY=VALUE"), help="such as mobilenet alpha=0.25")
    add("--network", help="name of a builder, such as unet; default: chosen by the images")
    add("--classes", nargs="+", metavar="NAME", help="names of the classes, or their number")
    palette = "colors of the classes, for masks of colors: 0,0,0 255,0,0"
    add("--palette", nargs="+", metavar="R,G,B", help=palette)
    add("--void", nargs="+", type=int, default=[], help="numbers in the masks that mean void")
    add("--kind", choices=KINDS, help="what the masks are; default: found out")
    add("--depth", metavar="FOLDER", help="folder of depth maps, beside masks or instead of them")
    add("--normals", metavar="FOLDER", help="folder of normal maps, with --depth")
    add("--recursive", action="store_true", help="read subfolders, too")
    add("--validation", type=float, help="share of the images that are held out")
    add("--folds", type=int, help="cross-validation: so many models, and their ensemble")
    add("--seed", type=int)
    add("--recipe", type=pathlib.Path, help="train by this file instead of choosing")
    settings = "other choices of the recipe: crop=256,256 flips=none batch_size=4 steps=500"
    add("--set", nargs="+", default=[], metavar="KEY=VALUE", help=settings)
    add("--exports", nargs="*", help="formats beside model.keras; default: those that are possible")
    add("--dry-run", action="store_true", help="look and choose only, and write the recipe")
    add("--overwrite", action="store_true", help="replace a run with other arguments")
    add("--workers", type=int, default=2, help="threads that read images")


def run(args: argparse.Namespace) -> int:
    if (args.images is None) == (args.recipe is None):
        raise Unusable("give folders of images and masks, or --recipe")
    settings: dict[str, Any] = {
        "out": args.out,
        "recipe": args.recipe,
        "depth": args.depth,
        "normals": args.normals,
        "kind": args.kind,
        "classes": _classes(args.classes),
        "palette": _palette(args.palette),
        "void": args.void,
        "recursive": args.recursive,
        "exports": args.exports,
        "dry_run": args.dry_run,
        "overwrite": args.overwrite,
        "workers": args.workers,
        "progress": not args.quiet,
        **_choices(args),
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is left out of pretrained weights: the scores
            found = recipes.train(args.images, args.masks, **settings)
    except (ConnectionError, ImportError, OSError, ValueError) as error:
        raise Unusable(str(error)) from error
    args.document |= plain(found)
    return 0


def _choices(args: argparse.Namespace) -> dict[str, Any]:
    """Arguments of `choose` that were given."""
    found = {name: getattr(args, name) for name in _CHOICES}
    found = {name: value for name, value in found.items() if value is not None}
    if args.weights is not None:
        found["weights"] = None if args.weights.lower() == "none" else args.weights
    if args.backbone is not None:
        found["backbone"] = args.backbone[0]
        if args.backbone[1:]:
            found["backbone_arguments"] = _settings(args.backbone[1:])
    return {**found, **_settings(args.set)}


def _settings(pairs: list[str]) -> dict[str, Any]:
    """`["crop=256,256"]` as `{"crop": [256, 256]}`."""
    found = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise Unusable(f"settings are KEY=VALUE, such as batch_size=4. Received: {pair}")
        try:
            value = ast.literal_eval(text)
        except (SyntaxError, ValueError):
            value = {"none": None, "true": True, "false": False}.get(text.lower(), text)
            value = "none" if name == "flips" and value is None else value
        found[name] = list(value) if isinstance(value, tuple) else value
    return found


def _classes(names: list[str] | None) -> Any:
    if names is not None and len(names) == 1 and names[0].isdigit():
        return int(names[0])
    return names


def _palette(colors: list[str] | None) -> Any:
    if colors is None:
        return None
    try:
        found = [[int(part) for part in color.split(",")] for color in colors]
        if any(len(color) != 3 for color in found):
            raise ValueError
    except ValueError:
        raise Unusable(
            f"--palette takes colors such as 0,0,0 255,0,0. Received: {' '.join(colors)}"
        ) from None
    return np.array(found).tolist()

"""Writes the model card of a run of `train`: data, scores, limits, and places to fill in."""

import argparse
import pathlib

from keras_dense import recipes
from keras_dense._command.load import Unusable

HELP = "write the model card of a run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("folder", type=pathlib.Path, help="folder of a finished run of train")
    add("--out", type=pathlib.Path, help="the card (default: model_card.md in the folder)")
    add("--license", help="license of the model, such as CC-BY-4.0")
    add("--data-license", help="license of the images and masks")
    add("--overwrite", action="store_true", help="replace a card that exists")


def run(args: argparse.Namespace) -> int:
    settings = {"license": args.license, "data_license": args.data_license}
    try:
        path = recipes.card(args.folder, args.out, overwrite=args.overwrite, **settings)
    except (OSError, ValueError) as error:
        raise Unusable(str(error)) from error
    args.document["card"] = str(path)
    print(f'{path}: look for "To be filled in"')
    return 0

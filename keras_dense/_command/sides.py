"""The two sides of a comparison: a model, or a folder of predicted labels."""

import argparse
import json
import pathlib
from typing import Any

import numpy as np

from keras_dense._command.load import Unusable, load_heads, load_model
from keras_dense._command.predictor import Predictor
from keras_dense._optional import require
from keras_dense._types import Array
from keras_dense.datasets.files import find_files


def side(named: str, args: argparse.Namespace) -> "Model | Folder":
    """A run, a model, a published network, or a folder of predictions.

    Raises:
        Unusable: if it is none of these.
    """
    path = pathlib.Path(named)
    if path.is_dir() and not (path / "model.keras").is_file():
        return Folder(path)
    return Model(str(path / "model.keras") if path.is_dir() else named, args)


class Model:
    """A model whose labels are predicted."""

    def __init__(self, named: str, args: argparse.Namespace) -> None:
        model, heads = load_heads(load_model(named), pathlib.Path(named), args.heads)
        key = next(iter(heads)) if heads.single or len(heads) == 1 else args.head
        if key not in heads:
            raise Unusable(
                f"{named!r} has several heads; name one by --head: {', '.join(map(str, heads))}"
            )
        head = heads[key]
        if head.annotation != "labels" or head.mode == "multilabel":
            raise Unusable(f"compare reads one label at a pixel; {named!r} predicts something else")
        self._key, self._heads = key, heads
        whole = {"tile": None, "overlap": None, "scales": None, "flip": False}
        self._predict = Predictor(model, heads, argparse.Namespace(**whole))
        self.class_names, self.palette = list(head.class_names), head.palette

    def labels(self, name: str, image: Array, size: Any, classes: int) -> Array:
        """Labels `(H, W)` of an image."""
        found: dict[str, Any] = {}
        self._heads.map(lambda key, _, x: found.update({key: x}), self._predict(image))
        return np.asarray(found[self._key]).astype("int64")


class Folder:
    """A folder of files of labels with the names of the images."""

    def __init__(self, folder: pathlib.Path) -> None:
        try:
            files = find_files(folder, "compare", "predictions", extensions=(".png", ".npy"))
        except (OSError, ValueError) as error:
            raise Unusable(str(error)) from error
        self.folder, self._files = folder, files
        about = _about(next(iter(files.values())))
        self.class_names = about.get("classes")
        self.palette = np.array(about["palette"], "uint8") if "palette" in about else None

    def labels(self, name: str, image: Any, size: tuple[int, int], classes: int) -> Array:
        """Labels `(H, W)` of the image of a name.

        Raises:
            ValueError: if there are none, or they do not fit the mask.
        """
        file = self._files.get(pathlib.Path(name).stem)
        if file is None:
            raise ValueError(f"there is no prediction of it in {str(self.folder)!r}")
        if file.suffix == ".npy":
            found = np.load(file, allow_pickle=False)
        else:
            with require("PIL.Image", extra="examples").open(file) as opened:
                found = np.array(opened)
        if found.shape != tuple(size):
            raise ValueError(f"{file}: has shape {found.shape}, the mask {tuple(size)}")
        if found.min(initial=0) < 0 or found.max(initial=0) >= classes:
            raise ValueError(f"{file}: has labels that are none of {classes} classes")
        return found.astype("int64")


def _about(file: pathlib.Path) -> dict[str, Any]:
    """The meaning of the labels, as `predict` writes it into PNG files."""
    if file.suffix != ".png":
        return {}
    with require("PIL.Image", extra="examples").open(file) as opened:
        return json.loads(opened.info.get("about", "{}"))

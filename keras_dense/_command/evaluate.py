"""Scores predictions on a folder of images and a folder of annotations of the same names.

A segmentation reads masks of class indices, or of the head's colors; depth reads any file of
depth; numbered objects are read from images of numbers; other heads read arrays (.npy) as a sample
holds them. Images are read as they are stored, without turning, so that annotations lie on their
pixels.
"""

import argparse
import json
import pathlib
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_dense import datasets, training
from keras_dense._command.check import add_mask_numbers, as_remap
from keras_dense._command.console import Progress
from keras_dense._command.files import check_scores_file, report, write_whole
from keras_dense._command.load import Unusable, heads_file, load_heads, load_model
from keras_dense._types import Array, Sample
from keras_dense.datasets.files import READABLE, read_image, read_numbers
from keras_dense.datasets.pairs import match_files
from keras_dense.heads import Head
from keras_dense.recipes.counters import Objects
from keras_dense.recipes.scores import pieces

HELP = "score predictions on images and annotations"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("images", help="folder of images")
    add("annotations", help="folder of masks, depth or arrays of the same names")
    add("--head", metavar="KEY", help="the head to score, of a model with several")
    add("--mask-suffix", default="", help="ending of annotations after the image's name")
    add_mask_numbers(parser)
    add("--out", type=pathlib.Path, help="file for the scores as JSON")


def run(args: argparse.Namespace) -> int:
    if args.out is not None:
        check_scores_file(args.out, [args.model, args.weights, heads_file(args.heads)])
    model, head = _chosen(
        *load_heads(load_model(args.model, args.weights), args.model, args.heads), args.head
    )
    try:
        dataset = _dataset(args, head)
    except (OSError, ValueError) as error:
        raise Unusable(str(error)) from error
    failed: dict = {}

    def samples() -> Iterator[tuple[Sample, Array]]:
        with Progress(len(dataset), "image", quiet=args.quiet) as bar:
            for index in range(len(dataset)):
                try:
                    sample = dataset[index]
                    sample = {**sample, head.target: sample["annotation"]}
                    target = head.encode(sample)
                except (OSError, ValueError) as error:
                    failed[dataset.describe(index)] = error
                else:
                    yield sample, target
                bar.update(index + 1)

    try:
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always", datasets.DatasetWarning)
            if head.annotation == "instances":
                scores = _score_objects(model, head, samples())
            else:
                batches = ((sample["image"][None], target[None]) for sample, target in samples())
                scores = training.evaluate(model, batches, head)
    except ValueError as error:
        if len(failed) == len(dataset):
            return report(failed, len(dataset), "images", args.document)
        raise Unusable(str(error)) from error
    count = len(dataset) - len(failed)
    _say(head, scores, count)
    about = {"class_names": list(head.class_names), "images": count}
    args.document |= {**scores, **about}
    if args.out is not None:
        text = {key: np.asarray(value).tolist() for key, value in scores.items()} | about
        write_whole(args.out, lambda file: file.write(json.dumps(text, indent=1).encode()))
    args.document["warnings"] = []
    for note in notes:
        text = str(note.message)
        if issubclass(note.category, datasets.DatasetWarning):
            text = text.replace("remap={255: 1}", "--remap 255=1")
        args.document["warnings"].append(text)
        print(f"warning: {text}", file=sys.stderr)
    return report(failed, len(dataset), "images", args.document)


def _score_objects(model: keras.Model, head: Head, samples: Iterator) -> dict[str, Any]:
    """Scores of the objects that are found, and errors of the maps they are decoded from."""
    counter = Objects(head)
    for sample, _ in samples:
        counter.start()
        for piece in pieces({key: sample[key] for key in ("image", head.target)}):
            raw = keras.ops.convert_to_numpy(model.predict_on_batch(piece["image"][None]))
            counter.add(piece, raw[0])
    if not counter.images:
        raise ValueError("there is no image to score")
    return counter.scores()


def _chosen(model: keras.Model, heads: Any, key: str | None) -> tuple[keras.Model, Head]:
    """The model of one output, and its head."""
    if heads.single or len(heads) == 1:
        key = next(iter(heads)) if key is None else key
    if key not in heads:
        raise Unusable(
            f"evaluate scores one head; name it by --head, one of {', '.join(filter(None, heads))}"
        )
    head = heads[key]
    if head.annotation == "labels" and head.mode == "multilabel":
        raise Unusable("evaluate reads masks of one class at a pixel, no multilabel ones")
    return keras.Model(model.input, heads.unpack(model.output)[key], name=model.name), head


class _Annotated:
    """Samples with the annotation of the head under "annotation"."""

    def __init__(self, dataset: Any, key: str) -> None:
        self._dataset, self._key = dataset, key
        self.describe = dataset.describe

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Sample:
        sample = self._dataset[index]
        return {**sample, "annotation": sample[self._key]}


class _Arrays:
    """Images and files of arrays, of the same names."""

    def __init__(
        self,
        images: str,
        arrays: str,
        suffix: str,
        what: str = "array",
        extensions: Sequence[str] = (".npy",),
        read: Callable[[Any], Array] = np.load,
    ) -> None:
        self._read = read
        self.files = match_files(
            images, arrays, mask_suffix=suffix, who="evaluate", what=what, extensions=extensions
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        image, array = self.files[index]
        return {"image": read_image(image), "annotation": self._read(array)}

    def describe(self, index: int) -> str:
        return str(self.files[index][0])


def _dataset(args: argparse.Namespace, head: Head) -> Any:
    if head.annotation == "labels":
        masks = datasets.folder(
            args.images,
            args.annotations,
            class_names=head.class_names,
            palette=head.palette,
            mask_suffix=args.mask_suffix,
            remap=as_remap(args),
        )
        return _Annotated(masks, "segmentation")
    if args.remap or args.void:
        kind = type(head).__name__
        raise Unusable(f"--remap and --void are for masks; {kind} reads {head.annotation}")
    if head.annotation == "depth":
        depths = datasets.depth_folder(args.images, args.annotations, depth_suffix=args.mask_suffix)
        return _Annotated(depths, "depth")
    if head.annotation == "instances":
        wanted = args.images, args.annotations, args.mask_suffix
        return _Arrays(*wanted, "file of numbers", READABLE, read_numbers)
    return _Arrays(args.images, args.annotations, args.mask_suffix)


def _say(head: Head, scores: dict, count: int) -> None:
    if "iou" not in scores:
        print("\n" + "\n".join(f"{k} {v:.6g}" for k, v in scores.items() if np.ndim(v) == 0))
        print(f"{count} images")
        return
    names = head.class_names if len(scores["iou"]) == len(head.class_names) else None
    print(f"\n{training.class_table(scores, names)}")
    print(f"\npixel accuracy {100 * scores['pixel_accuracy']:.1f} %, ", end="")
    print(f"mean IoU {100 * scores['mean_iou']:.1f} %, {count} images")

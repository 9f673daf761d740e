"""Scores a segmentation on a folder of images and a folder of masks.

Masks hold class indices, or the head's colors. Images are read as they are stored, without
turning: masks lie on the pixels.
"""

import json
import pathlib
import sys
import warnings

import keras
import numpy as np

from keras_dense import datasets, training
from keras_dense._command.check import as_remap
from keras_dense._command.files import check_scores_file, report, write_whole
from keras_dense._command.load import Unusable, heads_file, load_heads, load_model

HELP = "score a segmentation on images and masks"


def add_arguments(parser):
    add = parser.add_argument
    add("images", help="folder of images")
    add("masks", help="folder of masks of the same names")
    add("--mask-suffix", default="", help="what masks have behind the image's name")
    add("--remap", nargs="*", default=[], metavar="A=B", help="values to classes: 255=1")
    add("--out", type=pathlib.Path, help="file for the scores as JSON")


def run(args):
    if args.out is not None:
        check_scores_file(args.out, [args.model, heads_file(args.model, args.heads)])
    model = load_model(args.model)
    model, head = load_heads(model, args.model, args.heads)
    if isinstance(head, dict) or getattr(head, "mode", "multilabel") == "multilabel":
        raise Unusable("evaluate reads masks of one class at a pixel, for a single segmentation")
    try:
        dataset = datasets.folder(
            args.images,
            args.masks,
            class_names=head.class_names,
            palette=head.palette,
            mask_suffix=args.mask_suffix,
            remap=as_remap(args.remap),
        )
    except (OSError, ValueError) as error:
        raise Unusable(str(error)) from error
    failed = {}

    def batches():
        bar = keras.utils.Progbar(len(dataset), unit_name="picture")
        for index in range(len(dataset)):
            try:
                sample = dataset[index]
                # The head may be one for another key.
                target = head.encode({head.target: sample["segmentation"]})
            except (OSError, ValueError) as error:
                failed[dataset.describe(index)] = error
            else:
                yield sample["image"][None], target[None]
            bar.update(index + 1)

    try:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always", datasets.DatasetWarning)
            scores = training.evaluate(model, batches(), head)
    except ValueError as error:
        if len(failed) == len(dataset):
            return report(failed, len(dataset), "pictures")
        raise Unusable(str(error)) from error
    names = head.class_names if len(scores["iou"]) == len(head.class_names) else None
    print(f"\n{training.class_table(scores, names)}")
    print(f"\npixel accuracy {100 * scores['pixel_accuracy']:.1f} %, ", end="")
    print(f"mean IoU {100 * scores['mean_iou']:.1f} %, {len(dataset) - len(failed)} pictures")
    if args.out is not None:
        plain = {key: np.asarray(value).tolist() for key, value in scores.items()}
        plain |= {"class_names": head.class_names, "pictures": len(dataset) - len(failed)}
        write_whole(args.out, lambda file: file.write(json.dumps(plain, indent=1).encode()))
    for warning in found:
        text = str(warning.message)
        if issubclass(warning.category, datasets.DatasetWarning):
            text = text.replace("remap={255: 1}", "--remap 255=1")
        print(f"warning: {text}", file=sys.stderr)
    return report(failed, len(dataset), "pictures")

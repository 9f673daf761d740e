"""Compares two segmentations of the same images: scores, their differences, and drawings.

Each of the two is a run (a folder with model.keras), a model, the name of a published network, or a
folder of predicted labels, such as `predict` writes. Intervals are those of a paired bootstrap over
the images: a difference whose interval does not contain 0 is marked with a star.
"""

import argparse
import heapq
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_dense import datasets
from keras_dense._command.check import add_mask_numbers, as_remap
from keras_dense._command.console import Progress, plain
from keras_dense._command.drawings import difference_drawing
from keras_dense._command.files import make_folder, report, write_drawing, write_whole
from keras_dense._command.load import Unusable, add_import
from keras_dense._command.sides import Folder, Model, side
from keras_dense._types import Array
from keras_dense.metrics.scores import scores as scores_of
from keras_dense.training import paired_bootstrap

HELP = "compare two models or two folders of predictions"
_SHOWN = {
    "mean_iou": "mean IoU",
    "mean_dice": "mean Dice",
    "pixel_accuracy": "pixel accuracy",
    "mean_accuracy": "mean accuracy",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("first", help="a run, a model, or a folder of predicted labels")
    add("second", help="what it is compared with")
    add("masks", help="folder of masks")
    add("--images", help="folder of the images, for models; otherwise for drawings")
    add("--heads", metavar="JSON", help="heads for models that carry none")
    add("--head", metavar="KEY", help="the head to compare, of models with several")
    add("--classes", nargs="+", metavar="NAME", help="names of the classes of predicted labels")
    add("--mask-suffix", default="", help="ending of masks after the image's name")
    add_mask_numbers(parser)
    add("--out", type=pathlib.Path, help="folder for compare.json and the drawings")
    add("--drawings", type=int, default=8, metavar="N", help="draw the N images that differ most")
    add("--samples", type=int, default=2000, help="draws of the bootstrap")
    add("--seed", type=int, default=0, help="of the draws")
    add_import(parser)


def run(args: argparse.Namespace) -> int:
    if args.samples < 1 or args.drawings < 0:
        raise Unusable("--samples must be at least 1, --drawings at least 0")
    if args.out is not None:
        _check_out(args.out)
    both = [side(named, args) for named in (args.first, args.second)]
    names = _class_names(both, args.classes)
    dataset = _dataset(args, both, names)
    matrices, most, failed = _predicted(args, both, dataset, len(names))
    if not matrices:
        report(failed, len(dataset), "images", args.document)
        raise Unusable("no image could be compared")
    first, second = (_Matrices(x) for x in zip(*matrices, strict=True))
    scores = _compared(first, second, args)
    table = _table(scores, names, len(matrices))
    print(f"first:  {args.first}\nsecond: {args.second}\n\n{table}")
    args.document |= {"first": args.first, "second": args.second, "images": len(matrices)}
    args.document |= {"class_names": names, "scores": plain(scores)}
    if args.out is not None:
        _write(args, most, both)
    return report(failed, len(dataset), "images", args.document)


def _check_out(out: pathlib.Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())) and not _is_ours(out):
        raise Unusable(f"{str(out)!r} holds something else than a comparison; give another --out")


def _is_ours(out: pathlib.Path) -> bool:
    return (out / "compare.json").is_file()


def _class_names(both: list, given: list[str] | None) -> list[str]:
    found = [names for names in (given, *(x.class_names for x in both)) if names]
    if not found:
        raise Unusable("the predicted labels do not say their classes; give --classes")
    for names in found[1:]:
        if len(names) != len(found[0]):
            raise Unusable(f"one has {len(found[0])} classes, the other {len(names)}")
    return list(found[0])


def _dataset(args: argparse.Namespace, both: list, names: list[str]) -> Any:
    images = args.images
    if images is None:
        if any(isinstance(x, Model) for x in both):
            raise Unusable("models predict images: give --images, the folder of them")
        images = next(x.folder for x in both if isinstance(x, Folder))
    try:
        return datasets.folder(
            images,
            args.masks,
            class_names=names,
            palette=next((x.palette for x in both if x.palette is not None), None),
            mask_suffix=args.mask_suffix,
            remap=as_remap(args),
        )
    except (OSError, ValueError) as error:
        raise Unusable(str(error)) from error


def _predicted(args: argparse.Namespace, both: list, dataset: Any, classes: int) -> tuple:
    """Pairs of matrices, the samples that differ most, and errors by image."""
    matrices: list[tuple[Array, Array]] = []
    most: list[tuple[float, int, tuple]] = []
    failed: dict[str, Exception] = {}
    with Progress(len(dataset), "image", quiet=args.quiet) as bar:
        for index in range(len(dataset)):
            name = dataset.describe(index)
            try:
                sample = dataset[index]
                truth = sample["segmentation"]
                labels = [x.labels(name, sample["image"], truth.shape, classes) for x in both]
            except (OSError, ValueError) as error:
                failed[name] = error
                bar.update(index + 1)
                continue
            first, second = (_matrix(truth, x, classes) for x in labels)
            matrices.append((first, second))
            shown = sample["image"] if args.images is not None else None
            known = truth < classes
            apart = ((labels[0] == truth) != (labels[1] == truth)) & known
            share = float(apart.sum() / max(known.sum(), 1))
            heapq.heappush(most, (share, index, (name, shown, truth, *labels)))
            if len(most) > args.drawings:
                heapq.heappop(most)
            bar.update(index + 1)
    return matrices, sorted(most, key=lambda x: (-x[0], x[1])), failed


def _matrix(truth: Array, labels: Array, classes: int) -> Array:
    known = (truth >= 0) & (truth < classes)
    cells = truth[known].astype("int64") * classes + labels[known]
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


class _Matrices:
    """Confusion matrices of images, of which every score is computed; see `paired_bootstrap`."""

    def __init__(self, matrices: Sequence[Array]) -> None:
        self.matrices = np.stack(matrices).astype("float64")

    def __len__(self) -> int:
        return len(self.matrices)

    def rows(self) -> Array:
        return self.matrices.reshape(len(self), -1)

    def of_sums(self, sums: Array) -> dict[str, Any]:
        return scores_of(sums.reshape(self.matrices.shape[1:]), np)


def _compared(first: _Matrices, second: _Matrices, args: argparse.Namespace) -> dict[str, dict]:
    """Every score of both, their difference and its interval."""
    one, other = (x.of_sums(x.rows().sum(0)) for x in (first, second))
    if len(first) < 2:  # No interval can be told from one image.
        none = {name: np.full_like(one[name], np.nan) for name in one}
        edges = {name: {"low": none[name], "high": none[name]} for name in one}
    else:
        found = paired_bootstrap(first, second, resamples=args.samples, seed=args.seed)
        edges = {name: {"low": x.low, "high": x.high} for name, x in found.items()}
    return {
        name: {"first": one[name], "second": other[name], "difference": other[name] - one[name]}
        | edges[name]
        for name in one
    }


def _table(scores: dict, names: list[str], count: int) -> str:
    """Markdown table of the scores in percent, and of the IoU of each class."""
    rows = [(title, scores[name]) for name, title in _SHOWN.items()]
    iou = scores["iou"]
    rows += [(f"IoU {n}", {key: x[k] for key, x in iou.items()}) for k, n in enumerate(names)]
    lines = [f"| {count} images, percent | first | second | difference | 95 % interval | |"]
    lines.append("|:--|--:|--:|--:|:-:|:-:|")
    for name, row in rows:
        low, high = row["low"], row["high"]
        star = "*" if low > 0 or high < 0 else ""
        cells = [_percent(row["first"]), _percent(row["second"])]
        cells += [_percent(row["difference"], "+"), f"{_percent(low, '+')} … {_percent(high, '+')}"]
        lines.append(f"| {name} | {' | '.join(cells)} | {star} |")
    return "\n".join(lines)


def _percent(value: float, sign: str = "") -> str:
    return "–" if np.isnan(value) else f"{100 * value:{sign}.1f}"


def _write(args: argparse.Namespace, most: list, both: list) -> None:
    make_folder(args.out)
    palette = next((x.palette for x in both if x.palette is not None), None)
    for old in args.out.glob("[0-9][0-9]_*.png"):
        old.unlink()
    files = []
    for rank, (share, _, sample) in enumerate(most, 1):
        if not share:
            break
        name, image, truth, first, second = sample
        file = args.out / f"{rank:02d}_{pathlib.Path(name).stem[:80]}.png"
        write_drawing(file, difference_drawing(image, truth, first, second, palette, share))
        files.append(str(file))
    args.document["drawings"] = files
    text = json.dumps(plain(args.document), indent=1)
    write_whole(args.out / "compare.json", lambda file: file.write(text.encode()))
    print(f"\n{args.out}: compare.json, {len(files)} drawings")

"""Reports all faults of a data set, and what is suspicious.

Masks: labels out of range, classes that never occur, black and white masks, void everywhere.
Depth: units. Images: a single color, duplicates, images of another split.
"""

import sys
import threading
import warnings

from keras_dense import datasets
from keras_dense._command.console import Progress
from keras_dense._command.load import Unusable
from keras_dense.datasets.sample import VOID

HELP = "check images and masks, or depth"


def add_arguments(parser):
    add = parser.add_argument
    add("images", help="folder of images")
    add("masks", nargs="?", help="folder of masks of the same names")
    add("--classes", nargs="+", metavar="NAME", help="names of the classes, or their number")
    add("--mask-suffix", default="", help="ending of masks after the image's name")
    add_mask_numbers(parser)
    add("--depth", metavar="FOLDER", help="folder of depth maps, instead of masks")
    add("--depth-scale", type=float, default=1000.0, help="units of a meter in depth files")
    add("--against", metavar="IMAGES", help="images of another split, which must not occur here")
    add("--limit", type=int, help="check only so many samples, spread evenly")


def run(args):
    try:
        dataset = _dataset(args)
        against = None if args.against is None else datasets.photographs(args.against)
    except (OSError, ValueError) as error:
        raise Unusable(str(error)) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", datasets.DatasetWarning)  # printed with the report
        number = len(dataset) if args.limit is None else min(args.limit, len(dataset))
        with Progress(number, "sample", quiet=args.quiet) as bar:
            try:
                watched = Watched(dataset, bar)
                report = datasets.check(watched, against=against, limit=args.limit)
            except ValueError as error:
                raise Unusable(str(error)) from error
    print(report)
    args.document |= report
    if report["warnings"]:
        print(f"{len(report['warnings'])} warnings, see the report", file=sys.stderr)
    return 1 if report["warnings"] else 0


def _dataset(args):
    if (args.masks is None) == (args.depth is None):
        raise Unusable("give a folder of masks, or --depth with a folder of depth maps")
    if args.depth is not None:
        return datasets.depth_folder(args.images, args.depth, scale=args.depth_scale)
    names = args.classes or []
    number = int(names[0]) if len(names) == 1 and names[0].isdigit() else None
    dataset = datasets.folder(
        args.images,
        args.masks,
        # Without a number of classes: any label.
        num_classes=number if names else VOID,
        class_names=None if number is not None or not names else names,
        mask_suffix=args.mask_suffix,
        remap=as_remap(args),
    )
    return dataset if names else _Unnamed(dataset)


class _Unnamed:
    """A data set without a known number of classes."""

    def __init__(self, dataset):
        self.dataset, self.name, self.describe = dataset, dataset.name, dataset.describe

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        return self.dataset[index]


class Watched:
    """A data set that shows on a progress bar which sample is read."""

    def __init__(self, dataset, bar):
        self._dataset, self._bar, self._read = dataset, bar, set()
        self._lock = threading.Lock()  # Samples are read by several threads.

    def __getattr__(self, name):
        return getattr(self._dataset, name)

    def __len__(self):
        return len(self._dataset)

    def __getitem__(self, index):
        with self._lock:
            self._read.add(index)
            self._bar.update(min(len(self._read), self._bar.total))
        return self._dataset[index]


def add_mask_numbers(parser):
    """The arguments by which numbers in masks become others."""
    add = parser.add_argument
    add("--remap", nargs="*", default=[], metavar="A=B", help="values to classes: 255=1")
    add("--void", nargs="+", type=int, default=[], help="numbers in the masks that mean void")


def as_remap(args):
    """`--remap 255=1 --void 11` as `{255: 1, 11: 255}`; nothing as `None`.

    Raises:
        Unusable: if it has another form, or a number is in both.
    """
    found = {}
    for pair in args.remap:
        value, _, label = pair.partition("=")
        try:
            found[int(value)] = int(label)
        except ValueError:
            raise Unusable(f"--remap takes VALUE=CLASS, such as 255=1. Received: {pair}") from None
    if twice := sorted(found.keys() & set(args.void)):
        raise Unusable(f"--remap and --void both name {', '.join(map(str, twice))}")
    return (found | dict.fromkeys(args.void, VOID)) or None

"""Predicts images, folders and videos, and writes labels, depth, normals or colors.

Files are read as RGB of 8 bits, see `kd.datasets`: gray, palette and CMYK are converted, and
photographs are turned by their EXIF orientation. Other files that RGB of 8 bits cannot hold
without loss are an error.

Results carry a mark of the run. A second start predicts images that are missing or were changed;
it stops at results of another model, other heads or settings (--overwrite replaces them). Files
without a mark are never replaced, and two runs never write to one folder.
"""

import argparse
import pathlib
from typing import Any

import numpy as np

from keras_dense._command import video, watch
from keras_dense._command.console import Progress
from keras_dense._command.files import (
    image_files,
    named_paths,
    report,
    write_overlay,
    write_result,
)
from keras_dense._command.large import read
from keras_dense._command.load import Unusable, heads_file, load_heads, load_model
from keras_dense._command.predictor import Predictor, explained
from keras_dense._command.results import Results
from keras_dense.inference import GeoTiff

HELP = "write labels, depth, normals or colors of images and videos"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("images", nargs="+", help="files, folders of them, videos; - for a list of files on stdin")
    add(
        "--out",
        required=True,
        type=pathlib.Path,
        help="folder of the results; or, for one video, a video such as out.mp4",
    )
    add(
        "--tile",
        type=int,
        help="cut images into tiles of so many pixels (default: only images that are too large for "
        "the memory of this machine; 0: none)",
    )
    add("--overlap", type=int, help="of tiles, in pixels")
    add(
        "--large",
        action="store_true",
        help="with --tile: read images beyond the limit of Pillow (179 million pixels) whole; "
        "without it TIFF and JPEG 2000 are read by windows, others are an error",
    )
    add("--scales", type=float, nargs="+", help="average over versions of these scales, such as 1")
    add("--flip", action="store_true", help="average over the mirrored image, too")
    add("--overlay", action="store_true", help="also write results drawn over the images")
    add("--overwrite", action="store_true", help="also replace results of earlier runs")
    add(
        "--watch",
        type=float,
        metavar="SECONDS",
        help="look for new images in the folders so often, until Ctrl-C",
    )


def run(args: argparse.Namespace) -> int:
    if args.tile is not None and args.tile < 0:
        raise Unusable(f"--tile must be a number of pixels, or 0 for none. Received: {args.tile}")
    if args.watch is not None:
        watch.check(args)
    paths = named_paths(args.images)
    videos = [path for path in paths if video.is_video(path)]
    if videos:
        video.check(args, paths, videos)
    files = {} if args.watch is not None or videos else image_files(paths)
    work = Work(args, [*paths, *map(pathlib.Path, filter(None, (args.model, args.weights)))])
    args.document |= {"model": str(args.model), "out": str(args.out), "results": work.written}
    if videos:
        return video.run(args, work, videos)
    if args.watch is not None:
        return watch.run(args, work, paths)
    return _all(args, work, files)


def _all(args: argparse.Namespace, work: "Work", files: dict[str, pathlib.Path]) -> int:
    """Predict the images of a list."""
    work.results.check(files, work.sources)
    failed: dict[Any, Exception] = {}
    with work.results.locked(files):
        waiting, done, old = work.results.waiting(files)
        if done:
            print(f"{done} images were done before (--overwrite does them anew)")
        if old:
            print(f"{old} images were changed since they were done, and are done anew")
        args.document |= {"images": len(files), "done_before": done, "changed": old}
        with Progress(len(waiting), "image", quiet=args.quiet) as bar:
            for count, (stem, file) in enumerate(waiting.items()):
                try:
                    error = work.file(stem, file, bar, count)
                except (Unusable, ImportError):
                    bar.close()
                    report(failed, len(files), "images", args.document)
                    raise
                if error is not None:
                    failed[file] = error
                bar.update(count + 1)
    args.document["divided"] = work.predict.divided
    return report(failed, len(files), "images", args.document)


class Work:
    """The work on single images: reading, predicting and writing.

    Args:
        args: of the command.
        sources: paths that must not be written to.

    Attributes:
        results: the `Results` of the run.
        sources: the paths, with that of the heads.
        written: with `--json`, dict from images to the files that were written for them.
    """

    def __init__(self, args: argparse.Namespace, sources: list[pathlib.Path]) -> None:
        heads = heads_file(args.heads)
        self.sources = [*sources, *([heads] if heads else [])]
        model = load_model(args.model, args.weights)
        self.tiled = bool(args.tile) or None not in model.input.shape[1:3]
        for name, given in (("--large", args.large), ("--overlap", args.overlap is not None)):
            if given and not self.tiled:
                raise Unusable(f"{name} goes with --tile")
        self.model, self.heads = load_heads(model, args.model, args.heads)
        self._bar: Progress | None = None
        self.predict = Predictor(self.model, self.heads, args, self._say)
        settings = {name: getattr(args, name) for name in ("tile", "overlap", "scales", "flip")}
        self.results = Results(args, self.model, self.heads, settings)
        self._overlay, self._large, self._notes = args.overlay, args.large, args.json
        self.written: dict[str, list[str]] = {}

    def file(self, stem: str, file: pathlib.Path, bar: Progress, count: int) -> Exception | None:
        """Predict one image file; returns an error of this image, which does not stop others."""
        pixels = None

        def progress(done, total):
            bar.update(count + done / total)

        self._bar = bar
        try:
            pixels = read(file, self.model.input.shape[-1], self.tiled, self._large)
            self.write(stem, self.predict(pixels, progress), pixels)
        except (Unusable, ImportError):
            raise
        # An error in one image must not stop the others.
        except Exception as error:
            return explained(error, pixels, self.model)
        if self._notes:
            self.written[str(file)] = [str(path) for path in self.results.targets(stem)]
        return None

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.clear()
        print(text)

    def write(self, stem: str, found: Any, pixels: Any) -> None:
        """Write the results of one image."""
        results = self.results

        def write(key, head, result):
            write_result(results.result(key, stem), head, result, results.mark)
            if self._overlay:
                shown = pixels[...] if isinstance(pixels, GeoTiff) else pixels
                write_overlay(results.overlay(key, stem), head, result, shown, results.mark)

        self.heads.map(write, found)

    def predicted(self, pixels: np.ndarray, what: str) -> Any:
        """The results of one frame of a video.

        Raises:
            Unusable: if it cannot be predicted; so could not the others.
        """
        try:
            return self.predict(pixels)
        except Exception as error:
            raise Unusable(f"{what}: {explained(error, pixels, self.model)}") from error

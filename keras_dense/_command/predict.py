"""Predicts pictures of files and folders, and writes the results as pictures.

Files are read as RGB of 8 bits: grey, palette, CMYK and 16-bit colour are converted, transparency
is dropped, and photographs are turned as their EXIF orientation says. Grey of 16 bits is an error,
since nobody knows its scale.
"""

import pathlib

import keras
import numpy as np

from keras_dense._command.files import (
    make_folder,
    pictures,
    report,
    suffix,
    write_overlay,
    write_result,
)
from keras_dense._command.load import Unusable, load_heads, load_model
from keras_dense.datasets.files import read_image
from keras_dense.heads import decoded, map_heads
from keras_dense.heads.head import decode
from keras_dense.inference import predict_multiscale, predict_tiled
from keras_dense.surgery.strides import total_stride

HELP = "write labels, depth, normals or colours of pictures"


def add_arguments(parser):
    add = parser.add_argument
    add("pictures", nargs="+", help="files, or folders of them")
    add("--out", required=True, type=pathlib.Path, help="folder of the results")
    add("--tile", type=int, help="cut pictures into tiles of so many pixels, for large ones")
    add("--overlap", type=int, help="of tiles, in pixels")
    add("--scales", type=float, nargs="+", help="average over versions of these scales, such as 1")
    add("--flip", action="store_true", help="average over the mirrored picture, too")
    add("--overlay", action="store_true", help="also write results drawn over the pictures")
    add("--overwrite", action="store_true", help="also write what is there already")


def run(args):
    if args.tile is not None and (args.scales or args.flip):
        raise Unusable("--tile does not go with --scales and --flip")
    files = pictures(args.pictures)
    model = load_model(args.model)
    model, heads = load_heads(model, args.model, args.heads)
    predict = _predictor(model, heads, args)
    targets = {stem: _targets(args, heads, stem) for stem in files}
    for folder in {path.parent for paths in targets.values() for path in paths}:
        make_folder(folder)
    ready = [] if args.overwrite else [s for s in files if all(p.exists() for p in targets[s])]
    waiting = {stem: file for stem, file in files.items() if stem not in set(ready)}
    if ready:
        print(f"{len(ready)} pictures were done before (--overwrite does them anew)")

    failed = {}
    bar = keras.utils.Progbar(len(waiting), unit_name="picture")
    for count, (stem, file) in enumerate(waiting.items(), 1):
        pixels = None
        try:
            pixels = read_image(file, upright=True)
            _write(args, heads, stem, predict(pixels), pixels)
        except Unusable:
            report(failed, len(files), "pictures")
            raise
        # Whatever it is, the other pictures are worth the try.
        except Exception as error:
            failed[file] = _explained(error, pixels, model)
        bar.update(count)
    return report(failed, len(files), "pictures")


def _predictor(model, heads, args):
    """From pixels `(H, W, 3)` to what the heads decode."""
    fixed = None not in model.input.shape[1:3]
    if args.scales or args.flip:

        def predict(pixels):
            scales = args.scales or (1.0,)
            found = predict_multiscale(model, pixels[None], heads, scales=scales, flip=args.flip)
            return map_heads(lambda _, head, p: decode(head, p, pixels[None]), heads, found)

    elif args.tile is not None or fixed:

        def predict(pixels):
            settings = {"tile": args.tile, "overlap": args.overlap, "progress": False}
            found = predict_tiled(model, pixels, heads, **settings)
            return map_heads(lambda _, head, p: p[None], heads, found)

    else:
        network = decoded(model, heads)

        def predict(pixels):
            return network.predict_on_batch(pixels[None])

    def single(pixels):
        found = map_heads(
            lambda _, head, p: keras.ops.convert_to_numpy(p)[0], heads, predict(pixels)
        )
        map_heads(_check, heads, found)
        return found

    return single


def _explained(error, pixels, model):
    """An error in fewer words where the picture is smaller than a cell of the network."""
    try:
        stride = total_stride(model)
    except ValueError:
        return error
    if pixels is None or min(pixels.shape[:2]) >= stride:
        return error
    height, width = pixels.shape[:2]
    return ValueError(f"is too small: {height}×{width} pixels, for a network of stride {stride}")


def _check(_, head, result):
    if not np.isfinite(result).all():
        raise ValueError("the model predicts what is no number")


def _folder(args, key):
    return args.out if key is None else args.out / key


def _targets(args, heads, stem):
    """The files of a picture's results."""
    listed = heads.items() if isinstance(heads, dict) else [(None, heads)]
    found = [_folder(args, key) / f"{stem}{suffix(head)}" for key, head in listed]
    if args.overlay:
        found += [_folder(args, key) / "overlay" / f"{stem}.png" for key, _ in listed]
    return found


def _write(args, heads, stem, found, pixels):
    def write(key, head, result):
        folder = _folder(args, key)
        write_result(folder / f"{stem}{suffix(head)}", head, result)
        if args.overlay:
            write_overlay(folder / "overlay" / f"{stem}.png", head, result, pixels)

    map_heads(write, heads, found)

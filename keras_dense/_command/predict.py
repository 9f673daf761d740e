"""Predicts images and folders, and writes labels, depth, normals or colors.

Files are read as RGB of 8 bits, see `kd.datasets`: gray, palette and CMYK are converted, and
photographs are turned by their EXIF orientation. Other files that RGB of 8 bits cannot hold
without loss are an error.

Results carry a mark of the run. A second start predicts images that are missing or were changed;
it stops at results of another model, other heads or settings (--overwrite replaces them). Files
without a mark are never replaced.
"""

import pathlib

import keras
import numpy as np

from keras_dense._command.files import image_files, report, write_overlay, write_result
from keras_dense._command.large import read
from keras_dense._command.load import Unusable, heads_file, load_heads, load_model
from keras_dense._command.results import Results
from keras_dense.heads import decoded
from keras_dense.inference import GeoTiff, TiledPredictor, predict_multiscale
from keras_dense.inference.network import share_lost
from keras_dense.surgery.strides import total_stride

HELP = "write labels, depth, normals or colors of images"


def add_arguments(parser):
    add = parser.add_argument
    add("images", nargs="+", help="files, or folders of them")
    add("--out", required=True, type=pathlib.Path, help="folder of the results")
    add("--tile", type=int, help="cut images into tiles of so many pixels, for large ones")
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


def run(args):
    if args.tile is not None and (args.scales or args.flip):
        raise Unusable("--tile does not go with --scales and --flip")
    files = image_files(args.images)
    model = load_model(args.model, args.weights)
    tiled = args.tile is not None or None not in model.input.shape[1:3]
    for name, given in (("--large", args.large), ("--overlap", args.overlap is not None)):
        if given and not tiled:
            raise Unusable(f"{name} goes with --tile")
    model, heads = load_heads(model, args.model, args.heads)
    predict = _predictor(model, heads, args)
    settings = {name: getattr(args, name) for name in ("tile", "overlap", "scales", "flip")}
    results = Results(args, model, heads, settings)
    sources = [pathlib.Path(path) for path in args.images]
    sources += [args.model, args.weights, heads_file(args.heads)]
    waiting, done, old = results.prepare(files, [pathlib.Path(x) for x in sources if x])
    if done:
        print(f"{done} images were done before (--overwrite does them anew)")
    if old:
        print(f"{old} images were changed since they were done, and are done anew")

    failed = {}
    bar = keras.utils.Progbar(len(waiting), unit_name="image")
    for count, (stem, file) in enumerate(waiting.items(), 1):
        pixels = None
        try:
            pixels = read(file, model.input.shape[-1], tiled, args.large)
            _write(args, results, heads, stem, predict(pixels), pixels)
        except Unusable:
            report(failed, len(files), "images")
            raise
        # An error in one image must not stop the others.
        except Exception as error:
            failed[file] = _explained(error, pixels, model)
        bar.update(count)
    return report(failed, len(files), "images")


def _predictor(model, heads, args):
    """From pixels `(H, W, 3)` to what the heads decode."""
    fixed = None not in model.input.shape[1:3]
    if args.scales or args.flip:

        def predict(pixels):
            scales = args.scales or (1.0,)
            found = predict_multiscale(model, pixels[None], heads, scales=scales, flip=args.flip)
            return heads.map(lambda _, head, p: head.decode(p, pixels[None]), found)

    elif args.tile is not None or fixed:
        tiled = TiledPredictor(model, heads)

        def predict(pixels):
            found = tiled.run(pixels, tile=args.tile, overlap=args.overlap, progress=False)
            return heads.map(lambda _, head, p: p[None], found)

    else:
        network = _checking(model, heads)

        def predict(pixels):
            found, lost = network.predict_on_batch(pixels[None])
            heads.map(_check_lost, lost)
            return found

    def single(pixels):
        found = heads.map(lambda _, head, p: keras.ops.convert_to_numpy(p)[0], predict(pixels))
        heads.map(_check, found)
        return found

    return single


def _checking(model, heads):
    """Results, and the share of pixels with NaN or infinity."""
    product = decoded(model, heads)

    def lost(_, head, y, result):
        return share_lost(y, "int" in keras.backend.standardize_dtype(result.dtype))

    shares = heads.map(lost, model.output, product.output)
    return keras.Model(model.input, (product.output, shares), name=product.name)


def _check_lost(key, head, share):
    if float(share[0]) > 0:
        what = f" of {key!r}" if key else ""
        raise ValueError(
            f"the model predicts NaN or infinity{what} at {100 * float(share[0]):.3g} % of the "
            "pixels: are its weights finite?"
        )


def _explained(error, pixels, model):
    """A shorter error for an image that is smaller than the stride of the network."""
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
        raise ValueError("the model predicts NaN or infinity")


def _write(args, results, heads, stem, found, pixels):
    def write(key, head, result):
        write_result(results.result(key, stem), head, result, results.mark)
        if args.overlay:
            shown = pixels[...] if isinstance(pixels, GeoTiff) else pixels
            write_overlay(results.overlay(key, stem), head, result, shown, results.mark)

    heads.map(write, found)

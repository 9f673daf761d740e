"""Exports a model with decoding inside: it returns labels, meters, normals, colors."""

import pathlib

import numpy as np

from keras_dense import export
from keras_dense._command.files import image_files, keep_apart, make_folder
from keras_dense._command.load import Unusable, heads_file, load_heads, load_model
from keras_dense.datasets.files import read_image

HELP = "write a SavedModel, ONNX, OpenVINO or LiteRT model"
FORMATS = ("savedmodel", "onnx", "openvino", "litert")


def add_arguments(parser):
    add = parser.add_argument
    add("format", choices=FORMATS)
    add("out", type=pathlib.Path, help="file or folder to write")
    add("--early-labels", action="store_true", help="decide on labels before the last upsampling")
    add("--size", type=int, nargs=2, metavar=("H", "W"), help="of all images; default: any")
    add("--quantize", choices=("float16", "int8"), help="smaller weights; not for savedmodel")
    add(
        "--images",
        type=pathlib.Path,
        help="folder of images of one size, to compare and to measure ranges for int8 on",
    )
    add("--overwrite", action="store_true", help="also replace an existing file or folder")


def run(args):
    read = [args.model, args.weights, heads_file(args.heads), args.images]
    keep_apart([args.out], read)
    for source in filter(None, read):
        if args.out.is_dir() and args.out.resolve() in pathlib.Path(source).resolve().parents:
            raise Unusable(
                f"{str(args.out)!r} holds what is read, {str(source)!r}; give another place"
            )
    if args.out.exists() and not args.overwrite:
        raise Unusable(f"there is something at {str(args.out)!r} already (--overwrite replaces it)")
    settings = {"early_labels": args.early_labels, "size": args.size}
    if args.quantize is not None:
        if args.format == "savedmodel":
            raise Unusable("--quantize is for onnx, openvino and litert")
        settings["quantize"] = args.quantize
    if args.images is not None:
        settings["images"] = _images(args.images)
    model = load_model(args.model, args.weights)
    model, heads = load_heads(model, args.model, args.heads)
    make_folder(args.out.absolute().parent)
    try:
        found = getattr(export, args.format)(model, args.out, heads, **settings)
    except (ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise Unusable(f"cannot export {str(args.model)!r} as {args.format}: {error}") from error
    args.document |= {"file": args.out, "format": args.format, "differences": found}
    print(f"{args.out}: {args.format} of {model.name}")
    return 0


def _images(folder):
    """All images of a folder as one array."""
    files = image_files([folder])
    try:
        images = [read_image(file, upright=True) for file in files.values()]
    except (OSError, ValueError) as error:
        raise Unusable(str(error)) from error
    sizes = {image.shape[:2] for image in images}
    if len(sizes) > 1:
        raise Unusable(
            f"--images must be images of one size; those of {str(folder)!r} have {len(sizes)}: "
            f"{', '.join(f'{h}×{w}' for h, w in sorted(sizes)[:5])}"
        )
    return np.stack(images)

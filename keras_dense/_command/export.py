"""Exports a model with decoding inside: labels, metres, normals, colours come out."""

import pathlib

from keras_dense import export
from keras_dense._command.files import make_folder
from keras_dense._command.load import Unusable, load_heads, load_model

HELP = "write a SavedModel, ONNX, OpenVINO or LiteRT model"
FORMATS = ("savedmodel", "onnx", "openvino", "litert")


def add_arguments(parser):
    add = parser.add_argument
    add("format", choices=FORMATS)
    add("out", type=pathlib.Path, help="file or folder to write")
    add("--early-labels", action="store_true", help="decide on labels before the last upsampling")
    add("--overwrite", action="store_true", help="also where there is something already")


def run(args):
    if args.out.exists() and not args.overwrite:
        raise Unusable(f"there is something at {str(args.out)!r} already (--overwrite replaces it)")
    model = load_model(args.model)
    model, heads = load_heads(model, args.model, args.heads)
    make_folder(args.out.absolute().parent)
    try:
        getattr(export, args.format)(model, heads, args.out, early_labels=args.early_labels)
    except (ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise Unusable(f"cannot export {str(args.model)!r} as {args.format}: {error}") from error
    print(f"{args.out}: {args.format} of {model.name}")
    return 0

"""The command line: `python -m keras_dense COMMAND …`; each command is a file here.

A command has `HELP`, `add_arguments(parser)` and `run(args)`, which returns the exit code. What it
puts into the dict `args.document` is printed with `--json`. It prints with `print`, warnings to
stderr, and shows progress with `Progress(…, quiet=args.quiet)`.
"""

import argparse
import sys

from keras_dense._command import card, check, compare, evaluate, export, info, predict, train
from keras_dense._command.console import on_stderr, print_json
from keras_dense._command.load import Unusable, add_import, import_modules

COMMANDS = (train, predict, evaluate, compare, check, info, export, card)
# Those that take a model as their first argument.
WITH_MODEL = (predict, evaluate, info, export)


def main(argv=None):
    """Run a command.

    Returns:
        0, or 1 where something could not be done that is said on stderr (single files: all others
        are done). Wrong arguments exit with 2, as `argparse` does.
    """
    args = _parser().parse_args(argv)
    args.document = {"command": args.command}
    if not args.json:
        return _run(args)
    with on_stderr() as stdout:
        code = _run(args)
        print_json({**args.document, "exit_code": code}, stdout)
    return code


def _run(args):
    try:
        import_modules(getattr(args, "modules", []))
        return args.run(args)
    except Unusable as error:
        said, code = str(error), 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        args.document["error"] = "stopped"
        return 130
    except ImportError as error:
        said, code = str(error), 1
    print(f"keras_dense {args.command}: {said}", file=sys.stderr)
    args.document["error"] = said
    return code


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m keras_dense",
        description="Training, and what trained models are for. KERAS_BACKEND chooses the backend.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for module in COMMANDS:
        name = module.__name__.rpartition(".")[2]
        one = commands.add_parser(
            name, help=module.HELP, description=module.__doc__.splitlines()[0]
        )
        if module in WITH_MODEL:
            _add_model(one, optional=module is info)
        module.add_arguments(one)
        one.add_argument("--quiet", action="store_true", help="show no progress")
        one.add_argument(
            "--json",
            action="store_true",
            help="print one JSON document to stdout, everything else to stderr",
        )
        one.set_defaults(run=module.run)
    return parser


def _add_model(parser, optional):
    parser.add_argument(
        "model",
        nargs="?" if optional else None,
        help="a .keras file, or the name of a published network, such as "
        "torchvision/deeplabv3_resnet50 (python -m keras_dense info lists them)",
    )
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="the file of a published network, which is downloaded otherwise",
    )
    parser.add_argument(
        "--heads",
        metavar="JSON",
        help="heads for a model that carries none, as keras.saving.serialize_keras_object "
        "writes them (default: those of the model; without any a segmentation)",
    )
    add_import(parser)

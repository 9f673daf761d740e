"""The command line: `python -m keras_dense train | predict | evaluate | check | info | export`."""

import argparse
import sys

from keras_dense._command import check, evaluate, export, info, predict, train
from keras_dense._command.load import Unusable

COMMANDS = (train, predict, evaluate, check, info, export)


def main(argv=None):
    """Run a command.

    Returns:
        0, or 1 where something could not be done that is said on stderr (single files: all others
        are done). Wrong arguments exit with 2, as `argparse` does.
    """
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
        if module not in (check, train):
            one.add_argument(
                "model",
                nargs="?" if module is info else None,
                help="a .keras file, or the name of a published network, such as "
                "torchvision/deeplabv3_resnet50 (python -m keras_dense info lists them)",
            )
            one.add_argument(
                "--weights",
                metavar="FILE",
                help="the file of a published network, which is downloaded otherwise",
            )
            one.add_argument(
                "--heads",
                metavar="JSON",
                help="heads for a model that carries none, as keras.saving.serialize_keras_object "
                "writes them (default: those of the model; without any a segmentation)",
            )
        module.add_arguments(one)
        one.set_defaults(run=module.run)
    args = parser.parse_args(argv)
    try:
        return args.run(args)
    except Unusable as error:
        print(f"keras_dense {args.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130

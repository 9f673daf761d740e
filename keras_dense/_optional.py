"""Imports of what is not needed by everybody, with an error that says how to get it."""

import importlib


def require(module, extra):
    """Import `module`, or say which extra of `keras_dense` brings it.

    Args:
        module: str, the module's name, such as `"PIL.Image"`.
        extra: str, the extra in `pip install keras_dense[extra]` that brings it.

    Returns:
        The imported module.

    Raises:
        ImportError: if it is not installed; the message says what to type.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"this needs `{module.partition('.')[0]}`, which could not be imported ({error}). "
            f"Install it with: pip install keras_dense[{extra}]"
        ) from error

"""Imports of optional packages, with an error that says how to install them."""

import importlib
from typing import Any


def require(module: str, extra: str) -> Any:
    """Import an optional module.

    Args:
        module: str, the module's name, such as `"PIL.Image"`.
        extra: str, the extra in `pip install keras_dense[extra]` that installs it.

    Returns:
        The imported module.

    Raises:
        ImportError: if it is not installed; the message has the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"this needs `{module.partition('.')[0]}`, which could not be imported ({error}). "
            f"Install it with: pip install keras_dense[{extra}]"
        ) from error

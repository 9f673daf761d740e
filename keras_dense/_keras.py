"""Check of Keras and of what it runs on, before anything else is imported."""

import importlib.util
import re

BACKENDS = ("tensorflow", "jax", "torch")


def without_backend(missing: str) -> str:
    """Text of the error where Keras does not find the library it runs on.

    Args:
        missing: str, the name of that library.
    """
    others = [name for name in BACKENDS if name != missing and importlib.util.find_spec(name)]
    text = f"Keras is set to run on {missing}, which is not installed. "
    if others:
        text += f"Installed: {', '.join(others)}. Before keras is imported, set the environment "
        return text + f"variable KERAS_BACKEND={others[0]}, or install {missing}."
    return text + "Install one of: tensorflow, jax, torch; name it in KERAS_BACKEND."


try:
    import keras
except ModuleNotFoundError as error:
    library = (error.name or "").partition(".")[0]
    if library not in BACKENDS:
        raise
    raise ImportError(without_backend(library)) from error

# As in pyproject.toml; a test compares.
OLDEST = "3.15"


def check_version(found: str) -> None:
    """Raise an error for versions of Keras before `OLDEST`, which are not tested.

    Args:
        found: str, such as `keras.__version__`.

    Raises:
        ImportError: for an older version; the message has the command that installs a newer one.

    >>> check_version("3.15.1"), check_version("4.0.0rc1")
    (None, None)
    """
    numbers, oldest = ([int(n) for n in re.findall(r"\d+", v)[:2]] for v in (found, OLDEST))
    if numbers < oldest:
        raise ImportError(
            f"keras_dense needs Keras {OLDEST} or later. Found: Keras {found}. "
            f'Install it with: pip install --upgrade "keras>={OLDEST}"'
        )


check_version(keras.__version__)

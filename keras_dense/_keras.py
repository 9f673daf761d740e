"""Check of the version of Keras, before anything else is imported."""

import re

import keras

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

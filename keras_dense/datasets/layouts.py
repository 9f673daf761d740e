"""Folders of downloaded data sets."""

import pathlib

from keras_dense._types import PathLike


def first_existing(root: PathLike, who: str, *choices: str) -> pathlib.Path:
    """Return the first of several paths below `root` that exists.

    Args:
        root: path.
        who: str, the reader, for messages.
        *choices: str, relative paths of files or folders.

    Raises:
        FileNotFoundError: if none exists; the message lists them and the contents of `root`.
    """
    root = existing_folder(root, who)
    for choice in choices:
        if (root / choice).exists():
            return root / choice
    expected = "does not contain" if len(choices) == 1 else "contains none of"
    raise FileNotFoundError(
        f"{who}: {str(root)!r} {expected} {', '.join(choices)}. {contents(root)}"
    )


def existing_folder(root: PathLike, who: str) -> pathlib.Path:
    """Return the path of a folder, or raise an error if there is none.

    Raises:
        FileNotFoundError: if it does not exist; the message names the reader and the folder.
    """
    root = pathlib.Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{who}: there is no folder {str(root)!r}")
    return root


def contents(folder: pathlib.Path) -> str:
    """Describe the contents of a folder for messages."""
    return f"It contains: {sorted(path.name for path in folder.iterdir())[:12]}"

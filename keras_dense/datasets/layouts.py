"""Where downloaded data sets have their folders."""

import pathlib


def place(root, who, *choices):
    """The first of several places below `root` that is there.

    Args:
        root: path.
        who: str, who asks, for messages.
        *choices: relative paths of files or folders.

    Raises:
        FileNotFoundError: if none is; the message says what was looked for, and what there is.
    """
    root = pathlib.Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{who}: there is no folder {str(root)!r}")
    for choice in choices:
        if (root / choice).exists():
            return root / choice
    raise FileNotFoundError(
        f"{who}: {str(root)!r} holds neither of {', '.join(choices)}. "
        f"It holds: {sorted(p.name for p in root.iterdir())[:12]}"
    )


def check_split(split, known, who):
    """`known[split]`, or an error that says which splits there are."""
    if split not in known:
        raise ValueError(f"{who}: split must be one of {sorted(known)}. Received: split={split!r}")
    return known[split]

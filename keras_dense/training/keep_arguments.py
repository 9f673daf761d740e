"""The arguments of a run, kept beside its checkpoints."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from keras_dense._files import whole
from keras_dense._types import PathLike


def keep_arguments(directory: PathLike, arguments: Mapping[str, Any]) -> None:
    """Write the arguments of a run, or check that they are those of the run before.

    `Checkpoint` continues a run with the same network, optimizer and data. Other arguments, such as
    the learning rate, a loss or the crop, it cannot see: a script calls this first, so that no run
    is continued with other ones by accident.

    Args:
        directory: folder of the run; made if it is missing. The file is `arguments.json`.
        arguments: dict from names to values, such as `vars(args)`. Values are compared by their
            text. Leave out what may change between two starts, such as the number of threads.

    Raises:
        ValueError: if the folder has other arguments; the message lists those that differ.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> keep_arguments(folder, {"learning_rate": 0.01})
    >>> keep_arguments(folder, {"learning_rate": 0.01})  # The same again.
    >>> keep_arguments(folder, {"learning_rate": 0.5})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: ... learning_rate (0.01 then, 0.5 now)...
    """
    file = pathlib.Path(directory) / "arguments.json"
    now = {str(name): str(value) for name, value in sorted(arguments.items())}
    if file.exists():
        then = json.loads(file.read_text())
        names = sorted(name for name in {*then, *now} if then.get(name) != now.get(name))
        if names:
            changes = ", ".join(
                f"{name} ({then.get(name, 'missing')} then, {now.get(name, 'missing')} now)"
                for name in names
            )
            raise ValueError(
                f"`arguments` must be those of the run in {str(directory)!r}, or `directory` "
                f"another one. Received other values of: {changes}"
            )
        return
    with whole(file) as draft:
        draft.write_text(json.dumps(now, indent=1))

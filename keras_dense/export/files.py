"""Files that are there completely or not at all."""

import contextlib
import pathlib
import tempfile


@contextlib.contextmanager
def written(target):
    """A path to write to in place of `target`, with the same name.

    What is written there, and whatever else lies beside it then, takes its place next to `target`
    if nothing fails, in the order of the names; otherwise it is removed.

    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> with written(folder / "a.txt") as path:
    ...     _ = path.write_text("all")
    >>> [path.name for path in folder.iterdir()]
    ['a.txt']
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        folder = pathlib.Path(folder)
        (folder / "new").mkdir()
        yield folder / "new" / target.name
        for path in sorted((folder / "new").iterdir()):
            final = target.parent / path.name
            if final.is_dir():  # An older one: it cannot be replaced in one step.
                final.rename(folder / "old")
            path.replace(final)


def size_of(path):
    """Bytes of a file (OpenVINO's with the weights beside it), or of all in a folder."""
    files = [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]
    if path.suffix == ".xml":
        files.append(path.with_suffix(".bin"))
    return sum(f.stat().st_size for f in files)

"""Places of exports: what may be replaced, and how large they are."""


def check_target(path, suffix):
    """Raise if a target would replace something else than an export.

    Args:
        path: of the file or, without a suffix, folder.
        suffix: of the file, or `None`.
    """
    if suffix is None and path.exists():
        strange = _strange(path)
        if strange is not None:
            raise ValueError(
                "`folder` must be new, or a SavedModel, which is replaced. Received: "
                f"folder={str(path)!r}, which {strange}"
            )
    elif path.is_dir():
        raise ValueError(f"`file` must be no folder. Received: file={str(path)!r}")
    if suffix == ".xml":
        weights = path.with_suffix(".bin")
        if weights.exists() and not path.exists():
            raise ValueError(
                f"`file` must be at a place where {weights.name!r}, where the weights go, is no "
                f"file of something else. Received: file={str(path)!r}"
            )


def _strange(folder):
    """Description of what does not belong to a SavedModel; `None` if the folder is one."""
    if not (folder / "saved_model.pb").exists():
        return "is something else"
    own = {"saved_model.pb", "fingerprint.pb", "keras_metadata.pb"}
    own |= {"variables", "assets", "assets.extra"}
    others = sorted(path.name for path in folder.iterdir() if path.name not in own)
    return f"holds {others[0]!r}, too" if others else None


def size_of(path):
    """Bytes of a file (for OpenVINO with its weights), or of all files in a folder."""
    files = [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]
    if path.suffix == ".xml":
        files.append(path.with_suffix(".bin"))
    return sum(f.stat().st_size for f in files)

"""What a data set says that is hardly meant, in words, with the remedy."""

import numpy as np

MOSTLY_VOID = 0.9
NEAR, FAR = 0.05, 1000.0  # meters between which depth is believed


def findings(report, facts, void):
    """What `kd.datasets.check` has to say.

    Args:
        report: its report so far.
        facts: what was seen of each sample.
        void: the label of void, or `None`.

    Returns:
        Two lists of sentences: where nothing useful can come out, and what to look at.
    """
    errors, texts = [], []
    for part in (_labels, _depth, _normals, _heads):
        part(report, facts, void, errors, texts)
    _images(report, facts, texts)
    return errors, texts


def black_and_white(values, void):
    """Whether labels look like those of black and white masks, whose white was read as void.

    >>> black_and_white([0, 255], 255), black_and_white([0, 1, 255], 255)
    (True, False)
    """
    return void == 255 and set(values) == {0, 255}


BLACK_AND_WHITE = (
    "The labels are 0 and 255 alone, and 255 is void: they look like black and white masks. Read "
    "them with remap={255: 1}."
)


def _labels(report, facts, void, errors, texts):
    values = report.get("values")
    if values is None:
        return
    total = sum(values.values())
    share = values.get(void, 0) / total
    if share == 1:
        errors.append(
            f"Every pixel of every mask is void ({void}): nothing can be learned or scored. Do the "
            "masks hold other values in their files (remap, encoding, palette)?"
        )
        return
    if black_and_white(values, void):
        texts.append(BLACK_AND_WHITE)
    elif "pixels" in report:
        names = report["class_names"]
        never = [f"{names[c]} ({c})" for c in np.flatnonzero(report["pixels"] == 0) if c != void]
        if never:
            texts.append(f"{len(never)} of {len(names)} classes never occur: {some(never)}.")
    empty = [f["name"] for f in facts if set(f.get("labels", {0})) == {void}]
    listed(texts, "Masks that are void at every pixel", empty)
    if not empty and share > MOSTLY_VOID:
        texts.append(f"{100 * share:.1f} % of the pixels are void.")
    lacking = [f["name"] for f in facts if "labels" not in f]
    listed(texts, "Samples without labels", lacking)


def _depth(report, facts, void, errors, texts):
    found = report.get("depth")
    if found is None:
        return
    if not found["known"]:
        errors.append(
            "Not one pixel of depth is known (finite and > 0): nothing can be learned or scored."
        )
        return
    median = np.median([f["depth"]["median"] for f in facts if "median" in f.get("depth", {})])
    if not NEAR <= median <= FAR:
        texts.append(
            f"Depth is {median:.4g} m in the middle: are these meters? `scale` says how many units "
            "of the files are one."
        )
    constant = [
        f["name"]
        for f in facts
        if "low" in f.get("depth", {}) and f["depth"]["low"] == f["depth"]["high"]
    ]
    listed(texts, "Depth that is the same at every pixel", constant)
    empty = [f["name"] for f in facts if "depth" in f and not f["depth"]["known"]]
    listed(texts, "Depth that is unknown at every pixel", empty)


def _normals(report, facts, void, errors, texts):
    found = [f["normals"] for f in facts if "normals" in f]
    if not found:
        return
    known, long, away = (sum(f[key] for f in found) for key in ("known", "long", "away"))
    if not known:
        errors.append("Not one normal is known (of length 1): nothing can be learned or scored.")
        return
    if long > 0.01 * known:
        texts.append(f"{100 * long / known:.1f} % of the normals are not of length 1.")
    if away > 0.5 * known:
        texts.append(
            f"{100 * away / known:.1f} % of the normals face away from the camera (z > 0): say in "
            "which axes they are (`kd.ops.convert_normals`, `normals_frame`)."
        )
    empty = [f["name"] for f in facts if "normals" in f and not f["normals"]["known"]]
    listed(texts, "Normals that are unknown at every pixel", empty)


def _heads(report, facts, void, errors, texts):
    for key in facts[0]["heads"]:
        known = [f["heads"][key] for f in facts]
        if None not in known and not any(known):
            name = f"head {key!r}" if key else "the head"
            errors.append(
                f"No pixel of any sample is known to {name}: are the numbers in its units and "
                "range?"
            )


def _images(report, facts, texts):
    dark = [f["name"] for f in facts if f["high"] == 1]
    listed(texts, "Images of 0 and 1 alone, as if from 0.0 to 1.0; images are 0 to 255", dark)
    listed(texts, "Images of one color", [f["name"] for f in facts if f["flat"]])
    twice, shared = ([f"{a} = {b}" for a, b in report.get(k, [])] for k in ("duplicates", "shared"))
    listed(texts, "Images that occur more than once", twice)
    listed(
        texts, "Images that are in the other data set, too, whose scores then say little", shared
    )
    weightless = [f["name"] for f in facts if f.get("weightless")]
    listed(texts, "Samples that weigh 0 at every pixel", weightless)


def listed(texts, what, names):
    """Add a sentence with the number and the first of some names, if there is one.

    >>> texts = []
    >>> listed(texts, "Black images", ["a.png", "b.png"])
    >>> texts
    ['Black images: 2 (a.png, b.png).']
    """
    if names:
        texts.append(f"{what}: {len(names)} ({some(names)}).")


def some(names):
    """The first few of many names.

    >>> some("abcdef")
    'a, b, c, d and 2 more'
    """
    names = list(names)
    more = f" and {len(names) - 4} more" if len(names) > 5 else ""
    return ", ".join(names[: 4 if more else 5]) + more

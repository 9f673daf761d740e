"""A look at images and masks before anything is trained, in plain words."""

import collections
import concurrent.futures
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_dense import _check
from keras_dense._types import PathLike
from keras_dense.datasets.findings import some
from keras_dense.datasets.sample import VOID
from keras_dense.recipes.facts import image_facts, mask_facts
from keras_dense.recipes.files import Matched, match
from keras_dense.recipes.groups import Groups, find_groups
from keras_dense.recipes.masks import judge, totals
from keras_dense.recipes.numbers import LOOK_AT
from keras_dense.recipes.statistics import class_statistics, up_and_down

_FAULTY = 0.5  # share of files that cannot be read, beyond which the folder is refused
FEW = 20  # images


class Findings(dict):
    """Facts of the folders: a dict of plain values that prints as sentences.

    Keys: "images", "masks", "depth", "normals" (folders), "names" (of the samples), "suffixes",
    "read" (how masks are read), "decode" (range of images of more than 8 bits, or `None`), "said"
    (sentences), "warned" (sentences about what may hurt the result), "sizes", "gray", "bits",
    "up_and_down", "classes" (a dict for each: name, share, images, width), "void", "groups",
    "sequences", "present" (classes of each image).

    >>> print(Findings(said=["4 images of 24 x 32 pixels."], warned=["4 images are few."]))
    4 images of 24 x 32 pixels.
    ! 4 images are few.
    """

    def __str__(self) -> str:
        return "\n".join([*self["said"], *(f"! {text}" for text in self["warned"])])


def look(
    images: PathLike,
    masks: PathLike | None = None,
    *,
    depth: PathLike | None = None,
    normals: PathLike | None = None,
    kind: str | None = None,
    classes: Sequence[str] | int | None = None,
    palette: Any = None,
    void: Sequence[int] = (),
    recursive: bool = False,
    workers: int = 2,
    progress: Callable[[str], None] | None = None,
) -> Findings:
    """Look at two folders, and say in plain words what is in them.

    Files without a partner, files that cannot be read, and images that occur twice are left out,
    and named. Masks that were changed by compression are repaired where that is safe, otherwise
    refused.

    Args:
        images: path of the folder of images.
        masks: path of the folder of masks: labels, black and white, colors, or numbered objects.
        depth: path of a folder of depth maps, beside masks or instead of them.
        normals: path of a folder of normal maps; needs `depth`.
        kind: `"labels"`, `"binary"`, `"colors"` or `"objects"`; by default found out.
        classes: names of the classes, or their number; by default those of a `classes.txt` beside
            the masks, or numbers.
        palette: `(n, 3)`, colors of the classes; needed for masks of colors saved as JPEG.
        void: numbers in the masks that mean void, beside 255.
        recursive: bool, whether to read subfolders.
        workers: int >= 1, number of threads.
        progress: function that is called with a word of what is done.

    Returns:
        `Findings`.

    Raises:
        FileNotFoundError: if a folder is missing or empty, or no image has a partner.
        ValueError: if masks cannot be read without loss, or contradict the arguments; if more than
            half of the files are faulty.

    Example:

    >>> import tempfile
    >>> from PIL import Image
    >>> root = pathlib.Path(tempfile.mkdtemp())
    >>> rng = np.random.default_rng(0)
    >>> for i in range(4):
    ...     for name, shape in (("images", (24, 32, 3)), ("masks", (24, 32))):
    ...         (root / name).mkdir(exist_ok=True)
    ...         pixels = rng.integers(0, 2, shape, dtype="uint8") * (255 if name == "masks" else 90)
    ...         Image.fromarray(pixels).save(root / name / f"{i}.png")
    >>> findings = look(root / "images", root / "masks")
    >>> findings["read"]["kind"], findings["read"]["values"]
    ('binary', {0: 0, 255: 1})
    """
    if masks is None and depth is None:
        raise ValueError("`masks` or `depth` must be given. Received: neither")
    if normals is not None and depth is None:
        raise ValueError("`depth` must be given with `normals`. Received: depth=None")
    given = {"images": images, "masks": masks, "depth": depth, "normals": normals}
    folders = {key: pathlib.Path(path) for key, path in given.items() if path is not None}
    workers = _check.integer(workers, "workers", low=1)
    matched = match(folders, recursive)
    said: list[str] = list(matched.said)
    warned: list[str] = []
    colors = None if palette is None else np.asarray(palette)
    names, facts = _facts(matched, colors, workers, warned, progress or (lambda text: None))
    names, facts = _without_twins(names, facts, warned)
    found = Findings(
        {key: str(path.resolve()) for key, path in folders.items()},
        suffixes=matched.suffixes,
        recursive=recursive,
        names=names,
        looked=[fact["name"] for fact in facts],
        said=said,
        warned=warned,
    )
    said.insert(0, f"{len(names)} images" + _sizes(facts) + ".")
    _add_images(found, facts)
    if masks is not None:
        if classes is None:
            classes = _written_names(folders["masks"], said)
        mask_parts = [fact["mask"] for fact in facts if "mask" in fact]
        found["read"], sentences = judge(
            mask_parts, kind=kind, classes=classes, palette=palette, void=void
        )
        said += sentences
        _add_classes(found, mask_parts)
    _add_groups(found, [fact["image"] for fact in facts])
    down = up_and_down(facts, found.get("read"))
    found["up_and_down"] = down["answer"]
    said.append(down["why"])
    if len(names) < FEW:
        warned.append(
            f"{len(names)} images are few: scores on a handful of images say little, and "
            "cross-validation (--folds) says more."
        )
    return found


def _facts(matched: Matched, palette, workers: int, warned: list[str], progress: Callable):
    """Facts of images and masks, read by threads; files that cannot be read are left out."""
    names = matched.names
    if len(names) > LOOK_AT:
        places = np.linspace(0, len(names) - 1, LOOK_AT).round().astype(int)
        warned.append(f"{LOOK_AT} of {len(names)} images were looked at, spread evenly.")
        names = [names[i] for i in places]

    def one(name: str) -> dict[str, Any]:
        fact: dict[str, Any] = {"name": name}
        if "masks" in matched.files:
            fact["mask"] = mask_facts(matched.files["masks"][name], palette)
        size = fact["mask"]["size"] if "mask" in fact else None
        fact["image"] = image_facts(matched.files["images"][name], size)
        if size is not None and size != fact["image"]["size"]:
            raise ValueError(
                f"{matched.files['images'][name]}: is {fact['image']['size']}, and its mask is "
                f"{size} (height, width)"
            )
        return fact

    facts, faults = [], {}
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        for count, (name, future) in enumerate([(n, pool.submit(one, n)) for n in names], 1):
            try:
                facts.append(future.result())
            except (ImportError, MemoryError):
                raise
            except Exception as error:
                faults[name] = str(error) or type(error).__name__
            progress(f"looking at image {count} of {len(names)}")
    if len(faults) > _FAULTY * len(names):
        raise ValueError(
            f"{len(faults)} of {len(names)} files cannot be used:\n  "
            + "\n  ".join(list(faults.values())[:5])
        )
    if faults:
        warned.append(f"{len(faults)} images are left out: " + "; ".join(list(faults.values())[:5]))
    every = [name for name in matched.names if name not in faults]
    if len(matched.names) <= LOOK_AT:
        every = [fact["name"] for fact in facts]
    return every, facts


def _without_twins(names, facts, warned):
    """Leave out images that occur twice with the same mask; say where masks contradict."""
    first: dict[str, dict] = {}
    twins, torn = {}, []
    for fact in facts:
        before = first.setdefault(fact["image"]["hash"], fact)
        if before is fact:
            continue
        if before.get("mask", {}).get("numbers") == fact.get("mask", {}).get("numbers"):
            twins[fact["name"]] = before["name"]
        else:
            torn.append(f"{before['name']} = {fact['name']}")
    if twins:
        pairs = some(f"{b} = {a}" for a, b in twins.items())
        warned.append(f"Images that occur more than once are used once: {len(twins)} ({pairs}).")
    if torn:
        warned.append(f"Equal images have different masks: {len(torn)} ({some(torn)}).")
    kept = [fact for fact in facts if fact["name"] not in twins]
    return [name for name in names if name not in twins], kept


def _sizes(facts) -> str:
    sizes = [fact["image"]["size"] for fact in facts]
    if len(set(sizes)) == 1:
        return f" of {sizes[0][0]} x {sizes[0][1]} pixels (height x width)"
    sides = np.array(sizes)
    low, middle, high = sides.min(0), np.median(sides, 0).astype(int), sides.max(0)
    return (
        f" of {len(set(sizes))} sizes, height {low[0]} to {high[0]} (median {middle[0]}), width "
        f"{low[1]} to {high[1]} (median {middle[1]})"
    )


def _add_images(found: Findings, facts) -> None:
    images = [fact["image"] for fact in facts]
    sizes = np.array([fact["size"] for fact in images])
    found["sizes"] = {
        "least": sizes.min(0).tolist(),
        "median": np.median(sizes, 0).astype(int).tolist(),
        "most": sizes.max(0).tolist(),
        "different": len({fact["size"] for fact in images}),
        "pixels": int(sizes.prod(1).sum() * len(found["names"]) / len(images)),
    }
    found["gray"] = all(fact["gray"] for fact in images)
    found["said"].append("All images are gray." if found["gray"] else "Images have colors.")
    bits = collections.Counter(fact["bits"] for fact in images)
    channels = {fact["channels"] for fact in images}
    if channels - {1, 3}:
        raise ValueError(
            f"`images` must be gray or RGB. Received: images of {sorted(channels)} channels"
        )
    found["decode"] = None
    if set(bits) - {8, 1}:
        deep = [fact for fact in images if fact["bits"] not in (8, 1)]
        low, high = min(f["low"] for f in deep), max(f["high"] for f in deep)
        if len(deep) < len(images):
            raise ValueError(
                f"`images` must all have the same range. Received: {len(deep)} of {len(images)} "
                "with more than 8 bits"
            )
        found["decode"] = {"low": low, "high": high if high > low else low + 1}
        found["warned"].append(
            f"Images have {some(map(str, bits))} bits: values from {low:.6g} to {high:.6g} become "
            "0 to 255, for all images alike. The model expects images that are scaled so."
        )


def _written_names(folder: pathlib.Path, said: list[str]) -> list[str] | None:
    """Names of classes from a text file beside the masks."""
    for place in (folder, folder.parent):
        for name in ("classes.txt", "labels.txt", "class_names.txt"):
            path = place / name
            if not path.is_file():
                continue
            lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
            pairs = [line.split(maxsplit=1) for line in lines if line]
            if pairs and all(len(p) == 2 and p[0].isdigit() for p in pairs):
                by_number = {int(p[0]): p[1] for p in pairs if int(p[0]) != VOID}
                if sorted(by_number) != list(range(len(by_number))):
                    continue
                found = [by_number[i] for i in sorted(by_number)]
            else:
                found = [line for line in lines if line]
            said.append(f"Names of {len(found)} classes are those of {path.name}.")
            return found
    return None


def _add_classes(found: Findings, masks) -> None:
    classes, void, present = class_statistics(masks, found["read"])
    found.update(classes=classes, void=void, present=present)
    shown = ", ".join(
        f"{c['name']} {100 * c['share']:.2g} %"
        for c in sorted(classes, key=lambda c: -c["share"])[:12]
    )
    found["said"].append(f"{len(classes)} classes: {shown}{', …' if len(classes) > 12 else ''}.")
    if void:
        found["said"].append(f"Void, which is neither learned nor scored: {100 * void:.2g} %.")
    never = [c["name"] for c in classes if not c["images"]]
    if never:
        found["warned"].append(
            f"Classes that never occur, and cannot be learned: {len(never)} ({some(never)})."
        )
    once = [c["name"] for c in classes if c["images"] == 1]
    if once:
        found["warned"].append(
            "Classes in a single image, which are either learned or scored, not both: "
            f"{len(once)} ({some(once)})."
        )
    if not totals(masks) and found["read"]["kind"] == "labels":
        raise ValueError("`masks` must have known pixels. Received: none")


def _add_groups(found: Findings, images) -> None:
    groups: Groups = find_groups(
        found["looked"],
        [fact["hash"] for fact in images],
        np.stack([fact["look"] for fact in images]),
    )
    found["groups"] = groups.group.tolist()
    found["sequences"] = groups.sequences
    if groups.near:
        found["said"].append(
            f"{groups.near} images look nearly like another one: they stay on one side of the "
            "validation split."
        )
    if groups.sequences:
        count, sequences = sum(map(len, groups.sequences)), len(groups.sequences)
        several = "a sequence" if sequences == 1 else f"{sequences} sequences"
        found["said"].append(
            f"{count} images form {several}, in which neighbors look alike: whole "
            "stretches of them are held out."
        )

"""Labels that a network infers for images without masks, as files to look at and correct."""

import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_dense import _check
from keras_dense._files import whole
from keras_dense._optional import require
from keras_dense._types import Array, PathLike, Sample
from keras_dense.datasets.parts import describe
from keras_dense.datasets.sample import check_sample
from keras_dense.heads import Heads, of
from keras_dense.training.pseudo_labels import allowed, class_logits, fill_labels
from keras_dense.training.self_training import background_class, for_classes, segmentation_key


class Inferred(NamedTuple):
    """Result of `infer_labels` for an image.

    Attributes:
        name: str, the stem of its files.
        filled: float, share of its unknown pixels that have a label now.
        confidence: float, mean over pixels of the probability of the likeliest class.

    >>> Inferred("street_07", filled=0.8, confidence=0.93).name
    'street_07'
    """

    name: str
    filled: float
    confidence: float


def infer_labels(
    model: Any,
    dataset: Any,
    out: PathLike,
    *,
    key: str | None = None,
    heads: Any = None,
    tags: bool = True,
    confidence: float | Sequence[float] = 0.9,
    relative: bool = False,
    floor: float | Sequence[float] = 0.0,
    background: int | None = None,
    overwrite: bool = False,
) -> list[Inferred]:
    """Write the labels of which a network is sure, for images whose pixels are not known.

    What `self_training` does in each step, done once and written to files: `out/labels/<name>.png`,
    masks with 255 where the network is not sure, and `out/confidence/<name>.png`, gray, 255 times
    the probability of the likeliest class. Known pixels of a sample keep their labels. The masks
    are read by `kd.datasets.folder(images, out / "labels", …)`, after corrections by hand if there
    are any; training on them, and inferring again, is one more round.

    Args:
        model: a Keras model with heads, predicting for whole images.
        dataset: a data set of samples; those with `"tags"` get no class that is not there.
        out: path of a folder; it is made if it does not exist.
        key: str, the segmentation; needed if there are several.
        heads: its heads; default: those that the model carries.
        tags: bool, whether to use the tags of samples.
        confidence: float from 0 to 1, the least probability of a label; or one for each class.
        relative: bool, whether `confidence` is relative to the highest probability of a label of
            the same class in the image.
        floor: float from 0 to below 1, the share of an image that gets a class that its tags say is
            there, in any case; or one for each class.
        background: int, the class of what is no object, if there is one, see `self_training`.
        overwrite: bool, whether to replace files that exist.

    Returns:
        A list of `Inferred`, one for each image, in the order of the data set; the least sure ones
        are worth a look.

    Raises:
        FileExistsError: if a file exists, without `overwrite`.
        ValueError: for a number out of range, tags of another length, a model without such a
            segmentation, or two images of one name.
        ImportError: without Pillow.

    Reference: Lee, "Pseudo-Label", ICML 2013 workshop; Papandreou et al., ICCV 2015 (with tags).

    Example:

    ```python
    found = kd.training.infer_labels(model, weak, "round1")
    again = kd.datasets.folder("images", "round1/labels", class_names=names)
    ```
    """
    chosen = Heads(of(model) if heads is None else heads)
    key = segmentation_key(chosen, key)
    head = chosen[key]
    classes = max(head.channels, 2)
    settings = {
        "confidence": for_classes(confidence, "confidence", classes, high=1),
        "relative": _check.flag(relative, "relative"),
        "floor": for_classes(floor, "floor", classes, below=1),
        "void": head.ignore_class,
    }
    use_tags = _check.flag(tags, "tags")
    background = background_class(background, classes)
    folders = [pathlib.Path(out) / name for name in ("labels", "confidence")]
    names = _names(dataset)
    paths = [[folder / f"{name}.png" for folder in folders] for name in names]
    overwrite = _check.flag(overwrite, "overwrite")
    existing = [path for pair in paths for path in pair if path.exists()]
    if existing and not overwrite:
        raise FileExistsError(
            f"infer_labels: {existing[0]} exists already; give overwrite=True, or another `out`"
        )
    found = []
    for i, (name, pair) in enumerate(zip(names, paths, strict=True)):
        sample = check_sample(dataset[i], describe(dataset, i))
        logits = _logits(model, chosen, key, sample)
        labels, sure, share = _inferred(
            logits, sample, head, classes, use_tags, background, settings
        )
        for path in pair:
            path.parent.mkdir(parents=True, exist_ok=True)
        _write(pair[0], labels, head.palette)
        _write(pair[1], np.rint(255 * sure).astype(np.uint8), None)
        found.append(Inferred(name, share, float(sure.mean())))
    return found


def _logits(model: Any, heads: Heads, key: str, sample: Sample) -> Any:
    outputs = heads.unpack(model.predict_on_batch(sample["image"][None]))
    return class_logits(ops.convert_to_tensor(outputs[key]))


def _inferred(
    logits: Any,
    sample: Sample,
    head: Any,
    classes: int,
    use_tags: bool,
    background: int | None,
    settings: dict[str, Any],
) -> tuple[Array, Array, float]:
    """Labels, the probability of the likeliest class, and the share that was filled."""
    size = sample["image"].shape[:2]
    known = np.asarray(sample.get(head.target, np.full(size, head.ignore_class)))
    known = known[..., 0] if known.ndim == 3 else known
    tags = sample.get("tags") if use_tags else None
    if tags is not None:
        if tags.shape != (classes,):
            raise ValueError(
                f"`tags` must have one entry for each of {classes} classes. Received: shape "
                f"{tags.shape}"
            )
        tags = ops.convert_to_tensor(tags[None])
        logits = allowed(logits, tags, background=background)
    fillable = ops.convert_to_tensor((known == head.ignore_class)[None])
    filled = fill_labels(logits, fillable, tags=tags, **settings)
    new = ops.convert_to_numpy(filled.labels)[0]
    sure = ops.convert_to_numpy(ops.max(ops.softmax(logits), axis=-1))[0]
    labels = np.where(known == head.ignore_class, new, known)
    return labels.astype(np.uint8 if classes <= 255 else np.uint16), sure, float(filled.share)


def _names(dataset: Any) -> list[str]:
    """Stems of the images of a data set; numbers, if it does not tell paths."""
    count = len(dataset)
    texts = [pathlib.Path(describe(dataset, i)) for i in range(count)]
    stems = [path.stem for path in texts]
    if len(set(texts)) < count or any(not path.suffix for path in texts):
        stems = [f"{i:06d}" for i in range(count)]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        raise ValueError(
            f"`dataset` must have images of different names. Received: several {twice[0]!r}; infer "
            "the labels of each folder by itself"
        )
    return stems


def _write(path: pathlib.Path, array: Array, palette: Array | None) -> None:
    image = require("PIL.Image", extra="examples").fromarray(array)
    if palette is not None and array.dtype == np.uint8:
        colors: Array = np.zeros((256, 3), np.uint8)
        colors[: len(palette)] = palette[:256]
        colors[255] = (224, 224, 192)  # void, as in PASCAL VOC
        image.putpalette(colors.ravel().tolist())
    with whole(path) as draft, draft.open("wb") as file:
        image.save(file, "PNG")

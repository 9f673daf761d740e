"""Data sets and batches of a recipe: plain compositions of `kd.datasets`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

import keras_dense.datasets as datasets
from keras_dense._check import fail
from keras_dense._types import Array, Sample
from keras_dense.datasets import transforms as T
from keras_dense.datasets.instances import InstanceFiles
from keras_dense.datasets.pairs import match_files
from keras_dense.datasets.parts import describe
from keras_dense.datasets.sample import pixel_keys
from keras_dense.recipes.numbers import CACHE_BYTES
from keras_dense.recipes.recipe import Recipe


def dataset_of(recipe: Recipe, names: Sequence[str]) -> Any:
    """Return the samples of some names, with all annotations that the recipe has."""
    data = recipe["data"]
    image = image_decoder(data.get("decode"))
    parts = []
    if "masks" in data:
        parts.append(_masks(data, list(names), image))
    if "depth" in data:
        parts.append(
            datasets.depth_folder(
                data["images"],
                data["depth"],
                normals=data.get("normals"),
                names=list(names),
                image_suffix=data["suffixes"]["images"],
                depth_suffix=data["suffixes"]["depth"],
                normals_suffix=data["suffixes"].get("normals", ""),
                recursive=data["recursive"],
                decode_image=image,
                **data.get("depth_arguments", {}),
            )
        )
    whole = parts[0] if len(parts) == 1 else Joined(parts)
    sizes = data["sizes"]
    share = len(names) / max(len(recipe["train"]) + len(recipe["validation"]), 1)
    # Image, labels, and 12 bytes of depth and normals, or 4 of numbered objects.
    needed = share * sizes["pixels"] * (16 if "depth" in data else 8)
    return datasets.cached(whole) if needed < CACHE_BYTES else whole


def _masks(data: dict[str, Any], names: list[str], image: Any) -> Any:
    read = data["read"]
    where = {
        "names": names,
        "image_suffix": data["suffixes"]["images"],
        "mask_suffix": data["suffixes"]["masks"],
        "recursive": data["recursive"],
    }
    if read["kind"] == "objects":
        files = match_files(data["images"], data["masks"], **where)
        decode = mask_decoder(read)
        return InstanceFiles(files, read["class_names"], True, "all", decode, image)
    return datasets.folder(
        data["images"],
        data["masks"],
        class_names=read["class_names"],
        palette=read["palette"],
        encoding=_encoding(read),
        remap=read.get("values") or None,
        decode=mask_decoder(read),
        decode_image=image,
        **where,
    )


def _encoding(read: dict[str, Any]) -> str:
    if mask_decoder(read) is not None:
        return "auto"
    return "color" if read["kind"] == "colors" else "index"


def image_decoder(found: dict[str, float] | None) -> Any:
    """Function that scales images of more than 8 bits, or `None`.

    >>> image_decoder({"low": 0.0, "high": 1000.0})(np.array([[500, 2000]])).tolist()
    [[128, 255]]
    """
    if found is None:
        return None
    low, high = found["low"], found["high"]

    def scale(numbers: Array) -> Array:
        scaled = (numbers.astype("float32") - low) * (255.0 / (high - low))
        return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)

    return scale


def mask_decoder(read: dict[str, Any]) -> Any:
    """Function from the numbers of a mask file to labels, or `None` where they are labels."""
    if "threshold" in read:
        return lambda x: (_first(x) > read["threshold"]).astype(np.uint8)
    if read.get("nearest"):
        palette = np.asarray(read["palette"], np.int64)

        def nearest(x: Array) -> Array:
            gaps = [np.square(x[..., :3] - color).sum(-1) for color in palette]
            return np.argmin(gaps, axis=0).astype(np.int32)

        return nearest
    return _first if "channel" in read else None


def _first(x: Array) -> Array:
    return x if x.ndim == 2 else x[..., 0]


class Joined:
    """Samples of several data sets of the same images."""

    def __init__(self, parts: Sequence[Any]) -> None:
        self.parts = list(parts)
        first = self.parts[0]
        for name in ("num_classes", "class_names", "palette", "ignore_class"):
            setattr(self, name, getattr(first, name, None))

    def __len__(self) -> int:
        return len(self.parts[0])

    def __getitem__(self, index: int) -> Sample:
        sample: Sample = {}
        for part in self.parts:
            sample.update(part[index])
        return sample

    def describe(self, index: int) -> str:
        """Return the path of an image, for messages."""
        return describe(self.parts[0], index)


class Stretched:
    """All samples of a training in order: each pass over the data in another one.

    So a training has any number of steps, however many images there are.

    Args:
        dataset: a data set.
        length: int, number of samples in the whole training.
        seed: int >= 0.

    >>> stretched = Stretched([{"n": 0}, {"n": 1}, {"n": 2}], 5)
    >>> sorted(stretched[i]["n"] for i in range(3)), len(stretched)
    ([0, 1, 2], 5)
    """

    def __init__(self, dataset: Any, length: int, seed: int = 0) -> None:
        self.dataset = dataset
        count = len(dataset)
        passes = -(-length // count)
        orders = [np.random.default_rng((seed, 3, n)).permutation(count) for n in range(passes)]
        self.order = np.concatenate(orders)[:length]

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> Sample:
        return self.dataset[int(self.order[index])]

    def describe(self, index: int) -> str:
        """Return the path of an image, for messages."""
        return describe(self.dataset, int(self.order[index]))


def augmentation(recipe: Recipe) -> list:
    """Return the transforms of training samples."""
    steps: list = []
    border = recipe["choices"].get("border_weights", {}).get("value")
    if border:
        steps.append(T.BorderWeights(w0=border[0], sigma=border[1]))
    low, high = recipe.value("scale_range")
    if (low, high) != (1, 1):
        steps.append(T.RandomScale(low, high))
    if recipe.value("rotate"):
        steps.append(T.RandomRotation(recipe.value("rotate")))
    crop = tuple(recipe.value("crop"))
    flips = recipe.value("flips")
    if flips == "all" and "normals" not in recipe["data"]:
        steps.append(quarter_turns)
    steps.append(T.RandomCrop(crop))
    if flips != "none":
        steps.append(T.RandomFlip(vertical=0.5 if flips == "all" else 0.0))
    if any(recipe.value("color").values()):
        steps.append(T.ColorJitter(**recipe.value("color")))
    return steps


def quarter_turns(sample: Sample, rng: np.random.Generator) -> Sample:
    """Turn a sample by a random number of quarters; not for normals and cameras.

    >>> sample = {"image": np.zeros((2, 3, 3), "uint8")}
    >>> sorted({quarter_turns(sample, np.random.default_rng(i))["image"].shape for i in range(9)})
    [(2, 3, 3), (3, 2, 3)]
    """
    for key in ("normals", "intrinsics"):
        if key in sample:
            raise fail("sample", f"without {key!r}", sorted(sample))
    turns = int(rng.integers(4))
    if not turns:
        return sample
    keys = pixel_keys(sample)
    return {**sample, **{k: np.ascontiguousarray(np.rot90(sample[k], turns)) for k in keys}}


def recalibration_images(recipe: Recipe) -> int:
    """Return the number of images behind the final statistics of batch norms; 0 for none.

    Whole images once; of windows of images of different sizes two each.
    """
    each = 1 if recipe["data"]["sizes"]["different"] == 1 else 2
    return min(recipe.value("batch_norm")["recalibrate"] or 0, each * len(recipe["train"]))


def plain_batches(recipe: Recipe, dataset: Any, count: int) -> Any:
    """Batches of whole images without augmentation, for the statistics of batch norms.

    Images of different sizes are cut to windows of the median size.
    """
    sizes = recipe["data"]["sizes"]
    steps: list = []
    if sizes["different"] > 1:
        (height, width), crop = sizes["median"], recipe.value("crop")
        size = (max(32, min(height, 4 * crop[0])), max(32, min(width, 4 * crop[1])))
        steps.append(T.RandomCrop(size))
    seed = recipe.value("seed")
    batch = min(recipe.value("batch_size"), count)
    whole = Stretched(dataset, -(-count // batch) * batch, seed)
    return datasets.Loader(whole, None, batch_size=batch, transforms=steps, seed=seed)

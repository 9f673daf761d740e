"""Transforms of Albumentations and torchvision, as transforms of samples.

Both fill what comes from outside a mask with 0, which is a class here. So labels travel as
`label + 1`, and 0 is void when they come back. An array of places tells whether the geometry was
changed, and where.
"""

import threading
from typing import Any

import numpy as np

from keras_dense._optional import require
from keras_dense._types import Array, Sample
from keras_dense.datasets.sample import check_sample, fill_value, less_sure, pixel_keys

# Numbers up to here are exact in float32, the type in which annotations travel.
_EXACT = 2**24


def _masks(sample: Sample, who: str) -> dict[str, Array]:
    """Annotations of pixels as float32 maps `(H, W)`, 0 where unknown, and the places."""
    height, width = sample["image"].shape[:2]
    if height * width >= _EXACT:
        raise ValueError(f"{who}: images must have fewer than {_EXACT} pixels")
    masks = {"places": np.arange(1, height * width + 1).reshape(height, width)}
    for key in pixel_keys(sample):
        value = sample[key]
        if key == "depth":
            masks[key] = np.where(np.isfinite(value), value, 0)[..., 0]
        elif key == "weight":
            masks[key] = value
        elif key not in ("image", "normals"):
            if value.ndim != 2 or value.dtype.kind not in "iub" or value.max(initial=0) >= _EXACT:
                raise ValueError(f"{who}: {key!r} must be labels (H, W). Received: {value.shape}")
            masks[key] = np.where(value == fill_value(key), 0, value.astype(np.int64) + 1)
    return {key: mask.astype(np.float32) for key, mask in masks.items()}


def _restored(sample: Sample, image: Array, masks: dict[str, Array], who: str) -> Sample:
    places = np.rint(masks.pop("places")).astype(int)
    size = sample["image"].shape[:2]
    whole = np.arange(1, size[0] * size[1] + 1).reshape(size)
    out = {**sample, "image": np.ascontiguousarray(image)}
    if places.shape == size and np.array_equal(places, whole):
        return out
    wrong = [key for key in ("normals", "depth", "intrinsics") if key in sample]
    if wrong:
        raise ValueError(
            f"{who}: must not change the geometry of samples with {', '.join(map(repr, wrong))}: "
            "it would be wrong afterwards. Use kd.datasets.transforms, such as RandomAffine"
        )
    if len(np.unique(places)) < whole.size:
        out = less_sure(out)
    for key, mask in masks.items():
        if key == "weight":
            out[key] = mask
            continue
        labels = np.rint(mask).astype(np.int64) - 1
        void = fill_value(key)
        out[key] = np.where(labels < 0, void, labels).astype(sample[key].dtype)
    return out


class Albumentations:
    """Transform of Albumentations, for samples: image, labels, instances and weights in step.

    Its random numbers come from those of the loader. What it takes from outside the image is void.

    Args:
        transform: an `albumentations.Compose`, or a single transform.

    Raises:
        TypeError: if `transform` has no `set_random_seed` (Albumentations below 1.4.19).
        ValueError: when called, if it changes the geometry of a sample with normals, depth or
            intrinsics, which it does not know.

    Example:

    ```python
    import albumentations as A

    augment = kd.datasets.transforms.Albumentations(A.Compose([A.RandomFog(), A.Perspective()]))
    ```
    """

    def __init__(self, transform: Any) -> None:
        if not callable(transform) or not hasattr(transform, "set_random_seed"):
            raise TypeError(
                "`transform` must be an albumentations.Compose of version 1.4.19 or later, with "
                f"set_random_seed. Received: transform={transform!r}"
            )
        self.transform = transform
        self._lock = threading.Lock()  # it keeps random numbers between the threads of a loader

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        sample = check_sample(sample, "Albumentations")
        masks = _masks(sample, "Albumentations")
        seed = int(rng.integers(2**31))
        with self._lock:
            self.transform.set_random_seed(seed)
            found = self.transform(image=sample["image"], masks=list(masks.values()))
        changed = dict(zip(masks, map(np.asarray, found["masks"]), strict=True))
        return _restored(sample, np.asarray(found["image"]), changed, "Albumentations")

    def __getstate__(self) -> dict[str, Any]:
        return {"transform": self.transform}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["transform"])  # type: ignore[misc]


class Torchvision:
    """Transform of torchvision (v2), for samples: image, labels, instances and weights in step.

    Its random numbers, those of torch, are seeded from those of the loader, and left as they were.
    What it takes from outside the image is void.

    Args:
        transform: a callable of `torchvision.transforms.v2`.

    Raises:
        TypeError: if `transform` is not callable.
        ImportError: when called, without torchvision.
        ValueError: when called, if it changes the geometry of a sample with normals, depth or
            intrinsics, which it does not know.

    Example:

    ```python
    from torchvision.transforms import v2

    augment = kd.datasets.transforms.Torchvision(v2.RandomPhotometricDistort())
    ```
    """

    _lock = threading.Lock()  # torch has one state of random numbers

    def __init__(self, transform: Any) -> None:
        if not callable(transform):
            raise TypeError(
                "`transform` must be a callable of torchvision.transforms.v2. Received: "
                f"transform={transform!r}"
            )
        self.transform = transform

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        from torchvision import tv_tensors as kinds  # It is where `transform` is from.

        sample = check_sample(sample, "Torchvision")
        torch = require("torch", extra="torch")
        masks = _masks(sample, "Torchvision")
        image = kinds.Image(torch.from_numpy(sample["image"].transpose(2, 0, 1).copy()))
        stack = kinds.Mask(torch.from_numpy(np.stack(list(masks.values()))))
        seed = int(rng.integers(2**31))
        with self._lock, torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            image, stack = self.transform(image, stack)
        changed = dict(zip(masks, np.asarray(stack), strict=True))
        pixels = np.asarray(image).transpose(1, 2, 0)
        return _restored(sample, pixels, changed, "Torchvision")

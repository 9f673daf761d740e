"""Transforms of Albumentations and torchvision, as transforms of samples.

Both fill what comes from outside a mask with a number that is a class here, by default 0. So no
label travels: a mask of the places of the pixels does, and tells where each pixel came from.
"""

import copy
import threading
from typing import Any

import numpy as np

from keras_dense._optional import require
from keras_dense._types import Array, Sample
from keras_dense.datasets.sample import check_sample, fill_value, less_sure, pixel_keys

# Places start above every number that a library fills masks with, and are exact in float32, the
# type in which they travel.
_FIRST = 2**16
_EXACT = 2**24


def _places(sample: Sample, who: str) -> Array:
    """Return a number for each pixel, float32 `(H, W)`."""
    height, width = sample["image"].shape[:2]
    if _FIRST + height * width > _EXACT:
        raise ValueError(
            f"{who}: images must have at most {_EXACT - _FIRST} pixels. Received: {height} x "
            f"{width}. Crop them first, with kd.datasets.transforms.RandomCrop"
        )
    return np.arange(_FIRST, _FIRST + height * width, dtype=np.float32).reshape(height, width)


def _restored(sample: Sample, image: Any, places: Array, who: str) -> Sample:
    """Return the sample with an image whose pixels came from `places`."""
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.shape != (*places.shape, 3):
        raise ValueError(
            f"{who}: the transform must return an image as it gets one, uint8 with three channels. "
            f"Received: {image.dtype} of shape {image.shape}. Leave out conversions (Normalize, "
            "ToTensorV2, ToDtype, ToPILImage, Grayscale): networks take colors from 0 to 255"
        )
    index: Array = places.astype(np.int32)
    if (index != places).any():
        raise ValueError(
            f"{who}: the transform must move masks by nearest neighbor: between two labels is "
            "none. Received: a mask with fractions. Leave out mask_interpolation"
        )
    out = {**sample, "image": np.ascontiguousarray(image)}
    size = sample["image"].shape[:2]
    count = size[0] * size[1]
    index -= _FIRST
    if index.shape == size and (index.ravel() == np.arange(count, dtype=np.int32)).all():
        return out
    wrong = [key for key in ("normals", "depth", "intrinsics") if key in sample]
    if wrong:
        raise ValueError(
            f"{who}: must not change the geometry of samples with {', '.join(map(repr, wrong))}: "
            "it would be wrong afterwards. Use kd.datasets.transforms, such as RandomAffine"
        )
    outside = (index < 0) | (index >= count)
    index[outside] = 0
    seen = np.zeros(count, bool)
    seen[index] = True
    seen[0] = ((index == 0) & ~outside).any()
    if not seen.all():
        out = less_sure(out)
    for key in pixel_keys(sample):
        if key != "image":
            out[key] = sample[key].reshape(count, *sample[key].shape[2:])[index]
            out[key][outside] = fill_value(key)
    return out


def _labels(sample: Sample) -> dict[str, Array]:
    """The mask for transforms that look at it: OpenCV takes no int32."""
    labels = sample.get("segmentation")
    if labels is None or labels.min(initial=0) < 0 or labels.max(initial=0) >= 2**16:
        return {}
    return {"mask": labels if labels.dtype == np.uint8 else labels.astype(np.uint16)}


class Albumentations:
    """Transform of Albumentations, for samples: image, labels, instances and weights in step.

    Its random numbers come from those of the loader. What it takes from outside the image is void,
    with any `fill_mask`; no label is new. Each thread of a loader has a copy of the transform.

    Args:
        transform: an `albumentations.Compose`, or a single transform. Without conversions such as
            `Normalize` and `ToTensorV2`.

    Raises:
        TypeError: if `transform` has no `set_random_seed` (Albumentations below 1.4.19).
        ValueError: when called, if it changes the geometry of a sample with normals, depth or
            intrinsics, which it does not know; interpolates masks; or returns no uint8 image.

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
        self._threads = threading.local()  # a transform keeps its random numbers

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        sample = check_sample(sample, "Albumentations")
        places = _places(sample, "Albumentations")
        if not hasattr(self._threads, "transform"):
            self._threads.transform = copy.deepcopy(self.transform)
        transform = self._threads.transform
        transform.set_random_seed(int(rng.integers(2**31)))
        found = transform(image=sample["image"], masks=[places], **_labels(sample))
        return _restored(sample, found["image"], np.asarray(found["masks"][0]), "Albumentations")

    def __getstate__(self) -> dict[str, Any]:
        return {"transform": self.transform}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["transform"])  # type: ignore[misc]


class Torchvision:
    """Transform of torchvision (v2), for samples: image, labels, instances and weights in step.

    What it takes from outside the image is void, with any `fill`; no label is new.

    Its random numbers, those of torch on the CPU, are seeded from those of the loader, and left as
    they were. Torch has one state of them: for a run that can be repeated exactly while other
    threads draw from it, such as a training with dropout on the CPU, give the loader `workers=0`.

    Args:
        transform: a callable of `torchvision.transforms.v2` that takes masks, too. Without
            conversions such as `ToDtype` and `Normalize`.

    Raises:
        TypeError: if `transform` is not callable.
        ImportError: when called, without torchvision.
        ValueError: when called, if it changes the geometry of a sample with normals, depth or
            intrinsics, which it does not know; interpolates masks; or returns no uint8 image.

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
        places = _places(sample, "Torchvision")
        image = kinds.Image(torch.from_numpy(sample["image"].transpose(2, 0, 1).copy()))
        # Three channels, as a `fill` for the colors of the image is also used for masks.
        mask = kinds.Mask(torch.from_numpy(np.repeat(places[None], 3, axis=0)))
        seed = int(rng.integers(2**31))
        # Not torch.manual_seed, which also seeds devices, where a network may be training.
        generator = torch.random.default_generator
        with self._lock:
            state = generator.get_state()
            try:
                generator.manual_seed(seed)
                image, mask = self.transform(image, mask)
            finally:
                generator.set_state(state)
        pixels = np.asarray(image)
        if isinstance(image, torch.Tensor) and pixels.ndim == 3:
            pixels = pixels.transpose(1, 2, 0)
        return _restored(sample, pixels, np.asarray(mask)[0], "Torchvision")

"""Folders that `save_pretrained` of segmentation_models_pytorch writes: settings, file, images."""

import dataclasses
import json
import os
import pathlib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from keras_dense import _check
from keras_dense._types import PathLike
from keras_dense.backbones.application import Preprocessing
from keras_dense.weights.smp_timm import colors_of

CONFIG = "config.json"
# Written by `A.Compose([…]).save_pretrained(folder)` of albumentations.
_TRANSFORMS = "albumentations_config_eval.json"
_PREFERRED = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
_PATTERNS = ("*.safetensors", "*.pth", "*.pt", "*.bin", "*.ckpt")
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF = ((0.5,) * 3, (0.5,) * 3)


@dataclasses.dataclass(frozen=True)
class Folder:
    """A folder.

    Attributes:
        file: the weights.
        config: the settings of the network.
        transforms: what was done to images, as albumentations stores it; `None` if it is not said.
    """

    file: pathlib.Path
    config: Mapping[str, Any]
    transforms: Mapping[str, Any] | None

    @property
    def channels(self) -> int:
        """Channels of the image."""
        return _check.integer(self.config.get("in_channels", 3), "in_channels", low=1)

    def preprocessing(self) -> Preprocessing:
        """The standardization of images 0–255: as stored, otherwise that of the encoder's weights.

        Raises:
            ValueError: for transforms that cannot be a part of the model, or where nothing says how
                images are standardized.
        """
        if self.transforms is not None:
            return _normalization(self.transforms)
        if self.channels != 3:
            raise ValueError(
                f"`preprocessing` must be given: neither {_TRANSFORMS} nor the encoder says how "
                f"images with {self.channels} channels are standardized. Such as "
                "preprocessing={'mean': 0, 'std': 255} for values divided by 255."
            )
        weights = self.config.get("encoder_weights")
        if weights is None:
            warnings.warn(
                f"{str(self.file)!r} does not say how images are standardized; mean and deviation "
                "of ImageNet are used. Give `preprocessing` if it was trained otherwise.",
                stacklevel=4,
            )
        mean, std = _HALF if weights == "advprop" else _IMAGENET
        mean, std = colors_of(str(self.config.get("encoder_name"))) or (mean, std)
        return _scaled(mean, std, 255.0)


def is_folder(path: Any) -> bool:
    """Check for a folder with the settings of a network."""
    return isinstance(path, (str, os.PathLike)) and (pathlib.Path(path) / CONFIG).is_file()


def folder_of(path: PathLike) -> Folder:
    """Settings and weights in a folder.

    Args:
        path: the folder, or the file of weights beside its "config.json".

    Raises:
        FileNotFoundError: without "config.json", or without weights.
        ValueError: for several files of weights, or a file that holds something else.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise _check.fail("path", "the folder of a network", path)
    place = pathlib.Path(path)
    if not place.exists():
        raise FileNotFoundError(f"`path` must be a folder that exists. Received: path='{place}'")
    folder = place if place.is_dir() else place.parent
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(
            f"`path` must be a folder with {CONFIG!r}, as `save_pretrained` of "
            f"segmentation_models_pytorch writes it. Received: path='{place}'"
        )
    config, transforms = _object(folder / CONFIG), folder / _TRANSFORMS
    file = place if place.is_file() and place.name != CONFIG else _weights_in(folder)
    return Folder(file, config, _object(transforms) if transforms.is_file() else None)


def _weights_in(folder: pathlib.Path) -> pathlib.Path:
    for name in _PREFERRED:
        if (folder / name).is_file():
            return folder / name
    found = sorted({file for pattern in _PATTERNS for file in folder.glob(pattern)})
    if not found:
        raise FileNotFoundError(
            f"'{folder}' must have a file of weights beside {CONFIG!r}: {_PREFERRED[0]!r}, or a "
            "state dict of PyTorch."
        )
    if len(found) > 1:
        listed = ", ".join(repr(file.name) for file in found[:8])
        raise ValueError(f"`path` must name one file of weights in '{folder}'. Found: {listed}")
    return found[0]


def _object(path: pathlib.Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # of JSON, and of UTF-8
        raise ValueError(f"'{path}' is not a file of JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"'{path}' must hold an object of JSON. It holds: {str(found)[:80]}")
    return found


def _scaled(mean: Any, std: Any, top: float) -> dict[str, Any]:
    """Mean and deviation of values 0–1, for values from 0 to `top`."""

    def times(values: Any) -> Any:
        values = values if isinstance(values, (list, tuple)) else [values]
        # One number is that of all channels. Rounded, 0.406 of 255 is 103.53.
        found = [round(float(v) * top, 9) for v in values]
        return found if len(found) > 1 else found[0]

    return {"mean": times(mean), "std": times(std)}


def _steps(transform: Any) -> Iterator[Mapping[str, Any]]:
    """The transforms within a `Compose`, in order."""
    if not isinstance(transform, Mapping):
        return
    inner = transform.get("transforms")
    if isinstance(inner, list):
        for one in inner:
            yield from _steps(one)
    elif "__class_fullname__" in transform:
        yield transform


def _normalization(stored: Mapping[str, Any]) -> Preprocessing:
    """The standardization among transforms; changes of size are left to the caller."""
    found: Preprocessing | None = None
    for step in _steps(stored.get("transform", stored)):
        kind = step["__class_fullname__"].rpartition(".")[2]
        if kind not in ("Normalize", "ToFloat"):
            continue
        if found is not None:
            raise ValueError(
                f"`preprocessing` must be given: {_TRANSFORMS} standardizes images more than once."
            )
        found = _step(kind, step)
    return "none" if found is None else found


def _step(kind: str, step: Mapping[str, Any]) -> Preprocessing:
    if kind == "ToFloat":
        # Without a value it depends on the type of the image: 255 for uint8.
        return {"mean": 0.0, "std": float(step.get("max_value") or 255.0)}
    if step.get("normalization", "standard") != "standard":
        raise ValueError(
            f"`preprocessing` must be given: {_TRANSFORMS} standardizes each image by its own "
            f"numbers, which is no part of the model. normalization={step['normalization']!r}"
        )
    mean, std = step.get("mean", _IMAGENET[0]), step.get("std", _IMAGENET[1])
    top = step.get("max_pixel_value", 255.0)
    return _scaled(mean, std, 255.0 if top is None else float(top))

"""Batches from samples: images, targets of the heads, weights."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_dense._arrays import as_array
from keras_dense._types import Array, Sample
from keras_dense.datasets.sample import pad_sample


class Collator:
    """Encode samples for the heads, and stack them to a batch.

    Args:
        heads: a head, a dict of heads, or `None`.
        missing: `"raise"` or `"unknown"`, see `kd.datasets.Loader`.
        pad: int, the multiple to which images of a batch are padded; 0 for no padding.

    Raises:
        TypeError: if a head lacks a method that is needed.
    """

    def __init__(self, heads: Any, missing: str, pad: int) -> None:
        self.heads = heads
        self.missing = missing
        self.pad = pad
        for head in _leaves(heads):
            if missing == "unknown" and not (hasattr(head, "target") and hasattr(head, "unknown")):
                raise TypeError(
                    "`heads` must have `target`, the key of their annotation, and unknown(size) "
                    f'with missing="unknown". Received: {head!r}'
                )
            if not callable(getattr(head, "encode", None)):
                raise TypeError(
                    "`heads` must be an object with encode(sample), or a dict of such objects. "
                    f"Received: {head!r}"
                )

    def encode(self, sample: Sample) -> tuple[Array, Any, Array | None]:
        """Return the parts of a sample that are stacked: image, targets, weight or `None`."""
        targets: Any = {}
        if isinstance(self.heads, dict):
            targets = {key: self._target(head, sample) for key, head in self.heads.items()}
        elif self.heads is not None:
            targets = self._target(self.heads, sample)
        return sample["image"], targets, sample.get("weight")

    def _target(self, head: Any, sample: Sample) -> Array:
        if self.missing == "unknown" and head.target not in sample:
            return np.asarray(head.unknown(sample["image"].shape[:2]))
        return as_array(head.encode(sample), "target")

    def pad_batch(self, samples: Sequence[Sample], parity: int | None) -> list[Sample]:
        """Pad samples to the size of the largest, in multiples of `pad`.

        Args:
            samples: samples of a batch.
            parity: 0 for an even number of multiples, 1 for an odd number, `None` for any.
        """
        heights, widths = zip(*(s["image"].shape[:2] for s in samples), strict=True)
        height, width = (self._round_up(max(sizes), parity) for sizes in (heights, widths))
        out = []
        for sample in samples:
            h, w = sample["image"].shape[:2]
            out.append(pad_sample(sample, 0, height - h, 0, width - w))
        return out

    def _round_up(self, size: int, parity: int | None) -> int:
        steps = -(-size // self.pad)
        if parity is not None and steps % 2 != parity:
            steps += 1
        return steps * self.pad

    def stack(self, parts: Sequence[tuple[Array, Any, Array | None]], number: int) -> tuple:
        """Stack encoded samples to `(images, targets)` or `(images, targets, weights)`.

        Args:
            parts: results of `encode`.
            number: int, number of the batch, for messages.
        """
        images, targets, weights = zip(*parts, strict=True)
        shapes = {np.shape(image) for image in images}
        if len(shapes) > 1:
            sizes = ", ".join(f"{h} x {w}" for h, w, _ in sorted(shapes))
            raise ValueError(
                f"Loader: batch {number} has images of different sizes: {sizes} (height x width). "
                "Resize or crop them with transforms (RandomCrop, CenterCrop, Resize), or give "
                "pad=True"
            )
        images = np.stack(images)
        if self.heads is None:
            return (images,)
        weighted = sum(weight is not None for weight in weights)
        if 0 < weighted < len(weights):
            raise ValueError(
                f"Loader: {weighted} of the {len(weights)} samples in batch {number} have a "
                "'weight'. Either all of them must have one, or none."
            )
        weights = np.stack(weights).astype("float32") if weighted else None
        if isinstance(self.heads, dict):
            targets = {key: _stack([t[key] for t in targets], key) for key in self.heads}
            weights = None if weights is None else dict.fromkeys(self.heads, weights)
        else:
            targets = _stack(targets, "head")
        return (images, targets) if weights is None else (images, targets, weights)


def _leaves(heads: Any) -> list:
    if heads is None:
        return []
    return list(heads.values()) if isinstance(heads, dict) else [heads]


def _stack(targets: Sequence[Array], key: str) -> Array:
    shapes = {np.shape(target) for target in targets}
    if len(shapes) > 1:
        raise ValueError(
            f"Loader: targets of {key!r} have different shapes in one batch: {sorted(shapes)}"
        )
    return np.stack(targets)

"""Batches from samples: images, targets of the heads, weights."""

from collections.abc import Sequence

import numpy as np

from keras_dense._arrays import as_array
from keras_dense._types import Array, Sample
from keras_dense.datasets.sample import pad_sample
from keras_dense.heads.collection import Heads
from keras_dense.heads.head import Head

# Image, targets by the keys of the heads, weight.
Parts = tuple[Array, dict[str, Array], Array | None]


class Collator:
    """Encode samples for the heads, and stack them to a batch.

    Args:
        heads: `Heads`, or `None` for batches without targets.
        missing: `"raise"` or `"unknown"`, see `kd.datasets.Loader`.
        pad: int, the multiple to which images of a batch are padded; 0 for no padding.

    Raises:
        ValueError: with `missing="unknown"`, if a head has no target for unknown pixels.
    """

    def __init__(self, heads: Heads | None, missing: str, pad: int) -> None:
        self.heads = heads
        self.missing = missing
        self.pad = pad
        if missing == "unknown" and heads is not None:
            for head in heads.values():
                head.unknown((1, 1))  # Raises the error now.

    def encode(self, sample: Sample) -> Parts:
        """Return the parts of a sample to stack: image, targets by key, weight or `None`."""
        heads = {} if self.heads is None else self.heads
        targets = {key: self._target(head, sample) for key, head in heads.items()}
        return sample["image"], targets, sample.get("weight")

    def _target(self, head: Head, sample: Sample) -> Array:
        if self.missing == "unknown" and not head.annotated(sample):
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

    def stack(self, parts: Sequence[Parts], number: int) -> tuple:
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
        stacked = self.heads.map(lambda key, _: _stack([by_key[key] for by_key in targets], key))
        if not weighted:
            return images, stacked
        weights = np.stack(weights).astype("float32")
        ones: Array = np.ones(
            len(weights), "float32"
        )  # a head without pixels has no weight of them
        return images, stacked, self.heads.map(lambda _, head: ones if head.per_image else weights)


def _stack(targets: Sequence[Array], key: str) -> Array:
    shapes = {np.shape(target) for target in targets}
    if len(shapes) > 1:
        raise ValueError(
            f"Loader: targets of {key or 'the head'!r} have different shapes in one batch: "
            f"{sorted(shapes)}"
        )
    return np.stack(targets)

"""A weak and a strong view of each image of a batch, for self-training."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from keras_dense import _check
from keras_dense._types import Array, Sample
from keras_dense.datasets.mixing import Mix, labels_of, mixed_maps, mixing_maps
from keras_dense.datasets.passes import Passes, random_numbers
from keras_dense.datasets.transforms import Compose
from keras_dense.datasets.transforms.arguments import Transform

# Values of the map that says where the pixels of a strong view come from.
OWN, OTHER, HIDDEN = 0, 1, 2


class TwoViews(Passes):
    """Batches of a loader with two views of each image: data for `kd.training.self_training`.

    The images of the loader, with its own transforms, are the weak views, which the teacher sees.
    The strong views, which the student sees, are made of them by further changes of color and by
    parts of other images. So both have the same geometry, and labels need no warping. Random
    numbers depend on `seed`, the epoch and the number of the batch only: runs can be repeated and
    continued on every backend. Of a loader with `shard`, images are mixed with others of the same
    share, by random numbers of each process.

    Batches are `(strong views, y)` or `(strong views, y, weights)`, with
    `y = {"targets": …, "weak": images, "partner": (B,), "source": (B, H, W)}`: targets as the
    loader gives them, the weak views, and for each pixel of a strong view whether it is the image's
    own (0), the partner's (1) or hidden (2).

    Args:
        loader: a `kd.datasets.Loader` with heads, often of `kd.datasets.together`.
        strong: transforms `(sample, rng) -> sample` of the image alone, such as
            `kd.datasets.transforms.Blur`. Of those that hide parts (`CutOut`), the hidden pixels
            are not filled with labels.
        mix: `kd.datasets.BoxMix()`, `ClassMix()`, another function as in `kd.datasets.Mixed`, or
            `None`.
        seed: int >= 0.

    Raises:
        TypeError: if `loader` has no heads, or a transform is not callable.
        ValueError: if the seed is out of range; when read, if a transform of `strong` moves pixels.

    Example:

    >>> import keras_dense as kd
    >>> world, head = kd.datasets.scenes(4, 8), kd.heads.Segmentation(8)
    >>> loader = kd.datasets.Loader(world, head, 2, workers=0)
    >>> views = TwoViews(loader, strong=[kd.datasets.transforms.Noise(20)])
    >>> strong, y = views[0]
    >>> strong.shape == y["weak"].shape, bool((strong == y["weak"]).all())
    (True, False)
    """

    def __init__(
        self,
        loader: Any,
        *,
        strong: Transform | Iterable[Transform] = (),
        mix: Mix | None = None,
        seed: int = 0,
    ) -> None:
        if getattr(loader, "heads", None) is None or not hasattr(loader, "batch"):
            raise TypeError(f"`loader` must be a Loader with heads. Received: loader={loader!r}")
        if mix is not None and not callable(mix):
            raise TypeError(
                f"`mix` must be BoxMix(), ClassMix(), a function or None. Received: {mix!r}"
            )
        self.loader, self.mix = loader, mix
        self.shard = getattr(loader, "shard", (0, 1))
        self.strong = Compose(strong)
        self.seed = _check.integer(seed, "seed", low=0)
        for name in ("batch_size", "shuffle", "dataset"):  # what a Checkpoint compares
            if hasattr(loader, name):
                setattr(self, name, getattr(loader, name))
        super().__init__(len(loader), clock=loader.clock)

    def batch(self, epoch: int, number: int) -> tuple:
        """Return a batch of an epoch."""
        images, targets, *weights = self.loader.batch(epoch, number)
        rng = random_numbers(self, self.seed, epoch, number)
        pairs = [self._view(image, rng) for image in images]
        views, hidden = (np.stack(parts) for parts in zip(*pairs, strict=True))
        partner: Array = np.arange(len(images), dtype=np.int32)
        source = np.where(hidden, HIDDEN, OWN)
        if self.mix is not None:
            labels = labels_of(self.loader.heads, targets)
            partner, taken = mixing_maps(images, labels, self.mix, rng)
            views = mixed_maps(views, partner, taken)
            source = np.where(taken, np.where(hidden[partner], HIDDEN, OTHER), source)
        y = {
            "targets": targets,
            "weak": images,
            "partner": partner,
            "source": source.astype(np.uint8),
        }
        return (views, y, *weights)

    def _view(self, image: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """A strong view, and its hidden pixels."""
        places = np.arange(1, image.shape[0] * image.shape[1] + 1, dtype=np.int32)
        places = places.reshape(image.shape[:2])
        sample: Sample = self.strong({"image": image, "_places": places}, rng)
        found = sample["_places"]
        hidden = found == 0
        if found.shape != places.shape or not np.array_equal(found[~hidden], places[~hidden]):
            names = ", ".join(type(t).__name__ for t in self.strong.transforms)
            raise ValueError(
                "`strong` must change colors, and leave every pixel at its place: geometry belongs "
                f"to the transforms of the loader, for both views. Received: {names}"
            )
        return sample["image"], hidden

    def asked(self, number: int) -> None:
        self.loader.asked(number)

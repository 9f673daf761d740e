"""Several transforms as one."""

from collections.abc import Iterable

import numpy as np

from keras_dense._types import Sample
from keras_dense.datasets.sample import check_sample
from keras_dense.datasets.transforms.arguments import Transform


class Compose:
    """Apply transforms in turn, with the same random generator.

    Args:
        transforms: sequence of callables `(sample, rng) -> sample`, or a single one.

    Raises:
        TypeError: if one of them is not callable.

    Example:

    >>> import numpy as np
    >>> from keras_dense.datasets import transforms
    >>> augment = transforms.Compose([transforms.RandomFlip(), transforms.RandomCrop(64)])
    >>> sample = {"image": np.zeros((48, 80, 3), "uint8")}
    >>> augment(sample, np.random.default_rng(0))["image"].shape
    (64, 64, 3)
    """

    def __init__(self, transforms: Transform | Iterable[Transform] = ()) -> None:
        self.transforms = [transforms] if callable(transforms) else list(transforms)
        for i, transform in enumerate(self.transforms):
            if not callable(transform):
                raise TypeError(
                    "`transforms` must be callables (sample, rng) -> sample. Received: "
                    f"transforms[{i}]={transform!r}"
                )

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        for transform in self.transforms:
            name = getattr(transform, "__name__", type(transform).__name__)
            sample = check_sample(transform(sample, rng), f"after {name}")
        return sample

"""One transform after another."""

from keras_dense.datasets.sample import check_sample


class Compose:
    """Apply transforms in turn, from one generator.

    Args:
        transforms: sequence of callables `(sample, rng) -> sample`, or one of them.

    Raises:
        TypeError: if one of them cannot be called.

    Example:

    >>> import numpy as np
    >>> from keras_dense.datasets import transforms
    >>> augment = transforms.Compose([transforms.RandomFlip(), transforms.RandomCrop(64)])
    >>> sample = {"image": np.zeros((48, 80, 3), "uint8")}
    >>> augment(sample, np.random.default_rng(0))["image"].shape
    (64, 64, 3)
    """

    def __init__(self, transforms=()):
        self.transforms = [transforms] if callable(transforms) else list(transforms)
        for i, transform in enumerate(self.transforms):
            if not callable(transform):
                raise TypeError(
                    f"transforms must be callables (sample, rng) -> sample. Received: "
                    f"transforms[{i}]={transform!r}"
                )

    def __call__(self, sample, rng):
        for transform in self.transforms:
            name = getattr(transform, "__name__", type(transform).__name__)
            sample = check_sample(transform(sample, rng), f"after {name}")
        return sample

"""Weights computed from instances when a sample is read."""

import numpy as np

from keras_dense._types import Sample
from keras_dense.datasets.border_weights import border_weights, check_weights
from keras_dense.datasets.sample import check_sample


class BorderWeights:
    """Add the weight map of U-Net as `"weight"` to a sample with `"instances"`.

    Apply it before crops and scaling: the distance to an object outside the crop counts, too.
    Unknown pixels, whose number is negative, get the weight 0.

    Args:
        w0: float >= 0, see `kd.datasets.border_weights`.
        sigma: float > 0.
        class_weight: two floats >= 0, for background and objects.

    Raises:
        ValueError: if a number is out of range.

    Example:

    >>> import numpy as np
    >>> cells = np.array([[1, 1, 0, 0, 2, 2]])
    >>> sample = {"image": np.zeros((1, 6, 3), "uint8"), "instances": cells}
    >>> weight = BorderWeights(w0=10, sigma=3)(sample, None)["weight"]
    >>> [round(float(w), 2) for w in weight[0]]
    [1.0, 1.0, 7.07, 7.07, 1.0, 1.0]
    """

    def __init__(
        self,
        *,
        w0: float = 10.0,
        sigma: float = 5.0,
        class_weight: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        self.w0, self.sigma, self.class_weight = check_weights(w0, sigma, class_weight)

    def __call__(self, sample: Sample, rng: np.random.Generator | None = None) -> Sample:
        sample = check_sample(sample, "BorderWeights")
        if "instances" not in sample:
            raise ValueError(
                "BorderWeights: a sample must have 'instances', as `kd.datasets.instances` returns "
                f"them. Received: {sorted(sample)}"
            )
        known = sample["instances"] >= 0
        weight = border_weights(
            np.where(known, sample["instances"], 0),
            w0=self.w0,
            sigma=self.sigma,
            class_weight=self.class_weight,
        )
        return {**sample, "weight": np.where(known, weight, np.float32(0))}

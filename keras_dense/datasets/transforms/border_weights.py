"""Weights from instances, at the moment they are needed."""

from keras_dense.datasets.border_weights import border_weights, check_weights
from keras_dense.datasets.sample import check_sample


class BorderWeights:
    """Give a sample with `"instances"` the weight map of U-Net as its `"weight"`.

    Before crops and scales: the distance to an object outside of the crop counts, too.

    Args:
        w0, sigma, class_weight: see `kd.datasets.border_weights`.

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

    def __init__(self, w0=10.0, sigma=5.0, class_weight=(1.0, 1.0)):
        self.w0, self.sigma, self.class_weight = check_weights(w0, sigma, class_weight)

    def __call__(self, sample, rng):
        sample = check_sample(sample, "BorderWeights")
        if "instances" not in sample:
            raise ValueError(
                "BorderWeights: a sample must have 'instances', as `kd.datasets.instances` gives "
                f"them. Received: {sorted(sample)}"
            )
        weight = border_weights(sample["instances"], self.w0, self.sigma, self.class_weight)
        return {**sample, "weight": weight}

"""Mirror images."""

import numpy as np

from keras_dense.datasets.sample import check_sample, follow, planes
from keras_dense.datasets.transforms.arguments import fraction
from keras_dense.ops.geometry import flip_intrinsics


class RandomFlip:
    """Mirror a sample, each way with its own coin; x (or y) of normals changes sign.

    The camera of the mirrored scene is that of `kd.ops.flip_intrinsics`.

    Args:
        horizontal: probability of exchanging left and right.
        vertical: probability of exchanging top and bottom.

    Raises:
        ValueError: if a probability is not from 0 to 1.

    Example:

    >>> import numpy as np
    >>> sample = {"image": np.arange(6, dtype="uint8").reshape(1, 2, 3)}
    >>> RandomFlip(horizontal=1)(sample, np.random.default_rng(0))["image"].tolist()
    [[[3, 4, 5], [0, 1, 2]]]
    """

    def __init__(self, horizontal=0.5, vertical=0.0):
        self.horizontal = fraction("RandomFlip", "horizontal", horizontal)
        self.vertical = fraction("RandomFlip", "vertical", vertical)

    def __call__(self, sample, rng):
        sample = check_sample(sample, "RandomFlip")
        across, down = rng.random(2) < (self.horizontal, self.vertical)
        if not (across or down):
            return sample
        step = (slice(None, None, -1 if down else 1), slice(None, None, -1 if across else 1))
        out = {**sample, **{key: sample[key][step] for key in planes(sample)}}
        if "normals" in out:
            out["normals"] = out["normals"] * np.array(
                [-1 if across else 1, -1 if down else 1, 1], out["normals"].dtype
            )
        height, width = sample["image"].shape[:2]
        mirrored = {"height": height if down else None, "width": width if across else None}
        return follow(out, flip_intrinsics, **mirrored)

"""Random mirroring."""

import numpy as np

from keras_dense import _check
from keras_dense._types import Sample
from keras_dense.datasets.sample import change_intrinsics, check_sample, pixel_keys
from keras_dense.ops.geometry import flip_intrinsics


class RandomFlip:
    """Mirror a sample at random, independently in each direction.

    The x (or y) component of normals changes its sign, and `"intrinsics"` become those of
    `kd.ops.flip_intrinsics`.

    Args:
        horizontal: float from 0 to 1, probability of exchanging left and right.
        vertical: float from 0 to 1, probability of exchanging top and bottom.

    Raises:
        ValueError: if a probability is not from 0 to 1.

    Example:

    >>> import numpy as np
    >>> sample = {"image": np.arange(6, dtype="uint8").reshape(1, 2, 3)}
    >>> RandomFlip(horizontal=1)(sample, np.random.default_rng(0))["image"].tolist()
    [[[3, 4, 5], [0, 1, 2]]]
    """

    def __init__(self, horizontal: float = 0.5, vertical: float = 0.0) -> None:
        self.horizontal = _check.number(horizontal, "horizontal", 0, 1)
        self.vertical = _check.number(vertical, "vertical", 0, 1)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        sample = check_sample(sample, "RandomFlip")
        across, down = rng.random(2) < (self.horizontal, self.vertical)
        if not (across or down):
            return sample
        step = (slice(None, None, -1 if down else 1), slice(None, None, -1 if across else 1))
        out = {**sample, **{key: sample[key][step] for key in pixel_keys(sample)}}
        if "normals" in out:
            out["normals"] = out["normals"] * np.array(
                [-1 if across else 1, -1 if down else 1, 1], out["normals"].dtype
            )
        height, width = sample["image"].shape[:2]
        mirrored = {"height": height if down else None, "width": width if across else None}
        return change_intrinsics(out, flip_intrinsics, **mirrored)

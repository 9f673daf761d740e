"""Crops and padding."""

from collections.abc import Sequence

import numpy as np

from keras_dense import _check
from keras_dense._types import Sample, Size
from keras_dense.datasets.sample import MEAN_COLOR, check_sample, crop_sample, pad_sample
from keras_dense.datasets.transforms.arguments import Color
from keras_dense.datasets.transforms.arguments import color as checked_color


class RandomCrop:
    """Crop a window at a random position; samples that are too small are padded with void.

    Args:
        size: int or pair of ints `(height, width)`.
        color: three ints from 0 to 255, RGB of padded pixels; their labels are 255, depth and
            normals 0.

    Raises:
        ValueError: if `size` or `color` is malformed.

    Example:

    >>> import numpy as np
    >>> labels = np.zeros((3, 3), "uint8")
    >>> sample = {"image": np.zeros((3, 3, 3), "uint8"), "segmentation": labels}
    >>> cut = RandomCrop((2, 4))(sample, np.random.default_rng(1))
    >>> cut["segmentation"].tolist()
    [[255, 0, 0, 0], [255, 0, 0, 0]]
    """

    def __init__(self, size: Size, *, color: Color = MEAN_COLOR) -> None:
        self.size = _check.pair(size, "size")
        self.color = checked_color(color, "color")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        sample = check_sample(sample, "RandomCrop")
        # Always two numbers, so that later draws do not depend on the sizes.
        return _window(sample, self.size, rng.random(2), self.color)


class CenterCrop:
    """Crop the center; samples that are too small are padded with void.

    Args:
        size: int or pair of ints `(height, width)`.
        color: three ints from 0 to 255, RGB of padded pixels; their labels are 255, depth and
            normals 0.

    Raises:
        ValueError: if `size` or `color` is malformed.

    Example:

    >>> import numpy as np
    >>> CenterCrop(2)({"image": np.zeros((5, 9, 3), "uint8")})["image"].shape
    (2, 2, 3)
    """

    def __init__(self, size: Size, *, color: Color = MEAN_COLOR) -> None:
        self.size = _check.pair(size, "size")
        self.color = checked_color(color, "color")

    def __call__(self, sample: Sample, rng: np.random.Generator | None = None) -> Sample:
        sample = check_sample(sample, "CenterCrop")
        return _window(sample, self.size, (0.5, 0.5), self.color)


class Pad:
    """Pad with void at the bottom and right, to a size or to the next multiple.

    Args:
        size: int or pair of ints `(height, width)`, the smallest size of the result.
        multiple: int >= 1; height and width become multiples of it.
        color: three ints from 0 to 255, RGB of padded pixels; their labels are 255, depth and
            normals 0.

    Raises:
        ValueError: if neither is given, or one is malformed.

    Example:

    >>> import numpy as np
    >>> Pad(multiple=32)({"image": np.zeros((33, 64, 3), "uint8")})["image"].shape
    (64, 64, 3)
    """

    def __init__(
        self, size: Size | None = None, *, multiple: int = 1, color: Color = MEAN_COLOR
    ) -> None:
        self.multiple = _check.integer(multiple, "multiple", low=1)
        if size is None and self.multiple == 1:
            raise ValueError("`size` or `multiple` must be given. Received: size=None, multiple=1")
        self.size = (1, 1) if size is None else _check.pair(size, "size")
        self.color = checked_color(color, "color")

    def __call__(self, sample: Sample, rng: np.random.Generator | None = None) -> Sample:
        sample = check_sample(sample, "Pad")
        height, width = sample["image"].shape[:2]
        more = [
            -(-max(have, want) // self.multiple) * self.multiple - have
            for have, want in zip((height, width), self.size, strict=True)
        ]
        return pad_sample(sample, 0, more[0], 0, more[1], self.color)


def _window(
    sample: Sample, size: tuple[int, int], position: Sequence[float], color: Color
) -> Sample:
    """Crop or pad to `size`; `position` is from 0 (top, left) to 1 (bottom, right)."""
    starts, pads = [], []
    for have, want, where in zip(sample["image"].shape[:2], size, position, strict=True):
        room = abs(have - want)
        offset = min(int(where * (room + 1)), room)
        starts.append(offset if have > want else 0)
        pads.append((offset, room - offset) if have < want else (0, 0))
    (top, bottom), (left, right) = pads
    sample = pad_sample(sample, top, bottom, left, right, color)
    return crop_sample(sample, starts[0], starts[1], size[0], size[1])

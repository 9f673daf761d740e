"""Parts of a picture, and more than a picture."""

from keras_dense import _check
from keras_dense.datasets.sample import MEAN_COLOR, check_sample, crop_sample, pad_sample
from keras_dense.datasets.transforms.arguments import color as checked_color
from keras_dense.datasets.transforms.arguments import size_2d


class RandomCrop:
    """Cut a window at a random place; where the sample is too small it is void around it.

    Args:
        size: int or `(height, width)` of the window.
        color: RGB of the image where there is none; labels are 255, depth and normals 0 there.

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

    def __init__(self, size, color=MEAN_COLOR):
        self.size = size_2d("RandomCrop", "size", size)
        self.color = checked_color("RandomCrop", "color", color)

    def __call__(self, sample, rng):
        sample = check_sample(sample, "RandomCrop")
        # Two numbers whatever the sizes are, so that later draws do not depend on them.
        return _window(sample, self.size, rng.random(2), self.color)


class CenterCrop:
    """Cut the middle; where the sample is too small it is void around it.

    Args:
        size: int or `(height, width)` of the window.
        color: RGB of the image where there is none; labels are 255, depth and normals 0 there.

    Raises:
        ValueError: if `size` or `color` is malformed.

    Example:

    >>> import numpy as np
    >>> CenterCrop(2)({"image": np.zeros((5, 9, 3), "uint8")})["image"].shape
    (2, 2, 3)
    """

    def __init__(self, size, color=MEAN_COLOR):
        self.size = size_2d("CenterCrop", "size", size)
        self.color = checked_color("CenterCrop", "color", color)

    def __call__(self, sample, rng=None):
        sample = check_sample(sample, "CenterCrop")
        return _window(sample, self.size, (0.5, 0.5), self.color)


class Pad:
    """Add void at the bottom and right up to a size, or to the next multiple.

    Args:
        size: int or `(height, width)`: what the sample must at least measure.
        multiple: int: what height and width must be multiples of.
        color: RGB of the image where there is none; labels are 255, depth and normals 0 there.

    Raises:
        ValueError: if neither is given, or one is malformed.

    Example:

    >>> import numpy as np
    >>> Pad(multiple=32)({"image": np.zeros((33, 64, 3), "uint8")})["image"].shape
    (64, 64, 3)
    """

    def __init__(self, size=None, multiple=1, color=MEAN_COLOR):
        self.multiple = _check.integer(multiple, "multiple", low=1)
        if size is None and self.multiple == 1:
            raise ValueError("Pad: give a size or a multiple. Received: size=None, multiple=1")
        self.size = (1, 1) if size is None else size_2d("Pad", "size", size)
        self.color = checked_color("Pad", "color", color)

    def __call__(self, sample, rng=None):
        sample = check_sample(sample, "Pad")
        height, width = sample["image"].shape[:2]
        more = [
            -(-max(have, want) // self.multiple) * self.multiple - have
            for have, want in zip((height, width), self.size, strict=True)
        ]
        return pad_sample(sample, 0, more[0], 0, more[1], self.color)


def _window(sample, size, place, color):
    """`place` says where the window lies: 0 at the top or left end, 1 at the other."""
    starts, pads = [], []
    for have, want, where in zip(sample["image"].shape[:2], size, place, strict=True):
        room = abs(have - want)
        offset = min(int(where * (room + 1)), room)
        starts.append(offset if have > want else 0)
        pads += [offset, room - offset] if have < want else [0, 0]
    sample = pad_sample(sample, *pads, color)
    return crop_sample(sample, *starts, *size)

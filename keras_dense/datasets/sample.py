"""What a sample is, and what stands where nothing is known.

A sample is a dict of NumPy arrays over one height and width:

| key | type | unknown |
|---|---|---|
| `"image"` | uint8 `(H, W, 3)`, RGB | |
| `"segmentation"` | uint8 or int32 `(H, W)`, class indices | 255 |
| `"depth"` | float32 `(H, W, 1)`, metres along the optical axis | 0 |
| `"normals"` | float32 `(H, W, 3)`, x right, y down, z forward, facing the camera | (0, 0, 0) |
| `"weight"` | float32 `(H, W)`, what a pixel counts in the loss, of every head | 0 |
| `"intrinsics"` | float `(3, 3)`, the camera: `depth · (u, v, 1) = K · point` | |

The centre of the pixel in row v, column u is `(u, v)`. Intrinsics follow what is done to the
picture (`kd.ops.crop_intrinsics` and its kin). A sample has the keys that the data has. Other
arrays over the same height and width travel along (moved by nearest neighbour, filled with 0),
anything else is left alone.
"""

import numpy as np

from keras_dense.ops.geometry import crop_intrinsics

VOID = 255

# The mean colour of ImageNet: what a pretrained network takes for "nothing here".
MEAN_COLOR = (124, 116, 104)

CHANNELS = {"image": (3,), "segmentation": (), "depth": (1,), "normals": (3,), "weight": ()}


def check_sample(sample, where="sample"):
    """Return `sample` if it is one, else say what is wrong with it.

    Only shapes are looked at: it is cheap enough for every sample of every epoch.

    Args:
        sample: what a dataset or a transform returned.
        where: str, how the message begins.

    Raises:
        TypeError: if it is no dict or has no `"image"`.
        ValueError: if an array has another rank, number of channels, height or width.

    >>> sample = {"image": np.zeros((4, 5, 3), "uint8"), "segmentation": np.zeros((4, 5), "uint8")}
    >>> check_sample(sample) is sample
    True
    """
    if not isinstance(sample, dict) or "image" not in sample:
        keys = sorted(sample) if isinstance(sample, dict) else type(sample).__name__
        raise TypeError(f"{where}: must be a dict with an 'image'. Received: {keys}")
    size = None
    for key, channels in CHANNELS.items():
        if key not in sample:
            continue
        shape = np.shape(sample[key])
        if len(shape) != 2 + len(channels) or shape[2:] != channels:
            wanted = ", ".join(["height", "width", *map(str, channels)])
            raise ValueError(f"{where}: {key!r} must have shape ({wanted}). Received: {shape}")
        size = size or shape[:2]
        if shape[:2] != size:
            raise ValueError(
                f"{where}: {key!r} is {shape[0]} x {shape[1]} pixels (height x width), but the "
                f"image is {size[0]} x {size[1]}. They must be the same size."
            )
    if "intrinsics" in sample and np.shape(sample["intrinsics"]) != (3, 3):
        raise ValueError(
            f"{where}: 'intrinsics' must have shape (3, 3). "
            f"Received: {np.shape(sample['intrinsics'])}"
        )
    if 0 in size:
        raise ValueError(f"{where}: the image is empty, its shape is {np.shape(sample['image'])}")
    return sample


def fill_value(key, color=MEAN_COLOR):
    """What an unknown pixel of `sample[key]` holds."""
    return {"image": color, "segmentation": VOID}.get(key, 0)


def planes(sample):
    """The keys of the arrays that lie over the image's pixels."""
    size = sample["image"].shape[:2]
    arrays = {k: v for k, v in sample.items() if isinstance(v, np.ndarray) and k != "intrinsics"}
    return [k for k, v in arrays.items() if v.shape[:2] == size]


def follow(sample, change, *arguments, **named):
    """The sample with what `change(intrinsics, …)` makes of its intrinsics, if it has any.

    >>> follow({"intrinsics": np.eye(3)}, crop_intrinsics, top=0, left=2)["intrinsics"][0].tolist()
    [1.0, 0.0, -2.0]
    """
    if "intrinsics" not in sample:
        return sample
    return {**sample, "intrinsics": change(sample["intrinsics"], *arguments, **named)}


def pad_sample(sample, top, bottom, left, right, color=MEAN_COLOR):
    """Surround a sample by unknown pixels (its image by `color`)."""
    if not (top or bottom or left or right):
        return sample
    out = dict(sample)
    for key in planes(sample):
        array = sample[key]
        height, width = array.shape[:2]
        shape = (height + top + bottom, width + left + right, *array.shape[2:])
        padded = np.empty(shape, array.dtype)
        padded[...] = fill_value(key, color)
        padded[top : top + height, left : left + width] = array
        out[key] = padded
    return follow(out, crop_intrinsics, -top, -left)


def crop_sample(sample, top, left, height, width):
    """Cut a window that lies inside a sample."""
    window = (slice(top, top + height), slice(left, left + width))
    out = {**sample, **{key: sample[key][window] for key in planes(sample)}}
    return follow(out, crop_intrinsics, top, left)

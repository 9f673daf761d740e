"""Small folders of images and masks, good and bad."""

import numpy as np

import keras_dense as kd


def image_module():
    import PIL.Image

    return PIL.Image


def write(path, array, **settings):
    path.parent.mkdir(parents=True, exist_ok=True)
    image_module().fromarray(np.asarray(array)).save(path, **settings)


def scenes(root, count=8, size=(64, 96), ending="png"):
    """Drawn scenes with labels 0 to 7."""
    world = kd.datasets.scenes(count, size)
    for i in range(count):
        write(root / "images" / f"s{i:02}.{ending}", world[i]["image"])
        write(root / "masks" / f"s{i:02}.png", world[i]["segmentation"])
    return root


def blobs(root, count=8, size=(48, 64), encode=None, ending="png", seed=0, name="masks"):
    """Bright disks on noise; `encode` turns numbers of disks into a mask."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    for i in range(count):
        numbers = np.zeros(size, "uint16")
        for number in range(1, 3 + i % 4 + 4):
            cy, cx = rng.integers(6, size[0] - 6), rng.integers(6, size[1] - 6)
            disk = (y - cy) ** 2 + (x - cx) ** 2 < 16
            if not numbers[np.pad(disk, 1)[:-2, 1:-1] | disk].any():
                numbers[disk] = number
        numbers = np.unique(numbers, return_inverse=True)[1].reshape(size).astype("uint16")
        noise = rng.integers(0, 60, (*size, 3))
        image = (noise + 140 * (numbers > 0)[..., None]).astype("uint8")
        write(root / "images" / f"b{i:02}.png", image)
        mask = numbers if encode is None else encode(numbers)
        write(root / name / f"b{i:02}.{ending}", mask)
    return root


def black_and_white(numbers):
    return ((numbers > 0) * 255).astype("uint8")

"""Files as projects publish them: names and shapes of their networks, and random numbers."""

import gzip
import json
import pathlib

import numpy as np

KEYS = pathlib.Path(__file__).parent / "keys"
# Scores of MMSegmentation's networks with the random numbers.
SCORES = pathlib.Path(__file__).parent / "fixtures" / "mmseg_scores.npz"


def shapes(source):
    """Names and shapes of the tensors of each network of a project, from its own package."""
    return json.loads(gzip.decompress((KEYS / f"{source}.json.gz").read_bytes()))


def zeros(name):
    """Tensors of a published file, all zero, which take no memory."""
    found = shapes(name.partition("/")[0])[name]
    return {key: np.broadcast_to(np.float32(0), shape) for key, shape in found.items()}


def random(name, seed=0):
    """Tensors of a published file: kernels of He's size, statistics of batch norms near 1."""
    rng, tensors = np.random.default_rng(seed), {}
    for key, shape in shapes(name.partition("/")[0])[name].items():
        if len(shape) > 1:
            values = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        elif key.endswith(("running_var", "weight")):
            values = rng.uniform(0.5, 1, shape)
        else:
            values = rng.normal(0, 0.1, shape)
        tensors[key] = values.astype("float32" if shape else "int64")
    return tensors


def image(name):
    """An image of a size that no stride divides, except for networks that refuse such sizes."""
    size = (64, 96) if "unet" in name else (75, 101)
    return np.random.default_rng(1).integers(0, 256, (1, *size, 3)).astype("uint8")


def sample(scores):
    """A part of scores `(1, H, W, classes)` that is small enough for a fixture."""
    return scores[0, ::9, ::13, ::4].astype("float32")

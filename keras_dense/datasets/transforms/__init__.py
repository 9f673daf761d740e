"""Changes to a sample that keep its image and everything known about it in step.

A transform is any callable `(sample, rng) -> sample` with `rng` a `numpy.random.Generator`: equal
generators give equal results, and the sample it is given is not changed. These know what a change
of the picture means for geometry: a flip turns normals round, a zoom brings things nearer.
"""

from keras_dense.datasets.transforms.border_weights import BorderWeights
from keras_dense.datasets.transforms.color import ColorJitter
from keras_dense.datasets.transforms.compose import Compose
from keras_dense.datasets.transforms.flip import RandomFlip
from keras_dense.datasets.transforms.rotation import RandomRotation
from keras_dense.datasets.transforms.scale import RandomScale, Resize
from keras_dense.datasets.transforms.window import CenterCrop, Pad, RandomCrop

__all__ = [
    "BorderWeights",
    "CenterCrop",
    "ColorJitter",
    "Compose",
    "Pad",
    "RandomCrop",
    "RandomFlip",
    "RandomRotation",
    "RandomScale",
    "Resize",
]

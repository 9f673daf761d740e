"""Transforms that change an image and its annotations together.

A transform is any callable `(sample, rng) -> sample`, with a `numpy.random.Generator` as `rng`.
Generators in the same state give the same result, and the given sample is never modified. These
transforms also keep the geometry correct: a flip mirrors normals, a zoom divides depth.
"""

from keras_dense.datasets.transforms.adapters import Albumentations, Torchvision
from keras_dense.datasets.transforms.border_weights import BorderWeights
from keras_dense.datasets.transforms.color import ColorJitter
from keras_dense.datasets.transforms.compose import Compose
from keras_dense.datasets.transforms.cut_out import CutOut
from keras_dense.datasets.transforms.flip import RandomFlip
from keras_dense.datasets.transforms.photometric import Blur, Gamma, Gray, Jpeg, Noise
from keras_dense.datasets.transforms.rotation import RandomRotation
from keras_dense.datasets.transforms.scale import RandomScale, Resize
from keras_dense.datasets.transforms.warp import RandomAffine, RandomElastic
from keras_dense.datasets.transforms.window import CenterCrop, Pad, RandomCrop

__all__ = [
    "Albumentations",
    "Blur",
    "BorderWeights",
    "CenterCrop",
    "ColorJitter",
    "Compose",
    "CutOut",
    "Gamma",
    "Gray",
    "Jpeg",
    "Noise",
    "Pad",
    "RandomAffine",
    "RandomCrop",
    "RandomElastic",
    "RandomFlip",
    "RandomRotation",
    "RandomScale",
    "Resize",
    "Torchvision",
]

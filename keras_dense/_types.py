"""Types of the public functions.

They say what is meant, not what is enforced: a tensor is one of whatever backend Keras runs on, or
symbolic, and none of the three has a type in common with the others.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

# A tensor of the current backend, or a symbolic one (`keras.KerasTensor`).
Tensor: TypeAlias = Any
# What becomes an array where it enters: NumPy's, a tensor of any framework, nested lists.
ArrayLike: TypeAlias = Any
Array: TypeAlias = np.ndarray
# Feature maps by level: {"P1": …, "P5": …}.
Features: TypeAlias = dict[str, Tensor]
# One number for both directions, or (vertical, horizontal).
Size: TypeAlias = int | tuple[int, int]
# Without the batch; None is any.
Shape: TypeAlias = tuple[int | None, ...]
# What a data set yields: "image", "segmentation", "depth", ….
Sample: TypeAlias = dict[str, Any]
# Where a file is: anything `open` takes.
PathLike: TypeAlias = Any
Config: TypeAlias = dict[str, Any]
# One thing, or one for each key.
Nested: TypeAlias = Any | Mapping[str, Any]
# Cells around a map: ((top, bottom), (left, right)); ints, or integer tensors inside a graph.
Sides: TypeAlias = Any

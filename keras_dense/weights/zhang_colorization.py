"""Loader of the PyTorch release of "Colorful Image Colorization"."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from keras_dense._optional import require
from keras_dense._types import Array, ArrayLike, PathLike

# The authors' modules are sequences of convolutions with ReLUs, and a batch norm at the end.
_CONVOLUTIONS = {f"conv{n}_{m + 1}": f"model{n}.{2 * m}" for n in range(1, 8) for m in range(3)}
for _name in ("conv1_3", "conv2_3"):
    del _CONVOLUTIONS[_name]
_CONVOLUTIONS |= {f"conv8_{m + 1}": f"model8.{2 * m}" for m in range(3)}
_NORMS = {f"conv{n}_bn": f"model{n}.{4 if n < 3 else 6}" for n in range(1, 8)}
_SCORES = "model8.6"


def load_zhang_colorization(
    model: keras.Model, source: PathLike | Mapping[str, ArrayLike]
) -> keras.Model:
    """Load the authors' weights of `eccv16` into `kd.zhang_colorization`.

    The file is `colorization_release_v2-9b330a0b.pth` of github.com/richzhang/colorization, which
    their `eccv16()` downloads. Its network takes (L − 50) / 100 and this one L − 50, so the first
    kernel is divided by 100. Its last layer, from 313 bins to (a, b), has no counterpart
    here: it is the mean under the softmax, as in `kd.heads.Colorization(temperature=1.0)`.

    Args:
        model: `kd.zhang_colorization()` with a single head, changed in place.
        source: path of the `.pth` file (needs `torch`), or its dict of names and arrays.

    Returns:
        `model`.

    Raises:
        FileNotFoundError: for a path that does not exist.
        ValueError: for another network, or a file with other names or shapes.

    Example:

    ```python
    model = kd.zhang_colorization(heads=kd.heads.Colorization(temperature=1.0))
    kd.weights.load_zhang_colorization(model, "colorization_release_v2-9b330a0b.pth")
    kd.decoded(model).predict(images)
    ```
    """
    if isinstance(source, (str, os.PathLike)):
        if not os.path.exists(source):
            raise FileNotFoundError(f"`source` does not exist. Received: {source!r}")
        torch = require("torch", extra="torch")
        source = torch.load(source, map_location="cpu", weights_only=True)
    state = {name: _array(value) for name, value in source.items()}
    own = {layer.name: layer for layer in _layers(model)}
    scores = [name for name in own if name.endswith("scores")]
    if len(scores) != 1 or not {*_CONVOLUTIONS, *_NORMS} <= own.keys():
        raise ValueError(
            "`model` must be kd.zhang_colorization with a single head. "
            f"Received: {model.name!r} with layers {', '.join(own)}"
        )
    new = {}
    for name, theirs in {**_CONVOLUTIONS, scores[0]: _SCORES}.items():
        # From (out, in, h, w) to (h, w, in, out); a transposed convolution likewise from
        # (in, out, h, w) to (h, w, out, in).
        kernel, bias = (_weight(state, theirs, part) for part in ("weight", "bias"))
        new[name] = [kernel.transpose(2, 3, 1, 0), bias]
    new["conv1_1"][0] = new["conv1_1"][0] / 100.0
    for name, theirs in _NORMS.items():
        parts = ("weight", "bias", "running_mean", "running_var")
        new[name] = [_weight(state, theirs, part) for part in parts]
    for name, values in new.items():
        have, want = ([tuple(w.shape) for w in x] for x in (values, own[name].weights))
        if have != want:
            raise ValueError(
                "`source` must have the shapes of the model, kd.zhang_colorization() with 313 bins "
                f"and width=1. Received: {have} for {name}, and a model with {want}"
            )
    for name, values in new.items():
        own[name].set_weights(values)
    return model


def _weight(state: Mapping[str, Array], module: str, part: str) -> Array:
    name = f"{module}.{part}"
    if name not in state:
        raise ValueError(
            f"`source` must be eccv16 of richzhang/colorization. Received: no {name!r}, but "
            f"{', '.join(list(state)[:8])}, …"
        )
    return state[name]


def _array(value: Any) -> Array:
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def _layers(model: keras.Model) -> Iterator[keras.Layer]:
    for layer in model.layers:
        yield from _layers(layer) if hasattr(layer, "layers") else (layer,)

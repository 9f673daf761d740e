"""The release of "Colorful Image Colorization" for PyTorch."""

import os

import numpy as np

from keras_dense._optional import require

# The authors' modules are sequences of (convolution, ReLU)s and a batch norm: where each is.
_CONVOLUTIONS = {f"conv{n}_{m + 1}": f"model{n}.{2 * m}" for n in range(1, 8) for m in range(3)}
for _name in ("conv1_3", "conv2_3"):
    del _CONVOLUTIONS[_name]
_CONVOLUTIONS |= {f"conv8_{m + 1}": f"model8.{2 * m}" for m in range(3)}
_NORMS = {f"conv{n}_bn": f"model{n}.{4 if n < 3 else 6}" for n in range(1, 8)}
_SCORES = "model8.6"


def load_zhang_colorization(model, source):
    """Read the authors' weights of `eccv16` into `kd.zhang_colorization`.

    The file is `colorization_release_v2-9b330a0b.pth` of github.com/richzhang/colorization, which
    their `eccv16()` downloads. Its network sees (L − 50) / 100, this one L − 50: the first kernel
    is divided by 100. Its last layer, from 313 bins to (a, b), has no weights here; it is the mean
    of the plain softmax, so `kd.heads.Colorization(temperature=1.0)` decodes as that release does.

    Args:
        model: what `kd.zhang_colorization()` gives with a single head; changed in place.
        source: the path of the `.pth` file (needs `torch`), or its dict of names and arrays.

    Returns:
        `model`.

    Raises:
        FileNotFoundError: for a path that does not exist.
        ValueError: for another network, or a file with other names or shapes.

    ```python
    head = kd.heads.Colorization(temperature=1.0)
    model = kd.zhang_colorization(heads=head)
    kd.weights.load_zhang_colorization(model, "colorization_release_v2-9b330a0b.pth")
    kd.decoded(model, head).predict(images)
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
            "`model` must be a kd.zhang_colorization with a single head. "
            f"Received: {model.name!r} with layers {', '.join(own)}"
        )
    new = {}
    for name, theirs in {**_CONVOLUTIONS, scores[0]: _SCORES}.items():
        # From (out, in, h, w) to (h, w, in, out); a transposed one goes to (h, w, out, in) as well,
        # since it comes as (in, out, h, w).
        new[name] = [_of(state, theirs, "weight").transpose(2, 3, 1, 0), _of(state, theirs, "bias")]
    new["conv1_1"][0] = new["conv1_1"][0] / 100.0
    for name, theirs in _NORMS.items():
        parts = ("weight", "bias", "running_mean", "running_var")
        new[name] = [_of(state, theirs, part) for part in parts]
    for name, values in new.items():
        have, want = ([tuple(w.shape) for w in x] for x in (values, own[name].weights))
        if have != want:
            raise ValueError(
                f"`source` has other shapes for {name}: {have}, and the model has {want}. Is it "
                "kd.zhang_colorization() with 313 bins and width=1?"
            )
    for name, values in new.items():
        own[name].set_weights(values)
    return model


def _of(state, module, part):
    name = f"{module}.{part}"
    if name not in state:
        raise ValueError(
            f"`source` has no {name!r}: it is no eccv16 of richzhang/colorization. It has: "
            f"{', '.join(list(state)[:8])}, …"
        )
    return state[name]


def _array(value):
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def _layers(model):
    for layer in model.layers:
        yield from _layers(layer) if hasattr(layer, "layers") else (layer,)

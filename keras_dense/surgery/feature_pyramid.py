"""The features of a network at each of its strides."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers, tree

from keras_dense._types import Features, Tensor
from keras_dense.surgery.effect import CONVOLUTIONS, PADDING, POOLING, window_of
from keras_dense.surgery.graph import (
    Copies,
    check_channels_last,
    functional,
    maker_of,
    values,
    walk,
)
from keras_dense.surgery.strides import Stride, stride_after, strides
from keras_dense.surgery.top import is_pooling, read_top

_LEVELS = {2**n: f"P{n}" for n in range(6)}


@dataclass(frozen=True, eq=False)
class _Map(Stride):
    """The stride of a tensor, with the tensor and the operation that computes it."""

    tensor: Tensor
    op: Any = None
    deep: bool = False  # whether there is a convolution before it


def stages(model: keras.Model, *, nested: bool = False) -> dict[str, list[_Map]]:
    """The maps through which everything later flows, by level: `{"P2": [map, …], …}`, in order.

    A map counts if every path from the image onwards leads through it: the sum at the end of a
    residual block does, maps inside a branch or a squeeze-and-excite gate do not.
    """
    calls: list = []

    def visit(node, *args, **kwargs):
        inputs = values(args, kwargs, _Map)
        stride = stride_after(node, args, kwargs).value
        op = node.operation
        deep = isinstance(op, (*CONVOLUTIONS, keras.Model)) or any(x.deep for x in inputs)
        outputs = [_Map(stride, tensor, op, deep) for tensor in node.outputs]
        calls.append((inputs, outputs))
        return outputs

    walk(model, [_Map((1, 1), x) for x in model.inputs], visit, nested=nested)

    consumers = Counter(id(x) for inputs, _ in calls for x in inputs)
    waiting: Counter = Counter()  # tensors that a later operation still needs
    found: dict[str, list[_Map]] = {name: [] for name in _LEVELS.values()}
    merged: dict[str, list[_Map]] = {name: [] for name in _LEVELS.values()}
    for inputs, outputs in calls:
        waiting.subtract(id(x) for x in inputs if id(x) in waiting)
        for x in inputs:
            if waiting[id(x)] == 0:
                del waiting[id(x)]
        first = outputs[0]
        level = _level(first)
        if level and not waiting:
            found[level].append(first)
        elif level and len(inputs) > 1 and consumers[id(first)] > 1:
            merged[level].append(first)
        waiting.update({id(x): consumers[id(x)] for x in outputs if consumers[id(x)]})
    # NASNet's cells read the two cells before them, so nothing in between is passed by all; there
    # the sums and concatenations that several operations read are the cells' outputs.
    return {name: maps or merged[name] for name, maps in found.items() if maps or merged[name]}


def _level(x):
    """The name of the level that a map belongs to; `None` if it is no feature."""
    if x.value is None or not x.deep or isinstance(x.op, (*PADDING, layers.Cropping2D)):
        return None
    return _LEVELS.get(x.value[0]) if x.value[0] == x.value[1] else None


def _is_projection(x):
    """A convolution without activation, like the one before a DenseNet's pooling."""
    return isinstance(x.op, CONVOLUTIONS) and x.op.activation is keras.activations.linear


def last_features(model: keras.Model) -> Features:
    """The last map of each level, `{"P1": tensor, …}`; a projection only without another."""
    return {
        name: ([x for x in maps if not _is_projection(x)] or maps)[-1].tensor
        for name, maps in stages(model).items()
    }


def _shrinks(op, *inputs):
    """True if a "valid" window makes the map smaller than its stride alone would."""
    if not isinstance(op, CONVOLUTIONS + POOLING) or op.padding != "valid":
        return False
    window = window_of(op)
    before = maker_of(inputs[0] if inputs else op.input)
    padded = isinstance(before, PADDING)
    return not padded and any(k > s for k, s in zip(window.kernel, window.strides, strict=True))


def has_valid_windows(model: keras.Model) -> bool:
    """True if any window of the network is neither padded nor tiles its map exactly."""
    return any(_shrinks(op) for op in model.operations)


class _Top:
    """A placeholder for the tensors of a classifier's top."""


def align(model: keras.Model, image: Tensor, *, name: str | None = None) -> keras.Model:
    """A copy of a network with every "valid" window padded, so that its maps lie on the grid.

    Stems without padding (Inception, Xception) lose rows and columns; their maps are smaller than
    the image divided by the stride, and displaced. With "same" padding the map of stride s has a
    cell for every s×s pixels. Weights are kept; away from the borders, features equal those of the
    original. A classifier's top is left out; the output is then the last map.
    """
    gates, _ = read_top(model)
    copies, maps = Copies(), [image]

    def visit(node, *args, **kwargs):
        op = node.operation
        if values(args, kwargs, _Top) or is_pooling(op) and id(op) not in gates:
            return [_Top()] * len(node.outputs)
        config = {"padding": "same"} if _shrinks(op, *args) else {}
        outputs = copies(op, *args, config=config, **kwargs)
        maps.append(outputs)
        return outputs

    outputs = walk(model, image, visit)
    if any(isinstance(x, _Top) for x in tree.flatten(outputs)):
        outputs = maps[-1]
    return keras.Model(image, outputs, name=name or model.name)


def image_of(model: keras.Model) -> Tensor:
    """The only input of a network, a batch of images.

    Raises:
        ValueError: for other inputs, or a channels_first network.
    """
    check_channels_last(model)
    inputs = functional(model).inputs
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        raise ValueError(
            "The network must take one batch of images (B, H, W, C). "
            f"Received: inputs of shape {[tuple(x.shape) for x in inputs]}"
        )
    return inputs[0]


def has_features(model: keras.Model, argument: str = "model") -> bool:
    """True if a functional model is a backbone already: its output is a dict of features.

    >>> image = keras.Input((None, None, 3))
    >>> has_features(keras.Model(image, {"P0": layers.ReLU()(image)}))
    True
    """
    return isinstance(functional(model, argument).output, dict)


def resized(
    image: Tensor,
    height: int | None = None,
    width: int | None = None,
    *,
    channels: int | None = None,
) -> Tensor:
    """An `Input` like `image` for another size, `None` for a free one."""
    shape = (height, width, channels or image.shape[-1])
    return keras.Input(shape, dtype=image.dtype, name=image.name)


def feature(features: Features, level: str, reader: str = "decoder") -> Tensor:
    """The feature of a level, or an error that lists the levels.

    >>> feature({"P5": "the map"}, "P5")
    'the map'
    """
    if level not in features:
        raise ValueError(
            f"The backbone has no feature {level} for the {reader} to read. It has: "
            f"{', '.join(features)}. Choose others with `kd.backbone(…, taps={{…}})`."
        )
    return features[level]


def named_layers(model: keras.Model, taps: Mapping[str, Any]) -> Features:
    """`taps` (level → layer name or tensor) as tensors of the model."""
    tensors = {}
    names = [layer.name for layer in model.layers]
    for level, tap in taps.items():
        if isinstance(tap, str):
            if tap not in names:
                raise ValueError(
                    f"`taps` must name layers of {model.name!r}. "
                    f"Received: {level!r}: {tap!r}. Its layers: {', '.join(names)}"
                )
            tap = model.get_layer(tap).output
        if len(tap.shape) != 4:
            raise ValueError(
                f"`taps` must name maps (B, H, W, C). Received: {level!r}: {taps[level]!r}, which "
                f"is of shape {tuple(tap.shape)}"
            )
        tensors[level] = tap
    return tensors


def feature_pyramid(
    model: keras.Model, *, taps: Mapping[str, str] | None = None, name: str | None = None
) -> keras.Model:
    """The features of any network at each of its strides.

    The graph is walked, nested models included. The feature of stride 2ⁿ is the last map through
    which everything later flows, before the stride is doubled: the last sum of a ResNet stage, the
    last ReLU before a DenseNet transition, the expansion of the first block of the next stage in an
    inverted-residual network. Windows without padding are padded, so that the map `Pn` of an H×W
    image has ceil(H / 2ⁿ) × ceil(W / 2ⁿ) cells where 32 divides H and W. The top of a classifier is
    left out. `kd.surgery.strides` returns the strides.

    Args:
        model: functional `keras.Model` or built `Sequential` of one image `(B, H, W, C)`: of
            `keras.applications`, KerasHub, KerasCV or your own. A network whose outputs are
            `{"P1": …}` already keeps them.
        taps: `{"P3": "layer name", …}`, other features than the walk would choose.
        name: str, the name of the new model; default: that of `model`.

    Returns:
        A `keras.Model` from the image, of any size, to `{"P0": …, …, "P5": …}` (levels the
        network has), with copies of the weights.

    Raises:
        TypeError: for a model whose graph cannot be read (a subclassed one).
        ValueError: for unknown layer names in `taps`, or a network without feature maps.

    >>> import keras
    >>> app = keras.applications.MobileNetV2(weights=None, input_shape=(64, 64, 3), alpha=0.35)
    >>> sorted(feature_pyramid(app).output)
    ['P1', 'P2', 'P3', 'P4', 'P5']
    """
    return pyramid_of(model, taps, name)


def _check_strides(pyramid, argument):
    """Raise a `ValueError` for features of unknown strides."""
    unknown = [name for name, stride in strides(pyramid).items() if stride is None]
    if unknown:
        op = maker_of(pyramid.output[unknown[0]])
        raise ValueError(
            f"`{argument}` must be a network of maps from the image to its features. Received: "
            f"{pyramid.name!r}, whose features {', '.join(unknown)} are put together from lists of "
            f"patches ({op.name!r}, {type(op).__name__}): their strides cannot be read off the "
            "graph, and they have the size that the network was built for. If it is a vision "
            "transformer of KerasHub, `kd.backbone` reads it; otherwise use a convolutional "
            "network."
        )


def pyramid_of(
    model: keras.Model,
    taps: Mapping[str, str] | None = None,
    name: str | None = None,
    *,
    argument: str = "model",
) -> keras.Model:
    """`feature_pyramid`, with errors that name the argument of the caller."""
    model = functional(model, argument)
    image_of(model)
    pyramid = getattr(model, "pyramid_outputs", None) or model.output
    if taps is None and isinstance(pyramid, dict) and all(k in _LEVELS.values() for k in pyramid):
        # A plain dict: Keras' tracked one is no valid output of a jitted function on JAX.
        pyramid_model = keras.Model(image_of(model), dict(pyramid), name=model.name)
        _check_strides(pyramid_model, argument)
        return align(pyramid_model, resized(image_of(model)), name=name)
    if taps is None and not stages(model, nested=True):
        raise ValueError(
            f"`{argument}` must have feature maps. Received: {model.name!r}, in which no "
            "convolution leads to a map (B, H, W, C) whose stride is a power of two; its output is "
            f"of shape {tree.map_structure(lambda x: tuple(x.shape), model.output)}. If it is a "
            "vision transformer of KerasHub, `kd.backbone` reads it; otherwise say which layers to "
            "use with `taps={'P3': 'name', …}`."
        )
    flat = align(model, resized(image_of(model)))
    features = last_features(flat) if taps is None else named_layers(flat, taps)
    return keras.Model(flat.input, features, name=name or model.name)

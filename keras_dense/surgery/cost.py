"""The cost of a network for one image: parameters, multiply-adds, memory of its maps."""

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import KerasTensor, layers, tree

from keras_dense import _check
from keras_dense.layers.head_output import HeadOutput
from keras_dense.surgery.effect import Each, Like, Resized, effect
from keras_dense.surgery.feature_pyramid import image_of
from keras_dense.surgery.graph import functional, values, walk
from keras_dense.surgery.multiply_adds import multiply_adds

# Layers that return their input in the same memory.
_HANDS_ON = (layers.Dropout, layers.Identity, layers.Reshape, HeadOutput)


@dataclass(frozen=True)
class Cost:
    """The cost of a network, or of a part of it, for one image.

    Attributes:
        parameters: int, numbers in all weights; a weight that is shared is counted once.
        multiply_adds: int, products that are added up: in convolutions of all kinds, dense layers,
            matrix products, attention, and resizing. Operations on each value alone (activations,
            batch norm, sums of maps) and pooling are not counted, as is usual.
        kinds: dict of the multiply-adds by kind: "convolution", "product" (dense layers, matrix
            products, `einsum`), "attention", "resizing".
        activations: int, bytes of the outputs of all layers, most of which training keeps.
        peak: int, bytes of those outputs that inference needs at the same time. A layer may need
            more inside: the weights of attention, the columns of a convolution.
        parts: dict of the costs of "backbone", "decoder" and "head", or "head …" for each of
            several; "network" where no backbone can be told apart.
        uncounted: names of operations whose multiply-adds are unknown: loops, and layers that
            compute with something else than `keras.ops`.

    >>> Cost(parameters=10, multiply_adds=2_000_000).multiply_adds
    2000000
    """

    parameters: int = 0
    multiply_adds: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    activations: int = 0
    peak: int = 0
    parts: dict[str, "Cost"] = field(default_factory=dict)
    uncounted: tuple[str, ...] = ()


def cost(model: keras.Model, size: tuple[int, int] | None = None) -> Cost:
    """Parameters, multiply-adds and memory of a network for one image.

    The graph is walked with the shapes that its maps have for an image of that size; layers made of
    others are looked into. Nothing is computed.

    Args:
        model: functional `keras.Model` of one image `(B, H, W, C)`, nested models included.
        size: `(height, width)` of the image; default: the one that the model takes.

    Returns:
        A `Cost`, with the costs of the parts of the network. A part "head" begins with the layers
        whose outputs have the channels of the prediction: a classifier's 1×1 convolution, and the
        upsampling after it. What comes before the backbone belongs to it.

    Raises:
        TypeError: for a model whose graph cannot be read.
        ValueError: for a size that the model does not take, or none for a model that takes any.

    Example:

    >>> image = keras.Input((None, None, 3))
    >>> x = layers.Conv2D(8, 3, strides=2, padding="same")(image)
    >>> found = cost(keras.Model(image, x), (64, 96))
    >>> found.parameters, found.multiply_adds == 32 * 48 * 8 * 27, found.activations
    (224, True, 49152)
    """
    model = functional(model)
    height, width = _size_for(model, size)
    image = KerasTensor((1, height, width, image_of(model).shape[-1]), image_of(model).dtype)
    walker = _Walker(image)
    outputs = walker.walk(model, image)
    walker.split(model, outputs)
    return walker.total(outputs)


def _size_for(model, size):
    own = tuple(image_of(model).shape[1:3])
    if size is None:
        if None in own:
            raise ValueError(
                f"`size` must be (height, width) for a model that takes {own} (None: any). "
                "Received: size=None"
            )
        return own
    found = _check.integers(size, "size", low=1, length=2)
    if any(m not in (None, n) for m, n in zip(own, found, strict=True)):
        raise ValueError(
            f"`size` must be what the model takes, {own} (None: any). Received: size={found}"
        )
    return found


@dataclass(eq=False)
class _Call:
    """One call of an operation."""

    op: Any
    inputs: list
    outputs: list
    kinds: Counter
    part: str = "network"


class _Walker:
    """The walk over a network that notes its calls, in order."""

    def __init__(self, image):
        self.calls: list[_Call] = []
        self.uncounted: list[str] = []
        self.maker: dict[int, _Call] = {}
        self.same: dict[int, int] = {}  # outputs that are an input handed on
        self.image = image

    def place(self, x):
        """The number of the memory that holds a tensor."""
        return self.same.get(id(x), id(x))

    def walk(self, model, image, part="network"):
        def visit(node, *args, **kwargs):
            op = node.operation
            if isinstance(op, keras.Model):
                inputs = args[0] if args else kwargs["inputs"]
                if not _is_backbone(op):
                    return self.walk(op, inputs, part)
                for call in self.calls:
                    call.part = "backbone"
                return self.walk(op, inputs, "backbone")
            unknown: list[str] = []
            outputs, kinds = multiply_adds(op, args, kwargs, unknown)
            flat = tree.flatten(outputs)
            known = effect(node)
            if not isinstance(known, Each) and not isinstance(op, layers.Normalization):
                self.uncounted += unknown
            if isinstance(known, (Resized, Like)):
                kinds = Counter({"resizing": sum(kinds.values())})
            call = _Call(op, values(args, kwargs, KerasTensor), flat, kinds, part)
            self.calls.append(call)
            for x in flat:
                self.maker[id(x)] = call
                if isinstance(op, _HANDS_ON):
                    self.same[id(x)] = self.place(call.inputs[0])
            return outputs

        return walk(model, image, visit, nested=False)

    def split(self, model, outputs):
        """Tell decoder and heads from the rest."""
        named = outputs if isinstance(outputs, dict) else {"": outputs}
        separate = any(call.part == "backbone" for call in self.calls)
        if separate:
            for call in self.calls:
                call.part = "decoder" if call.part == "network" else call.part
        elif not any(isinstance(call.op, HeadOutput) for call in self.calls):
            return
        for key, output in named.items():
            for y in tree.flatten(output):
                self._mark(y, f"head {key}".strip() if len(named) > 1 else "head")

    def _mark(self, output, part):
        """Give a name to the calls that lead to an output in maps of its channels."""
        waiting, seen = [output], set()
        while waiting:
            call = self.maker.get(id(waiting.pop()))
            if call is None or id(call) in seen or call.part == "backbone":
                continue
            seen.add(id(call))
            call.part = part
            waiting += [x for x in call.inputs if x.shape[-1] == output.shape[-1]]

    def total(self, outputs) -> Cost:
        parts, counted = {}, set[int]()
        for part in dict.fromkeys(call.part for call in self.calls):
            own = [call for call in self.calls if call.part == part]
            parts[part] = _summed(own, counted)
        whole = _summed(self.calls, set())
        return Cost(
            whole.parameters,
            whole.multiply_adds,
            whole.kinds,
            whole.activations,
            self.peak(outputs),
            parts,
            tuple(dict.fromkeys(self.uncounted)),
        )

    def peak(self, outputs):
        """Bytes that are needed at the same time, if every map is freed after its last use."""
        last = {self.place(x): n for n, call in enumerate(self.calls) for x in call.inputs}
        last |= {self.place(x): len(self.calls) for x in tree.flatten(outputs)}
        alive = {id(self.image): _bytes(self.image)}
        most = sum(alive.values())
        for n, call in enumerate(self.calls):
            alive |= {id(x): _bytes(x) for x in _new(call)}
            most = max(most, sum(alive.values()))
            alive = {key: size for key, size in alive.items() if last.get(key, -1) > n}
        return most


def _summed(calls, counted):
    """The cost of some calls; adds to `counted` the weights that are part of it."""
    parameters = 0
    for call in calls:
        for weight in getattr(call.op, "weights", ()):
            parameters += 0 if id(weight) in counted else math.prod(weight.shape)
            counted.add(id(weight))
    kinds = {k: n for k, n in sum((call.kinds for call in calls), Counter()).items() if n}
    memory = sum(_bytes(x) for call in calls for x in _new(call))
    return Cost(parameters, sum(kinds.values()), kinds, memory)


def _new(call):
    """Outputs of a call that are no input handed on."""
    return [] if isinstance(call.op, _HANDS_ON) else call.outputs


def _bytes(x):
    kind = keras.backend.standardize_dtype(x.dtype)
    bits = 8 if kind == "bool" else int(re.findall(r"\d+", kind)[0])
    return math.prod(x.shape) * bits // 8


def _is_backbone(model):
    return isinstance(model.output, dict) and any(re.fullmatch(r"P\d", k) for k in model.output)

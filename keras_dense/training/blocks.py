"""Learning rates that decay from the last block of a transformer to the first."""

import re

import keras

from keras_dense import _check
from keras_dense.layers.hub_block import HubBlock
from keras_dense.surgery.graph import functional, has_graph, values, walk
from keras_dense.training.batch_norm import sublayers


def block_decay(model: keras.Model, decay: float = 0.75) -> dict[str, float]:
    """Multipliers of the learning rate that decay from the last transformer block to the first.

    Fine-tuning changes the last blocks of a pretrained transformer most. Of L blocks the i-th
    learns at `decay ** (L + 1 - i)` times the rate, layers before the first at `decay ** (L + 1)`,
    and everything behind the last one (normalization, decoder, heads) at the full rate. A layer
    between two blocks learns as the later one. The result is meant for `kd.training.layerwise`:

    ```python
    multipliers = kd.training.block_decay(model, 0.75)
    optimizer = keras.optimizers.AdamW(1e-4, weight_decay=0.05)
    model.compile(kd.training.layerwise(model, optimizer, multipliers), ...)
    ```

    Args:
        model: a Keras model with a vision transformer in it, from `kd.backbone`.
        decay: float in (0, 1], 0.65 to 0.9 in publications: the larger the network, the larger.

    Returns:
        A dict from names of layers to factors.

    Raises:
        ValueError: if the model has no transformer blocks, or for a decay out of range.

    Reference: Bao et al., "BEiT", ICLR 2022, appendix H; Clark et al., "ELECTRA", ICLR 2020.

    Example:

    >>> import keras_dense as kd
    >>> import keras_hub
    >>> vit = keras_hub.models.ViTBackbone((32, 32, 3), 16, 2, 1, 8, 8)
    >>> block_decay(kd.backbone(vit), 0.5)
    {'tokens': 0.125, 'block_1': 0.25, 'block_2': 0.5}
    """
    decay = _check.number(decay, "decay", above=0, high=1)
    numbers = numbered(model)
    if not numbers:
        raise ValueError(
            "`model` must have transformer blocks, as `kd.backbone` makes them. "
            f"Received: {model.name!r} without"
        )
    return {name: decay ** (total + 1 - number) for name, (number, total) in numbers.items()}


def numbered(model: keras.Model) -> dict[str, tuple[int, int]]:
    """Number of the block, and of all blocks, for each layer in or before a transformer block.

    Layers before the first block have the number 0. A block is one layer of KerasHub, or layers
    with a common beginning of their names ("stage1_block2_norm1", "stage1_block2_attention", …).

    >>> numbered(keras.Sequential([keras.Input((2,)), keras.layers.ReLU()]))
    {}
    """
    found: dict = {}
    for path, part in {**sublayers(model), "": model}.items():
        # The model around a backbone has none of its own.
        numbers = {} if found and not path else _numbered_here(part) if has_graph(part) else {}
        total = max(numbers.values(), default=0)
        prefix = f"{path}/" if path else ""
        found |= {f"{prefix}{name}": (number, total) for name, number in numbers.items()}
    return found


_BLOCK = re.compile(r"(.*?block_?\d+)(_.*)?")


def _block_of(layer):
    match = _BLOCK.fullmatch(layer.name)
    return match[1] if match else None


def _attends(layer):
    return isinstance(layer, HubBlock) or "Attention" in type(layer).__name__


class _Passed:
    """The layers since the last block that lead to a tensor, and the number of that block."""

    def __init__(self, layers: dict[str, int], block: int) -> None:
        self.layers, self.block = layers, block


def _numbered_here(model):
    kinds = {_block_of(layer) for layer in functional(model).layers if _attends(layer)} - {None}
    order: dict[str, int] = {}
    leading: dict[str, int] = {}

    def visit(node, *args, **kwargs):
        op, inputs = node.operation, values(args, kwargs, _Passed)
        block = max((x.block for x in inputs), default=0)
        layers = {name: number for x in inputs for name, number in x.layers.items()}
        if _block_of(op) in kinds:
            block = order.setdefault(_block_of(op), len(order) + 1)
            for name, number in {**layers, op.name: block}.items():
                leading.setdefault(name, number)
            layers = {}
        elif isinstance(op, keras.layers.Layer) and op.weights:
            layers[op.name] = block + 1 if block else 0
        return [_Passed(layers, block)] * len(node.outputs)

    if kinds:
        walk(model, [_Passed({}, 0) for _ in model.inputs], visit, nested=False)
    return leading

"""Learning rates that decay from the last block of a transformer to the first."""

import keras

from keras_dense import _check
from keras_dense.layers.hub_block import HubBlock
from keras_dense.surgery.graph import has_graph, values, walk
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
        model: a Keras model with a transformer of KerasHub in it, from `kd.backbone`.
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
            "`model` must have transformer blocks of KerasHub, as `kd.backbone` makes them. "
            f"Received: {model.name!r} without"
        )
    return {name: decay ** (total + 1 - number) for name, (number, total) in numbers.items()}


def numbered(model: keras.Model) -> dict[str, tuple[int, int]]:
    """Number of the block, and of all blocks, for each layer that leads to a block.

    Layers before the first block have the number 0.

    >>> numbered(keras.Sequential([keras.Input((2,)), keras.layers.ReLU()]))
    {}
    """
    found: dict = {}
    for path, part in {"": model, **sublayers(model)}.items():
        if has_graph(part) and any(isinstance(layer, HubBlock) for layer in part.layers):
            prefix = f"{path}/" if path else ""
            numbers = _numbered_here(part)
            total = max(numbers.values())
            found |= {f"{prefix}{name}": (number, total) for name, number in numbers.items()}
    return found


class _Passed:
    """The layers that lead to a tensor, with the number of blocks before each."""

    def __init__(self, layers: dict[str, int], blocks: int) -> None:
        self.layers, self.blocks = layers, blocks


def _numbered_here(model):
    trunk: dict[str, int] = {}

    def visit(node, *args, **kwargs):
        op, inputs = node.operation, values(args, kwargs, _Passed)
        blocks = max((x.blocks for x in inputs), default=0)
        layers: dict[str, int] = {}
        for x in inputs:
            layers |= x.layers
        if isinstance(op, HubBlock):
            blocks += 1
            layers[op.name] = blocks
            for name, before in layers.items():
                trunk.setdefault(name, before)
        elif isinstance(op, keras.layers.Layer) and op.weights:
            layers.setdefault(op.name, blocks + 1 if blocks else 0)
        return [_Passed(layers, blocks)] * len(node.outputs)

    walk(model, [_Passed({}, 0) for _ in model.inputs], visit, nested=False)
    return trunk

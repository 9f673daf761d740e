"""Plain vision transformers as backbones: tokens of all blocks as maps, at any stride."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from keras_dense import _check
from keras_dense._types import Tensor
from keras_dense.backbones.application import standardized
from keras_dense.layers.hub_block import HubBlock
from keras_dense.layers.tokens import PatchTokens, TokenMap

_LEVEL = re.compile(r"P([0-5])")


@dataclass(frozen=True)
class Plain:
    """The parts of a plain vision transformer.

    Attributes:
        tokens: the built layer from the image to tokens.
        blocks: functions from tokens and the image to tokens, one for each transformer block.
        before: layers between the image and `tokens`.
        after: layers between `tokens` and the first block.
        norm: the last normalization, applied to every tap; `None`: taps are not normalized.
    """

    tokens: PatchTokens
    blocks: Sequence[Callable[[Tensor, Tensor], Tensor]]
    before: Sequence[keras.layers.Layer] = field(default=())
    after: Sequence[keras.layers.Layer] = field(default=())
    norm: keras.layers.Layer | None = None


def assembled(plain: Plain, *, taps: Any, preprocessing: Any, name: str) -> keras.Model:
    """The backbone of a plain vision transformer, see `kd.backbone`."""
    taps = checked_taps(taps, len(plain.blocks))
    channels = plain.tokens.kernel.shape[2]
    image = keras.Input((None, None, channels), name="image")
    x = image if preprocessing is None else standardized(image, preprocessing)
    for layer in (*plain.before, plain.tokens, *plain.after):
        x = layer(x)
    depths = []
    # Blocks behind the last tap are left out: nothing would train or read them.
    for block in plain.blocks[: max(taps.values())]:
        x = block(x, image)
        depths.append(x)
    normalized: dict[int, Tensor] = {}
    features = {}
    for tap, depth in taps.items():
        if depth not in normalized:
            x = depths[depth - 1]
            normalized[depth] = x if plain.norm is None else plain.norm(x)
        level = _LEVEL.fullmatch(tap)
        stride = 2 ** int(level[1]) if level else None
        to_map = TokenMap(
            plain.tokens.patch,
            prefix=plain.tokens.prefix,
            stride=stride,
            dtype=plain.tokens.dtype_policy,
            name=f"{tap.lower()}_map",
        )
        features[tap] = to_map(normalized[depth], image)
    return keras.Model(image, features, name=name)


def checked_taps(taps: Mapping[str, int] | None, depth: int) -> dict[str, int]:
    """Number of the block, from 1, for each feature.

    >>> checked_taps(None, 12)
    {'P2': 3, 'P3': 6, 'P4': 9, 'P5': 12}
    """
    if taps is None:
        return {f"P{n}": -(-depth * (n - 1) // 4) for n in range(2, 6)}
    wanted = (
        "a dict from names of features to numbers of transformer blocks, from 1 to the depth of "
        f"the network, {depth}"
    )
    if not isinstance(taps, Mapping) or not taps:
        raise _check.fail("taps", wanted, taps)
    for tap, block in taps.items():
        if not isinstance(tap, str) or not _check.is_integer(block) or not 1 <= block <= depth:
            raise _check.fail("taps", wanted, taps)
    return {tap: int(block) for tap, block in taps.items()}


def array(weight: Any) -> np.ndarray:
    """A weight as an array.

    >>> array(keras.Variable([1.0]))
    array([1.], dtype=float32)
    """
    return keras.ops.convert_to_numpy(keras.ops.cast(weight, "float32"))


def tokens_of(
    embedding: keras.layers.Layer,
    convolution: keras.layers.Conv2D,
    *,
    positions: np.ndarray | None = None,
    grid: tuple[int, int] | None = None,
    prefix: Sequence[np.ndarray] = (),
    antialias: bool = False,
) -> PatchTokens:
    """The tokens of an embedding of KerasHub, with its weights, for any size.

    Args:
        embedding: the layer of KerasHub, for its dtype policy and whether it is trained.
        convolution: the projection of its patches.
        positions: `(k + rows columns, D)` or `(rows columns, D)`, where the k tokens in front have
            positions, too.
        grid: rows and columns.
        prefix: the k tokens in front that have positions, then those that have none: `(1, D)` each.
        antialias: see `PatchTokens`.
    """
    kernel = array(convolution.kernel)
    front = [np.reshape(token, (-1, kernel.shape[-1])) for token in prefix]
    front = np.concatenate(front) if front else np.zeros((0, kernel.shape[-1]), "float32")
    layer = PatchTokens(
        kernel.shape[-1],
        kernel.shape[:2],
        grid=grid,
        prefix=len(front),
        use_bias=convolution.use_bias,
        antialias=antialias,
        dtype=embedding.dtype_policy,
        name="tokens",
    )
    layer.build((None, None, None, kernel.shape[2]))
    weights = [kernel, *([array(convolution.bias)] if convolution.use_bias else [])]
    if grid and positions is not None:
        own = len(positions) - grid[0] * grid[1]
        front[:own] += positions[:own]
        weights.append(positions[own:].reshape(*grid, -1))
    if len(front):
        weights.append(front)
    layer.set_weights(weights)
    layer.trainable = embedding.trainable
    return layer


def block_of(layer: keras.layers.Layer, number: int, width: int) -> Callable:
    """A copy of a transformer block, as a function of tokens and the image."""
    block = HubBlock.of(layer, (None, None, width), name=f"block_{number}")
    return lambda x, image: block(x)


def copied(layer: keras.layers.Layer, width: int, name: str) -> keras.layers.Layer:
    """A copy of a layer of Keras itself, for tokens of a width, with its weights."""
    copy = type(layer).from_config({**layer.get_config(), "name": name})
    copy.build((None, None, width))
    copy.set_weights(layer.get_weights())
    return copy


def dropout_of(layer: keras.layers.Dropout) -> list[keras.layers.Layer]:
    """A dropout behind the tokens, where there is one."""
    if not layer.rate:
        return []
    return [keras.layers.Dropout(layer.rate, dtype=layer.dtype_policy, name="dropout")]

"""Decoders that mirror their encoder pooling by pooling, as in SegNet and DeconvNet."""

from collections.abc import Mapping, Sequence

import keras
from keras import layers

from keras_dense import _check
from keras_dense._types import Config, Features, PathLike, Shape, Tensor
from keras_dense.layers import MaxPoolWithArgmax2D, MaxUnpool2D
from keras_dense.models.build import make_backbone, windowed_convolutions
from keras_dense.models.grid import current, only
from keras_dense.surgery import insert_batch_norm, pool_with_indices

# The grids of networks that unpool, and why.
GRIDS = ("multiple", "image")
REASON = "unpooling puts values back to where pooling found them, so no corners can be aligned."


def backbone_with_indices(
    backbone: str | keras.Model, weights: PathLike | None, input_shape: Shape
) -> keras.Model:
    """A backbone with batch norms and `{"P0": …, "I1": …, …}`, from the arguments of a builder."""
    backbone = make_backbone(backbone, weights, input_shape)
    if any(name.startswith("I") for name in backbone.output):
        return backbone
    return pool_with_indices(insert_batch_norm(backbone))


def pooling_indices(features: Features, reader: str = "decoder") -> list[Tensor]:
    """The indices of the encoder's poolings, finest first.

    Raises:
        ValueError: if the indices of a pooling are missing.

    >>> pooling_indices({"P0": "map", "P1": "half of it", "I1": "indices"})
    ['indices']
    """
    coarsest = max((int(name[1:]) for name in features if name.startswith("P")), default=0)
    levels = range(1, coarsest + 1)
    missing = [n for n in levels if f"I{n}" not in features]
    if missing or not levels:
        n = missing[-1] if missing else 1
        raise ValueError(
            f"The backbone has no feature I{n} for the {reader} to read, the indices of a max "
            f"pooling from stride {2 ** (n - 1)} to {2**n}. It has: {', '.join(features)}. Take a "
            "VGG, or another network that halves its maps by max pooling alone, and add "
            "the indices with `kd.surgery.pool_with_indices`."
        )
    return [features[f"I{n}"] for n in levels]


def mirror_arguments(
    backbone: keras.Model, reader: str = "decoder"
) -> tuple[tuple[int, ...], dict[str, Config]]:
    """Arguments of a decoder that mirrors a backbone: convolutions at each level, and poolings.

    >>> image = keras.Input((None, None, 3))
    >>> x = layers.Conv2D(4, 3, padding="same")(layers.Conv2D(4, 3, padding="same")(image))
    >>> backbone = pool_with_indices(keras.Model(image, layers.MaxPooling2D()(x)))
    >>> depths, pools = mirror_arguments(backbone)
    >>> depths, pools["I1"]
    ((2,), {'pool_size': (2, 2), 'strides': (2, 2), 'padding': 'valid'})
    """
    levels = len(pooling_indices(backbone.output, reader))
    depths = tuple(max(1, len(windowed_convolutions(backbone, 2**n))) for n in range(levels))
    made = {name: tensor._keras_history.operation for name, tensor in backbone.output.items()}
    pools = {
        name: {key: getattr(op, key) for key in ("pool_size", "strides", "padding")}
        for name, op in made.items()
        if isinstance(op, MaxPoolWithArgmax2D)
    }
    return depths, pools


def conv_bn(
    x: Tensor,
    filters: int,
    size: int,
    name: str,
    *,
    padding: str = "same",
    relu: bool = True,
    transposed: bool = False,
) -> Tensor:
    """Convolution with bias, batch norm and, if wanted, ReLU."""
    kind = layers.Conv2DTranspose if transposed else layers.Conv2D
    settings = {"kernel_initializer": "he_normal", "data_format": "channels_last"}
    x = kind(filters, size, padding=padding, name=name, **settings)(x)
    x = layers.BatchNormalization(epsilon=1e-5, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x


def unpool(x: Tensor, features: Features, level: int, pools: Mapping[str, Config] | None) -> Tensor:
    """Unpool a map to the grid of the next finer level, by the indices of its level."""
    indices, like = features[f"I{level}"], features.get(f"P{level - 1}")
    only(GRIDS, REASON)
    canvas = current()
    if like is None and canvas is not None and not canvas.grid.divides:
        if level > 1:
            raise ValueError(
                f"The backbone has no feature P{level - 1}, whose size unpooling needs on a grid "
                f"other than 'multiple'. It has: {', '.join(features)}"
            )
        like = canvas.seen
    if x.shape[-1] != indices.shape[-1]:
        x = conv_bn(x, indices.shape[-1], 1, f"unpool{level}_project")
    settings = {"data_format": "channels_last", **(pools or {}).get(f"I{level}", {})}
    layer = MaxUnpool2D(name=f"unpool{level}", **settings)
    return layer(x, indices) if like is None else layer(x, indices, like)


def mirror(
    x: Tensor,
    features: Features,
    depths: Sequence[int],
    pools: Mapping[str, Config] | None,
    *,
    leave_last: bool = False,
    transposed: bool = False,
    reader: str = "decoder",
) -> Tensor:
    """Mirror the encoder: unpool at each level, then convolve as often as it does.

    Convolutions are 3×3. The last one of a level has the channels of the next finer level. With
    `leave_last`, the very last convolution is left to the heads.
    """
    indices, depths = pooling_indices(features, reader), _check.integers(depths, "depths")
    if len(depths) != len(indices):
        raise ValueError(
            f"`depths` must have one number for each of the {len(indices)} poolings of the "
            f"backbone, finest first. Received: depths={depths}"
        )
    widths = [x.shape[-1] for x in indices]
    for level in range(len(widths), 0, -1):
        x = unpool(x, features, level, pools)
        wide = [widths[level - 1]] * depths[level - 1]
        wide[-1] = widths[max(level - 2, 0)]
        if leave_last and level == 1:
            wide.pop()
        for n, width in enumerate(wide, 1):
            x = conv_bn(x, width, 3, f"up{level}_conv{n}", transposed=transposed)
    return x

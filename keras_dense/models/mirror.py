"""What SegNet and DeconvNet share: a way up that mirrors the way down, pooling by pooling."""

from keras import layers

from keras_dense import _check
from keras_dense.layers import MaxPoolWithArgmax2D, MaxUnpool2D
from keras_dense.models.parts import backbone_of, windows_of_stage
from keras_dense.surgery import insert_batch_norm, pool_with_indices


def backbone_with_indices(backbone, weights, input_shape):
    """A backbone with batch norms and `{"P0": …, "I1": …, …}`, from what builders take."""
    backbone = backbone_of(backbone, weights, input_shape)
    if any(name.startswith("I") for name in backbone.output):
        return backbone
    return pool_with_indices(insert_batch_norm(backbone))


def way_down(features, reader="decoder"):
    """The indices of the poolings on the way down, finest first, or an error that says what lacks.

    >>> way_down({"P0": "map", "P1": "half of it", "I1": "indices"})
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
            "VGG, or another network that halves its maps by max pooling alone, whose indices "
            "`kd.surgery.pool_with_indices` hands out."
        )
    return [features[f"I{n}"] for n in levels]


def mirror_of(backbone, reader="decoder"):
    """Arguments of a decoder that mirrors a backbone: how often it convolves, and how it pools.

    >>> import keras
    >>> image = keras.Input((None, None, 3))
    >>> x = layers.Conv2D(4, 3, padding="same")(layers.Conv2D(4, 3, padding="same")(image))
    >>> depths, pools = mirror_of(pool_with_indices(keras.Model(image, layers.MaxPooling2D()(x))))
    >>> depths, pools["I1"]
    ((2,), {'pool_size': (2, 2), 'strides': (2, 2), 'padding': 'valid'})
    """
    levels = len(way_down(backbone.output, reader))
    depths = tuple(max(1, len(windows_of_stage(backbone, 2**n))) for n in range(levels))
    made = {name: tensor._keras_history.operation for name, tensor in backbone.output.items()}
    pools = {
        name: {key: getattr(op, key) for key in ("pool_size", "strides", "padding")}
        for name, op in made.items()
        if isinstance(op, MaxPoolWithArgmax2D)
    }
    return depths, pools


def conv_bn(x, filters, size, name, *, padding="same", relu=True, transposed=False):
    """Convolution with bias, batch norm, and ReLU where it is wanted."""
    kind = layers.Conv2DTranspose if transposed else layers.Conv2D
    settings = {"kernel_initializer": "he_normal", "data_format": "channels_last"}
    x = kind(filters, size, padding=padding, name=name, **settings)(x)
    x = layers.BatchNormalization(epsilon=1e-5, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x


def unpooled(x, features, level, pools):
    """The map brought to the grid of the next finer level by the indices of the level."""
    indices, like = features[f"I{level}"], features.get(f"P{level - 1}")
    if x.shape[-1] != indices.shape[-1]:
        x = conv_bn(x, indices.shape[-1], 1, f"unpool{level}_project")
    settings = {"data_format": "channels_last", **(pools or {}).get(f"I{level}", {})}
    unpool = MaxUnpool2D(name=f"unpool{level}", **settings)
    return unpool(x, indices) if like is None else unpool(x, indices, like)


def mirrored(x, features, depths, pools, *, leave_last=False, transposed=False, reader="decoder"):
    """The way up: at each level unpooled, then as many 3×3 convolutions as on the way down.

    The last of them has the channels of the next finer level. With `leave_last` the very last one
    of all is left to the heads.
    """
    indices, depths = way_down(features, reader), _check.integers(depths, "depths")
    if len(depths) != len(indices):
        raise ValueError(
            f"`depths` must have a number for each of the {len(indices)} poolings of the backbone, "
            f"finest first. Received: depths={depths}"
        )
    widths = [x.shape[-1] for x in indices]
    for level in range(len(widths), 0, -1):
        x = unpooled(x, features, level, pools)
        wide = [widths[level - 1]] * depths[level - 1]
        wide[-1] = widths[max(level - 2, 0)]
        if leave_last and level == 1:
            wide.pop()
        for n, width in enumerate(wide, 1):
            x = conv_bn(x, width, 3, f"up{level}_conv{n}", transposed=transposed)
    return x

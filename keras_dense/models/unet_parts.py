"""What U-Net and its relatives share: pairs of convolutions, gates, the levels on the way up."""

import math

import keras
from keras import layers

from keras_dense import _check
from keras_dense.layers import BilinearUpsampling
from keras_dense.surgery.graph import source_of
from keras_dense.surgery.strides import pair, strides


def double_conv(x, filters, name, *, padding="same", batch_norm=False):
    """Two 3×3 convolutions, each with a ReLU, and between them batch norm where it is wanted."""
    for n in (1, 2):
        x = layers.Conv2D(
            filters,
            3,
            padding=padding,
            use_bias=not batch_norm,
            kernel_initializer="he_normal",
            name=f"{name}_conv{n}",
            data_format="channels_last",
        )(x)
        if batch_norm:
            x = layers.BatchNormalization(epsilon=1e-5, name=f"{name}_bn{n}")(x)
        x = layers.ReLU(name=f"{name}_relu{n}")(x)
    return x


def attention_gate(skip, gate, factor, filters, name):
    """The skip times a map from 0 to 1 that says where the coarser map wants to look.

    α = σ(ψ ReLU(W_x skip + W_g gate)), computed on the grid of the coarser map and upsampled.

    Args:
        skip: the feature `(B, f H, f W, C)`.
        gate: the coarser map `(B, H, W, D)`.
        factor: pair of ints between their grids.
        filters: channels in between.
        name: what the layers' names begin with.

    Reference: Oktay et al., "Attention U-Net", MIDL 2018, equations 1 and 2.
    """
    x = layers.Conv2D(
        filters,
        factor,
        strides=factor,
        use_bias=False,
        name=f"{name}_skip",
        data_format="channels_last",
    )(skip)
    x = layers.Add(name=f"{name}_add")(
        [x, layers.Conv2D(filters, 1, name=f"{name}_gate", data_format="channels_last")(gate)]
    )
    x = layers.ReLU(name=f"{name}_relu")(x)
    x = layers.Conv2D(
        1, 1, activation="sigmoid", name=f"{name}_alpha", data_format="channels_last"
    )(x)
    if factor != (1, 1):
        x = BilinearUpsampling(factor, data_format="channels_last", name=f"{name}_upsample")(x)
    return layers.Multiply(name=f"{name}_multiply")([skip, x])


def climb(features, filters, letter="P"):
    """The coarsest feature, and what there is on the way from it to the image.

    Args:
        features: `{"P1": …, …}`.
        filters: widths of the finer levels, coarsest first; `None`: 16 at the image, twice as many
            at each coarser level.
        letter: what the names of the features begin with.

    Returns:
        `(feature, steps)`: for each finer level a step `(n, filters, factor, skip)`; `skip` is
        `None` where the backbone has no feature of that level.

    Raises:
        ValueError: if there is no feature, or if there are more widths than levels.
    """
    found = {int(k[1:]): x for k, x in features.items() if k[:1] == letter and k[1:].isdigit()}
    if not found or max(found) == 0:
        raise ValueError(
            f"U-Net needs features {letter}0, {letter}1, … of which the last is coarser than the "
            f"image. Received: {', '.join(features)}"
        )
    deepest = max(found)
    if filters is None:
        filters = tuple(16 * 2**n for n in range(deepest))[::-1]
    if len(filters) > deepest:
        raise ValueError(
            f"`filters` has {len(filters)} widths, but there are only {deepest} levels finer than "
            f"{letter}{deepest}. Received: filters={filters}"
        )
    image = source_of(found[deepest])
    stride = {n: pair(s) for n, s in strides(keras.Model(image, found)).items()}
    steps, here = [], stride[deepest]
    for n, width in zip(range(deepest - 1, -1, -1), filters, strict=False):
        finer = stride.get(n, tuple(min(s, 2**n) for s in here))
        factor = tuple(math.floor(a / b) for a, b in zip(here, finer, strict=True))
        steps.append((n, width, factor, found.get(n)))
        here = finer
    return found[deepest], steps


def check_filters(filters):
    """Widths of a decoder as a tuple, or `None`."""
    return None if filters is None else _check.integers(filters, "filters")

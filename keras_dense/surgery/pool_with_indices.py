"""Max poolings that return the positions of their maxima."""

import keras
from keras import layers

from keras_dense.layers import MaxPoolWithArgmax2D
from keras_dense.surgery.feature_pyramid import feature_pyramid, has_features
from keras_dense.surgery.graph import check_channels_last, functional, rebuild
from keras_dense.surgery.strides import pair, strides


def pool_with_indices(model: keras.Model, *, name: str | None = None) -> keras.Model:
    """A backbone that returns the indices of its max poolings beside its features.

    Every max pooling of stride 2 becomes a `MaxPoolWithArgmax2D`; the features stay the same. The
    indices of the pooling from stride 2ⁿ⁻¹ to 2ⁿ are called "In": they lie on the grid of "Pn". Of
    several poolings at one stride (parallel branches) the last counts.

    Args:
        model: a backbone of `kd.backbone`, or any functional `keras.Model`, which becomes one.
        name: str, the name of the new model; default: that of `model`.

    Returns:
        A `keras.Model` from the image to `{"P0": …, "P1": …, …, "I1": …, …}`, with copies of the
        weights. There is no "In" where the network halves its map by other means.

    Raises:
        TypeError: for a model whose graph cannot be read.
        ValueError: for a network without feature maps.

    >>> image = keras.Input((None, None, 3))
    >>> x = layers.MaxPooling2D()(layers.Conv2D(4, 3, padding="same")(image))
    >>> x = layers.Conv2D(8, 3, strides=2, padding="same")(x)
    >>> backbone = pool_with_indices(keras.Model(image, x))
    >>> sorted(backbone.output), backbone.output["I1"].dtype
    (['I1', 'P0', 'P1', 'P2'], 'int32')
    """
    model = functional(model)
    check_channels_last(model)
    if not has_features(model):
        model = feature_pyramid(model)
    found = []

    def rewrite(node, copies, *args, **kwargs):
        op = node.operation
        if not isinstance(op, layers.MaxPooling2D) or pair(op.strides) != (2, 2):
            return None
        values, indices = copies(op, *args, kind=MaxPoolWithArgmax2D, **kwargs)
        found.append(indices)
        return values

    new = rebuild(model, rewrite, name=name)
    (image,) = new.inputs
    places = strides(keras.Model(image, found)) if found else []
    indices = {f"I{stride.bit_length() - 1}": x for stride, x in zip(places, found, strict=True)}
    return keras.Model(image, {**new.output, **indices}, name=new.name)

"""One head or a dict of heads: the structure of heads is the structure of the output."""

import keras

from keras_dense.heads.auxiliary import Auxiliary
from keras_dense.heads.head import decode
from keras_dense.heads.segmentation import Segmentation
from keras_dense.surgery.graph import functional


def as_heads(heads=None, num_classes=None):
    """`heads`, or a segmentation into `num_classes`.

    Raises:
        ValueError: if both are given, or `heads` is an empty dict, or all of them are auxiliary.
        TypeError: if `heads` is neither a head nor a dict of heads.

    >>> as_heads(num_classes=11).channels
    11
    """
    if heads is None:
        return Segmentation(21 if num_classes is None else num_classes)
    if num_classes is not None:
        raise ValueError(
            "Give either `num_classes` or `heads`: num_classes=n is short for "
            f"heads=kd.heads.Segmentation(n). Received: num_classes={num_classes}, heads={heads}"
        )
    parts = heads.values() if isinstance(heads, dict) else [heads]
    if not parts:
        raise ValueError("`heads` must hold at least one head. Received: an empty dict")
    for head in parts:
        if not all(hasattr(head, name) for name in ("channels", "loss", "finish", "decode")):
            raise TypeError(
                "`heads` must be a head such as kd.heads.Segmentation(21), or a dict of heads. "
                f"Received: {head!r}"
            )
    if all(isinstance(head, Auxiliary) for head in parts):
        raise ValueError(
            "`heads` must hold a head besides the auxiliary ones, which only help training: see "
            "kd.heads.with_auxiliary."
        )
    return heads


def map_heads(function, heads, *structures):
    """`function(key, head, …)` for every head, in the structure of `heads`; the key of a single
    head is `None`.

    >>> heads = {"objects": Segmentation(11), "edges": Segmentation(1)}
    >>> map_heads(lambda key, head: head.channels, heads)
    {'objects': 11, 'edges': 1}
    """
    if not isinstance(heads, dict):
        return function(None, heads, *structures)
    return {key: function(key, head, *(s[key] for s in structures)) for key, head in heads.items()}


def objectives(heads):
    """What `model.compile` takes for these heads: `loss`, `loss_weights`, `metrics`.

    Args:
        heads: a head, or a dict of heads.

    Returns:
        A dict to be unpacked: `model.compile("adam", **kd.objectives(heads))`.

    >>> sorted(objectives(Segmentation(3)))
    ['loss', 'loss_weights', 'metrics']
    """
    heads = as_heads(heads)
    return {
        "loss": map_heads(lambda _, head: head.loss, heads),
        # Keras takes weights of a single output as a list.
        "loss_weights": (
            {key: head.weight for key, head in heads.items()}
            if isinstance(heads, dict)
            else [heads.weight]
        ),
        "metrics": map_heads(lambda _, head: head.metrics(), heads),
    }


def decoded(model, heads):
    """A model that returns what people use instead of what losses need: labels instead of logits.

    Args:
        model: a model with an output for each head, such as any builder returns.
        heads: the heads it was built with.

    Returns:
        A `keras.Model` with the same inputs, sharing the weights, and with the structure of
        `heads` as output: for `Segmentation` int32 labels `(B, H, W)`, for `Colorization` uint8
        RGB images `(B, H, W, 3)`. Auxiliary heads are left out.

    >>> model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(11, 1)])
    >>> decoded(model, Segmentation(11)).output_shape
    (None, None, None)
    """
    heads, model = as_heads(heads), functional(model)
    if isinstance(heads, dict):
        heads = {key: head for key, head in heads.items() if not isinstance(head, Auxiliary)}
    outputs = map_heads(lambda _, head, y: decode(head, y, model.input), heads, model.output)
    return keras.Model(model.input, outputs, name=f"{model.name}_decoded")

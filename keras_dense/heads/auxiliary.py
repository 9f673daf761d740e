"""A second prediction from an earlier feature, which only helps training."""

import numbers

import keras
from keras import layers

from keras_dense import _check
from keras_dense.heads.annotation import as_weight
from keras_dense.surgery.feature_pyramid import feature


@keras.saving.register_keras_serializable("keras_dense")
class Auxiliary:
    """A head that reads an earlier feature of the backbone instead of the decoder's map.

    Deep supervision: its loss reaches the middle of the backbone directly. It predicts what `head`
    predicts, through a 3×3 convolution, batch norm, ReLU and dropout of its own;
    `kd.decoded(model, heads)` leaves it out. Every builder takes it among its `heads`.

    Args:
        head: what is predicted: loss, targets and colors are those of this head.
        level: the feature that is read.
        weight: weight of this loss among those of all heads.
        filters: int ≥ 1, channels of the 3×3 convolution.
        dropout: rate of the dropout before the scores.

    Raises:
        TypeError: if `head` is no head, or an auxiliary one itself.
        ValueError: for a weight, number of filters or dropout out of range.

    Reference: Zhao et al., "Pyramid Scene Parsing Network", CVPR 2017, section 3.3.

    >>> from keras_dense.heads import Segmentation
    >>> aux = Auxiliary(Segmentation(21), level="P4")
    >>> aux.channels, aux.weight
    (21, 0.4)
    """

    def __init__(self, head, level="P4", weight=0.4, filters=256, dropout=0.1):
        if not hasattr(head, "channels") or isinstance(head, Auxiliary):
            raise TypeError(f"`head` must be a head such as Segmentation(21). Received: {head!r}")
        self.head = head
        self.level = level
        self.weight = as_weight(weight)
        self.filters = _check.integer(filters, "filters", low=1)
        self.dropout = _rate(dropout)
        self.channels = head.channels
        self.loss = head.loss
        self.target = head.target
        self.finish = head.finish
        self.stride = getattr(head, "stride", 1)
        self.from_lightness = getattr(head, "from_lightness", False)
        self.needs_image = getattr(head, "needs_image", False)
        self.encode, self.decode = head.encode, head.decode
        self.flipped, self.rescaled = head.flipped, head.rescaled
        self.blended, self.to_mean, self.from_mean = head.blended, head.to_mean, head.from_mean
        self.draw, self.error, self.legend = head.draw, head.error, head.legend

    def metrics(self):
        """None: nobody looks at what is thrown away."""
        return []

    def unknown(self, size):
        """The target of an image of which nothing is known: that of the head."""
        return self.head.unknown(size)

    def features(self, features, prefix=""):
        """The map that the scores are read from."""
        x = layers.Conv2D(
            self.filters,
            3,
            padding="same",
            use_bias=False,
            name=f"{prefix}convolution",
            data_format="channels_last",
        )(feature(features, self.level, "auxiliary head"))
        x = layers.BatchNormalization(epsilon=1e-5, name=f"{prefix}normalization")(x)
        x = layers.ReLU(name=f"{prefix}relu")(x)
        return layers.Dropout(self.dropout, name=f"{prefix}dropout")(x)

    def get_config(self):
        return {
            "head": keras.saving.serialize_keras_object(self.head),
            "level": self.level,
            "weight": self.weight,
            "filters": self.filters,
            "dropout": self.dropout,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "head": keras.saving.deserialize_keras_object(config["head"])})


def _rate(dropout):
    good = isinstance(dropout, numbers.Real) and not isinstance(dropout, bool)
    if not good or not 0 <= dropout < 1:
        raise ValueError(f"`dropout` must be in [0, 1). Received: dropout={dropout!r}")
    return float(dropout)


def with_auxiliary(head, level="P4", weight=0.4, name="segmentation"):
    """A head and an auxiliary one for the same target, as heads for any builder.

    Args:
        head: what is predicted.
        level, weight: of the auxiliary head, see `Auxiliary`.
        name: the key of `head` among the outputs; the other's is "auxiliary".

    Raises:
        TypeError: if `head` is no head.
        ValueError: for the name "auxiliary".

    >>> from keras_dense.heads import Segmentation
    >>> sorted(with_auxiliary(Segmentation(21)))
    ['auxiliary', 'segmentation']
    """
    if name == "auxiliary":
        raise ValueError("`name` must be another than that of the auxiliary head, 'auxiliary'.")
    return {name: head, "auxiliary": Auxiliary(head, level, weight)}

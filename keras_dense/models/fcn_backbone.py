"""The backbone of FCNs: a classifier whose fully connected layers are convolutions.

With the authors' margin the image has 100 zeros on each side, and maps are cropped to fit.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from keras_dense._types import PathLike, Shape
from keras_dense.models.build import is_vgg_name, make_backbone
from keras_dense.models.fcn_margin import MARGIN, crops
from keras_dense.surgery import convolutionalize
from keras_dense.surgery.feature_pyramid import has_features, last_features, stages
from keras_dense.surgery.graph import rebuild
from keras_dense.surgery.top import fully_connected


def _with_margin(backbone: keras.Model) -> keras.Model:
    """A backbone on an image with 99 zeros on all sides, whose poolings round sizes up.

    Args:
        backbone: functional `keras.Model` of convolutions that are padded, and poolings.
    """
    done: list[Any] = []

    def rewrite(node: Any, copies: Any, x: Any, **kwargs: Any) -> Any:
        op = node.operation
        if isinstance(op, layers.MaxPooling2D):
            return copies(op, x, config={"padding": "same"}, **kwargs)
        if isinstance(op, layers.Conv2D) and not done:
            done.append(op)
            pad = layers.ZeroPadding2D(MARGIN, name="margin", data_format="channels_last")
            return copies(op, pad(x), **kwargs)
        return None

    return rebuild(backbone, rewrite)


def _convolutional(classifier: keras.Model, margin: bool = False) -> keras.Model:
    """The paper's backbone, from a classifier with hidden fully connected layers.

    They become convolutions with dropout, and skips read the maps right after pooling.
    """
    padding = "valid" if margin else "same"
    dense = convolutionalize(classifier, padding=padding, include_top=False, dropout=0.5)
    features = {level: maps[0].tensor for level, maps in stages(dense).items()}
    features["P5"] = last_features(dense)["P5"]
    backbone = keras.Model(dense.inputs[0], features, name="backbone")
    return _with_margin(backbone) if margin else backbone


def fcn_backbone_with_margin(
    backbone: str | keras.Model, weights: PathLike | None, input_shape: Shape, skips: Sequence[str]
) -> tuple[keras.Model, tuple[int, ...]]:
    """The authors' backbone, and what is cut off of each map."""
    classifier = None
    if is_vgg_name(backbone) or not (isinstance(backbone, str) or has_features(backbone, "")):
        classifier = make_backbone(backbone, weights, input_shape, top=True)
    if classifier is None or not fully_connected(classifier):
        raise ValueError(
            "`margin` must be False without a classifier that has hidden fully connected layers, "
            f"such as 'vgg16'. Received: margin=True, backbone={backbone!r}"
        )
    model = _convolutional(classifier, margin=True)
    window = model.get_layer(fully_connected(classifier)[0].name).kernel_size[0]
    levels = [2 ** int(level[1:]) for level in ("P5", *skips)] + [1]
    factors = [a // b for a, b in zip(levels[:-1], levels[1:], strict=True)]
    return model, crops(window, factors)


def fcn_backbone(
    backbone: str | keras.Model, weights: PathLike | None, input_shape: Shape
) -> keras.Model:
    """A backbone in which hidden fully connected layers, if there are any, are convolutions."""
    named = isinstance(backbone, str)
    if is_vgg_name(backbone) or not (named or has_features(backbone, "backbone")):
        backbone = make_backbone(backbone, weights, input_shape, top=True)
        if fully_connected(backbone):
            return _convolutional(backbone)
    return make_backbone(backbone, weights, input_shape)

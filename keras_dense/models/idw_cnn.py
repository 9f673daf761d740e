"""IDW-CNN.

Wang, Luo, Lin, Wang, "Learning Object Interactions and Descriptions for Semantic Image
Segmentation", CVPR 2017.
"""

from collections.abc import Sequence

import keras
from keras import layers

from keras_dense import _check
from keras_dense._types import Features, PathLike, Shape, Tensor
from keras_dense.heads import Head, Heads, Interactions, Intermediate, Tags
from keras_dense.layers import ClassFeatures, TagGate
from keras_dense.models.blocks import summed_scores
from keras_dense.models.build import HeadsLike, build, make_backbone
from keras_dense.models.decoder import Decoder, Prediction, Wanted
from keras_dense.surgery import dilate
from keras_dense.surgery.feature_pyramid import feature

MERGES = ("sum", "ordered")


def idw_cnn_decoder(
    actions: int = 0,
    *,
    rates: Sequence[int] = (12,),
    filters: int = 512,
    object_units: int = 256,
    action_units: int = 64,
    merge: str = "sum",
    background: int | None = None,
    level: str = "P5",
) -> Decoder:
    """Labels, and the objects and interactions that they show, which filter the labels.

    Args:
        actions: int >= 0, the number of actions; 0 leaves out the interactions.
        rates: tuple of ints >= 1, dilation rates of the convolutions to the label map, added up.
        filters: int >= 1, channels of the map that classes mask.
        object_units: int >= 1, width of each class's subnet.
        action_units: int >= 1, width of each action's subnet.
        merge: str, how the features of a pair are merged: "sum", the paper's, by which subject and
            object can be exchanged; or "ordered", each through a layer of its own first.
        background: int, a class that is never filtered, or `None`.
        level: str, the feature that is read.

    Returns:
        A decoder for `kd.assemble`, of one final head. It predicts early `first`, the label map
        before the filter, and for the heads `Tags(source="network")` and `Interactions` the
        logits `presence` and `interactions`.

    Raises:
        ValueError: for numbers out of range, an unknown merge, or several final heads.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> decoder = kd.decoders.idw_cnn(filters=16, object_units=8)
    >>> kd.assemble(backbone, decoder, kd.heads.Segmentation(5)).output_shape
    (None, None, None, 5)
    """
    actions = _check.integer(actions, "actions", low=0)
    rates = _check.integers(rates, "rates")
    filters = _check.integer(filters, "filters", low=1)
    object_units = _check.integer(object_units, "object_units", low=1)
    action_units = _check.integer(action_units, "action_units", low=1)
    merge = _check.choice(merge, "merge", MERGES)

    def predict(features: Features, wanted: dict[str, Wanted]) -> dict[str, Prediction]:
        if len(wanted) != 1:
            raise ValueError(
                "`heads` must hold one segmentation, and otherwise heads that only help training. "
                f"Received: {', '.join(wanted)}"
            )
        (key, head), x = next(iter(wanted.items())), feature(features, level)
        first = summed_scores(x, head.channels, rates, prefix=f"{head.prefix}first_")
        x = layers.Conv2D(
            filters, 1, activation="relu", name="interaction_features", data_format="channels_last"
        )(x)
        masked = ClassFeatures(name="class_features")(x, first)
        presence = _objects(masked, object_units)
        early = {"first": first, "presence": presence}
        if actions:
            early["interactions"] = _actions(masked, actions, action_units, merge)
        gate = TagGate(background=background, dtype="float32", name="presence_gate")
        return {key: Prediction(gate(first, presence), early)}

    return Decoder(predict)


def _objects(masked: Tensor, units: int) -> Tensor:
    """A subnet for each class, from its masked feature to the logit of its presence."""
    classes = masked.shape[1]
    x = layers.EinsumDense(
        "bcd,cdk->bck", (classes, units), activation="relu", bias_axes="ck", name="object_hidden"
    )(masked)
    return layers.EinsumDense("bck,ck->bc", (classes,), bias_axes="c", name="object_presence")(x)


def _actions(masked: Tensor, actions: int, units: int, merge: str) -> Tensor:
    """A subnet for each action, from the merged features of a pair of classes to its logit."""
    classes, size = masked.shape[1:]
    subject = other = masked
    if merge == "ordered":
        subject = layers.Dense(size, name="subject_features")(masked)
        other = layers.Dense(size, name="object_features")(masked)
    subject = layers.Reshape((classes, 1, size), name="pair_subjects")(subject)
    other = layers.Reshape((1, classes, size), name="pair_objects")(other)
    pairs = layers.Add(name="pairs")([subject, other])
    shape = (classes, classes, actions)
    x = layers.EinsumDense(
        "bijd,adk->bijak", (*shape, units), activation="relu", bias_axes="ak", name="action_hidden"
    )(pairs)
    x = layers.EinsumDense("bijak,ak->bija", shape, bias_axes="a", name="action_scores")(x)
    return layers.Reshape((classes * classes * actions,), name="interactions_of_pairs")(x)


def idw_cnn(
    backbone: str | keras.Model = "resnet101",
    num_classes: int | None = None,
    *,
    heads: HeadsLike | None = None,
    weights: PathLike | None = "imagenet",
    input_shape: Shape = (None, None, 3),
    name: str | None = None,
    initialize_from: keras.Model | PathLike | None = None,
    grid: str | None = None,
    actions: Sequence[str] = (),
    output_stride: int = 8,
    rates: Sequence[int] = (12,),
    filters: int = 512,
    object_units: int = 256,
    action_units: int = 64,
    merge: str = "sum",
    background: int | None = None,
) -> keras.Model:
    """IDW-CNN: labels, filtered by the objects of the image, which also predict interactions.

    A first label map masks features of the backbone, one for each class; a subnet for each class
    tells from its own whether the class is there; a subnet for each action tells from the merged
    features of two classes whether they interact so. The probability of each label is multiplied by
    that of its class. Images of which only tags and interactions are known then teach labels.

    The paper has no sizes of the subnets, so `object_units`, `action_units` and `rates` are ours,
    and so is the division of each masked feature by the size of the mask. It trains in three
    stages:

    ```python
    model = kd.idw_cnn("resnet101", 21, actions=["rides", "holds"])
    goals = kd.objectives(model)
    first = dict.fromkeys(goals["loss_weights"], 0.0) | {"first": 1.0}
    model.compile(optimizer, **{**goals, "loss_weights": first})    # 1. the first label map, masks
    second = goals["loss_weights"] | {"interactions": 0.0}
    model.compile(optimizer, **{**goals, "loss_weights": second})   # 2. and objects, the filter
    both = kd.datasets.together(masks, described, shares=(4, 4))    # 3. all, and described images,
    training = kd.training.self_training(                           # whose labels it predicts
        model, "segmentation", momentum=0.0, confidence=0.0, floor=0.0, tags=False
    )
    ```

    Args:
        backbone, num_classes, weights, input_shape, name, initialize_from, grid: common to all
            builders, see `kd.models`.
        heads: a segmentation, to which the heads "first" (`kd.heads.Intermediate`), "objects"
            (`kd.heads.Tags`) and, with actions, "interactions" (`kd.heads.Interactions`) are
            added; or a dict of all that are wanted.
        actions: names of the actions; `()` leaves out the interactions.
        output_stride: int, stride of the dilated backbone.
        rates, filters, object_units, action_units, merge, background: see `kd.decoders.idw_cnn`.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → a dict of logits: "segmentation" and
        "first" `(B, H, W, num_classes)`, "objects" `(B, num_classes)`, "interactions"
        `(B, num_classes² · actions)`.

    Raises:
        ValueError, TypeError: for numbers out of range, heads without one segmentation, or an
            output stride that the backbone cannot have.

    Reference: Wang et al., CVPR 2017.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> model = idw_cnn(backbone, 5, actions=["rides"], filters=16)
    >>> {key: y.shape[1:] for key, y in model.output.items() if len(y.shape) == 2}
    {'objects': (5,), 'interactions': (25,)}
    """
    chosen = Heads.of(heads, num_classes)
    actions = [actions] if isinstance(actions, str) else list(actions)
    if chosen.single:
        chosen = Heads(_with_parts(chosen[""], actions))
    decoder = idw_cnn_decoder(
        len(actions),
        rates=rates,
        filters=filters,
        object_units=object_units,
        action_units=action_units,
        merge=merge,
        background=background,
    )
    backbone = dilate(make_backbone(backbone, weights, input_shape), output_stride)
    return build(backbone, decoder, chosen, input_shape, name or "idw_cnn", initialize_from, grid)


def _with_parts(head: Head, actions: Sequence[str]) -> dict[str, Head]:
    """A segmentation and the heads that its parts are trained by."""
    segmentation_of_images(head)
    names = {"class_names": head.class_names}
    heads: dict[str, Head] = {
        "segmentation": head,
        "first": Intermediate(head, "first"),
        "objects": Tags(head.channels, source="network", palette=head.palette, **names),
    }
    if actions:
        heads["interactions"] = Interactions(head.channels, actions, **names)
    return heads


def segmentation_of_images(head: Head) -> None:
    """Check that a head predicts one of several classes at every pixel.

    >>> from keras_dense.heads import Segmentation
    >>> segmentation_of_images(Segmentation(1))
    Traceback (most recent call last):
    ValueError: `heads` must be a segmentation of at least 2 classes, of which each pixel has one. \
Received: Segmentation with 1 channel
    """
    if head.mode != "multiclass" or head.channels < 2:
        plural = "" if head.channels == 1 else "s"
        raise ValueError(
            "`heads` must be a segmentation of at least 2 classes, of which each pixel has one. "
            f"Received: {type(head).__name__} with {head.channels} channel{plural}"
        )

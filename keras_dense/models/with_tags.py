"""A network whose labels are filtered by the classes that the image contains.

Wang et al., "Learning Object Interactions and Descriptions for Semantic Image Segmentation", CVPR
2017.
"""

import keras

from keras_dense import _check
from keras_dense._types import Tensor
from keras_dense.heads.collection import carried
from keras_dense.layers import ClassPresence, TagGate
from keras_dense.models.taken_output import take_output


def with_tags(
    model: keras.Model,
    key: str | None = None,
    *,
    given: bool = False,
    background: int | None = None,
    sharpness: float = 3.0,
    name: str | None = None,
) -> keras.Model:
    """Filter the label scores of a network by the presence of classes in the image.

    The probability of each class is multiplied by the probability that the image contains it: that
    of the model's head `kd.heads.Tags`, or, without one, a soft maximum of the scores. The new
    model shares layers and weights with `model`, so training one trains the other; the filter has
    no weights, and gradients pass through it to both.

    With `given=True` the user may know the tags of an image. The new model then takes
    `{"image": images, "known_tags": tags}`, tags `(B, classes)` of 1 (there), 0 (not there: the
    label is ruled out) and 255 (unknown: the network decides).

    Args:
        model: a model from an image to logits `(B, H, W, classes)` of at least two classes, or to
            a dict of outputs, such as any builder returns.
        key: str, the output that is filtered; needed for a dict of several segmentations.
        given: bool, whether tags are an input.
        background: int, a class that is never filtered, or `None`.
        sharpness: float > 0, see `kd.layers.ClassPresence`; used without a head `Tags`.
        name: str, name of the new model.

    Returns:
        A `keras.Model` with the same output structure.

    Raises:
        ValueError: for a `key` that the model does not have, or an output that is no scores of at
            least 2 classes.
        TypeError: for a model whose graph cannot be read, or with several inputs.

    Reference: Wang et al., "Learning Object Interactions and Descriptions for Semantic Image
        Segmentation", CVPR 2017 (its refinement of the label map).

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> model = kd.fcn32s(backbone, heads={"labels": kd.heads.Segmentation(5)})
    >>> sorted(kd.with_tags(model, given=True).input)
    ['image', 'known_tags']
    """
    taken = take_output(model, key, "is filtered")
    taken.check_classes()
    model, key, scores = taken.model, taken.key, taken.scores
    if background is not None:
        background = _check.integer(background, "background", low=0, high=scores.shape[-1] - 1)
    presence = _presence(model.output, scores.shape[-1])
    if presence is None:
        presence = ClassPresence(sharpness=sharpness, dtype="float32", name="presence")(scores)
    inputs, arguments = model.input, {}
    if _check.flag(given, "given"):
        tags = keras.Input((scores.shape[-1],), dtype="float32", name="known_tags")
        inputs, arguments = {model.input.name: model.input, "known_tags": tags}, {"tags": tags}
    gate = TagGate(background=background, dtype="float32", name="tag_gate")
    filtered = gate(scores, presence, **arguments)
    return taken.replaced(filtered, "with_tags", name, inputs)


def _presence(outputs: Tensor | dict[str, Tensor], classes: int) -> Tensor | None:
    """The output of the model's head for tags of these classes, if there is one."""
    for output in outputs.values() if isinstance(outputs, dict) else ():
        head = carried(output)
        if head is not None and head.per_image and tuple(output.shape[1:]) == (classes,):
            return output
    return None

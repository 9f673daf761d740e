"""A network whose labels are moved toward those by which the image can be rebuilt.

Luo, Wang, Lin, Wang, "Deep Dual Learning for Semantic Image Segmentation", ICCV 2017.
"""

import keras

from keras_dense.layers import RebuildByColor
from keras_dense.models.taken_output import take_output


def with_reconstruction(
    model: keras.Model,
    key: str | None = None,
    *,
    weight: float = 3.0,
    rounds: int = 3,
    window: int = 13,
    stride: int = 2,
    name: str | None = None,
) -> keras.Model:
    """Move the label scores of a network toward labels by which the image can be rebuilt.

    The image is rebuilt from the mean color of each class around a pixel. The new model shares
    layers and weights with `model`; the refinement has no weights. Unlike a dense CRF
    (`kd.with_crf`), it looks no further than its window.

    Args:
        model: a model from an RGB image 0–255 to logits `(B, H, W, classes)` of the same size and
            at least two classes, or to a dict of outputs, such as any builder returns.
        key: str, the output that is refined; needed for a dict of several segmentations.
        weight, rounds, window, stride: see `kd.layers.RebuildByColor`.
        name: str, name of the new model.

    Returns:
        A `keras.Model` with the same input and output structure.

    Raises:
        ValueError: for a `key` that the model does not have, an output that is no scores of at
            least 2 classes, or numbers out of range.
        TypeError: for a model whose graph cannot be read, or with several inputs.

    Reference: Luo et al., ICCV 2017 (the inference of labels; the closed form is ours).

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> with_reconstruction(kd.fcn8s(backbone, 5)).output_shape
    (None, None, None, 5)
    """
    taken = take_output(model, key, "is refined")
    taken.check_classes()
    rebuild = RebuildByColor(
        weight=weight, rounds=rounds, window=window, stride=stride, name="rebuild_by_color"
    )
    return taken.replaced(rebuild(taken.scores, taken.model.input), "reconstructed", name)

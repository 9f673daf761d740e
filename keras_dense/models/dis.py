"""Dual image segmentation (DIS).

Luo, Wang, Lin, Wang, "Deep Dual Learning for Semantic Image Segmentation", ICCV 2017.
"""

from collections.abc import Sequence

import keras

from keras_dense._types import PathLike, Shape
from keras_dense.heads import Heads, Reconstruction, Tags
from keras_dense.models.build import HeadsLike, build, make_backbone
from keras_dense.models.deeplabv2 import deeplabv2_decoder
from keras_dense.models.idw_cnn import segmentation_of_images
from keras_dense.surgery import dilate


def dis(
    backbone: str | keras.Model = "resnet101",
    num_classes: int | None = None,
    *,
    heads: HeadsLike | None = None,
    weights: PathLike | None = "imagenet",
    input_shape: Shape = (None, None, 3),
    name: str | None = None,
    initialize_from: keras.Model | PathLike | None = None,
    grid: str | None = None,
    output_stride: int = 8,
    rates: Sequence[int] = (12,),
) -> keras.Model:
    """DIS: labels, the tags of the image, and the image rebuilt from the labels.

    Two tasks are each other's inverse: from the image to its labels and tags, and from the labels
    to the image. Where only the tags of an image are known, its labels are inferred: they are to
    agree with the network, with the tags, and with the image that they rebuild. The network then
    learns from them:

    ```python
    model = kd.dis("resnet101", 21)
    both = kd.datasets.together(masks, tagged, shares=(4, 4))
    training = kd.training.self_training(model, "segmentation", colors=3.0)
    training.compile("adam", **kd.objectives(training))
    ```

    For the prediction, `kd.with_reconstruction(kd.with_tags(model))` infers labels the same way,
    with the tags that the network predicts.

    The paper's formulas are not public in full. Ours: the image is rebuilt in two ways, by trained
    convolutions (`kd.heads.Reconstruction`), whose loss reaches the labels by gradients, and, to
    infer labels, by the mean colors of classes (`kd.layers.RebuildByColor`), which has a closed
    form.

    Args:
        backbone, num_classes, weights, input_shape, name, initialize_from, grid: common to all
            builders, see `kd.models`.
        heads: a segmentation, to which the heads "tags" (`kd.heads.Tags`) and "rebuilt"
            (`kd.heads.Reconstruction`) are added; or a dict of all that are wanted.
        output_stride: int, stride of the dilated backbone.
        rates: tuple of ints >= 1, dilation rates of the convolutions to the label map, added up.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → a dict: "segmentation", logits
        `(B, H, W, num_classes)`; "tags", logits `(B, num_classes)`; "rebuilt", RGB from 0 to 1 at a
        quarter of the size.

    Raises:
        ValueError, TypeError: for rates below 1, heads without one segmentation, or an output
            stride that the backbone cannot have.

    Reference: Luo et al., ICCV 2017.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> sorted(dis(backbone, 5).output)
    ['rebuilt', 'segmentation', 'tags']
    """
    chosen = Heads.of(heads, num_classes)
    if chosen.single:
        head = chosen[""]
        segmentation_of_images(head)
        tags = Tags(head.channels, class_names=head.class_names, palette=head.palette, weight=0.2)
        chosen = Heads({"segmentation": head, "tags": tags, "rebuilt": Reconstruction()})
    backbone = dilate(make_backbone(backbone, weights, input_shape), output_stride)
    decoder = deeplabv2_decoder(rates)
    return build(backbone, decoder, chosen, input_shape, name or "dis", initialize_from, grid)

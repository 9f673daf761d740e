"""The image, rebuilt from the labels: a head that only helps training."""

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from keras_dense import _check
from keras_dense._types import Array, Config, Features, Tensor
from keras_dense.heads.drawing import error_colors
from keras_dense.heads.image_target import ImageTarget
from keras_dense.losses import ReconstructionL1
from keras_dense.surgery.feature_pyramid import feature
from keras_dense.surgery.graph import source_of
from keras_dense.surgery.strides import stride_between


@keras.saving.register_keras_serializable("keras_dense")
class Reconstruction(ImageTarget):
    """The image, rebuilt from the probabilities of the labels by three convolutions.

    Labels from which the image can be rebuilt have its borders. An image without a mask teaches
    this, too. The convolutions see the probabilities of the segmentation head, and `context`
    numbers for the whole image, made of the mean of a feature: no more, or they would copy the
    image. `kd.decoded` leaves the head out.

    Predictions are float32 RGB from 0 to 1, `(B, ceil(H / stride), ceil(W / stride), 3)`; the
    target is the image.

    Args:
        filters: int >= 1, channels of the hidden convolutions.
        context: int >= 0, numbers that describe the whole image, such as its light.
        level: str, the feature whose mean they are made of.
        stride: int >= 1, of the rebuilt image.
        loss: a Keras loss; default: `kd.losses.ReconstructionL1`, the absolute error and that of
            slopes.
        weight: float >= 0, weight of this head's loss among those of all heads. Keep its gradient
            small against that of the labels: a large one makes labels of colors.
        target: str, key of a sample that holds the image.

    Raises:
        ValueError: for numbers out of range; in a model without one segmentation to read.

    Reference: Luo et al., "Deep Dual Learning for Semantic Image Segmentation", ICCV 2017, its
        subnet for image reconstruction. Its layers are not published; these are ours.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> heads = {"segmentation": kd.heads.Segmentation(5), "rebuilt": Reconstruction()}
    >>> kd.fcn32s(backbone, heads=heads).output["rebuilt"].shape
    (None, None, None, 3)
    """

    channels = 3
    final = False

    def __init__(
        self,
        filters: int = 32,
        *,
        context: int = 8,
        level: str = "P5",
        stride: int = 4,
        loss: keras.losses.Loss | None = None,
        weight: float = 0.1,
        target: str = "image",
    ) -> None:
        self.filters = _check.integer(filters, "filters", low=1)
        self.context = _check.integer(context, "context", low=0)
        self.level = level
        self.levels = (level,) if context else ()
        self.stride = _check.integer(stride, "stride", low=1)
        super().__init__(loss=loss, weight=weight, target=target)

    def default_loss(self) -> keras.losses.Loss:
        """Absolute error of colors and of their slopes."""
        return ReconstructionL1(stride=self.stride)

    def read(self, key: str, features: Features, predictions: dict, heads: Any) -> Tensor:
        """Colors from the probabilities of the segmentation."""
        prefix = f"{key}_" if key else ""
        scores = predictions[_segmentation(heads)].scores
        fine = stride_between(source_of(scores), scores)
        pool = tuple(self.stride // n if self.stride % n == 0 else 1 for n in fine)
        x = layers.Softmax(name=f"{prefix}labels", dtype="float32")(scores)
        if pool != (1, 1):
            x = layers.AveragePooling2D(
                pool, padding="same", name=f"{prefix}cells", data_format="channels_last"
            )(x)
        if self.context:
            mean = layers.GlobalAveragePooling2D(
                keepdims=True, data_format="channels_last", name=f"{prefix}mean"
            )(feature(features, self.level, "reconstruction"))
            light = layers.Dense(self.filters, use_bias=False, name=f"{prefix}light")(
                layers.Dense(self.context, activation="tanh", name=f"{prefix}context")(mean)
            )
        for number in (1, 2):
            x = _convolution(x, self.filters, f"{prefix}rebuild_{number}")
            if self.context and number == 1:
                x = layers.Add(name=f"{prefix}lit")([x, light])
            x = layers.ReLU(name=f"{prefix}relu_{number}")(x)
        return _convolution(x, 3, f"{prefix}rebuild_3")

    def finish(self, scores: Tensor, name: str) -> Tensor:
        """Colors from 0 to 1, in float32."""
        return layers.Activation("sigmoid", dtype="float32", name=name)(scores)

    def decode(self, prediction: Tensor, image: Tensor | None = None) -> Tensor:
        """The rebuilt image: RGB, uint8 `(B, h, w, 3)`."""
        return ops.cast(ops.round(prediction * 255.0), "uint8")

    def outputs(self, prediction: Tensor, image: Tensor) -> dict[str, Tensor]:
        """`rebuilt`, the rebuilt image: RGB, uint8."""
        return {"rebuilt": self.decode(prediction)}

    def about(self) -> dict[str, dict]:
        """Unit and range."""
        return {"rebuilt": {"unit": "RGB, 0–255"}}

    def error(self, truth: Array, prediction: Array, image: Array | None = None) -> Array:
        """Mean difference of the colors: black is right, light yellow is 128 or more.

        Args:
            truth: the image, RGB 0–255 `(H, W, 3)`; of each cell its first pixel counts.
            prediction: RGB 0–255 `(h, w, 3)`.
            image: unused.

        Returns:
            uint8 `(h, w, 3)`; unknown pixels are hatched.
        """
        prediction, truth = np.asarray(prediction, "float64"), np.asarray(truth, "float64")
        rows, columns = (
            np.arange(n) * m // n for n, m in zip(prediction.shape, truth.shape[:2], strict=False)
        )
        truth = truth[rows][:, columns]
        known = np.isfinite(truth).all(-1)
        distance = np.abs(np.where(known[..., None], truth, 0) - prediction).mean(-1)
        return error_colors(distance / 128, known)

    def get_config(self) -> Config:
        return {
            "filters": self.filters,
            "context": self.context,
            "level": self.level,
            "stride": self.stride,
            **super().get_config(),
        }


def _segmentation(heads: Any) -> str:
    found = [key for key, head in heads.items() if head.final and head.mode == "multiclass"]
    if len(found) != 1:
        raise ValueError(
            "Reconstruction() reads the scores of a segmentation of two classes or more, of which "
            f"there must be one. Received: {', '.join(found) or 'none'} among the heads "
            f"{', '.join(heads)}"
        )
    return found[0]


def _convolution(x: Tensor, filters: int, name: str) -> Tensor:
    return layers.Conv2D(filters, 3, padding="same", name=name, data_format="channels_last")(x)

"""Lightness of an image, and an image in predicted colors."""

from typing import Any

import keras
from keras import ops

from keras_dense import _check
from keras_dense._types import Config, Shape, Tensor
from keras_dense.layers.dtypes import Float32Layer
from keras_dense.ops.ab_bins import ab_bins, annealed_mean
from keras_dense.ops.color import full_size, gray, lightness, recolor


@keras.saving.register_keras_serializable("keras_dense")
class Lightness(Float32Layer):
    """Lightness of an image, the input of a network that predicts colors.

    Args:
        as_image: bool. `True` returns a gray image, RGB 0–255 `(B, H, W, 3)`, which any backbone
            takes; `False` returns L, 0–100, `(B, H, W, 1)`.

    Call arguments:
        inputs: RGB 0–255 `(B, H, W, 3)`.

    Raises:
        ValueError: if the image does not have 3 channels.

    >>> red = ops.convert_to_tensor([[[[255.0, 0.0, 0.0]]]])
    >>> round(float(Lightness()(red)[0, 0, 0, 1]), 1)
    127.1
    >>> round(float(Lightness(as_image=False)(red)[0, 0, 0, 0]), 1)
    53.2
    """

    def __init__(self, *, as_image: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.as_image = _check.flag(as_image, "as_image")

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        if input_shape[-1] != 3:
            raise ValueError(
                "The input must be an RGB image, (B, H, W, 3). "
                f"Received: input_shape={tuple(input_shape)}"
            )
        return (*input_shape[:-1], 3 if self.as_image else 1)

    def call(self, inputs: Tensor) -> Tensor:
        self.compute_output_shape(inputs.shape)
        return (gray if self.as_image else lightness)(inputs)

    def get_config(self) -> Config:
        return {**super().get_config(), "as_image": self.as_image}


@keras.saving.register_keras_serializable("keras_dense")
class AnnealedMean(Float32Layer):
    """Color of a distribution over bins, its annealed mean: logits `(…, bins)` → ab `(…, 2)`.

    Args:
        grid: int from 1 to 55, the distance of neighboring bins, see `kd.ops.ab_bins`.
        temperature: float > 0. 1 gives the mean of the bins, which is pale; towards 0 the result
            approaches the most likely bin.

    Raises:
        ValueError: if the grid or the temperature is out of range, or the number of logits differs
            from the number of bins.

    Reference: Zhang et al., "Colorful Image Colorization", ECCV 2016, equation 5.

    >>> import numpy as np
    >>> tuple(AnnealedMean()(np.zeros((1, 2, 2, 313))).shape)
    (1, 2, 2, 2)
    """

    def __init__(self, grid: int = 10, *, temperature: float = 0.38, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.grid = _check.integer(grid, "grid", low=1, high=55)
        self.bins = len(ab_bins(self.grid))
        self.temperature = _check.number(temperature, "temperature", above=0)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        if input_shape[-1] != self.bins:
            raise ValueError(
                f"The input must have one logit for each of the {self.bins} bins of "
                f"grid={self.grid}. Received: input_shape={tuple(input_shape)}"
            )
        return (*input_shape[:-1], 2)

    def call(self, inputs: Tensor) -> Tensor:
        self.compute_output_shape(inputs.shape)
        return annealed_mean(inputs, self.grid, temperature=self.temperature)

    def get_config(self) -> Config:
        return {**super().get_config(), "grid": self.grid, "temperature": self.temperature}


@keras.saving.register_keras_serializable("keras_dense")
class Recolor(Float32Layer):
    """An image in predicted colors: its size and lightness stay.

    Call it with two tensors: `Recolor(4)(ab, image)`, ab `(B, ceil(H / 4), ceil(W / 4), 2)` and
    RGB 0–255 `(B, H, W, 3)`; it returns RGB, uint8 `(B, H, W, 3)`. The colors are upsampled
    (half-pixel bilinear), and colors outside sRGB are clipped.

    Args:
        stride: int ≥ 1, how many times smaller than the image the prediction is.

    Raises:
        ValueError: if the stride is below 1.

    >>> import numpy as np
    >>> gray = Recolor(4)(np.zeros((1, 1, 2, 2)), np.full((1, 3, 5, 3), 99, "uint8"))
    >>> int(gray[0, 2, 4, 0]), tuple(gray.shape)
    (99, (1, 3, 5, 3))
    """

    def __init__(self, stride: int = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stride = _check.integer(stride, "stride", low=1)

    def build(self, ab_shape, image_shape=None):
        """No weights. Keras passes the shapes of all inputs."""

    def compute_output_spec(self, ab, image):
        return keras.KerasTensor((*image.shape[:-1], 3), dtype="uint8")

    def call(self, ab: Tensor, image: Tensor) -> Tensor:
        rgb = recolor(image, full_size(ab, image, self.stride))
        return ops.cast(ops.round(rgb), "uint8")

    def get_config(self) -> Config:
        return {**super().get_config(), "stride": self.stride}

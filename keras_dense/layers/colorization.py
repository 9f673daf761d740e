"""From an image to its lightness, and from predicted colors back to an image."""

import keras
from keras import ops

from keras_dense import _check
from keras_dense.layers.dtypes import Float32Layer
from keras_dense.ops.ab_bins import ab_bins, annealed_mean
from keras_dense.ops.color import full_size, gray, lightness, recolor


@keras.saving.register_keras_serializable("keras_dense")
class Lightness(Float32Layer):
    """What a network sees that is to predict colors: an image's lightness.

    Args:
        as_image: whether it comes as a gray image, RGB 0–255 `(B, H, W, 3)`, which any backbone
            takes; otherwise as L, 0–100, `(B, H, W, 1)`.

    Call arguments:
        inputs: RGB 0–255 `(B, H, W, 3)`.

    Raises:
        ValueError: for an image of other than 3 channels.

    >>> red = ops.convert_to_tensor([[[[255.0, 0.0, 0.0]]]])
    >>> round(float(Lightness()(red)[0, 0, 0, 1]), 1)
    127.1
    >>> round(float(Lightness(as_image=False)(red)[0, 0, 0, 0]), 1)
    53.2
    """

    def __init__(self, as_image=True, **kwargs):
        super().__init__(**kwargs)
        self.as_image = bool(as_image)

    def compute_output_shape(self, input_shape):
        if input_shape[-1] != 3:
            raise ValueError(
                "Lightness is that of RGB images, which have 3 channels. "
                f"Received: an image of shape {tuple(input_shape)}"
            )
        return (*input_shape[:-1], 3 if self.as_image else 1)

    def call(self, inputs):
        self.compute_output_shape(inputs.shape)
        return (gray if self.as_image else lightness)(inputs)

    def get_config(self):
        return {**super().get_config(), "as_image": self.as_image}


@keras.saving.register_keras_serializable("keras_dense")
class AnnealedMean(Float32Layer):
    """The color that a distribution over bins stands for: logits `(…, bins)` → ab `(…, 2)`.

    Args:
        grid: of the bins, see `kd.ops.ab_bins`.
        temperature: number > 0: 1 is the mean of the bins, pale; towards 0 the most likely one.

    Raises:
        ValueError: for a temperature that is not above 0.

    Reference: Zhang et al., "Colorful Image Colorization", ECCV 2016, equation 5.

    >>> import numpy as np
    >>> tuple(AnnealedMean()(np.zeros((1, 2, 2, 313))).shape)
    (1, 2, 2, 2)
    """

    def __init__(self, grid=10, temperature=0.38, **kwargs):
        super().__init__(**kwargs)
        self.bins = len(ab_bins(grid))
        self.grid = int(grid)
        if isinstance(temperature, bool) or not temperature > 0:
            raise ValueError(
                f"`temperature` must be a number > 0. Received: temperature={temperature!r}"
            )
        self.temperature = float(temperature)

    def compute_output_shape(self, input_shape):
        if input_shape[-1] != self.bins:
            raise ValueError(
                f"There must be a logit for each of the {self.bins} bins of grid={self.grid}. "
                f"Received: an input of shape {tuple(input_shape)}"
            )
        return (*input_shape[:-1], 2)

    def call(self, inputs):
        self.compute_output_shape(inputs.shape)
        return annealed_mean(inputs, self.grid, temperature=self.temperature)

    def get_config(self):
        return {**super().get_config(), "grid": self.grid, "temperature": self.temperature}


@keras.saving.register_keras_serializable("keras_dense")
class Recolor(Float32Layer):
    """An image in predicted colors, at its own size and of its own lightness.

    Call with two tensors: `Recolor(4)(ab, image)`, ab `(B, ceil(H / 4), ceil(W / 4), 2)` and RGB
    0–255 `(B, H, W, 3)`; returns RGB, uint8 `(B, H, W, 3)`. The colors are upsampled (half-pixel
    bilinear), and what lies outside of sRGB is clipped.

    Args:
        stride: int ≥ 1, what the prediction is smaller by.

    Raises:
        ValueError: for a stride below 1.

    >>> import numpy as np
    >>> gray = Recolor(4)(np.zeros((1, 1, 2, 2)), np.full((1, 3, 5, 3), 99, "uint8"))
    >>> int(gray[0, 2, 4, 0]), tuple(gray.shape)
    (99, (1, 3, 5, 3))
    """

    def __init__(self, stride=4, **kwargs):
        super().__init__(**kwargs)
        self.stride = _check.integer(stride, "stride", low=1)

    def build(self, ab_shape, image_shape=None):
        """Nothing to build; Keras gives the shapes of all inputs."""

    def compute_output_spec(self, ab, image):
        return keras.KerasTensor((*image.shape[:-1], 3), dtype="uint8")

    def call(self, ab, image):
        rgb = recolor(image, full_size(ab, image, self.stride))
        return ops.cast(ops.round(rgb), "uint8")

    def get_config(self):
        return {**super().get_config(), "stride": self.stride}

"""Fully connected conditional random field, unrolled, as a layer."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dense import _check
from keras_dense._types import Config, Shape, Tensor
from keras_dense.ops.mean_field import (
    NORMALIZATIONS,
    bilateral_kernel,
    mean_field,
    normalized,
    spatial_kernel,
)


@keras.saving.register_keras_serializable("keras_dense")
class CRFasRNN(keras.layers.Layer):
    """Sharpen scores with the image's own edges: mean-field inference of a dense CRF.

    Call it with the scores and the image: `CRFasRNN()(logits, image)`, shapes `(B, H, W, C)` and
    `(B, H, W, channels)`; it returns logits `(B, H, W, C)`. An optional third input, `known`
    `(B, H, W)`, is 0 at pixels that take no part. Each iteration computes

        q ← softmax(logits)                                        the current distributions
        m ← K_spatial(q) W_spatial + K_bilateral(q) W_bilateral    the messages
        logits ← scores - m μ

    where the kernels sum over all pixels, weighted by exp(-|p - p'|² / 2θ_γ²) and by
    exp(-|p - p'|² / 2θ_α² - |I - I'|² / 2θ_β²). W and the compatibilities μ are learned, C×C each;
    they start as those of the Potts model. No gradient reaches the image.

    The bilateral kernel is computed on a permutohedral lattice, the spatial one exactly. The
    computation uses float32 or higher precision. The authors train W and μ with a higher learning
    rate than the network; see `kd.training.layerwise`.

    Args:
        iterations: int ≥ 0. May be set later: the authors train with 5 and predict with 10.
        theta_alpha: float > 0, in pixels, the reach of the bilateral kernel.
        theta_beta: float > 0, in the units of the image (0–255), the color difference that the
            bilateral kernel treats as similar.
        theta_gamma: float > 0, in pixels, the reach of the spatial kernel.
        spatial_weight, bilateral_weight: floats, the multiples of the identity that W starts as.
        normalization: "after" (as the authors do): the message to a pixel is divided by the sum of
            its kernel, so it is a mean; "before": the message from a pixel is divided; "symmetric":
            both, by the square root, as in pydensecrf; or `None`.
        exact: bool, compute the bilateral kernel pair by pair instead of on the lattice. Slow; for
            small images and comparisons.
        capacity: float > 0, lattice points per pixel. It is used where sizes must be known
            beforehand, which is in compiled functions on TensorFlow and JAX. Default: 2, and at
            least 131,072 points. An image that needs more, such as noise in tiny color steps,
            gives NaN, never a wrong result; 6 is enough for any image of three channels.

    Raises:
        ValueError: if a number is out of range, there are fewer than 2 classes, or scores and
            image differ in size.

    Reference: Zheng et al., "Conditional Random Fields as Recurrent Neural Networks", ICCV 2015;
    Krähenbühl and Koltun, NIPS 2011.

    >>> import numpy as np
    >>> image = np.zeros((1, 4, 6, 3), "float32")
    >>> image[:, :, 3:] = 255  # two halves
    >>> logits = np.zeros((1, 4, 6, 2), "float32")
    >>> logits[0, 1, 1, 0] = logits[0, 2, 4, 1] = 3.0  # one known pixel in each
    >>> labels = ops.argmax(CRFasRNN(theta_gamma=0.1)(logits, image), axis=-1)
    >>> ops.convert_to_numpy(labels)[0, 0].tolist()
    [0, 0, 0, 1, 1, 1]
    """

    def __init__(
        self,
        iterations: int = 5,
        *,
        theta_alpha: float = 160.0,
        theta_beta: float = 3.0,
        theta_gamma: float = 3.0,
        spatial_weight: float = 3.0,
        bilateral_weight: float = 5.0,
        normalization: str | None = "after",
        exact: bool = False,
        capacity: float | None = None,
        **kwargs: Any,
    ) -> None:
        # Half precision cannot hold scores of several hundreds and sums over all pixels.
        super().__init__(**{"autocast": False, **kwargs})
        self.iterations = iterations
        self.theta_alpha = _check.number(theta_alpha, "theta_alpha", above=0)
        self.theta_beta = _check.number(theta_beta, "theta_beta", above=0)
        self.theta_gamma = _check.number(theta_gamma, "theta_gamma", above=0)
        self.spatial_weight = _check.number(spatial_weight, "spatial_weight")
        self.bilateral_weight = _check.number(bilateral_weight, "bilateral_weight")
        self.normalization = _check.choice(normalization, "normalization", NORMALIZATIONS)
        self.exact = _check.flag(exact, "exact")
        self.capacity = None if capacity is None else _check.number(capacity, "capacity", above=0)

    @property
    def iterations(self) -> int:
        """Number of mean-field iterations, ≥ 0; may be set."""
        return self._iterations

    @iterations.setter
    def iterations(self, value: int) -> None:
        self._iterations = _check.integer(value, "iterations", low=0)

    def build(
        self,
        logits_shape: Shape,
        image_shape: Shape | None = None,
        known_shape: Shape | None = None,
    ) -> None:
        classes = logits_shape[-1]
        if classes is None or classes < 2:
            raise ValueError(
                "The logits must be those of at least 2 classes. For an object and its background "
                "use `kd.heads.Segmentation(2)`. "
                f"Received: logits of shape {tuple(logits_shape)}"
            )

        def matrix(name, multiple):
            return self.add_weight(
                shape=(classes, classes),
                initializer=lambda shape, dtype=None: ops.cast(multiple * np.eye(classes), dtype),
                name=name,
            )

        self.spatial = matrix("spatial", self.spatial_weight)
        self.bilateral = matrix("bilateral", self.bilateral_weight)
        self.compatibility = matrix("compatibility", -1.0)

    def compute_output_shape(
        self, logits_shape: Shape, image_shape: Shape, known_shape: Shape | None = None
    ) -> Shape:
        if len(logits_shape) != 4 or len(image_shape) != 4:
            raise ValueError(
                "Logits and image must be (B, H, W, channels). Received: logits of shape "
                f"{tuple(logits_shape)}, image of shape {tuple(image_shape)}"
            )
        sizes = zip(logits_shape[1:3], image_shape[1:3], strict=True)
        if any(None not in (a, b) and a != b for a, b in sizes):
            raise ValueError(
                "Logits and image must have the same height and width. Received: logits of shape "
                f"{tuple(logits_shape)}, image of shape {tuple(image_shape)}"
            )
        return tuple(logits_shape)

    def call(self, logits: Tensor, image: Tensor, known: Tensor | None = None) -> Tensor:
        """Mean-field inference; pixels where `known` `(B, H, W)` is 0 take no part."""
        self.compute_output_shape(logits.shape, image.shape)
        dtype = "float64" if self.compute_dtype == "float64" else "float32"
        scores, image = ops.cast(logits, dtype), ops.cast(image, dtype)
        if known is not None:
            known = ops.cast(known, dtype)
            known = ops.reshape(known, (*ops.shape(image)[:3], 1))

        def kernel(apply):
            return normalized(apply, scores, self.normalization, known)

        spatial = kernel(spatial_kernel(self.theta_gamma))
        bilateral = kernel(
            bilateral_kernel(
                image,
                self.theta_alpha,
                self.theta_beta,
                exact=self.exact,
                capacity=self.capacity,
            )
        )
        matrices = (self.spatial, self.bilateral, self.compatibility)
        w_spatial, w_bilateral, compatibility = (ops.cast(m, dtype) for m in matrices)
        w_spatial, w_bilateral = w_spatial @ -compatibility, w_bilateral @ -compatibility

        def message(q):
            return spatial(q) @ w_spatial + bilateral(q) @ w_bilateral

        return ops.cast(mean_field(scores, message, self.iterations), self.compute_dtype)

    def get_config(self) -> Config:
        names = (
            "iterations",
            "theta_alpha",
            "theta_beta",
            "theta_gamma",
            "spatial_weight",
            "bilateral_weight",
            "normalization",
            "exact",
            "capacity",
        )
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

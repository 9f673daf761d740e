"""A fully connected conditional random field, unrolled, as a layer."""

import numbers

import keras
import numpy as np
from keras import ops

from keras_dense import _check
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

    Call with the scores and the image, and what is known of it: `CRFasRNN()(logits, image)`,
    shapes `(B, H, W, C)` and `(B, H, W, channels)`, returns logits `(B, H, W, C)`. In each
    iteration

        q ← softmax(logits)                          what every pixel believes
        m ← K_spatial(q) W_spatial + K_bilateral(q) W_bilateral
        logits ← scores - m μ

    where the kernels sum over all pixels, weighted with exp(-|p - p'|² / 2θ_γ²) and with
    exp(-|p - p'|² / 2θ_α² - |I - I'|² / 2θ_β²). W and the compatibilities μ are learned, C×C each;
    in the beginning they are those of the Potts model. No gradient reaches the image.

    The bilateral kernel is computed on a permutohedral lattice, the spatial one exactly. Everything
    is computed in float32 at least. The authors let W and μ learn faster than the network; see
    `kd.training.layerwise`.

    Args:
        iterations: int ≥ 0; may be set later: the authors train with 5 and predict with 10.
        theta_alpha: float > 0, in pixels: how far pixels of like color see each other.
        theta_beta: float > 0, in the units of the image (0–255): what counts as like color.
        theta_gamma: float > 0, in pixels, of the spatial kernel.
        spatial_weight, bilateral_weight: floats, W is that multiple of the identity at first.
        normalization: "after" (the authors'): what a pixel hears is divided by the kernel's sum
            there, so it is a mean; "before": what it says is; "symmetric": both by the root, as in
            pydensecrf; or `None`.
        exact: pair by pair rather than on the lattice: slow, for small images and comparisons.
        capacity: of the lattice, in corners a pixel, where sizes must be known beforehand: in
            compiled functions on TensorFlow and JAX. Default 2, but 131,072 at least. An image that
            needs more (noise does, in tiny color steps) gives NaN, never a wrong result; 6 is
            enough for any image of three channels.

    Raises:
        ValueError: for numbers out of range, fewer than 2 classes, scores and image of different
            sizes.

    Reference: Zheng et al., "Conditional Random Fields as Recurrent Neural Networks", ICCV 2015;
    Krähenbühl and Koltun, NIPS 2011.

    >>> import numpy as np
    >>> image = np.zeros((1, 4, 6, 3), "float32")
    >>> image[:, :, 3:] = 255  # two halves
    >>> logits = np.zeros((1, 4, 6, 2), "float32")
    >>> logits[0, 1, 1, 0] = logits[0, 2, 4, 1] = 3.0  # one pixel of each is known
    >>> labels = ops.argmax(CRFasRNN(theta_gamma=0.1)(logits, image), axis=-1)
    >>> ops.convert_to_numpy(labels)[0, 0].tolist()
    [0, 0, 0, 1, 1, 1]
    """

    def __init__(
        self,
        iterations=5,
        theta_alpha=160.0,
        theta_beta=3.0,
        theta_gamma=3.0,
        *,
        spatial_weight=3.0,
        bilateral_weight=5.0,
        normalization="after",
        exact=False,
        capacity=None,
        **kwargs,
    ):
        # Scores of several hundreds and sums over all pixels are too much for half precision.
        super().__init__(**{"autocast": False, **kwargs})
        self.iterations = iterations
        self.theta_alpha = _positive(theta_alpha, "theta_alpha")
        self.theta_beta = _positive(theta_beta, "theta_beta")
        self.theta_gamma = _positive(theta_gamma, "theta_gamma")
        self.spatial_weight = float(spatial_weight)
        self.bilateral_weight = float(bilateral_weight)
        if normalization not in NORMALIZATIONS:
            raise ValueError(
                f"`normalization` must be one of {NORMALIZATIONS}. "
                f"Received: normalization={normalization!r}"
            )
        self.normalization = normalization
        self.exact = bool(exact)
        self.capacity = None if capacity is None else _positive(capacity, "capacity")

    @property
    def iterations(self):
        """int ≥ 0."""
        return self._iterations

    @iterations.setter
    def iterations(self, value):
        none = value == 0 and value is not False
        self._iterations = 0 if none else _check.integer(value, "iterations", low=1)

    def build(self, logits_shape, image_shape=None, known_shape=None):
        classes = logits_shape[-1]
        if classes is None or classes < 2:
            raise ValueError(
                "A CRF chooses among 2 classes at least: predict object and background as "
                f"`kd.heads.Segmentation(2)` does. Received: logits of shape {tuple(logits_shape)}"
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

    def compute_output_shape(self, logits_shape, image_shape, known_shape=None):
        if len(logits_shape) != 4 or len(image_shape) != 4:
            raise ValueError(
                "Scores and image must be (B, H, W, channels). Received: logits of shape "
                f"{tuple(logits_shape)}, image of shape {tuple(image_shape)}"
            )
        sizes = zip(logits_shape[1:3], image_shape[1:3], strict=True)
        if any(None not in (a, b) and a != b for a, b in sizes):
            raise ValueError(
                "Scores and image must have the same height and width. Received: logits of shape "
                f"{tuple(logits_shape)}, image of shape {tuple(image_shape)}"
            )
        return tuple(logits_shape)

    def call(self, logits, image, known=None):
        """Mean field from `logits`; pixels where `known` `(B, H, W)` is 0 take no part in it."""
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

    def get_config(self):
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


def _positive(value, name):
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not real or not 0 < value < float("inf"):
        raise ValueError(f"`{name}` must be a number above 0. Received: {name}={value!r}")
    return float(value)

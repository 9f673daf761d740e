"""A dense CRF after any network, without training."""

import functools

import keras
import numpy as np

from keras_dense.inference.crf_arguments import LEAST, crf_inputs, crf_settings
from keras_dense.layers import CRFasRNN


def dense_crf(
    probabilities,
    image,
    iterations=10,
    *,
    gaussian_sxy=3.0,
    gaussian_compat=3.0,
    bilateral_sxy=80.0,
    bilateral_srgb=13.0,
    bilateral_compat=10.0,
    normalization="symmetric",
    known=None,
    exact=False,
):
    """Sharpen probabilities with the image's own edges, after any network.

    The names are those of pydensecrf, whose labels come out (99.9 % of the pixels, see
    docs/crf.md): `addPairwiseGaussian(sxy, compat)`, `addPairwiseBilateral(sxy, srgb, compat)`.

    Args:
        probabilities: `(H, W, C)` or `(B, H, W, C)`, of at least 2 classes; below 1e-5
            they count as 1e-5.
        image: `(H, W, channels)` or `(B, H, W, channels)`, 0–255.
        iterations: int ≥ 0, of mean-field inference.
        gaussian_sxy: float, standard deviation of the spatial kernel, in pixels.
        gaussian_compat: float ≥ 0, its weight; 0 leaves it out.
        bilateral_sxy, bilateral_srgb: floats, standard deviations of the bilateral kernel, in
            pixels and in the units of the image.
        bilateral_compat: float ≥ 0, its weight; 0 leaves it out.
        normalization: "symmetric", "before", "after" or `None`, see `kd.layers.CRFasRNN`.
        known: `(H, W)` or `(B, H, W)`: pixels where it is 0 take no part, such as padding.
        exact: pair by pair rather than on a lattice: time grows with the square of the pixels.

    Returns:
        A float32 array of the shape of `probabilities`.

    Raises:
        ValueError: for images and probabilities of different sizes, values that are not finite or
            negative, fewer than 2 classes, or numbers out of range.

    Reference: Krähenbühl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian
    Edge Potentials", NIPS 2011.

    >>> image = np.zeros((4, 6, 3), "uint8")
    >>> image[:, 3:] = 255
    >>> probabilities = np.full((4, 6, 2), 0.5)
    >>> probabilities[1, 1] = 0.9, 0.1
    >>> probabilities[2, 4] = 0.1, 0.9
    >>> dense_crf(probabilities, image, gaussian_compat=0).argmax(-1)[0].tolist()
    [0, 0, 0, 1, 1, 1]
    """
    given = np.shape(probabilities)
    probabilities, image, known = crf_inputs(probabilities, image, known)
    settings = crf_settings(
        iterations,
        gaussian_sxy,
        gaussian_compat,
        bilateral_sxy,
        bilateral_srgb,
        bilateral_compat,
        normalization,
    )
    channels = image.shape[-1]
    inputs = [np.log(np.maximum(probabilities, LEAST)), image.astype("float32"), known]
    result = _network(probabilities.shape[-1], channels, exact, None, *settings).predict_on_batch(
        inputs
    )
    if not np.isfinite(result).all():  # more corners than there was room for
        roomy = _network(probabilities.shape[-1], channels, exact, channels + 3, *settings)
        result = roomy.predict_on_batch(inputs)
    return np.reshape(result, given)


@functools.lru_cache(8)
def _network(classes, channels, exact, capacity, iterations, sxy, compat, *bilateral):
    bilateral_sxy, srgb, bilateral_compat, normalization = bilateral
    scores = keras.Input((None, None, classes))
    image, known = keras.Input((None, None, channels)), keras.Input((None, None))
    crf = CRFasRNN(
        iterations,
        bilateral_sxy,
        srgb,
        sxy,
        spatial_weight=compat,
        bilateral_weight=bilateral_compat,
        normalization=normalization,
        exact=exact,
        capacity=capacity,
        dtype="float32",
    )
    sharp = keras.layers.Softmax(dtype="float32")(crf(scores, image, known))
    model = keras.Model([scores, image, known], sharp)
    model.compile(jit_compile=keras.backend.backend() != "torch")
    return model

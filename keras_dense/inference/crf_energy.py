"""The energy that a dense CRF minimizes."""

import keras
import numpy as np

from keras_dense._arrays import as_array
from keras_dense._types import ArrayLike
from keras_dense.inference.crf_arguments import LEAST, crf_inputs, crf_settings
from keras_dense.ops.mean_field import bilateral_kernel, normalized, spatial_kernel


def crf_energy(
    labels: ArrayLike,
    probabilities: ArrayLike,
    image: ArrayLike,
    *,
    gaussian_sxy: float = 3.0,
    gaussian_compat: float = 3.0,
    bilateral_sxy: float = 80.0,
    bilateral_srgb: float = 13.0,
    bilateral_compat: float = 10.0,
    normalization: str | None = "symmetric",
    known: ArrayLike | None = None,
    exact: bool = False,
) -> dict[str, float]:
    """Energy of a label map, which inference lowers:

        E(y) = Σ_i -log p_i(y_i)  +  Σ_{i<j} [y_i ≠ y_j] Σ_k w_k k_k(i, j)

    with the kernels normalized as in inference.

    Args:
        labels: ints `(H, W)`.
        probabilities, image, and all others: see `dense_crf`; for one image.

    Returns:
        A dict of floats: "unary", "gaussian", "bilateral", and "total", their sum.

    Raises:
        ValueError: see `dense_crf`; also for labels of another size or out of range.

    Reference: Krähenbühl and Koltun, NIPS 2011, section 2.

    >>> image = np.zeros((2, 2, 3), "uint8")
    >>> probabilities = np.full((2, 2, 2), 0.5)
    >>> same = crf_energy(np.zeros((2, 2), int), probabilities, image)
    >>> round(same["unary"], 3), same["bilateral"]
    (2.773, 0.0)
    """
    probabilities, image, known = crf_inputs(probabilities, image, known)
    labels = as_array(labels, "labels")
    classes = probabilities.shape[-1]
    whole = labels.dtype.kind in "iu"
    if labels.shape != image.shape[1:3] or len(image) > 1 or not whole:
        raise ValueError(
            "`labels` must be ints (H, W), of one image's size. Received: "
            f"{labels.dtype} {labels.shape}, image of shape {image.shape}"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"`labels` must be from 0 to {classes - 1}. Received: {labels.min()} to {labels.max()}"
        )
    _, sxy, compat, *bilateral, normalization = crf_settings(
        1,
        gaussian_sxy,
        gaussian_compat,
        bilateral_sxy,
        bilateral_srgb,
        bilateral_compat,
        normalization,
    )
    tensor = keras.ops.convert_to_tensor
    mask = known[..., None]
    hot = tensor(np.eye(classes, dtype="float32")[labels][None] * mask)
    pixels = tensor(image.astype("float32"))

    def pairwise(kernel, weight):
        if weight == 0:
            return 0.0
        message = normalized(kernel, hot, normalization, tensor(mask))(hot)
        message = keras.ops.convert_to_numpy(message).astype("float64")
        # The message of other labels than its own; every pair counts twice.
        own = keras.ops.convert_to_numpy(hot)
        return float(weight * 0.5 * (message * (mask - own)).sum())

    sxy_b, srgb, compat_b = bilateral
    logs = np.log(np.maximum(probabilities[0], LEAST))
    own = np.take_along_axis(logs, labels[..., None], axis=-1)[..., 0]
    energy = {
        "unary": float(-(own * known[0]).sum()),
        "gaussian": pairwise(spatial_kernel(sxy), compat),
        "bilateral": pairwise(
            bilateral_kernel(pixels, sxy_b, srgb, exact=exact, capacity=image.shape[-1] + 3),
            compat_b,
        ),
    }
    return {**energy, "total": sum(energy.values())}

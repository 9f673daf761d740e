"""A dense CRF after any network, without training."""

import functools
from typing import Any

import numpy as np
from keras import ops

from keras_dense._types import Array, ArrayLike
from keras_dense.inference.crf_arguments import LEAST, crf_inputs, crf_settings
from keras_dense.ops.compiled import compiled, pad_to_grid
from keras_dense.ops.mean_field import (
    bilateral_features,
    exact_kernel,
    lattice_kernel,
    mean_field,
    normalized,
    spatial_kernel,
)
from keras_dense.ops.permutohedral import Lattice, fitted_lattice, permutohedral_lattice


def dense_crf(
    probabilities: ArrayLike,
    image: ArrayLike,
    iterations: int = 10,
    *,
    gaussian_sxy: float = 3.0,
    gaussian_compat: float = 3.0,
    bilateral_sxy: float = 80.0,
    bilateral_srgb: float = 13.0,
    bilateral_compat: float = 10.0,
    normalization: str | None = "symmetric",
    known: ArrayLike | None = None,
    exact: bool = False,
) -> Array:
    """Sharpen the probabilities of any network with the edges of the image.

    Arguments have the names of pydensecrf, `addPairwiseGaussian(sxy, compat)` and
    `addPairwiseBilateral(sxy, srgb, compat)`; 99.7 to 99.8 % of the labels agree with it
    (docs/crf.md).

    Args:
        probabilities: `(H, W, C)` or `(B, H, W, C)`, at least 2 classes; values below 1e-5 count
            as 1e-5.
        image: `(H, W, channels)` or `(B, H, W, channels)`, 0–255.
        iterations: int >= 0, number of mean-field steps.
        gaussian_sxy: float > 0, standard deviation of the spatial kernel, in pixels.
        gaussian_compat: float >= 0, its weight; 0 leaves it out.
        bilateral_sxy, bilateral_srgb: floats > 0, standard deviations of the bilateral kernel, in
            pixels and in the units of the image.
        bilateral_compat: float >= 0, its weight; 0 leaves it out.
        normalization: "symmetric", "before", "after" or `None`, see `kd.layers.CRFasRNN`.
        known: `(H, W)` or `(B, H, W)`; pixels with 0, such as padding, are left out.
        exact: bool, whether to compute all pairs instead of a lattice: the time grows with the
            square of the number of pixels.

    Returns:
        float32 array of the shape of `probabilities`.

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
    iterations, sxy, compat, *bilateral, normalization = crf_settings(
        iterations,
        gaussian_sxy,
        gaussian_compat,
        bilateral_sxy,
        bilateral_srgb,
        bilateral_compat,
        normalization,
    )
    bilateral_sxy, srgb, bilateral_compat = map(np.float32, bilateral)

    def sharpened(probabilities, image, known):
        """A batch of one."""
        size = probabilities.shape[1:3]
        scores = np.log(np.maximum(probabilities, LEAST))
        more = pad_to_grid(scores, image.astype("float32"))
        scores, image = map(ops.convert_to_tensor, more)
        missing = [(0, 0), *((0, n - m) for n, m in zip(scores.shape[1:3], size, strict=True))]
        mask = ops.convert_to_tensor(np.pad(known, missing)[..., None])
        q = _jit(_mean_field)(
            scores,
            mask,
            _bilateral(image, bilateral_sxy, srgb, exact) if bilateral_compat else None,
            np.int32(iterations),
            np.float32(compat),
            bilateral_compat,
            sxy=sxy if compat else None,
            normalization=normalization,
        )
        return ops.convert_to_numpy(q)[:, : size[0], : size[1]]

    # Image by image: one compilation serves batches of any size, and memory stays small.
    each = zip(probabilities, image, known, strict=True)
    return np.reshape([sharpened(*(x[None] for x in one)) for one in each], given)


def _bilateral(image: Any, sxy: Any, srgb: Any, exact: bool) -> Any:
    """Features of the pixels, or their lattice, from which the kernel is computed."""
    features, lattice = (_jit(f) for f in (bilateral_features, _lattice))
    if exact:
        return features(image, sxy, srgb)
    found = lattice(image, sxy, srgb, capacity=None)
    if not bool(found.fits):
        found = lattice(image, sxy, srgb, capacity=image.shape[-1] + 3)
    return fitted_lattice(found)


def _lattice(image, sxy, srgb, *, capacity):
    return permutohedral_lattice(bilateral_features(image, sxy, srgb), capacity)


# Made on first use: nothing happens on import.
_jit = functools.lru_cache(compiled)


def _mean_field(
    scores, mask, bilateral, iterations, compat, bilateral_compat, *, sxy, normalization
):
    kernels = []
    if sxy is not None:
        kernels.append((compat, spatial_kernel(sxy)))
    if bilateral is not None:
        on_lattice = isinstance(bilateral, Lattice)
        kernel = lattice_kernel(bilateral) if on_lattice else exact_kernel(bilateral)
        kernels.append((bilateral_compat, kernel))
    kernels = [(w, normalized(kernel, scores, normalization, mask)) for w, kernel in kernels]

    def message(q):
        return sum((w * kernel(q) for w, kernel in kernels), ops.zeros_like(q))

    return ops.softmax(mean_field(scores, message, iterations), axis=-1)

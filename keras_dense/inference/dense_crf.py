"""A dense CRF after any network, without training."""

import functools

import numpy as np
from keras import ops

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

    # Image by image: what is compiled for one serves batches of any size, and memory stays small.
    each = zip(probabilities, image, known, strict=True)
    return np.reshape([sharpened(*(x[None] for x in one)) for one in each], given)


def _bilateral(image, sxy, srgb, exact):
    """The pixels' features, or the lattice of them: what the kernel is made of."""
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

"""Mean-field inference of a fully connected conditional random field.

Krähenbühl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials",
NIPS 2011; as layers: Zheng et al., "Conditional Random Fields as Recurrent Neural Networks",
ICCV 2015.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from keras_dense._types import Tensor
from keras_dense.ops.gaussian import exact_gaussian, spatial_gaussian
from keras_dense.ops.permutohedral import Lattice, lattice_filter, permutohedral_lattice

NORMALIZATIONS = ("symmetric", "before", "after", None)


def spatial_kernel(sigma: float | Sequence[float]) -> Callable:
    """A filter of maps `(B, H, W, C)`: exp(-|p_i - p_j|² / (2 σ²)), p in pixels."""
    return lambda x: spatial_gaussian(x, sigma)


def bilateral_features(image: Tensor, sigma: float | Sequence[float], sigma_color: float) -> Tensor:
    """Position and color of pixels, `(B, H * W, channels + 2)`, in standard deviations.

    Args:
        image: `(B, H, W, channels)`.
        sigma: float, or two (vertical, horizontal), in pixels.
        sigma_color: float, in the units of the image.
    """
    vertical, horizontal = sigma if isinstance(sigma, (tuple, list)) else (sigma, sigma)
    batch, height, width, channels = ops.shape(image)
    rows = ops.cast(ops.arange(height), image.dtype)[None, :, None, None] / vertical
    columns = ops.cast(ops.arange(width), image.dtype)[None, None, :, None] / horizontal
    nothing = ops.zeros_like(image[..., :1])
    # On a lattice of few corners the result depends on this order, which other libraries use.
    features = ops.concatenate([nothing + columns, nothing + rows, image / sigma_color], axis=-1)
    return ops.reshape(features, (batch, height * width, channels + 2))


def lattice_kernel(lattice: Lattice) -> Callable:
    """A filter of maps `(B, H, W, C)` on a permutohedral lattice of their pixels."""

    def apply(x):
        flat = ops.reshape(x, (-1, x.shape[-1]))
        return ops.reshape(lattice_filter(flat, lattice), ops.shape(x))

    return apply


def exact_kernel(features: Tensor) -> Callable:
    """A filter of maps `(B, H, W, C)` by their features, pair by pair."""

    def apply(x):
        flat = ops.reshape(x, (ops.shape(x)[0], -1, x.shape[-1]))
        return ops.reshape(exact_gaussian(flat, features), ops.shape(x))

    return apply


def bilateral_kernel(
    image: Tensor,
    sigma: float | Sequence[float],
    sigma_color: float,
    *,
    exact: bool = False,
    capacity: float | None = None,
) -> Callable:
    """A filter of maps `(B, H, W, C)`: exp(-|p_i - p_j|² / (2 σ²) - |I_i - I_j|² / (2 σ_c²)).

    The parts that depend on the image alone are computed here, once.

    Args:
        image, sigma, sigma_color: see `bilateral_features`; no gradient reaches them.
        exact: bool; pair by pair rather than on the permutohedral lattice.
        capacity: float, of the lattice, see `permutohedral_lattice`.
    """
    features = bilateral_features(image, sigma, sigma_color)
    if exact:
        return exact_kernel(features)
    return lattice_kernel(permutohedral_lattice(features, capacity))


def normalized(
    kernel: Callable, like: Tensor, normalization: str | None, mask: Tensor | None = None
) -> Callable:
    """A filter with normalized weights, over the pixels that take part.

    Args:
        kernel: a filter of maps.
        like: a map `(B, H, W, C)`.
        normalization: with n_i the sum of the weights of pixel i, "after" divides the sum at i by
            n_i, "before" each value at j by n_j, "symmetric" does both by √n; `None`: neither.
        mask: `(B, H, W, 1)`, 1 where a pixel takes part, 0 where it does not.
    """
    ones = ops.ones_like(like[..., :1]) if mask is None else ops.cast(mask, like.dtype)
    before = after = ones
    if normalization is not None:
        norm = ops.stop_gradient(kernel(ones)) + 1e-20
        if normalization == "symmetric":
            before = after = ones * ops.rsqrt(norm)
        elif normalization == "before":
            before = ones / norm
        else:
            after = ones / norm

    def apply(x):
        return kernel(x * before) * after

    return apply


def mean_field(logits: Tensor, message: Callable, iterations: Any) -> Tensor:
    """Unrolled mean field: q ← softmax(logits + message(q)).

    Args:
        logits: `(B, H, W, C)`, minus the unary potentials.
        message: a function from a distribution `(B, H, W, C)` to the messages of the other pixels
            for each class.
        iterations: int >= 0, or an int32 tensor, which has no gradient on JAX.

    Returns:
        `(B, H, W, C)`, the logits of the final q.
    """
    known = isinstance(iterations, int)
    if known and iterations == 0:
        return logits

    def step(now):
        return logits + message(ops.softmax(now, axis=-1))

    if keras.backend.backend() == "jax":  # no gradient of a `while_loop`
        return ops.fori_loop(0, iterations, lambda _, now: step(now), logits)
    # The bound is given twice: XLA needs it for the gradient.
    _, result = ops.while_loop(
        lambda n, _: n < iterations,
        lambda n, now: (n + 1, step(now)),
        (ops.convert_to_tensor(0, "int32"), logits),
        maximum_iterations=iterations if known else None,
    )
    return result

"""The margin of 100 zeros around the image in the authors' FCNs, and the crops that it needs."""

from collections.abc import Sequence
from typing import Any

from keras import layers

from keras_dense._types import Tensor
from keras_dense.layers import BilinearInitConvTranspose, CropLike
from keras_dense.models.grid import as_grid
from keras_dense.models.upsampling import fit

# The first convolution pads 100 there; ours pads one of them itself, as all others do.
MARGIN = 99
REASON = "with `margin` the image is padded by zeros on all sides, within the network."


def margin_grid(grid: str | None) -> str:
    """The grid of a network with a margin.

    >>> margin_grid(None)
    'image'
    """
    return as_grid(grid, ("image",), REASON).name


def crops(window: int, factors: Sequence[int]) -> tuple[int, ...]:
    """Rows cut off at the top (and columns at the left) of each skipped map, and of the result.

    Args:
        window: int, size of the first fully connected layer, which is not padded.
        factors: ints, by which scores are upsampled, one after another.

    >>> crops(7, (2, 2, 8)), crops(7, (2, 16)), crops(7, (32,))
    ((5, 9, 31), (5, 27), (19,))
    """
    offset, found = (window - 1) // 2, []
    for factor in factors:
        # The kernel of a transposed convolution reaches half a cell over the border.
        offset = factor * offset - factor // 2
        found.append(offset)
    return (*found[:-1], MARGIN - found[-1])


def unpadded_upscore(x: Tensor, factor: int, offset: int = 0, *, name: str, **settings: Any):
    """Transposed convolution with its border: n cells to `f (n + 1)`, of which `offset` are cut."""
    x = layers.ZeroPadding2D(1, name=f"{name}_pad", data_format="channels_last")(x)
    x = BilinearInitConvTranspose(
        x.shape[-1], factor, data_format="channels_last", name=name, **settings
    )(x)
    border = (factor + 1) // 2
    cut = ((border + offset, border),) * 2
    return layers.Cropping2D(cut, name=f"{name}_border", data_format="channels_last")(x)


def cropped(x: Tensor, like: Tensor, offset: int, *, name: str) -> Tensor:
    """A map from a row and column on, in the size of another."""
    x = layers.Cropping2D(((offset, 0),) * 2, name=f"{name}_offset", data_format="channels_last")(x)
    return CropLike(name=f"{name}_crop")(x, like)


def to_image(x: Tensor, image: Tensor, *, name: str) -> Tensor:
    """Scores in the size of the image; below and to the right, more than enough are left."""
    return fit(x, image, name=f"{name}_crop")

"""Drawings of the differences of two segmentations."""

import numpy as np

from keras_dense._types import Array
from keras_dense.heads.drawing import hatch_unknown, label_colors
from keras_dense.heads.palette import voc_palette
from keras_dense.plot import fit_width, grid, legend

# Both right, both wrong, only the first right, only the second right.
_COLORS = {
    "both right": (222, 222, 222),
    "both wrong": (70, 70, 70),
    "only the first is right": (38, 108, 196),
    "only the second is right": (232, 126, 12),
}


def difference_drawing(
    image: Array | None,
    truth: Array,
    first: Array,
    second: Array,
    palette: Array | None,
    share: float,
    *,
    width: int = 288,
) -> Array:
    """Image, truth, both predictions, and where only one of them is right, side by side.

    Args:
        image: uint8 `(H, W, 3)`, or `None`.
        truth, first, second: labels `(H, W)`.
        palette: colors of the labels; default: those of PASCAL VOC.
        share: share of the pixels where only one is right, for the title.
        width: int, of each drawing.

    >>> labels = np.array([[0, 1, 255]])
    >>> difference_drawing(None, labels, labels, 0 * labels, None, 0.5).shape[2]
    3
    """
    most = int(max(x.max() for x in (first, second)))
    colors = voc_palette(max(most + 1, 256)) if palette is None else palette
    known = truth < len(colors) if palette is not None else truth != 255
    a, b = first == truth, second == truth
    codes = np.where(a & b, 0, np.where(a, 2, np.where(b, 3, 1)))
    apart = hatch_unknown(np.array(list(_COLORS.values()), np.uint8)[codes], known)
    drawings = {"truth": np.where(known, truth, -1), "first": first, "second": second}
    tiles = {title: label_colors(x, colors) for title, x in drawings.items()}
    tiles[f"{100 * share:.1f} % differ"] = apart
    shown = [fit_width(x, width, sharp=True) for x in tiles.values()]
    titles = list(tiles)
    if image is not None:
        shown, titles = [fit_width(image, width), *shown], ["image", *titles]
    drawing = grid(shown, columns=len(shown), titles=titles)
    return np.concatenate([drawing, legend(list(_COLORS.items()), width=drawing.shape[1])])

"""Receptive fields drawn over an image."""

from collections.abc import Mapping
from math import inf

import numpy as np

from keras_dense import _check
from keras_dense._optional import require
from keras_dense._types import Array, ArrayLike
from keras_dense.heads.palette import voc_palette
from keras_dense.plot.arguments import rgb
from keras_dense.plot.text import PAPER, legend
from keras_dense.surgery import ReceptiveField


def receptive_field(
    fields: Mapping[str, ReceptiveField],
    image: ArrayLike | None = None,
    *,
    cell: tuple[int, int] | None = None,
) -> Array:
    """Draw the receptive fields at one place of an image, one rectangle for each map.

    The small filled square of a color is one cell of that map (its stride); the rectangle contains
    all pixels that this cell depends on. Parts beyond the image, where the network sees padding,
    are drawn on the paper around it.

    Args:
        fields: `{"name": kd.surgery.ReceptiveField, …}`, such as
            `kd.surgery.receptive_field(backbone, gates=False)`; infinite ones are only listed.
        image: `(H, W, 3)`, 0 to 255; default: a gray one of 320×320.
        cell: `(y, x)`, the pixel whose cells are drawn; default: the center.

    Returns:
        uint8 `(h, w, 3)`, with a legend of name, size and stride below.

    Raises:
        ValueError: if `fields` is not a dict, or for a pixel outside the image.

    >>> from keras_dense.surgery import ReceptiveField
    >>> field = ReceptiveField(size=(91, 91), stride=(8, 8), offset=(-41, -41))
    >>> receptive_field({"P3": field}).shape[1]
    336
    """
    if not isinstance(fields, dict):
        raise _check.fail("fields", "a dict of receptive fields by name", fields)
    image = np.full((320, 320, 3), 190, np.uint8) if image is None else rgb(image)
    height, width = image.shape[:2]
    cell = (height // 2, width // 2) if cell is None else cell
    y, x = _check.integers(cell, "cell", low=0, length=2)
    if y >= height or x >= width:
        raise _check.fail("cell", f"a pixel of the {height}×{width} image", cell)
    drawn, entries = [], []
    colors = voc_palette(len(fields) + 1)[1:].tolist()
    for (name, field), color in zip(fields.items(), colors, strict=True):
        rows, columns = field.size
        size = "the whole image" if inf in field.size else f"sees {rows} x {columns}"
        stride = "" if field.stride is None else f", stride {field.stride[0]}"
        entries.append((f"{name}: {size}{stride}", tuple(color)))
        if inf not in field.size and field.stride is not None:
            i, j = (int(p // s) for p, s in zip((y, x), field.stride, strict=True))
            drawn.append((field.box(i, j), (i, j), field.stride, tuple(color)))

    reach = [max(-t, -left, b - height, r - width) for (t, left, b, r), *_ in drawn]
    margin = max(8, *(int(r) + 8 for r in reach)) if reach else 8
    size = (width + 2 * margin, height + 2 * margin)
    canvas = require("PIL.Image", extra="examples").new("RGB", size, PAPER)
    canvas.paste(
        require("PIL.Image", extra="examples").fromarray(np.ascontiguousarray(image)),
        (margin, margin),
    )
    draw = require("PIL.ImageDraw", extra="examples").Draw(canvas)
    draw.rectangle((margin - 1, margin - 1, margin + width, margin + height), outline=(150,) * 3)
    # The largest first, so that the small ones stay visible.
    for (top, left, bottom, right), (i, j), stride, color in sorted(
        drawn, key=lambda part: part[0][0] - part[0][2]
    ):
        box = [int(v) + margin for v in (left, top, right - 1, bottom - 1)]
        draw.rectangle(box, outline=color, width=3)
        corner = (j * stride[1] + margin, i * stride[0] + margin)
        opposite = (corner[0] + stride[1] - 1, corner[1] + stride[0] - 1)
        draw.rectangle([int(v) for v in (*corner, *opposite)], fill=color)
    drawing = np.asarray(canvas)
    return np.concatenate([drawing, legend(entries, width=drawing.shape[1])])

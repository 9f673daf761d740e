"""Text in drawings: titles, captions, legends."""

from collections.abc import Sequence

import numpy as np

from keras_dense import _check
from keras_dense._optional import require
from keras_dense._types import Array
from keras_dense.heads.drawing import hatch

PAPER, INK = (255, 255, 255), (30, 30, 34)


def font(size):
    """Pillow's own font: the same on every machine."""
    return require("PIL.ImageFont", extra="examples").load_default(size)


def text_width(text: str, size: int) -> int:
    """Width of a line in pixels."""
    return int(np.ceil(font(size).getlength(text)))


def shorten(text: str, size: int, width: int) -> str:
    """Cut a line to `width` pixels, with dots at its end."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + "…", size) > width:
        text = text[:-1]
    return text + "…"


def write(drawing, text, xy, size, color=INK, anchor="la", plate=False):
    """Write a line onto a drawing, uint8 `(H, W, 3)`; returns a new one.

    `plate` puts a dark plate under it, for text on photographs.
    """
    image = require("PIL.Image", extra="examples").fromarray(drawing)
    draw = require("PIL.ImageDraw", extra="examples").Draw(image, "RGBA")
    if plate:
        left, top, right, bottom = draw.textbbox(xy, text, font=font(size), anchor=anchor)
        draw.rectangle((left - 5, top - 4, right + 5, bottom + 4), fill=(20, 20, 24, 190))
        color = (255, 255, 255)
    draw.text(xy, text, fill=color, font=font(size), anchor=anchor)
    return np.asarray(image)


def write_all(drawing, lines, size):
    """Write many lines of one size, `(text, xy, color, anchor)`; returns a new drawing."""
    image = require("PIL.Image", extra="examples").fromarray(np.ascontiguousarray(drawing))
    draw, letters = require("PIL.ImageDraw", extra="examples").Draw(image), font(size)
    for text, xy, color, anchor in lines:
        draw.text(xy, text, fill=color, font=letters, anchor=anchor)
    return np.array(image)


def legend(
    entries: Sequence[tuple[str, Sequence[int] | None]], width: int, *, size: int = 14
) -> Array:
    """Names beside their colors, in as many lines as needed.

    Args:
        entries: list of `(name, (r, g, b))`; `None` instead of a color is the hatching of void.
        width: int ≥ 1, pixels.
        size: int ≥ 1, of the text, in pixels.

    Returns:
        uint8 `(H, width, 3)`; of height 0 without entries.

    Raises:
        ValueError: if `width` or `size` is below 1.

    Example:

    >>> legend([("road", (128, 64, 128)), ("sky", (128, 128, 128))], width=200).shape
    (36, 200, 3)
    """
    width, size = _check.integer(width, "width", low=1), _check.integer(size, "size", low=1)
    box, gap, line, margin = size, 6, size + 8, 7
    places, x, y = [], margin, margin
    for name, color in entries:
        name = shorten(str(name), size, width - 2 * margin - box - gap)
        step = box + gap + text_width(name, size)
        if x > margin and x + step > width - margin:
            x, y = margin, y + line
        places.append((x, y, name, color))
        x += step + 2 * margin + 4
    height = y + line + margin if entries else 0
    drawing = np.full((height, width, 3), PAPER, np.uint8)
    for x, y, _, color in places:
        drawing[y : y + box, x : x + box] = 90  # a thin frame
        inside = np.s_[y + 1 : y + box - 1, x + 1 : x + box - 1]
        drawing[inside] = hatch(box - 2, box - 2) if color is None else np.uint8(color)
    for x, y, name, _ in places:
        drawing = write(drawing, name, (x + box + gap, y + box / 2), size, anchor="lm")
    return drawing

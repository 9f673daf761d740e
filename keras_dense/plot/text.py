"""Words in pictures: titles, captions, legends."""

import numpy as np

from keras_dense._optional import require
from keras_dense.heads.picture import hatch

PAPER, INK = (255, 255, 255), (30, 30, 34)


def font(size):
    """Pillow's own font: the same on every machine."""
    return require("PIL.ImageFont", extra="examples").load_default(size)


def text_width(text, size):
    """Pixels that a line takes."""
    return int(np.ceil(font(size).getlength(text)))


def shorten(text, size, width):
    """Cut a line, with dots, to what fits into `width` pixels."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + "…", size) > width:
        text = text[:-1]
    return text + "…"


def write(picture, text, xy, size, color=INK, anchor="la", plate=False):
    """Write a line onto a picture, `(H, W, 3)` uint8; returns a new one.

    `plate` puts a dark plate under it, for text on photographs.
    """
    image = require("PIL.Image", extra="examples").fromarray(picture)
    draw = require("PIL.ImageDraw", extra="examples").Draw(image, "RGBA")
    if plate:
        left, top, right, bottom = draw.textbbox(xy, text, font=font(size), anchor=anchor)
        draw.rectangle((left - 5, top - 4, right + 5, bottom + 4), fill=(20, 20, 24, 190))
        color = (255, 255, 255)
    draw.text(xy, text, fill=color, font=font(size), anchor=anchor)
    return np.asarray(image)


def legend(entries, width, size=14):
    """Names beside their colors, in as many lines as are needed.

    Args:
        entries: list of `(name, (r, g, b))`; `None` for a color is the hatching of void.
        width: int, pixels.
        size: int, of the text.

    Returns:
        uint8 `(H, width, 3)`; of height 0 without entries.

    Example:

    >>> legend([("road", (128, 64, 128)), ("sky", (128, 128, 128))], width=200).shape
    (36, 200, 3)
    """
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
    picture = np.full((height, width, 3), PAPER, np.uint8)
    for x, y, _, color in places:
        picture[y : y + box, x : x + box] = 90  # a thin frame
        inside = np.s_[y + 1 : y + box - 1, x + 1 : x + box - 1]
        picture[inside] = hatch(box - 2, box - 2) if color is None else np.uint8(color)
    for x, y, name, _ in places:
        picture = write(picture, name, (x + box + gap, y + box / 2), size, anchor="lm")
    return picture

"""Pieces of one HTML file without any other: images inside, small drawings as SVG."""

import base64
import html
import io
import math
from collections.abc import Mapping, Sequence

import numpy as np

from keras_dense._optional import require
from keras_dense._types import Array

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1e1e22; max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-size: .85rem; margin: .6rem 0; }
td, th { padding: .2rem .55rem; border-bottom: 1px solid #dcdce0; text-align: left;
  vertical-align: top; }
td:not(.number) { overflow-wrap: anywhere; min-width: 4.5rem; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
figure { margin: .8rem 0; } figcaption { font-size: .85rem; color: #55555c; }
img { max-width: 100%; image-rendering: auto; }
pre { background: #f4f4f6; padding: .7rem; overflow-x: auto; font-size: .82rem; }
.warning { background: #fff3d6; padding: .3rem .7rem; margin: .3rem 0; border-radius: 4px; }
.swatch { display: inline-block; width: .8em; height: .8em; border: 1px solid #777; }
"""


INTERVALS = (
    "Intervals are by bootstrap over the held-out images: they say how much a score would differ "
    "on other images like them."
)


class Markup(str):
    """HTML that is not escaped in a table."""


def text(value: object) -> str:
    """Escape text for HTML.

    >>> text("a < b")
    'a &lt; b'
    """
    return html.escape(str(value))


def page(title: str, parts: Sequence[str]) -> str:
    """Return a whole page."""
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width">\n<title>{text(title)}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<h1>{text(title)}</h1>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body>\n</html>\n"
    )


def section(title: str, *parts: str) -> str:
    """Return a heading and what is below it; nothing without content."""
    inside = "\n".join(part for part in parts if part)
    return f"<h2>{text(title)}</h2>\n{inside}" if inside else ""


def paragraphs(lines: Sequence[str], kind: str = "") -> str:
    """Return a paragraph for each line."""
    mark = f' class="{kind}"' if kind else ""
    return "\n".join(f"<p{mark}>{text(line)}</p>" for line in lines)


def table(head: Sequence[str], rows: Sequence[Sequence[object]], numbers: int = 0) -> str:
    """Return a table; cells are escaped unless they are `Markup`.

    Args:
        head: titles of the columns.
        rows: cells.
        numbers: int, columns from this one on are numbers, on the right; 0 for none.
    """

    def row(cells: Sequence[object], tag: str) -> str:
        out = []
        for place, cell in enumerate(cells):
            mark = ' class="number"' if numbers and place >= numbers else ""
            inside = cell if isinstance(cell, Markup) else text(cell)
            out.append(f"<{tag}{mark}>{inside}</{tag}>")
        return f"<tr>{''.join(out)}</tr>"

    body = "\n".join(row(cells, "td") for cells in rows)
    return f'<div class="wide"><table>\n{row(head, "th")}\n{body}\n</table></div>'


def percent(value: float) -> str:
    """Write a share in percent; a dash for NaN.

    >>> percent(0.1234), percent(float("nan"))
    ('12.3', '–')
    """
    return f"{100 * value:.1f}" if math.isfinite(value) else "–"


def interval(ends: Sequence[float] | None) -> str:
    """Write the ends of an interval in percent; a dash for `None`.

    >>> interval([0.1, 0.25]), interval(None)
    ('10.0 to 25.0', '–')
    """
    if ends is None or not all(map(math.isfinite, ends)):
        return "–"
    return f"{percent(ends[0])} to {percent(ends[1])}"


def swatch(color: Sequence[int]) -> Markup:
    """Return a small square of a color."""
    r, g, b = (int(c) for c in color)
    return Markup(f'<span class="swatch" style="background: rgb({r},{g},{b})"></span>')


def inline_image(drawing: Array, caption: str = "", width: int = 1000) -> str:
    """Return a drawing inside the page, as JPEG."""
    image = require("PIL.Image", extra="examples").fromarray(np.ascontiguousarray(drawing))
    if image.width > width:
        image = image.resize((width, max(1, round(image.height * width / image.width))))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=88)
    data = base64.b64encode(file.getvalue()).decode()
    words = f"<figcaption>{text(caption)}</figcaption>" if caption else ""
    source = f"data:image/jpeg;base64,{data}"
    return f'<figure><img src="{source}" alt="{text(caption)}">{words}</figure>'


def curves(series: Mapping[str, Sequence[float]], title: str) -> str:
    """Return curves over rounds as SVG; values that are not finite are left out."""
    width, height, left, bottom = 440, 230, 46, 30
    shown = {
        name: [(i + 1, v) for i, v in enumerate(values) if math.isfinite(v)]
        for name, values in series.items()
    }
    points = [point for values in shown.values() for point in values]
    if not points:
        return ""
    last = max(x for x, _ in points)
    low, high = min(v for _, v in points), max(v for _, v in points)
    span = (high - low) or max(abs(high), 1e-9)

    def place(x: float, v: float) -> tuple[float, float]:
        across = left + (x - 1) / max(last - 1, 1) * (width - left - 14)
        return across, 14 + (1 - (v - low) / span) * (height - bottom - 28)

    lines = []
    for color, (name, values) in zip(
        ("#c8372d", "#46679c", "#6a9a3c"), shown.items(), strict=False
    ):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*p) for p in values))
        lines.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        lines += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.4" fill="{color}"><title>{text(name)} '
            f"{v:.4f} after round {n}</title></circle>"
            for n, v in values
            for x, y in [place(n, v)]
        ]
    ticks = []
    for share in (0.0, 0.5, 1.0):
        _, y = place(1, low + share * span)
        ticks.append(_line(left, y, width - 14, y, "#e4e4e8"))
        ticks.append(_word(left - 6, y + 4, f"{low + share * span:.3g}", "end"))
    ticks.append(_word(left, height - 8, "round 1"))
    ticks.append(_word(width - 14, height - 8, f"{last}", "end"))
    return _figure(width, height, "".join(ticks + lines), title)


def reliability(bins: Array, title: str) -> str:
    """Return accuracy over confidence as SVG, with the share of the pixels of each bin."""
    size, left = 260, 40
    side = size - left - 14
    count, confidence, right = bins
    total = max(float(count.sum()), 1.0)
    out = [_line(left, 14 + side, left + side, 14, "#b8b8c0")]
    for i in np.flatnonzero(count):
        x0, width = left + i / len(count) * side, side / len(count)
        y = right[i] / count[i] * side
        out.append(
            f'<rect x="{x0:.1f}" y="{14 + side - y:.1f}" width="{width - 1:.1f}" '
            f'height="{y:.1f}" fill="#46679c" fill-opacity="{0.25 + 0.75 * count[i] / total:.2f}">'
            f"<title>confidence {confidence[i] / count[i]:.2f}, right {right[i] / count[i]:.2f}, "
            f"{100 * count[i] / total:.1f} % of the pixels</title></rect>"
        )
    for share in (0.0, 0.5, 1.0):
        out.append(_word(left - 6, 14 + (1 - share) * side + 4, f"{share:g}", "end"))
        out.append(_word(left + share * side, size - 6, f"{share:g}", "middle"))
    return _figure(size, size, "".join(out), title)


def _line(x0: float, y0: float, x1: float, y1: float, color: str) -> str:
    return f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="{color}"/>'


def _word(x: float, y: float, word: str, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="11" fill="#55555c" '
        f'text-anchor="{anchor}">{text(word)}</text>'
    )


def _figure(width: int, height: int, inside: str, title: str) -> str:
    return (
        f'<figure style="display: inline-block"><svg width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img">{inside}</svg>'
        f"<figcaption>{text(title)}</figcaption></figure>"
    )

"""Drawings beside and above each other."""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from keras_dense import _check
from keras_dense._optional import require
from keras_dense._types import Array, ArrayLike, PathLike
from keras_dense.heads.drawing import RIGHT, WRONG
from keras_dense.plot.arguments import class_map, colors, rgb
from keras_dense.plot.render import colorize, error_map
from keras_dense.plot.text import PAPER, legend, shorten, write

GAP = 6


def overlay(
    image: ArrayLike,
    labels: ArrayLike,
    palette: ArrayLike,
    *,
    alpha: float = 0.5,
    class_names: Sequence[str] | None = None,
    ignore_class: int | None = 255,
) -> Array:
    """Labels over an image, with a legend.

    Args:
        image: `(H, W, 3)`, 0 to 255.
        labels: int `(H, W)`.
        palette: `(classes, 3)`, 0 to 255.
        alpha: float, from 0 (only the image) to 1 (only the labels).
        class_names: list of str, one per color. If given, a legend below shows the classes that
            appear.
        ignore_class: int or `None`, the label of void; void pixels show the image.

    Returns:
        uint8 `(H + legend, W, 3)`.

    Raises:
        ValueError: if sizes differ, a label has no color, or `alpha` is out of range.

    Example:

    >>> image = np.full((1, 2, 3), 100, "uint8")
    >>> overlay(image, [[0, 1]], [[0, 0, 0], [200, 200, 200]]).tolist()
    [[[50, 50, 50], [150, 150, 150]]]
    """
    image = rgb(image)
    labels = class_map(labels, "labels", image.shape[:2])
    alpha = _check.number(alpha, "alpha", 0, 1)
    flat = colorize(labels, palette, ignore_class=ignore_class)
    mixed = (image * (1 - alpha) + flat * alpha + 0.5).astype(np.uint8)
    if ignore_class is not None:
        mixed = np.where((labels == ignore_class)[..., None], image, mixed)
    if class_names is None:
        return mixed
    entries = _entries([labels], palette, class_names, ignore_class, void=False)
    return np.concatenate([mixed, legend(entries, width=mixed.shape[1])])


def panel(
    image: ArrayLike,
    truth: ArrayLike,
    prediction: ArrayLike,
    palette: ArrayLike,
    *,
    class_names: Sequence[str] | None = None,
    ignore_class: int | None = 255,
    tile: int = 256,
    titles: Sequence[str] | None = ("image", "truth", "prediction", "error"),
) -> Array:
    """Image, truth, prediction and error beside each other, with titles and a legend.

    Void pixels of the truth are hatched in the truth and in the error. The error shows the share
    of wrong pixels among the others.

    Args:
        image: `(H, W, 3)`, 0 to 255, or a list of images, one per row.
        truth: int `(H, W)`, or a list.
        prediction: int `(H, W)`, or a list.
        palette: `(classes, 3)`, 0 to 255.
        class_names: list of str, one per color. If given, a legend below shows the classes that
            appear.
        ignore_class: int or `None`, the label of void.
        tile: int ≥ 1, width of each drawing in pixels.
        titles: four str, or `None` for none.

    Returns:
        uint8 `(h, w, 3)`.

    Raises:
        ValueError: if numbers or sizes differ, or a label has no color.

    Example:

    >>> image, labels = np.zeros((48, 64, 3), "uint8"), np.zeros((48, 64), int)
    >>> panel(image, labels, labels, [[0, 0, 0]], class_names=["ground"], tile=64).shape[1]
    286
    """
    tile = _check.integer(tile, "tile", low=1)
    tiles, shown = [], []
    for row in _rows(image, truth, prediction):
        photo = rgb(row[0])
        true, guess = (
            class_map(labels, name, photo.shape[:2])
            for labels, name in zip(row[1:], ("truth", "prediction"), strict=True)
        )
        tiles += _tiles(photo, true, guess, palette, ignore_class, tile)
        shown += [true, guess]
    drawing = grid(tiles, columns=4, titles=titles)
    if class_names is None:
        return drawing
    entries = _entries(shown, palette, class_names, ignore_class, void=True)
    entries += [("right", RIGHT), ("wrong", WRONG)]
    return np.concatenate([drawing, legend(entries, width=drawing.shape[1])])


def _tiles(image, truth, prediction, palette, ignore_class, width):
    """The four tiles of a row, with the share of wrong pixels in the last one."""
    void = {"ignore_class": ignore_class}
    error = error_map(truth, prediction, image=image, **void)
    drawings = [colorize(truth, palette, **void), colorize(prediction, palette, **void), error]
    tiles = [fit_width(image, width), *(fit_width(d, width, sharp=True) for d in drawings)]
    known = np.ones(truth.shape, bool) if ignore_class is None else truth != ignore_class
    if known.any() and width >= 100:
        text = f"{100 * (truth != prediction)[known].mean():.1f} % wrong"
        place = (10, tiles[3].shape[0] - 9)
        tiles[3] = write(tiles[3], text, place, 13, anchor="ls", plate=True)
    return tiles


def grid(
    images: Sequence[ArrayLike],
    *,
    columns: int = 4,
    titles: Sequence[str] | None = None,
    gap: int = GAP,
) -> Array:
    """Images in rows, on white.

    Args:
        images: list of `(H, W, 3)`, 0 to 255, all of one width; rows may differ in height.
        columns: int ≥ 1.
        titles: list of str, one per column, above the first row; or one per image, above each.
        gap: int ≥ 0, pixels between and around the images.

    Returns:
        uint8 `(h, w, 3)`.

    Raises:
        ValueError: if there is no image, widths differ, or the number of titles does not fit.

    Example:

    >>> grid([np.zeros((10, 20, 3), "uint8")] * 3, columns=2, gap=1).shape
    (23, 43, 3)
    """
    images = [rgb(image, "images") for image in images]
    columns = _check.integer(columns, "columns", low=1)
    gap = _check.integer(gap, "gap", low=0)
    if not images:
        raise ValueError("`images` must hold at least one image. Received: none")
    widths = sorted({image.shape[1] for image in images})
    if len(widths) > 1:
        raise ValueError(f"`images` must have one width. Received: widths {widths}")
    width = widths[0]
    columns = min(columns, len(images))
    titles = [] if titles is None else [str(title) for title in titles]
    if len(titles) not in (0, columns, len(images)):
        raise ValueError(
            f"`titles` must be one per column ({columns}) or one per image ({len(images)}). "
            f"Received: {len(titles)} titles"
        )
    size = int(np.clip(width / 14, 11, 18))
    bands = [np.full((gap, gap + columns * (width + gap), 3), PAPER, np.uint8)]
    for start in range(0, len(images), columns):
        row = images[start : start + columns]
        if titles and (start == 0 or len(titles) == len(images) > columns):
            bands.append(_titles(titles[start : start + columns], width, gap, columns, size))
        height = max(image.shape[0] for image in row)
        band = np.full((height + gap, bands[0].shape[1], 3), PAPER, np.uint8)
        for i, image in enumerate(row):
            left = gap + i * (width + gap)
            band[: image.shape[0], left : left + width] = image
        bands.append(band)
    return np.concatenate(bands)


def tasks(
    image: ArrayLike,
    drawings: Mapping[str, ArrayLike],
    *,
    columns: int | None = None,
    tile: int = 256,
) -> Array:
    """An image and drawings of its truth or its predictions, in one figure.

    Args:
        image: `(H, W, 3)`, 0 to 255.
        drawings: dict from a title to a drawing `(h, w, 3)` of any size, as heads and the functions
            of `kd.plot` return them.
        columns: int ≥ 1; default: all in one row.
        tile: int ≥ 1, width of each drawing in pixels.

    Returns:
        uint8 `(h, w, 3)`.

    Raises:
        ValueError: if a drawing has a wrong shape, or `columns` is below 1.

    Example:

    >>> image = np.zeros((48, 64, 3), "uint8")
    >>> tasks(image, {"depth": image, "normals": image[:24, :32]}, tile=64).shape
    (79, 216, 3)
    """
    tiles = [fit_width(image, tile)]
    tiles += [fit_width(drawing, tile, sharp=True) for drawing in drawings.values()]
    columns = len(tiles) if columns is None else columns
    return grid(tiles, columns=columns, titles=["image", *drawings])


def _titles(titles, width, gap, columns, size):
    band = np.full((size + 8, gap + columns * (width + gap), 3), PAPER, np.uint8)
    for i, title in enumerate(titles):
        middle = gap + i * (width + gap) + width / 2
        title = shorten(title, size, width)
        band = write(band, title, (middle, (size + 4) / 2), size, anchor="mm")
    return band


def fit_width(image: ArrayLike, width: int, *, sharp: bool = False) -> Array:
    """Resize an image to a width, keeping its aspect ratio.

    Args:
        image: `(H, W, 3)`, 0 to 255.
        width: int ≥ 1, pixels.
        sharp: bool. `True` repeats pixels, so that their edges stay sharp.

    Returns:
        uint8 `(h, width, 3)`.

    Raises:
        ValueError: if the shape is wrong or the width is below 1.

    >>> fit_width(np.zeros((10, 20, 3), "uint8"), 60).shape
    (30, 60, 3)
    """
    image, width = rgb(image), _check.integer(width, "width", low=1)
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    if image.shape[:2] == (height, width):
        return image
    pil = require("PIL.Image", extra="examples")
    how = pil.Resampling.NEAREST if sharp else pil.Resampling.BICUBIC
    return np.asarray(pil.fromarray(np.ascontiguousarray(image)).resize((width, height), how))


def save(path: PathLike, image: ArrayLike) -> pathlib.Path:
    """Write an image to a file; its extension sets the format. Missing folders are created.

    Args:
        path: path of a `.png` or `.jpg` file, or of another format of Pillow.
        image: `(H, W, 3)`, 0 to 255.

    Returns:
        The path, as `pathlib.Path`.

    Raises:
        ValueError: if the shape or the extension is unknown.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(folder + "/black.png", np.zeros((4, 6, 3), "uint8")).name
    'black.png'
    """
    path = pathlib.Path(path)
    pil = require("PIL.Image", extra="examples")
    written = pil.fromarray(np.ascontiguousarray(rgb(image)))
    path.parent.mkdir(parents=True, exist_ok=True)
    written.save(path)
    return path


def _rows(image, truth, prediction):
    """Lists of equal length; single arrays become one row."""
    if not isinstance(image, list | tuple) and np.ndim(image) == 3:
        image, truth, prediction = [image], [truth], [prediction]
    if not len(image) == len(truth) == len(prediction) or len(image) == 0:
        raise ValueError(
            "`image`, `truth` and `prediction` must be equally many, at least one. Received: "
            f"{len(image)} images, {len(truth)} truths, {len(prediction)} predictions"
        )
    return list(zip(image, truth, prediction, strict=True))


def _entries(maps, palette, class_names, ignore_class, void):
    """Legend entries of the classes that appear."""
    palette = colors(palette)
    if len(class_names) != len(palette):
        raise ValueError(
            f"`class_names` must be one for each of {len(palette)} colors. "
            f"Received: {len(class_names)} class names"
        )
    present = np.unique(np.concatenate([np.unique(m) for m in maps]))
    entries = [(class_names[i], tuple(palette[i].tolist())) for i in present if i < len(palette)]
    if void and ignore_class is not None and ignore_class in present:
        entries.append(("void", None))
    return entries

"""Pictures side by side."""

import pathlib

import numpy as np

from keras_dense import _check
from keras_dense._optional import require
from keras_dense.plot.arguments import class_map, colors, pixels, rgb
from keras_dense.plot.render import RIGHT, WRONG, colorize, error_map
from keras_dense.plot.text import PAPER, legend, shorten, write

GAP = 6


def overlay(image, labels, palette, alpha=0.5, class_names=None, ignore_class=255):
    """Labels over an image, with a legend.

    Args:
        image: `(H, W, 3)`, 0 to 255.
        labels: int `(H, W)`.
        palette: `(classes, 3)`.
        alpha: float, 0 (only the image) to 1 (only the labels).
        class_names: list of str; with it there is a legend of the classes that appear, below.
        ignore_class: int or `None`; there the image is left as it is.

    Returns:
        uint8 `(H + legend, W, 3)`.

    Raises:
        ValueError: if sizes differ, a label has no color, or `alpha` is out of range.

    Example:

    >>> image = np.full((1, 2, 3), 100, "uint8")
    >>> overlay(image, [[0, 1]], [[0, 0, 0], [200, 200, 200]]).tolist()
    [[[50, 50, 50], [150, 150, 150]]]
    """
    image = rgb(image, "overlay")
    labels = class_map(labels, "overlay", image.shape[:2])
    alpha = alpha.item() if hasattr(alpha, "item") else alpha
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 <= alpha <= 1:
        raise ValueError(f"overlay: alpha must be from 0 to 1. Received: alpha={alpha!r}")
    flat = colorize(labels, palette, ignore_class)
    mixed = (image * (1 - alpha) + flat * alpha + 0.5).astype(np.uint8)
    if ignore_class is not None:
        mixed = np.where((labels == ignore_class)[..., None], image, mixed)
    if class_names is None:
        return mixed
    entries = _entries([labels], palette, class_names, ignore_class, void=False)
    return np.concatenate([mixed, legend(entries, mixed.shape[1])])


def panel(
    image,
    truth,
    prediction,
    palette,
    class_names=None,
    *,
    ignore_class=255,
    tile=256,
    titles=("image", "truth", "prediction", "error"),
):
    """Image, truth, prediction and error beside each other, with titles and a legend.

    Pixels that are void in the truth are hatched there and in the error, which tells the share of
    wrong ones among the others.

    Args:
        image: `(H, W, 3)`, or a list of such: one a row.
        truth: int `(H, W)`, or a list.
        prediction: int `(H, W)`, or a list.
        palette: `(classes, 3)`.
        class_names: list of str; with it there is a legend of the classes that appear, below.
        ignore_class: int or `None`.
        tile: int, the width of each picture in pixels.
        titles: four str, or `None` for none.

    Returns:
        uint8 `(h, w, 3)`.

    Raises:
        ValueError: if numbers or sizes differ, or a label has no color.

    Example:

    >>> image, labels = np.zeros((48, 64, 3), "uint8"), np.zeros((48, 64), int)
    >>> panel(image, labels, labels, [[0, 0, 0]], ["ground"], tile=64).shape[1]
    286
    """
    tile = pixels(tile, "tile", "panel")
    rows = _rows(image, truth, prediction)
    tiles, shown = [], []
    for picture, true, guess in rows:
        picture = rgb(picture, "panel")
        true = class_map(true, "panel", picture.shape[:2])
        guess = class_map(guess, "panel", picture.shape[:2])
        parts = [
            fit_width(picture, tile),
            fit_width(colorize(true, palette, ignore_class), tile, sharp=True),
            fit_width(colorize(guess, palette, ignore_class), tile, sharp=True),
            fit_width(error_map(true, guess, picture, ignore_class), tile, sharp=True),
        ]
        known = np.ones(true.shape, bool) if ignore_class is None else true != ignore_class
        if known.any() and tile >= 100:
            wrong = 100 * (true != guess)[known].mean()
            height = parts[3].shape[0]
            text = f"{wrong:.1f} % wrong"
            parts[3] = write(parts[3], text, (10, height - 9), 13, anchor="ls", plate=True)
        tiles += parts
        shown += [true, guess]
    picture = grid(tiles, columns=4, titles=titles)
    if class_names is None:
        return picture
    entries = _entries(shown, palette, class_names, ignore_class, void=True)
    entries += [("right", RIGHT), ("wrong", WRONG)]
    return np.concatenate([picture, legend(entries, picture.shape[1])])


def grid(images, columns=4, titles=None, gap=GAP):
    """Pictures in rows, on white.

    Args:
        images: list of `(H, W, 3)`, all of one width; rows may differ in height.
        columns: int.
        titles: list of str: one a column, above the first row; or one a picture, above each.
        gap: int, pixels between and around them.

    Returns:
        uint8 `(h, w, 3)`.

    Raises:
        ValueError: if there is nothing to show, widths differ, or the number of titles is neither.

    Example:

    >>> grid([np.zeros((10, 20, 3), "uint8")] * 3, columns=2, gap=1).shape
    (23, 43, 3)
    """
    images = [rgb(image, "grid") for image in images]
    columns = _check.integer(columns, "columns")
    if not images or columns < 1:
        raise ValueError(
            f"grid: needs a picture and a column. Received: {len(images)} and {columns}"
        )
    widths = {image.shape[1] for image in images}
    if len(widths) > 1:
        raise ValueError(f"grid: pictures must have one width. Received: {sorted(widths)}")
    width = widths.pop()
    columns = min(columns, len(images))
    titles = [] if titles is None else [str(title) for title in titles]
    if len(titles) not in (0, columns, len(images)):
        raise ValueError(
            f"grid: titles must be one a column ({columns}) or one a picture ({len(images)}). "
            f"Received: {len(titles)}"
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


def tasks(image, pictures, columns=None, tile=256):
    """One figure: an image, and beside it what is known or predicted of it.

    Args:
        image: `(H, W, 3)`.
        pictures: dict from a title to a picture `(h, w, 3)`, of any size: what heads or the
            functions of `kd.plot` draw.
        columns: int; all in one row unless given.
        tile: int, the width of each picture in pixels.

    Returns:
        uint8 `(h, w, 3)`.

    Raises:
        ValueError: if something is no picture, or `columns` is below 1.

    Example:

    >>> image = np.zeros((48, 64, 3), "uint8")
    >>> tasks(image, {"depth": image, "normals": image[:24, :32]}, tile=64).shape
    (79, 216, 3)
    """
    tiles = [fit_width(image, tile)]
    tiles += [fit_width(picture, tile, sharp=True) for picture in pictures.values()]
    columns = len(tiles) if columns is None else columns
    return grid(tiles, columns, ["image", *pictures])


def _titles(titles, width, gap, columns, size):
    band = np.full((size + 8, gap + columns * (width + gap), 3), PAPER, np.uint8)
    for i, title in enumerate(titles):
        middle = gap + i * (width + gap) + width / 2
        title = shorten(title, size, width)
        band = write(band, title, (middle, (size + 4) / 2), size, anchor="mm")
    return band


def fit_width(picture, width, sharp=False):
    """A picture at another width, its shape kept; `sharp` keeps the edges of its pixels.

    >>> fit_width(np.zeros((10, 20, 3), "uint8"), 60).shape
    (30, 60, 3)
    """
    picture, width = rgb(picture, "fit_width"), pixels(width, "width", "fit_width")
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    if picture.shape[:2] == (height, width):
        return picture
    image = require("PIL.Image", extra="examples")
    how = image.Resampling.NEAREST if sharp else image.Resampling.BICUBIC
    return np.asarray(image.fromarray(np.ascontiguousarray(picture)).resize((width, height), how))


def save(path, picture):
    """Write a picture to a file; its extension says the format. Missing folders are made.

    Args:
        path: path of a `.png`, `.jpg` or whatever Pillow writes.
        picture: uint8 `(H, W, 3)`.

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
    image = require("PIL.Image", extra="examples")
    picture = image.fromarray(np.ascontiguousarray(rgb(picture, "save")))
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
    return path


def _rows(image, truth, prediction):
    """Lists of equally many; single arrays are one row."""
    if not isinstance(image, list | tuple) and np.ndim(image) == 3:
        image, truth, prediction = [image], [truth], [prediction]
    if not len(image) == len(truth) == len(prediction) or len(image) == 0:
        raise ValueError(
            "panel: needs as many truths and predictions as images, at least one. Received: "
            f"{len(image)} images, {len(truth)} truths, {len(prediction)} predictions"
        )
    return list(zip(image, truth, prediction, strict=True))


def _entries(maps, palette, class_names, ignore_class, void):
    """Legend entries of the classes that appear."""
    palette = colors(palette, "legend")
    if len(class_names) != len(palette):
        raise ValueError(f"legend: {len(class_names)} class names for {len(palette)} colors")
    present = np.unique(np.concatenate([np.unique(m) for m in maps]))
    entries = [(class_names[i], tuple(palette[i].tolist())) for i in present if i < len(palette)]
    if void and ignore_class is not None and ignore_class in present:
        entries.append(("void", None))
    return entries

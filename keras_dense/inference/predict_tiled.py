"""Predictions for one image of any size, tile by tile."""

from collections.abc import Callable
from typing import Any

import keras

from keras_dense._types import Size
from keras_dense.heads.model_heads import Given
from keras_dense.inference.tiled_predictor import TiledPredictor


def predict_tiled(
    model: keras.Model,
    image: Any,
    heads: Given = None,
    *,
    tile: Size | None = None,
    overlap: int | None = None,
    out: Any = None,
    raw: bool = False,
    batch_size: int = 1,
    progress: bool | Callable[[int, int], None] = True,
    value_range: tuple[float, float] | None = (0, 255),
) -> Any:
    """Predict an image of any size, tile by tile.

    Tiles overlap, and across an overlap one fades into the next: in the raw predictions (logits,
    meters, normals at length 1 again), before they become labels. All tiles have the same size, so
    the network is compiled once; those at the edges are moved into the image. Beside the network,
    memory holds a few tiles and the overlap of one row of them; while the network computes, the
    next tile is read and the last one written. Tiles begin at multiples of the network's stride. If
    the overlap is at least twice the reach of the network's receptive field, and nothing is pooled
    from the whole image, the result equals that of the undivided image, up to rounding.

    Args:
        model: functional `keras.Model` of one image, such as any builder returns.
        image: `(H, W, C)`, uint8 or floats, 0–255: an array, list, tensor or Pillow image; or
            anything with `shape` and `dtype` that is read by `image[y0:y1, x0:x1]`: `np.memmap`, a
            zarr array, `kd.inference.GeoTiff`.
        heads: heads of the model; default: those that it carries. Outputs of a model without heads
            stay as they are, and auxiliary heads are left out.
        tile: int, or a pair `(height, width)`, the largest size of a tile in pixels; it is reduced
            by less than the network's stride if the last tile would not start at a multiple of it.
            Default: the size up to 1536 that computes the fewest pixels for this image.
        overlap: int, the number of pixels that neighbors share at least, up to a quarter of a tile.
            Default: twice the reach of the network (`kd.surgery.receptive_field`), at most 48.
        out: destination of the result: `None` (a new array); an array, memmap or zarr array that is
            written by slices and holds such numbers exactly; or a path, whose ending decides the
            format: ".npy", ".zarr" (with the meaning of the numbers in its attribute "about"), or
            ".tif" (with the georeference of a `GeoTiff`, and the head's colors, classes and units).
            For a dict of heads, a dict of these.
            A run that writes to paths can be stopped, also by `kill -9`, and continues when it is
            started again, to the same bytes; until it is finished the file is called `….part`,
            `….state.npz` beside it records the progress, and `….lock` keeps other runs out.
        raw: bool, whether to write predictions as the network gives them, instead of results of
            `head.decode`: labels (uint8 up to 256 classes), meters, normals.
        batch_size: int >= 1, number of tiles that go through the network together.
        progress: bool, whether to show a progress bar; or a function that is called with the number
            of finished tiles and that of all.
        value_range: `(low, high)` of allowed pixel values; `None` for a model of your own that
            takes other numbers.

    Where a `GeoTiff` has no data, labels are the head's `ignore_class`, depth and normals 0, as in
    targets; colors are 0, and raw predictions NaN.

    Returns:
        The written result, `(H, W, …)`, in the structure of `heads`: arrays; for paths these are
        opened read-only (a `GeoTiff` for ".tif").

    Raises:
        TypeError: for a model whose graph cannot be read, or an image of another type.
        ValueError: for a model of other than one image; an image with another number of channels,
            with values out of range (NaN, 0 to 1 instead of 0 to 255) or smaller than a model of
            fixed size; wrong tiles or overlaps; an `out` of another shape or type, or that is the
            image itself; raw predictions smaller than the image; predictions that are NaN or
            infinite (unless `raw`); a run to continue that had another model, image, backend or
            other arguments.
        FileExistsError: if there is a file at a path of `out` already, or one at its `….part` that
            does not belong to such a run.
        BlockingIOError: if another run writes to a path of `out`.
        OSError: with its number and the path, if a disk is full; started again, the run continues.

    Example:

    >>> import numpy as np
    >>> import keras_dense as kd
    >>> model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(5, 3)])
    >>> model.add(keras.layers.ZeroPadding2D(1))
    >>> image = np.random.default_rng(0).integers(0, 256, (150, 210, 3), dtype="uint8")
    >>> head = kd.heads.Segmentation(5)
    >>> labels = predict_tiled(model, image, head, tile=64, progress=False)
    >>> labels.shape, labels.dtype
    ((150, 210), dtype('uint8'))
    """
    predictor = TiledPredictor(model, heads, raw=raw, value_range=value_range)
    return predictor.run(
        image, tile=tile, overlap=overlap, out=out, batch_size=batch_size, progress=progress
    )

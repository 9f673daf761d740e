"""Predictions for one image of any size, tile by tile."""

from keras_dense.inference.tiled_predictor import TiledPredictor


def predict_tiled(
    model,
    image,
    heads=None,
    *,
    tile=None,
    overlap=None,
    out=None,
    raw=False,
    batch_size=1,
    progress=True,
    value_range=(0, 255),
):
    """Predict an image of any size, tile by tile.

    Tiles overlap; across an overlap one fades into the next, in the raw predictions (logits,
    meters, normals at length 1 again), before they become labels. All have one size, so that what
    is compiled is compiled once: those at the edges are moved into the image. Memory beyond the
    network's own is a few tiles and the overlap of one row of them; the next tile is read, and the
    last one written, while the network computes. Tiles begin where the network's strides do, so
    that where the overlap is at least twice as far as the network sees (and it pools nothing from
    the whole image) the result is that of the undivided image, up to rounding.

    Args:
        model: functional `keras.Model` of one image, such as any builder returns.
        image: `(H, W, C)`, uint8 or floats, 0–255: an array, list, tensor, or image; or anything
            with `shape` and `dtype` that is read by `image[y0:y1, x0:x1]`: `np.memmap`, a zarr
            array, `kd.inference.GeoTiff`.
        heads: the heads the model was built with; `None` for its output as it is. Auxiliary heads
            are left out.
        tile: int, or a pair `(height, width)`: pixels of a tile, at most; it is made smaller by
            less than the network's stride where the last one would not lie on its maps. Default:
            up to 1536, what computes the fewest pixels for this image.
        overlap: int, pixels that neighbors share at least, up to a quarter of a tile. Default:
            twice as far as the network sees (`kd.surgery.receptive_field`), at most 48.
        out: where the result goes: `None` (a new array); an array, memmap or zarr array that is
            written by slices and holds such numbers exactly; or a path, which decides by its end:
            ".npy", ".zarr" (whose attribute "about" says what the numbers mean), or ".tif" (with
            the georeference of a `GeoTiff`, the head's colors, classes, and units). For a dict of
            heads, a dict of these.
            A run that writes to paths and is stopped, also by `kill -9`, goes on where it was when
            it is started again, to the same bytes; until it is finished the file is called
            `….part`, and a file `….state.npz` beside it says what was done.
        raw: whether to write predictions as the network gives them, in place of what
            `head.decode` makes of them: labels (uint8 up to 256 classes), meters, normals.
        batch_size: int, tiles that go through the network together.
        progress: whether to show a bar.
        value_range: `(low, high)` in which all pixels must be; `None` for a model of one's own
            that takes other numbers.

    Where a `GeoTiff` has no data, labels are the head's `ignore_class`, depth and normals 0, as in
    targets; colors are 0, and raw predictions NaN.

    Returns:
        What was written, `(H, W, …)`, in the structure of `heads`: arrays; for paths they are
        opened read-only (a `GeoTiff` for ".tif").

    Raises:
        TypeError: for a model whose graph cannot be read, or an image that is none.
        ValueError: for a model of other than one image, an image of another number of channels,
            with values out of range (NaN, 0 to 1 in place of 0 to 255) or smaller than a model of
            fixed size, tiles or overlaps that cannot be, an `out` of another shape or type or that
            is the image itself, raw predictions that are smaller than the image, predictions that
            are NaN or infinite (unless `raw`), or a run to continue that was one of another model,
            image, backend, or other arguments.
        FileExistsError: if there is something at a path of `out` already, or something that is not
            from such a run at its `….part`.

    >>> import keras
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

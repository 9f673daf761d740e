"""Predictions for pictures of any size, tile by tile."""

import functools
import hashlib
import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dense.heads.auxiliary import Auxiliary
from keras_dense.heads.head import decode
from keras_dense.heads.heads import as_heads
from keras_dense.inference.outputs import Outputs
from keras_dense.inference.tiles import LARGEST, OVERLAP, Axis, Stitcher, reach_of
from keras_dense.surgery.feature_pyramid import image_of
from keras_dense.surgery.graph import functional


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
):
    """Predict a picture of any size, tile by tile.

    Tiles overlap; across an overlap one fades into the next, in the raw predictions (logits,
    metres, normals at length 1 again), before they become labels. All have one size, so that what
    is compiled is compiled once: those at the edges are moved into the picture. Memory beyond the
    network's own is a few tiles and the overlap of one row of them; the next tile is read, and the
    last one written, while the network computes. Tiles begin where the network's strides do, so
    that where the overlap is at least twice as far as the network sees (and it pools nothing from
    the whole image) the result is that of the undivided picture, up to rounding.

    Args:
        model: functional `keras.Model` of one image, such as any builder returns.
        image: `(H, W, C)`, 0–255: anything with `shape` and `dtype` that is read by
            `image[y0:y1, x0:x1]`: an array, `np.memmap`, a zarr array, `kd.inference.GeoTiff`.
        heads: the heads the model was built with; `None` for its output as it is. Auxiliary heads
            are left out.
        tile: int, or a pair `(height, width)`: pixels of a tile, at most; it is made smaller by
            less than the network's stride where the last one would not lie on its maps. Default:
            up to 1536, what computes the fewest pixels for this picture.
        overlap: int, pixels that neighbours share at least, up to a quarter of a tile. Default:
            twice as far as the network sees (`kd.surgery.receptive_field`), at most 48.
        out: where the result goes: `None` (a new array); an array, memmap or zarr array that is
            written by slices; or a path, which decides by its end: ".npy", ".zarr", or ".tif"
            (which gets the georeference of a `GeoTiff`). For a dict of heads, a dict of these.
            A run that writes to paths and is stopped, also by `kill -9`, goes on where it was when
            it is started again, to the same bytes; until it is finished the file is called
            `….part`, and a file `….state.npz` beside it says what was done.
        raw: whether to write predictions as the network gives them, in place of what
            `head.decode` makes of them: labels (uint8 up to 256 classes), metres, normals.
        batch_size: int, tiles that go through the network together.
        progress: whether to show a bar.

    Returns:
        What was written, `(H, W, …)`, in the structure of `heads`: arrays; for paths they are
        opened read-only (a `GeoTiff` for ".tif").

    Raises:
        TypeError: for a model whose graph cannot be read.
        ValueError: for a model of other than one image, a picture of another number of channels or
            smaller than a model of fixed size, tiles or overlaps that cannot be, an `out` of
            another shape, raw predictions that are smaller than the image, or a run to continue
            that was one of another model, picture, or arguments.
        FileExistsError: if there is something at a path of `out` already.

    >>> import keras_dense as kd
    >>> model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(5, 3)])
    >>> model.add(keras.layers.ZeroPadding2D(1))
    >>> image = np.random.default_rng(0).integers(0, 256, (150, 210, 3), dtype="uint8")
    >>> head = kd.heads.Segmentation(5)
    >>> labels = predict_tiled(model, image, head, tile=64, progress=False)
    >>> labels.shape, labels.dtype
    ((150, 210), dtype('uint8'))
    """
    expected = tuple(image_of(model).shape[1:])
    size = _check_image(image, expected)
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"`batch_size` must be an int ≥ 1. Received: batch_size={batch_size!r}")
    parts, network = _network(model, _as_key(heads), bool(raw))
    rows, columns, margin = _layout(model, size, expected[:2], tile, overlap)
    stitchers = [Stitcher(rows, columns, margin, part.finish) for part in parts]
    shapes = [(*size, *part.shape) for part in parts]
    single = len(parts) == 1 and parts[0].key is None
    outputs = Outputs(
        [None if single else part.key for part in parts],
        shapes,
        [part.dtype for part in parts],
        out,
        like=image,
    )

    places = list(itertools.product(range(len(rows.places)), range(len(columns.places))))
    done = 0
    if outputs.resumable:
        arguments = [rows.tile, columns.tile, rows.width, columns.width, batch_size, bool(raw)]
        done = outputs.resume(
            {
                "model": _digest_model(model),
                "image": _digest_image(image),
                "heads": _digest_heads(heads),
                "arguments": [*arguments, margin, keras.backend.backend()],
            },
            stitchers,
        )
    bar = keras.utils.Progbar(len(places), unit_name="tile", verbose=int(bool(progress)))
    if done and progress:
        bar.update(done)

    def read(batch):
        """The images of a batch; the last one is filled up with copies."""
        pixels = []
        for j, k in batch:
            y, x = rows.places[j], columns.places[k]
            pixels.append(np.asarray(image[y : y + rows.tile, x : x + columns.tile]))
        pixels += pixels[-1:] * (batch_size - len(batch))
        images = np.stack(pixels)
        return images if images.dtype == np.uint8 else images.astype("float32")

    def write(batch, predictions, count):
        for n, (j, k) in enumerate(batch):
            for part, stitcher, array in zip(parts, stitchers, outputs.arrays, strict=True):
                unmixed, whole = (predictions[i][n] for i in part.outputs)
                place, region = stitcher.add(j, k, unmixed, whole)
                array[place] = region
        if count < len(places) and any(k == len(columns.places) - 1 for _, k in batch):
            outputs.save_state(count, stitchers)
        return count

    batches = [places[i : i + batch_size] for i in range(done, len(places), batch_size)]
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        coming = reader.submit(read, batches[0])
        going = None
        for batch, after in itertools.zip_longest(batches, batches[1:]):
            images = coming.result()
            if after is not None:
                coming = reader.submit(read, after)
            predictions = [np.asarray(x) for x in _listed(network.predict_on_batch(images))]
            if going is None:
                _check_size(predictions, parts, (rows.tile, columns.tile))
            else:
                bar.update(going.result())
            done += len(batch)
            going = writer.submit(write, batch, predictions, done)
        bar.update(going.result(), finalize=True)
    found = outputs.finish()
    return found[0] if single else {p.key: x for p, x in zip(parts, found, strict=True)}


@dataclass(frozen=True)
class _Part:
    """What is written for one head.

    Attributes:
        key: of the head, or `None`.
        dtype, shape: of what is written, without height and width.
        outputs: pair, which outputs of the network are mixed and are meant.
        finish: from mixed pixels `(h, w, C)` to what is written.
    """

    key: Any
    dtype: str
    shape: tuple
    outputs: tuple
    finish: Any


def _as_key(heads):
    """Heads as something that can be a key."""
    if heads is None:
        return None
    heads = as_heads(heads)
    items = heads.items() if isinstance(heads, dict) else [(None, heads)]
    return tuple((key, head) for key, head in items if not isinstance(head, Auxiliary))


# The last one is kept: another picture needs no new compilation.
@functools.lru_cache(maxsize=1)
def _network(model, heads, raw):
    """What is written, and a network with all it takes for that among its outputs."""
    model = functional(model)
    given = model.output
    if heads is None:
        keys = list(given) if isinstance(given, dict) else [None]
        heads = tuple((key, None) for key in keys)
    if isinstance(given, dict) != (heads[0][0] is not None) or (
        isinstance(given, dict) and not {key for key, _ in heads} <= set(given)
    ):
        keys = [key for key, _ in heads]
        raise ValueError(
            "`heads` must have the structure of the model's output. Received: heads "
            f"{keys if isinstance(heads[0][0], str) else '(one)'}, outputs "
            f"{list(given) if isinstance(given, dict) else '(one)'}"
        )
    if not isinstance(given, (dict, keras.KerasTensor)):
        raise ValueError(
            "`model` must give one tensor or a dict of them. Received: a model that gives "
            f"{len(given)} in a {type(given).__name__}"
        )
    parts, outputs = [], []
    for key, head in heads:
        prediction = given if key is None else given[key]
        first = len(outputs)
        if len(prediction.shape) != 4:
            raise ValueError(
                "`model` must predict at every pixel, (B, H, W, C). Received: an output of shape "
                f"{tuple(prediction.shape)}"
            )
        if head is not None and prediction.shape[-1] != head.channels:
            raise ValueError(
                f"`heads` must be those of the model. Received: {type(head).__name__} with "
                f"{head.channels} channels for an output of shape {tuple(prediction.shape)}"
            )
        if head is None or raw:
            outputs.append(prediction)
            finish = _same if head is None else head.blended
            meant = prediction
        else:
            meant = decode(head, prediction, model.input)
            dtype = keras.backend.standardize_dtype(meant.dtype)
            if "int" in dtype and head.channels <= 256:
                dtype = "uint8"
                meant = ops.cast(meant, dtype)
            if getattr(head, "needs_image", False):
                # Colours are mixed as colours: the prediction is at another size.
                finish = _rounded
            else:
                outputs.append(prediction)
                finish = functools.partial(_decoded, head, dtype)
            outputs.append(meant)
        parts.append(
            _Part(
                key,
                keras.backend.standardize_dtype(meant.dtype),
                tuple(meant.shape[3:]),
                (first, len(outputs) - 1),
                finish,
            )
        )
    return parts, keras.Model(model.input, outputs, name=f"{model.name}_tile")


def _same(mixed):
    return mixed


def _rounded(mixed):
    return np.rint(mixed).clip(0, 255).astype("uint8")


def _decoded(head, dtype, mixed):
    return ops.convert_to_numpy(head.decode(mixed[None]))[0].astype(dtype)


def _listed(x):
    return x if isinstance(x, (list, tuple)) else [x]


def _check_image(image, expected):
    """The picture's height and width."""
    shape = tuple(getattr(image, "shape", ()))
    height, width, channels = expected
    if len(shape) != 3 or 0 in shape or channels not in (None, shape[2]):
        raise ValueError(
            f"`image` must have shape (height, width, {channels or 'channels'}). Received: "
            f"{shape or type(image).__name__}"
        )
    for fixed, there in zip((height, width), shape, strict=False):
        if fixed is not None and there < fixed:
            raise ValueError(
                f"`image` must not be smaller than what the model takes, ({height}, {width}). "
                f"Received: shape {shape}"
            )
    return shape[:2]


def _layout(model, size, fixed, tile, overlap):
    """Tiles along either axis, and how far wrong pixels reach into them."""
    reach, grid = reach_of(model)
    pair = (tile, tile) if tile is None or isinstance(tile, int) else tuple(tile)
    good = len(pair) == 2 and all(t is None or (isinstance(t, int) and t > 0) for t in pair)
    if isinstance(tile, bool) or not good:
        raise ValueError(f"`tile` must be an int ≥ 1, or a pair of them. Received: tile={tile!r}")
    for t, f in zip(pair, fixed, strict=True):
        if f is not None and t not in (None, f):
            raise ValueError(
                f"`tile` must be {tuple(fixed)}, the size that the model takes. "
                f"Received: tile={tile!r}"
            )
    pair = [t if f is None else f for t, f in zip(pair, fixed, strict=True)]
    wrong = isinstance(overlap, bool) or not isinstance(overlap, int) or overlap < 0
    if overlap is not None and wrong:
        raise ValueError(f"`overlap` must be an int ≥ 0. Received: overlap={overlap!r}")
    axes = []
    for length, side, free in zip(size, pair, (f is None for f in fixed), strict=True):
        most = (LARGEST // 2 if side is None else side) // 4
        if overlap is not None and overlap > most:
            raise ValueError(
                f"`overlap` must be at most a quarter of a tile, {most}. "
                f"Received: overlap={overlap}"
            )
        shared = min(2 * reach, OVERLAP, most) if overlap is None else overlap
        if side is None:
            axes.append(Axis.fitted(length, shared, grid))
        else:
            if free and side < length and grid <= side // 4:
                # So that the last tile lies on the network's maps, too.
                side -= (side - length) % grid
            axes.append(Axis.of(length, side, shared, grid))
    return *axes, min(reach, LARGEST)


def _digest_model(model):
    """Names a model: its structure and its weights."""
    found = hashlib.blake2b(model.to_json().encode(), digest_size=16)
    for weight in model.weights:
        found.update(np.ascontiguousarray(ops.convert_to_numpy(weight)).tobytes())
    return found.hexdigest()


def _digest_image(image):
    """Names a picture: its shape and type, and what is to be seen at nine places."""
    height, width = image.shape[:2]
    found = hashlib.blake2b(f"{tuple(image.shape)} {image.dtype}".encode(), digest_size=16)
    for y, x in itertools.product((0, height // 2, height), (0, width // 2, width)):
        y, x = max(0, min(y, height - 64)), max(0, min(x, width - 64))
        found.update(np.ascontiguousarray(image[y : y + 64, x : x + 64]).tobytes())
    return found.hexdigest()


def _digest_heads(heads):
    """Names heads: what they are made of."""
    items = _as_key(heads) or ()
    return json.dumps(
        {str(key): keras.saving.serialize_keras_object(head) for key, head in items}, sort_keys=True
    )


def _check_size(predictions, parts, tile):
    for part in parts:
        size = predictions[part.outputs[0]].shape[1:3]
        if size != tile:
            raise ValueError(
                "Predictions of another size than the image cannot be written raw: give `heads`, "
                "and raw=False, so that they are decoded. Received: predictions of "
                f"{size} for tiles of {tile}"
            )

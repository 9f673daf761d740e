"""A compiled network for many large images."""

import itertools
import json
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_dense import _check
from keras_dense._types import Size
from keras_dense._version import __version__
from keras_dense.heads.model_heads import Given
from keras_dense.inference.network import final_heads, network_of
from keras_dense.inference.outputs import Outputs
from keras_dense.inference.pixels import Pixels, checked_range
from keras_dense.inference.state import Computation, digest
from keras_dense.inference.tiles import (
    LARGEST,
    OVERLAP,
    Axis,
    Stitcher,
    reach_of,
    warn_if_stretched,
)
from keras_dense.surgery.feature_pyramid import image_of

# The last network of each living model: another image needs no new compilation.
_LAST: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


class Plan(NamedTuple):
    """Positions of tiles.

    Attributes:
        rows, columns: `keras_dense.inference.tiles.Axis`.
        margin: int, the distance from the border of a tile up to which pixels are wrong.
    """

    rows: Axis
    columns: Axis
    margin: int

    @property
    def tile(self) -> tuple[int, int]:
        """Height and width of a tile."""
        return self.rows.tile, self.columns.tile

    @property
    def places(self) -> list[tuple[int, int]]:
        """Pairs of the row and the column of each tile, in reading order."""
        rows, columns = range(len(self.rows.places)), range(len(self.columns.places))
        return list(itertools.product(rows, columns))

    def slices(self, j: int, k: int) -> tuple[slice, slice]:
        """The pixels of a tile."""
        y, x = self.rows.places[j], self.columns.places[k]
        return slice(y, y + self.rows.tile), slice(x, x + self.columns.tile)


class TiledPredictor:
    """Predictor for many images of any size: the network for a tile is compiled once.

    `kd.inference.predict_tiled` does the same for one image, and describes how tiles are put
    together. The network is compiled again when the model has changed: attributes of its layers or
    heads, LoRA, another compilation. (Weights are always shared with the model.)

    Args:
        model: functional `keras.Model` of one image, such as any builder returns.
        heads: the heads of the model; default: those that it carries. Outputs of a model
            without heads stay as they are.
        raw: bool, whether to write predictions as the network gives them.
        value_range: `(low, high)` of allowed pixel values; `None` for any.

    Raises:
        TypeError: for a model whose graph cannot be read.
        ValueError: for a model of other than one image, or heads that are not its own.

    >>> import keras_dense as kd
    >>> model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(5, 1)])
    >>> predictor = TiledPredictor(model, kd.heads.Segmentation(5))
    >>> predictor.plan((150, 210), tile=64).tile
    (64, 64)
    >>> image = np.zeros((150, 210, 3), "uint8")
    >>> predictor.run(image, tile=64, progress=False).shape
    (150, 210)
    """

    def __init__(
        self,
        model: keras.Model,
        heads: Given = None,
        *,
        raw: bool = False,
        value_range: tuple[float, float] | None = (0, 255),
    ) -> None:
        self.model, self.raw = model, bool(raw)
        self.value_range = checked_range(value_range)
        self._expected = tuple(image_of(model).shape[1:])
        self.heads = final_heads(model, heads)
        self._compiled = _LAST.get(model)
        self._refresh()

    def _refresh(self):
        """The written parts and the network for them, for the present model."""
        heads = list((self.heads or {}).values())
        wanted, now = (self.heads, self.raw), Computation(self.model, heads)
        if self._compiled is None or self._compiled[:2] != (wanted, now):
            parts, network = network_of(self.model, self.heads, self.raw)
            # Compared with the state afterwards: building the network may complete layers.
            self._compiled = wanted, Computation(self.model, heads), parts, network
        _LAST[self.model] = self._compiled
        return self._compiled[2:]

    def plan(
        self, size: tuple[int, int], *, tile: Size | None = None, overlap: int | None = None
    ) -> Plan:
        """Lay out the tiles of an image.

        Args:
            size: `(height, width)`.
            tile, overlap: see `predict_tiled`.

        Returns:
            A `Plan`: `rows` and `columns` with the places of tiles; `tile`, their size.

        Raises:
            ValueError: for wrong tiles or overlaps.
        """
        return _plan(self.model, tuple(size), self._expected[:2], tile, overlap)

    def run(
        self,
        image: Any,
        *,
        tile: Size | None = None,
        overlap: int | None = None,
        out: Any = None,
        batch_size: int = 1,
        progress: bool | Callable[[int, int], None] = True,
    ) -> Any:
        """Predict one image; see `predict_tiled` for arguments, result and errors."""
        batch_size = _check.integer(batch_size, "batch_size", low=1)
        pixels = Pixels(image, self._expected[2], self.value_range)
        size = _check_size(pixels.shape, self._expected)
        plan = self.plan(size, tile=tile, overlap=overlap)
        parts, network = self._refresh()
        _check_unknown(pixels.given, parts)
        single = len(parts) == 1 and not parts[0].key
        outputs = Outputs(
            [None if single else part.key for part in parts],
            [(*size, *part.shape) for part in parts],
            [part.dtype for part in parts],
            out,
            like=pixels.given,
            facts=[part.facts for part in parts],
        )
        try:
            work = _Work(plan, parts, network, pixels, outputs, batch_size, progress)
            work.run(self._description(plan, batch_size) if outputs.resumable else None)
            pixels.finish()
            found = outputs.finish()
        finally:
            outputs.close()
        return found[0] if single else {p.key: x for p, x in zip(parts, found, strict=True)}

    def _description(self, plan, batch_size):
        """Facts that must be the same for a stopped run to continue."""
        rows, columns, margin = plan
        sizes = [rows.tile, columns.tile, rows.width, columns.width, batch_size, margin]
        heads = {k: keras.saving.serialize_keras_object(h) for k, h in (self.heads or {}).items()}
        return {
            "model": digest(self.model),
            "heads": json.dumps(heads, sort_keys=True),
            "arguments": [*sizes, self.raw, self.value_range],
            "backend": keras.backend.backend(),
            "version of keras or keras_dense": [keras.__version__, __version__],
        }


class _Work:
    """The work on one image: reading, predicting, mixing and writing at the same time."""

    def __init__(self, plan, parts, network, pixels, outputs, batch_size, progress):
        self.plan, self.parts, self.network = plan, parts, network
        self.pixels, self.outputs, self.batch_size = pixels, outputs, batch_size
        self.places = plan.places
        self.stitchers = [Stitcher(*plan, part.finish) for part in parts]
        self.progress = progress

    def run(self, description):
        """Predict all tiles, or those that an earlier run did not finish."""
        places, size = self.places, self.batch_size
        done = 0
        if description is not None:
            done = self.outputs.resume(description, self.stitchers, self._seen)
        show = self._shower(done)
        batches = [places[i : i + size] for i in range(done, len(places), size)]
        if not batches:  # Only names were left to be given.
            return
        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
            coming = reader.submit(self._read, batches[0])
            going = None
            for batch, after in itertools.zip_longest(batches, batches[1:]):
                images, known, seen = coming.result()
                if after is not None:
                    coming = reader.submit(self._read, after)
                predictions = [
                    np.asarray(x) for x in _listed(self.network.predict_on_batch(images))
                ]
                self._check(batch, predictions)
                if going is not None:
                    show(going.result())
                done += len(batch)
                going = writer.submit(self._write, batch, predictions, known, done, seen)
            show(going.result())

    def _shower(self, done):
        """A function that shows the number of finished tiles."""
        total = len(self.places)
        if callable(self.progress):
            return lambda count: self.progress(count, total)
        bar = keras.utils.Progbar(total, unit_name="tile", verbose=int(bool(self.progress)))
        if done and self.progress:
            bar.update(done)
        return lambda count: bar.update(count, finalize=count == total)

    def _seen(self, done):
        """Read the finished tiles again, and return their digest."""
        for place in self.places[:done]:
            self.pixels.read(*self.plan.slices(*place))
        return self.pixels.seen()

    def _read(self, batch):
        """Images of a batch, filled up with copies; their known pixels; the digest so far."""
        found = [self.pixels.read(*self.plan.slices(*place)) for place in batch]
        images = [image for image, _ in found]
        images += images[-1:] * (self.batch_size - len(batch))
        return np.stack(images), [known for _, known in found], self.pixels.seen()

    def _check(self, batch, predictions):
        """Raise for predictions of another size, NaN or infinity."""
        for part in self.parts:
            size = predictions[part.outputs[0]].shape[1:3]
            if size != self.plan.tile:
                raise ValueError(
                    "Predictions of another size than the image cannot be written raw: give "
                    "`heads`, and raw=False, so that they are decoded. Received: predictions of "
                    f"{size} for tiles of {self.plan.tile}"
                )
            shares = [] if part.lost is None else predictions[part.lost][: len(batch)]
            for place, share in zip(batch, shares, strict=False):
                if share > 0:
                    y, x = (s.start for s in self.plan.slices(*place))
                    what = f" of {part.key!r}" if part.key else ""
                    raise ValueError(
                        f"`model` predicts NaN or infinity{what} at {100 * share:.3g} % of the "
                        f"pixels of the tile at row {y}, column {x}: are its weights finite? "
                        "(raw=True gives predictions as they are)"
                    )

    def _write(self, batch, predictions, masks, count, seen):
        for n, (j, k) in enumerate(batch):
            rows, columns = self.plan.slices(j, k)
            for part, stitcher, array in zip(
                self.parts, self.stitchers, self.outputs.arrays, strict=True
            ):
                unmixed, whole = (predictions[i][n] for i in part.outputs)
                place, region = stitcher.add(j, k, unmixed, whole)
                if masks[n] is not None:
                    region = region.copy()
                    own = [
                        slice(s.start - first.start, s.stop - first.start)
                        for s, first in zip(place, (rows, columns), strict=True)
                    ]
                    region[~masks[n][tuple(own)]] = part.unknown
                array[place] = region
        finishing = count == len(self.places)
        if finishing or any(k == len(self.plan.columns.places) - 1 for _, k in batch):
            self.outputs.save_state(count, self.stitchers, seen, finishing)
        return count


def _listed(x):
    return x if isinstance(x, (list, tuple)) else [x]


def _check_size(shape, expected):
    """The image's height and width."""
    height, width, _ = expected
    for fixed, there in zip((height, width), shape, strict=False):
        if fixed is not None and there < fixed:
            raise ValueError(
                f"`image` must not be smaller than what the model takes, ({height}, {width}). "
                f"Received: shape {shape}"
            )
    return shape[:2]


def _check_unknown(image, parts):
    """Raise if a file has pixels without data and a head has no label for them."""
    for part in parts:
        if part.unknown is None and getattr(image, "masked", False):
            raise ValueError(
                f"{image.path}: may have pixels without data, for which the head "
                f"{part.key or ''} has no label: give it an `ignore_class` that fits into "
                f"{part.dtype}"
            )


def _plan(model, size, fixed, tile, overlap):
    """Tiles along both axes, and the width of their wrong margins."""
    reach, grid = reach_of(model, warn=overlap is None)
    pair = _checked_tile(tile, fixed)
    if overlap is not None:
        overlap = _check.integer(overlap, "overlap", low=0)
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
    warn_if_stretched(model, tuple(size), tuple(axis.tile for axis in axes))
    return Plan(*axes, min(reach, LARGEST))


def _checked_tile(tile, fixed):
    """Height and width of a tile, `None` for any."""
    pair = tuple(tile) if np.ndim(tile) == 1 else (tile, tile)
    try:
        pair = tuple(None if t is None else _check.integer(t, "tile", low=1) for t in pair)
    except ValueError:
        pair = ()
    if len(pair) != 2:
        raise ValueError(
            f"`tile` must be an integer >= 1 or a pair of them. Received: tile={tile!r}"
        )
    if any(f is not None and t not in (None, f) for t, f in zip(pair, fixed, strict=True)):
        raise ValueError(
            f"`tile` must be {tuple(fixed)}, the size that the model takes. Received: tile={tile!r}"
        )
    return [t if f is None else f for t, f in zip(pair, fixed, strict=True)]

"""Positions of tiles in an image, and the mix of neighbors where they overlap."""

import warnings
from dataclasses import dataclass
from math import ceil, inf, lcm

import keras
import numpy as np
from keras import tree

from keras_dense.surgery.receptive_field import on_one_grid, receptive_field
from keras_dense.surgery.strides import total_stride

LARGEST = 1536  # side of a tile where none is asked for: more overlaps less, and takes more memory
OVERLAP = 48  # pixels, where a network sees farther
GRID = 32  # pixels, a multiple of the stride of networks with unknown operations


@dataclass(frozen=True)
class Axis:
    """Tiles along one axis of an image.

    Attributes:
        length, tile: ints, pixels.
        places: where each tile begins.
        width: how many pixels a tile takes to fade into the next.
        zones: where each tile's own pixels begin, the first of them shared with the tile before;
            and the length.

    >>> Axis.of(length=100, tile=40, overlap=8, grid=1)
    Axis(length=100, tile=40, places=(0, 32, 60), width=8, zones=(0, 32, 62, 100))
    """

    length: int
    tile: int
    places: tuple
    width: int
    zones: tuple

    @classmethod
    def of(cls, length, tile, overlap, grid):
        """Tiles of one size, which begin at multiples of `grid` as the network's maps do, except
        the last one, which ends where the image does.
        """
        if length <= tile:
            return cls(length, length, (0,), 0, (0, length))
        step = (tile - overlap) // grid * grid
        # Of three tiles in a row the outer ones must not meet, wherever the last one comes to lie.
        if tile < 3 * (tile - step):
            step = tile - overlap
        width = tile - step
        count = 1 + ceil((length - tile) / step)
        places = tuple(min(k * step, length - tile) for k in range(count))
        # In the middle of what two tiles share.
        zones = tuple((a + tile + b - width) // 2 for a, b in zip(places, places[1:], strict=False))
        return cls(length, tile, places, width, (0, *zones, length))

    @classmethod
    def fitted(cls, length, overlap, grid):
        """Tiles of the size that computes the fewest pixels.

        Their size differs from the image's by whole cells of `grid`, so the last one, too, lies
        on the network's maps.
        """
        if length <= LARGEST:
            return cls.of(length, length, overlap, grid)
        sizes = range(LARGEST - (LARGEST - length) % grid, LARGEST // 2, -grid)
        axes = [cls.of(length, size, overlap, grid) for size in sizes]
        return min(axes, key=lambda axis: len(axis.places) * ceil(axis.tile / grid) * grid)

    def own(self, k):
        """First pixel of tile k that no later tile owns, and the one after its last."""
        return self.zones[k], self.zones[k + 1]


def fade(width, margin):
    """Weights of the later of two tiles across `width` pixels: 0, a smooth step, 1.

    Args:
        width: int.
        margin: int, how far wrong pixels reach into a tile from its border; they get no weight
            where there is room, else a quarter of the width is left out.

    >>> fade(3, 1).tolist()
    [0.0, 0.5, 1.0]
    """
    margin = margin if 2 * margin <= width else width // 4
    share = (np.arange(width) + 0.5 - margin) / max(width - 2 * margin, 1e-6)
    share = share.clip(0, 1)
    return (share * share * (3 - 2 * share)).astype("float32")


def reach_of(model: keras.Model, *, warn: bool = True) -> tuple[float, int]:
    """The distance in pixels at which a prediction looks, at most, and the network's stride.

    Pooling of the whole image is left out: each tile is pooled on its own. The reach is infinite
    where a prediction depends on the whole image in other ways, and where a network has operations
    whose receptive field is unknown.

    Args:
        model: functional `keras.Model`.
        warn: bool, whether to warn where the reach is unknown.
    """
    grid = total_stride(model)
    try:
        fields = tree.flatten(receptive_field(model, gates=False))
    except ValueError as error:
        if warn:
            warnings.warn(
                f"The receptive field of the model is unknown: {error} Tiles overlap by {OVERLAP} "
                "pixels, which may be too few. Give `overlap=`, twice the number of pixels that a "
                "prediction looks beyond its own.",
                stacklevel=2,
            )
        return inf, lcm(GRID, grid)
    reach = 0
    for field in fields:
        for axis in range(2):
            if field.size[axis] == inf:
                return inf, grid
            first, stride = field.offset[axis], field.stride[axis]
            farthest = max(-first, first + field.size[axis] - 1)
            # A pixel of a coarse map that is upsampled later sees two more cells.
            reach = max(reach, ceil(farthest + (2 * stride if stride > 1 else 0)))
    return reach, grid


def warn_if_stretched(model: keras.Model, size: tuple, tile: tuple) -> None:
    """Warn if tiles lie on another grid than the whole image would.

    Args:
        model: functional `keras.Model`.
        size, tile: pairs, height and width of the image and of a tile.
    """
    if size == tile:
        return
    try:
        same = on_one_grid(model, size, tile)
    except ValueError:
        return  # Unknown operations: `reach_of` warns.
    if not same:
        warnings.warn(
            "Tiles are predicted a little differently from the whole image: the model stretches "
            "its maps to the size of what it sees (its grid is not 'multiple' or 'corners'), and "
            f"the image, {size[0]}×{size[1]}, or a tile, {tile[0]}×{tile[1]}, is no multiple of "
            "its stride.",
            stacklevel=2,
        )


class Stitcher:
    """Puts the tiles of one prediction together, in reading order.

    Only what the next tiles share with earlier ones is kept: the right side of one tile, and the
    lower edges of one row of them.

    Args:
        rows, columns: `Axis`.
        margin: see `fade`.
        finish: what becomes of mixed pixels `(h, w, C)`.
    """

    def __init__(self, rows, columns, margin, finish):
        self.rows, self.columns = rows, columns
        self.finish = finish
        self._down = fade(rows.width, margin)[:, None, None]
        self._across = fade(columns.width, margin)[None, :, None]
        self.side = self.edges = np.zeros(0, "float32")

    def add(self, j, k, raw, whole):
        """Tile k of row j, `raw` to be mixed and `whole` as it is meant, both `(H, W, …)`.

        Returns:
            The slices of the image that are finished now, and what belongs there.
        """
        rows, columns = self.rows, self.columns
        (top, bottom), (left, right) = rows.own(j), columns.own(k)
        height, width = rows.width * (j > 0), columns.width * (k > 0)  # shared with earlier tiles
        below = rows.width * (bottom < rows.length)  # shared with later ones
        beside = columns.width * (right < columns.length)
        place = slice(top, bottom), slice(left, right)
        y, x = top - rows.places[j], left - columns.places[k]
        region = whole[y : y + bottom - top, x : x + right - left]
        band = raw[y : y + bottom - top + below, x : x + right - left + beside]
        own = band[:, : right - left]
        if height or width:
            region = region.copy()
        if width:
            mixed = _mixed(self.side, own[:, :width], self._across)
            region[:, :width] = self.finish(mixed[: bottom - top])
        if height:
            strip = own[:height].astype("float32")
            if width:
                strip[:, :width] = mixed[:height]
            strip = _mixed(self.edges[:, left:right], strip, self._down)
            region[:height] = self.finish(strip)
        if below:
            if self.edges.ndim == 1:
                self.edges = np.zeros((below, columns.length, raw.shape[-1]), "float32")
            self.edges[:, left:right] = own[-below:]
            if width:
                self.edges[:, left : left + width] = mixed[-below:]
        self.side = band[:, right - left :].astype("float32")
        return place, region


def _mixed(before, after, weight):
    before = np.asarray(before, "float32")
    return before + (np.asarray(after, "float32") - before) * weight

"""The pixels that cells of a map see, along one axis, and what operations make of them."""

from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor, inf

from keras_dense.ops.atrous import same_pads

# How many cells on either side of a position an interpolation mixes; "nearest" takes one.
_REACH = {"bilinear": 1, "bicubic": 2, "lanczos3": 3, "lanczos5": 5}


@dataclass(frozen=True)
class Interval:
    """Cell i sees the pixels from `first + step i` to `last + step i`, both included.

    Where cells differ (the phases of an upsampled map) it is what they all fit into, and may be
    a fraction of a pixel too wide.
    """

    step: int | Fraction
    first: int | Fraction | float
    last: int | Fraction | float
    cells: int  # how many there are; of an image whose size is free, an example

    def moved(self, by):
        """The first `by` cells are gone, or are new ones where negative."""
        return replace(self, first=self.first + self.step * by, last=self.last + self.step * by)

    def sized(self, cells):
        return replace(self, cells=cells)

    def whole(self):
        """Everything is seen from every cell."""
        return replace(self, first=-inf, last=inf)

    def window(self, kernel, rate, stride, padding):
        """Each cell sees `kernel` of the old ones, `rate` apart."""
        extent = (kernel - 1) * rate + 1
        if padding == "same":
            padding = same_pads(self.cells, kernel, rate, stride)
        elif padding == "valid":
            padding = (0, 0)
        moved = self.moved(-padding[0])
        return Interval(
            self.step * stride,
            moved.first,
            moved.last + self.step * (extent - 1),
            max((self.cells + sum(padding) - extent) // stride + 1, 1),
        )

    def transposed(self, kernel, rate, stride, padding, output_padding=None):
        """Each old cell is written into `kernel` of the new ones, `stride` finer."""
        extent = (kernel - 1) * rate + 1
        lead, cells = 0, self.cells * stride
        if padding == "valid":
            cells = (self.cells - 1) * stride + extent
            cells += max(stride - extent, 0) if output_padding is None else output_padding
        else:
            # Keras cuts what is too much on both sides, the odd cell on the right.
            total = extent - stride
            if output_padding is not None:
                total = extent - extent % 2 - output_padding
                cells = self.cells * stride - stride + extent % 2 + output_padding
            lead = max(total // 2, 0)

        def written_by(cell):
            taps = range(0, extent, rate)
            places = [Fraction(cell + lead - tap, stride) for tap in taps]
            return [place for place in places if place.denominator == 1]

        return self._between(Fraction(stride), written_by, cells)

    def resized(self, factor, cells=None, interpolation="bilinear"):
        """Half-pixel interpolation to `factor` times as many cells (a fraction, too)."""
        factor = Fraction(factor)

        def mixed(cell):
            position = (cell + Fraction(1, 2)) / factor - Fraction(1, 2)
            low = floor(position)
            if interpolation == "nearest":
                return [floor(position + Fraction(1, 2))]
            reach = _REACH[interpolation]
            return [low] if low == position else [low - reach + 1, ceil(position) + reach - 1]

        return self._between(factor, mixed, round(self.cells * factor) if cells is None else cells)

    def _between(self, factor, sources, cells):
        """The union over the phases of a map `factor` times as fine."""
        step, first, last = self.step / factor, [], []
        for phase in range(factor.numerator):
            for source in sources(phase):
                moved = self.moved(source)
                first.append(moved.first - step * phase)
                last.append(moved.last - step * phase)
        return Interval(step, min(first), max(last), cells)


def union(intervals):
    """What cells see that are computed from the cells of several maps, one on the other.

    A map of one cell is spread over the others. `None` where the maps have different steps.
    """
    cells = max(x.cells for x in intervals)
    maps = [x for x in intervals if x.cells > 1 or cells == 1]
    if len({x.step for x in maps}) > 1:
        return None
    found = Interval(
        maps[0].step, min(x.first for x in maps), max(x.last for x in maps), maps[0].cells
    )
    return found if len(maps) == len(intervals) else found.whole()

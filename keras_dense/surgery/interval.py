"""The pixels that the cells of a map see, along one axis, before and after an operation."""

from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor, inf

from keras_dense.ops.atrous import same_pads

# How many cells on either side of a position an interpolation mixes; "nearest" takes one.
_REACH = {"bilinear": 1, "bicubic": 2, "lanczos3": 3, "lanczos5": 5}


@dataclass(frozen=True)
class Interval:
    """Cell i sees the pixels from `first + step i` to `last + step i`, both included.

    Where cells differ (the phases of an upsampled map) this is the interval that contains theirs,
    and it may be a fraction of a pixel too wide.

        pixels    0 1 2 3 4 5 6 7 8 9
        cell 0    - - -                   first=-1, last=1: one pixel lies beyond the edge
        cell 1        - - -               step=2
        cell 2            - - -
    """

    step: int | Fraction
    first: int | Fraction | float
    last: int | Fraction | float
    cells: int  # the number of cells; an example where the size of the image is free
    regular: bool = True  # whether all cells lie `step` apart, as on a map of any other size

    def moved(self, by: int | Fraction) -> "Interval":
        """The interval without the first `by` cells; with new ones before it where negative."""
        return replace(self, first=self.first + self.step * by, last=self.last + self.step * by)

    def sized(self, cells: int) -> "Interval":
        return replace(self, cells=cells)

    def bordered(self, sides: tuple[int, int]) -> "Interval":
        """The interval with cells added on both sides, or cut off where negative."""
        return self.moved(-sides[0]).sized(self.cells + sum(sides))

    def whole(self) -> "Interval":
        """The interval of cells that see everything."""
        return replace(self, first=-inf, last=inf)

    def window(
        self, kernel: int, rate: int, stride: int, padding: str | tuple[int, int]
    ) -> "Interval":
        """The interval of cells that each see `kernel` of the old ones, `rate` apart."""
        extent = (kernel - 1) * rate + 1
        pads = _pads(padding, self.cells, kernel, rate, stride)
        moved = self.moved(-pads[0])
        return Interval(
            self.step * stride,
            moved.first,
            moved.last + self.step * (extent - 1),
            max((self.cells + sum(pads) - extent) // stride + 1, 1),
            self.regular,
        )

    def transposed(
        self,
        kernel: int,
        rate: int,
        stride: int,
        padding: str,
        output_padding: int | None = None,
    ) -> "Interval":
        """The interval of cells `stride` times as fine, each old cell added to `kernel` of them."""
        extent = (kernel - 1) * rate + 1
        lead, cells = 0, self.cells * stride
        if padding == "valid":
            cells = (self.cells - 1) * stride + extent
            cells += max(stride - extent, 0) if output_padding is None else output_padding
        else:
            # Keras cuts the surplus on both sides, the odd cell on the right.
            total = extent - stride
            if output_padding is not None:
                total = extent - extent % 2 - output_padding
                cells = self.cells * stride - stride + extent % 2 + output_padding
            lead = max(total // 2, 0)

        return self._written(kernel, rate, stride, lead, cells)

    def unpooled(
        self, kernel: int, stride: int, padding: str | tuple[int, int], cells: int | None = None
    ) -> "Interval":
        """The interval of the map that was pooled, where each old cell is written into its window.

        Args:
            kernel, stride, padding: those of the pooling.
            cells: the size of the map that was pooled; default: the smallest with these windows.
        """
        smallest = self.cells * stride
        pads = _pads(padding, smallest if cells is None else cells, kernel, 1, stride)
        if padding != "same":
            smallest = smallest - stride + kernel - sum(pads)
        return self._written(kernel, 1, stride, pads[0], smallest if cells is None else cells)

    def _written(self, kernel, rate, stride, lead, cells):
        """The union of the old cells whose window of `kernel` cells contains a new one."""

        def windows_with(cell):
            places = [Fraction(cell + lead - tap * rate, stride) for tap in range(kernel)]
            return [place for place in places if place.denominator == 1]

        return self._between(Fraction(stride), windows_with, cells)

    def placed(self, first: Fraction, step: Fraction, cells: int) -> "Interval":
        """The interval at every pixel of an image on which cell i lies at `first + step i`."""

        def mixed(pixel):
            position = (pixel - first) / step
            return [floor(position), ceil(position)]

        return self._between(step, mixed, cells)

    def resized(
        self, factor: int | Fraction, cells: int | None = None, interpolation: str = "bilinear"
    ) -> "Interval":
        """The interval after half-pixel interpolation to `factor` times as many cells."""
        factor = Fraction(factor)

        def mixed(cell):
            position = (cell + Fraction(1, 2)) / factor - Fraction(1, 2)
            low = floor(position)
            if interpolation == "nearest":
                return [floor(position + Fraction(1, 2))]
            if interpolation == "first":
                return [floor(cell / factor)]
            reach = _REACH[interpolation]
            return [low] if low == position else [low - reach + 1, ceil(position) + reach - 1]

        nominal = self.cells * factor
        cells = round(nominal) if cells is None else cells
        return self._between(factor, mixed, cells).drifting(cells != nominal)

    def aligned(self, factor: int | Fraction, cells: int) -> "Interval":
        """The interval after interpolation with aligned corners, to cells `factor` times as fine.

        Unless every old cell is a new one, too, positions drift from 0 at the first cell to a
        fraction of an old cell at the last one. The interval contains all of them.
        """
        factor = Fraction(factor)
        drift = self.cells - 1 - Fraction(cells - 1) / factor

        def mixed(cell):
            position = cell / factor
            return [floor(position + min(drift, 0)), ceil(position + max(drift, 0))]

        return self._between(factor, mixed, cells).drifting(drift != 0)

    def drifting(self, drifts: bool) -> "Interval":
        """The interval of cells that lie a little more or less than `step` apart."""
        return replace(self, regular=self.regular and not drifts)

    def _between(self, factor, sources, cells):
        """The union over the phases of a map `factor` times as fine, `factor.numerator` of them."""
        step, first, last = self.step / factor, [], []
        for phase in range(factor.numerator):
            for source in sources(phase):
                moved = self.moved(source)
                first.append(moved.first - step * phase)
                last.append(moved.last - step * phase)
        return Interval(step, min(first), max(last), cells, self.regular)


def _pads(padding: str | tuple[int, int], cells: int, kernel: int, rate: int, stride: int) -> tuple:
    if isinstance(padding, str):
        return same_pads(cells, kernel, rate, stride) if padding == "same" else (0, 0)
    return padding


def union(intervals: list[Interval]) -> Interval | None:
    """The interval of cells that are computed from the same cells of several maps.

    A map of one cell is broadcast over the others. `None` where the maps have different steps.
    """
    cells = max(x.cells for x in intervals)
    maps = [x for x in intervals if x.cells > 1 or cells == 1]
    if len({x.step for x in maps}) > 1:
        return None
    found = Interval(
        maps[0].step,
        min(x.first for x in maps),
        max(x.last for x in maps),
        maps[0].cells,
        all(x.regular for x in maps),
    )
    return found if len(maps) == len(intervals) else found.whole()

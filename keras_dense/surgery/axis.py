"""Dilation of a window, along one axis."""

from dataclasses import dataclass

from keras_dense.ops.atrous import same_pads


@dataclass(frozen=True)
class Axis:
    """A window of the old network and of the new, denser one, along one axis.

    All sizes are in cells: of the old map, and of the new one, which has `rate` cells for each.
    """

    kernel: int  # taps
    own: int  # the operation's own rate
    rate: int  # of its input
    stride: int  # of the old operation
    kept: int  # stride of the new operation
    pads: tuple[int, int]  # of the old operation
    keeps_size: bool  # whether the old map has a cell for every `stride` cells of its input

    @classmethod
    def of(
        cls,
        kernel: int,
        own: int,
        rate: int,
        stride: int,
        kept: int,
        *,
        before: tuple[int, int],
        size: int,
        padding: str | tuple[int, int],
    ) -> "Axis":
        """The axis of an operation on a map of `size` cells with `before` zeros around it."""
        extent = (kernel - 1) * own + 1
        first, last = before
        if isinstance(padding, str):
            same = padding == "same"
            pads = same_pads(size + first + last, kernel, own, stride) if same else (0, 0)
        else:
            pads = padding
        first, last = first + pads[0], last + pads[1]
        cells = (size + first + last - extent) // stride + 1
        # A map with a cell for every stride keeps one when it becomes denser: zeros are added on
        # the far side, where no window of the old network reaches. Any other map becomes as large
        # as its windows allow. Either way, every rate-th cell is one of the old map, and no more.
        return cls(kernel, own, rate, stride, kept, (first, last), cells == -(-size // stride))

    def grown(self, rate: int) -> tuple[int, int]:
        """The padding of the new operation with taps `rate` cells apart."""
        first, last = (pad * rate // self.own for pad in self.pads)
        if self.keeps_size:
            last = max((self.kernel - 1) * rate + 1 - self.kept - first, 0)
        return first, last

    def cells(self, size: int) -> int:
        """The size of the old operation's result on a map of `size` cells."""
        extent = (self.kernel - 1) * self.own + 1
        return (size + sum(self.pads) - extent) // self.stride + 1

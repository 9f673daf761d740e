"""What dilation makes of a window, along one axis."""

from dataclasses import dataclass

from keras_dense.ops.atrous import same_pads


@dataclass(frozen=True)
class Axis:
    """What becomes of a window along one axis.

    All sizes are in cells: of the old map, and of the new one with `rate` cells for each old.
    """

    kernel: int  # taps
    own: int  # the operation's own rate
    rate: int  # of its input
    stride: int  # of the old operation
    kept: int  # stride of the new operation
    pads: tuple  # of the old operation
    keeps_size: bool  # whether the old map has a cell for every `stride` cells of its input

    @classmethod
    def of(cls, kernel, own, rate, stride, kept, before, size, padding):
        extent = (kernel - 1) * own + 1
        first, last = before
        if padding == "same":
            before_it, after_it = same_pads(size + first + last, kernel, own, stride)
            first, last = first + before_it, last + after_it
        elif padding != "valid":
            first, last = first + padding[0], last + padding[1]
        cells = (size + first + last - extent) // stride + 1
        # A map with a cell for every stride keeps that when it becomes denser: zeros on the far
        # side, where no window of the old network reaches. Another becomes as large as its
        # windows allow. Either way every rate-th cell is one of the old map, and no more.
        return cls(kernel, own, rate, stride, kept, (first, last), cells == -(-size // stride))

    def grown(self, rate):
        """The padding of the new operation with taps `rate` cells apart."""
        first, last = (pad * rate // self.own for pad in self.pads)
        if self.keeps_size:
            last = max((self.kernel - 1) * rate + 1 - self.kept - first, 0)
        return first, last

    def cells(self, size):
        extent = (self.kernel - 1) * self.own + 1
        return (size + sum(self.pads) - extent) // self.stride + 1

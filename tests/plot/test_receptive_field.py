from math import inf

import numpy as np
import pytest

from keras_dense import plot
from keras_dense.surgery import ReceptiveField

pytestmark = pytest.mark.once

pytest.importorskip("PIL")

FIELDS = {
    "P2": ReceptiveField(size=(11, 11), stride=(4, 4), offset=(-3, -3)),
    "P4": ReceptiveField(size=(43, 43), stride=(16, 16), offset=(-15, -15)),
    "pooled": ReceptiveField(size=(inf, inf), stride=None, offset=(-inf, -inf)),
}


def test_rectangles_lie_where_the_cells_look():
    image = np.full((64, 96, 3), 255, "uint8")
    drawing = plot.receptive_field(FIELDS, image, cell=(33, 50))
    colors = [tuple(c) for c in ((128, 0, 0), (0, 128, 0))]
    margin = (drawing.shape[1] - 96) // 2
    for field, color in zip(FIELDS.values(), colors, strict=False):
        top, left, bottom, right = field.box(33 // field.stride[0], 50 // field.stride[1])
        part = drawing[margin : margin + 64]
        rows, columns = np.nonzero((part == color).all(-1))
        assert rows.min() == top and rows.max() == bottom - 1
        assert columns.min() - margin == left and columns.max() - margin == right - 1


def test_paper_around_what_reaches_beyond():
    drawing = plot.receptive_field(
        {"P4": FIELDS["P4"]}, np.zeros((32, 32, 3), "uint8"), cell=(0, 0)
    )
    assert drawing.shape[1] == 32 + 2 * (15 + 8)


def test_bad_input():
    with pytest.raises(ValueError, match="`fields` must be a dict"):
        plot.receptive_field(FIELDS["P2"])
    with pytest.raises(ValueError, match="`cell` must be a pixel of the 320×320 image"):
        plot.receptive_field(FIELDS, cell=(320, 0))

import numpy as np
import pytest
from keras import ops

from keras_dense.ops.relative import relative_positions
from keras_dense.ops.resample import resize_bicubic, resize_to_stride

SIZES = [(5, 7), (9, 4), (3, 3), (10, 14), (1, 20)]


def maps(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def in_torch(x, size, **how):
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(x).permute(0, 3, 1, 2)
    y = torch.nn.functional.interpolate(x, size=size, **how)
    return y.permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_bicubic_is_that_of_pytorch(size, antialias):
    x = maps(2, 5, 7, 3)
    got = ops.convert_to_numpy(resize_bicubic(x, *size, antialias=antialias))
    np.testing.assert_allclose(
        got, in_torch(x, size, mode="bicubic", antialias=antialias), atol=3e-6
    )


@pytest.mark.parametrize("antialias", [False, True])
def test_bicubic_to_the_same_size_is_the_identity(antialias):
    x = maps(2, 5, 7, 3)
    got = ops.convert_to_numpy(resize_bicubic(x, 5, 7, antialias=antialias))
    np.testing.assert_array_equal(got, x)


@pytest.mark.parametrize("old, new", [(16, 8), (16, 4), (16, 32), (8, 8)])
def test_strides_that_divide_are_ordinary_bilinear_resizing(old, new):
    x = maps(1, 6, 8, 3)
    size = (6 * old // new, 8 * old // new)
    got = ops.convert_to_numpy(resize_to_stride(x, *size, old, new))
    np.testing.assert_allclose(got, in_torch(x, size, mode="bilinear"), atol=1e-6)


def test_cells_keep_their_place_at_strides_that_do_not_divide():
    """A map of the pixels in the middle of its cells stays one, but for the repeated edges."""
    middle = 14 * np.arange(9, dtype="float32") + 7
    x = np.broadcast_to(middle[:, None], (9, 9)).reshape(1, 9, 9, 1)
    got = ops.convert_to_numpy(resize_to_stride(x, 15, 15, 14, 8))[0, :, 4, 0]
    np.testing.assert_allclose(got, np.clip(8 * np.arange(15) + 4, 7, 119), rtol=1e-6)


@pytest.mark.parametrize("size", [(4, 4), (3, 6)])
def test_relative_positions_are_those_of_the_authors(size):
    """The table is interpolated, looked up by distance, and multiplied by the queries."""
    torch = pytest.importorskip("torch")
    query, rows, columns = maps(2, *size, 3, 5), maps(7, 5, seed=1), maps(7, 5, seed=2)

    def table(stored, n):
        line = torch.from_numpy(stored).T[None]
        line = torch.nn.functional.interpolate(line, size=2 * n - 1, mode="linear")[0].T.numpy()
        return line[np.arange(n)[:, None] - np.arange(n)[None] + n - 1]

    by_row = np.einsum("bhwnc,hkc->bnhwk", query, table(rows, size[0]))
    by_column = np.einsum("bhwnc,wkc->bnhwk", query, table(columns, size[1]))
    count = size[0] * size[1]
    wanted = (by_row[..., None] + by_column[..., None, :]).reshape(2, 3, count, count)
    got = ops.convert_to_numpy(relative_positions(query, rows, columns))
    np.testing.assert_allclose(got, wanted, atol=1e-5)

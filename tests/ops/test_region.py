"""Windows over lists of cells, beside dense maps in which cells that left are zero."""

import numpy as np
import pytest
from keras import ops

from keras_dense.ops.region import (
    neighbors,
    pool_rows,
    region_conv,
    region_depthwise_conv,
    region_max,
    region_mean,
    rows_for,
)


def masked_map(seed=0, channels=6, share=0.5):
    rng = np.random.default_rng(seed)
    mask = rng.uniform(size=(2, 7, 9)) < share
    x = rng.normal(size=(*mask.shape, channels)).astype("float32")
    return mask, x, x * mask[..., None]


def padded(x, pads, fill=0.0):
    return np.pad(x, ((0, 0), *pads, (0, 0)), constant_values=fill)


def windows(x, kernel, rate, pads, fill=0.0):
    """`(B, H, W, taps, C)`, slice by slice."""
    x, (height, width) = padded(x, pads, fill), x.shape[1:3]
    return np.stack(
        [
            x[:, a * rate[0] : a * rate[0] + height, b * rate[1] : b * rate[1] + width]
            for a in range(kernel[0])
            for b in range(kernel[1])
        ],
        axis=3,
    )


WINDOWS = [
    ((3, 3), (1, 1), ((1, 1), (1, 1))),
    ((3, 3), (2, 4), ((2, 2), (4, 4))),
    ((1, 7), (1, 1), ((0, 0), (3, 3))),
    ((2, 3), (1, 2), ((0, 1), (1, 3))),
]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_convolution(window, groups):
    mask, x, zeroed = masked_map()
    kernel = np.random.default_rng(1).normal(size=(*window[0], 6 // groups, 12)).astype("float32")
    got = ops.convert_to_numpy(region_conv(x[mask], neighbors(mask, *window), kernel))
    seen = windows(zeroed, *window)[mask].reshape(len(got), -1, groups, 6 // groups)
    weights = kernel.reshape(-1, 6 // groups, groups, 12 // groups)
    wanted = np.einsum("ntgd,tdgf->ngf", seen, weights).reshape(len(got), 12)
    np.testing.assert_allclose(got, wanted, atol=1e-4)


@pytest.mark.parametrize("window", WINDOWS[:2])
def test_depthwise_convolution(window):
    mask, x, zeroed = masked_map()
    kernel = np.random.default_rng(1).normal(size=(*window[0], 6, 2)).astype("float32")
    got = ops.convert_to_numpy(region_depthwise_conv(x[mask], neighbors(mask, *window), kernel))
    seen = windows(zeroed, *window)[mask]
    wanted = np.einsum("ntc,tcm->ncm", seen, kernel.reshape(-1, 6, 2)).reshape(len(got), 12)
    np.testing.assert_allclose(got, wanted, atol=1e-4)


@pytest.mark.parametrize("window", WINDOWS)
def test_pooling(window):
    mask, x, zeroed = masked_map()
    table = neighbors(mask, *window)
    seen = windows(zeroed, *window, fill=np.nan)[mask]
    largest, mean = (ops.convert_to_numpy(f(x[mask], table)) for f in (region_max, region_mean))
    np.testing.assert_allclose(largest, np.nanmax(seen, 1), atol=1e-6)
    np.testing.assert_allclose(mean, np.nanmean(seen, 1), atol=1e-5)
    # Zeros that the network puts around its map are cells.
    table = neighbors(mask, *window, zeros=True)
    largest = ops.convert_to_numpy(region_max(x[mask], table))
    np.testing.assert_allclose(largest, windows(zeroed, *window)[mask].max(1), atol=1e-6)


def test_all_cells_and_none():
    mask, x, _ = masked_map(share=2.0)
    window = WINDOWS[0]
    kernel = np.random.default_rng(1).normal(size=(3, 3, 6, 4)).astype("float32")
    got = ops.convert_to_numpy(region_conv(x[mask], neighbors(mask, *window), kernel))
    dense = ops.convert_to_numpy(ops.conv(x, kernel, padding="same", data_format="channels_last"))
    np.testing.assert_allclose(got, dense.reshape(-1, 4), atol=1e-4)
    assert neighbors(np.zeros((1, 3, 3), bool), *window).shape == (0, 9)


@pytest.mark.once
def test_rows_beyond_the_cells_see_nothing():
    mask = np.array([[[True, True]]])
    table = neighbors(mask, (1, 3), (1, 1), ((0, 0), (1, 1)), rows=4)
    assert table.tolist() == [[1, 2, 3], [2, 3, 1], [0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("mode", ["mean", "max"])
def test_pool_rows(mode):
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    got = ops.convert_to_numpy(pool_rows(x, np.array([1, 0, 1, 3, 1], "int32"), 4, mode))
    of = np.mean if mode == "mean" else np.max
    wanted = [x[1], of(x[[0, 2, 4]], 0), np.zeros(3), x[3]]
    np.testing.assert_allclose(got, wanted, atol=1e-6)


@pytest.mark.once
def test_lengths():
    lengths = [rows_for(n) for n in range(1, 3000)]
    assert all(n <= length for n, length in enumerate(lengths, 1))
    assert len(set(lengths)) < 60 or lengths == list(range(1, 3000))

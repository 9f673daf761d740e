"""Images, labels and palettes in `kd.plot`: drawn exactly, or refused."""

import numpy as np
import pytest
from keras import ops

from keras_dense import plot

pytestmark = pytest.mark.once
PALETTE = [[0, 0, 0], [200, 100, 0], [9, 9, 9]]


def image():
    return np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype="uint8")


def labels():
    return np.random.default_rng(1).integers(0, 3, (40, 50))


def pil(x):
    return pytest.importorskip("PIL.Image").fromarray(x)


def draws(x):
    """All functions that take an image."""
    yield plot.fit_width(x, 50)
    yield plot.grid([x], columns=1)
    yield plot.overlay(x, labels(), PALETTE)
    yield plot.error_map(labels(), labels(), image=x)
    yield plot.tasks(x, {"again": x}, tile=64)
    yield plot.panel([x], [labels()], [labels()], palette=PALETTE, tile=64)
    yield plot.receptive_field({}, x)
    yield plot.point_cloud(np.ones((40, 50)), x, np.diag([40.0, 40.0, 1.0]))


@pytest.mark.parametrize(
    "convert",
    [
        np.ndarray.tolist,
        pil,
        ops.convert_to_tensor,
        lambda x: x.astype("int64"),
        lambda x: x + 0.4 * (x < 255),
    ],
    ids=["list", "Pillow", "tensor", "int64", "float"],
)
def test_the_same_image_in_another_form(convert):
    for found, expected in zip(draws(convert(image())), draws(image()), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda x: x / 255, "must be from 0 to 255. .*multiply by 255"),
        (lambda x: x * 2.0, "must be from 0 to 255. Received: float64"),
        (lambda x: x - 3.0, "must be from 0 to 255. Received: float64 from -3"),
        (lambda x: x.astype("uint16") * 257, "must be from 0 to 255. Received: uint16"),
        (lambda x: np.where(x == 0, np.nan, x), "must be finite numbers"),
        (lambda x: x > 9, "must be uint8 or floats"),
        (lambda x: np.moveaxis(x, -1, 0), r"must have shape \(height, width, 3\)"),
        (lambda x: x[None], r"must have shape \(height, width, 3\)"),
    ],
)
def test_nothing_is_clipped(change, message):
    wrong = change(image())
    with pytest.raises(ValueError, match=message):
        plot.overlay(wrong, labels(), PALETTE)
    with pytest.raises(ValueError, match=message):
        plot.grid([wrong])


def test_labels_and_palettes():
    expected = plot.colorize(labels(), PALETTE)
    for given in (labels().tolist(), ops.convert_to_tensor(labels()), labels().astype("uint8")):
        np.testing.assert_array_equal(plot.colorize(given, PALETTE), expected)
    np.testing.assert_array_equal(plot.colorize(labels(), np.array(PALETTE, float)), expected)
    with pytest.raises(ValueError, match="`palette` must be .* to 0.784314; multiply by 255"):
        plot.colorize(labels(), np.array(PALETTE) / 255)
    for wrong in (np.full((3, 3), np.nan), np.full((3, 3), 256)):
        with pytest.raises(ValueError, match=r"`palette` must be \(classes, 3\)"):
            plot.colorize(labels(), wrong)
    with pytest.raises(TypeError, match="`labels` must be an array of numbers"):
        plot.colorize("labels", PALETTE)


def test_numbers_of_numpy_as_sizes():
    tile = np.int64(64)
    args = (image(), labels(), labels(), PALETTE)
    np.testing.assert_array_equal(plot.panel(*args, tile=tile), plot.panel(*args, tile=64))
    plot.overlay(image(), labels(), PALETTE, alpha=np.float32(0.5))
    plot.color_bar(1.0, 4.0, width=np.int32(200))
    plot.normals_legend(np.array(20))
    for wrong in (0, 1.5, True, "9"):
        with pytest.raises(ValueError, match="`width` must be an integer >= 1"):
            plot.fit_width(image(), wrong)
    with pytest.raises(ValueError, match="`alpha` must be a number from 0 to 1"):
        plot.overlay(image(), labels(), PALETTE, alpha=True)


def test_normals_that_are_not_finite_are_unknown():
    vectors = np.zeros((2, 3, 3))
    vectors[..., 2] = -1
    vectors[0, 0], vectors[1, 1] = np.nan, np.inf
    drawing = plot.normals(vectors)
    np.testing.assert_array_equal(drawing[0, 0], plot.hatch(2, 3)[0, 0])
    np.testing.assert_array_equal(drawing[1, 1], plot.hatch(2, 3)[1, 1])
    assert drawing[0, 1].tolist() == [128, 128, 255]
    np.testing.assert_array_equal(plot.normals(ops.convert_to_tensor(vectors)), drawing)

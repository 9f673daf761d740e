"""Drawings: their pixels, void, sizes, and errors."""

import numpy as np
import pytest

from keras_dense import heads, plot

pytestmark = pytest.mark.once

pytest.importorskip("PIL")

PALETTE = np.array([[0, 0, 0], [200, 0, 0], [0, 0, 200]], np.uint8)
NAMES = ["ground", "crop", "weed"]


@pytest.fixture
def scene():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (48, 64, 3), np.uint8)
    truth = np.zeros((48, 64), np.uint8)
    truth[10:30, 10:40] = 1
    truth[:4] = 255
    prediction = np.zeros((48, 64), int)
    prediction[12:32, 10:40] = 1
    return image, truth, prediction


def test_colorize(scene):
    _, truth, _ = scene
    drawing = plot.colorize(truth, PALETTE)
    assert drawing.dtype == np.uint8
    np.testing.assert_array_equal(drawing[20, 20], PALETTE[1])
    void = drawing[:4].reshape(-1, 3)
    assert {tuple(c) for c in void.tolist()} == {(120, 120, 120), (165, 165, 165)}
    np.testing.assert_array_equal(plot.colorize(truth[..., None], PALETTE), drawing)


def test_error_map(scene):
    image, truth, prediction = scene
    drawing = plot.error_map(truth, prediction)
    known = truth != 255
    wrong = (drawing == (224, 58, 44)).all(-1)
    right = (drawing == (64, 160, 110)).all(-1)
    np.testing.assert_array_equal(wrong, known & (truth != prediction))
    np.testing.assert_array_equal(right, known & (truth == prediction))
    with_image = plot.error_map(truth, prediction, image=image).astype(int)
    assert (with_image[wrong][:, 0] > with_image[wrong][:, 1]).all()
    assert (with_image[right][:, 1] > with_image[right][:, 0]).all()


def test_overlay_mixes_and_spares_void(scene):
    image, truth, _ = scene
    drawing = plot.overlay(image, truth, PALETTE, alpha=0.25)
    wanted = image * 0.75 + PALETTE[np.where(truth == 255, 0, truth)] * 0.25
    known = truth != 255
    np.testing.assert_allclose(drawing[known], wanted[known], atol=0.51)
    np.testing.assert_array_equal(drawing[~known], image[~known])
    with_legend = plot.overlay(image, truth, PALETTE, alpha=0.25, class_names=NAMES)
    np.testing.assert_array_equal(with_legend[:48], drawing)
    rest = with_legend[48:].reshape(-1, 3).tolist()
    assert [200, 0, 0] in rest and [0, 0, 200] not in rest  # only what appears
    float_image = image.astype(np.float32)
    np.testing.assert_array_equal(plot.overlay(float_image, truth, PALETTE, alpha=0.25), drawing)


def test_panel_rows_and_sizes(scene):
    image, truth, prediction = scene
    one = plot.panel(image, truth, prediction, PALETTE, class_names=NAMES, tile=128)
    assert one.dtype == np.uint8 and one.shape[1] == 4 * 128 + 5 * 6
    wide = (image[:24], truth[:24], prediction[:24])  # another shape in another row
    two = plot.panel(
        *map(list, zip(scene, wide, strict=True)), PALETTE, class_names=NAMES, tile=128
    )
    assert two.shape == (one.shape[0] + 48 + 6, one.shape[1], 3)
    # Tiles twice as large: each pixel of the labels is a square of its color.
    top = (
        one.shape[0]
        - plot.panel(image, truth, prediction, PALETTE, class_names=NAMES, tile=64).shape[0]
    )
    assert top > 0
    bare = plot.panel(image, truth, prediction, PALETTE, titles=None, tile=64)
    assert bare.shape == (48 + 12, 4 * 64 + 30, 3)
    np.testing.assert_array_equal(bare[6:54, 6:70], image)
    np.testing.assert_array_equal(bare[6:54, 76:140], plot.colorize(truth, PALETTE))
    np.testing.assert_array_equal(bare[6:54, 146:210], plot.colorize(prediction, PALETTE))
    np.testing.assert_array_equal(
        bare[6:54, 216:280], plot.error_map(truth, prediction, image=image)
    )
    stacked = plot.panel(np.stack([image] * 2), [truth] * 2, [prediction] * 2, PALETTE, tile=64)
    assert stacked.shape[0] > 2 * 48


def test_panel_of_void_only(scene):
    image, truth, prediction = scene
    drawing = plot.panel(image, np.full_like(truth, 255), prediction, PALETTE, class_names=NAMES)
    assert drawing.shape[1] == 4 * 256 + 30


def test_depth_scale_and_unknown():
    meters = np.array([[1.0, 2.0, 4.0], [0.0, np.nan, -1.0], [0.5, 9.0, np.inf]])
    drawing = plot.depth(meters, low=1, high=4)
    brightness = drawing.astype(int).sum(-1)
    assert brightness[0, 0] > brightness[0, 1] > brightness[0, 2]
    np.testing.assert_array_equal(drawing[0, 1], (183, 55, 121))  # the middle, by ratio
    np.testing.assert_array_equal(drawing[2, :2], drawing[0, [0, 2]])  # clipped
    for place in ((1, 0), (1, 1), (1, 2), (2, 2)):
        assert drawing[place][0] == drawing[place][1] in (120, 165)
    assert plot.depth(np.zeros((3, 4, 1))).shape == (3, 4, 3)
    plot.depth(np.ones((3, 4)))


def test_normals_colors():
    vectors = np.array([[[1.0, 0, 0], [0, -1, 0], [0, 0, -1], [0, 0, 0], [0, 0, -2]]])
    drawing = plot.normals(vectors)[0]
    assert drawing[:3].tolist() == [[255, 128, 128], [128, 255, 128], [128, 128, 255]]
    assert drawing[3].tolist() in ([120] * 3, [165] * 3)
    np.testing.assert_array_equal(drawing[4], drawing[2])


def test_heads_draw_as_plot_does(scene):
    image, truth, prediction = scene
    head = heads.Segmentation(3, palette=PALETTE)
    np.testing.assert_array_equal(head.draw(truth), plot.colorize(truth, PALETTE))
    np.testing.assert_array_equal(
        head.error(truth, prediction, image), plot.error_map(truth, prediction, image=image)
    )
    void = heads.Segmentation(3, palette=PALETTE, ignore_class=0)
    drawn = plot.colorize(prediction, PALETTE, ignore_class=0)
    np.testing.assert_array_equal(void.draw(prediction), drawn)
    meters = np.random.default_rng(0).uniform(-1, 12, (9, 7, 1))
    drawn = plot.depth(meters, low=0.5, high=10)
    np.testing.assert_array_equal(heads.Depth(max_depth=10).draw(meters), drawn)
    vectors = np.random.default_rng(0).normal(size=(9, 7, 3)) / 2
    vectors[0, 0] = np.nan
    np.testing.assert_array_equal(heads.Normals().draw(vectors), plot.normals(vectors))


def test_unknown_pixels_are_hatched_in_every_drawing():
    unknown = plot.hatch(9, 9)
    labels, floats = np.full((9, 9), 255), np.full((9, 9, 3), np.nan)
    head = heads.Segmentation(3)
    drawings = [head.draw(labels), head.error(labels, labels)]
    for head, value in (
        (heads.Depth(), floats[..., :1]),
        (heads.Normals(), np.zeros((9, 9, 3))),
        (heads.Colorization(), floats),
    ):
        drawings += [head.draw(value), head.error(value, np.ones_like(value))]
    for drawing in drawings:
        np.testing.assert_array_equal(drawing, unknown)


def test_errors_have_one_scale():
    truth = np.float32([[2, 2]])
    darkest, brightest = plot.depth([[4, 1]], low=1, high=4)[0]
    error = heads.Depth().error(truth, np.float32([[2, 9]]))
    np.testing.assert_array_equal(error, [[darkest, brightest]])
    ahead, left = [0.0, 0, -1], [-1.0, 0, 0]
    error = heads.Normals().error([[ahead, ahead]], [[ahead, left]])
    np.testing.assert_array_equal(error, [[darkest, brightest]])
    red, gray = [255.0, 0, 0], [127.0] * 3
    error = heads.Colorization().error([[red, red]], [[red, gray]])
    np.testing.assert_array_equal(error, [[darkest, brightest]])


def test_legend_wraps_and_shortens():
    entries = [(f"class number {i}", (i, 0, 0)) for i in range(9)]
    wide, narrow = plot.legend(entries, width=1200), plot.legend(entries, width=200)
    assert wide.shape[0] < narrow.shape[0] and narrow.shape[1] == 200
    long = plot.legend([("a very long name indeed " * 5, (9, 9, 9)), ("void", None)], width=120)
    assert (long[:, -4:] == 255).all()  # nothing is cut off at the border
    assert plot.legend([], width=100).shape == (0, 100, 3)


def test_grid_titles():
    tiles = [np.zeros((10, 40, 3), np.uint8), np.zeros((20, 40, 3), np.uint8)] * 2
    assert plot.grid(tiles, columns=2, gap=2).shape == (2 + 22 + 22, 86, 3)
    per_column = plot.grid(tiles, columns=2, titles=["a", "b"], gap=2)
    per_image = plot.grid(tiles, columns=2, titles=["a", "b", "c", "d"], gap=2)
    assert per_image.shape[0] > per_column.shape[0] > 46
    assert (per_column[2:15] < 128).any()  # there is ink
    gray = plot.grid([np.full((4, 4), 7.0)], gap=0)
    assert (gray == 7).all() and gray.shape == (4, 4, 3)


def test_save(tmp_path):
    from PIL import Image

    drawing = np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)
    path = plot.save(tmp_path / "new" / "a.png", drawing)
    with Image.open(path) as file:
        np.testing.assert_array_equal(np.asarray(file), drawing)
    with pytest.raises(ValueError, match="extension"):
        plot.save(tmp_path / "a.what", drawing)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda i, t, p: plot.overlay(i, t[:9], PALETTE),
            "`labels` must have the height and width 48 x 64. Received: 9 x 64",
        ),
        (
            lambda i, t, p: plot.overlay(i, t, PALETTE, alpha=1.5),
            "`alpha` must be a number from 0 to 1",
        ),
        (lambda i, t, p: plot.overlay(i[..., :2], t, PALETTE), "`image` must have shape"),
        (lambda i, t, p: plot.overlay(i, t * 1.0, PALETTE), "`labels` must be integers.*float64"),
        (
            lambda i, t, p: plot.overlay(i, t, PALETTE, alpha=0.5, class_names=["a"]),
            "`class_names` must be one for each of 3 colors. Received: 1",
        ),
        (
            lambda i, t, p: plot.colorize(t, PALETTE, ignore_class=None),
            "`labels` must be from 0 to 2, .* Received: 255",
        ),
        (
            lambda i, t, p: plot.colorize(p + 2, PALETTE),
            "from 0 to 2, .*, or ignore_class=255. Received: 3",
        ),
        (lambda i, t, p: plot.colorize(t, PALETTE[:, :2]), "`palette` must be"),
        (lambda i, t, p: plot.colorize(t[None], PALETTE), r"shape \(1, 48, 64\)"),
        (
            lambda i, t, p: plot.error_map(t, p[:5]),
            "`prediction` must have the height and width 48 x 64",
        ),
        (
            lambda i, t, p: plot.error_map(t, p, image=i[:5]),
            "`image` must have the size of the labels",
        ),
        (
            lambda i, t, p: plot.panel([i], [t], [p, p], PALETTE),
            "1 images, 1 truths, 2 pred",
        ),
        (lambda i, t, p: plot.panel([], [], [], PALETTE), "0 images"),
        (lambda i, t, p: plot.grid([]), "`images` must hold at least one image"),
        (
            lambda i, t, p: plot.grid([i, i[:, :9]]),
            r"`images` must have one width. Received: widths \[9, 64\]",
        ),
        (
            lambda i, t, p: plot.grid([i, i], columns=2, titles=["a", "b", "c"]),
            "`titles` must be one per column .2. or one per image .2.. Received: 3",
        ),
        (lambda i, t, p: plot.depth(i), "`meters` must have shape"),
        (
            lambda i, t, p: plot.depth(np.ones((2, 2)), low=3, high=2),
            "`high` must be a number >= 3",
        ),
        (lambda i, t, p: plot.normals(t), "`vectors` must have shape"),
    ],
)
def test_errors(scene, call, message):
    with pytest.raises(ValueError, match=message):
        call(*scene)

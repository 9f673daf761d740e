"""Legends of depth and normals, and views of point clouds."""

import numpy as np
import pytest

from keras_dense import plot
from keras_dense.datasets import scenes

pytestmark = pytest.mark.once

pytest.importorskip("PIL")

K = np.array([[60.0, 0, 31.5], [0, 60.0, 23.5], [0, 0, 1]])


@pytest.mark.parametrize(
    ("low", "high"), [(0.5, 10.0), (0.8, 3.4), (1.0, 1.3), (2.0, 2.001), (1, 900)]
)
def test_color_bar_has_the_colors_of_depth(low, high):
    bar = plot.color_bar(low, high, width=214)
    assert bar.dtype == np.uint8 and bar.shape == (46, 214, 3)
    meters = np.geomspace(low, high, 200)
    np.testing.assert_array_equal(bar[10, 7:207], plot.depth(meters[None], low=low, high=high)[0])
    assert (bar[:7] == 255).all() and (bar[26:] < 100).any()  # numbers below
    ticks = (bar[25, 7:207] == (30, 30, 34)).all(-1)
    assert 1 <= ticks.sum() <= 12


def test_a_tick_stands_at_its_meters():
    bar = plot.color_bar(1.0, 4.0, width=214)
    ticks = np.flatnonzero((bar[25] == (30, 30, 34)).all(-1))
    # 1, 1.5, 2, 3, 4, except those whose numbers do not fit.
    places = [round(7 + 199 * np.log(m) / np.log(4)) for m in (1, 1.5, 2, 3, 4)]
    assert set(ticks) <= set(places) and len(ticks) >= 3 and places[-1] in ticks


def test_depth_limits():
    meters = np.append(np.random.default_rng(0).uniform(1, 9, 1000), [0, np.nan, -1, np.inf])
    low, high = plot.depth_limits(meters)
    np.testing.assert_allclose((low, high), np.percentile(meters[:1000], [2, 98]))
    drawing = meters.reshape(4, -1)
    np.testing.assert_array_equal(plot.depth(drawing), plot.depth(drawing, low=low, high=high))
    assert plot.depth_limits(meters, low=0.1, high=20) == (0.1, 20)
    with pytest.raises(ValueError, match="must be given where no depth is known"):
        plot.depth_limits([0.0, np.nan])
    with pytest.raises(ValueError, match="`high` must be a number >= 5"):
        plot.depth_limits(meters, low=5, high=4)


def test_normals_legend():
    ball = plot.normals_legend(101)
    assert ball.shape == (101, 101, 3) and (ball[0, 0] == 255).all()
    assert ball[50, 50].tolist() == [128, 128, 255]
    right, up = ball[50, 98].astype(int), ball[2, 50].astype(int)
    assert right[0] > 240 and abs(right[1] - 128) < 3
    assert up[1] > 240 and abs(up[0] - 128) < 3
    white = (ball == 255).all(-1)
    assert white.mean() == pytest.approx(1 - np.pi / 4, abs=0.01)
    with pytest.raises(ValueError, match="`size` must be an integer >= 1"):
        plot.normals_legend(0)


@pytest.fixture
def wall():
    """A gray wall at 4 m, a red square at 2 m in its middle, and one corner unknown."""
    depth, image = np.full((48, 64, 1), 4.0), np.full((48, 64, 3), 90, np.uint8)
    depth[18:30, 26:38], image[18:30, 26:38] = 2.0, (250, 0, 0)
    depth[:6, :6], image[:6, :6] = 0, (0, 250, 0)
    return depth, image


def middle(drawing, color):
    return np.argwhere((drawing == color).all(-1)).mean(0)


def test_points_from_the_front_are_the_image(wall):
    depth, image = wall
    drawing = plot.point_cloud(depth, image, K, yaw=0, pitch=0)
    red, gray = ((drawing == c).all(-1) for c in ((250, 0, 0), (90, 90, 90)))
    assert not (drawing == (0, 250, 0)).all(-1).any()  # of unknown depth
    np.testing.assert_allclose(middle(drawing, (250, 0, 0)), (23.5, 31.5), atol=1.5)
    inner = gray[15:-15, 15:-15] | red[15:-15, 15:-15]
    assert red.any() and gray.mean() > 0.4 and inner.mean() > 0.6  # a shadow about the square


@pytest.mark.parametrize(
    ("view", "axis", "sign"),
    [({"yaw": 20}, 1, -1), ({"yaw": -20}, 1, 1), ({"pitch": 20}, 0, 1), ({"pitch": -20}, 0, -1)],
)
def test_near_things_move_the_other_way(wall, view, axis, sign):
    """Seen from the right they are farther left, seen from above farther down."""
    drawing = plot.point_cloud(*wall, K, **{"yaw": 0, "pitch": 0, **view})
    moved = middle(drawing, (250, 0, 0)) - middle(drawing, (90, 90, 90))
    assert moved[axis] * sign > 4 and abs(moved[1 - axis]) < 3


def test_near_points_hide_far_ones(wall):
    depth, image = wall
    drawing = plot.point_cloud(depth, image, K, yaw=0, pitch=0, size=(240, 320))
    assert drawing.shape == (240, 320, 3)
    red = (drawing == (250, 0, 0)).all(-1)
    rows, columns = np.where(red)
    assert red[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()


def test_slanted_surfaces_close():
    """A floor seen from above."""
    v = np.arange(48)[:, None] * np.ones(64)
    depth = np.where(v > 30, 1.2 * 60 / np.maximum(v - 23.5, 1), 0)
    drawing = plot.point_cloud(depth, np.full((48, 64, 3), 90, np.uint8), K, yaw=0, pitch=30)
    gray = (drawing == 90).all(-1)
    rows = np.flatnonzero(gray[:, 32])
    assert np.diff(rows).max() == 1 and len(rows) > 20


def test_nothing_known_is_background():
    drawing = plot.point_cloud(
        np.zeros((4, 6)), np.zeros((4, 6, 3), np.uint8), K, background=(1, 2, 3)
    )
    assert (drawing == (1, 2, 3)).all()


def test_tasks():
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    small = np.zeros((12, 16, 3), np.uint8)
    small[0, 0] = 255
    figure = plot.tasks(image, {"depth": image[::-1], "color": small}, tile=64)
    top = figure.shape[0] - 48 - 6
    np.testing.assert_array_equal(figure[top : top + 48, 6:70], image)
    np.testing.assert_array_equal(figure[top : top + 48, 76:140], image[::-1])
    assert (figure[top : top + 4, 146:150] == 255).all()
    two = plot.tasks(image, {"depth": image, "normals": image, "labels": image}, columns=2, tile=64)
    assert two.shape == (2 * figure.shape[0] - 6, 3 * 6 + 2 * 64, 3)


def test_bad_arguments(wall):
    depth, image = wall
    for low, high in ((0, 1), (2, 2), (3, 1), (1, np.inf)):
        with pytest.raises(ValueError, match="`(low|high)` must be a number > "):
            plot.color_bar(low, high, width=100)
    with pytest.raises(ValueError, match="`depth` and `image` must have the same height and width"):
        plot.point_cloud(depth[1:], image, K)
    with pytest.raises(ValueError, match=r"`intrinsics` must have shape \(3, 3\).*\(2, 3\)"):
        plot.point_cloud(depth, image, K[:2])


def test_normals_check_shows_a_wrong_frame():
    sample = scenes(1, size=(60, 80))[0]

    def bright(drawing):
        return drawing[:, -256:].mean()  # the angles are in the last tile

    right = plot.normals_check(sample)
    turned = {**sample, "normals": sample["normals"] * np.float32([1, -1, 1])}
    assert right.shape[1] > 4 * 256
    assert bright(plot.normals_check(turned)) > bright(right) + 40
    with pytest.raises(
        ValueError, match="`sample` must have 'depth'. Received: a sample with 'image'"
    ):
        plot.normals_check({k: v for k, v in sample.items() if k != "depth"})

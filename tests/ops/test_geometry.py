"""Geometry against NumPy in float64, planes, spheres and drawn scenes."""

import numpy as np
import pytest
from keras import ops

from keras_dense.datasets import scenes
from keras_dense.ops import geometry

K = np.array([[210.0, 0.0, 70.3], [0.0, 190.0, 44.9], [0.0, 0.0, 1.0]])


def array(x):
    return ops.convert_to_numpy(x).astype("float64")


def rays(intrinsics, height, width):
    v, u = np.mgrid[:height, :width]
    return np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(intrinsics).T


def degrees(a, b):
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), (a * b).sum(-1)))


def depth_of_plane(normal, offset, height=96, width=128, intrinsics=K):
    """Depth of the points with n · X = offset."""
    return (offset / (rays(intrinsics, height, width) @ normal))[None, ..., None]


@pytest.mark.parametrize("skewed", [False, True])
def test_points_by_the_inverse_matrix(skewed):
    intrinsics = K.copy()
    if skewed:
        intrinsics[0, 1], intrinsics[1, 0] = 9.0, -4.0
    depth = np.random.default_rng(0).uniform(0.5, 9, (2, 7, 9, 1)).astype("float32")
    points = array(geometry.depth_to_points(depth, intrinsics))
    np.testing.assert_allclose(points, rays(intrinsics, 7, 9) * depth, rtol=2e-5, atol=2e-6)
    np.testing.assert_array_equal(
        array(geometry.depth_to_points(depth[..., 0], intrinsics)), points
    )
    pixels, again = geometry.points_to_pixels(points, intrinsics)
    v, u = np.mgrid[:7, :9]
    np.testing.assert_allclose(array(pixels), [np.stack([u, v], -1)] * 2, atol=1e-4)
    np.testing.assert_allclose(array(again), depth, rtol=1e-6)


def test_a_camera_for_each_image():
    cameras = np.stack([K, K * [[2], [2], [1]]])
    depth = np.random.default_rng(0).uniform(0.5, 9, (2, 5, 6, 1)).astype("float32")
    points = array(geometry.depth_to_points(depth, cameras))
    normals = array(geometry.normals_from_depth(depth, cameras))
    for i in range(2):
        alone = geometry.depth_to_points(depth[i : i + 1], cameras[i])
        np.testing.assert_allclose(points[i], array(alone)[0], rtol=1e-6)
        alone = geometry.normals_from_depth(depth[i : i + 1], cameras[i])
        np.testing.assert_allclose(normals[i], array(alone)[0], atol=1e-6)
    pixels, _ = geometry.points_to_pixels(points, cameras)
    np.testing.assert_allclose(array(pixels)[1], array(pixels)[0], atol=1e-4)


def test_unknown_depth_is_no_point():
    depth = np.array([0.0, -1.0, np.nan, np.inf, -np.inf, 2.0], "float32").reshape(1, 1, 6, 1)
    points = array(geometry.depth_to_points(depth, K))
    assert not points[0, 0, :5].any() and points[0, 0, 5, 2] == 2
    pixels, again = geometry.points_to_pixels(points, K)
    assert not array(pixels)[0, 0, :5].any() and array(again)[0, 0, :, 0].tolist() == [0] * 5 + [2]


@pytest.mark.parametrize(
    "normal",
    [
        (0.3, -0.5, -0.7),
        *(
            pytest.param(n, marks=pytest.mark.once)
            for n in ((0, 0, -1), (-0.8, 0.1, -0.25), (0, -1, 0))
        ),
    ],
)
def test_normals_of_planes(normal):
    unit = np.array(normal) / np.linalg.norm(normal)
    depth = depth_of_plane(unit, -3.0)
    depth[(depth > 25) | (depth <= 0)] = 0  # the horizon, and what is above it
    normals = array(geometry.normals_from_depth(depth, K))[0]
    known = np.linalg.norm(normals, axis=-1) > 0.5
    z = depth[0, ..., 0] > 0
    inner = np.zeros_like(z)
    inner[1:-1, 1:-1] = z[1:-1, 1:-1] & z[:-2, 1:-1] & z[2:, 1:-1] & z[1:-1, :-2] & z[1:-1, 2:]
    np.testing.assert_array_equal(known, inner)
    assert known.mean() > 0.25
    np.testing.assert_allclose(np.linalg.norm(normals[known], axis=-1), 1, atol=1e-6)
    # Float32 depth: neighbors differ in the last digits only.
    assert degrees(normals[known], unit).max() < 0.05
    assert not normals[~known].any()


def test_normals_by_the_formula():
    depth = np.random.default_rng(0).uniform(1, 1.2, (3, 6, 7, 1))  # three: as many as channels
    depth[1, 3, 3] = np.nan
    p = rays(K, 6, 7) * depth
    n = np.cross(p[:, :-2, 1:-1] - p[:, 2:, 1:-1], p[:, 1:-1, :-2] - p[:, 1:-1, 2:])
    n /= np.linalg.norm(n, axis=-1, keepdims=True)
    n *= -np.sign((n * p[:, 1:-1, 1:-1]).sum(-1, keepdims=True))
    found = array(geometry.normals_from_depth(depth.astype("float32"), K))
    assert found.shape == (3, 6, 7, 3)
    for edge in (found[:, 0], found[:, -1], found[:, :, 0], found[:, :, -1]):
        assert not edge.any()
    unknown = np.isnan(n[..., 0])
    assert unknown.sum() == 5
    assert not found[:, 1:-1, 1:-1][unknown].any()
    np.testing.assert_allclose(found[:, 1:-1, 1:-1][~unknown], n[~unknown], atol=1e-4)


def test_normals_of_a_sphere():
    center, radius = np.array([0.1, -0.05, 3.0]), 0.6
    ray = rays(K, 96, 128)
    b, c = ray @ center, center @ center - radius**2
    root = b**2 - (ray**2).sum(-1) * c
    hit = root > 0
    depth = np.where(hit, (b - np.sqrt(np.maximum(root, 0))) / (ray**2).sum(-1), 0)
    exact = (ray * depth[..., None] - center) / radius
    normals = array(geometry.normals_from_depth(depth[None, ..., None], K))[0]
    # Not at the rim, where the surface bends away between neighboring pixels.
    frontal = hit & ((exact * ray).sum(-1) / np.linalg.norm(ray, axis=-1) < -0.6)
    assert frontal.sum() > 500
    error = degrees(normals[frontal], exact[frontal])
    assert error.max() < 0.7 and error.mean() < 0.2


@pytest.mark.parametrize("index", [0, *(pytest.param(n, marks=pytest.mark.once) for n in (1, 2))])
def test_normals_of_scenes(index):
    """Exact wherever five pixels lie on one flat thing; near it where they lie on a round one."""
    ds = scenes(count=3, size=(96, 128), seed=5)
    sample = ds[index]
    found = array(geometry.normals_from_depth(sample["depth"][None], ds.intrinsics))[0]
    exact = sample["normals"].astype("float64")
    middle = exact[1:-1, 1:-1]
    ends = [exact[:-2, 1:-1], exact[2:, 1:-1], exact[1:-1, :-2], exact[1:-1, 2:]]
    seen = (np.linalg.norm(found, axis=-1) > 0.5)[1:-1, 1:-1]
    assert seen.mean() > 0.5
    error = degrees(found[1:-1, 1:-1], middle)
    flat = seen & (np.max([np.abs(end - middle).max(-1) for end in ends], axis=0) < 1e-6)
    assert flat.mean() > 0.4
    # Two surfaces with the same normal may meet in the image.
    assert (error[flat] < 0.1).mean() > 0.99
    label = sample["segmentation"]
    one = seen.copy()
    for part in (label[:-2, 1:-1], label[2:, 1:-1], label[1:-1, :-2], label[1:-1, 2:]):
        one &= part == label[1:-1, 1:-1]
    assert np.median(error[one]) < 0.02 and (error[one] < 11.25).mean() > 0.96


def test_depth_of_gradients(gradients):
    depth = np.random.default_rng(0).uniform(1, 2, (1, 5, 5, 1)).astype("float32")
    depth[0, 1, 1], depth[0, 0, 4] = 0, np.nan
    weight = np.random.default_rng(1).normal(size=(1, 5, 5, 3))
    for function in (geometry.depth_to_points, geometry.normals_from_depth):
        (gradient,) = gradients(lambda d, f=function: f(d, K), [depth], weight)
        assert np.isfinite(gradient).all() and gradient.any()
        assert not gradient[0, 1, 1] and not gradient[0, 0, 4]
    (gradient,) = gradients(
        lambda p: geometry.points_to_pixels(p, K)[0],
        [np.zeros((1, 5, 5, 3), "float32")],
        weight[..., :2],
    )
    assert not gradient.any()


FACING = {
    "opencv": (0, 0, -1),
    "dsine": (0, 0, 1),
    "opengl": (0, 0, 1),
    "omnidata": (0, 0, 1),
    "eigen": (0, -1, 0),
}
# A floor, seen from above: its normal points up; and the wall at the left, to the right.
FLOOR = {
    "opencv": (0, -1, 0),
    "dsine": (0, 1, 0),
    "opengl": (0, 1, 0),
    "omnidata": (0, -1, 0),
    "eigen": (0, 0, 1),
}
LEFT = {name: (-1, 0, 0) if name == "dsine" else (1, 0, 0) for name in FACING}


@pytest.mark.parametrize("frame", geometry.FRAMES)
def test_frames(frame):
    for table in (FACING, FLOOR, LEFT):
        found = geometry.convert_normals(np.array(table["opencv"], "float32"), "opencv", frame)
        assert found.dtype == np.float32 and found.tolist() == list(table[frame])
        again = geometry.convert_normals(found, frame, "opencv")
        assert again.tolist() == list(table["opencv"])
    normals = np.random.default_rng(0).normal(size=(2, 3, 4, 3)).astype("float32")
    for other in geometry.FRAMES:
        there = geometry.convert_normals(ops.convert_to_tensor(normals), frame, other)
        via = geometry.convert_normals(normals, frame, "opencv")
        np.testing.assert_allclose(
            array(there), geometry.convert_normals(via, "opencv", other), atol=1e-6
        )


def test_normalize(gradients):
    x = np.random.default_rng(0).normal(size=(4, 5, 3)) * 10.0 ** np.arange(-4, 1)[:, None]
    unit = array(geometry.normalize(x.astype("float32")))
    np.testing.assert_allclose(unit, x / np.linalg.norm(x, axis=-1, keepdims=True), atol=1e-6)
    assert not array(geometry.normalize(np.zeros((2, 3)))).any()
    (gradient,) = gradients(geometry.normalize, [np.zeros((2, 3))], np.ones((2, 3)))
    np.testing.assert_allclose(gradient, 1e6, rtol=1e-5)


def test_angles(gradients):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 50, 3)).astype("float32")
    exact = np.arccos((a.astype(float) * b).sum(-1) / np.prod(np.linalg.norm([a, b], axis=-1), 0))
    np.testing.assert_allclose(array(geometry.angle_between(a, b))[:, 0], exact, atol=1e-6)
    # An angle of which the cosine is 1 in float32, and one near a half turn.
    for angle in (1e-4, np.pi - 1e-4):
        b = np.array([[np.cos(angle), np.sin(angle), 0]], "float32")
        found = float(array(geometry.angle_between(np.array([[1, 0, 0]], "float32"), b))[0, 0])
        assert found == pytest.approx(angle, abs=1e-7 if angle < 1 else 1e-6)
    ends = np.array([[0, 0, 2.0], [0, 0, -0.5], [0, 0, 0], [1, 0, 0]], "float32")
    ahead = np.tile([[0, 0, 1.0]], (4, 1)).astype("float32")
    np.testing.assert_allclose(
        array(geometry.angle_between(ends, ahead))[:, 0],
        [0, np.pi, np.pi / 2, np.pi / 2],
        atol=1e-6,
    )
    one, two = gradients(geometry.angle_between, [ends, ahead], np.ones((4, 1)))
    assert np.isfinite(one).all() and np.isfinite(two).all()
    assert not one[:3].any()
    np.testing.assert_allclose(one[3], [0, 0, -1], atol=1e-6)


def test_intrinsics_follow_changes_of_the_image():
    """A point is seen at the pixel to which a change of the image moved it."""
    depth = np.random.default_rng(0).uniform(1, 5, (10, 14, 1))
    points = rays(K, 10, 14) * depth

    def pixels(k, points):
        seen = points @ k.T
        return seen[..., :2] / seen[..., 2:]

    v, u = np.mgrid[:10, :14].astype(float)
    cases = [
        (geometry.crop_intrinsics(K, 2, -3), (u + 3, v - 2), (1, 1)),
        (
            geometry.resize_intrinsics(K, (10, 14), (25, 7)),
            ((u + 0.5) / 2 - 0.5, (v + 0.5) * 2.5 - 0.5),
            (1, 1),
        ),
        (geometry.flip_intrinsics(K, width=14), (13 - u, v), (-1, 1)),
        (geometry.flip_intrinsics(K, height=10), (u, 9 - v), (1, -1)),
        (geometry.flip_intrinsics(K, height=10, width=14), (13 - u, 9 - v), (-1, -1)),
    ]
    for camera, expected, mirror in cases:
        found = pixels(camera, points * [*mirror, 1])
        np.testing.assert_allclose(found, np.stack(expected, -1), atol=1e-9)
        assert camera[0, 0] > 0 and camera[1, 1] > 0
    both = geometry.crop_intrinsics(np.stack([K, 2 * K]).astype("float32"), 1, 1)
    assert both.shape == (2, 3, 3) and both.dtype == np.float32


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"`depth` must have shape \(B, H, W, 1\).*\(2, 5, 6, 3\)"):
        geometry.depth_to_points(np.ones((2, 5, 6, 3)), K)
    with pytest.raises(ValueError, match="`depth` must have shape"):
        geometry.normals_from_depth(np.ones((5, 6)), K)
    with pytest.raises(ValueError, match=r"`intrinsics` must have shape \(3, 3\) or \(B, 3, 3\)"):
        geometry.depth_to_points(np.ones((2, 5, 6, 1)), K[:2])
    with pytest.raises(ValueError, match=r"`points` must have shape \(B, H, W, 3\)"):
        geometry.points_to_pixels(np.ones((2, 5, 6, 1)), K)
    with pytest.raises(ValueError, match="`intrinsics` must have shape"):
        geometry.crop_intrinsics(np.eye(4), 0, 0)
    with pytest.raises(ValueError, match="`target` must be one of.*'opencv'.*target='blender'"):
        geometry.convert_normals(np.zeros(3), "opencv", "blender")
    with pytest.raises(ValueError, match="`source` must be one of"):
        geometry.convert_normals(np.zeros(3), None, "opencv")

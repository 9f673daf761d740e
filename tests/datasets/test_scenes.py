"""Scenes: labels, depth and normals of each pixel are exact."""

import numpy as np
import pytest

from keras_dense.datasets import scenes
from keras_dense.datasets.raycast.solids import KINDS, enter, make_solid

pytestmark = pytest.mark.once


def points_of(ds, sample, world):
    """World points and normals of the pixels, from depth and intrinsics alone."""
    height, width = ds.size
    v, u = np.mgrid[:height, :width]
    ray = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(ds.intrinsics).T
    points = (ray * sample["depth"]) @ world.rotation.T + world.camera
    return points, sample["normals"] @ world.rotation.T


@pytest.fixture(scope="module")
def ds():
    return scenes(count=8, size=(96, 128), split="val", seed=11)


@pytest.mark.parametrize("index", range(4))
def test_every_pixel_lies_on_the_surface_of_its_class(ds, index):
    world, sample = ds.world(index), ds[index]
    points, normals = points_of(ds, sample, world)
    labels, names = sample["segmentation"], ds.class_names
    sky = labels == names.index("sky")
    assert (sample["depth"][sky] == 0).all() and (sample["normals"][sky] == 0).all()
    assert (sample["depth"][~sky] > 0).all()
    np.testing.assert_allclose(np.linalg.norm(normals[~sky], axis=1), 1, atol=1e-5)
    toward = ((points - world.camera) * normals).sum(-1)
    assert (toward[~sky] < 0).all()  # facing the camera

    ground = labels == names.index("ground")
    assert np.abs(points[ground][:, 1]).max() < 1e-5
    np.testing.assert_allclose(normals[ground], [[0, -1, 0]] * ground.sum(), atol=1e-6)

    wall = labels == names.index("wall")
    offsets = points[wall] @ world.walls[:, :3].T - world.walls[:, 3]
    which = np.abs(offsets).argmin(1)
    assert np.abs(offsets).min(1).max() < 1e-4
    np.testing.assert_allclose(normals[wall], world.walls[which, :3], atol=1e-6)
    assert points[wall][:, 1].min() >= -world.wall_height - 1e-4

    owned = np.zeros(labels.shape, bool)
    for solid in world.solids:
        here = labels == names.index(solid.kind)
        local = (points - solid.center) @ solid.rotation
        inside, on, normal = implicit(solid, local)
        mine = here & inside & on
        owned |= mine
        if mine.any():
            wanted = normal[mine] @ solid.rotation.T
            # On an edge the normal is that of either side.
            cosine = (wanted * normals[mine]).sum(-1)
            assert (cosine > 1 - 1e-5).mean() > 0.98
    things = labels >= names.index("sphere")
    assert (owned[things]).all()
    assert things.any()


def implicit(solid, p, tolerance=2e-5):
    """Membership of points in a solid and its surface, and the normal there; by kind."""
    lines = []  # (value <= 0 inside, normal)
    x, y, z = np.moveaxis(p, -1, 0)
    if solid.kind in ("box", "pyramid"):
        for n, k in zip(solid.normals, solid.offsets, strict=True):
            lines.append((p @ n - k, np.broadcast_to(n, p.shape)))
    else:
        level = np.hypot(x, z)
        ends = [(0.0, solid.offsets[0] if len(solid.offsets) else 0.0)]
        h = ends[0][1]
        if solid.kind == "sphere":
            length = np.linalg.norm(p, axis=-1)
            lines.append((length - solid.radius, p / length[..., None]))
        else:
            r = np.sqrt(solid.quadric[2]) if solid.kind == "cylinder" else None
            if solid.kind == "cone":
                k = np.sqrt(-solid.quadric[0])
                side = (level - k * (y + h)) / np.sqrt(1 + k * k)
                normal = np.stack([x / level, np.full_like(x, -k), z / level], -1)
                normal /= np.sqrt(1 + k * k)
            else:
                side, normal = level - r, np.stack([x / level, 0 * x, z / level], -1)
            lines.append((side, normal))
            lines.append((y - h, np.broadcast_to([0.0, 1, 0], p.shape)))
            lines.append((-y - h, np.broadcast_to([0.0, -1, 0], p.shape)))
    values = np.stack([v for v, _ in lines])
    most = values.argmax(0)
    normal = np.take_along_axis(np.stack([n for _, n in lines]), most[None, ..., None], 0)[0]
    return values.max(0) < tolerance, np.abs(values.max(0)) < tolerance, normal


def test_nothing_is_in_front_of_visible_points(ds):
    """March along rays: no solid, wall or ground between camera and point."""
    world, sample = ds.world(2), ds[2]
    points, _ = points_of(ds, sample, world)
    seen = sample["depth"][..., 0] > 0
    for share in np.linspace(0.02, 0.995, 40):
        p = world.camera + share * (points[seen] - world.camera)
        assert p[:, 1].max() < 0
        assert ((p @ world.walls[:, :3].T - world.walls[:, 3]) > -1e-9).all()
        for solid in world.solids:
            inside, _, _ = implicit(solid, (p - solid.center) @ solid.rotation, -1e-4)
            assert not inside.any()


def test_normals_are_the_slope_of_depth(ds):
    """By central differences of the points, wherever the neighbors are on the same flat thing."""
    world, sample = ds.world(0), ds[0]
    points, normals = points_of(ds, sample, world)
    right = points[1:-1, 2:] - points[1:-1, :-2]
    down = points[2:, 1:-1] - points[:-2, 1:-1]
    slope = np.cross(down, right)  # x right, y down: this one comes towards the camera
    slope /= np.linalg.norm(slope, axis=2, keepdims=True) + 1e-30
    middle = normals[1:-1, 1:-1]
    flat = np.linalg.norm(middle, axis=2) > 0.5
    for dy, dx in ((0, 1), (2, 1), (1, 0), (1, 2)):
        flat &= np.abs(normals[dy : dy + 94, dx : dx + 126] - middle).max(2) < 1e-6
    cosine = (slope * middle).sum(-1)[flat]
    assert flat.mean() > 0.3
    # Two faces with one normal (parallel boxes) may meet in the image: not in more than a few.
    assert (cosine > 1 - 1e-4).mean() > 0.995


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tilt", [0.0, 0.6, np.pi / 2, 2.5])
def test_solids_stand_on_the_ground(kind, tilt):
    c, s = np.cos(tilt), np.sin(tilt)
    rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    solid = make_solid(kind, 0.5, 0.7, 0.4, rotation, 1.0, 5.0)
    rng = np.random.default_rng(0)
    target = solid.center + rng.uniform(-1, 1, (40000, 3)) * solid.radius
    origin = np.array([1.0, -3.0, 0.0])
    t, _ = enter(solid, origin, target - origin)
    up, _ = enter(solid, target * [1, 0, 1] + [0, 2, 0], np.array([0, -1.0, 0]))
    hit = np.isfinite(t)
    points = origin + t[hit, None] * (target - origin)[hit]
    assert hit.any() and points[:, 1].max() < 1e-9
    assert abs(up.min() - 2) < 0.02  # from below: the lowest point is at y = 0


def test_shadow_and_light(ds):
    """The darker part of the ground has no free way to the sun."""
    from keras_dense.datasets.raycast.trace import cast, describe, sunlit

    world = ds.world(1)
    height, width = ds.size
    v, u = np.mgrid[:height, :width]
    ray = np.stack([u.ravel(), v.ravel(), np.ones(u.size)], -1) @ np.linalg.inv(ds.intrinsics).T
    direction = ray @ world.rotation.T
    t, thing, face = cast(world, direction)
    points, normals, _ = describe(world, direction, t, thing, face)
    lit, _ = sunlit(world, points, normals, thing)
    ground = thing == 0
    barred = np.zeros(ground.sum(), bool)
    for step in np.linspace(0.001, 12, 3000):
        p = points[ground] + step * world.light.to_sun
        below = p[:, 1] > -world.wall_height
        barred |= below & ((p @ world.walls[:, :3].T - world.walls[:, 3]) < 0).any(1)
        for solid in world.solids:
            if np.linalg.norm(p - solid.center, axis=1).min() < solid.radius:
                local = (p - solid.center) @ solid.rotation
                barred |= implicit(solid, local, 0)[0]
    assert (barred == ~lit[ground]).mean() > 0.995
    assert 0 < barred.mean() < 1


def test_deterministic_and_independent_of_order(ds):
    again = scenes(count=100, size=(96, 128), split="val", seed=11)
    for i in (3, 0):
        for key, value in ds[i].items():
            np.testing.assert_array_equal(again[i][key], value)
    np.testing.assert_array_equal(ds[-1]["image"], ds[7]["image"])


def test_splits_seeds_and_indices_differ():
    rendered = [
        scenes(count=3, size=24, split=split, seed=seed)[i]["image"].tobytes()
        for split in ("train", "val", "test")
        for seed in (0, 1)
        for i in range(3)
    ]
    assert len(set(rendered)) == len(rendered)


def test_size_changes_only_the_resolution():
    small = scenes(count=1, size=(40, 60))
    large = scenes(count=1, size=(120, 180))
    # Pixel (1, 1) of each 3 x 3 has its center where the small pixel has it.
    np.testing.assert_allclose(large[0]["depth"][1::3, 1::3], small[0]["depth"], rtol=1e-6)
    np.testing.assert_array_equal(large[0]["segmentation"][1::3, 1::3], small[0]["segmentation"])


def test_ranges_and_attributes():
    ds = scenes(count=40, size=48)
    assert ds.num_classes == len(ds.class_names) == len(ds.palette) == 8
    assert (ds.ignore_class, ds.name, ds.split, len(ds)) == (255, "scenes", "train", 40)
    assert "40 of 48 x 48" in repr(ds)
    counts = np.zeros(8)
    for i in range(40):
        sample = ds[i]
        assert sample["image"].dtype == sample["segmentation"].dtype == np.uint8
        assert sample["depth"].dtype == sample["normals"].dtype == np.float32
        assert sample["depth"].max() <= ds.max_depth
        assert 20 < sample["image"].mean() < 235
        counts += np.bincount(sample["segmentation"].ravel(), minlength=8) > 0
    assert (counts >= 10).all()  # every class is in a quarter of the images


def test_antialias_touches_edges_and_colors_only():
    smooth, rough = scenes(count=1, size=64)[0], scenes(count=1, size=64, antialias=False)[0]
    for key in ("segmentation", "depth", "normals"):
        np.testing.assert_array_equal(smooth[key], rough[key])
    changed = (smooth["image"] != rough["image"]).any(-1)
    assert 0.005 < changed.mean() < 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "`count` must be an integer >= 1.*count=0"),
        ({"count": 2.0}, "`count` must be an integer"),
        ({"seed": -1}, "`seed` must be an integer >= 0"),
        ({"size": 0}, "`size` must be an integer >= 1 or a pair"),
        ({"split": "dev"}, r"`split` must be one of 'train', 'val', 'test'.*'dev'"),
        ({"objects": (5, 3)}, "0 <= fewest <= most"),
        ({"objects": 4}, "`objects` must be"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        scenes(**arguments)


def test_index_out_of_range(ds):
    with pytest.raises(IndexError, match="sample 8 of 8"):
        ds[8]


def test_unknown_kind():
    with pytest.raises(ValueError, match="`kind` must be one of"):
        make_solid("torus", 1, 1, 1, np.eye(3), 0, 5)

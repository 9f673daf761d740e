"""Transforms change image, labels, depth and normals together, with correct geometry."""

import math

import numpy as np
import pytest

from keras_dense.datasets import scenes, transforms
from keras_dense.datasets.sample import check_sample

pytestmark = pytest.mark.once

RNG = np.random.default_rng


@pytest.fixture(scope="module")
def scene():
    return scenes(count=3, size=(96, 128), seed=4)[1]


def angles(a, b):
    """Angles in degrees between unit vectors."""
    return np.degrees(np.arccos(np.clip((a * b).sum(-1), -1, 1)))


def normals_from_depth(depth, focal):
    """Cross products of central differences of points, (H - 2, W - 2, 3), facing the camera."""
    z = depth[..., 0].astype(float)
    height, width = z.shape
    v, u = np.mgrid[:height, :width]
    points = np.stack([(u - (width - 1) / 2) * z / focal, (v - (height - 1) / 2) * z / focal, z], 2)
    down = points[2:, 1:-1] - points[:-2, 1:-1]
    right = points[1:-1, 2:] - points[1:-1, :-2]
    normal = np.cross(right, down)
    normal /= np.linalg.norm(normal, axis=2, keepdims=True) + 1e-30
    return normal * -np.sign((normal * points[1:-1, 1:-1]).sum(-1, keepdims=True))


def smooth(sample):
    """Pixels whose 5 x 5 surroundings show one flat thing, cut by one at each side."""
    height, width = sample["segmentation"].shape
    flat = np.zeros((height, width), bool)
    normals = sample["normals"]
    here = normals[2:-2, 2:-2]
    good = np.linalg.norm(here, axis=2) > 0.5
    for dy in range(5):
        for dx in range(5):
            other = normals[dy : height - 4 + dy, dx : width - 4 + dx]
            good &= np.abs(other - here).max(-1) < 1e-4
    flat[2:-2, 2:-2] = good
    return flat[1:-1, 1:-1]


def assert_consistent(sample, focal, share):
    """The normals of a sample are those of its depth wherever both are smooth."""
    where = smooth(sample)
    assert where.mean() > share
    error = angles(normals_from_depth(sample["depth"], focal), sample["normals"][1:-1, 1:-1])[where]
    # Depth read by nearest neighbor is a staircase of half-pixel errors: compare in the median.
    assert np.median(error) < 6, np.median(error)
    return error


def test_flip_is_a_mirror_and_its_own_inverse(scene):
    flip = transforms.RandomFlip(horizontal=1)
    out = flip(scene, RNG(0))
    for key in ("image", "segmentation", "depth"):
        np.testing.assert_array_equal(out[key], scene[key][:, ::-1])
    np.testing.assert_array_equal(out["normals"], scene["normals"][:, ::-1] * [-1, 1, 1])
    assert out["normals"].dtype == np.float32
    again = flip(out, RNG(1))
    for key in scene:
        np.testing.assert_array_equal(again[key], scene[key])


def test_flip_keeps_geometry(scene):
    focal = 128 / 2 / 0.6
    out = transforms.RandomFlip(horizontal=1, vertical=1)(scene, RNG(0))
    assert assert_consistent(out, focal, 0.2).max() < 0.05


def test_flip_vertical_negates_y(scene):
    out = transforms.RandomFlip(horizontal=0, vertical=1)(scene, RNG(0))
    np.testing.assert_array_equal(out["normals"], scene["normals"][::-1] * [1, -1, 1])
    np.testing.assert_array_equal(out["segmentation"], scene["segmentation"][::-1])


def test_flip_frequency(scene):
    flip = transforms.RandomFlip(0.25)
    rng = RNG(0)
    flipped = sum(flip(scene, rng) is not scene for _ in range(2000))
    assert abs(flipped / 2000 - 0.25) < 0.03


def test_transforms_leave_their_input_alone(scene):
    before = {key: value.copy() for key, value in scene.items()}
    for transform in (
        transforms.RandomFlip(1, 1),
        transforms.RandomScale(0.5, 0.7),
        transforms.RandomRotation(30),
        transforms.RandomCrop(150),
        transforms.ColorJitter(brightness=1, contrast=1, saturation=1, hue=0.5),
        transforms.Resize(50),
    ):
        transform(scene, RNG(3))
        for key, value in before.items():
            np.testing.assert_array_equal(scene[key], value)


@pytest.mark.parametrize("factor", [0.5, 1.3, 2.0])
def test_scale_is_a_nearer_world(scene, factor):
    focal = 128 / 2 / 0.6
    out = transforms.RandomScale(factor, factor)(scene, RNG(0))
    height, width = out["image"].shape[:2]
    assert (height, width) == (round(96 * factor), round(128 * factor))
    zoom = math.sqrt(height / 96 * width / 128)
    # Each depth is one that was there, divided.
    assert np.isin(
        np.round(out["depth"] * np.float32(zoom), 3), np.round(scene["depth"], 3)
    ).mean() > (0.99)
    # Half-pixel nearest neighbor, by the formula.
    rows = np.floor((np.arange(height) + 0.5) * 96 / height).astype(int)
    columns = np.floor((np.arange(width) + 0.5) * 128 / width).astype(int)
    np.testing.assert_array_equal(out["segmentation"], scene["segmentation"][rows][:, columns])
    np.testing.assert_array_equal(out["normals"], scene["normals"][rows][:, columns])
    # With the same camera the zoomed depth has the same normals: a plane z = k / (n . ray) keeps
    # its n only if depth shrinks while the image grows. Checked by points, not by differences:
    # n . p is one number on the ground.
    v, u = np.mgrid[:height, :width]
    ray = np.stack([(u - (width - 1) / 2) / focal, (v - (height - 1) / 2) / focal, 1 + 0 * u], 2)
    ray[..., :2] /= zoom  # where the pixel was in the old image
    points = ray * out["depth"] * zoom
    ground = out["segmentation"] == 1
    distance = (points * out["normals"]).sum(-1)[ground]
    assert np.std(distance) < 0.1 and abs(distance.mean()) > 1.0


def test_scale_matches_another_camera():
    """Zooming by 2 and dividing depth by 2 equals the view of a world half as large."""
    big = scenes(count=1, size=(64, 64))[0]
    out = transforms.RandomScale(2, 2)(big, RNG(0))
    np.testing.assert_allclose(out["depth"][::2, ::2] * 2, big["depth"], rtol=1e-6)


def test_scale_range_and_distribution():
    scale = transforms.RandomScale(0.5, 2.0)
    sample = {"image": np.zeros((100, 1, 3), np.uint8)}
    rng = RNG(0)
    sizes = np.array([scale(sample, rng)["image"].shape[0] for _ in range(3000)])
    assert sizes.min() >= 50 and sizes.max() <= 200
    assert 0.45 < (sizes < 100).mean() < 0.53  # log-uniform


def test_resize_keeps_meters_and_aspect(scene):
    out = transforms.Resize((48, 64))(scene)
    assert out["image"].shape == (48, 64, 3)
    assert np.isin(out["depth"], scene["depth"]).all()
    # Antialiased: each pixel is about the mean of its four.
    means = scene["image"].reshape(48, 2, 64, 2, 3).mean((1, 3))
    assert np.abs(out["image"] - means).mean() < 4
    assert transforms.Resize(64, keep_aspect=True)(scene)["image"].shape == (48, 64, 3)
    assert transforms.Resize((96, 128))(scene) is scene


def test_crop_cuts_all_alike(scene):
    index = np.arange(96 * 128, dtype=np.int32).reshape(96, 128)
    sample = {**scene, "index": index}
    del sample["intrinsics"]
    out = transforms.RandomCrop((40, 50))(sample, RNG(2))
    top, left = divmod(out["index"][0, 0], 128)
    window = (slice(top, top + 40), slice(left, left + 50))
    for key in sample:
        np.testing.assert_array_equal(out[key], sample[key][window])


def test_crop_reaches_every_place():
    sample = {"image": np.zeros((3, 4, 3), np.uint8), "index": np.arange(12).reshape(3, 4)}
    crop, rng = transforms.RandomCrop(2), RNG(0)
    firsts = {int(crop(sample, rng)["index"][0, 0]) for _ in range(200)}
    assert firsts == {0, 1, 2, 4, 5, 6}


def test_crop_pads_with_void(scene):
    out = transforms.RandomCrop((120, 100), color=(1, 2, 3))(scene, RNG(5))
    assert out["image"].shape == (120, 100, 3) and out["depth"].shape == (120, 100, 1)
    void = out["segmentation"] == 255
    assert void.sum() == 24 * 100
    assert (out["image"][void] == (1, 2, 3)).all()
    assert (out["depth"][void] == 0).all() and (out["normals"][void] == 0).all()
    tops = {int((crop["segmentation"][:, 0] == 255).argmin()) for crop in _crops(scene, 120)}
    assert len(tops) > 5  # the image's place is random, too


def _crops(scene, size):
    crop, rng = transforms.RandomCrop(size), RNG(0)
    return [crop(scene, rng) for _ in range(20)]


def test_center_crop_and_pad(scene):
    out = transforms.CenterCrop((32, 64))(scene)
    np.testing.assert_array_equal(out["image"], scene["image"][32:64, 32:96])
    out = transforms.CenterCrop((100, 128))(scene)
    np.testing.assert_array_equal(out["segmentation"][2:98], scene["segmentation"])
    assert (out["segmentation"][[0, 1, 98, 99]] == 255).all()
    out = transforms.Pad(multiple=50)(scene)
    assert out["image"].shape == (100, 150, 3)
    np.testing.assert_array_equal(out["image"][:96, :128], scene["image"])
    assert transforms.Pad(size=(97, 100))(scene)["image"].shape == (97, 128, 3)
    assert transforms.Pad(size=10)(scene) is scene


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_are_exact(scene, turns):
    sample = transforms.CenterCrop(64)(scene)
    out = transforms.RandomRotation((90 * turns, 90 * turns))(sample, RNG(0))
    for key in ("segmentation", "depth"):
        np.testing.assert_array_equal(out[key], np.rot90(sample[key], turns))
    difference = out["image"].astype(int) - np.rot90(sample["image"], turns)
    assert np.abs(difference).max() <= 1  # Pillow cuts off fractions
    x, y, z = np.moveaxis(np.rot90(sample["normals"], turns), -1, 0)
    for _ in range(turns):
        x, y = y, -x  # counter-clockwise with y down: right becomes up
    np.testing.assert_allclose(out["normals"], np.stack([x, y, z], -1), atol=1e-6)


@pytest.mark.parametrize("degrees", [-25, 10])
def test_rotation_turns_normals_with_depth(scene, degrees):
    out = transforms.RandomRotation((degrees, degrees))(scene, RNG(0))
    void = out["segmentation"] == 255
    assert 0.02 < void.mean() < 0.5
    assert (out["image"][void & (np.roll(void, 2, 1)) & np.roll(void, -2, 1)] != 0).any()
    assert (out["depth"][void] == 0).all() and (out["normals"][void] == 0).all()
    # The ground's own offset n . p stays one number.
    focal = 128 / 2 / 0.6
    v, u = np.mgrid[:96, :128]
    ray = np.stack([(u - 63.5) / focal, (v - 47.5) / focal, 1 + 0 * u], 2)
    ground = out["segmentation"] == 1
    offset = (ray * out["depth"] * out["normals"]).sum(-1)[ground]
    before = scene["segmentation"] == 1
    exact = (ray * scene["depth"] * scene["normals"]).sum(-1)[before]
    assert np.std(exact) < 1e-5
    assert abs(np.median(offset) - np.median(exact)) < 0.01 and np.std(offset) < 0.1
    # Turned the wrong way they would not be.
    wrong = out["normals"] * [-1, 1, 1]
    assert np.std((ray * out["depth"] * wrong).sum(-1)[ground]) > 2 * np.std(offset)


def test_rotation_keeps_image_and_labels_in_step():
    labels = np.zeros((81, 101), np.uint8)
    labels[20:50, 30:80] = 1
    sample = {"image": np.repeat(labels[..., None] * 200, 3, 2), "segmentation": labels}
    out = transforms.RandomRotation((17, 17), color=(0, 0, 0))(sample, RNG(0))
    bright, ones = out["image"][..., 0] > 100, out["segmentation"] == 1
    assert (bright ^ ones).mean() < 0.002 and ones.sum() > 1000


def test_jitter_changes_only_the_image(scene):
    out = transforms.ColorJitter()(scene, RNG(1))
    assert (out["image"] != scene["image"]).any() and out["image"].dtype == np.uint8
    for key in ("segmentation", "depth", "normals"):
        assert out[key] is scene[key]
    same = transforms.ColorJitter(brightness=0, contrast=0, saturation=0, hue=0)(scene, RNG(1))
    np.testing.assert_array_equal(same["image"], scene["image"])


def test_jitter_by_hand():
    import colorsys

    image = np.array([[[200, 40, 90], [10, 180, 30]]], np.uint8)
    draws = RNG(7).uniform(-1, 1, 4)
    out = transforms.ColorJitter(brightness=0.4, contrast=0, saturation=0, hue=0)(
        {"image": image}, RNG(7)
    )["image"]
    np.testing.assert_allclose(out, np.clip(image * (1 + 0.4 * draws[0]), 0, 255), atol=1)
    out = transforms.ColorJitter(brightness=0, contrast=0, saturation=1, hue=0)(
        {"image": image}, RNG(7)
    )["image"]
    gray = (image @ [0.299, 0.587, 0.114])[..., None]
    wanted = np.clip(gray + (1 + draws[2]) * (image - gray), 0, 255)
    np.testing.assert_allclose(out, wanted, atol=1.5)
    out = transforms.ColorJitter(brightness=0, contrast=0, saturation=0, hue=0.5)(
        {"image": image}, RNG(7)
    )["image"]
    hue = [colorsys.rgb_to_hsv(*(p / 255))[0] for p in image[0]]
    new = [colorsys.rgb_to_hsv(*(p / 255))[0] for p in out[0]]
    turned = (np.subtract(new, hue) - 0.5 * draws[3] + 0.5) % 1 - 0.5
    assert np.abs(turned).max() < 0.02


def test_same_generator_same_result(scene):
    augment = transforms.Compose(
        [
            transforms.RandomScale(),
            transforms.RandomRotation(15),
            transforms.RandomCrop(64),
            transforms.RandomFlip(),
            transforms.ColorJitter(),
        ]
    )
    one, two, other = augment(scene, RNG(9)), augment(scene, RNG(9)), augment(scene, RNG(10))
    for key in scene:
        np.testing.assert_array_equal(one[key], two[key])
    assert (one["image"] != other["image"]).any()


# A camera whose axis misses the middle, with pixels that are not square.
CAMERA = np.array([[120.0, 0.0, 50.0], [0.0, 95.0, 47.0], [0.0, 0.0, 1.0]])


def points_of(sample):
    """The point at each pixel, from depth and intrinsics."""
    height, width = sample["depth"].shape[:2]
    v, u = np.mgrid[:height, :width]
    ray = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(sample["intrinsics"]).T
    return ray * sample["depth"]


@pytest.fixture
def with_camera(scene):
    return {**scene, "intrinsics": CAMERA}


@pytest.mark.parametrize("mirror", [(1, 0), (0, 1), (1, 1)])
def test_the_camera_of_a_mirrored_scene(with_camera, mirror):
    out = transforms.RandomFlip(*mirror)(with_camera, RNG(0))
    across, down = (-1 if m else 1 for m in mirror)
    wanted = points_of(with_camera)[::down, ::across] * [across, down, 1]
    np.testing.assert_allclose(points_of(out), wanted, atol=1e-9)
    if mirror == (1, 0):
        assert out["intrinsics"][0].tolist() == [120, 0, 127 - 50]


def test_the_camera_of_a_window(with_camera):
    points = points_of(with_camera)
    index = np.arange(96 * 128).reshape(96, 128)
    out = transforms.RandomCrop((40, 150))({**with_camera, "index": index + 1}, RNG(2))
    known = out["index"] > 0
    np.testing.assert_allclose(
        points_of(out)[known], points.reshape(-1, 3)[out["index"][known] - 1], atol=1e-9
    )
    assert out["intrinsics"][0, 2] > 50 and out["intrinsics"][1, 2] < 47
    padded = transforms.Pad((100, 130))(with_camera)
    np.testing.assert_array_equal(padded["intrinsics"], CAMERA)


def test_the_camera_of_another_size(with_camera):
    """The center of each 3 x 3 block is the original pixel, with the same point."""
    points = points_of(with_camera)
    large = transforms.Resize((3 * 96, 3 * 128))(with_camera)
    np.testing.assert_allclose(points_of(large)[1::3, 1::3], points, atol=1e-9)
    small = transforms.Resize((32, 128))(with_camera)
    np.testing.assert_allclose(points_of(small), points[1::3], atol=1e-9)
    # A zoom: all is smaller by that factor, and no angle differs.
    zoomed = transforms.RandomScale(3, 3)(with_camera, RNG(0))
    np.testing.assert_allclose(points_of(zoomed)[1::3, 1::3], points / 3, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("degrees", [90, -180, 17.0])
def test_the_camera_of_a_turned_image(with_camera, degrees):
    v, u = np.mgrid[:96, :128].astype(np.float32)
    source = points_of(with_camera)
    sample = {**with_camera, "u": u + 1, "v": v, "source": source}
    out = transforms.RandomRotation((degrees, degrees))(sample, RNG(0))
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    turned = out["source"].copy()
    turned[..., :2] = turned[..., :2] @ turn.T
    known = (out["u"] > 0) & (out["depth"][..., 0] > 0)
    if degrees != 17.0:  # nearest neighbor reads every pixel at its center
        np.testing.assert_allclose(points_of(out)[known], turned[known], atol=1e-6)
    seen = turned[known] @ out["intrinsics"].T
    miss = seen[:, :2] / seen[:, 2:] - np.stack([u, v], -1)[known]
    assert np.abs(miss).max() < 0.72 and np.abs(miss.mean(0)).max() < 0.01


def test_a_sample_of_three_pixels_has_a_camera(with_camera):
    small = {"image": np.zeros((3, 3, 3), np.uint8), "intrinsics": np.eye(3)}
    out = transforms.RandomFlip(1)(transforms.CenterCrop(3)(small), RNG(0))
    assert out["intrinsics"].tolist() == [[1, 0, 2], [0, 1, 0], [0, 0, 1]]
    with pytest.raises(ValueError, match=r"'intrinsics' must have shape \(3, 3\).*\(4, 4\)"):
        check_sample({**small, "intrinsics": np.eye(4)})


def test_scenes_have_their_camera(scene):
    ds = scenes(count=3, size=(96, 128), seed=4)
    np.testing.assert_allclose(scene["intrinsics"], ds.intrinsics, rtol=1e-6)
    assert scene["intrinsics"].dtype == np.float32
    turned = transforms.Compose(
        [transforms.RandomScale(), transforms.RandomCrop(64), transforms.RandomFlip()]
    )(scene, RNG(0))
    assert turned["intrinsics"].dtype == np.float32
    assert (turned["intrinsics"] != scene["intrinsics"]).any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: transforms.RandomFlip(1.5), "`horizontal` must be a number from 0 to 1.*1.5"),
        (lambda: transforms.RandomFlip(vertical="yes"), "`vertical` must be a number"),
        (
            lambda: transforms.RandomScale(2, 1),
            "`high` must be a number >= low=2. Received: high=1",
        ),
        (lambda: transforms.RandomScale(0, 1), "`low` must be a number > 0"),
        (lambda: transforms.RandomScale("a", 1), "`low` must be a number > 0"),
        (lambda: transforms.RandomCrop(0), "`size` must be an integer >= 1 or a pair"),
        (lambda: transforms.RandomCrop((3, 4, 5)), "`size` must be"),
        (lambda: transforms.RandomCrop(2.5), "`size` must be"),
        (lambda: transforms.CenterCrop(8, color=(0, 0, 300)), "three integers from 0 to 255"),
        (lambda: transforms.Resize((0, 5)), "`size` must be"),
        (lambda: transforms.Pad(), "`size` or `multiple` must be given"),
        (lambda: transforms.Pad(multiple=0), "`multiple` must be an integer >= 1"),
        (lambda: transforms.RandomRotation(-5), "`degrees` must be a number >= 0 or a pair"),
        (lambda: transforms.RandomRotation("x"), "`degrees` must be"),
        (lambda: transforms.RandomRotation((0, math.inf)), "`degrees` must be"),
        (
            lambda: transforms.ColorJitter(brightness=-1),
            "`brightness` must be a number from 0 to 1",
        ),
        (lambda: transforms.ColorJitter(hue=0.7), "`hue` must be a number from 0 to 0.5"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_compose_names_a_faulty_transform():
    with pytest.raises(TypeError, match=r"transforms\[1\]=3"):
        transforms.Compose([transforms.RandomFlip(), 3])

    def half(sample, rng):
        return {**sample, "segmentation": sample["segmentation"][::2]}

    sample = {"image": np.zeros((4, 4, 3), np.uint8), "segmentation": np.zeros((4, 4), np.uint8)}
    with pytest.raises(ValueError, match="after half: 'segmentation' is 2 x 4 pixels"):
        transforms.Compose(half)(sample, RNG(0))
    with pytest.raises(
        TypeError, match="after <lambda>: must be a dict with the key 'image'.*NoneType"
    ):
        transforms.Compose([lambda s, rng: None])(sample, RNG(0))

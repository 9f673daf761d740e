"""Transforms that strong views need, against SciPy, scikit-image, Pillow and NumPy."""

import io
import math
import types

import numpy as np
import pytest
from PIL import Image

import keras_dense as kd
from keras_dense.datasets import BoxMix, ClassMix, Loader, Mixed, scenes, transforms
from keras_dense.datasets.mixing import mixing_maps
from keras_dense.datasets.transforms.gaussian import smoothed
from keras_dense.datasets.transforms.warp import affine_sample

pytestmark = pytest.mark.once
RNG = np.random.default_rng


@pytest.fixture(scope="module")
def scene():
    found = scenes(count=3, size=(60, 80), seed=4)[1]
    return {**found, "tags": np.array([1, 0, 255, 1, 0, 1, 0, 0], "uint8")}


def only_image_changed(sample, out):
    assert out["image"].dtype == np.uint8 and out["image"].shape == sample["image"].shape
    assert all(out[key] is sample[key] for key in sample if key != "image")
    return out["image"]


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.7])
def test_blur_is_scipys(scene, sigma):
    from scipy import ndimage

    found = only_image_changed(scene, transforms.Blur(sigma)(scene, RNG(0)))
    wanted = ndimage.gaussian_filter(scene["image"].astype(float), (sigma, sigma, 0))
    assert np.abs(found - wanted).max() <= 0.51
    small = RNG(0).normal(size=(3, 2))  # smaller than the kernel
    np.testing.assert_allclose(smoothed(small, 1.5), ndimage.gaussian_filter(small, 1.5), atol=1e-5)


def test_noise_gray_gamma_jpeg(scene):
    image = scene["image"]
    rng = RNG(5)
    rng.random(2)
    wanted = np.rint(image + 7.0 * rng.standard_normal(image.shape, np.float32)).clip(0, 255)
    found = only_image_changed(scene, transforms.Noise(7)(scene, RNG(5)))
    np.testing.assert_array_equal(found, wanted)
    gray = only_image_changed(scene, transforms.Gray()(scene, RNG(0)))
    pillow = np.asarray(Image.fromarray(image).convert("L"))
    assert np.abs(gray[..., 0].astype(int) - pillow).max() <= 1 and np.ptp(gray, axis=-1).max() == 0
    gamma = only_image_changed(scene, transforms.Gamma(1.7)(scene, RNG(0)))
    np.testing.assert_allclose(gamma, 255 * (image / 255) ** 1.7, atol=0.5)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=40)
    jpeg = only_image_changed(scene, transforms.Jpeg(40)(scene, RNG(0)))
    np.testing.assert_array_equal(jpeg, np.asarray(Image.open(file)))


def test_gamma_is_that_of_scikit_image(scene):
    exposure = pytest.importorskip("skimage.exposure")
    wanted = exposure.adjust_gamma(scene["image"].astype(float) / 255, 0.6) * 255
    found = transforms.Gamma(0.6)(scene, RNG(0))["image"]
    np.testing.assert_allclose(found, wanted, atol=0.5)


def test_spans_and_probabilities(scene):
    blur = transforms.Blur((0, 3), probability=0.5)
    changed = [blur(scene, RNG(i))["image"] is not scene["image"] for i in range(40)]
    assert 10 < sum(changed) < 30
    spread = [transforms.Noise((0, 20))(scene, RNG(i))["image"].astype(int) for i in range(12)]
    sizes = [np.std(x - scene["image"]) for x in spread]
    assert min(sizes) < 6 and max(sizes) > 12


def test_what_is_cut_out_is_unknown(scene):
    sample = {**scene, "weight": np.ones((60, 80), "float32")}
    out = transforms.CutOut(boxes=2, area=(0.05, 0.1), color=(9, 8, 7))(sample, RNG(1))
    hole = (out["image"] == (9, 8, 7)).all(-1)
    assert 0.05 * 4800 < hole.sum() < 0.2 * 4800 + 50
    assert (out["segmentation"][hole] == 255).all() and (out["weight"][hole] == 0).all()
    assert (out["depth"][hole] == 0).all() and (out["normals"][hole] == 0).all()
    for key in ("image", "segmentation", "depth", "normals"):
        np.testing.assert_array_equal(out[key][~hole], scene[key][~hole])
    assert out["tags"].tolist() == [255, 0, 255, 255, 0, 255, 0, 0]
    np.testing.assert_array_equal(out["intrinsics"], scene["intrinsics"])


def test_a_rotation_is_that_of_its_own_transform(scene):
    turned = transforms.RandomRotation((12, 12))(scene, RNG(0))
    angle = math.radians(12)
    cos, sin, x, y = math.cos(angle), math.sin(angle), 39.5, 29.5
    matrix = [[cos, sin, x - cos * x - sin * y], [-sin, cos, y + sin * x - cos * y], [0, 0, 1]]
    found = affine_sample(scene, np.array(matrix))
    for key in ("segmentation", "depth", "normals"):
        differs = np.abs(found[key].astype(float) - turned[key]) > 1e-5
        assert differs.mean() < 0.01, key
    np.testing.assert_allclose(found["intrinsics"], turned["intrinsics"], atol=1e-4)
    assert np.abs(found["image"].astype(int) - turned["image"])[8:-8, 8:-8].mean() < 1
    assert found["tags"].tolist() == turned["tags"].tolist() == [255, 0, 255, 255, 0, 255, 0, 0]


@pytest.mark.parametrize("seed", range(3))
def test_an_affine_warp_is_seen_by_its_camera(scene, seed):
    """Depth, read through the new intrinsics, has the new normals."""
    big = scenes(count=3, size=(96, 128), seed=4)[1]
    warp = transforms.RandomAffine(degrees=30, shear=15, stretch=1.3, shift=0.1)
    out = warp(big, RNG(seed))
    k = np.asarray(out["intrinsics"], float)
    v, u = np.indices(out["segmentation"].shape)
    rays = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(k).T
    points = rays * out["depth"]
    # Planes fitted to 7 x 7 pixels of one normal: depth read by nearest neighbor is a staircase.
    errors = []
    for row in range(3, 93, 6):
        for column in range(3, 125, 6):
            window = (slice(row - 3, row + 4), slice(column - 3, column + 4))
            normals, p = out["normals"][window].reshape(-1, 3), points[window].reshape(-1, 3)
            if np.abs(normals - normals[0]).max() > 1e-3 or (p[:, 2] <= 0).any():
                continue
            _, _, axes = np.linalg.svd(p - p.mean(0))
            errors.append(np.degrees(np.arccos(min(1, abs(axes[2] @ normals[0])))))
    assert len(errors) > 15 and np.median(errors) < 4, (len(errors), np.median(errors))
    plain = transforms.RandomAffine(degrees=0, shear=0, stretch=1, shift=0)
    assert plain(big, RNG(0)) is big


def test_labels_of_an_affine_warp_by_hand():
    labels = np.arange(12, dtype="uint8").reshape(3, 4)
    sample = {"image": np.repeat(labels[..., None] * 20, 3, -1), "segmentation": labels}
    out = affine_sample(sample, np.array([[1, 0, 1.0], [0, 1, 0], [0, 0, 1]]))
    wanted = [[255, 0, 1, 2], [255, 4, 5, 6], [255, 8, 9, 10]]
    assert out["segmentation"].tolist() == wanted
    half = affine_sample(sample, np.array([[1, 0, 0.5], [0, 1, 0], [0, 0, 1]]))["image"][..., 0]
    assert half[1, 1:].tolist() == [90, 110, 130]


def test_an_elastic_warp_moves_all_alike(scene):
    out = transforms.RandomElastic(3.0, 8.0)(scene, RNG(3))
    assert "intrinsics" not in out and (out["segmentation"] != scene["segmentation"]).mean() > 0.02
    lengths = np.linalg.norm(out["normals"], axis=-1)
    assert np.isin(lengths.round(3), (0, 1)).all()
    # Normals turn about the axis of the camera: z is that of the source.
    values = np.unique(scene["normals"][..., 2].round(3))
    assert np.isin(out["normals"][..., 2].round(3), values).all()
    places = {**scene, "places": np.arange(4800).reshape(60, 80)}
    moved = transforms.RandomElastic(3.0, 8.0)(places, RNG(3))["places"]
    inside = np.abs(moved - places["places"]) > 0
    source = scene["depth"].reshape(-1)[moved.clip(0)]
    assert inside.mean() > 0.5
    np.testing.assert_array_equal(out["depth"][..., 0][moved > 0], source[moved > 0])
    # A mirror of the field mirrors the angle: straight fields turn nothing.
    still = transforms.RandomElastic(0.0)(scene, RNG(0))
    assert still is scene


def test_elastic_normals_turn_by_the_local_rotation():
    from keras_dense.datasets.transforms.warp import warp_sample

    normals = np.zeros((9, 9, 3), "float32")
    normals[...] = (0.6, 0, -0.8)
    sample = {"image": np.zeros((9, 9, 3), "uint8"), "normals": normals}
    y, x = np.indices((9, 9)) - 4.0
    angle = math.radians(90)  # the source is turned against the result
    rows, columns = (
        math.sin(angle) * x + math.cos(angle) * y,
        math.cos(angle) * x - math.sin(angle) * y,
    )
    out = warp_sample(sample, rows + 4, columns + 4, angle)
    turned = transforms.RandomRotation((90, 90))(sample, RNG(0))
    np.testing.assert_allclose(out["normals"], turned["normals"], atol=1e-6)


def test_the_same_numbers_give_the_same_sample(scene):
    for transform in (
        transforms.Blur(),
        transforms.Noise(),
        transforms.CutOut(),
        transforms.RandomAffine(),
        transforms.RandomElastic(),
        transforms.Jpeg(),
    ):
        one, two = (transform(dict(scene), RNG(7)) for _ in range(2))
        for key in one:
            np.testing.assert_array_equal(one[key], two[key])


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: transforms.Blur(-1), "`sigma` must be a number >= 0, or a pair"),
        (lambda: transforms.Noise((3, 1)), "`sigma` must be a number >= 0, or a pair"),
        (lambda: transforms.Gamma(0), "`gamma` must be a number > 0"),
        (lambda: transforms.Jpeg(101), "`quality` must be a number from 1 to 100"),
        (lambda: transforms.Gray(probability=2), "`probability` must be a number from 0 to 1"),
        (lambda: transforms.CutOut(area=(0, 0.5)), "`area` must be a pair .low, high. of shares"),
        (lambda: transforms.RandomAffine(shear=45), "`shear` must be a number >= 0 and < 45"),
        (lambda: transforms.RandomAffine(stretch=0.5), "`stretch` must be a number >= 1"),
        (lambda: transforms.RandomElastic(sigma=0), "`sigma` must be a number > 0"),
        (lambda: BoxMix((0.5, 0.1)), "`area` must be a pair"),
        (lambda: ClassMix(probability=-1), "`probability` must be a number from 0 to 1"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def loader(world, **settings):
    heads = {
        "labels": kd.heads.Segmentation(8),
        "depth": kd.heads.Depth(),
        "normals": kd.heads.Normals(),
        "tags": kd.heads.Tags(8),
    }
    return Loader(world, heads, 3, workers=0, **settings)


@pytest.mark.parametrize("mix", [BoxMix(probability=1), ClassMix(probability=1)])
def test_mixed_batches_are_in_step(mix):
    world = scenes(6, size=(24, 32), seed=1)
    plain, mixed = loader(world), Mixed(loader(world), mix, seed=5)
    images, targets = plain[1]
    found, mixed_targets = mixed[1]
    partner, taken = mixing_maps(images, targets["labels"], mix, RNG((5, 0, 1)))
    assert sorted(partner) == [0, 1, 2] and all(partner != [0, 1, 2])
    assert 0.05 < taken.mean() < 0.95
    for before, after in (
        (images, found),
        *((targets[key], mixed_targets[key]) for key in ("labels", "depth", "normals")),
    ):
        for b in range(3):
            own, other = ~taken[b], taken[b]
            np.testing.assert_array_equal(after[b][own], before[b][own])
            np.testing.assert_array_equal(after[b][other], before[partner[b]][other])
    tags = targets["tags"]
    wanted = np.where((tags == 0) & (tags[partner] == 0), 0, 255)
    np.testing.assert_array_equal(mixed_targets["tags"], wanted)
    if isinstance(mix, ClassMix):
        for b in range(3):
            classes = set(targets["labels"][partner[b]][taken[b]])
            assert len(classes) == (len(np.unique(targets["labels"][partner[b]])) + 1) // 2
            np.testing.assert_array_equal(
                taken[b], np.isin(targets["labels"][partner[b]], list(classes))
            )
    again = Mixed(loader(world), mix, seed=5)
    np.testing.assert_array_equal(again[1][0], found)
    with pytest.raises(TypeError, match="`loader` must be a Loader with heads"):
        Mixed(Loader(world, None, 2), mix)


class Shifted:
    """A transform of Albumentations, as far as the adapter uses it: shifts by a random column."""

    def set_random_seed(self, seed):
        self.rng = RNG(seed)

    def __call__(self, image, masks, mask):
        step = int(self.rng.integers(1, 4))

        def shifted(x):
            out = np.zeros_like(x)
            out[:, step:] = x[:, :-step]
            return out

        return {"image": shifted(image), "masks": [shifted(m) for m in masks]}


def flat(scene):
    return {key: scene[key] for key in ("image", "segmentation", "tags")}


def test_albumentations_leave_void_where_nothing_is_known(scene):
    sample = {**flat(scene), "weight": np.ones((60, 80), "float32")}
    adapter = transforms.Albumentations(Shifted())
    out = adapter(sample, RNG(2))
    step = int((out["weight"][0] == 0).sum())
    assert step in (1, 2, 3) and out["segmentation"].dtype == np.uint8
    assert (out["segmentation"][:, :step] == 255).all()
    np.testing.assert_array_equal(out["segmentation"][:, step:], scene["segmentation"][:, :-step])
    assert out["tags"].tolist() == [255, 0, 255, 255, 0, 255, 0, 0]
    np.testing.assert_array_equal(adapter(sample, RNG(2))["image"], out["image"])
    with pytest.raises(ValueError, match="must not change the geometry of samples with 'normals'"):
        adapter(scene, RNG(2))
    with pytest.raises(TypeError, match="set_random_seed"):
        transforms.Albumentations(print)


def test_albumentations_of_colors_alone_take_every_sample(scene):
    class Inverted(Shifted):
        def __call__(self, image, masks, mask):
            return {"image": 255 - image, "masks": masks}

    out = transforms.Albumentations(Inverted())(scene, RNG(0))
    np.testing.assert_array_equal(only_image_changed(scene, out), 255 - scene["image"])


def test_torchvision(scene, monkeypatch):
    import sys

    import torch

    kinds = types.SimpleNamespace(Image=lambda x: x, Mask=lambda x: x)
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.tv_tensors", kinds)

    def rolled(image, masks):
        step = int(torch.randint(1, 4, ()))
        found = [torch.zeros_like(x) for x in (image, masks)]
        for out, x in zip(found, (image, masks), strict=True):
            out[..., step:] = x[..., :-step]
        return found

    adapter = transforms.Torchvision(rolled)
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    out = adapter(flat(scene), RNG(1))
    assert torch.equal(torch.random.get_rng_state(), state)
    step = int((out["segmentation"] == 255).all(0).sum())
    assert step in (1, 2, 3)
    np.testing.assert_array_equal(out["image"][:, step:], scene["image"][:, :-step])
    np.testing.assert_array_equal(adapter(flat(scene), RNG(1))["image"], out["image"])
    with pytest.raises(ValueError, match="Torchvision: must not change the geometry"):
        adapter(scene, RNG(1))
    with pytest.raises(TypeError, match="`transform` must be a callable of torchvision"):
        transforms.Torchvision(None)


def test_intrinsics_of_a_shear():
    sample = {"image": np.zeros((5, 5, 3), "uint8"), "intrinsics": np.diag([2.0, 2.0, 1.0])}
    matrix = np.array([[1, 0.5, 0], [0, 1, 0], [0, 0, 1]])
    out = affine_sample(sample, matrix)
    # The polar part that is a rotation is taken out: K' K'^T does not depend on it.
    k = out["intrinsics"]
    np.testing.assert_allclose(k @ k.T, matrix @ np.diag([4, 4, 1]) @ matrix.T, atol=1e-9)

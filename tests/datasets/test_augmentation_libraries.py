"""The adapters of Albumentations and torchvision around these libraries, where they are installed.

`pip install albumentations` and `pip install torchvision` bring them. Stubs stand for them in
test_strong_views.py.
"""

import os
import pickle

import numpy as np
import pytest

from keras_dense import heads
from keras_dense.datasets import Loader, scenes, transforms
from tests import torchvision_operations

pytestmark = pytest.mark.once
RNG = np.random.default_rng
HEIGHT, WIDTH = 60, 80


@pytest.fixture(scope="module")
def alb():
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it asks PyPI for a newer version
    return pytest.importorskip("albumentations")


@pytest.fixture(scope="module")
def v2():
    torchvision_operations.declare()
    return pytest.importorskip("torchvision.transforms.v2", exc_type=ImportError)


@pytest.fixture(scope="module")
def ramps():
    """A sample whose colors and numbers tell the row and the column of a pixel."""
    rows, columns = np.indices((HEIGHT, WIDTH))
    image = np.stack([3 * columns, 4 * rows, np.zeros_like(rows)], axis=-1).astype("uint8")
    numbers = (rows * WIDTH + columns).astype("int32")
    labels = (3 * (rows // 20) + columns // 30).astype("uint8")  # 0 to 8
    labels[:3, :3] = 255
    return {
        "image": image,
        "instances": numbers,
        "segmentation": labels,
        "weight": np.ones((HEIGHT, WIDTH), "float32"),
        "tags": np.array([1, 0, 255] * 3, "uint8"),
    }


def check_in_step(sample, out, scale=1.0):
    """The image and each annotation came from the same pixels; what came from outside is void."""
    from scipy import ndimage

    numbers = out["instances"]
    inside = numbers >= 0
    rows, columns = np.divmod(numbers, WIDTH)
    for key, unknown in (("segmentation", 255), ("weight", 0)):
        source = sample[key].ravel()
        np.testing.assert_array_equal(out[key][inside], source[numbers[inside]])
        assert (out[key][~inside] == unknown).all()
        assert out[key].dtype == sample[key].dtype
    # The image is interpolated, masks are not. Near borders it is mixed with the filling.
    known = ndimage.binary_erosion(inside, iterations=3, border_value=1)
    known &= (columns > 2) & (columns < WIDTH - 3) & (rows > 2) & (rows < HEIGHT - 3)
    assert known.sum() > 50
    allowed = 0.5 / scale + 0.35  # half a pixel of the result; colors are whole numbers
    assert np.abs(out["image"][..., 0] / 3 - columns)[known].max() <= allowed
    assert np.abs(out["image"][..., 1] / 4 - rows)[known].max() <= allowed
    return inside


def check_rotation(out, degrees):
    """Pixels came from places that are turned about the center, in one direction or the other."""
    v, u = np.nonzero(out["instances"] >= 0)
    rows, columns = np.divmod(out["instances"][v, u], WIDTH)
    x, y = u - (WIDTH - 1) / 2, v - (HEIGHT - 1) / 2
    worst = []
    for angle in np.radians([degrees, -degrees]):
        cos, sin = np.cos(angle), np.sin(angle)
        right = cos * x - sin * y + (WIDTH - 1) / 2 - columns
        down = sin * x + cos * y + (HEIGHT - 1) / 2 - rows
        worst.append(max(np.abs(right).max(), np.abs(down).max()))
    assert min(worst) < 0.8 and max(worst) > 5, worst


def made(alb, text):
    return transforms.Albumentations(alb.Compose([eval(text, {"A": alb})]))  # noqa: S307


GEOMETRY = [
    ("A.HorizontalFlip(p=1)", 1, False),
    ("A.RandomCrop(32, 40)", 1, False),
    ("A.Rotate((20, 20), p=1)", 1, True),
    ("A.Rotate((20, 20), fill=124, fill_mask=255, p=1)", 1, True),
    ("A.Rotate((20, 20), fill_mask=3, p=1)", 1, True),
    ("A.Affine(scale=0.5, p=1)", 0.5, True),
    ("A.Affine(scale=2.0, p=1)", 2, False),
    ("A.Resize(30, 40)", 0.5, False),
    ("A.Resize(90, 120)", 1.5, False),
    ("A.PadIfNeeded(100, 100, fill=9, fill_mask=7)", 1, True),
    ("A.Perspective(p=1)", 0.8, False),
    ("A.ElasticTransform(alpha=20, p=1)", 0.7, None),
    ("A.Transpose(p=1)", 1, False),
    ("A.CropNonEmptyMaskIfExists(32, 32)", 1, False),
]


@pytest.mark.parametrize("text, scale, leaves", GEOMETRY)
def test_geometry_of_albumentations(alb, ramps, text, scale, leaves):
    adapter = made(alb, text)
    out = adapter(ramps, RNG(3))
    inside = check_in_step(ramps, out, scale)
    if leaves is not None:
        assert inside.all() != leaves
    if "Rotate" in text:
        check_rotation(out, 20)
    if "HorizontalFlip" in text:
        np.testing.assert_array_equal(out["image"], ramps["image"][:, ::-1])
        assert out["tags"] is ramps["tags"]  # every pixel is still there
    if "Crop" in text or "Affine(scale=2" in text:
        assert out["tags"].tolist() == [255, 0, 255] * 3
    np.testing.assert_array_equal(adapter(ramps, RNG(3))["image"], out["image"])


@pytest.mark.parametrize("labels", ["int32", "uint8"])
def test_a_crop_that_looks_at_the_mask_sees_labels(alb, ramps, labels):
    mask = np.zeros((HEIGHT, WIDTH), labels)
    mask[50:55, 70:75] = 4
    sample = {"image": ramps["image"], "segmentation": mask}
    for seed in range(10):
        out = made(alb, "A.CropNonEmptyMaskIfExists(16, 16)")(sample, RNG(seed))
        assert (out["segmentation"] == 4).any() and out["segmentation"].dtype == labels


@pytest.mark.parametrize("wrapped", [False, True])
def test_random_numbers_of_albumentations_are_those_of_the_loader(alb, ramps, wrapped):
    transform = alb.OneOf([alb.RandomCrop(32, 40), alb.CenterCrop(32, 40)], p=1)
    adapter = transforms.Albumentations(alb.Compose([transform]) if wrapped else transform)
    one, two, other = (adapter(ramps, RNG(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one["instances"], two["instances"])
    assert (one["instances"] != other["instances"]).any()
    copied = pickle.loads(pickle.dumps(adapter))
    np.testing.assert_array_equal(copied(ramps, RNG(0))["instances"], one["instances"])


def batches(adapter, workers):
    world = scenes(12, size=(24, 32), seed=1)
    flat = [{key: s[key] for key in ("image", "segmentation")} for s in world]
    settings = {"transforms": adapter, "shuffle": True, "seed": 2, "workers": workers}
    loader = Loader(flat, heads.Segmentation(8), 3, **settings)
    return [batch for _ in range(2) for batch in loader]


def test_threads_of_a_loader_give_the_same_batches(alb, v2):
    steps = [alb.HorizontalFlip(), alb.Rotate((-30, 30), p=1), alb.ColorJitter(p=1)]
    ours = v2.Compose([v2.RandomHorizontalFlip(), v2.RandomRotation(30), v2.ColorJitter(0.5)])
    for adapter in (
        transforms.Albumentations(alb.Compose(steps)),
        transforms.Torchvision(ours),
    ):
        for one, many in zip(batches(adapter, 0), batches(adapter, 4), strict=True):
            np.testing.assert_array_equal(one[0], many[0])
            np.testing.assert_array_equal(one[1], many[1])


COLORS = ["A.ColorJitter(p=1)", "A.RandomFog(p=1)", "A.GaussNoise(p=1)", "A.ToGray(p=1)"]


@pytest.mark.parametrize("text", COLORS)
def test_colors_of_albumentations_change_the_image_only(alb, text):
    scene = scenes(3, size=(HEIGHT, WIDTH), seed=4)[1]
    assert {"depth", "normals", "intrinsics"} <= set(scene)
    out = made(alb, text)(scene, RNG(0))
    assert (out["image"] != scene["image"]).any() and out["image"].dtype == np.uint8
    assert all(out[key] is scene[key] for key in scene if key != "image")


@pytest.mark.parametrize("key", ["depth", "normals", "intrinsics"])
def test_geometry_is_refused_for_what_the_libraries_do_not_know(alb, v2, key):
    scene = scenes(3, size=(HEIGHT, WIDTH), seed=4)[1]
    sample = {"image": scene["image"], "segmentation": scene["segmentation"], key: scene[key]}
    for adapter in (
        made(alb, "A.HorizontalFlip(p=1)"),
        transforms.Torchvision(v2.RandomHorizontalFlip(1.0)),
    ):
        with pytest.raises(ValueError, match=f"must not change the geometry .* with '{key}'"):
            adapter(sample, RNG(0))


def test_bad_transforms_of_albumentations(alb, ramps):
    with pytest.raises(ValueError, match="must return an image as it gets one.*float32"):
        made(alb, "A.Normalize()")(ramps, RNG(0))
    with pytest.raises(ValueError, match=r"uint8 of shape \(3, 60, 80\). Leave out conversions"):
        made(alb, "A.ToTensorV2()")(ramps, RNG(0))
    with pytest.raises(ValueError, match="must move masks by nearest neighbor.*mask_interpol"):
        made(alb, "A.Rotate((20, 20), mask_interpolation=1, p=1)")(ramps, RNG(0))
    large = {"image": np.zeros((4096, 4096, 3), "uint8")}
    with pytest.raises(ValueError, match="at most 16711680 pixels. Received: 4096 x 4096"):
        made(alb, "A.HorizontalFlip(p=1)")(large, RNG(0))


OTHERS = [
    ("RandomHorizontalFlip(1.0)", 1, False),
    ("RandomCrop((32, 40))", 1, False),
    ("RandomCrop((100, 100), pad_if_needed=True)", 1, True),
    ("RandomRotation((20, 20))", 1, True),
    ("RandomRotation((20, 20), interpolation=2)", 1, True),
    ("RandomRotation((20, 20), fill=124)", 1, True),
    ("RandomRotation((20, 20), fill=(124, 116, 104))", 1, True),
    ("RandomAffine(0, scale=(0.5, 0.5), interpolation=2)", 0.5, True),
    ("Resize((30, 40))", 0.5, False),
    ("Resize((90, 120))", 1.5, False),
    ("Pad(10, fill=124)", 1, True),
    ("RandomPerspective(0.3, p=1)", 0.7, None),
    ("ElasticTransform(30.0)", 0.7, None),
]


@pytest.mark.parametrize("text, scale, leaves", OTHERS)
def test_geometry_of_torchvision(v2, ramps, text, scale, leaves):
    import torch

    adapter = transforms.Torchvision(eval(f"v2.{text}", {"v2": v2}))  # noqa: S307
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    out = adapter(ramps, RNG(3))
    assert torch.equal(torch.random.get_rng_state(), state)
    inside = check_in_step(ramps, out, scale)
    if leaves is not None:
        assert inside.all() != leaves
    if "Rotation" in text:
        check_rotation(out, 20)
    if "Flip" in text:
        np.testing.assert_array_equal(out["image"], ramps["image"][:, ::-1])
    np.testing.assert_array_equal(adapter(ramps, RNG(3))["image"], out["image"])


@pytest.mark.parametrize("text", ["RandomPhotometricDistort(p=1)", "ColorJitter(0.5, 0.5)"])
def test_colors_of_torchvision_change_the_image_only(v2, text):
    scene = scenes(3, size=(HEIGHT, WIDTH), seed=4)[1]
    adapter = transforms.Torchvision(eval(f"v2.{text}", {"v2": v2}))  # noqa: S307
    out = adapter(scene, RNG(0))
    assert (out["image"] != scene["image"]).any() and out["image"].dtype == np.uint8
    assert all(out[key] is scene[key] for key in scene if key != "image")
    assert (adapter(scene, RNG(1))["image"] != out["image"]).any()


def test_devices_keep_their_random_numbers(v2, ramps, monkeypatch):
    """`torch.manual_seed` would seed them all, amid the dropout of a training."""
    import torch

    def seeded(*_):
        pytest.fail("seeds a device")

    monkeypatch.setattr(torch, "manual_seed", seeded)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded)
    transforms.Torchvision(v2.RandomCrop((8, 8)))(ramps, RNG(0))


def test_bad_transforms_of_torchvision(v2, ramps):
    import torch

    for transform, message in (
        (v2.ToDtype(torch.float32, scale=True), "Torchvision: the transform must.*float32"),
        (v2.Grayscale(), r"uint8 of shape \(60, 80, 1\). Leave out conversions"),
    ):
        with pytest.raises(ValueError, match=message):
            transforms.Torchvision(transform)(ramps, RNG(0))

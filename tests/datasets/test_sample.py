"""Values of a sample become arrays of known types, exactly, or are refused by name."""

import keras
import numpy as np
import pytest

from keras_dense.datasets import Loader, check_sample, transforms
from keras_dense.heads import Segmentation

pytestmark = pytest.mark.once

LABELS = np.arange(30).reshape(5, 6) % 3
IMAGE = np.arange(90, dtype="uint8").reshape(5, 6, 3)


def foreign(array):
    """An array in all common forms."""
    forms = {
        "list": array.tolist(),
        "keras": keras.ops.convert_to_tensor(array),
        "big endian": array.astype(array.dtype.newbyteorder(">")),
        "view": array[::-1, ::-1][::-1, ::-1],
    }
    for name, make in (("torch", "tensor"), ("jax.numpy", "asarray"), ("tensorflow", "constant")):
        try:
            forms[name] = getattr(pytest.importorskip(name), make)(array)
        except pytest.skip.Exception:
            continue
    return forms


def sample(**more):
    return {"image": IMAGE, "segmentation": LABELS.astype("uint8"), **more}


def test_labels_in_any_form_move_with_the_image():
    flip = transforms.RandomFlip(1.0)
    forms = foreign(LABELS) | foreign(LABELS.astype("float32")) | foreign(LABELS.astype("uint16"))
    for name, labels in forms.items():
        images, targets = Loader(
            [sample(segmentation=labels)], Segmentation(3), 1, transforms=flip
        )[0]
        np.testing.assert_array_equal(targets[0], LABELS[:, ::-1], err_msg=name)
        np.testing.assert_array_equal(images[0], IMAGE[:, ::-1])


def test_all_keys_and_other_planes_are_arrays():
    depth = np.linspace(1, 2, 30).reshape(5, 6, 1)
    for name in foreign(depth):
        given = {
            "image": foreign(IMAGE)[name] if name != "list" else IMAGE,
            "depth": foreign(depth)[name],
            "normals": foreign(np.repeat(depth, 3, -1))[name],
            "weight": foreign(np.ones((5, 6), "int64"))[name],
            "intrinsics": foreign(np.eye(3))[name],
            "edges": foreign(LABELS)[name],
        }
        found = transforms.RandomFlip(1.0)(given, np.random.default_rng(0))
        for key in ("depth", "normals", "weight"):
            assert type(found[key]) is np.ndarray and found[key].dtype == np.dtype("float32"), name
        np.testing.assert_allclose(found["depth"], depth[:, ::-1], rtol=1e-6)
        np.testing.assert_array_equal(found["edges"], LABELS[:, ::-1], err_msg=name)
        assert found["intrinsics"].shape == (3, 3)


def test_values_without_pixels_stay_unchanged():
    class Other:
        pass

    other = {"names": ["a", "b"], "boxes": [[1, 2, 3, 4]], "id": 7, "thing": Other(), "none": None}
    given = sample(**other)
    assert check_sample(given) is given
    assert all(check_sample(given)[key] is value for key, value in other.items())


def test_pillow_images():
    image = pytest.importorskip("PIL.Image")
    given = {
        "image": image.fromarray(IMAGE),
        "segmentation": image.fromarray(LABELS.astype("uint8")),
    }
    found = check_sample(given)
    np.testing.assert_array_equal(found["image"], IMAGE)
    np.testing.assert_array_equal(found["segmentation"], LABELS)
    palette = image.fromarray(LABELS.astype("uint8"))
    palette.putpalette([0, 0, 0] * 256)
    with pytest.raises(TypeError, match="mode 'P'"):
        check_sample({**given, "segmentation": palette})


def test_arrays_of_the_right_type_are_returned_unchanged():
    given = sample(depth=np.ones((5, 6, 1), "float32"), weight=np.ones((5, 6), "float32"))
    assert check_sample(given) is given
    assert check_sample(sample(segmentation=LABELS.astype("int8")))["segmentation"].dtype == "int32"
    assert check_sample(sample(segmentation=LABELS > 1))["segmentation"].dtype == "uint8"
    nothing = np.array([np.nan, np.inf, -1, 0] * 15, "float64")[:30].reshape(5, 6, 1)
    assert check_sample(sample(depth=nothing))["depth"].dtype == "float32"  # unknown


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"image": IMAGE / 255},
            "`image` must be uint8, 0 to 255. Received: float64 from 0 to 0.34",
        ),
        ({"image": IMAGE.astype("float32")}, "`image` must be uint8.*float32 from 0 to 89"),
        ({"image": IMAGE.astype("uint16")}, "`image` must be uint8.*uint16"),
        (
            {"image": np.moveaxis(IMAGE, -1, 0)},
            r"`image` must have shape .*, channels last. Received: \(3, 5, 6\); np.moveaxis",
        ),
        ({"image": IMAGE[..., 0]}, r"`image` must have shape \(height, width, 3\)"),
        ({"image": np.ma.masked_less(IMAGE, 3)}, "`image` must not be a masked array"),
        ({"segmentation": LABELS + 0.5}, "`segmentation` must be whole numbers.*float64 with 0.5"),
        ({"segmentation": LABELS - 2**62}, "`segmentation` must be whole numbers of at most 32"),
        (
            {"segmentation": "a.png"},
            "`segmentation` must be an array of numbers. Received: 'a.png'",
        ),
        ({"segmentation": [[0, 1], [0]]}, "`segmentation` must be an array of numbers with rows"),
        ({"segmentation": LABELS[:3]}, "'segmentation' is 3 x 6 pixels .* the image is 5 x 6"),
        (
            {"depth": np.full((5, 6, 1), 1500, "uint16")},
            "`depth` must be floats.*uint16.*1500 to 1500",
        ),
        ({"depth": np.ones((5, 6))}, r"'depth' must have shape \(height, width, 1\)"),
        ({"normals": np.full((5, 6, 3), 128, "uint8")}, "`normals` must be floats.*uint8"),
        (
            {"weight": np.full((5, 6), np.nan)},
            r"`weight` must be finite and >= 0. Received: nan \(30",
        ),
        ({"weight": LABELS - 1}, r"`weight` must be finite and >= 0. Received: -1 \(10 of 30"),
        ({"intrinsics": {"fx": 1.0}}, "`intrinsics` must be an array of numbers"),
        ({"intrinsics": np.full((3, 3), np.inf)}, "'intrinsics' must be finite"),
        ({"other": np.ma.masked_less(LABELS, 3)}, "`other` must not be a masked array"),
    ],
)
def test_wrong_values_are_refused(change, message):
    """By the loader, by each transform, and by name."""
    with pytest.raises((TypeError, ValueError), match=f"here: {message}"):
        check_sample(sample(**change), "here")
    with pytest.raises((TypeError, ValueError), match=f"sample 0: .*{message}"):
        Loader([sample(**change)], None, 1, workers=0)[0]
    for transform in (
        transforms.ColorJitter(),
        transforms.RandomScale(),
        transforms.RandomRotation(),
        transforms.RandomFlip(),
        transforms.RandomCrop(2),
        transforms.CenterCrop(2),
        transforms.Resize(2),
        transforms.Pad(9),
        transforms.BorderWeights(),
        transforms.Blur(),
        transforms.CutOut(),
        transforms.RandomAffine(),
        transforms.RandomElastic(),
    ):
        with pytest.raises((TypeError, ValueError), match=f"{type(transform).__name__}: {message}"):
            transform(sample(**change), np.random.default_rng(0))


def test_numbers_of_numpy_as_arguments():
    i, f = np.int64(2), np.float32(0.5)
    rng = np.random.default_rng(0)
    for transform in (
        transforms.Blur(f, probability=f),
        transforms.Noise((f, np.float64(1)), probability=f),
        transforms.Jpeg(np.int64(50), probability=f),
        transforms.CutOut(boxes=i, area=(f, f), probability=f),
        transforms.RandomAffine(degrees=f, shear=f, stretch=np.float64(1.5), shift=f),
        transforms.RandomElastic(f, f, probability=f),
        transforms.ColorJitter(brightness=f, contrast=f, saturation=f, hue=f),
        transforms.RandomScale(f, np.float64(1.5)),
        transforms.RandomRotation(np.float32(5)),
        transforms.RandomRotation((np.int64(-5), 5)),
        transforms.RandomFlip(f, np.float64(1)),
        transforms.RandomCrop(i),
        transforms.RandomCrop(np.array([2, 3]), color=np.array([1, 2, 3])),
        transforms.CenterCrop((i, i)),
        transforms.Pad(multiple=i),
        transforms.Resize(np.array(4)),
    ):
        assert check_sample(transform(sample(), rng))
    loader = Loader([sample()] * 4, None, i, seed=i, epoch=i, workers=i, prefetch=i, pad=i)
    assert len(loader) == 2 and type(loader.epoch) is int and loader[np.int64(1)][0].shape[0] == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: transforms.RandomCrop(True), "`size` must be an integer >= 1 or a pair"),
        (lambda: transforms.CenterCrop((2, 2.5)), "`size` must be"),
        (lambda: transforms.CenterCrop(4, color=(0, 0, 1.7)), "`color` must be three integers"),
        (lambda: transforms.RandomRotation("12"), "`degrees` must be a number >= 0 or a pair"),
        (lambda: transforms.RandomRotation(True), "`degrees` must be a number"),
        (lambda: transforms.Pad(multiple=True), "`multiple` must be an integer >= 1"),
        (lambda: transforms.RandomFlip(np.float32("nan")), "`horizontal` must be a number from 0"),
        (lambda: transforms.RandomScale(True, 2), "`low` must be a number > 0"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()

"""A look at good and bad folders: what is said, what is repaired, what is refused."""

import importlib.util
import pathlib

import numpy as np
import pytest

import keras_dense as kd
from keras_dense.recipes.data import dataset_of
from keras_dense.recipes.groups import distances, find_groups
from keras_dense.recipes.split import folds, split, without_borders

pytest.importorskip("PIL.Image")
pytest.importorskip("scipy.ndimage")
_spec = importlib.util.spec_from_file_location(
    "recipe_folders", pathlib.Path(__file__).with_name("folders.py")
)
F = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(F)


def look(root, **settings):
    return kd.recipes.look(root / "images", root / "masks", **settings)


def samples(found, **settings):
    recipe = kd.recipes.choose(found, weights=None, **settings)
    dataset = dataset_of(recipe, found["names"])
    return [dataset[i] for i in range(len(dataset))]


def said(found):
    return str(found)


def test_labels(tmp_path):
    found = look(F.scenes(tmp_path))
    assert found["read"]["kind"] == "labels" and len(found["classes"]) == 8
    assert found["sizes"]["median"] == [64, 96] and found["sizes"]["different"] == 1
    assert abs(sum(c["share"] for c in found["classes"]) - 1) < 1e-9
    assert "8 images of 64 x 96 pixels" in said(found)
    assert found["up_and_down"] and "upper half" in said(found) or "lower half" in said(found)
    world = kd.datasets.scenes(8, (64, 96))
    for i, sample in enumerate(samples(found)):
        np.testing.assert_array_equal(sample["segmentation"], world[i]["segmentation"])


def test_names_of_classes_come_from_a_file(tmp_path):
    F.scenes(tmp_path, 2)
    names = list("abcdefgh")
    lines = [f"{i} {name}" for i, name in enumerate(names)] + ["255 void"]
    (tmp_path / "classes.txt").write_text("\n".join(lines))
    found = look(tmp_path)
    assert found["read"]["class_names"] == names and "classes.txt" in said(found)


def test_black_and_white_is_never_void_in_silence(tmp_path):
    found = look(F.blobs(tmp_path, encode=F.black_and_white))
    assert found["read"]["kind"] == "binary" and found["read"]["values"] == {0: 0, 255: 1}
    assert "white is the foreground" in said(found)
    assert all(set(np.unique(s["segmentation"])) == {0, 1} for s in samples(found))
    with pytest.raises(ValueError, match="must have at least two classes"):
        look(tmp_path, void=[255])


def test_gray_levels_become_classes(tmp_path):
    found = look(F.blobs(tmp_path, encode=lambda n: (np.minimum(n, 2) * 100).astype("uint8")))
    assert found["read"]["values"] == {0: 0, 100: 1, 200: 2}
    assert "3 numbers far apart" in said(found)
    assert set(np.unique(samples(found)[0]["segmentation"])) == {0, 1, 2}


def test_void(tmp_path):
    def encode(numbers):
        labels = np.minimum(numbers, 3).astype("uint8")
        labels[:4] = 255
        return labels

    F.blobs(tmp_path, encode=encode)
    found = look(tmp_path, kind="labels")
    assert len(found["classes"]) == 4 and "255 is read as void: 8.33 %" in said(found)
    found = look(tmp_path, void=[3], kind="labels")
    assert len(found["classes"]) == 3 and "3 is read as void, as given" in said(found)
    assert set(np.unique(samples(found)[0]["segmentation"])) <= {0, 1, 2, 255}


def test_jpeg_masks_are_repaired_or_refused(tmp_path):
    found = look(F.blobs(tmp_path / "a", encode=F.black_and_white, ending="jpg"))
    assert "compression changes numbers" in said(found) and found["read"]["threshold"] == 127
    truth = look(F.blobs(tmp_path / "b", encode=F.black_and_white))
    for lossy, exact in zip(samples(found), samples(truth), strict=True):
        assert set(np.unique(lossy["segmentation"])) == {0, 1}
        assert (lossy["segmentation"] != exact["segmentation"]).mean() < 0.02
    F.blobs(tmp_path / "c", encode=lambda n: np.minimum(n, 5).astype("uint8"), ending="jpg")
    with pytest.raises(ValueError, match="must be PNG or TIFF.*cannot be told apart"):
        look(tmp_path / "c")


COLORS = np.uint8([[0, 0, 0], [220, 20, 60], [0, 0, 142]])


def test_color_masks(tmp_path):
    def encode(numbers):
        return COLORS[np.minimum(numbers, 2)]

    found = look(F.blobs(tmp_path / "a", encode=encode))
    assert found["read"]["kind"] == "colors" and len(found["classes"]) == 3
    assert "each of the 3 colors is a class" in said(found)
    assert found["read"]["palette"] == [[0, 0, 0], [0, 0, 142], [220, 20, 60]]
    given = look(tmp_path / "a", palette=COLORS, classes=["ground", "person", "car"])
    exact = samples(given)
    assert given["read"]["class_names"] == ["ground", "person", "car"]
    F.blobs(tmp_path / "b", encode=encode, ending="jpg")
    with pytest.raises(ValueError, match="give the colors of the classes as `palette`"):
        look(tmp_path / "b")
    repaired = look(tmp_path / "b", palette=COLORS)
    assert "nearest of the 3 given colors" in said(repaired)
    for lossy, sample in zip(samples(repaired), exact, strict=True):
        assert (lossy["segmentation"] != sample["segmentation"]).mean() < 0.06
    with pytest.raises(ValueError, match="must name each of 3 colors"):
        look(tmp_path / "a", classes=["ground", "person"])


def test_numbered_objects(tmp_path):
    found = look(F.blobs(tmp_path))
    assert found["read"]["kind"] == "objects" and "numbered objects" in said(found)
    recipe = kd.recipes.choose(found, weights=None, objects="foreground")
    assert recipe.value("border_weights") is not None and recipe.value("flips") == "all"
    sample = samples(found)[0]
    assert set(np.unique(sample["segmentation"])) == {0, 1} and "instances" in sample


def test_class_that_never_occurs(tmp_path):
    found = look(F.scenes(tmp_path), classes=10)
    assert "cannot be learned: 2 (class 8, class 9)" in said(found)
    with pytest.raises(ValueError, match="labels up to 7; a label that means void"):
        look(tmp_path, classes=5)


def test_three_images(tmp_path):
    found = look(F.scenes(tmp_path, 3))
    assert "3 images are few" in said(found) and "do not tell" in said(found)
    recipe = kd.recipes.choose(found, weights=None)
    assert len(recipe["train"]) == 2 and len(recipe["validation"]) == 1


def test_one_image_is_refused(tmp_path):
    found = look(F.scenes(tmp_path, 1))
    with pytest.raises(ValueError, match="must be at least 2"):
        kd.recipes.choose(found)


def test_sizes_from_60_to_6000(tmp_path):
    for i, (height, width) in enumerate(((60, 80), (200, 150), (20, 6000), (300, 400))):
        F.write(tmp_path / "images" / f"{i}.png", np.full((height, width, 3), 40 * i, "uint8"))
        mask = np.zeros((height, width), "uint8")
        mask[: height // 2] = 1
        F.write(tmp_path / "masks" / f"{i}.png", mask)
    found = look(tmp_path)
    assert "4 sizes, height 20 to 300" in said(found) and "width 80 to 6000" in said(found)
    crop = kd.recipes.choose(found, weights=None).value("crop")
    assert all(side % 32 == 0 and side >= 32 for side in crop)


def test_16_bit_gray(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(4):
        pixels = rng.integers(1000, 3000, (40, 40)).astype("uint16")
        F.write(tmp_path / "images" / f"{i}.png", pixels)
        F.write(tmp_path / "masks" / f"{i}.png", (pixels > 2000).astype("uint8"))
    found = look(tmp_path)
    assert found["gray"] and "16 bits: values from" in said(found)
    recipe = kd.recipes.choose(found, weights=None)
    assert recipe.value("color")["saturation"] == 0
    image = samples(found)[0]["image"]
    assert image.dtype == np.uint8 and image.min() < 5 and image.max() > 250


def test_duplicates_and_files_without_a_partner(tmp_path):
    F.scenes(tmp_path, 6)
    (tmp_path / "images" / "copy.png").write_bytes((tmp_path / "images" / "s00.png").read_bytes())
    (tmp_path / "masks" / "copy.png").write_bytes((tmp_path / "masks" / "s00.png").read_bytes())
    (tmp_path / "images" / "alone.png").write_bytes((tmp_path / "images" / "s01.png").read_bytes())
    (tmp_path / "masks" / "lost.png").write_bytes((tmp_path / "masks" / "s01.png").read_bytes())
    found = look(tmp_path)
    assert "used once: 1 (copy = s00)" in said(found)
    assert "without a mask are left out: 1 (alone.png)" in said(found)
    assert "without an image are left out: 1 (lost.png)" in said(found)
    assert len(found["names"]) == 6


def test_files_that_are_no_images(tmp_path):
    F.scenes(tmp_path, 5)
    (tmp_path / "images" / "s01.png").write_bytes(b"no image")
    found = look(tmp_path)
    assert "1 images are left out" in said(found) and "s01.png" in said(found)
    assert len(found["names"]) == 4
    for i in range(4):
        (tmp_path / "masks" / f"s0{i}.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="files cannot be used"):
        look(tmp_path)


def test_no_pairs(tmp_path):
    F.scenes(tmp_path, 2)
    for i in range(2):
        (tmp_path / "masks" / f"s0{i}.png").rename(tmp_path / "masks" / f"other{9 - i}.png")
    with pytest.raises(FileNotFoundError, match="has a partner of the same name"):
        look(tmp_path)
    with pytest.raises(ValueError, match="must be another folder"):
        kd.recipes.look(tmp_path / "images", tmp_path / "images")
    with pytest.raises(FileNotFoundError, match="there is no masks folder"):
        kd.recipes.look(tmp_path / "images", tmp_path / "nowhere")
    with pytest.raises(ValueError, match="`masks` or `depth` must be given"):
        kd.recipes.look(tmp_path / "images")


def test_near_duplicates_stay_together(tmp_path):
    rng = np.random.default_rng(1)
    looks = rng.integers(0, 256, (30, 32), dtype="uint8")
    for i in range(0, 30, 3):  # three views of each of ten places
        looks[i + 1] = looks[i] ^ np.uint8(1)
        looks[i + 2] = looks[i] ^ np.uint8([0] * 31 + [3])
    names = [f"x{'abc'[i % 3]}{chr(97 + i // 3)}" for i in range(30)]
    groups = find_groups(names, names, looks)
    assert distances(looks[:1], looks[1:2])[0] == 32 and len(set(groups.group)) == 20
    findings = {"names": names, "looked": names, "groups": groups.group.tolist(), "sequences": []}
    held, _ = split(findings, 0.3, seed=3)
    place = {name: group for name, group in zip(names, groups.group, strict=True)}
    learned = without_borders(findings, held)
    assert not {place[n] for n in held} & {place[n] for n in learned}
    parts = folds(findings, 5)
    assert sorted(sum(parts, [])) == sorted(names)


def test_sequences_are_held_out_in_stretches():
    rng = np.random.default_rng(0)
    looks = np.zeros((80, 32), "uint8")
    looks[0] = rng.integers(0, 256, 32)
    for i in range(1, 80):  # 40 of 256 bits change from frame to frame
        looks[i] = looks[i - 1]
        places = rng.choice(256, 40, replace=False)
        np.bitwise_xor.at(looks[i], places // 8, np.uint8(1) << (places % 8).astype("uint8"))
    names = [f"frame_{i:03}" for i in range(80)]
    groups = find_groups(names, names, looks)
    assert groups.sequences == [list(range(80))]
    findings = {"names": names, "looked": names, "groups": groups.group.tolist()}
    findings["sequences"] = groups.sequences
    held, _ = split(findings, 0.2)
    numbers = [int(name[-3:]) for name in held]
    assert 8 <= len(held) <= 24 and sum(np.diff(numbers) > 1) <= 2
    learned = [int(name[-3:]) for name in without_borders(findings, held)]
    assert min(abs(a - b) for a in numbers for b in learned) == 2


def test_every_class_is_on_both_sides(tmp_path):
    names = [f"{c}{i}" for c in "abcdef" for i in range(2)]
    findings = {
        "names": names,
        "looked": names,
        "groups": list(range(12)),
        "sequences": [],
        "classes": list("abcdef"),
        "present": [[i // 2] for i in range(12)],
    }
    held, _ = split(findings, 0.5)
    assert {name[0] for name in held} == set("abcdef")


def test_few_photographs_change_a_pretrained_backbone_less(tmp_path):
    found = look(F.scenes(tmp_path, 8))
    file = tmp_path / "mobilenet_v2.weights.h5"
    file.write_bytes(b"")
    rates = [
        kd.recipes.choose({**found, "up_and_down": photographs}, weights=weights)
        for photographs, weights in ((True, file), (False, file), (True, None))
    ]
    assert [recipe.value("backbone_rate") for recipe in rates] == [0.05, 0.3, 1.0]
    assert "photographs" in rates[0]["choices"]["backbone_rate"]["why"]


def test_bad_choices(tmp_path):
    found = look(F.scenes(tmp_path, 3))
    choose = kd.recipes.choose
    with pytest.raises(ValueError, match="`network` must be the name of a builder"):
        choose(found, network="unett", weights=None)
    with pytest.raises(FileNotFoundError, match="`weights` must be 'imagenet'"):
        choose(found, weights="nowhere.h5")
    with pytest.raises(ValueError, match="settings must be among .* Received: cropp"):
        choose(found, weights=None, cropp=3)
    with pytest.raises(ValueError, match="`flips` must be one of"):
        choose(found, weights=None, flips="up")
    with pytest.raises(ValueError, match="`minutes` must be a number > 0"):
        choose(found, weights=None, minutes=0)
    with pytest.raises(ValueError, match="`folds` must be at most"):
        choose(found, weights=None, folds=4)
    recipe = choose(found, weights=None, crop=(32, 64), steps=7)
    assert recipe.value("crop") == [32, 64] and recipe["choices"]["steps"]["why"] == "Given."

"""Tags of images: tables, lists of the VOC kit, masks, and what transforms leave of them."""

import numpy as np
import pytest
from PIL import Image

from keras_dense import datasets
from keras_dense.datasets import transforms
from keras_dense.datasets.sample import check_sample

pytestmark = pytest.mark.once

NAMES = ["background", "cat", "dog"]


@pytest.fixture
def files(tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for i, name in enumerate("abc"):
        Image.new("RGB", (6, 4), (i, 0, 0)).save(tmp_path / "images" / f"{name}.png")
        Image.new("L", (6, 4), i).save(tmp_path / "masks" / f"{name}.png")
    return tmp_path


def table(path, text):
    (path / "tags.csv").write_text(text, encoding="utf-8")
    return path / "tags.csv"


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("image,cat,dog\na.png,1,0\nb,,?\nc.png,255,1\n", [[255, 1, 0], [255] * 3, [255, 255, 1]]),
        # What no row names, such as the background, is unknown.
        (
            "image,present\na.png,cat\nb.png,\nc.png,cat; dog\n",
            [[255, 1, 0], [255, 0, 0], [255, 1, 1]],
        ),
        ("image,present,absent\na,cat,dog\nb,,\nc,dog,\n", [[255, 1, 0], [255] * 3, [255, 255, 1]]),
    ],
)
def test_forms_of_a_table(files, text, wanted):
    path = table(files, text)
    data = datasets.folder(files / "images", tags=path, class_names=NAMES)
    assert [sample["tags"].tolist() for sample in data] == wanted
    assert "segmentation" not in data[0] and data.files[0][1] is None
    both = datasets.folder(files / "images", files / "masks", tags=path, class_names=NAMES)
    assert both[2]["tags"].tolist() == wanted[2] and both[2]["segmentation"].max() == 2


def test_what_is_named_only_as_absent_stays_unknown_elsewhere(files):
    path = table(files, "image,present,absent\na,cat,dog\n")
    assert datasets.read_tags(path, NAMES)["a"].tolist() == [255, 1, 0]


@pytest.mark.parametrize(
    "text, message",
    [
        ("name,cat\na,1\n", "must have a header that begins with 'image'"),
        ("image,cow\na,1\n", "row 2: 'cow' is none of the classes background, cat, dog"),
        ("image,cat\na,2\n", "row 2: a tag must be 1, 0, or empty if unknown. Received: '2'"),
        ("image,cat\na,1\na,0\n", "row 3: 'a' has a row already"),
        ("image,cat\na,1,1\n", "row 2: must have 2 cells. Received: 3"),
        ("image,present\na,cow\n", "row 2: 'cow' is none of the classes"),
        ("image,cat\nelsewhere,1\n", "folder: no image has a row in .*such as 'a'"),
    ],
)
def test_bad_tables(files, text, message):
    with pytest.raises(ValueError, match=message):
        datasets.folder(files / "images", tags=table(files, text), class_names=NAMES)


def test_images_without_a_row(files):
    with pytest.warns(
        UserWarning, match="2 of 3 images have no row .* 'b'; their tags are unknown"
    ):
        data = datasets.folder(files / "images", tags={"a.png": [1, 1, 0]}, class_names=NAMES)
    assert data[0]["tags"].tolist() == [1, 1, 0] and data[1]["tags"].tolist() == [255] * 3
    with pytest.raises(ValueError, match="tags of 'a': must be 3 numbers"):
        datasets.folder(files / "images", tags={"a": [1, 0]}, class_names=NAMES)
    with pytest.raises(FileNotFoundError, match="no table of tags"):
        datasets.folder(files / "images", tags=files / "none.csv", class_names=NAMES)


def test_names_and_subfolders(files):
    (files / "images" / "x").mkdir()
    (files / "images" / "a.png").rename(files / "images" / "x" / "a.png")
    data = datasets.folder(
        files / "images",
        tags={"x/a.png": [0, 1, 0]},
        names=["x/a"],
        recursive=True,
        class_names=NAMES,
    )
    assert len(data) == 1 and data[0]["tags"].tolist() == [0, 1, 0]


def test_voc_lists(tmp_path):
    main = tmp_path / "ImageSets" / "Main"
    main.mkdir(parents=True)
    (tmp_path / "ImageSets" / "Segmentation").mkdir()
    for folder in ("JPEGImages", "SegmentationClass"):
        (tmp_path / folder).mkdir()
    for name in ("2007_1", "2007_2"):
        Image.new("RGB", (6, 4)).save(tmp_path / "JPEGImages" / f"{name}.jpg")
    Image.new("L", (6, 4), 3).save(tmp_path / "SegmentationClass" / "2007_1.png")
    (tmp_path / "ImageSets" / "Segmentation" / "train.txt").write_text("2007_1\n")
    (main / "train.txt").write_text("2007_1\n2007_2\n")
    for name in datasets.voc2012.__globals__["CLASSES"][1:]:
        values = {"cat": (1, -1), "dog": (0, 1)}.get(name, (-1, -1))
        lines = [f"{n} {v:2d}" for n, v in zip(("2007_1", "2007_2"), values, strict=True)]
        (main / f"{name}_trainval.txt").write_text("\n".join(lines))
    weak = datasets.voc2012(tmp_path, "train", masks=False, tags=True)
    assert len(weak) == 2 and "segmentation" not in weak[1]
    assert weak[0]["tags"][[0, 8, 12, 1]].tolist() == [255, 1, 255, 0]
    assert weak[1]["tags"][[8, 12]].tolist() == [0, 1]
    full = datasets.voc2012(tmp_path, "train", tags=True)
    assert len(full) == 1 and full[0]["segmentation"].max() == 3 and full[0]["tags"][8] == 1
    (main / "cow_trainval.txt").write_text("2007_1 yes\n")
    with pytest.raises(ValueError, match="must be the name of an image, and 1, -1 or 0"):
        datasets.voc2012(tmp_path, "train", tags=True)
    (main / "cow_trainval.txt").unlink()
    with pytest.raises(FileNotFoundError, match="no list of tags .*cow_train.txt"):
        datasets.voc2012(tmp_path, "train", tags=True)


def test_bad_tags_of_a_sample():
    image = np.zeros((2, 2, 3), "uint8")
    for tags in ([1, 2, 0], [[1, 0]]):
        with pytest.raises(ValueError, match="`tags` must be 1, 0 or 255 .unknown. for each class"):
            check_sample({"image": image, "tags": tags})
    assert check_sample({"image": image, "tags": [1, 0, 255]})["tags"].dtype == np.uint8


KEEP, LESS = [1, 0, 255], [255, 0, 255]


@pytest.mark.parametrize(
    "transform, wanted",
    [
        (transforms.RandomFlip(1, 1), KEEP),
        (transforms.ColorJitter(), KEEP),
        (transforms.Resize(7), KEEP),
        (transforms.RandomScale(2, 2), KEEP),
        (transforms.Pad(multiple=16), KEEP),
        (transforms.RandomCrop(40), KEEP),  # padded, whole
        (transforms.CenterCrop((20, 30)), KEEP),
        (transforms.RandomCrop(8), LESS),
        (transforms.CenterCrop((20, 29)), LESS),
        (transforms.RandomCrop((8, 40)), LESS),
        (transforms.RandomRotation((9, 9)), LESS),
    ],
    ids=lambda x: type(x).__name__,
)
def test_what_a_transform_leaves_of_tags(transform, wanted):
    sample = {"image": np.zeros((20, 30, 3), "uint8"), "tags": np.array(KEEP, "uint8")}
    assert transform(sample, np.random.default_rng(0))["tags"].tolist() == wanted
    assert sample["tags"].tolist() == KEEP

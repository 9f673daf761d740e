"""Miniatures of data sets as downloaded: each is read by one call."""

import json

import numpy as np
import pytest

from keras_dense.datasets import (
    ade20k,
    cityscapes,
    coco_panoptic,
    coco_stuff,
    folder,
    mapillary_vistas,
    pascal_context,
)
from keras_dense.heads.palette import voc_palette

pytestmark = pytest.mark.once

Image = pytest.importorskip("PIL.Image")


def save(path, array, palette=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(array))
    if palette is not None:
        image.putpalette(np.asarray(palette, np.uint8).ravel().tolist())
    image.save(path)


def photo(path, height=2, width=3):
    save(path, np.full((height, width, 3), 90, np.uint8))


def labels(*rows, dtype="uint8"):
    return np.array(rows, dtype)


def only(dataset):
    assert len(dataset) == 1
    return dataset[0]["segmentation"].tolist()


def make_cityscapes(root, split="train", kind="gtFine", city="aachen"):
    stem = f"{city}_000000_000019"
    photo(root / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png")
    home = root / kind / split / city
    # Road, license plate (-1 in 8 bits), bicycle; ego vehicle, car, train.
    save(home / f"{stem}_{kind}_labelIds.png", labels([7, 255, 33], [1, 26, 31]))
    save(
        home / f"{stem}_{kind}_instanceIds.png", labels([7, 0, 33], [1, 26001, 31], dtype="uint16")
    )
    save(home / f"{stem}_{kind}_color.png", np.zeros((2, 3, 4), np.uint8))
    (home / f"{stem}_{kind}_polygons.json").write_text("{}")


def test_cityscapes(tmp_path):
    make_cityscapes(tmp_path)
    make_cityscapes(tmp_path, city="ulm")
    make_cityscapes(tmp_path, "val", city="bonn")
    make_cityscapes(tmp_path, "train_extra", "gtCoarse")
    train = cityscapes(tmp_path)
    assert len(train) == 2 and train.num_classes == 19 and train.split == "train"
    assert train.class_names[:2] == ["road", "sidewalk"] and train.class_names[18] == "bicycle"
    wanted = [[0, 255, 18], [255, 13, 16]]
    assert train[1]["segmentation"].tolist() == wanted
    np.testing.assert_array_equal(train.palette[0], (128, 64, 128))
    assert only(cityscapes(tmp_path, "val")) == only(cityscapes(tmp_path, "train_extra")) == wanted
    with pytest.raises(ValueError, match="`split` must be one of .*split='test'"):
        cityscapes(tmp_path, "test")
    with pytest.raises(FileNotFoundError, match="does not contain leftImg8bit/train. It contains"):
        cityscapes(tmp_path / "gtFine")
    save(
        tmp_path / "gtFine/val/bonn/bonn_000000_000019_gtFine_labelIds.png",
        labels([7, 34, 33], [1, 26, 31]),
    )
    with pytest.raises(ValueError, match="labelIds.png: label 34 at row 0, column 1"):
        cityscapes(tmp_path, "val")[0]


def test_every_label_of_cityscapes_is_mapped_as_published(tmp_path):
    make_cityscapes(tmp_path)
    train_ids = [255] * 7 + [0, 1, 255, 255, 2, 3, 4, 255, 255, 255, 5, 255, 6, 7, 8, 9, 10, 11]
    train_ids += [12, 13, 14, 15, 255, 255, 16, 17, 18]
    decoder = cityscapes(tmp_path).decoder
    save(tmp_path / "all.png", np.arange(34, dtype="uint8")[None])
    assert decoder(tmp_path / "all.png")[0].tolist() == train_ids


def make_ade20k(root):
    lines = [
        "Idx\tRatio\tTrain\tVal\tStuff\tName",
        "1\t0.15\t11664\t1172\t1\twall",
        "2\t0.1\t6\t6\t1",
    ]
    lines[2] += "\tbuilding, edifice"
    lines += [f"{i}\t0\t1\t1\t0\tthing {i}" for i in range(3, 151)]
    root.mkdir(parents=True)
    (root / "objectInfo150.txt").write_text("\n".join(lines) + "\n")
    photo(root / "images" / "validation" / "ADE_val_00000001.jpg")
    save(
        root / "annotations" / "validation" / "ADE_val_00000001.png", labels([0, 1, 2], [150, 0, 1])
    )


@pytest.mark.parametrize("home", ["", "ADEChallengeData2016"])
def test_ade20k(tmp_path, home):
    make_ade20k(tmp_path / "data" / home)
    val = ade20k(tmp_path / "data", "val")
    assert only(val) == [[255, 0, 1], [149, 255, 0]]
    assert val.num_classes == 150 and val.class_names[:2] == ["wall", "building"]
    with pytest.raises(FileNotFoundError, match="ade20k: .* does not contain images/training"):
        ade20k(tmp_path / "data", "train")
    with pytest.raises(ValueError, match="`split` must be .*split='test'"):
        ade20k(tmp_path / "data", "test")
    (tmp_path / "data" / home / "objectInfo150.txt").write_text("Idx\tName\n1\twall\n")
    with pytest.raises(ValueError, match="objectInfo150.txt: must be a table of 150 classes"):
        ade20k(tmp_path / "data", "val")


@pytest.mark.parametrize(
    ("images", "masks"),
    [("images/val2017", "annotations/val2017"), ("val2017", "stuffthingmaps/val2017")],
)
def test_coco_stuff(tmp_path, images, masks):
    photo(tmp_path / images / "000000000139.jpg")
    save(tmp_path / masks / "000000000139.png", labels([0, 10, 12], [181, 255, 91]))
    val = coco_stuff(tmp_path, "val")
    # Category 12 (number 11) is in no image, so what comes after it moves up.
    assert only(val) == [[0, 10, 11], [170, 255, 80]]
    names = val.class_names
    assert val.num_classes == 171
    assert [names[i] for i in (0, 10, 11, 80, 170)] == [
        *("person", "fire hydrant", "stop sign", "banner", "wood")
    ]
    save(tmp_path / masks / "000000000139.png", labels([0, 11, 12], [181, 255, 91]))
    with pytest.raises(ValueError, match="139.png: has label 11, which is not in remap"):
        coco_stuff(tmp_path, "val")[0]


def make_panoptic(root):
    photo(root / "val2017" / "000000000139.jpg")
    numbers = labels([0, 7, 300], [70000, 7, 300], dtype="int32")
    rgb = np.stack([numbers % 256, numbers // 256 % 256, numbers // 65536], -1).astype("uint8")
    save(root / "annotations" / "panoptic_val2017" / "000000000139.png", rgb)
    categories = [
        {"id": 1, "name": "person", "color": [220, 20, 60], "isthing": 1},
        {"id": 92, "name": "banner", "color": [255, 255, 128], "isthing": 0},
        {"id": 200, "name": "rug-merged", "color": [250, 141, 255], "isthing": 0},
    ]
    segments = {7: 92, 300: 1, 70000: 200}
    segments = [{"id": i, "category_id": c, "iscrowd": 0} for i, c in segments.items()]
    one = {"file_name": "000000000139.png", "image_id": 139, "segments_info": segments}
    content = {"categories": categories, "annotations": [one], "images": []}
    (root / "annotations" / "panoptic_val2017.json").write_text(json.dumps(content))


def test_coco_panoptic(tmp_path):
    make_panoptic(tmp_path)
    photo(tmp_path / "val2017" / "000000000285.jpg")  # an image that the JSON does not list
    val = coco_panoptic(tmp_path, "val")
    assert only(val) == [[255, 1, 0], [2, 1, 0]]
    assert val.class_names == ["person", "banner", "rug-merged"]
    np.testing.assert_array_equal(val.palette[1], (255, 255, 128))
    mask = tmp_path / "annotations" / "panoptic_val2017" / "000000000139.png"
    save(mask, np.full((2, 3, 3), (8, 0, 0), np.uint8))
    with pytest.raises(
        ValueError, match="139.png: contains segment 8, which the JSON does not list"
    ):
        val[0]
    save(mask, labels([0, 1, 2], [0, 1, 2]))
    with pytest.raises(ValueError, match="139.png: must be lossless RGB of 8 bits"):
        val[0]
    (tmp_path / "annotations" / "panoptic_val2017.json").write_text('{"images": []}')
    with pytest.raises(ValueError, match="must be JSON with 'categories'"):
        coco_panoptic(tmp_path, "val")


def make_vistas(root, kind, home="training/v2.0", config="config_v2.0.json"):
    photo(root / "training" / "images" / "a.jpg")
    colors = [[165, 42, 42], [0, 192, 0], [0, 0, 0], [0, 0, 0], [9, 9, 9]]
    names = ["Bird", "Curb", "Ego Vehicle", "Unlabeled", "Road"]
    entries = [
        {"readable": name, "color": color, "evaluate": color != [0, 0, 0], "name": name.lower()}
        for name, color in zip(names, colors, strict=True)
    ]
    (root / config).write_text(json.dumps({"labels": entries}))
    numbers = labels([0, 1, 2], [3, 4, 0])
    if kind == "instances":
        numbers = (numbers.astype("uint16") * 256 + 3).astype("uint16")
    save(root / home / kind / "a.png", numbers, colors if kind == "labels" else None)


@pytest.mark.parametrize("kind", ["labels", "instances"])
def test_mapillary_vistas(tmp_path, kind):
    make_vistas(tmp_path, kind)
    train = mapillary_vistas(tmp_path)
    assert only(train) == [[0, 1, 255], [255, 2, 0]]
    assert train.class_names == ["Bird", "Curb", "Road"]
    np.testing.assert_array_equal(train.palette[2], (9, 9, 9))
    with pytest.raises(ValueError, match="`version` must be .*version='v3'"):
        mapillary_vistas(tmp_path, version="v3")
    (tmp_path / "config_v2.0.json").write_text("{}")
    with pytest.raises(ValueError, match="must be JSON with 'labels'"):
        mapillary_vistas(tmp_path)


def test_mapillary_vistas_before_2(tmp_path):
    make_vistas(tmp_path, "labels", "training", "config.json")
    assert only(mapillary_vistas(tmp_path, version="v1.2")) == [[0, 1, 255], [255, 2, 0]]


def test_pascal_context(tmp_path):
    scipy_io = pytest.importorskip("scipy.io")
    voc = tmp_path / "VOCdevkit" / "VOC2010"
    photo(voc / "JPEGImages" / "2008_000002.jpg")
    (voc / "ImageSets" / "Main").mkdir(parents=True)
    (voc / "ImageSets" / "Main" / "val.txt").write_text("2008_000002\n")
    (tmp_path / "trainval").mkdir()
    numbers = labels([0, 1, 2], [3, 4, 2], dtype="uint16")
    scipy_io.savemat(tmp_path / "trainval" / "2008_000002.mat", {"LabelMap": numbers})
    (tmp_path / "labels.txt").write_text("1: accordion\n2: potted plant\n3: table\n4: sky\n")
    (tmp_path / "59_labels.txt").write_text("1: sky\n2: pottedplant\n3: diningtable\n")
    val = pascal_context(tmp_path, "val")
    assert only(val) == [[255, 255, 1], [2, 0, 1]]
    assert val.class_names == ["sky", "pottedplant", "diningtable"]
    scipy_io.savemat(tmp_path / "trainval" / "2008_000002.mat", {"LabelMap": numbers + 1})
    with pytest.raises(ValueError, match="002.mat: has labels 1 to 5, but labels.txt has 1 to 4"):
        val[0]
    scipy_io.savemat(tmp_path / "trainval" / "2008_000002.mat", {"other": numbers})
    with pytest.raises(ValueError, match="002.mat: has no array 'LabelMap'"):
        val[0]
    (tmp_path / "trainval" / "2008_000002.mat").write_bytes(b"no")
    with pytest.raises(ValueError, match="002.mat: cannot be read as a MATLAB file"):
        val[0]
    (tmp_path / "59_labels.txt").write_text("1: sky\n2: ufo\n")
    with pytest.raises(ValueError, match="'ufo' of 59_labels.txt is not in labels.txt"):
        pascal_context(tmp_path, "val")
    (tmp_path / "59_labels.txt").write_text("sky\n")
    with pytest.raises(ValueError, match="59_labels.txt' must have lines such as"):
        pascal_context(tmp_path, "val")


def test_full_ade20k_by_arguments_of_folder(tmp_path):
    """The object is R / 10 * 256 + G, and image, mask and parts are in one folder."""
    scene = tmp_path / "training" / "urban" / "street"
    photo(scene / "ADE_train_1.jpg")
    objects = labels([0, 5, 300], [5, 5, 300], dtype="int32")
    rgb = np.stack([objects // 256 * 10, objects % 256, objects * 0 + 77], -1).astype("uint8")
    save(scene / "ADE_train_1_seg.png", rgb)
    save(scene / "ADE_train_1_parts_1.png", rgb)
    ds = folder(
        tmp_path / "training",
        tmp_path / "training",
        image_suffix=".jpg",
        mask_suffix="_seg.png",
        recursive=True,
        decode=lambda x: x[..., 0] // 10 * 256 + x[..., 1],
        remap={0: 255, 5: 0, 300: 1},
        class_names=["car", "road"],
    )
    assert only(ds) == [[255, 0, 1], [0, 0, 1]]


def test_masks_made_of_pascal_context_by_arguments_of_folder(tmp_path):
    photo(tmp_path / "JPEGImages" / "a.jpg")
    photo(tmp_path / "JPEGImages" / "not_labeled.jpg")
    save(tmp_path / "SegmentationClassContext" / "a.png", labels([0, 1, 59]), voc_palette(256))
    save(tmp_path / "JPEGImages" / "a.jpg", np.zeros((1, 3, 3), np.uint8))
    ds = folder(
        tmp_path / "JPEGImages",
        tmp_path / "SegmentationClassContext",
        names=["a"],
        num_classes=59,
        remap={0: 255} | {n: n - 1 for n in range(1, 60)},
        encoding="index",
    )
    assert only(ds) == [[255, 0, 58]]

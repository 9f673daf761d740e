"""Readers of CamVid, VOC 2012 and plain folders, and their errors."""

import pathlib

import numpy as np
import pytest

from keras_dense.datasets import border_weights, camvid, check, folder, instances, voc2012
from keras_dense.datasets.depth_files import depth_to_png16, read_depth, write_depth
from keras_dense.datasets.transforms import BorderWeights
from keras_dense.heads.palette import voc_palette

pytestmark = pytest.mark.once

Image = pytest.importorskip("PIL.Image")

LABELS = np.array([[0, 1, 2], [2, 1, 255]], np.uint8)


def save_image(path, size=(2, 3), seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def mask(path, labels=LABELS, palette=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(labels))
    if palette is not None:
        image.putpalette(palette.ravel().tolist())
    image.save(path)


@pytest.fixture
def folders(tmp_path):
    for i, name in enumerate("ab"):
        save_image(tmp_path / "images" / f"{name}.png", seed=i)
        mask(tmp_path / "masks" / f"{name}.png")
    return tmp_path / "images", tmp_path / "masks"


def test_gray_and_palette_masks(tmp_path):
    pixels = save_image(tmp_path / "images" / "gray.png")
    save_image(tmp_path / "images" / "palette.png")
    mask(tmp_path / "masks" / "gray.png")
    mask(tmp_path / "masks" / "palette.png", palette=voc_palette(256))
    ds = folder(tmp_path / "images", tmp_path / "masks", class_names=["x", "y", "z"])
    assert len(ds) == 2 and ds.num_classes == 3 and ds.class_names == ["x", "y", "z"]
    np.testing.assert_array_equal(ds[0]["image"], pixels)
    for i in range(2):
        np.testing.assert_array_equal(ds[i]["segmentation"], LABELS)
        assert ds[i]["segmentation"].dtype == np.uint8
    np.testing.assert_array_equal(ds.palette, voc_palette(3))
    assert "2 samples, 3 classes" in repr(ds)
    assert ds.describe(1).endswith("palette.png")


def test_color_masks(tmp_path):
    palette = np.array([[255, 0, 0], [1, 2, 3], [0, 0, 255]])
    colors = np.concatenate([palette, np.tile([[224, 224, 192]], (253, 1))])[LABELS]
    save_image(tmp_path / "images" / "a.jpg")
    mask(tmp_path / "masks" / "a.png", colors.astype(np.uint8))
    ds = folder(tmp_path / "images", tmp_path / "masks", palette=palette)
    np.testing.assert_array_equal(ds[0]["segmentation"], LABELS)
    assert ds.class_names == ["class 0", "class 1", "class 2"]
    with pytest.raises(ValueError, match=r"a.png: color \(224, 224, 192\) at row 1, column 2"):
        folder(tmp_path / "images", tmp_path / "masks", palette=palette, void_colors=())[0]
    with pytest.raises(ValueError, match="a.png: is an image of mode .RGB., not of class"):
        folder(tmp_path / "images", tmp_path / "masks", num_classes=3, encoding="index")[0]


def test_palette_pngs_read_by_their_colors(tmp_path):
    palette = np.array([[9, 9, 9], [200, 0, 0], [0, 200, 0]], np.uint8)
    order = [2, 0, 1]  # the file numbers its colors otherwise
    save_image(tmp_path / "images" / "a.png")
    indices = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    mask(tmp_path / "masks" / "a.png", indices, palette[order])
    ds = folder(tmp_path / "images", tmp_path / "masks", palette=palette, encoding="color")
    np.testing.assert_array_equal(ds[0]["segmentation"], np.array(order)[indices])


def test_remap_suffix_and_names(tmp_path):
    for name in ("a", "b", "c"):
        save_image(tmp_path / "images" / f"{name}.png")
        mask(tmp_path / "masks" / f"{name}_L.png", np.array([[0, 255, 255], [0, 0, 7]], np.uint8))
    (tmp_path / "list.txt").write_text("c\na\n\n")
    make = lambda **k: folder(  # noqa: E731
        tmp_path / "images",
        tmp_path / "masks",
        num_classes=2,
        mask_suffix="_L",
        remap={255: 1, 7: 255},
        **k,
    )
    assert len(make()) == 3
    ds = make(names=tmp_path / "list.txt", name="cells", split="train")
    assert [pathlib.Path(ds.describe(i)).stem for i in range(2)] == ["c", "a"]
    assert (ds.name, ds.split) == ("cells", "train")
    np.testing.assert_array_equal(ds[0]["segmentation"], [[0, 1, 1], [0, 0, 255]])
    assert len(make(names=["b"])) == 1
    with pytest.raises(FileNotFoundError, match="no image for 'd'"):
        make(names=["a", "d"])
    with pytest.raises(FileNotFoundError, match="there is no list of names"):
        make(names=tmp_path / "none.txt")
    with pytest.raises(ValueError, match="list of names is empty"):
        make(names=[])


def test_missing_folders_and_partners(folders):
    images, masks = folders
    with pytest.raises(FileNotFoundError, match="no images folder .*nowhere"):
        folder(images / "nowhere", masks, num_classes=3)
    empty = images.parent / "empty"
    empty.mkdir()
    with pytest.raises(FileNotFoundError, match="masks folder .*empty'.* contain(s)? no image"):
        folder(images, empty, num_classes=3)
    save_image(images / "c.png")
    with pytest.raises(FileNotFoundError, match="'c.png' in .*images' without a mask in .*masks"):
        folder(images, masks, num_classes=3)
    (images / "c.png").unlink()
    for name in "defg":
        mask(masks / f"{name}.png")
    with pytest.raises(
        FileNotFoundError, match="'d.png', 'e.png', 'f.png' and 1 more in .*without an image"
    ):
        folder(images, masks, num_classes=3)
    save_image(images / "a.jpg")
    with pytest.raises(ValueError, match="'a.jpg' and 'a.png' .* differ only in their extension"):
        folder(images, masks, num_classes=3)


def test_faults_of_files_name_the_file(folders):
    images, masks = folders
    ds = folder(images, masks, num_classes=3)
    mask(masks / "a.png", np.array([[0, 1, 37], [2, 37, 255]], np.uint8))
    with pytest.raises(
        ValueError, match=r"masks/a.png: label 37 at row 0, column 2 is out of range.*3 classes"
    ):
        ds[0]
    mask(masks / "a.png", np.zeros((4, 3), np.uint8))
    with pytest.raises(
        ValueError, match=r"masks/a.png \(mask of a.png\): 'segmentation' is 4 x 3 .*image is 2 x 3"
    ):
        ds[0]
    (masks / "a.png").write_bytes(b"not an image")
    with pytest.raises(ValueError, match="masks/a.png: cannot be read as an image"):
        ds[0]
    save_image(images / "b.png", size=(200, 200))
    whole = (images / "b.png").read_bytes()
    for end in (30, 2000, len(whole) // 2):
        (images / "b.png").write_bytes(whole[:end])
        with pytest.raises(ValueError, match="images/b.png: cannot be read as an image"):
            ds[1]
    (images / "b.png").unlink()
    with pytest.raises(FileNotFoundError, match="images/b.png: no such file"):
        ds[1]


def test_deep_images_are_refused(folders):
    images, masks = folders
    Image.fromarray(np.full((2, 3), 4000, np.uint16)).save(images / "a.png")
    with pytest.raises(ValueError, match="images/a.png: has more than 8 bits"):
        folder(images, masks, num_classes=3)[0]


def test_16_bit_masks_and_many_classes(folders):
    images, masks = folders
    labels = np.array([[0, 299, 254], [2, 1, 256]], np.uint16)
    Image.fromarray(labels).save(masks / "a.png")
    sample = folder(images, masks, num_classes=300)[0]
    np.testing.assert_array_equal(sample["segmentation"], labels)
    assert sample["segmentation"].dtype == np.int32
    with pytest.raises(ValueError, match="label 299"):
        folder(images, masks, num_classes=299)[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "`num_classes` must be given"),
        ({"num_classes": 0}, "`num_classes` must be an integer >= 1"),
        ({"num_classes": 2.0}, "`num_classes` must be an integer >= 1"),
        ({"num_classes": 2, "class_names": ["a"]}, "must agree on the number of classes"),
        ({"num_classes": 2, "palette": [[0, 0, 0], [0, 0, 256]]}, "`palette` must be"),
        ({"palette": [[0, 0], [1, 1]]}, "`palette` must be"),
        ({"num_classes": 2, "encoding": "rgb"}, "`encoding` must be"),
        ({"num_classes": 2, "encoding": "color"}, "`palette` must be given with encoding"),
        ({"num_classes": 2, "remap": {7: 2}}, "`remap` must map.*7: 2"),
    ],
)
def test_bad_arguments(folders, arguments, message):
    with pytest.raises(ValueError, match=message):
        folder(*folders, **arguments)


def test_check_reports_every_fault_at_once(folders):
    images, masks = folders
    report = check(folder(images, masks, num_classes=3))
    assert report["samples"] == 2 and report["sizes"] == {(2, 3): 2} and report["void"] == 2
    assert report["pixels"].tolist() == [2, 4, 4]
    (images / "a.png").write_bytes(b"?")
    mask(masks / "b.png", np.full((2, 3), 9, np.uint8))
    with pytest.raises(ValueError, match=r"2 of 2 samples are faulty:\n.*a.png: cannot.*\n.*b.png"):
        check(folder(images, masks, num_classes=3))


def make_camvid(root, layout):
    for split, count in (("train", 3), ("val", 2), ("test", 1)):
        for i in range(count):
            labels = np.array([[0, 5, 11], [10, 11, 3]], np.uint8)
            images, masks = (
                (root / split, root / f"{split}annot")
                if layout == "segnet"
                else (root / split / "images", root / split / "masks")
            )
            save_image(images / f"{split}{i}.png", seed=i)
            mask(masks / f"{split}{i}.png", labels)


@pytest.mark.parametrize("layout", ["segnet", "folders"])
def test_camvid_layouts(tmp_path, layout):
    make_camvid(tmp_path, layout)
    (tmp_path / "train.txt").write_text("not used")
    assert [len(camvid(tmp_path, s)) for s in ("train", "val", "test")] == [3, 2, 1]
    ds = camvid(tmp_path)
    assert ds.num_classes == 11 and ds.class_names[3] == "road" and ds.split == "train"
    np.testing.assert_array_equal(ds[0]["segmentation"], [[0, 5, 255], [10, 255, 3]])


def test_camvid_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="camvid: there is no folder"):
        camvid(tmp_path / "none")
    (tmp_path / "other").mkdir()
    with pytest.raises(FileNotFoundError, match=r"neither train/images.*trainannot.*\['other'\]"):
        camvid(tmp_path)
    with pytest.raises(ValueError, match="`split` must be.*split='dev'"):
        camvid(tmp_path, "dev")
    make_camvid(tmp_path, "segnet")
    mask(tmp_path / "trainannot" / "train1.png", np.full((2, 3), 12, np.uint8))
    with pytest.raises(ValueError, match="train1.png: label 12 .*11 classes"):
        camvid(tmp_path)[1]


def make_voc(home):
    for name in ("2007_1", "2007_2", "2008_1"):
        save_image(home / "JPEGImages" / f"{name}.jpg")
    for name in ("2007_1", "2007_2"):
        mask(home / "SegmentationClass" / f"{name}.png", LABELS * 1, voc_palette(256))
    lists = home / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_1\n")
    (lists / "val.txt").write_text("2007_2\n")


@pytest.mark.parametrize("place", ["", "VOC2012", "VOCdevkit/VOC2012"])
def test_voc_layout(tmp_path, place):
    make_voc(tmp_path / place)
    ds = voc2012(tmp_path, "val")
    assert len(ds) == 1 and ds.num_classes == 21 and ds.class_names[15] == "person"
    np.testing.assert_array_equal(ds[0]["segmentation"], LABELS)
    np.testing.assert_array_equal(ds.palette[15], (192, 128, 128))
    with pytest.raises(FileNotFoundError, match=r"no list .*trainaug.txt.*\['train', 'val'\]"):
        voc2012(tmp_path, "trainaug")


def test_voc_augmented_masks(tmp_path):
    make_voc(tmp_path)
    (tmp_path / "ImageSets" / "Segmentation" / "trainaug.txt").write_text("2008_1\n")
    mask(tmp_path / "SegmentationClassAug" / "2008_1.png")
    np.testing.assert_array_equal(voc2012(tmp_path, "trainaug")[0]["segmentation"], LABELS)


def test_voc_flat_layout(tmp_path):
    for i in range(10):
        save_image(tmp_path / "images" / f"{i}.jpg")
        mask(tmp_path / "masks" / f"{i}.png")
    parts = [voc2012(tmp_path, s) for s in ("train", "val", "trainval")]
    assert [len(p) for p in parts] == [8, 2, 10]
    assert {p.stem for p, _ in parts[1].files} == {"4", "9"}
    with pytest.raises(ValueError, match="`split` must be one of .* split='test'"):
        voc2012(tmp_path, "test")
    (tmp_path / "test.txt").write_text("3\n")
    assert len(voc2012(tmp_path, "test")) == 1


def test_voc_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="voc2012: there is no folder"):
        voc2012(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="neither JPEGImages.* nor images and masks"):
        voc2012(tmp_path)


def test_real_camvid(shared_data):
    train, val = camvid(shared_data / "camvid", "train"), camvid(shared_data / "camvid", "val")
    assert (len(train), len(val)) == (367, 101)
    for ds in (train, val):
        sample = ds[7]
        assert sample["image"].shape == (360, 480, 3)
        assert set(np.unique(sample["segmentation"])) <= {*range(11), 255}
        with Image.open(ds.files[7][1]) as file:  # its palette is ours
            np.testing.assert_array_equal(np.reshape(file.getpalette()[:33], (11, 3)), ds.palette)


def test_real_voc_msrc_and_bio(shared_data):
    sample = voc2012(shared_data / "voc_mini", "val")[3]
    assert set(np.unique(sample["segmentation"])) <= {*range(21), 255}
    msrc = shared_data / "msrc21"
    lines = (msrc / "classes.txt").read_text().splitlines()
    names = [line.split(maxsplit=1)[1] for line in lines if not line.startswith("255")]
    ds = folder(msrc / "images", msrc / "masks", class_names=names)
    assert ds.num_classes == 21 and ds[0]["image"].shape[2] == 3
    bio = shared_data / "bio" / "isbi2012"
    cells = folder(bio / "images", bio / "masks", class_names=["membrane", "cell"], remap={255: 1})
    assert set(np.unique(cells[0]["segmentation"])) == {0, 1}


def numbered(path, numbers):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(numbers, "uint16")).save(path)


def test_instances_of_numbers(tmp_path):
    for i in range(5):
        save_image(tmp_path / "images" / f"{i}.jpg", (2, 6))
        numbered(tmp_path / "instances" / f"{i}.png", [[0, 700, 700, 9, 9, 0]] * 2)
    train, val = (instances(tmp_path, s, class_names=["ground", "cell"]) for s in ("train", "val"))
    assert (len(train), len(val), val.class_names) == (4, 1, ["ground", "cell"])
    sample = val[0]
    # Where two of them touch, there is background.
    np.testing.assert_array_equal(sample["instances"], [[0, 700, 0, 9, 9, 0]] * 2)
    np.testing.assert_array_equal(sample["segmentation"], [[0, 1, 0, 1, 1, 0]] * 2)
    assert sample["image"].shape == (2, 6, 3) and sample["segmentation"].dtype == np.uint8
    weighted = BorderWeights(w0=10, sigma=3)(sample, None)
    np.testing.assert_array_equal(
        weighted["weight"], border_weights(sample["instances"], w0=10, sigma=3)
    )


def test_instances_of_black_and_white(tmp_path):
    pytest.importorskip("scipy.ndimage")
    save_image(tmp_path / "images" / "a.jpg", (3, 5))
    white = np.array([[1, 1, 0, 0, 1], [0, 0, 0, 1, 0], [1, 0, 1, 1, 0]], bool)
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.where(white, 255, 0).astype("uint8")).save(tmp_path / "masks" / "a.png")
    sample = instances(tmp_path, "trainval")[0]
    # Two pieces touch over a corner only: there, too, is background between them.
    np.testing.assert_array_equal(
        sample["instances"], [[1, 1, 0, 0, 0], [0, 0, 0, 3, 0], [4, 0, 3, 3, 0]]
    )


def test_instances_bad_input(tmp_path):
    with pytest.raises(FileNotFoundError, match="instances: there is no folder"):
        instances(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="contains neither instances nor masks"):
        instances(tmp_path)
    save_image(tmp_path / "images" / "a.jpg", (2, 2))
    save_image(tmp_path / "images" / "b.jpg", (2, 2))
    numbered(tmp_path / "instances" / "a.png", [[0, 1]])
    with pytest.raises(FileNotFoundError, match="'b.jpg' .* without a mask"):
        instances(tmp_path, "trainval")
    save_image(tmp_path / "instances" / "b.png", (2, 2))
    both = instances(tmp_path, "trainval")
    with pytest.raises(ValueError, match="a.png .*must be the same size"):
        both[0]
    with pytest.raises(ValueError, match="b.png: is an image of mode 'RGB'"):
        both[1]
    with pytest.raises(ValueError, match="`split` must be .* split='test'"):
        instances(tmp_path, "test")
    with pytest.raises(ValueError, match="`class_names` must be two names"):
        instances(tmp_path, class_names=["cell"])
    with pytest.raises(ValueError, match="BorderWeights: a sample must have 'instances'"):
        BorderWeights()({"image": np.zeros((2, 2, 3), "uint8")}, None)
    with pytest.raises(ValueError, match="`sigma` must be a number > 0"):
        BorderWeights(sigma=0)


@pytest.mark.parametrize("scale", [1000, 256])
def test_depth_in_16_bits(tmp_path, scale):
    meters = np.random.default_rng(0).uniform(0.1, 60, (5, 7, 1)).astype("float32")
    meters[0, :4, 0] = [0, np.nan, -1, np.inf]
    write_depth(tmp_path / "depth.png", meters, scale=scale)
    with Image.open(tmp_path / "depth.png") as stored:
        assert stored.mode.startswith("I")
    again = read_depth(tmp_path / "depth.png", scale)
    assert again.shape == (5, 7, 1) and again.dtype == np.float32
    assert not again[0, :4].any()
    known = np.isfinite(meters) & (meters > 0)
    np.testing.assert_allclose(again[known], meters[known], rtol=0, atol=0.5001 / scale)


def test_depth_that_does_not_fit_16_bits():
    assert depth_to_png16([[1e-6, 65.535]]).tolist() == [[1, 65535]]
    with pytest.raises(ValueError, match="`scale` must be at most 65535 / 80 m"):
        depth_to_png16([[80.0]])
    with pytest.raises(ValueError, match="`scale` must be a number > 0"):
        depth_to_png16([[1.0]], scale=0)
    with pytest.raises(ValueError, match="`meters` must have shape"):
        depth_to_png16(np.ones((2, 2, 3)))

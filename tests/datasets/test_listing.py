"""Lists and pairs of files; skipped files are reported."""

import codecs
import os
import unicodedata
import warnings

import numpy as np
import pytest

from keras_dense.datasets import folder, photographs
from keras_dense.datasets.listing import find_files
from keras_dense.datasets.pairs import match_files

pytestmark = pytest.mark.once

Image = pytest.importorskip("PIL.Image")


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def names_of(pairs, root):
    return [tuple(str(path.relative_to(root)) for path in pair) for pair in pairs]


@pytest.fixture
def root(tmp_path):
    touch(*(tmp_path / "i" / f"{name}.jpg" for name in "abc"))
    touch(*(tmp_path / "m" / f"{name}.png" for name in "abc"))
    return tmp_path


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbfa\r\nc\r\n",
        codecs.BOM_UTF16_LE + "a\r\nc\r\n".encode("utf-16-le"),
        b"a.jpg\nc.JPG\n",
        b"  a\n\n\tc  ",
        b"images/a.jpg\n./x/c.jpg\n",
        b"images\\a.jpg\nc\n",
    ],
)
def test_lists_of_names_in_common_forms(root, text):
    (root / "list.txt").write_bytes(text)
    pairs = match_files(root / "i", root / "m", names=root / "list.txt")
    assert names_of(pairs, root) == [("i/a.jpg", "m/a.png"), ("i/c.jpg", "m/c.png")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a\nd.jpg\n", "no image for 'd.jpg' in"),
        (b"a 1\n", "no image for 'a 1' in"),
        (b"A\n", r"no image for 'A' in .* \('A' only in another case\)"),
        (b"x/a\ny/a\n", "the names 'x/a' and 'y/a' both refer"),
        (b"\xff\xe9\n", "list.txt' is not UTF-8"),
        (b"\xef\xbb\xbf\n", "the list of names is empty"),
    ],
)
def test_lists_of_names_that_mean_something_else(root, text, message):
    (root / "list.txt").write_bytes(text)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        match_files(root / "i", root / "m", names=root / "list.txt")


def test_names_composed_and_decomposed_are_the_same(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    touch(tmp_path / "i" / f"{composed}.jpg", tmp_path / "m" / f"{decomposed}.png")
    for names in (None, [composed], [decomposed]):
        assert len(match_files(tmp_path / "i", tmp_path / "m", names=names)) == 1
    assert (
        len(
            match_files(
                tmp_path / "i", tmp_path / "m", image_suffix=decomposed, mask_suffix=composed
            )
        )
        == 1
    )


def test_subfolders(tmp_path):
    for city in ("bonn", "ulm"):
        touch(
            tmp_path / "i" / city / "1_rgb.png",
            tmp_path / "m" / city / "1_label.png",
            tmp_path / "m" / city / "1_color.png",
            tmp_path / "m" / city / "._1_label.png",
            tmp_path / "m" / "__MACOSX" / city / "2_label.png",
            tmp_path / "m" / ".hidden" / city / "2_label.png",
        )
    suffixes = {"image_suffix": "_rgb", "mask_suffix": "_label"}
    pairs = match_files(tmp_path / "i", tmp_path / "m", recursive=True, **suffixes)
    cities = ("bonn", "ulm")
    wanted = [(f"i/{city}/1_rgb.png", f"m/{city}/1_label.png") for city in cities]
    assert names_of(pairs, tmp_path) == wanted
    for names in (["ulm/1"], ["ulm/1_rgb.png"], ["train/ulm/1_rgb"]):
        found = match_files(tmp_path / "i", tmp_path / "m", names=names, recursive=True, **suffixes)
        assert names_of(found, tmp_path) == wanted[1:]
    with pytest.raises(FileNotFoundError, match="no image for '1'"):  # in both cities
        match_files(tmp_path / "i", tmp_path / "m", names=["1"], recursive=True, **suffixes)
    (tmp_path / "m" / "ulm" / "1_label.png").unlink()
    with pytest.raises(FileNotFoundError, match="'1_rgb.png' in .* without a mask"):
        match_files(tmp_path / "i", tmp_path / "m", recursive=True, **suffixes)
    with pytest.raises(
        FileNotFoundError, match="contains images in subfolders .'bonn', 'ulm'; rec"
    ):
        match_files(tmp_path / "i", tmp_path / "m")


@pytest.mark.parametrize(
    ("image", "mask", "suffixes"),
    [
        ("a.jpg", "a_mask.png", {"mask_suffix": "_mask"}),
        ("a_rgb.png", "a.png", {"image_suffix": "_rgb"}),
        ("a.jpg", "a.png", {"image_suffix": ".jpg", "mask_suffix": ".png"}),
        ("a.JPG", "a.png", {"image_suffix": ".jpg", "mask_suffix": ".png"}),
        ("a_sat.jpg", "a_mask.png", {"image_suffix": "_sat.jpg", "mask_suffix": "_mask.png"}),
    ],
)
def test_images_and_masks_in_one_folder(tmp_path, image, mask, suffixes):
    touch(tmp_path / image, tmp_path / mask)
    assert names_of(match_files(tmp_path, tmp_path, **suffixes), tmp_path) == [(image, mask)]
    with pytest.raises(ValueError, match="images and masks are in one folder, .*give a suffix"):
        match_files(tmp_path, tmp_path)


def test_skipped_files_are_reported(root):
    touch(root / "i" / "d.heic", root / "i" / "e.heic", root / "i" / "more" / "f.jpg")
    said = "skipped in the images folder .*2 files ending in '.heic' and images in subfolders"
    with pytest.warns(UserWarning, match=said):
        assert len(match_files(root / "i", root / "m")) == 3


def test_common_files_beside_images_are_skipped_silently(root):
    touch(*(root / "i" / name for name in ("Thumbs.db", ".DS_Store", "._a.jpg", "list.txt")))
    touch(
        root / "i" / "__MACOSX" / "a.jpg", root / "i" / ".git" / "x.png", root / "i" / "x" / "a.txt"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(find_files(root / "i", "who", "images")) == 3


def test_names_that_differ_only_in_ending_or_case(root):
    touch(root / "i" / "a.JPEG")
    with pytest.raises(ValueError, match="'a.JPEG' and 'a.jpg' .*differ only in their extension"):
        match_files(root / "i", root / "m")
    (root / "i" / "a.JPEG").unlink()
    os.rename(root / "m" / "b.png", root / "m" / "B.png")
    with pytest.raises(
        FileNotFoundError, match=r"'B.png' .*without an image.* only in another case"
    ):
        match_files(root / "i", root / "m")


def test_links_to_folders_are_followed_and_loops_end(tmp_path):
    touch(tmp_path / "far" / "a.jpg")
    (tmp_path / "near").mkdir()
    os.symlink(tmp_path / "far", tmp_path / "near" / "linked", target_is_directory=True)
    os.symlink(tmp_path / "near", tmp_path / "far" / "back", target_is_directory=True)
    assert list(find_files(tmp_path / "near", "who", "images", recursive=True)) == ["linked/a"]


def test_arrays_go_with_images(tmp_path):
    for name in ("i", "m"):
        (tmp_path / name).mkdir()
    np.save(tmp_path / "i" / "a.npy", np.full((2, 3, 3), 7, np.uint8))
    np.save(tmp_path / "m" / "a.npy", np.array([[0, 1, 2]] * 2))
    sample = folder(tmp_path / "i", tmp_path / "m", num_classes=3)[0]
    assert sample["image"].max() == 7 and sample["segmentation"].tolist() == [[0, 1, 2]] * 2
    assert photographs(tmp_path / "i")[0]["image"].shape == (2, 3, 3)
    np.save(tmp_path / "i" / "a.npy", np.zeros((3, 8, 8), np.uint8))
    with pytest.raises(ValueError, match=r"i/a.npy: has 8 channels \(other\), which are not RGB"):
        folder(tmp_path / "i", tmp_path / "m", num_classes=3)[0]

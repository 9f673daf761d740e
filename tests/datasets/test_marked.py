"""Points and boxes from tables."""

import numpy as np
import pytest
from PIL import Image

from keras_dense.datasets import Loader, marked
from keras_dense.heads import Segmentation, Tags

pytestmark = pytest.mark.once

NAMES = ["ground", "crop", "weed"]


@pytest.fixture
def files(tmp_path):
    (tmp_path / "images").mkdir()
    for name in "ab":
        Image.new("RGB", (9, 6)).save(tmp_path / "images" / f"{name}.jpg")
    return tmp_path


def read(files, text, **settings):
    (files / "marks.csv").write_text(text)
    return marked(files / "images", files / "marks.csv", class_names=NAMES, **settings)


def test_points_are_disks(files):
    data = read(files, "image,class,x,y\na.jpg,crop,2,1\na,weed,8,5\nb,ground,0,0\n", radius=1)
    assert len(data) == 2 and data.num_classes == 3
    wanted = np.full((6, 9), 255)
    for row, column in ((0, 2), (1, 1), (1, 2), (1, 3), (2, 2), (0, 1), (0, 3), (2, 1), (2, 3)):
        wanted[row, column] = 1
    wanted[5, 8] = wanted[4, 8] = wanted[5, 7] = wanted[4, 7] = 2
    np.testing.assert_array_equal(data[0]["segmentation"], wanted)
    assert data[0]["tags"].tolist() == [255, 1, 1] and data[1]["tags"].tolist() == [1, 255, 255]
    complete = read(files, "image,class,x,y\na,crop,2,1\nb,weed,1,1\n", complete=True)
    assert complete[0]["tags"].tolist() == [0, 1, 0]
    heads = {"labels": Segmentation(3), "tags": Tags(3, partial=True)}
    _, targets = Loader(data, heads, 2, workers=0)[0]
    assert targets["tags"].tolist() == [[255, 1, 1], [1, 255, 255]]


def test_boxes_are_void_with_a_core(files):
    text = "image,class,left,top,right,bottom\na,crop,1,1,6,6\na,weed,4,0,9,3\nb,weed,0,0,2,2\n"
    data = read(files, text, background=0, core=0.2, complete=True)
    labels = data[0]["segmentation"]
    assert labels[3, 3] == 1 and labels[1, 6] == 2 and labels[5, 8] == 0 and labels[0, 0] == 0
    assert (labels[1:6, 1:6] != 0).all() and (labels == 1).sum() == (labels == 2).sum() == 1
    assert data[0]["tags"].tolist() == [255, 1, 1]
    assert (read(files, text, core=0)[1]["segmentation"] == 255).all()


def test_bad_tables(files):
    for text, message in (
        ("image,x,y\na,1,1\n", "the header must be image,class,x,y or image,class,left.*image,x,y"),
        ("image,class,x,y\na,cow,1,1\n", "row 2: 'cow' is none of the classes ground, crop, weed"),
        ("image,class,x,y\na,crop,1\n", "row 2: must have 4 cells. Received: 3"),
        ("image,class,x,y\na,crop,1,here\n", "row 2: coordinates must be numbers"),
        (
            "image,class,left,top,right,bottom\na,crop,5,1,5,2\n",
            "row 2: a box must have left < right",
        ),
        ("image,class,x,y\nz,crop,1,1\n", "no image in .* has a row in"),
    ):
        with pytest.raises(ValueError, match=message):
            read(files, text)
    with pytest.warns(
        UserWarning, match="1 images without a row and rows of 1 images.*such as 'z'"
    ):
        assert len(read(files, "image,class,x,y\na,crop,1,1\nz,crop,1,1\n")) == 1
    with pytest.warns(UserWarning):
        outside = read(files, "image,class,x,y\na,crop,10,1\n")
    with pytest.raises(
        ValueError, match="a mark of 'crop' at .10.0, 1.0. is outside the image, 6 x 9"
    ):
        outside[0]
    with pytest.raises(FileNotFoundError, match="there is no table"):
        marked(files / "images", files / "none.csv", class_names=NAMES)
    with pytest.raises(ValueError, match="`background` must be an integer from 0 to 2"):
        read(files, "image,class,x,y\na,crop,1,1\n", background=3)

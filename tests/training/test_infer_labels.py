"""Labels inferred for images without masks, as files."""

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

import keras_dense as kd
from keras_dense.training import infer_labels

pytestmark = pytest.mark.once

NAMES = ["ground", "crop", "weed"]


@pytest.fixture
def model():
    """Logits of the three classes are the channels of the image, divided by 32."""
    image = keras.Input((None, None, 3))
    scaled = layers.Rescaling(1 / 32)(image)
    return kd.heads.attach(keras.Model(image, scaled), kd.heads.Segmentation(3))


@pytest.fixture
def weak(tmp_path):
    (tmp_path / "images").mkdir()
    image = np.zeros((2, 4, 3), "uint8")
    image[0, 0], image[0, 1], image[0, 2] = (200, 0, 0), (0, 200, 0), (0, 0, 200)
    image[1] = (200, 190, 0)  # not sure, unless the ground is not there
    for name in "ab":
        Image.fromarray(image).save(tmp_path / "images" / f"{name}.png")
    tags = {"a": [1, 1, 1], "b": [0, 1, 255]}
    return kd.datasets.folder(tmp_path / "images", tags=tags, class_names=NAMES)


def test_sure_labels_are_written_and_read(model, weak, tmp_path):
    found = infer_labels(model, weak, tmp_path / "round1", confidence=0.9)
    assert [f.name for f in found] == ["a", "b"] and found[1].filled > found[0].filled
    again = kd.datasets.folder(
        tmp_path / "images", tmp_path / "round1" / "labels", class_names=NAMES
    )
    assert again[0]["segmentation"].tolist() == [[0, 1, 2, 255], [255] * 4]
    # Without ground, the second row is crop; the first pixel is one of two.
    assert again[1]["segmentation"].tolist() == [[255, 1, 2, 255], [1] * 4]
    sure = np.asarray(Image.open(tmp_path / "round1" / "confidence" / "a.png"))
    wanted = np.exp(200 / 32) / (np.exp(200 / 32) + 2)
    assert sure[0, 0] == round(255 * wanted) and sure[0, 3] == 85
    mask = Image.open(tmp_path / "round1" / "labels" / "a.png")
    assert mask.mode == "P" and mask.getpalette()[3:6] == [128, 0, 0]


def test_tags_can_be_left_out_and_classes_come_back(model, weak, tmp_path):
    infer_labels(model, weak, tmp_path / "plain", tags=False)
    plain = np.asarray(Image.open(tmp_path / "plain" / "labels" / "b.png"))
    assert plain[0, 0] == 0 and (plain[1] == 255).all()
    infer_labels(model, weak, tmp_path / "all", tags=False, confidence=0)
    assert (np.asarray(Image.open(tmp_path / "all" / "labels" / "b.png")) != 255).all()


def test_known_pixels_stay(model, tmp_path):
    image = np.zeros((2, 4, 3), "uint8")
    image[..., 1] = 220
    labels = np.full((2, 4), 255, "uint8")
    labels[0, 1] = 2
    samples = [{"image": image, "segmentation": labels}]
    (found,) = infer_labels(model, samples, tmp_path)
    mask = np.asarray(Image.open(tmp_path / "labels" / "000000.png"))
    assert mask.tolist() == [[1, 2, 1, 1], [1] * 4] and found.filled == 1.0


def test_bad_calls(model, weak, tmp_path):
    infer_labels(model, weak, tmp_path / "one")
    with pytest.raises(FileExistsError, match="a.png exists already; give overwrite=True"):
        infer_labels(model, weak, tmp_path / "one")
    infer_labels(model, weak, tmp_path / "one", overwrite=True)
    with pytest.raises(ValueError, match="`tags` must have one entry for each of 3 classes"):
        infer_labels(model, [{**weak[0], "tags": np.array([1, 0], "uint8")}], tmp_path / "two")
    with pytest.raises(ValueError, match="`confidence` must be a number, or one for each of 3"):
        infer_labels(model, weak, tmp_path / "two", confidence=[0.5])
    with pytest.raises(ValueError, match="`key` must be a segmentation"):
        infer_labels(model, weak, tmp_path / "two", key="masks")

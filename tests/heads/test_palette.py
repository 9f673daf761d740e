"""Colors for few and for many classes."""

import json

import keras
import numpy as np
import pytest

import keras_dense as kd
from keras_dense._command import main
from keras_dense.heads.palette import voc_palette

pytestmark = pytest.mark.once


def test_every_class_has_a_color_of_its_own():
    colors = voc_palette(5000)
    assert len(np.unique(colors, axis=0)) == 5000
    np.testing.assert_array_equal(voc_palette(21), colors[:21])
    # The last one of the VOC development kit.
    assert colors[255].tolist() == [224, 224, 192] and colors[256].tolist() == [0, 0, 32]
    with pytest.raises(ValueError, match="`n` must be an integer from 1 to 16777216"):
        voc_palette(0)


def test_a_thousand_classes_from_the_model_to_the_files(tmp_path, capsys):
    pil = pytest.importorskip("PIL.Image")
    head = kd.heads.Segmentation(1000)
    assert kd.heads.Segmentation.from_config(head.get_config()).legend() == head.legend()
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(1000, 1, kernel_initializer="random_normal")(image)
    model = kd.heads.attach(keras.Model(image, x), head)
    model.save(tmp_path / "m.keras")
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype="uint8")
    (tmp_path / "in").mkdir()
    pil.fromarray(pixels).save(tmp_path / "in" / "a.png")
    out = tmp_path / "out"
    told = ["predict", str(tmp_path / "m.keras"), str(tmp_path / "in"), "--out", str(out)]
    assert main([*told, "--overlay"]) == 0, capsys.readouterr().err
    labels = model.predict_on_batch(pixels[None])[0].argmax(-1)
    written = pil.open(out / "a.png")
    np.testing.assert_array_equal(np.array(written), labels)
    assert labels.max() > 255 and len(json.loads(written.info["about"])["classes"]) == 1000
    drawn = head.draw(labels)
    np.testing.assert_array_equal(drawn, voc_palette(1000)[labels])
    assert np.array(pil.open(out / "overlay" / "a.png")).shape == (20, 30, 3)

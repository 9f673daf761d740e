"""FPN for segmentation: the paper's widths, what is summed where, what every builder promises."""

import math

import keras
import numpy as np
import pytest
from keras import layers

import keras_dense as kd
from keras_dense.testing import check_model

from .small import images, run


def test_contract(backbone, sizes):
    model = kd.fpn(backbone, 3, filters=(8, 4))
    check_model(model, kd.heads.Segmentation(3), sizes=sizes)


def test_auxiliary_head_and_other_upsampling(backbone):
    heads = kd.heads.with_auxiliary(kd.heads.Segmentation(3))
    model = kd.fpn(backbone, heads=heads, filters=(8, 4), upsampling="pixel_shuffle", dropout=0.2)
    assert model.get_layer("branch_P5_3_upsample").filters == 4 * 4
    assert {key: y.shape for key, y in run(model, images(2, 33, 47)).items()} == {
        "segmentation": (2, 33, 47, 3),
        "auxiliary": (2, 33, 47, 3),
    }


@pytest.mark.exhaustive  # of a plain backbone: tests/models/test_keras_export.py
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow exports")
def test_export_with_free_sizes(backbone, tmp_path):
    import tensorflow as tf

    model = kd.fpn(backbone, 3, filters=(8, 4))
    model.export(tmp_path / "fpn", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "fpn")
    for size in ((33, 47), (97, 131)):
        x = images(1, *size).astype("float32")
        np.testing.assert_allclose(loaded.serve(x).numpy(), run(model, x), atol=1e-5)


def test_weights_on_resnet50(zero_weights):
    """Counted by hand; 28.5 M in all."""
    model = kd.fpn("resnet50", 21, weights=None)
    lateral = (256 + 512 + 1024 + 2048) * 256 + 4 * 256
    pyramid = 4 * (9 * 256 * 256 + 256)
    branch = 4 * 9 * 256 * 128 + 3 * 9 * 128 * 128 + 7 * 2 * 128
    scores = 128 * 21 + 21
    backbone = model.get_layer("backbone").count_params()
    assert model.count_params() == backbone + lateral + pyramid + branch + scores
    assert sum(math.prod(w.shape) for w in model.trainable_weights) == 28_505_493
    assert sum(isinstance(x, layers.GroupNormalization) for x in model.layers) == 7
    assert kd.surgery.strides(keras.Model(model.input, model.get_layer("branches").output)) == 4


def test_it_sums_what_the_paper_sums(backbone):
    """The pyramid by NumPy, from the backbone's features and the network's weights."""
    model = kd.fpn(backbone, 3, filters=(8, 4))
    x = images(1, 64, 96)
    features = run(model.get_layer("backbone"), x)
    outputs = {level: model.get_layer(f"merge_{level}").output for level in ("P4", "P3", "P2")}
    got = run(keras.Model(model.input, outputs), x)
    above = None
    for level in ("P5", "P4", "P3", "P2"):
        kernel, bias = model.get_layer(f"lateral_{level}").get_weights()
        y = features[level] @ kernel[0, 0] + bias
        if above is not None:
            y = y + above.repeat(2, 1).repeat(2, 2)
            np.testing.assert_allclose(got[level], y, atol=1e-4)
        above = y


def test_a_dilated_backbone(backbone):
    model = kd.fpn(kd.surgery.dilate(backbone, 8), 3, filters=(8, 4))
    names = [x.name for x in model.layers]
    assert "top_down_P4" not in names and "branch_P5_2" not in names
    assert model.get_layer("top_down_P2").size == (2, 2) and kd.surgery.strides(model) == 1


def test_bad_input(backbone):
    with pytest.raises(ValueError, match="`filters` must be a tuple of integers >= 1"):
        kd.fpn(backbone, filters=256)
    with pytest.raises(ValueError, match="two widths, of the pyramid and of the branch"):
        kd.fpn(backbone, filters=(256,))
    with pytest.raises(ValueError, match="`upsampling` must be one of"):
        kd.fpn(backbone, upsampling="unpool")
    shallow = kd.surgery.feature_pyramid(backbone, taps={"P3": "relu_3"})
    with pytest.raises(ValueError, match="no feature P5 for the FPN to read. It has: P3"):
        kd.fpn(shallow, 3)

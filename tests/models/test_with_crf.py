"""Networks that end in a CRF."""

import keras
import numpy as np
import pytest

import keras_dense as kd
from keras_dense.testing import check_model


def test_contract(backbone, sizes):
    head = kd.heads.Segmentation(3)
    model = kd.with_crf(kd.fcn8s(backbone, heads=head), iterations=1)
    check_model(model, head, sizes=sizes)
    assert model.name == "fcn8s_crf"


def test_the_scores_go_through_the_crf(backbone):
    plain = kd.fcn8s(backbone, 4)
    image = np.random.default_rng(0).integers(0, 256, (1, 40, 33, 3), np.uint8)
    joint = kd.with_crf(plain, iterations=2, theta_beta=20.0)
    crf = joint.get_layer("crf")
    assert crf.count_params() == 3 * 4**2
    assert joint.count_params() == plain.count_params() + 3 * 4**2
    wanted = crf(plain.predict(image, verbose=0), image)
    np.testing.assert_allclose(
        joint.predict(image, verbose=0), keras.ops.convert_to_numpy(wanted), atol=1e-4
    )


def test_the_crf_alone_learns_where_the_network_is_held_fast(backbone):
    plain = kd.fcn8s(backbone, 3)
    joint = kd.with_crf(plain, iterations=1)
    for layer in plain.layers:
        layer.trainable = False
    assert len(joint.trainable_weights) == 3
    before = joint.get_weights()
    joint.compile("sgd", **kd.objectives(kd.heads.Segmentation(3)))
    labels = np.random.default_rng(0).integers(0, 3, (2, 32, 32), np.uint8)
    image = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    joint.fit(image, labels, verbose=0)
    moved = [np.any(a != b) for a, b in zip(before, joint.get_weights(), strict=True)]
    assert sum(moved) == 3


def test_one_of_several_outputs(backbone):
    heads = {"things": kd.heads.Segmentation(3), "parts": kd.heads.Segmentation(5)}
    plain = kd.fcn8s(backbone, heads=heads)
    joint = kd.with_crf(plain, "parts")
    assert list(joint.output) == ["things", "parts"]
    assert joint.output["parts"].shape[-1] == 5
    only = kd.with_crf(keras.Model(plain.input, {"things": plain.output["things"]}))
    assert list(only.output) == ["things"]
    for key in (None, "normals"):
        with pytest.raises(ValueError, match="`key` must be the output .* things, parts. Received"):
            kd.with_crf(plain, key)
    with pytest.raises(ValueError, match="`key` must be None for a model of one output"):
        kd.with_crf(kd.fcn8s(backbone, 3), "things")


def test_bad_models(backbone):
    with pytest.raises(ValueError, match="at least 2 classes"):
        kd.with_crf(kd.fcn8s(backbone, 1))
    image, other = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    with pytest.raises(TypeError, match="must have one input"):
        kd.with_crf(keras.Model([image, other], keras.layers.Add()([image, other])))
    small = keras.layers.AveragePooling2D(2)(image)
    with pytest.raises(ValueError, match="same height and width"):
        kd.with_crf(keras.Model(image, small))
    with pytest.raises(ValueError, match="`theta_beta` must be a number > 0"):
        kd.with_crf(kd.fcn8s(backbone, 3), theta_beta=0)

"""Every family of networks, dilated, says what it said."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_dense.layers import AtrousAveragePooling2D
from keras_dense.surgery import convolutionalize, dilate, rebuild, strides

from .networks import EVERY_FAMILY, images, randomized, small_classifier

SIZE = {"Xception": 160, "InceptionV3": 160, "InceptionResNetV2": 160, "NASNetMobile": 96}


def portable(model):
    """Average pooling as TensorFlow and JAX do it, on torch too (Keras repeats the edge there)."""

    def rewrite(node, copies, *args, **kwargs):
        op = node.operation
        if (
            isinstance(op, layers.AveragePooling2D)
            and op.padding == "same"
            and op.strides == (1, 1)
        ):
            config = {"data_format": None}
            return copies(op, *args, kind=AtrousAveragePooling2D, config=config, **kwargs)
        return None

    return rebuild(model, rewrite) if keras.backend.backend() == "torch" else model


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY_FAMILY)
def test_identity_of_every_family(name):
    size = SIZE.get(name, 64)
    build = getattr(keras.applications, name)
    model = portable(
        randomized(build(weights=None, include_top=False, input_shape=(size, size, 3)))
    )
    own = any(isinstance(layer, (layers.Rescaling, layers.Normalization)) for layer in model.layers)
    x = images(2, size, size)
    x = (x + 1) * 127.5 if own else x
    wanted = model.predict(x, verbose=0)
    assert np.std(wanted) > 1e-3
    for stride in (16, 8):
        dense = dilate(model, stride)
        k = 32 // stride
        assert strides(dense) == stride
        got = dense.predict(x, verbose=0)[:, ::k, ::k]
        assert got.shape == wanted.shape
        np.testing.assert_allclose(got, wanted, atol=1e-4 * np.abs(wanted).max(), rtol=0)
        assert dense.count_params() == model.count_params()


def test_backbones_of_other_libraries():
    keras_hub = pytest.importorskip("keras_hub")
    hub = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 64, 128, 128],
        stackwise_num_blocks=[2, 2, 2, 2],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block",
        image_shape=(None, None, 3),
    )
    randomized(hub)
    x = images(1, 64, 64)
    got, wanted = dilate(hub, 8).predict(x, verbose=0), hub.predict(x, verbose=0)
    np.testing.assert_allclose(got[:, ::4, ::4], wanted, atol=1e-4 * np.abs(wanted).max())


def test_keras_cv_backbone():
    keras_cv = pytest.importorskip("keras_cv")
    cv = keras_cv.models.ResNetBackbone(
        stackwise_filters=[64, 64, 128, 128],
        stackwise_blocks=[2, 2, 2, 2],
        stackwise_strides=[1, 2, 2, 2],
        block_type="basic_block",
        include_rescaling=False,
    )
    randomized(cv)
    x = images(1, 64, 64)
    got, wanted = dilate(cv, 8).predict(x, verbose=0), cv.predict(x, verbose=0)
    np.testing.assert_allclose(got[:, ::4, ::4], wanted, atol=1e-4 * np.abs(wanted).max())


def test_backbones_keep_their_levels():
    backbone = keras.applications.MobileNetV2(
        weights=None, alpha=0.35, include_top=False, input_shape=(None, None, 3)
    )
    import keras_dense as kd

    backbone = kd.backbone(backbone, preprocessing="tf")
    dense = dilate(backbone, 8)
    assert strides(dense) == {"P1": 2, "P2": 4, "P3": 8, "P4": 8, "P5": 8}
    assert dense.name == backbone.name
    x = images(1, 64, 96)
    got, wanted = dense.predict(x, verbose=0), backbone.predict(x, verbose=0)
    for level, k in {"P1": 1, "P3": 1, "P4": 2, "P5": 4}.items():
        np.testing.assert_allclose(got[level][:, ::k, ::k], wanted[level], atol=1e-5)


def test_scores_of_a_classifier_everywhere():
    classifier = small_classifier(pooled=True)
    scores = convolutionalize(classifier, padding="same")
    stride = strides(scores)
    dense, x = dilate(scores, 1), images(1, 24, 32)
    got, wanted = dense.predict(x, verbose=0), scores.predict(x, verbose=0)
    np.testing.assert_allclose(got[:, ::stride, ::stride], wanted, atol=1e-5)

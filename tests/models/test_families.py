"""FCN-8s on the smallest network of every family of keras.applications."""

import gc

import keras
import numpy as np
import pytest

import keras_dense as kd

FAMILIES = [
    "MobileNetV2",
    *(
        pytest.param(name, marks=pytest.mark.exhaustive)
        for name in (
            "VGG16",
            "ResNet50",
            "ResNet50V2",
            "MobileNet",
            "MobileNetV3Small",
            "DenseNet121",
            "EfficientNetB0",
            "EfficientNetV2B0",
            "ConvNeXtTiny",
            "Xception",
            "InceptionV3",
            "InceptionResNetV2",
        )
    ),
    pytest.param(
        "NASNetMobile",
        marks=[
            pytest.mark.exhaustive,
            pytest.mark.skipif(
                keras.backend.backend() != "jax",
                reason="Keras does not build it on torch; on TensorFlow it takes minutes",
            ),
        ],
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_any_size_and_a_step_of_training(name):
    model = kd.fcn8s(name, 5, weights=None)
    rng = np.random.default_rng(0)
    for size in ((97, 131), (224, 224)):
        image = rng.integers(0, 256, (1, *size, 3), dtype="uint8")
        y = model.predict(image, verbose=0)
        assert y.shape == (1, *size, 5) and y.dtype == np.float32 and np.isfinite(y).all()
    model.compile(keras.optimizers.SGD(0.01), **kd.objectives(kd.heads.Segmentation(5)))
    before = model.get_layer("score_P5").get_weights()[0]
    image = rng.integers(0, 256, (2, 64, 64, 3), dtype="uint8")
    history = model.fit(image, rng.integers(0, 5, (2, 64, 64)), verbose=0).history
    # All scores start at zero, so every class is as likely: the loss is ln 5.
    np.testing.assert_allclose(history["loss"][0], np.log(5), rtol=1e-5)
    assert np.isfinite(model.get_layer("score_P5").get_weights()[0]).all()
    assert np.any(model.get_layer("score_P5").get_weights()[0] != before)
    del model
    gc.collect()

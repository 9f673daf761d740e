import numpy as np
import pytest

import keras_dense as kd
from keras_dense.surgery.strides import strides
from keras_dense.testing import check_model


def test_parameters_of_the_paper(zero_weights):
    model = kd.zhang_colorization()
    trainable = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    bins = kd.ops.ab_bins().size  # the published network multiplies by them with weights
    assert trainable + bins == 32_236_011
    assert model.output_shape == (None, None, None, 313)


def test_strides_and_blocks():
    model = kd.zhang_colorization(width=0.125)
    backbone = model.get_layer("backbone")
    assert strides(backbone) == {"P1": 2, "P2": 4, "P3": 8}
    rates = [backbone.get_layer(f"conv{n}_1").rate for n in range(1, 8)]
    assert [rate[0] for rate in rates] == [1, 1, 1, 1, 2, 2, 1]
    assert model.get_layer("scores").kernel.shape == (1, 1, 32, 313)


def test_sees_lightness_around_zero():
    model = kd.zhang_colorization(width=0.125)
    backbone = model.get_layer("backbone")
    assert backbone.get_layer("conv1_1").kernel.shape[2] == 1
    image = np.random.default_rng(0).integers(0, 256, (1, 32, 40, 3), dtype="uint8")
    gray = kd.ops.gray(image)
    np.testing.assert_allclose(
        model.predict(image, verbose=0), model.predict(np.asarray(gray), verbose=0), atol=1e-4
    )


def test_contract(sizes):
    head = kd.heads.Colorization(40)
    check_model(kd.zhang_colorization(heads=head, width=0.05), head, sizes=sizes)


def test_other_heads_and_bad_input():
    heads = {"color": kd.heads.Colorization(40), "labels": kd.heads.Segmentation(3)}
    model = kd.zhang_colorization(heads=heads, width=0.05)
    y = model.predict(np.zeros((1, 33, 42, 3)), verbose=0)
    assert y["color"].shape == (1, 9, 11, 40) and y["labels"].shape == (1, 33, 42, 3)
    with pytest.raises(ValueError, match="has its own backbone.*backbone='vgg16'"):
        kd.zhang_colorization("vgg16")
    with pytest.raises(ValueError, match="`input_shape` must be the shape of RGB"):
        kd.zhang_colorization(input_shape=(None, None, 1))
    with pytest.raises(ValueError, match="`width` must be a number > 0. Received: width=0"):
        kd.zhang_colorization(width=0)

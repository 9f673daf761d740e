"""SDN: what every builder promises, and what the paper says."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_dense as kd
from keras_dense.heads import Segmentation, with_intermediate
from keras_dense.testing import check_model

from .small import trained

STAGES = [f"unit{n}_{level}" for n in (1, 2, 3) for level in ("P4", "P3", "P2")][:-1]
SMALL = {"growth": 4, "widths": (8, 8, 12)}


def images(*shape):
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype="uint8")


def test_contract(backbone, sizes):
    heads = with_intermediate(Segmentation(3), STAGES[2:4])
    model = kd.stacked_deconvolutional_network(
        backbone, heads=heads, units=2, convolutions=1, **SMALL
    )
    check_model(model, heads, sizes=sizes)
    assert model.name == "stacked_deconvolutional_network"


def test_scores_are_added_up_over_the_units(backbone):
    """With the last unit's scores at 0, the prediction is that of the unit before."""
    heads = with_intermediate(Segmentation(3), STAGES[:5])
    model = kd.stacked_deconvolutional_network(
        backbone, heads=heads, units=2, convolutions=1, **SMALL
    )
    assert list(model.output) == ["segmentation", *STAGES[:5]]
    layer = model.get_layer("segmentation_unit2_P2_scores")
    layer.set_weights([np.zeros_like(w) for w in layer.get_weights()])
    y = {k: ops.convert_to_numpy(v) for k, v in model(images(1, 32, 48), training=False).items()}
    np.testing.assert_allclose(y["segmentation"], y["unit1_P2"], atol=1e-6)
    assert np.abs(y["unit2_P3"] - y["unit1_P3"]).max() > 1e-6


def test_units_are_shared_by_the_heads(backbone):
    one = kd.stacked_deconvolutional_network(backbone, 3, units=2, **SMALL)
    heads = {"parts": Segmentation(3), "edges": Segmentation(1)}
    two = kd.stacked_deconvolutional_network(backbone, heads=heads, units=2, **SMALL)
    assert two.output["edges"].shape[-1] == 1
    assert trained(two) - trained(one) == 2 * (9 * 8 + 1)


def test_strides_and_links(backbone):
    model = kd.stacked_deconvolutional_network(backbone, 3, units=2, upsampling="bilinear", **SMALL)
    assert kd.surgery.strides(model.get_layer("backbone"))["P5"] == 16
    # Pooled 8 beside the 8 of the first decoder; 8 beside the 12 of the first bottom.
    for name, channels in (("unit2_P3_down_concat1", 16), ("unit2_P4_down_concat1", 20)):
        assert model.get_layer(name).output.shape[-1] == channels
    # Upsampled 12 beside 4 of the backbone, and so in each unit.
    for unit in (1, 2):
        assert model.get_layer(f"unit{unit}_P3_up_concat1").output.shape[-1] == 16


@pytest.mark.slow
def test_published_widths(zero_weights):
    """DenseNet-161 to 1/16; 1024, 768 and 576 channels; 48 from each convolution and skip."""
    model = kd.stacked_deconvolutional_network(
        weights=None, heads=with_intermediate(Segmentation(21), STAGES)
    )
    backbone = model.get_layer("backbone")
    assert trained(backbone) == 26_472_000 and kd.surgery.strides(backbone)["P5"] == 16
    shapes = {x.name: x.output.shape[-1] for x in model.layers if x.name.startswith("unit")}
    for unit in (1, 2, 3):
        assert shapes[f"unit{unit}_P3_up_compress"] == 768
        assert shapes[f"unit{unit}_P2_up_compress"] == 576
        assert shapes[f"unit{unit}_P3_up_concat1"] == 1024 + 48
        assert shapes[f"unit{unit}_P2_up_concat"] == 768 + 48 + 2 * 48
    for unit in (2, 3):
        assert shapes[f"unit{unit}_P3_down_concat1"] == 576 + 768
        assert shapes[f"unit{unit}_P4_down_concat1"] == 768 + 1024
        assert shapes[f"unit{unit}_P4_down_compress"] == 1024


@pytest.mark.exhaustive
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow exports")
def test_export_with_free_sizes(backbone, tmp_path):
    import tensorflow as tf

    model = kd.stacked_deconvolutional_network(backbone, 3, units=2, convolutions=1, **SMALL)
    model.export(tmp_path / "model", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "model")
    for size in ((33, 47), (97, 131)):
        x = images(1, *size).astype("float32")
        wanted = model(x, training=False)
        np.testing.assert_allclose(loaded.serve(x), wanted, atol=1e-5)


def test_bad_input(backbone):
    build = kd.stacked_deconvolutional_network
    for setting in ("units", "growth", "convolutions"):
        with pytest.raises(ValueError, match=f"`{setting}` must be"):
            build(backbone, 3, **{setting: 0})
    with pytest.raises(
        ValueError, match="`widths` must be three values, for the strides 4, 8 and 16"
    ):
        build(backbone, 3, widths=(8, 8))
    with pytest.raises(ValueError, match="`levels` must be three"):
        build(backbone, 3, levels=("P2", "P5"))
    with pytest.raises(ValueError, match="`upsampling` must be one of"):
        build(backbone, 3, upsampling="unpool")
    with pytest.raises(ValueError, match="no feature P6 for the decoder"):
        build(backbone, 3, levels=("P2", "P3", "P6"))

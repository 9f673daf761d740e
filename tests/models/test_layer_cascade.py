"""Deep Layer Cascade: what every builder promises, and what the paper says."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_dense as kd
from keras_dense.heads import Segmentation, with_intermediate
from keras_dense.layers.cascade import Certainty, Settled, Unsure
from keras_dense.testing import check_model

STAGES = ["stage1", "stage2"]


def images(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype="uint8")


def test_contract(backbone, sizes):
    heads = with_intermediate(Segmentation(3), STAGES)
    model = kd.layer_cascade(backbone, heads=heads, filters=8)
    check_model(model, heads, sizes=sizes)
    assert model.name == "layer_cascade"


def test_single_head_is_the_last_stage_alone(backbone):
    model = kd.layer_cascade(backbone, 3, filters=8, input_shape=(33, 47, 3))
    assert model.output_shape == (None, 33, 47, 3)
    assert not any(isinstance(x, (Certainty, Settled, Unsure)) for x in model.layers)
    assert {x.name for x in model.layers if "stage" in x.name} == {
        f"stage1{part}" for part in ("", "_bn", "_relu", "_dropout", "_scores")
    }


def test_every_stage_has_stride_8_and_the_weights_of_the_backbone(backbone):
    heads = with_intermediate(Segmentation(3), STAGES)
    model = kd.layer_cascade(backbone, heads=heads, thresholds=(0.9, 0.8))
    parts = [model.get_layer(f"backbone{n}") for n in ("", "_2", "_3")]
    assert [kd.surgery.strides(part) for part in parts] == [{"P1": 2, "P2": 4, "P3": 8}, 1, 1]
    thresholds = [model.get_layer(f"segmentation_stage{n}_unsure").threshold for n in (1, 2)]
    assert thresholds == [0.9, 0.8]
    # No pixel has left: the dilated backbone.
    x, mask = images(1, 64, 72), ops.ones((1, 8, 9, 1))
    y = parts[0](x, training=False)["P3"]
    for part in parts[1:]:
        y = part([y, mask], training=False)
    wanted = kd.surgery.dilate(backbone, 8)(x, training=False)["P5"]
    wanted, y = ops.convert_to_numpy(wanted), ops.convert_to_numpy(y)
    np.testing.assert_allclose(y, wanted, atol=1e-5 * np.abs(wanted).max())


def test_predictions_hold_those_of_the_stages_before(backbone):
    heads = with_intermediate(Segmentation(3), STAGES)
    model = kd.layer_cascade(backbone, heads=heads, filters=8, thresholds=(1e-6, 2.0))
    y = model(images(1, 64, 64), training=False)
    for key in ("stage2", "segmentation"):
        np.testing.assert_array_equal(*map(ops.convert_to_numpy, (y[key], y["stage1"])))


def test_other_stages(backbone):
    """Two of them, in a network that also has an auxiliary head."""
    heads = with_intermediate(Segmentation(3), ["stage1"])
    heads["auxiliary"] = kd.heads.Auxiliary(heads["segmentation"], "P2")
    model = kd.layer_cascade(backbone, heads=heads, levels=("P4", "P5"), thresholds=0.9, filters=8)
    assert {key: y.shape[-1] for key, y in model.output.items()} == dict.fromkeys(heads, 3)


def test_mixed_precision_ends_in_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    heads = with_intermediate(Segmentation(3), STAGES)
    model = kd.layer_cascade("mobilenet", heads=heads, weights=None, filters=8)
    assert {y.dtype for y in model.output.values()} == {"float32"}


@pytest.mark.slow
def test_stages_of_inception_resnet_v2(zero_weights):
    """Cut after the blocks A, B and C (figure 2), 320, 1088 and 1536 channels wide."""
    heads = with_intermediate(Segmentation(21), STAGES)
    model = kd.layer_cascade(heads=heads, weights=None)
    parts = [model.get_layer("backbone"), model.get_layer("backbone_2")]
    assert parts[0].output["P3"].shape[-1] == 320 and kd.surgery.strides(parts[0])["P3"] == 8
    assert parts[1].output.shape[-1] == 1088
    assert model.get_layer("backbone_3").output.shape[-1] == 1536


@pytest.mark.exhaustive
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow exports")
def test_export_with_free_sizes(backbone, tmp_path):
    import tensorflow as tf

    model = kd.layer_cascade(backbone, heads=with_intermediate(Segmentation(3), STAGES), filters=8)
    model.export(tmp_path / "model", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "model")
    for size in ((33, 47), (97, 131)):
        x = images(1, *size).astype("float32")
        wanted = model(x, training=False)["segmentation"]
        np.testing.assert_allclose(loaded.serve(x)["segmentation"], wanted, atol=1e-5)


def test_bad_input(backbone):
    with pytest.raises(
        ValueError, match="`thresholds` must be a number, or one number for each of the 2"
    ):
        kd.layer_cascade(backbone, 3, thresholds=(0.9, 0.9, 0.9))
    with pytest.raises(ValueError, match="`thresholds` must be a number > 0"):
        kd.layer_cascade(backbone, 3, thresholds=(0.9, 0.0))
    with pytest.raises(ValueError, match="`filters` must be"):
        kd.layer_cascade(backbone, 3, filters=0)
    heads = with_intermediate(Segmentation(3), STAGES)
    heads["edges"] = Segmentation(1)
    with pytest.raises(ValueError, match="`heads` must hold one kd.heads.Segmentation besides"):
        kd.layer_cascade(backbone, heads=heads)
    with pytest.raises(ValueError, match="no prediction 'stage3' before its final one"):
        kd.layer_cascade(backbone, heads=with_intermediate(Segmentation(3), ["stage3"]))
    with pytest.raises(ValueError, match="no feature P6 for the decoder"):
        kd.layer_cascade(backbone, 3, levels=("P4", "P5", "P6"))
    skipping = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(4, 3, 8, "same")(skipping)
    y = keras.layers.Conv2D(4, 3, 1, "same")(x)
    z = keras.layers.Add()([keras.layers.Conv2D(4, 3, 1, "same")(y), x])
    skipping = keras.Model(skipping, {"P3": x, "P4": y, "P5": z})
    with pytest.raises(ValueError, match="`levels` must be features through which all later"):
        kd.layer_cascade(skipping, heads=with_intermediate(Segmentation(3), STAGES))

"""A cascade in use beside its model, and beside a model whose maps are zeroed where pixels left."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_dense as kd
from keras_dense.heads import Segmentation, with_intermediate
from keras_dense.inference import LayerCascade

HEADS = with_intermediate(Segmentation(5), ["stage1", "stage2"])


def images(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype="uint8")


@pytest.fixture(scope="module")
def model():
    """A network that is sure in some places and not in others."""
    keras.utils.set_random_seed(0)
    backbone = kd.backbone("mobilenet", weights=None, alpha=0.25)
    model = kd.layer_cascade(backbone, heads=HEADS, filters=16, thresholds=2.0)
    rng = np.random.default_rng(0)
    for layer in model._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            shape = layer.weights[0].shape
            layer.set_weights(
                [
                    rng.uniform(0.8, 1.2, shape),
                    rng.normal(0, 0.1, shape),
                    rng.normal(0, 0.1, shape),
                    rng.uniform(0.2, 0.4, shape),
                ]
            )
    # Each stage's scores of one spread.
    x = images(2, 64, 96)
    for n in (1, 2, 3):
        scores = model.get_layer(f"segmentation_stage{n}_scores")
        y = ops.convert_to_numpy(keras.Model(model.input, scores.output)(x, training=False))
        kernel, bias = scores.get_weights()
        scores.set_weights([kernel * 2 / y.std(), bias])
    return model


@pytest.mark.everywhere
def test_no_pixel_leaves(model):
    x = images(2, 97, 131)
    cascade = LayerCascade(model, thresholds=1.5)
    result = cascade.predict(x)
    wanted = model.predict_on_batch(x)["segmentation"]
    assert np.std(wanted) > 0.5
    np.testing.assert_allclose(result.prediction, wanted, atol=1e-4)
    assert result.reached == (1.0, 1.0, 1.0) and (result.stage == 3).all()
    np.testing.assert_allclose(cascade.last.predict_on_batch(x), wanted, atol=1e-4)
    assert result.prediction.dtype == np.float32 and result.stage.shape == x.shape[:3]
    np.testing.assert_array_equal(cascade.predict_on_batch(x), result.prediction)


def test_everybody_leaves_at_once(model):
    x = images(1, 64, 72)
    result = LayerCascade(model, thresholds=(1e-6, 0.5)).predict(x)
    wanted = model.predict_on_batch(x)["stage1"]
    np.testing.assert_allclose(result.prediction, wanted, atol=1e-4)
    assert result.reached == (1.0, 0.0, 0.0)


def certainty(logits):
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return (e / e.sum(-1, keepdims=True)).max(-1)


@pytest.mark.everywhere
def test_predicts_what_the_model_was_trained_to(model):
    """The model, in whole maps with zeros where cells left, beside the cascade's lists."""
    x = images(2, 64, 96)
    names = [f"segmentation_stage{n}_scores" for n in (1, 2, 3)]
    outputs = [*(model.get_layer(name).output for name in names), model.output["segmentation"]]
    inside = keras.Model(model.input, outputs)
    sure = np.sort(certainty(ops.convert_to_numpy(inside(x, training=False)[0])).ravel())
    unsure = [model.get_layer(f"segmentation_stage{n}_unsure") for n in (1, 2)]
    try:
        # Half way between two cells, so that rounding decides nothing.
        unsure[0].threshold = float(sure[110:112].mean())
        *scores, wanted = map(ops.convert_to_numpy, inside(x, training=False))
        third = np.sort(certainty(scores[1])[certainty(scores[0]) <= unsure[0].threshold])
        unsure[1].threshold = float(third[50:52].mean())
        *scores, wanted = map(ops.convert_to_numpy, inside(x, training=False))
        result = LayerCascade(model).predict(x)
    finally:
        for layer in unsure:
            layer.threshold = 2.0
    np.testing.assert_allclose(result.prediction, wanted, atol=1e-4)
    np.testing.assert_allclose(result.reached, [1, 111 / 192, 51 / 192])
    stage = result.stage[:, ::8, ::8]
    np.testing.assert_array_equal(result.stage, stage.repeat(8, 1).repeat(8, 2))
    np.testing.assert_array_equal(stage >= 2, certainty(scores[0]) < sure[111])
    # Zeros make a difference: without them the last stage says something else.
    everywhere = ops.convert_to_numpy(model(x, training=False)["segmentation"])
    at_the_end = result.stage == 3
    assert np.abs(everywhere - wanted)[at_the_end].max() > 1e-2


def test_work_is_that_of_the_cells_that_are_left(model):
    """Later stages are called with as many rows as there are cells."""
    cascade = LayerCascade(model, (0.7, 2.0))
    seen = []
    for part in cascade._stages[1:]:

        def predict(cells, mask, part=part, run=part.predict):
            seen.append([len(x) for x in cells])
            outputs = run(cells, mask)
            assert all(len(x) == len(cells[0]) for x in outputs)
            return outputs

        part.predict = predict
    result = cascade.predict(images(1, 64, 96))
    count = round(result.reached[1] * 8 * 12)
    assert 0 < count < 96 and seen == [[count], [count]]


def test_loaded_from_its_file_and_evaluated(model, tmp_path):
    model.save(tmp_path / "model.keras")
    cascade = LayerCascade(keras.saving.load_model(tmp_path / "model.keras"))
    assert cascade.thresholds == (2.0, 2.0)
    cascade.thresholds = (0.7, 0.8)
    x, head = images(2, 40, 48), Segmentation(5)
    truth = np.zeros((2, 40, 48), "int32")
    scores = kd.training.evaluate(cascade, [(x, truth)], head)
    labels = cascade.predict(x).prediction.argmax(-1)
    assert scores["pixel_accuracy"] == pytest.approx((labels == 0).mean(), abs=1e-6)


def test_two_stages_and_binary():
    heads = with_intermediate(Segmentation(1), ["stage1"])
    backbone = kd.backbone("mobilenet", weights=None, alpha=0.25)
    model = kd.layer_cascade(backbone, heads=heads, levels=("P4", "P5"), thresholds=0.9, filters=8)
    x = images(1, 33, 47)
    result = LayerCascade(model, thresholds=2.0).predict(x)
    assert result.reached == (1.0, 1.0)
    np.testing.assert_allclose(
        result.prediction, model.predict_on_batch(x)["segmentation"], atol=1e-4
    )


def test_bad_input(model):
    backbone = kd.backbone("mobilenet", weights=None, alpha=0.25)
    with pytest.raises(
        ValueError, match="must have stages that pixels can leave. Received: 'fcn32s'"
    ):
        LayerCascade(kd.fcn32s(backbone, 3))
    with pytest.raises(
        ValueError, match="`thresholds` must be a number, or one number for each of the 2"
    ):
        LayerCascade(model, thresholds=[0.9])
    with pytest.raises(ValueError, match="`thresholds` must be a number > 0"):
        LayerCascade(model, thresholds=-1.0)
    with pytest.raises(ValueError, match=r"`images` must be \(B, H, W, C\). Received shape: \(6"):
        LayerCascade(model).predict(np.zeros((64, 64, 3)))
    with pytest.raises(TypeError, match="functional"):
        LayerCascade("model.keras")
    image = keras.Input((None, None, 8))
    halved = keras.Model(image, layers.Conv2D(8, 3, 2, "same")(image), name="halved")
    decoder = kd.decoders.layer_cascade([kd.surgery.region.masked(halved)], [0.9], level="P3")
    photo = keras.Input((None, None, 3))
    tiny = keras.Model(photo, {"P3": layers.Conv2D(8, 3, 8, "same")(photo)})
    uneven = kd.assemble(tiny, decoder, with_intermediate(Segmentation(3), ["stage1"]))
    with pytest.raises(ValueError, match="must end at maps of one stride"):
        LayerCascade(uneven)

"""A cascade in use beside its model, and beside a model whose maps are zeroed where pixels left."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_dense as kd
from keras_dense.heads import Segmentation, with_intermediate
from keras_dense.inference import LayerCascade
from keras_dense.surgery import rebuild
from keras_dense.surgery.strides import CONVOLUTIONS, POOLING

HEADS = with_intermediate(Segmentation(5), ["stage1", "stage2"])


def images(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype="uint8")


@pytest.fixture(scope="module")
def model():
    """A network that is sure in some places and not in others."""
    keras.utils.set_random_seed(0)
    trunk = kd.backbone("mobilenet", weights=None, alpha=0.25)
    model = kd.layer_cascade(trunk, heads=HEADS, filters=16)
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


def test_nobody_leaves(model):
    x = images(2, 97, 131)
    cascade = LayerCascade(model, thresholds=1.5)
    result = cascade.predict(x)
    wanted = model.predict_on_batch(x)["segmentation"]
    assert np.std(wanted) > 0.5
    np.testing.assert_allclose(result.prediction, wanted, atol=1e-4)
    assert result.reached == (1.0, 1.0, 1.0) and (result.stage == 3).all()
    assert result.prediction.dtype == np.float32 and result.stage.shape == x.shape[:3]
    np.testing.assert_array_equal(cascade.predict_on_batch(x), result.prediction)


def test_everybody_leaves_at_once(model):
    x = images(1, 64, 72)
    result = LayerCascade(model, thresholds=(1e-6, 0.5)).predict(x)
    wanted = model.predict_on_batch(x)["stage1"]
    np.testing.assert_allclose(result.prediction, wanted, atol=1e-4)
    assert result.reached == (1.0, 0.0, 0.0)


def scores_of_masked_maps(model, x, masks):
    """The scores of all stages, in maps that are zero wherever a mask of their stage is not 1."""
    trunk = model.get_layer("backbone")
    ends = {
        trunk.output[level]._keras_history.operation.name: n for n, level in ((2, "P3"), (3, "P4"))
    }
    stage = [1]  # of the operation that comes next

    def rewrite(node, copies, *args, **kwargs):
        op = node.operation
        # A classifier reads its own stage's map, whatever has been visited before.
        number = next((n for n in (1, 2, 3) if f"stage{n}" in op.name), stage[0])
        if op.name in ends:
            stage[0] = ends[op.name]
        if number > 1 and isinstance(op, (*CONVOLUTIONS, *POOLING)):
            return copies(op, args[0] * masks[number][..., None].astype("float32"))
        return None

    names = [f"segmentation_stage{n}_scores" for n in (1, 2, 3)]
    scores = keras.Model(model.input, [model.get_layer(name).output for name in names])
    fixed = keras.Input(batch_shape=x.shape)
    outputs = rebuild(scores, rewrite, inputs=fixed)(x.astype("float32"), training=False)
    return [ops.convert_to_numpy(y) for y in outputs]


def certainty(scores):
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return (e / e.sum(-1, keepdims=True)).max(-1)


def test_beside_maps_with_zeros_where_pixels_left(model):
    x = images(2, 64, 96)
    first = keras.Model(model.input, model.get_layer("segmentation_stage1_scores").output)
    sure = np.sort(certainty(ops.convert_to_numpy(first(x, training=False))).ravel())
    thresholds = (float(sure[110:112].mean()), 0.7)
    result = LayerCascade(model, thresholds).predict(x)
    stage = result.stage[:, ::8, ::8]
    masks = {n: stage >= n for n in (1, 2, 3)}
    scores = scores_of_masked_maps(model, x, masks)

    assert masks[2].sum() == 111 and 20 < masks[3].sum() < 100
    np.testing.assert_array_equal(masks[2], certainty(scores[0]) <= thresholds[0])
    np.testing.assert_array_equal(masks[3], masks[2] & (certainty(scores[1]) <= thresholds[1]))
    np.testing.assert_allclose(result.reached, [masks[n].mean() for n in (1, 2, 3)])
    np.testing.assert_array_equal(result.stage, stage.repeat(8, 1).repeat(8, 2))
    left = np.choose(stage[..., None] - 1, scores)
    wanted = ops.convert_to_numpy(kd.layers.BilinearUpsampling(8)(left))
    np.testing.assert_allclose(result.prediction, wanted, atol=1e-4)


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
    assert cascade.thresholds == (0.985, 0.985)
    x, head = images(2, 40, 48), Segmentation(5)
    truth = np.zeros((2, 40, 48), "int32")
    scores = kd.training.evaluate(cascade, [(x, truth)], head)
    labels = cascade.predict(x).prediction.argmax(-1)
    assert scores["pixel_accuracy"] == pytest.approx((labels == 0).mean(), abs=1e-6)


def test_two_stages_and_binary():
    heads = with_intermediate(Segmentation(1), ["stage1"])
    trunk = kd.backbone("mobilenet", weights=None, alpha=0.25)
    model = kd.layer_cascade(trunk, heads=heads, levels=("P4", "P5"), thresholds=0.9, filters=8)
    x = images(1, 33, 47)
    result = LayerCascade(model, thresholds=2.0).predict(x)
    assert result.reached == (1.0, 1.0)
    np.testing.assert_allclose(
        result.prediction, model.predict_on_batch(x)["segmentation"], atol=1e-4
    )


def test_bad_input(model):
    trunk = kd.backbone("mobilenet", weights=None, alpha=0.25)
    with pytest.raises(ValueError, match="'fcn32s' has no stages that pixels could leave"):
        LayerCascade(kd.fcn32s(trunk, 3))
    with pytest.raises(ValueError, match="`thresholds` must be a number, or one for each of the 2"):
        LayerCascade(model, thresholds=[0.9])
    with pytest.raises(ValueError, match="`thresholds` must be a probability above 0"):
        LayerCascade(model, thresholds=-1.0)
    with pytest.raises(ValueError, match=r"`images` must be \(B, H, W, C\). Received shape: \(6"):
        LayerCascade(model).predict(np.zeros((64, 64, 3)))
    with pytest.raises(TypeError, match="functional"):
        LayerCascade("model.keras")
    uneven = kd.assemble(
        trunk,
        kd.decoders.layer_cascade(thresholds=(0.9, 0.9)),
        with_intermediate(Segmentation(3), ["stage1", "stage2"]),
    )
    with pytest.raises(ValueError, match="must end at maps of one stride"):
        LayerCascade(uneven)

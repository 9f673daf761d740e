import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_dense as kd
from keras_dense.heads import Depth, Segmentation, drawing
from keras_dense.testing import check_layer, check_model
from keras_dense.training import Preview

SIGMOID = 1 / (1 + np.exp(-np.array([-3.0, 0.0, 2.0])))
SCORES = np.array([-3.0, 0.0, 2.0], "float32").reshape(1, 1, 3, 1)
DEPTHS = {
    "range_sigmoid": 0.5 + 7.5 * SIGMOID,
    "log_sigmoid": 0.5 * 16**SIGMOID,
    "disparity": 1 / (1 / 8 + (2 - 1 / 8) * SIGMOID),
    "exp": 0.5 + np.exp([-3.0, 0.0, 2.0]),
    "softplus": 0.5 + np.log1p(np.exp([-3.0, 0.0, 2.0])),
}


@pytest.mark.parametrize("activation", DEPTHS)
def test_activations(activation):
    layer = kd.layers.DepthActivation(activation, min_depth=0.5, max_depth=8.0)
    found = ops.convert_to_numpy(layer(SCORES)).ravel()
    np.testing.assert_allclose(found, DEPTHS[activation], rtol=1e-6)
    far = np.array([-1e30, -100.0, 100.0, 1e30], "float32").reshape(1, 2, 2, 1)
    for x in (far, ops.cast(far, "bfloat16")):
        meters = ops.convert_to_numpy(layer(x))
        assert meters.dtype == np.float32 and np.isfinite(meters).all()
        assert meters.min() >= 0.5 * (1 - 1e-6)
        if activation not in ("exp", "softplus"):
            assert meters.max() <= 8.0 * (1 + 1e-6)
    check_layer(layer, (2, 5, 7, 1))


def test_encode_and_decode():
    head = Depth(0.5, 8.0)
    meters = np.array([[0.4, 0.5, 3.0], [8.0, 8.1, np.nan]])
    for form in (meters, meters[..., None]):
        target = head.encode({"image": None, "depth": form})
        assert target.shape == (2, 3, 1) and target.dtype == np.float32
        np.testing.assert_array_equal(target[..., 0], [[0, 0.5, 3], [8, 0, 0]])
    decoded = ops.convert_to_numpy(head.decode(ops.convert_to_tensor([[[[9.5]], [[2.0]]]])))
    assert decoded.shape == (1, 2, 1, 1) and decoded.ravel().tolist() == [8.0, 2.0]


def test_photos():
    head = Depth(max_depth=10.0)
    meters = np.array([[0.2, 0.5, 10.0, 0.0, np.nan]], "float32")[..., None]
    drawn = head.draw(meters)
    assert drawn.shape == (1, 5, 3) and drawn.dtype == np.uint8
    np.testing.assert_array_equal(drawn[0, :3], drawing.magma(np.array([1.0, 1.0, 0.0])))
    np.testing.assert_array_equal(drawn[0, 3:], drawing.hatch(1, 5)[0, 3:])
    np.testing.assert_array_equal(drawn, kd.plot.depth(meters, low=0.5, high=10.0))
    # The scale does not depend on the image.
    np.testing.assert_array_equal(head.draw(meters[:, 1:2]), drawn[:, 1:2])
    legend = head.legend()
    assert [legend[0][0], legend[-1][0]] == ["0.5 m", "10 m"]
    assert legend[0][1] == tuple(drawn[0, 1].tolist())

    truth = np.array([[2.0, 2.0, 2.0, 2.0, 0.0]], "float32")[..., None]
    guess = np.array([[2.0, 2.5, 0.1, np.nan, 5.0]], "float32")[..., None]
    error = head.error(truth, guess, np.zeros((1, 5, 3), "uint8"))
    np.testing.assert_array_equal(error[0, :4], drawing.magma(np.array([0.0, 0.5, 1.0, 1.0])))
    np.testing.assert_array_equal(error[0, 4], drawing.hatch(1, 5)[0, 4])


def test_errors_of_labels():
    image = np.full((1, 3, 3), 100, "uint8")
    error = Segmentation(3).error(np.array([[1, 2, 255]]), np.array([[1, 0, 0]]), image)
    wanted = kd.plot.error_map([[1, 2, 255]], [[1, 0, 0]], image=image)
    np.testing.assert_array_equal(error, wanted)
    multi = Segmentation(2, mode="multilabel")
    truth = np.array([[[1, 255], [0, 255], [255, 255]]])
    error = multi.error(truth, np.array([[[1, 1], [1, 0], [0, 0]]]), image)
    np.testing.assert_array_equal(error, wanted)
    none = Segmentation(3, ignore_class=None).error(np.array([[1, 0, 2]]), np.array([[1, 2, 2]]))
    right, wrong = drawing.RIGHT, drawing.WRONG
    np.testing.assert_array_equal(none, [[right, wrong, right]])


def test_contract_of_a_model(backbone):
    heads = {"depth": Depth(), "labels": Segmentation(3)}
    # Random predictions near 5 m, targets of 2 m.
    check_model(kd.fcn32s(backbone, heads=heads), heads, sizes=((64, 64), (65, 97)))


def test_mixed_precision(backbone):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = kd.fcn32s(backbone, heads=Depth())
    model.compile("sgd", **kd.objectives(Depth()))
    image = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), "uint8")
    logs = model.train_on_batch(image, np.full((1, 32, 32, 1), 2.0), return_dict=True)
    assert model.output.dtype == "float32" and np.isfinite(list(logs.values())).all()


@pytest.mark.everywhere
@pytest.mark.parametrize("activation", DEPTHS)
def test_every_activation_learns_in_fit(activation):
    """A single 1×1 convolution reads depth off the brightness."""
    rng = np.random.default_rng(0)
    image = rng.uniform(-1, 1, (8, 16, 16, 1)).astype("float32")
    head = Depth(0.5, 8.0, activation=activation)
    truth = 2.0 + image
    truth[:, :4] = np.nan
    scores = layers.Conv2D(1, 1)
    inputs = keras.Input((None, None, 1))
    model = keras.Model(inputs, head.finish(scores(inputs), "depth"))
    model.compile(keras.optimizers.Adam(0.1), **kd.objectives(head))
    history = model.fit(image, truth, batch_size=8, epochs=60, verbose=0).history
    assert history["abs_rel"][-1] < 0.1 and history["delta1"][-1] > 0.9


def test_preview(tmp_path):
    pytest.importorskip("PIL")
    rng = np.random.default_rng(0)
    samples = [
        {
            "image": rng.integers(0, 256, (6, 8, 3), "uint8"),
            "depth": rng.uniform(0, 5, (6, 8, 1)).astype("float32"),
        }
        for _ in range(3)
    ]
    image = keras.Input((None, None, 3))
    heads = {"depth": Depth(), "coarse": kd.heads.Auxiliary(Depth())}
    outputs = {key: layers.Conv2D(1, 1, activation="softplus")(image) for key in heads}
    preview = Preview(samples, tmp_path, heads, count=2)
    drawn = preview.drawing(keras.Model(image, outputs))
    assert drawn.shape == (4 * 6 + 3 * 4, 4 * 8, 3)
    np.testing.assert_array_equal(drawn[:6, 8:16], Depth().draw(Depth().encode(samples[1])))


def test_config_round_trip():
    head = Depth(0.5, 80.0, activation="exp", loss=kd.losses.BerHu(), weight=0.5, target="far")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(head))
    assert again.get_config() == head.get_config()
    assert isinstance(again.loss, kd.losses.BerHu)
    assert isinstance(Depth().loss, kd.losses.ScaleInvariantLog)


def test_bad_arguments():
    for low, high in ((0.0, 10.0), (5.0, 5.0), (-1.0, 2.0), (1.0, np.inf), ("a", 2.0)):
        with pytest.raises(ValueError, match="`m.._depth` must be a number > "):
            Depth(low, high)
    with pytest.raises(ValueError, match="`activation` must be one of"):
        Depth(activation="linear")
    with pytest.raises(KeyError, match="has no 'depth'.*'image'"):
        Depth().encode({"image": 0})
    with pytest.raises(ValueError, match="must be depth of shape"):
        Depth().encode({"depth": np.zeros((3, 4, 3))})

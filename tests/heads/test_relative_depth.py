"""The head of relative inverse depth."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_dense as kd
from keras_dense.heads import RelativeDepth, drawing
from keras_dense.testing import check_model


def test_encode():
    head = RelativeDepth(0.5, 8.0)
    meters = np.array([[0.4, 0.5, 4.0], [8.0, 8.1, np.nan]])
    for form in (meters, meters[..., None]):
        target = head.encode({"image": None, "depth": form})
        assert target.shape == (2, 3, 1) and target.dtype == np.float32
        np.testing.assert_array_equal(target[..., 0], [[np.nan, 2, 0.25], [0.125, np.nan, np.nan]])
    assert np.isnan(head.unknown((2, 3))).all() and head.unknown((2, 3)).shape == (2, 3, 1)


def test_a_prediction_is_used_as_it_comes():
    head = RelativeDepth(activation="relu")
    prediction = np.array([0.0, 3.0, 700.0], "float32").reshape(1, 1, 3, 1)
    (name, found), ((about, facts),) = *head.outputs(prediction, None).items(), head.about().items()
    assert name == about == "relative_depth" and facts["unit"] == "relative"
    np.testing.assert_array_equal(found, prediction)
    stored = head.stored(prediction[0])
    assert stored.array.dtype == np.float32 and stored.array.tolist() == [[0.0, 3.0, 700.0]]


def test_drawings():
    head = RelativeDepth()
    result = np.linspace(5, 6, 101)[None, :, None]
    drawn = head.draw(result)
    assert drawn.shape == (1, 101, 3) and drawn.dtype == np.uint8
    far, near = drawing.magma(np.array([0.0, 1.0]))
    np.testing.assert_array_equal(drawn[0, :2], [far, far])
    np.testing.assert_array_equal(drawn[0, -2:], [near, near])
    # Any scale and shift are drawn alike, and 0 is a number like others.
    np.testing.assert_array_equal(head.draw(100 * (result - 5)), drawn)
    assert [tuple(near.tolist()), tuple(far.tolist())] == [color for _, color in head.legend()]
    unknown = np.full((9, 9, 1), np.nan)
    np.testing.assert_array_equal(head.draw(unknown), drawing.hatch(9, 9))
    flat = head.draw(np.ones((2, 2, 1)))
    assert (flat == far).all()


def test_errors_after_alignment():
    head, t = RelativeDepth(), np.array([[0.5, 0.25, 0.125, np.nan]])[..., None]
    right = head.error(t, 8 * t + 3)
    np.testing.assert_array_equal(right[0, :3], drawing.magma(np.zeros(3)))
    np.testing.assert_array_equal(right[0, 3], drawing.hatch(1, 4)[0, 3])
    assert (head.error(np.full((1, 4, 1), np.nan), t) == drawing.hatch(1, 4)).all()
    wrong = head.error(t, np.array([[1.0, 5.0, 2.0, 0.0]])[..., None])
    assert wrong[0, :3].astype(int).sum() > right[0, :3].astype(int).sum()


def test_contract_of_a_model(backbone):
    heads = {"relative": RelativeDepth(), "labels": kd.heads.Segmentation(3)}
    # Not an FCN, whose scores start with zeros.
    model = kd.assemble(backbone, lambda features: features["P5"], heads)
    check_model(model, heads, sizes=((65, 97),))


@pytest.mark.everywhere
@pytest.mark.parametrize(
    "activation", ["softplus", pytest.param("linear", marks=pytest.mark.exhaustive)]
)
def test_learns_in_fit(activation):
    """A single 1×1 convolution reads inverse depth off the brightness."""
    image = np.random.default_rng(0).uniform(0, 1, (8, 16, 16, 1)).astype("float32")
    head = RelativeDepth(0.5, 8.0, activation=activation)
    meters = 1 / (0.2 + image)
    meters[:, :4] = 0
    scores = layers.Conv2D(1, 1, kernel_initializer=keras.initializers.Constant(-0.1))
    inputs = keras.Input((None, None, 1))
    model = keras.Model(inputs, head.finish(scores(inputs), "depth"))
    model.compile(keras.optimizers.Adam(0.1), **kd.objectives(head))
    targets = np.stack([head.encode({"depth": x}) for x in meters])
    history = model.fit(image, targets, batch_size=8, epochs=60, verbose=0).history
    assert history["abs_rel"][-1] < 0.1 and history["delta1"][-1] > 0.9


def test_activations():
    x = ops.convert_to_tensor(np.array([-1.0, 2.0], "float32").reshape(1, 1, 2, 1))
    wanted = {"relu": [0, 2], "linear": [-1, 2], "softplus": np.log1p(np.exp([-1.0, 2.0]))}
    for activation, values in wanted.items():
        y = RelativeDepth(activation=activation).finish(ops.cast(x, "bfloat16"), "y")
        assert keras.backend.standardize_dtype(y.dtype) == "float32"
        np.testing.assert_allclose(ops.convert_to_numpy(y).ravel(), values, rtol=1e-6)


def test_config_round_trip():
    head = RelativeDepth(
        0.5, 80.0, activation="relu", loss=kd.losses.DepthL1(), weight=0.5, target="far"
    )
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(head))
    assert again.get_config() == head.get_config()
    assert isinstance(again.loss, kd.losses.DepthL1)
    assert isinstance(RelativeDepth().loss, kd.losses.ScaleAndShiftInvariant)


def test_bad_arguments():
    with pytest.raises(ValueError, match="`m.._depth` must be a number > "):
        RelativeDepth(5.0, 5.0)
    with pytest.raises(
        ValueError, match="`activation` must be one of 'softplus', 'relu', 'linear'"
    ):
        RelativeDepth(activation="disparity")
    with pytest.raises(ValueError, match="must be depth of shape"):
        RelativeDepth().encode({"depth": np.zeros((3, 4, 3))})
    with pytest.raises(KeyError, match="has no 'depth'.*'image'"):
        RelativeDepth().encode({"image": 0})

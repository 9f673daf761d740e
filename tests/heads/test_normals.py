import keras
import numpy as np
import pytest

import keras_dense as kd
from keras_dense.heads import Normals
from keras_dense.heads.drawing import magma
from keras_dense.layers import UnitNormals
from keras_dense.testing import check_layer


def array(x):
    return keras.ops.convert_to_numpy(x)


@pytest.fixture
def normals():
    """(H, W, 3), some unknown, all kinds of directions."""
    n = np.random.default_rng(0).normal(size=(6, 9, 3)).astype("float32")
    n /= np.linalg.norm(n, axis=-1, keepdims=True)
    n[0, :3] = 0
    return n


@pytest.mark.parametrize("frame", kd.ops.FRAMES)
def test_a_frame_changes_numbers_and_nothing_seen(frame, normals):
    head, plain = Normals(frame), Normals()
    target = head.encode({"image": 0, "normals": normals})
    assert target.dtype == np.float32 and target.shape == normals.shape
    np.testing.assert_allclose(target, kd.ops.convert_normals(normals, "opencv", frame), atol=1e-7)
    np.testing.assert_array_equal(head.draw(target), plain.draw(normals))
    scores = keras.Input((None, None, 3))
    ahead = array(keras.Model(scores, head.finish(scores, "n"))(np.zeros((1, 1, 1, 3))))
    np.testing.assert_array_equal(head.draw(ahead[0]), [[[128, 128, 255]]])
    other = np.roll(normals, 1, axis=1)
    drawing = head.error(target, head.encode({"normals": other}))
    np.testing.assert_array_equal(drawing, plain.error(normals, other))


def test_draw(normals):
    head = Normals()
    drawing = head.draw(normals)
    assert drawing.dtype == np.uint8 and drawing.shape == (6, 9, 3)
    np.testing.assert_array_equal(drawing[0, :3], kd.plot.hatch(6, 9)[0, :3])
    np.testing.assert_array_equal(drawing, kd.plot.normals(normals))
    assert head.draw(np.full((1, 1, 3), np.nan)).tolist() == [[[120, 120, 120]]]
    # To the left, up and towards the camera.
    assert head.draw(np.array([[[-1.0, 0, 0], [0, -1, 0]]])).tolist() == [
        [[0, 128, 128], [128, 255, 128]]
    ]


def test_error():
    truth = np.tile(np.float32([0, 0, -1]), (1, 6, 1))
    truth[0, 5] = 0
    angle = np.radians([0, 6, 15, 30, 180, 20])
    prediction = np.stack([np.sin(angle), 0 * angle, -np.cos(angle)], -1)[None]
    drawing = Normals().error(truth, prediction)
    assert drawing.dtype == np.uint8
    shares = np.array([0, 6, 15, 30, 45]) / 45
    np.testing.assert_allclose(drawing[0, :5].astype(int), magma(shares), atol=1)
    np.testing.assert_array_equal(drawing[0, 5], kd.plot.hatch(1, 6)[0, 5])


@pytest.mark.everywhere
@pytest.mark.parametrize("concentration", [False, True])
def test_any_builder_predicts_and_learns_unit_normals(backbone, concentration):
    head = Normals(concentration=concentration)
    model = kd.fcn8s(backbone, heads={"normals": head})
    assert model.output["normals"].shape[-1] == head.channels == 3 + concentration
    ds = kd.datasets.scenes(count=2, size=(40, 56))
    batches = kd.datasets.Loader(ds, {"normals": head}, 2)
    images, targets = batches[0]
    # FCN begins with scores of 0: all is a wall straight ahead.
    start = model.predict(images, verbose=0)["normals"]
    np.testing.assert_array_equal(start[..., :3], np.broadcast_to([0, 0, -1.0], (2, 40, 56, 3)))
    model.compile(keras.optimizers.Adam(1e-2), **kd.objectives({"normals": head}))
    first = model.evaluate(images, targets, verbose=0, return_dict=True)
    known = np.linalg.norm(targets["normals"], axis=-1) > 0.5
    wanted = np.degrees(np.arccos(-targets["normals"][known][:, 2].astype(float)))
    names = {key.removeprefix("normals_"): value for key, value in first.items()}
    assert names["mean"] == pytest.approx(wanted.mean(), rel=1e-5)
    assert names["median"] == pytest.approx(np.median(wanted), abs=0.006)
    assert names["within_11.25"] == pytest.approx((wanted < 11.25).mean(), rel=1e-5)
    model.fit(images, targets, epochs=8, verbose=0)
    last = model.evaluate(images, targets, verbose=0, return_dict=True)
    assert last["loss"] < first["loss"] - 0.02
    found = model.predict(images, verbose=0)["normals"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found[..., :3], axis=-1), 1, atol=1e-5)
    product = kd.decoded(model, {"normals": head}).predict(images, verbose=0)["normals"]
    assert product.shape == (2, 40, 56, 3)
    np.testing.assert_allclose(product, found[..., :3], atol=1e-6)
    assert head.draw(product[0]).shape == (40, 56, 3)


def test_a_model_and_what_people_use_are_saved(backbone, tmp_path):
    heads = {"n": Normals("opengl", concentration=True)}
    model = kd.fcn32s(backbone, heads=heads)
    model.compile("sgd", **kd.objectives(heads))
    image = np.random.default_rng(0).integers(0, 256, (1, 40, 56, 3)).astype("uint8")
    for i, each in enumerate((model, kd.decoded(model, heads))):
        path = tmp_path / f"{i}.keras"
        each.save(path)
        again = keras.saving.load_model(path)
        np.testing.assert_allclose(
            again.predict(image, verbose=0)["n"], each.predict(image, verbose=0)["n"], atol=1e-6
        )
        np.testing.assert_allclose(each.predict(image, verbose=0)["n"][..., 2], 1)


def test_mixed_precision(backbone):
    keras.config.set_dtype_policy("mixed_bfloat16")
    x = keras.Input((None, None, 3))
    out = Normals().finish(keras.layers.Conv2D(3, 1)(x), "n")
    values = keras.Model(x, out).predict(
        np.random.default_rng(0).normal(size=(1, 5, 6, 3)), verbose=0
    )
    assert values.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(values, axis=-1), 1, atol=1e-6)


def test_uncertainty():
    head = Normals(concentration=True)
    prediction = np.zeros((1, 1, 2, 4), "float32")
    prediction[..., 3] = 0, 10
    found = array(head.uncertainty(prediction))
    np.testing.assert_allclose(found[0, 0, :, 0], [90, np.degrees(20 / 101)], rtol=1e-4)
    with pytest.raises(ValueError, match="must be True for an uncertainty"):
        Normals().uncertainty(prediction)


@pytest.mark.everywhere
@pytest.mark.parametrize("concentration", [False, True])
def test_layer(concentration):
    layer = UnitNormals(ahead=(0, -1, 0), concentration=concentration)
    channels = 3 + concentration
    x = np.random.default_rng(0).normal(size=(2, 5, 7, channels)).astype("float32")
    check_layer(layer, x)
    found = array(layer(x))
    shifted = x[..., :3].astype(float) + [0, -1, 0]
    unit = shifted / np.linalg.norm(shifted, axis=-1, keepdims=True)
    np.testing.assert_allclose(found[..., :3], unit, atol=1e-6)
    if concentration:
        y = x[..., 3].astype(float)
        kappa = np.where(y > 0, y, np.expm1(y)) + 1.01
        np.testing.assert_allclose(found[..., 3], kappa, rtol=1e-5)
        assert array(layer(x * 0 - 1e4))[..., 3].min() >= 0.0099


def test_config_round_trip():
    head = Normals(
        "eigen", concentration=True, loss=kd.losses.VonMisesFisher(), weight=2, target="n"
    )
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(head))
    assert again.get_config() == head.get_config()
    assert isinstance(again.loss, kd.losses.VonMisesFisher) and again.frame == "eigen"
    assert isinstance(Normals().loss, kd.losses.NormalsCosine)
    assert isinstance(Normals(concentration=True).loss, kd.losses.AngularVonMisesFisher)


def test_bad_arguments(normals):
    with pytest.raises(ValueError, match="`frame` must be one of.*'opengl'.*frame='blender'"):
        Normals("blender")
    with pytest.raises(KeyError, match="has no 'normals'.*'image', 'depth'"):
        Normals().encode({"image": 0, "depth": 0})
    with pytest.raises(ValueError, match=r"'normals' must have shape \(height, width, 3\)"):
        Normals().encode({"normals": normals[..., 0]})
    with pytest.raises(ValueError, match="must have 3 channels"):
        UnitNormals()(np.zeros((1, 2, 2, 4)))

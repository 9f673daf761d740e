"""A model carries its heads, and all functions that take heads find them there."""

import contextlib
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

import keras_dense as kd

HEADS = {
    "parts": kd.heads.Segmentation(3, class_names=["sky", "road", "car"], ignore_class=9),
    "depth": kd.heads.Depth(0.5, 20.0, activation="disparity", loss=kd.losses.BerHu()),
    "help": kd.heads.Auxiliary(kd.heads.Segmentation(3), "P1", filters=4),
}


def network(heads, **options):
    image = keras.Input((None, None, 3))
    x = layers.Rescaling(1 / 128, -1)(image)
    x = layers.Conv2D(4, 3, strides=2, padding="same", name="conv")(x)
    backbone = keras.Model(image, {"P1": x}, name="backbone")
    return kd.assemble(backbone, lambda features: features["P1"], heads, **options)


def images(*size):
    return np.random.default_rng(0).integers(0, 256, (1, *size, 3), dtype="uint8")


@contextlib.contextmanager
def policy(name):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    yield
    keras.config.set_dtype_policy(before)


def same(model, heads=HEADS):
    found = kd.heads.of(model)
    assert set(found) == set(heads)  # Keras sorts the outputs of a file.
    for key, head in heads.items():
        assert type(found[key]) is type(head)
        assert json.dumps(found[key].get_config()) == json.dumps(head.get_config())
    return True


def test_heads_survive_files_clones_and_weights(tmp_path):
    model = network(HEADS)
    assert same(model)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert same(loaded)
    clone = keras.models.clone_model(model)
    assert same(clone)
    model.save_weights(tmp_path / "m.weights.h5")
    clone.load_weights(tmp_path / "m.weights.h5")
    x = images(9, 7)
    for other in (loaded, clone):
        for key, y in model.predict_on_batch(x).items():
            np.testing.assert_allclose(other.predict_on_batch(x)[key], y, atol=1e-5)


def test_heads_survive_surgery_precision_and_training_models():
    with policy("mixed_bfloat16"):
        mixed = network(HEADS)
    assert same(mixed)
    assert {y.dtype for y in mixed.predict_on_batch(images(8, 8)).values()} == {np.dtype("float32")}
    model = network(HEADS)
    assert same(kd.surgery.fold_batch_norm(model)) and same(kd.surgery.rebuild(model))
    assert same(kd.training.balanced(model, kd.training.UncertaintyWeighting()))
    assert same(kd.training.on_sampled_pixels(model))
    assert same(kd.with_crf(model, "parts", iterations=1))
    single = kd.with_crf(network(kd.heads.Segmentation(3)), iterations=1)
    assert kd.heads.of(single).channels == 3
    image = keras.Input((None, None, 3))
    assert same(keras.Model(image, model(image)))  # A model as a layer of another one.


@pytest.mark.once
def test_heads_are_read_in_a_fresh_process(tmp_path):
    network(HEADS).save(tmp_path / "m.keras")
    script = (
        "import sys, keras, keras_dense as kd; m = keras.saving.load_model(sys.argv[1]); "
        "print(kd.heads.of(m)['parts'].class_names, list(kd.decoded(m).output))"
    )
    found = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "m.keras"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert found.stdout.strip().splitlines()[-1] == "['sky', 'road', 'car'] ['parts', 'depth']"


def test_a_model_is_enough_for_all_who_take_heads(tmp_path):
    model, x = network(HEADS), images(40, 48)
    settings = kd.objectives(model)
    assert set(settings["loss"]) == set(HEADS)
    model.compile("sgd", **settings)
    rng = np.random.default_rng(0)
    data = [
        {
            "image": x[0],
            "segmentation": rng.integers(0, 3, (40, 48)),
            "depth": rng.uniform(1, 9, (40, 48, 1)).astype("float32"),
        }
    ]
    loader = kd.datasets.Loader(data, model, 1)
    model.fit(loader, verbose=0)
    for found, given in (
        (kd.decoded(model), kd.decoded(model, HEADS)),
        (kd.decoded(keras.models.clone_model(model)), kd.decoded(model, HEADS)),
    ):
        assert found.output_shape == given.output_shape
    tiles = kd.inference.predict_tiled(model, x[0], tile=32, progress=False)
    assert tiles["parts"].dtype == np.uint8 and "help" not in tiles
    np.testing.assert_array_equal(
        tiles["parts"],
        kd.inference.predict_tiled(model, x[0], HEADS, tile=32, progress=False)["parts"],
    )
    several = kd.inference.predict_multiscale(model, x, scales=(1.0,))
    assert several["depth"].shape == (1, 40, 48, 1)
    assert set(kd.training.evaluate(model, loader)) == {"parts", "depth"}
    kd.testing.check_model(model, sizes=((8, 8), (9, 11)))


def test_foreign_models_are_given_heads():
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(3, 1, name="prediction")(image)
    foreign, head = keras.Model(image, x), kd.heads.Segmentation(3)
    with pytest.raises(ValueError, match="does not say which heads .*kd.heads.attach"):
        kd.heads.of(foreign)
    with pytest.raises(ValueError, match="does not say which heads"):
        kd.decoded(foreign)
    model = kd.heads.attach(foreign, head)
    assert kd.heads.of(model).channels == 3
    np.testing.assert_array_equal(
        model.predict_on_batch(images(4, 5)), foreign.predict_on_batch(images(4, 5))
    )
    assert model.layers[1] is foreign.layers[1]  # The weights are shared.
    renamed = kd.heads.attach(model, kd.heads.Segmentation(3, class_names=["a", "b", "c"]))
    assert kd.heads.of(renamed).class_names == ["a", "b", "c"]
    assert kd.decoded(keras.Sequential([image, layers.Conv2D(3, 1)]), head).output_shape == (
        None,
        None,
        None,
    )
    tiles = kd.inference.predict_tiled(foreign, images(40, 40)[0], tile=32, progress=False)
    assert tiles.shape == (40, 40, 3)  # Raw outputs: their meaning is unknown.


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        (kd.heads.Segmentation(4), "Received: Segmentation with 4 channels for an output"),
        ({"a": kd.heads.Segmentation(3)}, "structure of the model's output. Received: heads for"),
        (kd.heads.Normals(), "belongs to a head Segmentation. Received: Normals"),
    ],
)
def test_heads_that_do_not_fit(heads, message):
    model = network(kd.heads.Segmentation(3))
    for use in (
        lambda: kd.decoded(model, heads),
        lambda: kd.heads.attach(model, heads),
        lambda: kd.inference.predict_tiled(model, images(9, 9)[0], heads, progress=False),
        lambda: kd.inference.predict_multiscale(model, images(9, 9), heads),
        lambda: kd.testing.check_model(model, heads),
    ):
        with pytest.raises(ValueError, match=message):
            use()


def test_given_heads_are_compared_with_a_sequential_model():
    model = keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(3, 1)])
    for use in (kd.decoded, kd.heads.attach, kd.testing.check_model):
        with pytest.raises(ValueError, match="Received: Segmentation with 4 channels"):
            use(model, kd.heads.Segmentation(4))


def test_no_heads_at_all():
    with pytest.raises(TypeError, match="inherits from kd.heads.Head"):
        kd.heads.Heads("segmentation")
    with pytest.raises(TypeError, match="`decoder` must be a decoder"):
        kd.assemble(network(HEADS), "fpn", HEADS)
    with pytest.raises(TypeError, match="Head needs a `loss`"):
        kd.heads.Head(target="x")

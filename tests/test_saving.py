"""A model leaves: as `.keras` to the other backends, as SavedModel to TensorFlow alone."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_dense as kd

BACKEND = keras.backend.backend()
LOAD = """
import sys
import keras, numpy as np
import keras_dense  # registers the layers; no custom_objects
model = keras.saving.load_model(sys.argv[1])
assert keras.backend.backend() == sys.argv[4]
np.save(sys.argv[3], model.predict(np.load(sys.argv[2]), verbose=0))
"""
SERVE = """
import sys
import numpy as np, tensorflow as tf
served = tf.saved_model.load(sys.argv[1])
for i, shape in enumerate(eval(sys.argv[2])):
    image = np.random.default_rng(i).uniform(0, 255, shape).astype("float32")
    y = served.serve(tf.constant(image))
    np.save(f"{sys.argv[1]}.{i}.npy", y.numpy())
assert "keras_dense" not in sys.modules, "the SavedModel needs keras_dense"
"""


def model_with_random_scores():
    """A FCN-8s whose predictions are not all zero, as they are before training."""
    model = kd.fcn8s(kd.backbone("mobilenet", weights=None, alpha=0.25), 4)
    rng = np.random.default_rng(0)
    for level in ("P5", "P4", "P3"):
        layer = model.get_layer(f"score_{level}")
        layer.set_weights([rng.normal(size=w.shape) for w in layer.get_weights()])
    return model


def run(code, *arguments, backend=BACKEND):
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_keras_file_gives_the_same_numbers_elsewhere(tmp_path):
    """On each backend for the next one."""
    other = {"tensorflow": "jax", "jax": "torch", "torch": "tensorflow"}[BACKEND]
    pytest.importorskip(other)
    model = model_with_random_scores()
    image = np.random.default_rng(1).integers(0, 256, (1, 97, 131, 3), dtype="uint8")
    here = model.predict(image, verbose=0)
    assert np.ptp(here) > 1
    model.save(tmp_path / "m.keras")
    np.save(tmp_path / "x.npy", image)
    run(LOAD, tmp_path / "m.keras", tmp_path / "x.npy", tmp_path / "y.npy", other, backend=other)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), here, atol=1e-4 * np.abs(here).max())


@pytest.mark.slow
@pytest.mark.skipif(BACKEND == "torch", reason="Keras exports no SavedModel from torch")
def test_saved_model_serves_without_this_package(tmp_path):
    """From TensorFlow for any batch and size; from JAX, as far as Keras goes, for any batch."""
    pytest.importorskip("tensorflow")
    if BACKEND == "tensorflow":
        model, shapes = model_with_random_scores(), [(1, 97, 131, 3), (3, 64, 80, 3)]
    else:
        source = model_with_random_scores()
        backbone = kd.surgery.rebuild(source.get_layer("backbone"))
        model = kd.fcn8s(backbone, 4, input_shape=(97, 131, 3))
        model.set_weights(source.get_weights())
        shapes = [(1, 97, 131, 3), (3, 97, 131, 3)]
    folder = tmp_path / "served"
    model.export(folder, verbose=False)
    run(SERVE, folder, shapes)
    for i, shape in enumerate(shapes):
        image = np.random.default_rng(i).uniform(0, 255, shape).astype("float32")
        wanted = model.predict(image, verbose=0)
        np.testing.assert_allclose(
            np.load(f"{folder}.{i}.npy"), wanted, atol=1e-4 * np.abs(wanted).max()
        )

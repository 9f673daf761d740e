"""What every test gets: fixed seeds, a plain Keras configuration, real data where it lies."""

import os
import pathlib
import tempfile

# Before the first import of Keras: its configuration file must not decide what is tested.
os.environ.setdefault("KERAS_HOME", tempfile.mkdtemp(prefix="keras_dense_"))
os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _fixed_state(request):
    """Seeds the three sources of randomness, and forgets the models of the test before."""
    import keras

    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")
    keras.config.set_image_data_format("channels_last")
    keras.utils.clear_session(free_memory=False)
    if keras.backend.backend() == "jax" and request.node.get_closest_marker("slow"):
        # Whole networks that were compiled; JAX keeps them, gigabytes in the end.
        import gc

        import jax

        jax.clear_caches()
        gc.collect()


@pytest.fixture
def trunk():
    """A small one for tests that need any: five strided blocks, each with a sum."""
    import keras
    from keras import layers

    import keras_dense as kd

    x = image = keras.Input((None, None, 3))
    for n in range(1, 6):
        x = layers.Conv2D(8, 3, strides=2, padding="same", name=f"conv_{n}")(x)
        y = layers.Conv2D(8, 3, padding="same", name=f"branch_{n}")(layers.ReLU()(x))
        x = layers.Add(name=f"sum_{n}")([x, y])
        x = layers.ReLU(name=f"relu_{n}")(x)
    return kd.backbone(keras.Model(image, x), preprocessing="tf")


@pytest.fixture
def zero_weights(monkeypatch):
    """Networks that are only counted: drawing a hundred million numbers takes most of a test."""
    from keras import initializers, ops

    for kind in (
        initializers.VarianceScaling,
        initializers.RandomNormal,
        initializers.RandomUniform,
        initializers.TruncatedNormal,
    ):
        monkeypatch.setattr(
            kind, "__call__", lambda self, shape, dtype=None: ops.zeros(shape, dtype)
        )


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real pictures and weights, which are not part of the project."""
    named = os.environ.get("KERAS_DENSE_DATA")
    folder = pathlib.Path(named) if named else REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(
            f"no real data in {folder} (not part of the project; KERAS_DENSE_DATA names a folder)"
        )
    return folder

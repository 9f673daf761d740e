"""What every test gets: fixed seeds, a plain Keras configuration, real data where it lies."""

import os
import pathlib
import tempfile
import zlib

# Before the first import of Keras: its configuration file must not decide what is tested.
os.environ.setdefault("KERAS_HOME", tempfile.mkdtemp(prefix="keras_dense_"))
os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest

COMPOSED = ("tests/backbones/", "tests/models/", "tests/surgery/", "keras_dense/")
REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(config, items):
    """What tests/run_backends.sh leaves out where several backends run in turn.

    What is the same on every backend has run already on the first. Slow tests (runs that are
    killed, large networks), examples in docstrings, and of what is put together from layers all but
    its contracts are shared out: each runs on one, unless it is skipped on some, as exports are.
    """
    left_out = set()
    if os.environ.get("KERAS_DENSE_TESTED"):
        left_out |= {item.nodeid for item in items if item.get_closest_marker("once")}
    turn, _, turns = os.environ.get("KERAS_DENSE_TURN", "0/1").partition("/")
    for item in items:
        everywhere = any(map(item.get_closest_marker, ("once", "skipif")))
        # By name, for not all backends have the same list.
        whose = zlib.crc32(item.nodeid.encode()) % int(turns)
        shared = item.get_closest_marker("slow") or (
            item.nodeid.startswith(COMPOSED) and "contract" not in item.name
        )
        if shared and not everywhere and whose != int(turn):
            left_out.add(item.nodeid)
    if left_out:
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in left_out])
        items[:] = [item for item in items if item.nodeid not in left_out]


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


@pytest.fixture
def compiled():
    """What makes a function of arrays quicker in tests: JAX compiles every operation otherwise."""
    import keras

    if keras.backend.backend() != "jax":
        return lambda function: function
    import jax

    return jax.jit


@pytest.fixture
def gradients():
    """See `derivatives`."""
    return derivatives()


def derivatives():
    """`gradients(function, arrays, weight, dtype="float32")`: the derivatives, on any backend, of
    sum(weight * function(*arrays)) with respect to each array, compiled where that is usual."""
    import keras
    from keras import ops

    backend = keras.backend.backend()

    def derive(function, arrays, weight, dtype="float32"):
        tensors = [ops.convert_to_tensor(a, dtype) for a in arrays]
        weight = ops.convert_to_tensor(weight, dtype)
        if backend == "tensorflow":
            import tensorflow as tf

            @tf.function
            def run(*tensors):
                with tf.GradientTape() as tape:
                    tape.watch(tensors)
                    total = tf.reduce_sum(weight * function(*tensors))
                return tape.gradient(total, tensors)

            found = run(*tensors)
        elif backend == "jax":
            import jax

            total = jax.jit(lambda *tensors: (weight * function(*tensors)).sum())
            found = jax.grad(total, argnums=tuple(range(len(tensors))))(*tensors)
        else:
            tensors = [t.detach().requires_grad_() for t in tensors]
            (weight * function(*tensors)).sum().backward()
            found = [t.grad for t in tensors]
        return [ops.convert_to_numpy(t).astype("float64") for t in found]

    return derive

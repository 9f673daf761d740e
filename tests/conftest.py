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
# How many shares of ten each backend takes of what runs on one only: they differ in what they cost.
SHARES = {"torch": 8, "tensorflow": 1, "jax": 1}


def pytest_collection_modifyitems(config, items):
    """What tests/run_backends.sh leaves out; pytest alone runs everything.

    `KERAS_DENSE_SUITE` is "quick", "rest" (marked exhaustive) or "all"; `KERAS_DENSE_BACKENDS`
    names the backends that run in turn. Tests marked `once` and examples in docstrings run on the
    first of them. Slow tests (runs that are killed, large networks) and what is put together from
    layers run on one each, most of them on the cheapest, but for contracts, which run on all;
    exhaustive tests, too, run on one each. Those that some backends skip, as exports, run on the
    others.
    """
    suite = os.environ.get("KERAS_DENSE_SUITE", "all")
    backends = os.environ.get("KERAS_DENSE_BACKENDS", "").split()
    left_out = {
        item.nodeid
        for item in items
        if suite != "all" and (suite == "rest") != bool(item.get_closest_marker("exhaustive"))
    }
    if len(backends) > 1:
        turn = [b for b in backends for _ in range(SHARES[b])]
        backend = os.environ["KERAS_BACKEND"]
        for item in items:
            # By name, for not all backends have the same list.
            whose = turn[zlib.crc32(item.nodeid.encode()) % len(turn)]
            if _runs_once(item):
                whose = backends[0]
            elif _runs_everywhere(item):
                continue
            if whose != backend:
                left_out.add(item.nodeid)
    if left_out:
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in left_out])
        items[:] = [item for item in items if item.nodeid not in left_out]


def _runs_once(item):
    marked = item.get_closest_marker("once") or isinstance(item, pytest.DoctestItem)
    return marked and not item.get_closest_marker("skipif")


def _runs_everywhere(item):
    if item.get_closest_marker("skipif") or item.get_closest_marker("everywhere"):
        return True
    if item.get_closest_marker("exhaustive"):
        return False
    composed = item.nodeid.startswith(COMPOSED) or item.get_closest_marker("slow")
    return not composed or "contract" in item.name


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
def backbone():
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
    """The folder of real photos and weights, which are not part of the project."""
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

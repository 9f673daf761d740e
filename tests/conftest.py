"""Fixtures of all tests: fixed seeds, a plain Keras configuration, the folder of real data."""

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

# Code that is the same on all backends: `keras.ops` alone, NumPy, or networks of layers that are
# tested on all of them. Each test on the first one.
COMPOSED = ("tests/backbones/", "tests/models/", "tests/surgery/")
PORTABLE = (
    *COMPOSED,
    "tests/datasets/",
    "tests/heads/",
    "tests/inference/",
    "tests/losses/",
    "tests/metrics/",
    "tests/recipes/",
    "tests/test_command",
    "tests/testing/",
    "tests/weights/",
)
REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
# How many shares of twenty each backend takes of what is exhaustive: they differ in cost.
SHARES = {"torch": 18, "tensorflow": 1, "jax": 1}


SUITE = os.environ.get("KERAS_DENSE_SUITE", "all")
BACKENDS = os.environ.get("KERAS_DENSE_BACKENDS", "").split()
# Runs on the first of several backends only.
FIRST = len(BACKENDS) < 2 or os.environ["KERAS_BACKEND"] == BACKENDS[0]


def pytest_ignore_collect(collection_path):
    """Files whose tests all run on the first backend are not even imported on the others."""
    if FIRST or collection_path.suffix != ".py":
        return None
    if (REPOSITORY / "keras_dense") in collection_path.parents:
        return True
    text = collection_path.read_text(encoding="utf-8")
    return True if "\npytestmark = pytest.mark.once\n" in text else None


def pytest_collection_modifyitems(config, items):
    """Leave out what tests/run_backends.sh does not need; pytest alone runs everything.

    `KERAS_DENSE_SUITE` is "quick", "rest" or "all"; `KERAS_DENSE_BACKENDS` names the backends that
    run in turn. CONTRIBUTING.md ("What runs where") has the rules.
    """
    suites = ("quick", "rest") if SUITE == "all" else (SUITE,)
    kept = [item for item in items if any(_runs_here(item, suite) for suite in suites)]
    if not FIRST:
        kept = _without_repeated(kept)
    names = {item.nodeid for item in kept}
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in names])
    items[:] = kept


def _runs_here(item, suite):
    """Whether a suite runs a test on this backend."""
    exhaustive = bool(item.get_closest_marker("exhaustive")) or _builds_a_backbone(item)
    if len(BACKENDS) < 2:
        return exhaustive == (suite == "rest")
    here = os.environ["KERAS_BACKEND"]
    backends = _backends(item)
    if exhaustive:
        return suite == "rest" and here in backends
    if here not in backends or FIRST:
        return suite == "quick" and here in backends
    if len(backends) < len(BACKENDS) or not _by_turns(item):
        return suite == "quick"
    # The first backend has proved it: one of the others now, the rest of them in the rest.
    # Contracts of whole networks, which take long to compile, are all there.
    network = item.nodeid.startswith(COMPOSED) and not item.get_closest_marker("everywhere")
    return (suite == "quick") == (not network and here == _drawn(item, BACKENDS[1:]))


def _builds_a_backbone(item):
    """Examples of whole networks, of up to a hundred million weights."""
    example = isinstance(item, pytest.DoctestItem)
    return example and item.nodeid.startswith("keras_dense/backbones/")


def _backends(item):
    """The backends that run a test in either suite."""
    marked = item.get_closest_marker
    if marked("skipif"):
        return BACKENDS
    first = getattr(item, "originalname", "").startswith("test_bad_")
    if first or marked("once") or isinstance(item, pytest.DoctestItem):
        return BACKENDS[:1]
    if marked("exhaustive"):
        return [_drawn(item, [b for b in BACKENDS for _ in range(SHARES[b])])]
    portable = marked("slow") or item.nodeid.startswith(PORTABLE)
    return BACKENDS[:1] if portable and not _on_all(item) else BACKENDS


def _on_all(item):
    return bool(item.get_closest_marker("everywhere")) or "contract" in item.name


def _by_turns(item):
    return _on_all(item) and not item.get_closest_marker("skipif")


def _drawn(item, backends):
    # By name, for not all backends have the same list.
    return backends[zlib.crc32(item.nodeid.encode()) % len(backends)]


def _without_repeated(items):
    """Tests of several parameters with every value of each, but not with every combination."""
    cases = {}
    for item in items:
        if len(_values(item)) > 1 and not item.get_closest_marker("skipif"):
            cases.setdefault(item.nodeid.split("[")[0], []).append(item)
    spared = {item.nodeid for each in cases.values() for item in _repeated(each)}
    return [item for item in items if item.nodeid not in spared]


def _values(item):
    """For each `parametrize` of a test, which of its values a case has."""
    found = set()
    for mark in item.iter_markers("parametrize"):
        names = mark.args[0] if mark.args else mark.kwargs["argnames"]
        names = tuple(n.strip() for n in (names.split(",") if isinstance(names, str) else names))
        # The same objects in every case, and not all can be compared.
        found.add((names, *(id(item.callspec.params[n]) for n in names)))
    return found


def _repeated(cases):
    """Cases that are not needed for every value of every parameter to occur in one."""
    backend = os.environ["KERAS_BACKEND"]  # each takes other combinations
    order = sorted(cases, key=lambda case: zlib.crc32((backend + case.nodeid).encode()))
    missing, needed = set().union(*map(_values, cases)), set()
    while missing:
        best = max(order, key=lambda case: len(missing & _values(case)))
        missing -= _values(best)
        needed.add(best.nodeid)
    return [case for case in cases if case.nodeid not in needed]


@pytest.fixture(autouse=True)
def _fixed_state(request):
    """Seeds the three sources of randomness, and forgets the models of the test before."""
    import keras
    import numpy as np

    keras.utils.set_random_seed(0)
    if isinstance(getattr(request.module, "RNG", None), np.random.Generator):
        # Shared by the tests of a file, it would depend on which of them ran before.
        request.module.RNG = np.random.default_rng(0)
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
def sizes():
    """Sizes of images to check a model with: one where each is compiled."""
    import keras

    one = keras.backend.backend() != "torch"
    return ((97, 131),) if one else ((64, 64), (97, 131))


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
    """Compilation of a function of arrays for tests: otherwise JAX compiles every operation."""
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

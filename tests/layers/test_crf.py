"""The CRF layer against exact mean field in NumPy float64, pair by pair."""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from keras_dense.layers import CRFasRNN
from keras_dense.testing import check_layer

BACKEND = keras.backend.backend()


def to_numpy(x):
    return ops.convert_to_numpy(x).astype("float64")


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def kernels(image, alpha, beta, gamma):
    """The two matrices of all pairs of pixels."""
    pixels = np.stack(np.mgrid[: image.shape[0], : image.shape[1]], -1).reshape(-1, 2)
    colors = image.reshape(-1, image.shape[-1])

    def gaussian(f):
        return np.exp(-0.5 * np.square(f[:, None] - f[None]).sum(-1))

    return gaussian(pixels / gamma), gaussian(np.concatenate([pixels / alpha, colors / beta], -1))


def exact(logits, image, layer, matrices=None, known=None):
    """Zheng et al., algorithm 1, for one image."""
    classes = logits.shape[-1]
    if matrices is None:
        matrices = 3 * np.eye(classes), 5 * np.eye(classes), -np.eye(classes)
    known = np.ones(logits.shape[:2]) if known is None else known
    known = known.reshape(-1, 1)
    normal = []
    for k in kernels(
        image.astype("float64"), *(layer.theta_alpha, layer.theta_beta, layer.theta_gamma)
    ):
        norm = k @ known
        n = {"after": 1 / norm, "before": 1 + 0 * norm, "symmetric": norm**-0.5}
        after = n.get(layer.normalization, 1 + 0 * norm)
        before = {"before": 1 / norm, "symmetric": norm**-0.5}.get(layer.normalization, 1.0)
        normal.append(known * after * k * (known * before).T)
    u = logits.reshape(-1, classes).astype("float64")
    now = u
    for _ in range(layer.iterations):
        q = softmax(now)
        heard = sum(k @ q @ w for k, w in zip(normal, matrices, strict=False))
        now = u - heard @ matrices[2]
    return now.reshape(logits.shape)


def scene(height, width, classes=4, seed=0):
    """Patches of color with noise, and bad scores for them."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    labels = ((rows // 9) * 3 + columns // 11) % classes
    image = np.array(rng.integers(40, 215, (classes, 3)))[labels] + rng.normal(
        0, 6, (height, width, 3)
    )
    logits = 1.2 * np.eye(classes)[labels] + rng.normal(0, 1, (height, width, classes))
    return logits.astype("float32"), image.clip(0, 255).astype("uint8"), labels


@pytest.mark.parametrize(
    "normalization",
    ["symmetric", *(pytest.param(n, marks=pytest.mark.once) for n in ("after", "before", None))],
)
def test_exact_kernels(normalization):
    logits, image, _ = scene(13, 17)
    layer = CRFasRNN(
        3, theta_alpha=9, theta_beta=25, theta_gamma=1.5, normalization=normalization, exact=True
    )
    if normalization is None:  # sums of so many pixels, rather than means
        layer.spatial_weight = layer.bilateral_weight = 0.02
    wanted = exact(
        logits,
        image,
        layer,
        [w * np.eye(4) for w in (layer.spatial_weight, layer.bilateral_weight, -1)],
    )
    found = to_numpy(layer(logits[None], image[None])[0])
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert np.abs(wanted - logits).max() > 1


def test_learned_matrices():
    logits, image, _ = scene(9, 7)
    rng = np.random.default_rng(5)
    matrices = rng.normal(size=(3, 4, 4))
    layer = CRFasRNN(2, theta_alpha=9, theta_beta=25, theta_gamma=1.5, exact=True)
    layer(logits[None], image[None])
    layer.set_weights(list(matrices))
    assert layer.count_params() == 3 * 4**2
    found = to_numpy(layer(logits[None], image[None])[0])
    np.testing.assert_allclose(found, exact(logits, image, layer, matrices), atol=1e-4)


@pytest.mark.parametrize("size", [(48, 40), pytest.param((60, 80), marks=pytest.mark.once)])
def test_the_lattice_is_close(size, compiled):
    """The labels of exact inference, except for one pixel in fifty."""
    logits, image, labels = scene(*size)
    layer = CRFasRNN(10, theta_alpha=40, theta_beta=13, normalization="symmetric")
    wanted = exact(logits, image, layer)
    layer.build((None, None, None, 4))
    found = to_numpy(compiled(layer)(logits[None], image[None])[0])
    same = found.argmax(-1) == wanted.argmax(-1)
    distance = np.abs(softmax(found) - softmax(wanted))
    assert same.mean() > 0.98 and distance.mean() < 0.01
    # It is worth it, too.
    right = [(x.argmax(-1) == labels).mean() for x in (logits, found)]
    assert right[0] < 0.75 and right[1] > 0.95


@pytest.mark.once
def test_pixels_that_are_not_known_take_no_part():
    logits, image, _ = scene(11, 12)
    known = np.ones((11, 12))
    known[8:] = known[:, 9:] = 0
    layer = CRFasRNN(3, theta_alpha=9, theta_beta=25, theta_gamma=1.5, exact=True)
    found = to_numpy(layer(logits[None], image[None], known[None])[0])
    cut = to_numpy(layer(logits[None, :8, :9], image[None, :8, :9])[0])
    np.testing.assert_allclose(found[:8, :9], cut, atol=1e-5)
    np.testing.assert_array_equal(found[8:], logits[8:])
    np.testing.assert_allclose(found, exact(logits, image, layer, known=known), atol=1e-4)


def test_a_batch_equals_its_images_one_by_one(compiled):
    scenes = [scene(15, 14, seed=n) for n in range(3)]
    logits, images = (np.stack(x) for x in list(zip(*scenes, strict=True))[:2])
    layer = CRFasRNN()
    layer.build((None, None, None, 4))
    run = compiled(layer)
    found = to_numpy(run(logits, images))
    for x, image, y in zip(logits, images, found, strict=True):
        np.testing.assert_allclose(to_numpy(run(x[None], image[None])[0]), y, atol=2e-5)


@pytest.mark.skipif(BACKEND == "jax", reason="JAX has float64 in a process of its own, see below")
def test_gradients(gradients):
    check_gradients(gradients)


def check_gradients(gradients):
    """Gradients of scores and all matrices, against central differences in float64."""
    logits, image, _ = scene(6, 7, 3)
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(1, 6, 7, 3))
    arrays = [logits[None].astype("float64"), *rng.normal(size=(3, 3, 3))]
    for settings in ({}, {"exact": True, "normalization": "symmetric"}):
        layer = CRFasRNN(
            3, theta_alpha=9, theta_beta=25, theta_gamma=1.5, dtype="float64", **settings
        )
        layer.build((None, None, None, 3))
        names = [w.path for w in layer.weights]

        def function(x, *matrices, layer=layer):
            y, _ = layer.stateless_call(matrices, [], x, ops.convert_to_tensor(image[None]))
            return y

        def value(*arrays, function=function):
            tensors = [ops.convert_to_tensor(a, "float64") for a in arrays]
            return float((to_numpy(function(*tensors)) * weight).sum())

        found = gradients(function, arrays, weight, "float64")
        for n, (array, gradient) in enumerate(zip(arrays, found, strict=True)):
            direction = rng.normal(size=array.shape)
            step = 1e-5
            plus, minus = (
                value(*arrays[:n], array + s * step * direction, *arrays[n + 1 :]) for s in (1, -1)
            )
            wanted = (plus - minus) / (2 * step)
            assert abs((gradient * direction).sum() - wanted) < 1e-6 * max(1, abs(wanted)), names[
                n - 1
            ]


# Quicker: the gradient of the lattice in tests/ops/test_permutohedral.py, on every backend.
@pytest.mark.exhaustive
@pytest.mark.skipif(BACKEND != "jax", reason="the other backends have float64 as they are")
def test_gradients_on_jax():
    """In a process of its own: JAX_ENABLE_X64 applies to a whole process."""
    environment = {**os.environ, "JAX_ENABLE_X64": "1", "KERAS_BACKEND": "jax"}
    code = (
        "import importlib.util as u, pathlib, sys\n"
        "def load(path):\n"
        "    spec = u.spec_from_file_location(pathlib.Path(path).stem, path)\n"
        "    module = u.module_from_spec(spec); spec.loader.exec_module(module); return module\n"
        "tests, shared = load(sys.argv[1]), load(sys.argv[2])\n"
        "tests.check_gradients(shared.derivatives())\n"
    )
    here = pathlib.Path(__file__)
    files = [str(here), str(here.parents[1] / "conftest.py")]
    done = subprocess.run(
        [sys.executable, "-c", code, *files], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]


# The lattice compiles slowly; tests/models/test_with_crf.py trains and saves it on every backend.
@pytest.mark.parametrize(
    "settings",
    [pytest.param({"iterations": 2}, marks=pytest.mark.once), {"iterations": 1, "exact": True}],
)
def test_contract(settings):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 13, 17, 3)).astype("float32")
    check_layer(CRFasRNN(**settings), logits, rng.uniform(0, 255, (2, 13, 17, 3)))


@pytest.mark.once
def test_other_iterations_after_training():
    logits, image, _ = scene(12, 10)
    layer = CRFasRNN(iterations=1)
    for n in (0, 1, 3):
        layer.iterations = n
        once = CRFasRNN.from_config({**layer.get_config(), "name": None})
        assert once.iterations == n
        found = layer(logits[None], image[None])
        np.testing.assert_allclose(to_numpy(once(logits[None], image[None])), to_numpy(found))
        assert n or (to_numpy(found)[0] == logits).all()
    for bad in (-1, 1.5, True, False):
        with pytest.raises(ValueError, match="`iterations` must be an int"):
            layer.iterations = bad


@pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow exports")
def test_export_with_free_sizes(tmp_path):
    import tensorflow as tf

    logits, image = keras.Input((None, None, 4)), keras.Input((None, None, 3), dtype="uint8")
    model = keras.Model([logits, image], CRFasRNN(3)(logits, image))
    model.export(tmp_path / "model", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "model")
    for size in ((12, 15), (7, 9)):
        x, image, _ = scene(*size)
        wanted = to_numpy(model([x[None], image[None]]))
        found = to_numpy(loaded.serve([x[None], image[None]]))
        np.testing.assert_allclose(found, wanted, atol=1e-4)


@pytest.mark.once
def test_images_of_one_color_and_of_one_row(compiled):
    for size in ((6, 8), (1, 9), (1, 1)):
        logits, image, _ = scene(*size)
        layer = CRFasRNN(2)
        wanted = exact(logits, 0 * image, layer)
        exactly = CRFasRNN(2, exact=True)
        for each in (layer, exactly):
            each.build((None, None, None, 4))
        found = to_numpy(compiled(layer)(logits[None], 0 * image[None])[0])
        assert np.isfinite(found).all()
        found = to_numpy(compiled(exactly)(logits[None], 0 * image[None])[0])
        np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_bad_input():
    for name in ("theta_alpha", "theta_beta", "theta_gamma"):
        for bad in (0, -1, float("nan"), float("inf"), "3", None):
            with pytest.raises(ValueError, match=f"`{name}` must be a number > 0"):
                CRFasRNN(**{name: bad})
    with pytest.raises(ValueError, match="`normalization` must be one of"):
        CRFasRNN(normalization="row")
    x, image, one = np.zeros((1, 4, 5, 3)), np.zeros((1, 4, 6, 3)), np.zeros((1, 4, 5, 1))
    with pytest.raises(ValueError, match="must have the same height and width"):
        CRFasRNN()(x, image)
    with pytest.raises(ValueError, match="at least 2 classes"):
        CRFasRNN()(one, x)
    with pytest.raises(ValueError, match="must be .B, H, W, channels."):
        CRFasRNN()(x, image[0])

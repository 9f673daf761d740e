"""Hypercolumns: the same function as the naive form, in less memory; perceptrons on them."""

import math

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_dense as kd
from keras_dense.layers import BilinearUpsampling, CropLike, HypercolumnMLP, PadToMultiple
from keras_dense.testing import check_model

from .small import images, run, trained

TAPS = ("P1", "sum_3", "P3", "conv_4", "P5")


def naive(backbone, classes, mlp=()):
    """Every tap upsampled to the image, all of them concatenated, then 1×1 convolutions."""
    image = keras.Input((None, None, 3))
    features = backbone(PadToMultiple(32, dtype="float32")(image))
    strides = kd.surgery.strides(backbone)
    columns = [BilinearUpsampling(strides[tap])(x) for tap, x in features.items()]
    x = layers.Concatenate()(columns)
    for n, width in enumerate(mlp):
        x = layers.Conv2D(width, 1, activation="relu", name=f"hidden_{n}")(x)
    x = layers.Conv2D(classes, 1, name="scores")(x)
    return keras.Model(image, CropLike()(x, image))


def parts_of(kernel, backbone):
    """A kernel on hypercolumns, split into kernels on the taps."""
    widths = [x.shape[-1] for x in backbone.output.values()]
    return dict(
        zip(backbone.output, np.split(kernel, np.cumsum(widths)[:-1], axis=-2), strict=True)
    )


def random_weights(model, names, seed=0):
    rng = np.random.default_rng(seed)
    for name in names:
        layer = model.get_layer(name)
        layer.set_weights([0.1 * rng.normal(size=w.shape) for w in layer.get_weights()])


def moved(slow, fast):
    """Copy the weights of the naive form into the fast one."""
    backbone = fast.get_layer("backbone")
    kernel, bias = slow.get_layer("scores").get_weights()
    for tap, part in parts_of(kernel, backbone).items():
        score = fast.get_layer(f"score_{tap}")
        score.set_weights([part, bias] if score.use_bias else [part])


@pytest.fixture
def pair(backbone):
    """The naive form and ours, with the same weights."""
    fast = kd.hypercolumn(backbone, 3, taps=TAPS)
    slow = naive(fast.get_layer("backbone"), 3)
    random_weights(slow, ["scores"])
    moved(slow, fast)
    return slow, fast


def test_same_function_as_the_naive_form(pair):
    slow, fast = pair
    assert trained(slow) == trained(fast)
    assert not any(isinstance(x, layers.Concatenate) for x in fast.layers)
    x = images(2, 65, 97)
    wanted = run(slow, x)
    np.testing.assert_allclose(run(fast, x), wanted, atol=1e-5 * np.abs(wanted).max())


def test_same_gradient_as_the_naive_form(pair):
    slow, fast = pair
    fast.get_layer("backbone").trainable = False  # Shared: the first step would move both.
    labels = np.random.default_rng(1).integers(0, 3, (2, 64, 64))
    for model in pair:
        model.compile(keras.optimizers.SGD(1.0), kd.losses.CrossEntropy())
    losses = [model.evaluate(images(2), labels, verbose=0) for model in pair]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    before = slow.get_layer("scores").get_weights()[0]
    for model in pair:
        model.train_on_batch(images(2), labels)
    after = slow.get_layer("scores").get_weights()[0]
    assert np.abs(after - before).max() > 1e-3
    for tap, part in parts_of(after, fast.get_layer("backbone")).items():
        got = fast.get_layer(f"score_{tap}").get_weights()[0]
        np.testing.assert_allclose(got, part, atol=1e-5)


def test_same_perceptron_as_the_naive_form(backbone):
    fast = kd.hypercolumn(backbone, 3, taps=TAPS, mlp=(8, 6), batch_norm=False)
    slow = naive(fast.get_layer("backbone"), 3, (8, 6))
    random_weights(slow, ["hidden_0", "hidden_1", "scores"])
    (kernel, *biases), *others = [
        slow.get_layer(name).get_weights() for name in ("hidden_0", "hidden_1", "scores")
    ]
    first = [part[0, 0] for part in parts_of(kernel, fast.get_layer("backbone")).values()]
    kernels = [kernel[0, 0] for kernel, _ in others]
    fast.get_layer("mlp").set_weights([*first, *kernels, *biases, *(bias for _, bias in others)])
    x = images(2, 65, 97)
    wanted = run(slow, x)
    np.testing.assert_allclose(run(fast, x), wanted, atol=1e-5 * np.abs(wanted).max())


# What every builder promises


@pytest.mark.parametrize(
    "mlp", [pytest.param((), marks=pytest.mark.once), (8,)], ids=["linear", "mlp"]
)
def test_contract(mlp, backbone):
    model = kd.hypercolumn(backbone, 3, mlp=mlp)
    check_model(model, kd.heads.Segmentation(3), sizes=((97, 131),))


def test_several_heads_and_an_auxiliary_one(backbone):
    heads = {
        "objects": kd.heads.Segmentation(5),
        "edges": kd.heads.Segmentation(1),
        "auxiliary": kd.heads.Auxiliary(kd.heads.Segmentation(5), level="P4"),
    }
    for mlp in ((), (8,)):
        shape = (33, 47, 3)
        model = kd.hypercolumn(backbone, heads=heads, taps=TAPS, mlp=mlp, input_shape=shape)
        assert {key: y.shape for key, y in model.output.items()} == {
            "objects": (None, 33, 47, 5),
            "edges": (None, 33, 47, 1),
            "auxiliary": (None, 33, 47, 5),
        }


def test_mixed_precision_ends_in_float32(request):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = kd.hypercolumn(request.getfixturevalue("backbone"), 3, mlp=(8,))
    model.compile("sgd", **kd.objectives(kd.heads.Segmentation(3)))
    assert np.isfinite(model.train_on_batch(images(2), np.zeros((2, 64, 64), "int32"))[0])
    y = model.predict(images(1, 65, 77), verbose=0)
    assert y.dtype == np.float32 and y.shape == (1, 65, 77, 3) and np.isfinite(y).all()


@pytest.mark.exhaustive
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow exports")
@pytest.mark.parametrize("mlp", [(), (8,)], ids=["linear", "mlp"])
def test_export_with_free_sizes(mlp, backbone, tmp_path):
    import tensorflow as tf

    model = kd.hypercolumn(backbone, 3, mlp=mlp)
    random_weights(model, [f"score_P{n}" for n in range(1, 6)] if not mlp else ["mlp"])
    model.export(tmp_path / "model", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "model")
    for size in ((33, 47), (97, 131)):
        x = images(1, *size).astype("float32")
        np.testing.assert_allclose(loaded.serve(x).numpy(), run(model, x), atol=1e-5)


# Memory


def largest(function, x):
    """Size of the largest tensor in a computation, besides its input and output."""
    if keras.backend.backend() == "torch":
        import torch
        from torch.utils._python_dispatch import TorchDispatchMode

        class Watch(TorchDispatchMode):
            size = 0

            def __torch_dispatch__(self, op, types, args=(), kwargs=None):
                out = op(*args, **(kwargs or {}))
                for y in keras.tree.flatten(out):
                    if isinstance(y, torch.Tensor):
                        self.size = max(self.size, y.numel())
                return out

        with Watch() as watch, torch.no_grad():
            function(x)
        return watch.size
    import jax
    from jax.extend.core import jaxprs_in_params

    def sizes(jaxpr):
        for equation in jaxpr.eqns:
            yield from (math.prod(y.aval.shape) for y in equation.outvars)
            for part in jaxprs_in_params(equation.params):
                yield from sizes(getattr(part, "jaxpr", part))

    return max(sizes(jax.make_jaxpr(function)(x).jaxpr))


shows_what_it_makes = pytest.mark.skipif(
    keras.backend.backend() == "tensorflow", reason="TensorFlow does not show what it makes"
)


@shows_what_it_makes
def test_memory_of_the_linear_form(backbone):
    """No more than a map of scores at full size; hypercolumns have more channels."""
    model = kd.hypercolumn(backbone, 8, taps=TAPS)
    size = largest(lambda x: model(x, training=False), ops.convert_to_tensor(images(1, 128, 96)))
    assert size <= 128 * 96 * 8
    slow = naive(model.get_layer("backbone"), 8)
    concatenated = sum(x.shape[-1] for x in model.get_layer("backbone").output.values())
    x = ops.convert_to_tensor(images(1, 128, 96))
    assert largest(lambda x: slow(x, training=False), x) >= 128 * 96 * concatenated


@shows_what_it_makes
def test_memory_of_a_perceptron_is_that_of_a_band(backbone):
    """A hidden map of the image would have 2 · 160 · 64 · 256 numbers."""
    model = kd.hypercolumn(backbone, 3, taps=("P1", "P3", "P5"), mlp=(256,))
    for height in (32, 160):
        x = ops.convert_to_tensor(images(2, height, 64))
        size = largest(lambda x: model(x, training=False), x)
        # A coarse row and its two neighbors, before they are cut away.
        assert size <= 3 * 32 * 64 * 256


# Taps


def test_any_taps(backbone):
    for taps in (("P5",), ["conv_1", "sum_4"], ("P2", "sum_2", "P1")):
        model = kd.hypercolumn(backbone, 3, taps=taps)
        assert list(model.get_layer("backbone").output) == list(taps)
        assert run(model, images(1, 33, 47)).shape == (1, 33, 47, 3)
    assert list(kd.hypercolumn(backbone, 3).get_layer("backbone").output) == list(backbone.output)


def small_vgg(include_top=True, weights=None, input_tensor=None, **kwargs):
    x = image = keras.Input((224, 224, 3)) if input_tensor is None else input_tensor
    for block in range(1, 6):
        name = f"block{block}"
        x = layers.Conv2D(4, 3, padding="same", activation="relu", name=f"{name}_conv1")(x)
        x = layers.MaxPooling2D(name=f"{name}_pool")(x)
    if include_top:
        x = layers.Flatten(name="flatten")(x)
        x = layers.Dense(16, activation="relu", name="fc1")(x)
        x = layers.Dense(12, activation="relu", name="fc2")(x)
        x = layers.Dense(3, activation="softmax", name="predictions")(x)
    return keras.Model(keras.utils.get_source_inputs(image)[0], x, name="vgg16")


@pytest.mark.parametrize("channels", [3, 4])
def test_fully_connected_layers_of_vgg(monkeypatch, channels):
    monkeypatch.setattr(keras.applications, "VGG16", small_vgg)
    shape, taps = (None, None, channels), ("block1_conv1", "P3", "fc2")
    model = kd.hypercolumn("vgg16", 3, weights=None, taps=taps, input_shape=shape)
    assert model.get_layer("score_fc2").kernel.shape == (1, 1, 12, 3)
    assert kd.surgery.strides(model.get_layer("backbone"))["fc2"] == 32
    assert run(model, images(1, 40, 70, channels)).shape == (1, 40, 70, 3)


# Bad input


def test_bad_settings(backbone):
    with pytest.raises(ValueError, match="must name layers of 'backbone'.*'block_77'"):
        kd.hypercolumn(backbone, 3, taps=("P1", "block_77"))
    for taps in ("P1", (), (1, 2), 3):
        with pytest.raises(ValueError, match="`taps` must be a tuple of levels or names of layers"):
            kd.hypercolumn(backbone, 3, taps=taps)
    with pytest.raises(ValueError, match="`taps` must differ from each other"):
        kd.hypercolumn(backbone, 3, taps=("P1", "P1"))
    for mlp in (1024, (0,), (2.5,)):
        with pytest.raises(ValueError, match="`mlp` must be a tuple of integers >= 1"):
            kd.hypercolumn(backbone, 3, mlp=mlp)
    with pytest.raises(ValueError, match="no feature P7 for the hypercolumn to read. It has: P1"):
        kd.assemble(backbone, kd.decoders.hypercolumn(("P7",)), kd.heads.Segmentation(3))


def test_a_tap_without_a_stride():
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same", name="half")(image)
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="gate")(x)
    backbone = keras.Model(image, {"P1": layers.Multiply()([x, gate])}, name="mine")
    with pytest.raises(ValueError, match="must be maps with a stride.*'gate' of 'mine'"):
        kd.hypercolumn(backbone, 3, taps=("half", "gate"))


def test_perceptron_knows_its_stride(backbone):
    model = kd.hypercolumn(backbone, 3, mlp=(4,))
    layer = model.get_layer("mlp")
    assert isinstance(layer, HypercolumnMLP) and kd.surgery.strides(model) == 1
    assert kd.surgery.strides(keras.Model(model.input, layer.output)) == 1


def test_colors_at_every_pixel_learned_at_sampled_ones(backbone):
    """A colorizer after Larsson et al.: a hypercolumn, a perceptron, a distribution of colors."""
    head = kd.heads.Colorization(stride=1)
    model = kd.hypercolumn(backbone, heads=head, mlp=(16,))
    image = np.random.default_rng(0).integers(0, 255, (2, 37, 45, 3)).astype("uint8")
    training = kd.training.on_sampled_pixels(model)
    training.compile(keras.optimizers.Adam(1e-2), **kd.objectives(head))
    loader = kd.datasets.Loader([{"image": i} for i in image], head, 2)
    batches = kd.training.SampledPixels(loader, sample_pixels=200)
    losses = training.fit(batches, epochs=4, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert model.predict(image, verbose=0).shape == (2, 37, 45, 313)
    colors = kd.decoded(model, head).predict(image, verbose=0)
    assert colors.shape == image.shape and colors.dtype == np.uint8

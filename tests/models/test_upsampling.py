"""Every way of upsampling: sizes, no checkerboards at the start, training, saving, export."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_dense as kd
from keras_dense.models.upsampling import UPSAMPLING, upsample
from keras_dense.testing.expect import reload

LEARNED = [u for u in UPSAMPLING if u != "bilinear"]


def model_of(upsampling, factor=2, filters=5, channels=3, **kwargs):
    image = keras.Input((None, None, channels))
    return keras.Model(image, upsample(image, factor, upsampling, filters=filters, **kwargs))


def run(model, x):
    return ops.convert_to_numpy(model(x, training=False))


def checkerboard(y, factor, border=3):
    """Variance of the means of the f² phases, over the mean square: 0 without a pattern."""
    inside = y[:, border * factor : -border * factor, border * factor : -border * factor]
    phases = [inside[:, i::factor, j::factor] for i in range(factor) for j in range(factor)]
    means = np.stack([p.mean((0, 1, 2), dtype="float64") for p in phases])
    return float((means.var(0) / np.square(inside).mean((0, 1, 2), dtype="float64")).mean())


@pytest.mark.parametrize("upsampling", UPSAMPLING)
@pytest.mark.parametrize("factor", [1, 2, (3, 2)])
@pytest.mark.parametrize("filters", [None, 5])
def test_sizes(upsampling, factor, filters):
    model = model_of(upsampling, factor, filters)
    f_h, f_w = (factor, factor) if isinstance(factor, int) else factor
    assert model.output_shape == (None, None, None, filters or 3)
    assert run(model, np.zeros((2, 5, 7, 3), "float32")).shape == (
        2,
        5 * f_h,
        7 * f_w,
        filters or 3,
    )
    image = keras.Input((5, 7, 3))
    assert upsample(image, factor, upsampling).shape == (None, 5 * f_h, 7 * f_w, 3)


@pytest.mark.parametrize("upsampling", UPSAMPLING)
def test_cut_to_the_size_of_a_map_that_was_pooled_at_an_odd_size(upsampling):
    image = keras.Input((None, None, 3))
    x = upsample(layers.MaxPooling2D(padding="same")(image), 2, upsampling, like=image)
    assert run(keras.Model(image, x), np.zeros((1, 9, 13, 3), "float32")).shape == (1, 9, 13, 3)


@pytest.mark.parametrize("factor", [2, 3])
@pytest.mark.parametrize("upsampling", UPSAMPLING)
def test_what_is_constant_stays_constant(upsampling, factor):
    """Constant inside, and bit for bit if all cells of a block have the same weights."""
    y = run(model_of(upsampling, factor, 6), np.full((1, 9, 11, 3), 0.7, "float32"))
    inside = y[:, 2 * factor : -2 * factor, 2 * factor : -2 * factor]
    np.testing.assert_allclose(inside, np.broadcast_to(inside[:, :1, :1], inside.shape), atol=1e-6)
    assert np.abs(inside).max() > 0.01 and checkerboard(y, factor) < 1e-10


@pytest.mark.parametrize(
    "upsampling, layer",
    [
        ("pixel_shuffle", lambda: layers.Conv2D(4, 3, padding="same")),
        ("up_conv", lambda: layers.Conv2DTranspose(1, 2, 2)),
        # Three taps two apart overlap every second time: 1, 2 or 4 of them meet.
        ("transposed", lambda: layers.Conv2DTranspose(1, 3, 2, padding="same")),
    ],
)
def test_checkerboards_of_independent_weights_are_gone(upsampling, layer):
    x = np.random.default_rng(0).uniform(0.5, 1.5, (4, 24, 24, 8)).astype("float32")
    energy = []
    for seed in range(5):
        keras.utils.set_random_seed(seed)
        image = keras.Input((None, None, 8))
        y = layer()(image)
        y = kd.layers.PixelShuffle(2)(y) if upsampling == "pixel_shuffle" else y
        before = checkerboard(run(keras.Model(image, y), x), 2)
        after = checkerboard(run(model_of(upsampling, 2, 1, 8), x), 2)
        energy.append((before, after))
    before, after = np.median(energy, axis=0)
    assert before > 0.05 and after < 1e-3, energy


def test_known_starts():
    """Bilinear, nearest, and channels mixed by the filters."""
    x = np.random.default_rng(0).normal(size=(1, 5, 7, 3)).astype("float32")
    bilinear = run(model_of("bilinear", 3, None), x)
    same = run(model_of("transposed", 3, None), x)
    np.testing.assert_allclose(same[:, 1:-1, 1:-1], bilinear[:, 1:-1, 1:-1], atol=1e-5)
    for upsampling in ("up_conv", "pixel_shuffle"):
        y = run(model_of(upsampling, 2), x)
        np.testing.assert_allclose(y, y[:, ::2, ::2].repeat(2, 1).repeat(2, 2), atol=1e-6)
    plain = model_of("resize_conv", 2)
    nearest = x.repeat(2, 1).repeat(2, 2)
    np.testing.assert_allclose(run(plain, x), run(plain.layers[-1], nearest), atol=1e-5)


def test_names_and_settings():
    names = {u: [x.name for x in model_of(u, name="up").layers[1:]] for u in UPSAMPLING}
    assert names == {
        "bilinear": ["up_project", "up"],
        "nearest": ["up_project", "up"],
        "transposed": ["up"],
        "up_conv": ["up"],
        "resize_conv": ["up_nearest", "up"],
        "pixel_shuffle": ["up", "up_shuffle"],
    }
    frozen = model_of("transposed", filters=3, per_channel=True, learnable=False)
    assert frozen.trainable_weights == [] and frozen.count_params() == 4 * 4 * 3
    counts = {u: model_of(u, 2, 5, 3, use_bias=False).count_params() for u in UPSAMPLING}
    assert counts == {
        "bilinear": 3 * 5,
        "nearest": 3 * 5,
        "transposed": 16 * 3 * 5,
        "up_conv": 4 * 3 * 5,
        "resize_conv": 9 * 3 * 5,
        "pixel_shuffle": 9 * 3 * 4 * 5,
    }


@pytest.mark.parametrize("upsampling", LEARNED)
def test_trained_saved_and_loaded(upsampling):
    model = model_of(upsampling)
    model.compile(keras.optimizers.SGD(0.1), "mse")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 5, 7, 3)).astype("float32")
    before = [w.copy() for w in model.get_weights()]
    model.train_on_batch(x, rng.normal(size=(2, 10, 14, 5)).astype("float32"))
    assert all(np.any(a != b) for a, b in zip(before, model.get_weights(), strict=True))
    np.testing.assert_allclose(run(reload(model), x), run(model, x), atol=1e-6)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow exports")
@pytest.mark.parametrize(
    "upsampling",
    [*UPSAMPLING][:1] + [pytest.param(u, marks=pytest.mark.exhaustive) for u in [*UPSAMPLING][1:]],
)
def test_export_with_free_sizes(upsampling, tmp_path):
    import tensorflow as tf

    model = model_of(upsampling)
    model.export(tmp_path / "up", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "up")
    for size in ((5, 7), (8, 3)):
        x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype("float32")
        np.testing.assert_allclose(loaded.serve(x).numpy(), run(model, x), atol=1e-5)


@pytest.mark.parametrize("size", [(8, 6), (9, 13)])
@pytest.mark.parametrize("channels", [3, 5])
def test_unpooling_puts_maxima_back(size, channels):
    image = keras.Input((None, None, 3))
    pooled, indices = kd.layers.MaxPoolWithArgmax2D(2, padding="valid")(image)
    x = pooled if channels == 3 else layers.Concatenate()([pooled, pooled[..., :2]])
    model = keras.Model(image, upsample(x, 2, "unpool", indices=indices, like=image, name="up"))
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype("float32")
    y = run(model, x)
    assert y.shape == x.shape
    if channels == 3:
        even = x[:, : size[0] // 2 * 2, : size[1] // 2 * 2]
        blocks = even.reshape(2, size[0] // 2, 2, size[1] // 2, 2, 3)
        largest = blocks.max((2, 4), keepdims=True)
        wanted = np.where(blocks == largest, blocks, 0).reshape(even.shape)
        np.testing.assert_array_equal(y[:, : even.shape[1], : even.shape[2]], wanted)
    else:
        assert model.get_layer("up_project").filters == 3


def test_strides_are_known():
    image = keras.Input((None, None, 3))
    for upsampling in UPSAMPLING:
        x = upsample(layers.Conv2D(3, 3, 4, "same")(image), 2, upsampling)
        assert kd.surgery.strides(keras.Model(image, x)) == 2


def test_in_a_decoder():
    image = keras.Input((None, None, 3))
    fine = layers.Conv2D(4, 3, 4, "same")(image)
    features = {"P2": fine, "P5": layers.AveragePooling2D(4)(fine)}
    backbone, head = keras.Model(image, features), kd.heads.Segmentation(3)
    for upsampling, kind in (
        ("bilinear", kd.layers.BilinearUpsampling),
        ("transposed", kd.layers.BilinearInitConvTranspose),
        ("up_conv", layers.Conv2DTranspose),
        ("resize_conv", layers.Conv2D),
        ("pixel_shuffle", layers.Conv2D),
    ):
        decoder = kd.decoders.deeplabv3plus((1,), upsampling=upsampling)
        model = kd.assemble(backbone, decoder, head)
        assert type(model.get_layer("upsample_encoder")) is kind
        assert kd.surgery.strides(model) == 1


def test_bad_arguments():
    with pytest.raises(ValueError, match="`upsampling` must be one of"):
        kd.decoders.deeplabv3plus(upsampling=2)
    x = keras.Input((None, None, 3))
    with pytest.raises(ValueError, match="`upsampling` must be one of 'bilinear', .*'cubic'"):
        upsample(x, 2, "cubic")
    for upsampling in (*UPSAMPLING, "unpool"):
        with pytest.raises(ValueError, match="must be an integer >= 1 or a pair of them"):
            upsample(x, 0, upsampling, indices=x)
    with pytest.raises(ValueError, match="`indices` must be those of a pooling.*indices=None"):
        upsample(x, 2, "unpool")
    with pytest.raises(ValueError, match="`filters` None or the number.*Received: filters=4"):
        upsample(x, 2, "unpool", filters=4, indices=x)

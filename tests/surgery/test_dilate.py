import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_dense.layers import AtrousConv2D, ResizeLike
from keras_dense.surgery import dilate, strides

from .networks import images, randomized, small_classifier


def toy(size=None, padding="same", activation="tanh"):
    """Asymmetric padding, a stride on a 3×3, pooling of both kinds, and a branch: stride 16."""
    image = keras.Input((size, size, 3), name="image")
    x = layers.Conv2D(6, 3, strides=2, padding="same", activation=activation)(image)
    y = layers.ZeroPadding2D(((0, 1), (0, 1)))(x)
    y = layers.DepthwiseConv2D(3, strides=2, activation=activation)(y)
    z = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    x = layers.Concatenate()([y, z])
    x = layers.SeparableConv2D(8, 5, padding="same", activation=activation, name="middle")(x)
    x = layers.AveragePooling2D(2)(x)
    x = layers.Conv2D(8, 4, strides=2, padding=padding, activation=activation)(x)
    x = layers.Conv2D(4, 2, padding="same", dilation_rate=2, name="last")(x)
    return keras.Model(image, x)


@pytest.mark.parametrize("stride", [1, 2, 4, 8, 16])
def test_identity_at_every_output_stride(stride):
    model = toy()
    dense, x = dilate(model, stride), images(2, 64, 96)
    k = 16 // stride
    got, wanted = dense.predict(x, verbose=0), model.predict(x, verbose=0)
    assert got.shape == (2, 64 // stride, 96 // stride, 4)
    np.testing.assert_allclose(got[:, ::k, ::k], wanted, atol=1e-6)
    assert strides(dense) == stride and dense.output_shape == (None, None, None, 4)


def test_a_stride_of_four_is_halved():
    """ConvNeXt's stem: what is left of a stride may be more than 1."""
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(6, 4, strides=4, activation="tanh")(image)
    model = keras.Model(image, layers.Conv2D(4, 3, padding="same")(x))
    x = images(1, 32, 40)
    got = dilate(model, 2).predict(x, verbose=0)
    assert got.shape == (1, 16, 20, 4)
    np.testing.assert_allclose(got[:, ::2, ::2], model.predict(x, verbose=0), atol=1e-6)


@pytest.mark.parametrize("size", [(61, 64), (64, 75), (67, 81)])
def test_other_sizes_agree_inside(size):
    x = image = keras.Input((None, None, 3))
    for filters, padding in ((4, ((0, 1), (0, 1))), (5, 1), (6, ((0, 1), (1, 0)))):
        x = layers.ZeroPadding2D(padding)(x)
        x = layers.Conv2D(filters, 3, strides=2, activation="tanh")(x)
    model, x = keras.Model(image, x), images(1, *size)
    got, wanted = dilate(model, 2).predict(x, verbose=0), model.predict(x, verbose=0)
    assert [-(-n // 4) for n in got.shape[1:3]] >= [*wanted.shape[1:3]]
    inside = (slice(None), slice(1, -1), slice(1, -1))
    height, width = wanted.shape[1:3]
    np.testing.assert_allclose(
        got[:, ::4, ::4][:, :height, :width][inside], wanted[inside], atol=1e-6
    )


def test_valid_windows_without_padding_stay_so():
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, strides=2, activation="tanh")(image)
    x = layers.MaxPooling2D(3, strides=2)(x)
    model = keras.Model(image, layers.Conv2D(4, 3)(x))
    for size in (32, 37):
        x = images(1, size, size + 5)
        got, wanted = dilate(model, 1).predict(x, verbose=0), model.predict(x, verbose=0)
        np.testing.assert_allclose(got[:, ::4, ::4], wanted, atol=1e-6)


def test_twice_is_once():
    model = keras.applications.MobileNetV3Small(
        weights=None, include_top=False, alpha=0.75, minimalistic=False, input_shape=(64, 64, 3)
    )
    randomized(model)
    x = 127.5 * (images(1, 64, 64) + 1)
    once, twice = dilate(model, 8), dilate(dilate(model, 16), 8)
    np.testing.assert_allclose(
        twice.predict(x, verbose=0), once.predict(x, verbose=0), atol=1e-5, rtol=1e-5
    )


def test_gates_of_one_phase_each():
    """Both ways to write a gate: with a Reshape, and with kept axes."""
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="tanh")(image)
    gate = layers.GlobalAveragePooling2D()(x)
    gate = layers.Reshape((1, 1, 4))(layers.Dense(4, activation="sigmoid")(gate))
    x = layers.Multiply()([x, gate])
    gate = layers.GlobalMaxPooling2D(keepdims=True)(x)
    gate = ops.sigmoid(layers.Conv2D(4, 1)(gate))
    model = keras.Model(image, layers.Conv2D(4, 3, padding="same")(x * gate))
    x = images(2, 10, 14)
    got, wanted = dilate(model, 1).predict(x, verbose=0), model.predict(x, verbose=0)
    np.testing.assert_allclose(got[:, ::2, ::2], wanted, atol=1e-6)
    # Every other phase is the network on the shifted image, away from the border.
    shifted = np.pad(x[:, 1:, :], ((0, 0), (0, 1), (0, 0), (0, 0)))
    assert np.abs(got[:, 1::2, ::2] - wanted).max() > 1e-3
    usual = dilate(model, 1, mode="same").predict(x, verbose=0)
    assert np.abs(usual[:, ::2, ::2] - wanted).max() > 1e-4
    assert shifted.shape == x.shape


def test_original_stays_as_it_was_and_weights_are_copies():
    model = toy()
    before, x = [w.copy() for w in model.get_weights()], images(1, 32, 32)
    dense = dilate(model, 4)
    dense.set_weights([w + 1 for w in dense.get_weights()])
    assert all((a == b).all() for a, b in zip(model.get_weights(), before, strict=True))
    assert strides(model) == 16
    assert np.isfinite(model.predict(x, verbose=0)).all()


def test_same_mode_is_plain_keras():
    dense = dilate(toy(), 4, mode="same")
    assert all(type(layer).__module__.startswith("keras.src") for layer in dense.layers)
    assert dense.predict(images(1, 32, 48), verbose=0).shape == (1, 8, 12, 4)
    last = dense.get_layer("last")
    assert last.dilation_rate == (8, 8) and last.padding == "same"


def test_same_mode_where_branches_of_valid_windows_meet():
    """The reduction of an Inception network: a convolution beside a pooling, neither padded."""
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same")(image)
    x = layers.Concatenate()([layers.Conv2D(4, 3, strides=2)(x), layers.MaxPooling2D(3, 2)(x)])
    x = layers.Concatenate()([layers.Conv2D(4, 3, strides=2)(x), layers.MaxPooling2D(3, 2)(x)])
    dense = dilate(keras.Model(image, x), 2, mode="same")
    assert dense.predict(images(1, 32, 48), verbose=0).shape == (1, 16, 24, 12)


def test_rates_and_the_published_first_block():
    model = toy(activation=None)
    assert dilate(model, 4).get_layer("last").rate == (8, 8)
    assert dilate(model, 4, rates={"last": 3}).get_layer("last").rate == (3, 3)
    assert dilate(model, 4, rates={"middle": 5}).output_shape == (None, None, None, 4)
    image = keras.Input((32, 32, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same", name="first")(image)
    x = keras.Model(image, layers.Conv2D(4, 3, padding="same", name="second")(x))
    before, after = dilate(x, 1), dilate(x, 1, strided_rate="after")
    assert type(before.get_layer("first")) is AtrousConv2D
    assert before.get_layer("first").rate == (1, 1) and after.get_layer("first").rate == (2, 2)
    assert before.get_layer("second").rate == after.get_layer("second").rate == (2, 2)


@keras.saving.register_keras_serializable("tests")
class Scaled(layers.Conv2D):
    """A convolution of one's own: its kernel is scaled."""

    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, 2.0 * kernel)


@keras.saving.register_keras_serializable("tests")
class Blur(layers.Layer):
    def __init__(self, rate=1, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate

    def call(self, x):
        r = self.rate
        return (x + ops.roll(x, r, axis=1) + ops.roll(x, r, axis=2)) / 3

    def get_config(self):
        return {**super().get_config(), "rate": self.rate}


@keras.saving.register_keras_serializable("tests")
class Doubled(layers.Layer):
    def call(self, x):
        return 2 * x


def own(kind):
    image = keras.Input((32, 32, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same")(image)
    return keras.Model(image, kind(x))


def test_layers_of_ones_own():
    x = images(1, 32, 32)
    scaled = own(Scaled(4, 3, padding="same"))
    dense = dilate(scaled, 1)
    assert any(type(layer) is Scaled for layer in dense.layers)
    np.testing.assert_allclose(
        dense.predict(x, verbose=0)[:, ::2, ::2], scaled.predict(x, verbose=0), atol=1e-6
    )
    doubled = own(Doubled())
    np.testing.assert_allclose(
        dilate(doubled, 1).predict(x, verbose=0)[:, ::2, ::2],
        doubled.predict(x, verbose=0),
        atol=1e-6,
    )


def test_what_is_not_known_can_be_taught():
    model, x = own(Blur(name="blur")), images(1, 32, 32)
    with pytest.raises(ValueError, match=r"'blur' \(Blur\) looks at more than one pixel.*rules="):
        dilate(model, 1)
    assert strides(dilate(model, 2)) == 2  # nothing to dilate
    dense = dilate(model, 1, rules={Blur: lambda layer, x, rate, strides: Blur(rate[0])(x)})
    np.testing.assert_allclose(
        dense.predict(x, verbose=0)[:, ::2, ::2], model.predict(x, verbose=0), atol=1e-6
    )
    with pytest.raises(ValueError, match=r"'up' \(UpSampling2D\)"):
        dilate(own(layers.UpSampling2D(2, name="up")), 1 if strides(own(Doubled())) == 2 else 2)


def close(model, stride, inputs, **options):
    """The identity, for a network without "same" mode's approximations."""
    dense = dilate(model, stride, **options)
    k = strides(model) // strides(dense)
    got, wanted = dense.predict(inputs, verbose=0), model.predict(inputs, verbose=0)
    np.testing.assert_allclose(got[:, ::k, ::k], wanted, atol=1e-5)
    return dense


def halved(x):
    return layers.Conv2D(6, 3, strides=2, padding="same", activation="tanh")(x)


def network(function, size=None):
    image = keras.Input((size, size, 3))
    return keras.Model(image, function(image))


@pytest.mark.parametrize("stride, target, left", [(3, 2, 1), (6, 4, 3), (6, 2, 2), (4, 2, 2)])
def test_only_whole_parts_of_a_stride_stay(stride, target, left):
    strided = layers.Conv2D(4, 3, strides=stride, padding="same", activation="tanh")
    model = network(lambda image: layers.Conv2D(4, 3, padding="same")(strided(image)))
    assert strides(close(model, target, images(1, 48, 48))) == left


def test_a_map_finer_than_the_image():
    model = network(lambda image: halved(halved(halved(layers.UpSampling2D(2)(image)))))
    assert strides(close(model, 1, images(1, 32, 32))) == 1


def test_padding_in_several_steps():
    def padded(x, last):
        for n in (1, ((2, 0), (0, 1)), 1):
            x = layers.ZeroPadding2D(n)(x)
        return last(x)

    model = network(lambda image: padded(halved(image), layers.Conv2D(4, 3)))
    close(model, 1, images(1, 32, 32))
    # Zeros that are no zeros any more when a window meets them.
    model = network(lambda image: padded(image, lambda x: halved(ops.cos(x))))
    close(model, 1, images(1, 32, 32))


def gated(keep, shape):
    def build(image):
        x = layers.ZeroPadding2D(1)(halved(image))
        gate = layers.GlobalAveragePooling2D(keepdims=keep)(x)
        gate = shape(layers.Dense(6, activation="sigmoid")(gate))
        return layers.Conv2D(4, 3)(layers.Multiply()([gate, x]))

    return network(build)


@pytest.mark.parametrize(
    "keep, shape",
    [
        (True, lambda g: g),
        (False, lambda g: ops.reshape(g, (-1, 1, 1, 6))),
        (False, lambda g: ops.expand_dims(ops.expand_dims(g, 1), 1)),
        (False, lambda g: g[:, None, None, :]),
    ],
    ids=["kept axes", "reshape", "expand_dims", "index"],
)
def test_gates_of_a_padded_map(keep, shape):
    close(gated(keep, shape), 1, images(2, 16, 24))


def test_gates_that_are_no_gates():
    with pytest.raises(ValueError, match="mixes channels and positions"):
        dilate(gated(False, lambda g: layers.Reshape((1, 1, 6))(layers.Reshape((1, 2, 3))(g))), 1)


@pytest.mark.parametrize("first", [True, False])
def test_vectors_beside_the_image(first):
    image, vector = keras.Input((None, None, 3)), keras.Input((5,))
    x, gate = halved(image), layers.Reshape((1, 1, 6))(layers.Dense(6)(vector))
    x = layers.Multiply()([gate, x] if first else [x, gate])
    model = keras.Model([image, vector], layers.Conv2D(4, 3, padding="same")(x))
    x = [images(1, 16, 16), np.ones((1, 5), "float32")]
    dense = dilate(model, 1)
    got, wanted = dense.predict(x, verbose=0), model.predict(x, verbose=0)
    np.testing.assert_allclose(got[:, ::2, ::2], wanted, atol=1e-6)


def test_maps_that_do_not_fit_together_any_more():
    image, coarse = keras.Input((None, None, 3)), keras.Input((None, None, 1))
    x = layers.Concatenate(name="join")([halved(image), coarse])
    with pytest.raises(ValueError, match=r"'join' joins maps.*\(2, 2\), \(1, 1\)"):
        dilate(keras.Model([image, coarse], x), 1)


@pytest.mark.parametrize(
    "layer",
    [layers.GroupNormalization(2), layers.MultiHeadAttention(2, 3, attention_axes=(1, 2))],
    ids=["normalization", "attention"],
)
def test_what_looks_at_all_pixels_alike(layer):
    """It does the same for pixels in another order, and yet is not pointwise."""

    def build(image):
        x = halved(image)
        return layer(x, x) if isinstance(layer, layers.MultiHeadAttention) else layer(x)

    model = network(build)
    with pytest.raises(ValueError, match=f"{type(layer).__name__}.*more than one pixel"):
        dilate(model, 1)
    assert dilate(model, 1, mode="same").output_shape == (None, None, None, 6)


def test_maps_brought_to_the_size_of_another():
    def build(image):
        x = halved(image)
        return ops.concatenate([ResizeLike(name="up")(halved(x), x), x], -1)

    model = network(build)
    with pytest.raises(ValueError, match=r"'up' \(ResizeLike\)"):
        dilate(model, 1)
    assert strides(dilate(model, 1, mode="same")) == 1


def test_shared_layers_at_several_rates():
    shared = layers.Conv2D(3, 3, padding="same", name="shared")
    model = network(lambda image: shared(layers.MaxPooling2D()(shared(image))))
    dense = close(model, 1, images(1, 16, 16))
    assert [dense.get_layer(name).dilation_rate for name in ("shared", "shared_1")] == [
        (1, 1),
        (2, 2),
    ]


def test_what_was_float32_is_not_rounded():
    model = gated(True, lambda g: g)
    keras.config.set_dtype_policy("mixed_bfloat16")
    dense = dilate(model, 1)
    assert {x.compute_dtype for x in dense.layers[1:]} == {"float32"}


def test_saved_and_loaded(tmp_path):
    dense, x = dilate(toy(), 4), images(1, 32, 32)
    dense.save(tmp_path / "dense.keras")
    loaded = keras.models.load_model(tmp_path / "dense.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), dense.predict(x, verbose=0), atol=1e-6)


class Subclassed(keras.Model):
    def call(self, x):
        return x


def test_bad_input():
    model = toy()
    for stride in (3, 0, -8, 4.0, True, "8"):
        with pytest.raises(ValueError, match="`output_stride` must be a power of two"):
            dilate(model, stride)
    with pytest.raises(ValueError, match="must not be larger than the network's, which is 16"):
        dilate(model, 32)
    with pytest.raises(ValueError, match="`mode` must be one of 'exact', 'same'"):
        dilate(model, 8, mode="fast")
    with pytest.raises(ValueError, match="`strided_rate` must be"):
        dilate(model, 8, strided_rate="between")
    with pytest.raises(ValueError, match="`rates` must name layers of.*block9"):
        dilate(model, 8, rates={"block9": 2})
    with pytest.raises(
        ValueError, match="`rates` must name convolutions or poolings.*Received: 'image'"
    ):
        dilate(model, 8, rates={"image": 2})
    with pytest.raises(ValueError, match=r"`rates\['last'\]` must be an integer >= 1.*=0"):
        dilate(model, 8, rates={"last": 0})
    with pytest.raises(TypeError, match="`rates` must be a dict"):
        dilate(model, 8, rates=[2, 4])
    with pytest.raises(TypeError, match="`rules` must be a dict"):
        dilate(model, 8, rules=[Blur])
    with pytest.raises(TypeError, match="Rewrite it with"):
        dilate(Subclassed(), 8)
    with pytest.raises(ValueError, match="classifier's top.*convolutionalize"):
        dilate(small_classifier(pooled=True), 1)
    image = keras.Input((3, 32, 32))
    x = layers.Conv2D(4, 3, strides=2, padding="same", data_format="channels_first")(image)
    with pytest.raises(ValueError, match="channels_last"):
        dilate(keras.Model(image, x), 1)

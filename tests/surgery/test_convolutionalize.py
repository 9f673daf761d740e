import keras
import numpy as np
import pytest
from keras import layers

from keras_dense.surgery import convolutionalize

from .networks import EVERY_FAMILY, FAMILIES, images, randomized, small_classifier


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY_FAMILY)
def test_every_family_gives_the_scores_of_the_classifier(name):
    size = FAMILIES[name]
    build = getattr(keras.applications, name)
    app = randomized(build(weights=None, classifier_activation=None, input_shape=(size, size, 3)))
    dense = convolutionalize(app)
    # Images in the range that each network was made for, so that scores are of order 1.
    own = any(isinstance(layer, (layers.Rescaling, layers.Normalization)) for layer in app.layers)
    x = images(1, size, size)
    x = (x + 1) * 127.5 if own else x
    wanted, got = app.predict(x, verbose=0), dense.predict(x, verbose=0)
    assert got.shape == (1, 1, 1, 1000)
    np.testing.assert_allclose(got[:, 0, 0], wanted, atol=1e-4 * max(np.abs(wanted).max(), 1.0))
    assert np.ptp(wanted) > 1e-3  # the scores say something
    assert dense.count_params() == app.count_params()
    assert dense.compute_output_shape((1, size + 64, size + 32, 3)) == (1, 3, 2, 1000)


@pytest.mark.parametrize("pooled", [False, True])
def test_the_dense_network_slides_the_classifier(pooled):
    """Each score of the map is that of the classifier on the window under it.

    The gate looks at the whole image, so it is cut for this test: windows then differ from the
    image in nothing but the border, which "valid" convolutions do not have.
    """
    image = keras.Input((20, 20, 3))
    x = layers.Conv2D(6, 3, strides=2, activation="relu")(image)
    x = layers.Conv2D(6, 3, activation="tanh")(x)
    x = layers.GlobalAveragePooling2D()(x) if pooled else layers.Flatten()(x)
    x = layers.Dense(8, activation="relu")(x)
    classifier = keras.Model(image, layers.Dense(4, activation="softmax")(x))
    dense = convolutionalize(classifier)
    photo = images(1, 30, 26)
    scores = dense.predict(photo, verbose=0)
    assert scores.shape == (1, 6, 4, 4)
    for i in range(6):
        for j in range(4):
            window = photo[:, 2 * i : 2 * i + 20, 2 * j : 2 * j + 20]
            np.testing.assert_allclose(
                scores[:, i, j], classifier.predict(window, verbose=0), atol=1e-5
            )


@pytest.mark.parametrize("pooled", [False, True])
def test_nested_models_gates_and_shared_layers(pooled):
    classifier = small_classifier(pooled=pooled)
    before = [w.copy() for w in classifier.get_weights()]
    dense = convolutionalize(classifier)
    x = images(3, 24, 24)
    np.testing.assert_allclose(
        dense.predict(x, verbose=0)[:, 0, 0], classifier.predict(x, verbose=0), atol=1e-5
    )
    assert dense.count_params() == classifier.count_params()
    assert isinstance(dense.get_layer("gate_pool"), layers.GlobalAveragePooling2D)
    assert dense.predict(images(1, 40, 32), verbose=0).shape == (1, 5, 3, 5)
    # The original is as it was, and shares nothing with the new one.
    dense.set_weights([w + 1 for w in dense.get_weights()])
    for old, new in zip(before, classifier.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("pooled", [False, True])
def test_same_padding_has_the_valid_scores_in_its_middle(pooled):
    classifier = small_classifier(pooled=pooled)
    valid, same = (convolutionalize(classifier, padding=p) for p in ("valid", "same"))
    x = images(1, 40, 48)
    inner, whole = valid.predict(x, verbose=0), same.predict(x, verbose=0)
    assert whole.shape == (1, 10, 12, 5) and inner.shape == (1, 5, 7, 5)
    # 1×1 layers follow the window, so only the window itself decides where scores are the same.
    np.testing.assert_allclose(whole[:, 2:7, 2:9], inner, atol=1e-5)


def test_without_the_top_and_with_dropout():
    classifier = small_classifier()
    features = convolutionalize(classifier, padding="same", include_top=False, dropout=0.3)
    assert features.output_shape == (None, None, None, 10)
    assert [x.rate for x in features.layers if isinstance(x, layers.Dropout)] == [0.3, 0.5]
    scores = classifier.get_layer("scores").get_weights()
    x = images(2, 24, 24)
    got = features.predict(x, verbose=0)[:, 2, 2] @ scores[0] + scores[1]
    np.testing.assert_allclose(got, classifier.predict(x, verbose=0), atol=1e-5)


def test_free_size_needs_the_classifiers_own():
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same")(image)
    x = layers.GlobalAveragePooling2D()(x)
    classifier = keras.Model(image, layers.Dense(3)(x))
    with pytest.raises(ValueError, match=r"size=\(224, 224\)"):
        convolutionalize(classifier)
    x = images(1, 16, 20)
    np.testing.assert_allclose(
        convolutionalize(classifier, size=(16, 20)).predict(x, verbose=0)[:, 0, 0],
        classifier.predict(x, verbose=0),
        atol=1e-6,
    )


def test_survives_saving(tmp_path):
    dense = convolutionalize(small_classifier(), padding="same")
    dense.save(tmp_path / "dense.keras")
    again = keras.saving.load_model(tmp_path / "dense.keras")
    x = images(1, 32, 40)
    np.testing.assert_array_equal(again.predict(x, verbose=0), dense.predict(x, verbose=0))


class Subclassed(keras.Model):
    def call(self, x):
        return x


def test_bad_input():
    with pytest.raises(TypeError, match="functional Keras model. Received: Subclassed.*cannot be"):
        convolutionalize(Subclassed())
    with pytest.raises(TypeError, match="Received: Sequential.*Give the Sequential model an `Inp"):
        convolutionalize(keras.Sequential([layers.Dense(3)]))
    with pytest.raises(TypeError, match="Received: str"):
        convolutionalize("vgg16")
    with pytest.raises(ValueError, match="`padding` must be one of 'valid', 'same'"):
        convolutionalize(small_classifier(), padding="full")
    app = keras.applications.MobileNet(weights=None, include_top=False, input_shape=(64, 64, 3))
    with pytest.raises(ValueError, match="must have a classifier's top"):
        convolutionalize(app)
    with pytest.raises(ValueError, match="one batch of images"):
        convolutionalize(keras.Sequential([keras.Input((4,)), layers.Dense(3)]))
    for inside, name in (
        (layers.BatchNormalization(name="odd"), "odd"),  # statistics differ from cell to cell
        (layers.Reshape((-1, 8), name="odd"), "odd"),
        (lambda x: layers.LSTM(4, name="odd")(layers.Reshape((1, -1))(x)), "odd"),
    ):
        with pytest.raises(ValueError, match=name):
            convolutionalize(small_classifier(inside=inside))


@pytest.mark.parametrize(
    "layer",
    [layers.Softmax(), layers.Activation("softmax"), layers.LayerNormalization(scale=False)],
    ids=["softmax", "activation", "normalization"],
)
def test_what_mixes_a_flattened_map_is_refused(layer):
    image = keras.Input((8, 8, 3))
    x = layer(layers.Flatten()(layers.Conv2D(4, 3, strides=2)(image)))
    with pytest.raises(ValueError, match="without a convolutional form"):
        convolutionalize(keras.Model(image, layers.Dense(5)(x)))

"""The batches of `fit` depend only on seed, epoch and position, on every backend."""

import pickle
import warnings

import keras
import numpy as np
import pytest
from keras import ops

from keras_dense import heads
from keras_dense.datasets import Loader
from keras_dense.training import SampledPixels

BATCHES, SIZE = 4, 2


class Tally(keras.layers.Layer):
    """Layer that counts the values of the first pixel of its images during training."""

    def build(self, shape):
        self.counts = self.add_weight(shape=(256,), trainable=False, initializer="zeros")

    def call(self, x, training=False):
        if training:
            values = ops.cast(x[:, 0, 0, 0], "int32")
            self.counts.assign_add(ops.sum(ops.one_hot(values, 256), axis=0))
        return ops.cast(x, "float32") / 255


class PerEpoch(keras.callbacks.Callback):
    """The counts of each epoch of `fit`."""

    def on_train_begin(self, logs=None):
        self.before, self.seen = self.counts(), []

    def counts(self):
        return ops.convert_to_numpy(self.model.layers[0].counts)

    def on_epoch_end(self, epoch, logs=None):
        now = self.counts()
        self.seen.append(np.repeat(np.arange(256), (now - self.before).astype(int)).tolist())
        self.before = now


class Data(list):
    def __init__(self, count):
        super().__init__({"image": np.zeros((2, 2, 3), "uint8")} for _ in range(count))


class Zeros(heads.Head):
    def __init__(self):
        self.target = "image"

    def encode(self, sample):
        return np.zeros((2, 2, 1), "float32")


def draw(sample, rng):
    """An image that contains the epoch and the index of its sample."""
    return {**sample, "image": np.full((2, 2, 3), rng.integers(0, 256), "uint8")}


def loader(batches=BATCHES, **options):
    data = Data(batches * SIZE)
    return Loader(data, Zeros(), SIZE, transforms=draw, shuffle=True, seed=3, **options)


def network(**options):
    layers = [keras.Input((None, None, 3)), Tally(), keras.layers.Conv2D(1, 1)]
    model = keras.Sequential(layers)
    model.compile("sgd", "mse", **options)
    return model


def fit(model, batches, epochs, steps=None, **options):
    recorded = PerEpoch()
    options = {"shuffle": False, "verbose": 0, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras says where data ran out
        model.fit(batches, epochs=epochs, steps_per_epoch=steps, callbacks=[recorded], **options)
    return recorded.seen


def expected(places, **options):
    """The values of the batches of epochs of `fit`, each a list of `(epoch, number)`."""
    reference = loader(**options)
    return [
        sorted(int(v) for p in epoch for v in reference.batch(*p)[0][:, 0, 0, 0])
        for epoch in places
    ]


def whole(*epochs, batches=BATCHES):
    return [[(epoch, number) for number in range(batches)] for epoch in epochs]


@pytest.mark.everywhere
def test_each_batch_is_used_once_for_any_steps_per_epoch():
    model = network()
    model.fit(loader(), epochs=1, shuffle=False, verbose=0)  # sizes and metrics are known now
    table = [
        (dict(epochs=2), whole(0, 1)),
        (dict(epochs=3, steps=2), [[(0, 0), (0, 1)], [(0, 2), (0, 3)], [(1, 0), (1, 1)]]),
        # Keras ends an epoch where a pass ends.
        (dict(epochs=3, steps=3), [[(0, 0), (0, 1), (0, 2)], [(0, 3)], [(1, 0), (1, 1), (1, 2)]]),
        (dict(epochs=2, steps=9), whole(0, 1)),
        (dict(epochs=4, initial_epoch=2), whole(0, 1)),
    ]
    for options, places in table:
        for _ in range(2):
            assert fit(model, loader(), **options) == expected(places), options
    val = loader()
    for options, places in table[:2]:
        seen = fit(model, loader(), validation_data=val, **options)
        assert seen == expected(places), options
    assert fit(model, loader(epoch=2), 2) == expected(whole(2, 3))
    # With `shuffle=True` Keras exchanges the batches of a pass, and nothing else.
    assert fit(model, loader(), 2, shuffle=True) == expected(whole(0, 1))


def test_looking_at_batches_is_not_a_pass():
    """A model with metrics that are not built yet, and a loader of one batch."""
    for batches in (1, BATCHES):
        model, train = network(metrics=["mae"]), loader(batches)
        assert fit(model, train, 2) == expected(whole(0, 1, batches=batches), batches=batches)
        assert train.epoch == 2
        assert fit(model, train, 1) == expected(whole(2, batches=batches), batches=batches)
        model.evaluate(train, verbose=0)
        assert train.epoch == 4


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="one step at a time there")
def test_several_steps_in_one_execution():
    model = network(steps_per_execution=2)
    assert fit(model, loader(), 2) == expected(whole(0, 1))
    assert fit(model, loader(), 2, 2) == expected([[(0, 0), (0, 1)], [(0, 2), (0, 3)]])
    assert fit(model, loader(5), 2) == expected(whole(0, 1, batches=5), batches=5)


def test_an_unfinished_pass_is_not_continued_by_the_next_fit():
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    model, train = network(), loader()
    assert fit(model, train, 1, 2) == expected([[(0, 0), (0, 1)]])
    assert train.epoch == 1
    with pytest.raises(KeyboardInterrupt):
        model.fit(train, callbacks=[Stop()], shuffle=False, verbose=0)
    assert fit(model, train, 1) == expected(whole(2))


def test_a_pass_is_resumed_in_its_middle():
    train = loader()
    train.resume(1, 3)
    assert fit(network(), train, 2, 2) == expected([[(1, 3), (2, 0)], [(2, 1), (2, 2)]])
    assert list(train.indices(0)) == list(loader(epoch=2).indices(3))
    again = pickle.loads(pickle.dumps(train))
    np.testing.assert_array_equal(again[1][0], train[1][0])
    train.epoch = 1
    np.testing.assert_array_equal(train[0][0], loader().batch(1, 0)[0])
    with pytest.raises(ValueError, match="`batch` must be below 4. Received: batch=4"):
        train.resume(0, 4)


def test_looking_at_a_batch_changes_nothing():
    train = loader()
    for _ in range(2):
        np.testing.assert_array_equal(train[0][0], loader().batch(0, 0)[0])
    assert train.epoch == 0
    for _ in zip(range(2), train, strict=False):
        pass
    assert train.epoch == 0
    list(train)
    assert train.epoch == 1


def test_a_loop_of_ones_own_counts_passes_as_keras_documents_it():
    train = loader()
    for epoch in range(2):
        for number in range(len(train)):
            np.testing.assert_array_equal(train[number][0], loader().batch(epoch, number)[0])
        train.on_epoch_end()
    assert train.epoch == 2


@pytest.mark.everywhere
def test_sampled_pixels_count_passes_alike():
    """Their positions depend on the epoch, like the images."""
    pixels = SampledPixels(loader(), 2, seed=5)
    first = [pixels[0][0]["positions"] for _ in range(2)]
    np.testing.assert_array_equal(*first)
    assert pixels.epoch == 0
    list(pixels)
    assert pixels.epoch == 1 and (pixels[0][0]["image"] == loader().batch(1, 0)[0]).all()
    with pytest.raises(ValueError, match="`seed` must be an integer >= 0. Received: seed=-1"):
        SampledPixels(loader(), 2, seed=-1)

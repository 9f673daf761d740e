"""Data sets where Keras expects batches."""

import keras
import numpy as np
import pytest

import keras_dense as kd


def test_a_data_set_in_place_of_a_loader_is_said():
    model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(5, 1)])
    model.compile("sgd", "mse")
    dataset = kd.datasets.scenes(2, (16, 16))
    hint = r"holds samples, not batches.*kd\.datasets\.Loader\(dataset, heads, batch_size=8\)"
    assert not hasattr(dataset, "shape")
    for given in (dataset, kd.datasets.cached(dataset)):
        for use in (model.fit, model.evaluate, model.predict):
            with pytest.raises((TypeError, AttributeError), match=hint):
                use(given, verbose=0)
    with pytest.raises((TypeError, AttributeError), match=hint):
        np.asarray(dataset)

"""MMSegmentation's networks: the scores of the original with the same weights."""

import re

import keras
import numpy as np
import pytest

import keras_dense as kd
from keras_dense.weights import mmseg
from keras_dense.weights.load import ready_for

from . import published

# One small network on every backend in the quick run, all others where there is time.
QUICK = "mmseg/deeplabv3plus_r18_loveda"
NAMES = [
    pytest.param(name, marks=() if name == QUICK else (pytest.mark.exhaustive, pytest.mark.once))
    for name in published.shapes("mmseg")
]


def both_heads(record):
    head = record.head()
    if record.auxiliary is None:
        return {"segmentation": head}
    return {"segmentation": head, "auxiliary": kd.heads.Auxiliary(head, **record.auxiliary)}


def built(record, tensors, heads, **arguments):
    """The network with all tensors of a file in it."""
    model = record.builder(heads=heads, **{**record.arguments, **arguments})
    ready = ready_for(model, tensors, record.rules, record.name)
    assert ready.report.complete and set(ready.report.left_out) <= {"counters"}, ready.report
    ready.apply(restore=False)
    return model


def predict(model, image):
    return {
        key: keras.ops.convert_to_numpy(y) for key, y in model(image, training=False).items()
    }


def close(found, expected):
    assert found.shape == expected.shape and expected.std() > 0.05
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", NAMES)
def test_the_scores_of_the_original(name):
    record, image = kd.weights.info(name), published.image(name)
    model = built(record, published.random(name), both_heads(record))
    with np.load(published.SCORES) as expected:
        for key, y in predict(model, image).items():
            close(published.sample(y), expected[f"{name}/{key}"])

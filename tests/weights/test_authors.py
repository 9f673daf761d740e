"""Rules of the authors' networks on all names of full-size files, without drawing weights."""

import math

import keras
import numpy as np
import pytest

import keras_dense as kd
from keras_dense.weights.load import ready_for

from .authors_keys import SOURCES, shapes

pytestmark = pytest.mark.once

# The smallest one.
QUICK = "segnet/driving"
NAMES = [name for source in SOURCES for name in kd.weights.list(f"{source}/*")]
# What belongs to no weight of ours.
LEFT_OUT = {
    "counters",
    "fixed scales of the skips",
    "a unit of the coarsest level, which the network does not use",
}


@pytest.mark.parametrize("name", NAMES)
def test_size_of_the_file(name):
    count = sum(math.prod(shape) for shape in shapes(name).values())
    assert kd.weights.info(name).bytes == pytest.approx(4 * count, rel=2e-3)


@pytest.mark.parametrize(
    "name", [n if n == QUICK else pytest.param(n, marks=pytest.mark.exhaustive) for n in NAMES]
)
def test_every_name_is_covered(name, zero_weights):
    keras.backend.clear_session()
    record, head = kd.weights.info(name), kd.weights.info(name).head()
    heads, left_out = head, set(LEFT_OUT)
    if record.auxiliary is not None:
        heads = {"segmentation": head, "auxiliary": kd.heads.Auxiliary(head, **record.auxiliary)}
    if "sift_flow" in name:
        heads = {"semantic": head, "geometric": kd.heads.Segmentation(3)}
    model = record.builder(heads=heads, input_shape=(None, None, 3), **record.arguments)
    tensors = {key: np.broadcast_to(np.float32(0), shape) for key, shape in shapes(name).items()}
    report = ready_for(model, tensors, record.rules, name).report
    assert report.complete, report
    assert set(report.left_out) <= left_out

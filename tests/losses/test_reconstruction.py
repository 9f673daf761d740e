"""Error of a rebuilt image, against NumPy."""

import numpy as np
import pytest

from keras_dense.losses import ReconstructionL1
from keras_dense.testing import check_loss

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (2, 5, 7, 3)).astype("float32")


def reference(image, rebuilt, weight, stride, gradient_weight):
    total = amount = 0.0
    height, width = rebuilt.shape[1:3]
    for b in range(len(image)):
        error, share = np.zeros((height, width, 3)), np.zeros((height, width))
        for y in range(height):
            for x in range(width):
                block = np.s_[b, y * stride : (y + 1) * stride, x * stride : (x + 1) * stride]
                w = weight[block]
                share[y, x] = w.sum() / stride**2
                if w.sum() > 0:
                    color = (image[block] * w[..., None]).sum((0, 1)) / w.sum()
                    error[y, x] = rebuilt[b, y, x] - color / 255
        for y in range(height):
            for x in range(width):
                cost = np.abs(error[y, x]).mean()
                for v, u in ((y + 1, x), (y, x + 1)):
                    if v < height and u < width and share[v, u] > 0:
                        cost += gradient_weight * np.abs(error[v, u] - error[y, x]).mean()
                total += share[y, x] * cost
        amount += share.sum()
    return total / amount


@pytest.mark.everywhere
@pytest.mark.parametrize("stride, gradient_weight", [(1, 0.5), (2, 0.5), (4, 0.0), (4, 2.0)])
def test_formula(stride, gradient_weight):
    rebuilt = RNG.uniform(0, 1, (2, -(-5 // stride), -(-7 // stride), 3)).astype("float32")
    weight = RNG.choice([0.0, 1.0, 2.0], (2, 5, 7))
    weight[0, 4:] = 0  # a whole block
    loss = ReconstructionL1(stride=stride, gradient_weight=gradient_weight)
    wanted = reference(IMAGE, rebuilt.astype("float64"), weight, stride, gradient_weight)
    assert float(loss(IMAGE, rebuilt, weight)) == pytest.approx(wanted, rel=1e-5)


def test_contract():
    rebuilt = RNG.uniform(0, 1, (2, 5, 7, 3)).astype("float32")
    check_loss(ReconstructionL1(stride=1), IMAGE, rebuilt, void=np.nan)


def test_bad_arguments():
    with pytest.raises(ValueError, match="`gradient_weight` must be a number >= 0"):
        ReconstructionL1(gradient_weight=-1)
    with pytest.raises(ValueError, match="`y_pred` must have 3 channels"):
        ReconstructionL1(stride=1)(IMAGE, np.zeros((2, 5, 7, 2), "float32"))

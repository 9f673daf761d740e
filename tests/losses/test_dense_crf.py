"""Energy of a dense CRF, against all pairs in NumPy."""

import numpy as np
import pytest

from keras_dense.losses import DenseCRF
from keras_dense.testing import check_loss
from keras_dense.testing.expect import value_and_gradient

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (2, 5, 7, 3)).astype("float32")
LOGITS = RNG.normal(size=(2, 5, 7, 3)).astype("float32")


def blocks(x, stride):
    """Sums over blocks; zeros beyond the edges."""
    pads = ((0, 0), (0, -x.shape[1] % stride), (0, -x.shape[2] % stride), (0, 0))
    x = np.pad(x, pads)
    rows, columns = x.shape[1] // stride, x.shape[2] // stride
    return x.reshape(len(x), rows, stride, columns, stride, -1).sum((2, 4))


def reference(image, logits, weight, sigma, color, stride=1):
    """The loss, and its gradient in p (of blocks) if the stride is 1."""
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    total = blocks(weight[..., None], stride)
    p, image = (
        blocks(x * weight[..., None], stride) / np.maximum(total, 1e-12) for x in (p, image)
    )
    weight = total[..., 0] / stride**2
    pairs = unlike = 0.0
    places = np.indices(weight.shape[1:]).reshape(2, -1).T * stride
    near = ((places[:, None] - places[None]) ** 2).sum(-1) / (2 * sigma**2)
    for b in range(len(image)):
        colors = image[b].reshape(-1, 3)
        a = ((colors[:, None] - colors[None]) ** 2).sum(-1) / (2 * color**2)
        a = np.exp(-near - a) * np.outer(weight[b], weight[b])
        q = p[b].reshape(len(colors), -1)
        pairs += a.sum()
        unlike += (a * (1 - q @ q.T)).sum()
    return unlike / pairs


@pytest.mark.everywhere
@pytest.mark.parametrize("stride", [1, 2])
def test_all_pairs(stride):
    weight = RNG.choice([0.0, 1.0, 2.0], (2, 5, 7))
    settings = {"sigma": 3.0, "color": 60.0}
    found = float(DenseCRF(**settings, stride=stride, exact=True)(IMAGE, LOGITS, weight))
    wanted = reference(
        IMAGE.astype("float64"), LOGITS.astype("float64"), weight, **settings, stride=stride
    )
    assert found == pytest.approx(wanted, rel=1e-5)


@pytest.mark.everywhere
def test_gradient_is_that_of_the_sum_over_pairs():
    loss = DenseCRF(sigma=3.0, color=60.0, stride=1, exact=True)
    _, gradient = value_and_gradient(loss, IMAGE, LOGITS)
    ones, step = np.ones((2, 5, 7)), 1e-5
    for place in ((0, 0, 0, 1), (1, 4, 6, 2), (0, 2, 3, 0)):
        move = np.zeros(LOGITS.shape)
        move[place] = step
        high, low = (
            reference(IMAGE.astype("float64"), LOGITS + sign * move, ones, 3.0, 60.0)
            for sign in (1, -1)
        )
        assert gradient[place] == pytest.approx((high - low) / (2 * step), rel=1e-3, abs=1e-7)


def test_contract():
    check_loss(DenseCRF(sigma=3.0, color=100.0, stride=1, exact=True), IMAGE, LOGITS, void=np.nan)


@pytest.mark.everywhere
def test_the_lattice_is_near_and_has_the_same_direction():
    image = np.zeros((1, 24, 30, 3), "float32")
    image[:, :, 15:] = 200
    image += RNG.normal(0, 5, image.shape)
    logits = RNG.normal(size=(1, 24, 30, 4)).astype("float32")
    found = [
        value_and_gradient(DenseCRF(sigma=8.0, stride=1, exact=exact), image, logits)
        for exact in (True, False)
    ]
    assert found[1][0] == pytest.approx(found[0][0], rel=0.02)
    one, two = (g.ravel() / np.linalg.norm(g) for _, g in found)
    assert one @ two > 0.98


def test_it_is_0_if_all_labels_are_the_same():
    logits = np.zeros((1, 5, 7, 2), "float32")
    logits[..., 1] = 40
    assert float(DenseCRF(sigma=3.0)(IMAGE[:1], logits)) == pytest.approx(0, abs=1e-5)


def test_bad_arguments():
    for settings, message in (
        ({"sigma": 0}, "`sigma` must be a number > 0"),
        ({"color": -1}, "`color` must be a number > 0"),
        ({"stride": 0}, "`stride` must be an integer >= 1"),
        ({"reduction": "sum"}, "`reduction` must be a mean for DenseCRF"),
    ):
        with pytest.raises(ValueError, match=message):
            DenseCRF(**settings)

import numpy as np
import pytest

from keras_dense.losses import AbSmoothL1, ColorCrossEntropy
from keras_dense.losses.colorization import rebalancing
from keras_dense.ops import ab_bins
from keras_dense.ops.color import to_lab
from keras_dense.testing import check_loss
from keras_dense.testing.expect import value_and_gradient

from .reference import log_softmax


def batch(height=10, width=13, channels=313, stride=4, seed=0):
    """Images with unknown pixels, one of them without a known one, and predictions."""
    random = np.random.default_rng(seed)
    image = random.uniform(0, 255, (3, height, width, 3)).astype("float32")
    image[random.random(image.shape[:3]) < 0.2] = np.nan
    image[0, :4, :4] = np.nan  # a whole block
    image[1, 2, 3, 1] = np.nan  # one channel is enough
    image[2] = np.nan
    size = (3, -(-height // stride), -(-width // stride), channels)
    return image, random.normal(size=size).astype("float32") * 2


def reference(image, weight, stride, subsample, price, threshold=None):
    """Mean price of the known cells, in float64, cell by cell."""
    known = np.isfinite(image).all(-1)
    lab = to_lab(np.where(known[..., None], image, 0).astype("float64"))
    weight = known * weight
    total, divisor = 0.0, 0.0
    for n, (height, width) in enumerate([image.shape[1:3]] * len(image)):
        cells = []
        for i in range(0, height, stride):
            for j in range(0, width, stride):
                size = 1 if subsample == "nearest" else stride
                w = weight[n, i : i + size, j : j + size]
                if w.sum():
                    ab = lab[n, i : i + size, j : j + size, 1:]
                    ab = (ab * w[..., None]).sum((0, 1)) / w.sum()
                    cells.append((ab, w.sum() / size**2, price(ab, n, i // stride, j // stride)))
        if threshold is not None and not any(np.abs(ab).max() > threshold for ab, *_ in cells):
            continue
        total += sum(w * p for _, w, p in cells)
        divisor += sum(w for _, w, _ in cells)
    return total / divisor


def cross_entropy(logits, grid=10, neighbors=5, sigma=5.0, balance=None):
    log_p, bins = log_softmax(np.asarray(logits, "float64")), ab_bins(grid)

    def price(ab, n, i, j):
        squared = ((bins - ab) ** 2).sum(-1)
        near = np.argsort(squared)[:neighbors]
        z = np.exp(-squared[near] / (2 * sigma**2))
        value = -(z / z.sum() * log_p[n, i, j, near]).sum()
        return value if balance is None else balance[near[0]] * value

    return price


@pytest.mark.everywhere
@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("subsample", ["mean", "nearest"])
def test_cross_entropy_against_numpy(stride, subsample):
    image, logits = batch(stride=stride)
    weight = np.random.default_rng(1).uniform(0.1, 2, image.shape[:3])
    for w in (np.ones(image.shape[:3]), weight):
        expected = reference(image, w, stride, subsample, cross_entropy(logits))
        loss = ColorCrossEntropy(stride=stride, subsample=subsample)
        assert float(loss(image, logits, w)) == pytest.approx(expected, rel=2e-5)


@pytest.mark.parametrize("grid, neighbors, sigma", [(10, 10, 5.0), (20, 3, 12.0), (10, 1, 5.0)])
def test_encodings_and_grids(grid, neighbors, sigma):
    image, logits = batch(channels=len(ab_bins(grid)))
    price = cross_entropy(logits, grid, neighbors, sigma)
    expected = reference(image, np.ones(image.shape[:3]), 4, "mean", price)
    loss = ColorCrossEntropy(grid, neighbors=neighbors, sigma=sigma)
    assert float(loss(image, logits)) == pytest.approx(expected, rel=2e-5)


@pytest.mark.parametrize("mix", [0.5, 0.9, 1.0])
def test_rebalanced(mix):
    """With bins that never occur: they weigh most, and finitely."""
    prior = np.random.default_rng(2).random(313) ** 4
    prior[::3] = 0
    share = prior / prior.sum()
    balance = 1 / ((1 - mix) * share + mix / 313)
    balance /= (share * balance).sum()
    np.testing.assert_allclose(rebalancing(share, mix), balance)
    image, logits = batch()
    price = cross_entropy(logits, balance=balance)
    expected = reference(image, np.ones(image.shape[:3]), 4, "mean", price)
    loss = ColorCrossEntropy(prior=prior, prior_mix=mix)
    assert float(loss(image, logits)) == pytest.approx(expected, rel=2e-5)
    value, gradient = value_and_gradient(loss, image, logits)
    assert np.isfinite(gradient).all() and gradient[:2].any() and not gradient[2].any()


@pytest.mark.everywhere
@pytest.mark.parametrize("beta", [1.0, pytest.param(40.0, marks=pytest.mark.once)])
def test_smooth_l1_against_numpy(beta):
    image, ab = batch(channels=2)
    ab = (ab / 4).astype("float32")

    def price(truth, n, i, j):
        error = np.abs(ab[n, i, j].astype("float64") - truth / 110)
        b = beta / 110
        return np.where(error < b, error**2 / (2 * b), error - b / 2).sum()

    for subsample in ("mean", "nearest"):
        expected = reference(image, np.ones(image.shape[:3]), 4, subsample, price)
        loss = AbSmoothL1(beta=beta, subsample=subsample)
        assert float(loss(image, ab)) == pytest.approx(expected, rel=2e-5)


@pytest.mark.parametrize("subsample", ["mean", "nearest"])
def test_images_without_color_can_be_left_out(subsample):
    image, logits = batch()
    image[1] = np.mean(image[1], axis=-1, keepdims=True)
    price = cross_entropy(logits)
    ones = np.ones(image.shape[:3])
    for threshold in (5.0, None):
        loss = ColorCrossEntropy(subsample=subsample, gray_threshold=threshold)
        expected = reference(image, ones, 4, subsample, price, threshold)
        assert float(loss(image, logits)) == pytest.approx(expected, rel=2e-5)
    _, gradient = value_and_gradient(
        ColorCrossEntropy(subsample=subsample, gray_threshold=5), image, logits
    )
    assert gradient[0].any() and not gradient[1].any()


def test_gradient_of_the_regression():
    """A unit of the weight's share for each of the channels that are off by more than beta."""
    image = np.full((1, 8, 8, 3), 99.0, "float32")
    _, gradient = value_and_gradient(AbSmoothL1(), image, np.ones((1, 2, 2, 2), "float32"))
    np.testing.assert_allclose(gradient, 0.25, rtol=1e-5)


def test_integers_floats_and_unknown_padding():
    image = np.random.default_rng(0).integers(0, 256, (2, 9, 10, 3), dtype="uint8")
    logits = np.random.default_rng(1).normal(size=(2, 3, 3, 313)).astype("float32")
    loss = ColorCrossEntropy()
    whole = float(loss(image, logits))
    assert float(loss(image.astype("float32"), logits)) == pytest.approx(whole)
    # What is added at the edge and not known changes nothing.
    padded = np.pad(
        image.astype("float32"), ((0, 0), (0, 3), (0, 2), (0, 0)), constant_values=np.inf
    )
    assert float(loss(padded, logits)) == pytest.approx(whole)
    weight = np.ones(padded.shape[:3])
    weight[:, 9:], weight[:, :, 10:] = 0, 0
    assert float(loss(np.where(np.isfinite(padded), padded, 7), logits, weight)) == pytest.approx(
        whole
    )


LOSSES = [
    (lambda **k: ColorCrossEntropy(grid=40, **k), len(ab_bins(40))),
    (lambda **k: ColorCrossEntropy(grid=40, prior=np.ones(len(ab_bins(40))), gray_threshold=5, **k),
     len(ab_bins(40))),
    (lambda **k: AbSmoothL1(beta=5.0, subsample="nearest", **k), 2),
]  # fmt: skip


@pytest.mark.parametrize("make, channels", LOSSES)
def test_contract(make, channels):
    image, prediction = batch(6, 5, channels, stride=1)
    check_loss(make(stride=1), np.nan_to_num(image[:2], nan=90), prediction[:2], void=np.nan)


@pytest.mark.parametrize("make, channels", LOSSES)
def test_contract_at_a_quarter(make, channels):
    image, prediction = batch(channels=channels)
    check_loss(make(), np.nan_to_num(image[:2], nan=90), prediction[:2], void=None)


@pytest.mark.parametrize("make, channels", LOSSES)
def test_nothing_known(make, channels):
    image, prediction = batch(channels=channels)
    for target, weight in [(np.full_like(image, np.nan), None), (image, np.zeros(3))]:
        value, gradient = value_and_gradient(make(), target, prediction, weight)
        assert value == 0 and not gradient.any()


def test_bad_input():
    with pytest.raises(ValueError, match=r"`prior` must have a share for each of the 313.*\(5,\)"):
        ColorCrossEntropy(prior=np.ones(5))
    for wrong in (np.zeros(313), np.full(313, -1.0), np.full(313, np.nan)):
        with pytest.raises(ValueError, match="`prior` must be finite and not negative"):
            ColorCrossEntropy(prior=wrong)
    with pytest.raises(ValueError, match="`prior_mix` must be a number > 0, as 1 of 313 bins"):
        ColorCrossEntropy(prior=np.arange(313), prior_mix=0)
    with pytest.raises(ValueError, match="`prior_mix` must be a number from 0 to 1"):
        ColorCrossEntropy(prior_mix=2.0)
    with pytest.raises(ValueError, match="`stride` must be an integer >= 1. Received: stride=0"):
        AbSmoothL1(stride=0)
    with pytest.raises(ValueError, match="`subsample` must be one of"):
        AbSmoothL1(subsample="area")
    image, logits = np.zeros((1, 9, 8, 3)), np.zeros((1, 3, 2, 313))
    with pytest.raises(ValueError, match="1/4 of the size .rounded up."):
        ColorCrossEntropy()(image, logits[:, :2])
    with pytest.raises(ValueError, match=r"\(B, H, W, 3\)"):
        ColorCrossEntropy()(image[..., :1], logits)
    with pytest.raises(ValueError, match="each of the 313 bins"):
        ColorCrossEntropy()(image, logits[..., :300])
    with pytest.raises(ValueError, match="must have two channels"):
        AbSmoothL1()(image, logits)
    with pytest.raises(ValueError, match="`sample_weight` must have shape"):
        ColorCrossEntropy()(image, logits, np.ones((1, 3, 2)))

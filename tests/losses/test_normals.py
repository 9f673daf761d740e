"""Losses of normals against their formulas in NumPy, float64."""

import keras
import numpy as np
import pytest

from keras_dense import losses
from keras_dense.losses.normals import known_normals
from keras_dense.testing import check_loss
from keras_dense.testing.expect import value_and_gradient


def angle(n, m):
    return np.arccos(np.clip((n * m).sum(-1), -1, 1))


def von_mises_fisher(n, m, k):
    return -np.log(k) - k * ((n * m).sum(-1) - 1) + np.log(1 - np.exp(-2 * k))


def angular_von_mises_fisher(n, m, k):
    return -np.log(k**2 + 1) + k * angle(n, m) + np.log(1 + np.exp(-k * np.pi))


FORMULAS = {
    losses.NormalsCosine: lambda n, m, k: 1 - (n * m).sum(-1),
    losses.NormalsAngular: lambda n, m, k: angle(n, m),
    losses.NormalsL1: lambda n, m, k: np.abs(n - m).sum(-1),
    losses.NormalsL2: lambda n, m, k: ((n - m) ** 2).sum(-1),
    losses.VonMisesFisher: von_mises_fisher,
    losses.AngularVonMisesFisher: angular_von_mises_fisher,
}
EVERY = pytest.mark.parametrize("cls", FORMULAS, ids=lambda c: c.__name__)
PROBABLE = [losses.VonMisesFisher, losses.AngularVonMisesFisher]


def channels(cls):
    return 4 if cls in PROBABLE else 3


def batch(shape=(2, 5, 7), holes=True, seed=0, channels=4):
    rng = np.random.default_rng(seed)
    truth, prediction = rng.normal(size=(2, *shape, 3))
    truth /= np.linalg.norm(truth, axis=-1, keepdims=True)
    prediction *= rng.uniform(0.1, 5, (*shape, 1))
    kappa = rng.uniform(0.02, 30, (*shape, 1))
    if holes:
        hole = rng.random(shape)
        truth[hole < 0.1] = 0
        truth[(hole > 0.1) & (hole < 0.2)] = np.nan
        truth[(hole > 0.2) & (hole < 0.3)] *= 0.4
        truth[hole > 0.8] *= 0.7  # too short, but a direction
    prediction = np.concatenate([prediction, kappa], -1)[..., :channels]
    return truth.astype("float32"), prediction.astype("float32")


def expected(cls, truth, prediction, weight=None):
    truth, prediction = truth.astype("float64"), prediction.astype("float64")
    length = np.linalg.norm(truth, axis=-1)
    known = length >= 0.5
    weight = np.ones(truth.shape[:3]) if weight is None else np.broadcast_to(weight, known.shape)
    n = truth[known] / length[known][:, None]
    m = prediction[known][:, :3]
    m = m / np.linalg.norm(m, axis=-1, keepdims=True)
    cost = FORMULAS[cls](n, m, prediction[known][:, -1])
    return (weight[known] * cost).sum() / weight[known].sum()


@EVERY
def test_contract(cls):
    check_loss(cls(), *batch(holes=False, channels=channels(cls)), void=0)


@pytest.mark.everywhere
@EVERY
@pytest.mark.parametrize("shape", [(2, 5, 7), (1, 1, 30), (3, 16, 9)])
def test_values(cls, shape):
    truth, prediction = batch(shape, channels=channels(cls))
    known = np.linalg.norm(truth, axis=-1) >= 0.5
    assert 0 < known.sum() < known.size
    value = float(cls()(truth, prediction))
    assert value == pytest.approx(expected(cls, truth, prediction), rel=2e-6, abs=1e-6)
    weight = np.random.default_rng(1).uniform(0, 2, shape)
    wanted = expected(cls, truth, prediction, weight)
    for form in (weight, weight[..., None]):
        assert float(cls()(truth, prediction, form)) == pytest.approx(wanted, rel=2e-6, abs=1e-6)
    weight = np.arange(1.0, shape[0] + 1)
    wanted = expected(cls, truth, prediction, weight[:, None, None])
    assert float(cls()(truth, prediction, weight)) == pytest.approx(wanted, rel=2e-6, abs=1e-6)


@EVERY
def test_gradient_is_the_slope(cls):
    truth, prediction = batch((1, 3, 4), channels=channels(cls))
    _, gradient = value_and_gradient(cls(), truth, prediction)
    step, numeric = 1e-6, np.zeros(prediction.shape)
    for index in np.ndindex(prediction.shape):
        ends = [prediction.astype("float64") for _ in range(2)]
        ends[0][index] += step
        ends[1][index] -= step
        up, down = (expected(cls, truth, end) for end in ends)
        numeric[index] = (up - down) / (2 * step)
    np.testing.assert_allclose(gradient, numeric, rtol=1e-4, atol=1e-5)


@EVERY
def test_an_image_of_nothing_and_one_that_is_perfect(cls):
    truth, prediction = batch((2, 4, 5), holes=False, channels=channels(cls))
    for nothing in (0.0, np.nan, 0.1):
        value, gradient = value_and_gradient(cls(), np.full_like(truth, nothing), prediction)
        assert value == 0 and not gradient.any()
    half = truth.copy()
    half[0] = np.nan
    alone = float(cls()(truth[1:], prediction[1:]))
    assert float(cls()(half, prediction)) == pytest.approx(alone, rel=1e-6)
    prediction[..., :3] = 3 * truth
    value, gradient = value_and_gradient(cls(), truth, prediction)
    # Rounding decides the direction, but an angle's slope is at most κ, over length and pixels.
    assert np.isfinite(gradient).all() and np.abs(gradient[..., :3]).max() <= 30 / 3 / 40
    if cls not in PROBABLE:
        assert value == pytest.approx(0, abs=1e-6)


@EVERY
def test_gradient_is_finite_at_nothing_and_opposite(cls):
    truth, prediction = batch((1, 4, 5), holes=False, channels=channels(cls))
    prediction[0, 0, :, :3] = 0
    prediction[0, 1, :, :3] = -truth[0, 1]
    value, gradient = value_and_gradient(cls(), truth, prediction)
    assert np.isfinite(value) and np.isfinite(gradient).all()
    assert gradient[0, 2:].any()


@pytest.mark.parametrize("cls", PROBABLE)
def test_concentration(cls):
    """The best κ by search is where the gradient of κ vanishes; below .01 it is .01."""
    truth = np.tile(np.float32([0, 0, -1]), (1, 1, 400, 1))
    tilt = np.abs(np.random.default_rng(0).normal(size=400)) * 0.1
    normal = np.stack([np.sin(tilt), 0 * tilt, -np.cos(tilt)], -1)[None, None]

    def value(kappa):
        kappa = np.full((1, 1, 400, 1), kappa)
        return float(cls()(truth, np.concatenate([normal, kappa], -1)))

    grid = np.geomspace(0.02, 2000, 400)
    best = grid[np.argmin([value(k) for k in grid])]
    wanted = grid[np.argmin([FORMULAS[cls](truth, normal, np.float64(k)).mean() for k in grid])]
    assert best == pytest.approx(wanted, rel=0.06)
    assert value(-5.0) == value(0.0) == pytest.approx(value(0.01), abs=1e-6)


def test_expected_angle_is_that_of_the_distribution():
    """The mean angle under the density c exp(-κ θ) over the sphere, integrated."""
    theta = np.linspace(0, np.pi, 200001)
    for kappa in (0.0, 0.3, 2.0, 40.0):
        density = np.exp(-kappa * theta) * np.sin(theta)
        mean = (theta * density).sum() / density.sum()
        assert float(losses.expected_angle(kappa)) == pytest.approx(mean, abs=1e-4)


def test_others_leave_the_concentration_out():
    truth, prediction = batch()
    for cls in FORMULAS:
        if cls not in PROBABLE:
            value = float(cls()(truth, prediction[..., :3]))
            assert float(cls()(truth, prediction)) == value


def test_known():
    lengths = np.array([0, 0.49, 0.5, 1, 3, np.nan, np.inf], "float32")
    normals = np.zeros((7, 3), "float32")
    normals[:, 1] = lengths
    known = keras.ops.convert_to_numpy(known_normals(keras.ops.convert_to_tensor(normals)))
    assert known[:6, 0].tolist() == [False, False, True, True, True, False]


def test_bad_input():
    truth, prediction = batch()
    with pytest.raises(ValueError, match="`y_pred` must have 3 channels for NormalsCosine, or 4"):
        losses.NormalsCosine()(truth, prediction[..., :2])
    for cls in PROBABLE:
        with pytest.raises(ValueError, match=f"4 channels for {cls.__name__}"):
            cls()(truth, prediction[..., :3])
    with pytest.raises(ValueError, match=r"`y_true` must be \(B, H, W, 3\)"):
        losses.NormalsL1()(truth[..., 0], prediction)
    with pytest.raises(ValueError, match="of the same size"):
        losses.NormalsL2()(truth[:, :2], prediction)

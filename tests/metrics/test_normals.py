"""Errors of normals against their definitions in NumPy, float64."""

import numpy as np
import pytest
from keras import ops

from keras_dense.metrics import NormalsErrors
from keras_dense.metrics.normals import LIMITS, SCORES
from keras_dense.testing import check_metric


def batch(shape=(3, 5, 7), spread=0.4, holes=True, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(*shape, 3))
    truth /= np.linalg.norm(truth, axis=-1, keepdims=True)
    tilt = rng.normal(size=(*shape, 3)) * rng.exponential(spread, (*shape, 1))
    prediction = (truth + tilt) * rng.uniform(0.1, 9, (*shape, 1))
    if holes:
        hole = rng.random(shape)
        truth[hole < 0.1] = 0
        truth[(hole > 0.1) & (hole < 0.2)] = np.nan
        truth[(hole > 0.2) & (hole < 0.3)] *= 0.45
        truth[hole > 0.8] *= 1.7
    return truth.astype("float32"), prediction.astype("float32")


def errors(truth, prediction, weight=None):
    truth, prediction = truth.astype("float64"), prediction.astype("float64")
    known = np.linalg.norm(truth, axis=-1) >= 0.5
    if weight is not None:
        known &= np.broadcast_to(weight, known.shape) != 0
    n, m = truth[known], prediction[known]
    cosine = (n * m).sum(-1) / np.linalg.norm(n, axis=-1) / np.linalg.norm(m, axis=-1)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def expected(e):
    values = {"mean": e.mean(), "median": np.median(e), "rmse": np.sqrt((e**2).mean())}
    return {**values, **{name: (e < limit).mean() for name, limit in LIMITS.items()}}


def assert_scores(metric, wanted):
    scores = metric.scores()
    assert list(scores) == list(SCORES)
    for name, value in wanted.items():
        slack = 0.0051 if name == "median" else 0
        assert scores[name] == pytest.approx(value, rel=2e-6, abs=slack + 1e-6), name
        assert type(scores[name]) is float


@pytest.mark.parametrize(
    "score", [SCORES[0], *(pytest.param(s, marks=pytest.mark.once) for s in SCORES[1:])]
)
def test_contract(score):
    check_metric(NormalsErrors(score), *batch())


@pytest.mark.everywhere
@pytest.mark.parametrize(
    "shape",
    [
        (3, 5, 7),
        pytest.param((1, 1, 9), marks=pytest.mark.once),
        pytest.param((2, 64, 33), marks=pytest.mark.once),
    ],
)
def test_scores_by_the_definitions(shape):
    truth, prediction = batch(shape)
    wanted = expected(errors(truth, prediction))
    for score in SCORES:
        metric = NormalsErrors(score)
        metric.update_state(truth, prediction)
        assert_scores(metric, wanted)
        assert float(metric.result()) == pytest.approx(metric.scores()[score], rel=2e-6)
    assert 0 < wanted["within_5"] < wanted["within_30"] < 1 or shape == (1, 1, 9)


def test_one_batch_and_many_of_any_size_give_the_same():
    metric, parts = NormalsErrors("rmse"), []
    for seed, shape in enumerate([(2, 5, 7), (1, 31, 3), (4, 2, 2)]):
        truth, prediction = batch(shape, seed=seed)
        metric.update_state(truth, prediction)
        parts.append(errors(truth, prediction))
    assert_scores(metric, expected(np.concatenate(parts)))


def test_small_errors_are_exact():
    """Angles whose cosine is 1 in float32; and the ends, where a bin more would be one too many."""
    angle = np.radians(np.array([0.0, 0.004, 0.012, 179.9999, 180.0]))
    prediction = np.stack([np.sin(angle), 0 * angle, -np.cos(angle)], -1)[None, None]
    truth = np.broadcast_to([0.0, 0.0, -1.0], prediction.shape)
    metric = NormalsErrors()
    metric.update_state(truth, prediction)
    assert metric.scores()["mean"] == pytest.approx(np.degrees(angle).mean(), rel=1e-6)
    assert metric.scores()["median"] == pytest.approx(0.012, abs=0.005)
    metric.reset_state()
    metric.update_state(truth[:, :, :2], prediction[:, :, :2])
    assert metric.scores()["mean"] == pytest.approx(0.002, abs=1e-6)
    assert metric.scores()["within_5"] == 1


def test_the_median_of_an_even_number_lies_between_two():
    angle = np.radians([10.0, 20.0, 40.0, 80.0])
    prediction = np.stack([np.sin(angle), 0 * angle, -np.cos(angle)], -1)[None, None]
    metric = NormalsErrors("median")
    metric.update_state(np.broadcast_to([0.0, 0.0, -1.0], prediction.shape), prediction)
    assert float(metric.result()) == pytest.approx(30, abs=0.011)


def test_weights():
    truth, prediction = batch()
    weight = np.random.default_rng(1).integers(0, 3, truth.shape[:3]).astype("float32")
    for form in (weight, weight[..., None], weight > 0):
        metric = NormalsErrors()
        metric.update_state(truth, prediction, form)
        assert_scores(metric, expected(errors(truth, prediction, weight)))
    metric = NormalsErrors()
    metric.update_state(truth, prediction, np.array([1.0, 0.0, 0.0]))
    assert_scores(metric, expected(errors(truth[:1], prediction[:1])))


def test_nothing_counted_is_nan():
    metric = NormalsErrors()
    assert np.isnan(float(metric.result()))
    metric.update_state(np.zeros((1, 2, 2, 3)), np.ones((1, 2, 2, 3)))
    assert np.isnan(float(metric.result()))
    assert all(np.isnan(value) for value in metric.scores().values())


def test_predictions_that_are_not_finite_or_nothing():
    truth, prediction = batch(holes=False)
    wanted = expected(errors(truth, prediction))
    truth[0, 0, :2] = 0
    prediction[0, 0, 0] = np.nan  # nothing is known there
    metric = NormalsErrors()
    metric.update_state(truth, prediction)
    assert np.isfinite(float(metric.result()))
    for value in (np.nan, np.inf):
        prediction[1, 1, 1, 0] = value
        metric.update_state(truth, prediction)
    assert np.isnan(float(metric.result()))
    with pytest.raises(
        ValueError, match="`y_pred` or `sample_weight` is not finite .* at 2 known pixels"
    ):
        metric.scores()
    metric.reset_state()
    truth, prediction = batch(holes=False)
    metric.update_state(truth, prediction)
    assert_scores(metric, wanted)
    metric.reset_state()
    metric.update_state(truth, np.zeros_like(truth))
    assert float(metric.result()) == pytest.approx(90, rel=1e-6)


@pytest.mark.everywhere
def test_counts_never_wrap():
    """Two billion pixels and more in one bin: one more is one more."""
    truth = np.tile([0.0, 0, -1], (1, 1, 3, 1))
    metric = NormalsErrors("within_5")
    start = 6 * 10**9
    for variable, word in ((metric._low, start & (2**24 - 1)), (metric._high, start >> 24)):
        counts = np.zeros(18001, "int32")
        counts[9000] = word
        variable.assign(counts)
    metric.update_state(truth, truth)
    assert metric.scores()["within_5"] == pytest.approx(3 / (start + 3), rel=1e-12)
    assert metric.scores()["median"] == pytest.approx(90.005)
    assert float(metric.result()) == pytest.approx(3 / start, rel=1e-5)


def test_one_measuring_for_several():
    truth, prediction = (ops.convert_to_tensor(x) for x in batch())
    mean = NormalsErrors("mean")
    median = mean.also("median")
    assert (mean.name, median.name) == ("mean", "median")
    calls = []
    for metric in (mean, median):
        metric.measure = lambda *x, m=metric.measure: calls.append(1) or m(*x)
    for metric in (mean, median):
        metric.update_state(truth, prediction)
    assert len(calls) == 1 and mean.scores() == median.scores()


def test_a_fourth_channel_is_left_out():
    truth, prediction = batch()
    metric = NormalsErrors()
    metric.update_state(truth, np.concatenate([prediction, prediction[..., :1] * np.nan], -1))
    assert_scores(metric, expected(errors(truth, prediction)))


def test_bad_input():
    with pytest.raises(
        ValueError, match="`score` must be one of.*'within_11.25'.*score='within_10'"
    ):
        NormalsErrors("within_10")
    truth, prediction = batch()
    with pytest.raises(ValueError, match="`y_pred` must have 3 channels"):
        NormalsErrors().update_state(truth, prediction[..., :2])
    with pytest.raises(ValueError, match=r"`y_true` must be \(B, H, W, 3\)"):
        NormalsErrors().update_state(truth[..., 0], prediction)
    with pytest.raises(ValueError, match="`sample_weight` must have shape"):
        NormalsErrors().update_state(truth, prediction, np.ones((3, 5, 6)))

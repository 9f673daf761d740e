import keras
import numpy as np
import pytest

from keras_dense.losses import BerHu, DepthL1, ScaleInvariantLog, Sum
from keras_dense.testing import check_loss
from keras_dense.testing.expect import value_and_gradient

from . import reference
from .depths import batch


def rows(truth, prediction, weight=None):
    """Known depths, predictions and weights of a batch, in float64."""
    known = np.isfinite(truth) & (np.nan_to_num(truth) > 0)
    weight = np.ones(truth.shape) if weight is None else weight
    return [np.asarray(x, "float64")[known] for x in (truth, prediction[..., 0], weight)]


def silog(truth, prediction, variance_focus=0.5, scale=1.0, root=True, ddof=0, weight=None):
    t, p, w = rows(truth, prediction, weight)
    if not w.sum():
        return 0.0
    d, n = np.log(p) - np.log(t), w.sum()
    mean = (w * d).sum() / n
    variance = (w * (d - mean) ** 2).sum() / (n - ddof)
    value = variance + mean**2 - variance_focus * mean**2
    return scale * (np.sqrt(value) if root else value)


def slopes(truth, prediction):
    """Mean squared first differences of log p - log t over pairs of known pixels."""
    known = np.isfinite(truth) & (np.nan_to_num(truth) > 0)
    d = np.log(prediction[..., 0].astype("float64")) - np.log(np.where(known, truth, 1.0))
    total = 0.0
    for axis in (1, 2):
        pairs = np.diff(known.astype(int), axis=axis) == 0
        pairs &= known[:, 1:] if axis == 1 else known[:, :, 1:]
        total += (np.diff(d, axis=axis)[pairs] ** 2).mean()
    return total


LOSSES = [
    ScaleInvariantLog(),
    ScaleInvariantLog(variance_focus=0.85, scale=10.0, ddof=1),
    ScaleInvariantLog(root=False, reduction_over="image", gradient_weight=1.0),
    ScaleInvariantLog(variance_focus=1.0, gradient_weight=0.5),
    BerHu(),
    DepthL1(),
    DepthL1(log=True),
]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
@pytest.mark.parametrize("void", [0.0, np.nan])
def test_contract(loss, void):
    truth, prediction = batch(unknown=False)
    check_loss(loss, truth, prediction, void=void)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_unknown_pixels_do_not_count_with_any_value(loss):
    truth, prediction = batch()
    value, gradient = value_and_gradient(loss, truth, prediction)
    unknown = ~(np.isfinite(truth) & (np.nan_to_num(truth) > 0))
    assert np.isfinite(gradient).all() and not gradient[unknown].any()
    assert gradient[~unknown].all() or isinstance(loss, BerHu | DepthL1)
    other = prediction.copy()
    other[unknown] = np.nan
    again = float(loss(np.where(unknown, 0.0, truth)[..., None], other))
    assert again == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_an_image_without_a_known_pixel_costs_nothing(loss):
    truth, prediction = batch(unknown=False)
    both = truth.copy()
    both[1] = np.nan
    value, gradient = value_and_gradient(loss, both, prediction)
    alone = float(loss(truth[:1], prediction[:1]))
    assert value == pytest.approx(alone, rel=1e-5)
    assert np.isfinite(gradient).all() and not gradient[1].any()


@pytest.mark.everywhere
def test_scale_invariant_log_by_the_formula():
    truth, prediction = batch()
    cases = [
        {},
        {"variance_focus": 1.0},
        {"variance_focus": 0.0, "root": False},
        {"variance_focus": 0.85, "scale": 10.0},
        {"variance_focus": 0.85, "scale": 10.0, "ddof": 1},
    ]
    for case in cases:
        expected = silog(truth, prediction, **case)
        assert float(ScaleInvariantLog(**case)(truth, prediction)) == pytest.approx(
            expected, rel=1e-5
        )
    # mean d² - variance_focus (mean d)², as it is printed.
    t, p, _ = rows(truth, prediction)
    d = np.log(p / t)
    assert silog(truth, prediction, root=False) == pytest.approx(
        (d**2).mean() - 0.5 * d.mean() ** 2, rel=1e-12
    )


def test_per_image_and_weights():
    truth, prediction = batch((4, 6, 5))
    truth[2] = 0.0
    weight = np.random.default_rng(1).random(truth.shape)
    kept = [0, 1, 3]
    for case in ({}, {"root": False}, {"ddof": 1}):
        each = [
            silog(truth[i], prediction[i], weight=weight[i], **case)
            if "ddof" not in case
            else silog(truth[i], prediction[i], **case)
            for i in kept
        ]
        loss = ScaleInvariantLog(reduction_over="image", **case)
        value = loss(truth, prediction, None if "ddof" in case else weight)
        assert float(value) == pytest.approx(np.mean(each), rel=1e-5)
    pooled = silog(truth, prediction, weight=weight)
    assert float(ScaleInvariantLog()(truth, prediction, weight)) == pytest.approx(pooled, rel=1e-5)
    alike = ScaleInvariantLog()(truth, prediction, 0.5 * np.ones(4))
    assert float(alike) == pytest.approx(silog(truth, prediction), rel=1e-5)


def test_eigen_2015():
    truth, prediction = batch((1, 6, 5))
    loss = ScaleInvariantLog(root=False, reduction_over="image", gradient_weight=2.0)
    expected = silog(truth, prediction, root=False) + 2.0 * slopes(truth, prediction)
    assert float(loss(truth, prediction)) == pytest.approx(expected, rel=1e-5)
    truth, prediction = batch()
    loss = ScaleInvariantLog(root=False, gradient_weight=2.0)
    expected = silog(truth, prediction, root=False) + 2.0 * slopes(truth, prediction)
    assert float(loss(truth, prediction)) == pytest.approx(expected, rel=1e-5)


def test_scale_invariant_log_gradient():
    truth, prediction = batch()
    for case in ({}, {"variance_focus": 0.85, "scale": 10.0, "ddof": 1}, {"root": False}):
        _, gradient = value_and_gradient(ScaleInvariantLog(**case), truth, prediction)
        expected = reference.numeric_gradient(lambda x, c=case: silog(truth, x, **c), prediction)
        np.testing.assert_allclose(gradient, expected, rtol=2e-4, atol=1e-6)


def test_a_perfect_prediction_has_no_gradient():
    truth, _ = batch(unknown=False)
    for loss in LOSSES[:4]:
        value, gradient = value_and_gradient(loss, truth, truth[..., None])
        assert value == pytest.approx(0.0, abs=1e-6) and np.isfinite(gradient).all()


def test_no_scale_is_right_for_lam_1_far_away():
    """A variance of 1e-4 beside a mean of 3: the difference of two squares would lose it."""
    rng = np.random.default_rng(0)
    truth = rng.uniform(1, 2, (2, 6, 5)).astype("float32")
    prediction = (truth * np.exp(3 + 1e-2 * rng.normal(size=truth.shape))).astype("float32")
    value = float(ScaleInvariantLog(variance_focus=1.0)(truth, prediction[..., None]))
    assert value == pytest.approx(silog(truth, prediction[..., None], variance_focus=1.0), rel=1e-4)


def test_a_prediction_that_is_not_positive_is_led_back():
    truth = np.full((2, 6, 5), 3.0, "float32")
    for wrong in (-2.0, 0.0, 5e-4):
        prediction = truth[..., None].copy()
        prediction[0, 0, 0] = wrong
        for loss in (ScaleInvariantLog(), DepthL1(log=True)):
            value, gradient = value_and_gradient(loss, truth, prediction)
            assert np.isfinite(value) and gradient[0, 0, 0] < 0


def berhu(truth, prediction, threshold=0.2, weight=None):
    t, p, w = rows(truth, prediction, weight)
    e = np.abs(p - t)
    c = threshold * e[w > 0].max()
    each = np.where(e <= c, e, (e**2 + c**2) / (2 * max(c, 1e-30)))
    return (w * each).sum() / w.sum()


@pytest.mark.everywhere
def test_berhu_by_the_formula():
    truth, prediction = batch()
    weight = np.random.default_rng(2).integers(0, 3, truth.shape).astype("float32")
    for threshold in (0.2, 0.5, 1.0):
        loss = BerHu(threshold=threshold)
        assert float(loss(truth, prediction)) == pytest.approx(
            berhu(truth, prediction, threshold), rel=1e-5
        )
        assert float(loss(truth, prediction, weight)) == pytest.approx(
            berhu(truth, prediction, threshold, weight), rel=1e-5
        )
    assert float(BerHu(threshold=1.0)(truth, prediction)) == pytest.approx(
        float(DepthL1()(truth, prediction)), rel=1e-6
    )


def test_berhu_gradient_leaves_the_limit_alone():
    truth, prediction = batch(unknown=False)
    error = (prediction[..., 0] - truth).astype("float64")
    limit = 0.2 * np.abs(error).max()
    expected = np.where(np.abs(error) <= limit, np.sign(error), error / limit) / error.size
    _, gradient = value_and_gradient(BerHu(), truth, prediction)
    np.testing.assert_allclose(gradient[..., 0], expected, rtol=1e-4)
    value, gradient = value_and_gradient(BerHu(), truth, truth[..., None])
    assert value == 0.0 and np.isfinite(gradient).all()


@pytest.mark.everywhere
def test_l1_by_the_formula():
    truth, prediction = batch()
    weight = np.random.default_rng(3).random(truth.shape)
    t, p, w = rows(truth, prediction, weight)
    meters = (w * np.abs(p - t)).sum() / w.sum()
    logs = (w * np.abs(np.log(p / t))).sum() / w.sum()
    assert float(DepthL1()(truth, prediction, weight)) == pytest.approx(meters, rel=1e-5)
    assert float(DepthL1(log=True)(truth, prediction, weight)) == pytest.approx(logs, rel=1e-5)


def test_sum_of_losses():
    truth, prediction = batch()
    total = Sum([ScaleInvariantLog(), DepthL1()], weights=[1.0, 0.1])
    expected = float(ScaleInvariantLog()(truth, prediction)) + 0.1 * float(
        DepthL1()(truth, prediction)
    )
    assert float(total(truth, prediction)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.everywhere
def test_any_size_in_a_graph_that_does_not_know_it():
    model = keras.Sequential([keras.Input((None, None, 1)), keras.layers.Conv2D(1, 1)])
    model.compile("sgd", loss=ScaleInvariantLog(reduction_over="image", gradient_weight=1.0))
    for shape in ((2, 5, 7), (1, 1, 3), (1, 4, 1)):
        truth, prediction = batch(shape, unknown=False)
        assert np.isfinite(model.train_on_batch(prediction, truth))


def test_bad_arguments():
    with pytest.raises(ValueError, match="`variance_focus` must be a number from 0 to 1"):
        ScaleInvariantLog(variance_focus=1.5)
    with pytest.raises(ValueError, match="`reduction_over` must be one of 'batch', 'image'"):
        ScaleInvariantLog(reduction_over="pixel")
    with pytest.raises(ValueError, match="`ddof` must be an integer from 0 to 1"):
        ScaleInvariantLog(ddof=2)
    with pytest.raises(ValueError, match="`threshold` must be a number from 0 to 1"):
        BerHu(threshold=-1)
    truth, prediction = batch()
    with pytest.raises(ValueError, match=r"`y_pred` must be depth of shape \(B, H, W, 1\)"):
        DepthL1()(truth, np.repeat(prediction, 3, -1))
    with pytest.raises(ValueError, match="of the same size"):
        DepthL1()(truth[:, 1:], prediction)

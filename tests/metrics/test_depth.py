import itertools

import keras
import numpy as np
import pytest
from keras import ops

from keras_dense.metrics import DepthErrors
from keras_dense.metrics.depth import PROTOCOLS, SCORES, edge
from keras_dense.testing import check_metric

UNKNOWN = (0.0, -1.0, np.nan, np.inf, -np.inf)


def batch(shape=(3, 7, 9), seed=0, unknown=True):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.5, 9.0, shape)
    prediction = truth * np.exp(rng.normal(0.1, 0.3, shape))
    if unknown:
        holes = rng.random(shape) < 0.2
        truth[holes] = rng.choice(UNKNOWN, holes.sum())
    return truth.astype("float32"), prediction[..., None].astype("float32")


def errors(t, p):
    """The scores of known pixels by their definitions, in float64."""
    t, p = np.asarray(t, "float64"), np.asarray(p, "float64")
    d, worst = np.log(p) - np.log(t), np.maximum(p / t, t / p)
    return {
        "abs_rel": np.mean(np.abs(p - t) / t),
        "sq_rel": np.mean((p - t) ** 2 / t),
        "rmse": np.sqrt(np.mean((p - t) ** 2)),
        "rmse_log": np.sqrt(np.mean(d**2)),
        "log10": np.mean(np.abs(np.log10(p) - np.log10(t))),
        "silog": 100 * np.sqrt(np.mean(d**2) - np.mean(d) ** 2),
        "delta1": np.mean(worst < 1.25),
        "delta2": np.mean(worst < 1.25**2),
        "delta3": np.mean(worst < 1.25**3),
    }


def evaluate(truth, prediction, low=1e-3, high=np.inf, crop=None, reduction="image", median=False):
    """The whole protocol, an image at a time."""
    rows = []
    for t, p in zip(truth.astype("float64"), prediction[..., 0].astype("float64"), strict=True):
        if crop is not None:
            top, bottom, left, right = crop
            t, p = t[top:bottom, left:right], p[top:bottom, left:right]
        known = np.isfinite(t) & (t > low) & (t < high)
        t, p = t[known], p[known]
        p = np.where(np.isnan(p), low, p)
        if median and t.size:
            p = p * np.median(t) / np.median(p)
        rows.append((t, np.clip(p, low, high)))
    if reduction == "pixel":
        return errors(*(np.concatenate(x) for x in zip(*rows, strict=True)))
    each = [errors(t, p) for t, p in rows if t.size]
    return {name: np.mean([e[name] for e in each]) for name in SCORES}


def check(metric, expected, rel=2e-6):
    scores = metric.scores()
    assert set(scores) == set(SCORES)
    for name, value in expected.items():
        assert type(scores[name]) is float
        assert scores[name] == pytest.approx(value, rel=rel), name
    assert float(metric.result()) == pytest.approx(expected[metric.score], rel=rel)


@pytest.mark.parametrize(
    "score", [SCORES[0], *(pytest.param(s, marks=pytest.mark.once) for s in SCORES[1:])]
)
def test_contract(score):
    check_metric(DepthErrors(score, max_depth=10.0, reduction="pixel"), *batch((2, 3, 4)))


@pytest.mark.everywhere
@pytest.mark.parametrize("reduction", ["image", "pixel"])
@pytest.mark.parametrize("median", [False, True])
def test_scores_by_the_definitions(reduction, median):
    truth, prediction = batch()
    truth[1] = np.nan
    prediction[0, :2, :2] = np.array([np.nan, np.inf, 0.0, -3.0]).reshape(2, 2, 1)
    metric = DepthErrors(
        "rmse", min_depth=0.8, max_depth=7.0, reduction=reduction, median_scaling=median
    )
    metric.update_state(truth, prediction)
    expected = evaluate(truth, prediction, 0.8, 7.0, reduction=reduction, median=median)
    check(metric, expected)


@pytest.mark.parametrize("reduction", ["image", "pixel"])
def test_one_batch_or_many_of_any_size(reduction):
    truth, prediction = batch((4, 6, 5))
    whole, parts = (DepthErrors("silog", reduction=reduction) for _ in range(2))
    whole.update_state(truth, prediction)
    for i in (2, 0, 3, 1):
        parts.update_state(truth[i : i + 1], prediction[i : i + 1, ...])
    check(parts, whole.scores())
    other = batch((1, 9, 4), seed=1)
    whole.update_state(*other)
    assert whole.scores() != parts.scores()
    if reduction == "image":
        last = DepthErrors("silog")
        last.update_state(*other)
        expected = 0.8 * parts.scores()["rmse"] + 0.2 * last.scores()["rmse"]
        assert whole.scores()["rmse"] == pytest.approx(expected, rel=1e-6)


def test_in_fit_and_after_saving(tmp_path):
    truth, prediction = batch((4, 6, 5))
    image = keras.Input((None, None, 1))
    model = keras.Model(image, keras.layers.Activation("linear")(image))
    metric = DepthErrors("silog", max_depth=10.0, crop=(0.2, 1.0, 0.0, 0.9))
    model.compile(loss="mae", metrics=[metric, metric.also("delta2")])
    model.save(tmp_path / "m.keras")
    expected = evaluate(truth, prediction, high=10.0, crop=(1, 6, 0, 4))
    for again in (model, keras.saving.load_model(tmp_path / "m.keras")):
        values = again.evaluate(prediction, truth, batch_size=2, verbose=0, return_dict=True)
        for name in ("silog", "delta2"):
            assert values[name] == pytest.approx(expected[name], rel=1e-5)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_protocols(name):
    """Crops by slices, as the papers' code has them."""
    rng = np.random.default_rng(0)
    nyu = name.startswith("nyu")
    size = (480, 640) if nyu else (375, 1242)
    truth = rng.uniform(0.1, 11 if nyu else 90, (1, *size)).astype("float32")
    prediction = (truth * rng.uniform(0.7, 1.5, truth.shape))[..., None].astype("float32")
    # Outside of the crop everything is wrong.
    prediction[:, :60] *= 0.5
    prediction[:, :, -50:] *= 0.5
    height, width = size
    garg = (0.40810811 * height, 0.99189189 * height, 0.03594771 * width, 0.96405229 * width)
    eigen = (0.3324324 * height, 0.91351351 * height, 0.0359477 * width, 0.96405229 * width)
    crop = {
        "nyu_bts": (45, 471, 41, 601),
        "nyu_densedepth": (20, 460, 24, 616),
        "nyu_geonet": (44, 471, 40, 601),
        "kitti_garg": tuple(map(int, garg)),
        "kitti_eigen": tuple(map(int, eigen)),
    }[name]
    metric = DepthErrors("abs_rel", protocol=name)
    metric.update_state(truth, prediction)
    reduction = "pixel" if name in ("nyu_densedepth", "nyu_geonet") else "image"
    assert metric.reduction == reduction
    check(metric, evaluate(truth, prediction, 1e-3, 10 if nyu else 80, crop, reduction))


def test_a_protocol_can_be_changed():
    metric = DepthErrors("rmse", protocol="kitti_garg", max_depth=50.0, median_scaling=True)
    assert (metric.min_depth, metric.max_depth, metric.reduction) == (1e-3, 50.0, "image")
    copy = DepthErrors.from_config(metric.get_config())
    assert copy.get_config() == metric.get_config() and copy.crop == metric.crop


def test_shares_are_cut_as_double_precision_cuts_them():
    shares = {v for p in PROTOCOLS.values() for v in p["crop"] if isinstance(v, float)}
    for share, size in itertools.product(shares, range(1, 2000)):
        assert edge(share, size) == int(share * size)
    in_a_graph = ops.convert_to_numpy(edge(0.99189189, ops.convert_to_tensor(370, "int32")))
    assert in_a_graph == 366


def test_weights_choose_pixels():
    truth, prediction = batch()
    weight = np.random.default_rng(1).integers(0, 3, truth.shape).astype("float32")
    metric = DepthErrors("abs_rel")
    metric.update_state(truth, prediction, weight)
    check(metric, evaluate(np.where(weight > 0, truth, 0), prediction))


def test_nothing_counted_is_nan():
    for reduction in ("image", "pixel"):
        metric = DepthErrors("rmse", reduction=reduction, median_scaling=True)
        assert np.isnan(float(metric.result()))
        metric.update_state(np.full((1, 2, 2), np.nan), np.ones((1, 2, 2, 1)))
        assert np.isnan(float(metric.result())) and np.isnan(metric.scores()["delta1"])


def test_limits_are_not_counted_and_predictions_are_clipped():
    truth = np.array([1.0, 2.0, 5.0]).reshape(1, 1, 3)
    metric = DepthErrors("abs_rel", min_depth=1.0, max_depth=5.0)
    metric.update_state(truth, np.array([9.0, 7.0, 9.0]).reshape(1, 1, 3, 1))
    assert float(metric.result()) == 1.5
    exact = DepthErrors("delta1")
    exact.update_state(np.ones((1, 1, 1)), np.full((1, 1, 1, 1), 1.25))
    assert float(exact.result()) == 0.0


@pytest.mark.everywhere
@pytest.mark.parametrize("reduction", ["image", "pixel"])
def test_no_digit_is_lost_over_a_data_set(reduction):
    """2^24 pixels of an error of 1, then thousands of batches of one: float32 alone would stop."""
    metric = DepthErrors("rmse", reduction=reduction)
    large = np.full(10, 2.0**24, "float32")
    small = np.array([0.1, 0.3, 1, 0.7, 0.01, 0.5, 1, 0, 1, 1], "float32")
    metric.add(ops.convert_to_tensor(large))
    add = compiled_add(metric)
    for _ in range(1000):
        add(ops.convert_to_tensor(small))
    total = large.astype("float64") + 1000 * small.astype("float64")
    sums = sum(ops.convert_to_numpy(v.value).astype("float64") for v in metric.variables[:2])
    np.testing.assert_allclose(sums, total, rtol=2e-12)


def compiled_add(metric):
    """`metric.add` as `fit` runs it: compilers must not take the rest for zero."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(metric.add)
    if backend == "jax":
        import jax

        @jax.jit
        def step(variables, x):
            with keras.StatelessScope(list(zip(metric.variables, variables, strict=True))) as scope:
                metric.add(x)
            return [scope.get_current_value(v) for v in metric.variables]

        def add(x):
            for v, value in zip(
                metric.variables, step([v.value for v in metric.variables], x), strict=True
            ):
                v.assign(value)

        return add
    return metric.add


def test_sums_of_large_images_against_float64():
    rng = np.random.default_rng(2)
    truth = rng.uniform(0.5, 9.5, (1, 480, 640)).astype("float32")
    prediction = (truth * np.exp(rng.normal(0.3, 0.05, truth.shape)))[..., None].astype("float32")
    for reduction in ("image", "pixel"):
        metric = DepthErrors("silog", reduction=reduction)
        for _ in range(3):
            metric.update_state(truth, prediction)
        check(metric, evaluate(truth, prediction, reduction=reduction), rel=3e-6)


def test_bad_arguments():
    with pytest.raises(ValueError, match="`score` must be one of"):
        DepthErrors("mae")
    with pytest.raises(ValueError, match="`protocol` must be one of .*'nyu_bts'"):
        DepthErrors(protocol="nyu")
    with pytest.raises(ValueError, match="`max_depth` must be more than min_depth=2.0"):
        DepthErrors(min_depth=2.0, max_depth=1.0)
    with pytest.raises(ValueError, match="`reduction` must be one of 'image', 'pixel'"):
        DepthErrors(reduction="batch")
    for crop in ((1, 2, 3), (5, 2, 0, 1), (0.2, 1.2, 0.0, 1.0), "garg", (-1, 3, 0, 2)):
        with pytest.raises(ValueError, match="`crop` must be"):
            DepthErrors(crop=crop)
    truth, prediction = batch()
    with pytest.raises(ValueError, match=r"`y_pred` must be of size \(480, 640\)"):
        DepthErrors(protocol="nyu_bts").update_state(truth, prediction)
    with pytest.raises(ValueError, match="`crop` must lie within the maps"):
        DepthErrors(crop=(0, 8, 0, 9)).update_state(truth, prediction)
    with pytest.raises(ValueError, match="`y_pred` must be depth"):
        DepthErrors().update_state(truth, np.repeat(prediction, 2, -1))
    with pytest.raises(ValueError, match="same size"):
        DepthErrors().update_state(truth[:, 1:], prediction)

"""The promises of every metric to Keras and about bad samples: a table of all scores."""

import json

import keras
import numpy as np
import pytest
from keras import ops

from keras_dense import metrics
from keras_dense.metrics import colorization, depth, instance_maps, normals, scores
from keras_dense.testing.expect import expect_round_trip

RNG = np.random.default_rng(0)
SHAPE = (2, 12, 12)
LABELS = RNG.integers(0, 3, SHAPE)
DEPTH = RNG.uniform(0.5, 9.0, (*SHAPE, 1)).astype("float32")
NORMALS = RNG.normal(size=(*SHAPE, 3)).astype("float32")
SEGMENTED = (
    LABELS,
    255,
    np.eye(3, dtype="float32")[LABELS],
    np.eye(3, dtype="float32")[LABELS - 1],
)
GRAY = np.repeat(RNG.uniform(20, 230, (*SHAPE, 1)), 3, -1).astype("float32")  # a and b are 0
# Foreground, and the relative distance to the border.
MAPS = np.stack([LABELS > 0, (LABELS > 0) * DEPTH[..., 0] / 9], -1).astype("float32")
SURE = np.log(MAPS.clip(0.01, 0.99) / (1 - MAPS.clip(0.01, 0.99)))


def of_images(cls):
    return lambda score: cls(3, name=score), (cls(3).name,), SEGMENTED


# How a metric of a score is made, a truth and what is unknown in it, right and wrong predictions.
FAMILIES = {
    "ConfusionMatrix": (
        lambda score: metrics.ConfusionMatrix(3, score=score),
        scores.SCORES,
        SEGMENTED,
    ),
    "BoundaryIoU": (
        lambda score: metrics.BoundaryIoU(3, name=score),
        ("boundary_iou",),
        SEGMENTED,
    ),
    "AverageSurfaceDistance": of_images(metrics.AverageSurfaceDistance),
    "BoundaryF": of_images(metrics.BoundaryF),
    "DicePerImage": of_images(metrics.DicePerImage),
    "HausdorffDistance": of_images(metrics.HausdorffDistance),
    "SurfaceDice": of_images(metrics.SurfaceDice),
    "CalibrationError": (
        lambda score: metrics.CalibrationError(3, name=score),
        ("calibration_error",),
        (LABELS, 255, 9 * SEGMENTED[2], 9 * SEGMENTED[3]),
    ),
    "DepthErrors": (
        metrics.DepthErrors,
        depth.SCORES,
        (DEPTH, 0, DEPTH, np.where(RNG.random(DEPTH.shape) < 0.5, 3 * DEPTH, DEPTH / 3)),
    ),
    "RelativeDepthErrors": (
        metrics.RelativeDepthErrors,
        depth.SCORES,
        (1 / DEPTH, 0, 3 / DEPTH + 1, 1 / np.roll(DEPTH, 5, 1)),
    ),
    "NormalsErrors": (metrics.NormalsErrors, normals.SCORES, (NORMALS, 0, NORMALS, -NORMALS)),
    "InstanceMapErrors": (
        metrics.InstanceMapErrors,
        instance_maps.SCORES,
        (MAPS, np.nan, SURE, -SURE),
    ),
    "MeanAveragePrecision": (
        lambda score: metrics.MeanAveragePrecision(3, name=score),
        ("mean_average_precision",),
        (np.eye(3, dtype=int)[LABELS], 255, SEGMENTED[2], SEGMENTED[3]),
    ),
    "ColorErrors": (
        lambda score: metrics.ColorErrors(score, stride=1),
        colorization.SCORES,
        (GRAY, np.nan, np.zeros((*SHAPE, 2), "float32"), np.full((*SHAPE, 2), 0.4, "float32")),
    ),
}
# The same code as in HausdorffDistance.
ONCE = ("AverageSurfaceDistance", "BoundaryF", "DicePerImage", "SurfaceDice")
EVERY = pytest.mark.parametrize(
    "family",
    [pytest.param(name, marks=[pytest.mark.once] * (name in ONCE)) for name in sorted(FAMILIES)],
)
EVERY_SCORE = pytest.mark.parametrize(
    "family, score", [(name, score) for name, row in FAMILIES.items() for score in row[1]]
)


def test_the_table_has_every_metric():
    of_keras = {
        name
        for name in metrics.__all__
        if isinstance(getattr(metrics, name), type)
        and issubclass(getattr(metrics, name), keras.metrics.Metric)
    }
    assert of_keras == set(FAMILIES)


def measured(metric, *batch):
    metric.reset_state()
    metric.update_state(*batch)
    return float(metric.result())


@pytest.mark.once
@EVERY_SCORE
def test_direction_is_where_the_right_prediction_is(family, score):
    make, _, (truth, _, right, wrong) = FAMILIES[family]
    metric = make(score)
    best, worst = measured(metric, truth, right), measured(metric, truth, wrong)
    assert np.isfinite([best, worst]).all()
    assert metric._direction == ("up" if best > worst else "down")
    if len(FAMILIES[family][1]) > 1:
        assert make(FAMILIES[family][1][0]).also(score)._direction == metric._direction


@pytest.mark.once
def test_callbacks_of_keras_find_the_direction(tmp_path):
    class Copy(keras.layers.Layer):
        def build(self, shape):
            self.factor = self.add_weight(shape=(), initializer="ones")

        def call(self, x):
            return x * self.factor

    image = keras.Input((None, None, 1))
    model = keras.Model(image, Copy()(image))
    rmse = metrics.DepthErrors("rmse")
    model.compile(
        keras.optimizers.SGD(0.0),
        loss=keras.losses.MeanAbsoluteError(),
        metrics=[rmse],
        weighted_metrics=[rmse.also("delta1")],
        run_eagerly=True,
    )
    callbacks = [
        keras.callbacks.EarlyStopping(monitor="val_rmse", mode="auto"),
        keras.callbacks.ReduceLROnPlateau(monitor="val_delta1", mode="auto"),
        keras.callbacks.ModelCheckpoint(
            str(tmp_path / "best.keras"), monitor="val_delta1", save_best_only=True, mode="auto"
        ),
    ]
    model.fit(
        DEPTH, DEPTH, validation_data=(DEPTH, 2 * DEPTH), verbose=0, callbacks=callbacks, epochs=1
    )
    assert [c.monitor_op.__name__ for c in callbacks] == ["less", "greater", "greater"]
    assert (tmp_path / "best.keras").exists()


VOID = RNG.random(SHAPE) < 0.2
NONE = np.zeros(SHAPE, bool)


# What is measured for all scores at once is looked at in the first.
MEASURED = [(family, row[1][0]) for family, row in FAMILIES.items() if family != "ColorErrors"]
MEASURED += [("ColorErrors", score) for score in colorization.SCORES]


@pytest.mark.parametrize("family, score", MEASURED)
def test_predictions_of_nan(family, score, compiled):
    """They do not count where nothing is known or weights are 0; elsewhere the score is NaN."""
    make, _, (truth, unknown, right, wrong) = FAMILIES[family]
    metric = make(score)
    start = [v.value for v in metric.variables]
    update = compiled(metric.stateless_update_state)

    def measured(y_true, y_pred, weight):
        batch = y_true.astype("float32"), y_pred, weight.astype("float32")
        return float(metric.stateless_result(update(start, *map(ops.convert_to_tensor, batch))))

    known, truth = truth, np.array(truth, np.result_type(truth, np.min_scalar_type(unknown)))
    truth[VOID] = unknown
    half = np.where(RNG.random(SHAPE)[..., None] < 0.5, right, wrong).astype("float32")
    value = measured(truth, half, ~NONE)
    assert np.isfinite(value) or score == "ssim"  # which has no window without holes
    spoiled = np.where(VOID[..., None], np.float32(np.nan), half)
    np.testing.assert_allclose(measured(truth, spoiled, ~NONE), value, rtol=1e-6)
    if family != "BoundaryIoU":  # there weights choose from boundaries of all
        np.testing.assert_allclose(measured(known, spoiled, ~VOID), value, rtol=1e-6)
    spoiled[tuple(np.argwhere(~VOID)[0])] = np.nan
    value = measured(truth, spoiled, ~NONE)
    # Evaluations of depth take NaN for the least depth.
    assert np.isfinite(value) if "DepthErrors" in family else np.isnan(value)
    # Weights that are none, at a pixel that is known.
    for bad in (np.nan, np.inf, -1.0):
        weight = np.where(np.arange(VOID.size).reshape(SHAPE) == np.argmin(VOID), bad, 1.0)
        assert np.isnan(measured(truth, half, weight))


@pytest.mark.once
@EVERY
def test_weights_that_are_none(family):
    make, names, (truth, _, right, _) = FAMILIES[family]
    metric = make(names[0])
    for bad in (np.nan, np.inf, -1.0):
        weight = np.ones(SHAPE, "float32")
        weight[0, 0, 0] = bad
        with pytest.raises(ValueError, match="`sample_weight` must be finite and not negative"):
            metric.update_state(truth, right, weight)
        assert np.isnan(measured(metric, truth, right, ops.convert_to_tensor(weight)))
        if hasattr(metric, "scores") and "DepthErrors" not in family:
            with pytest.raises(ValueError, match="sample_weight`? is (negative or )?not finite"):
                metric.scores()
    assert np.isfinite(measured(metric, truth, right))


@pytest.mark.once
@EVERY
def test_arrays_like_lists(family):
    make, names, (truth, _, right, wrong) = FAMILIES[family]
    half, weight = np.where(LABELS[..., None] == 0, right, wrong), LABELS < 2
    value = measured(make(names[0]), truth, half, weight)
    found = measured(make(names[0]), truth.tolist(), half.tolist(), weight.tolist())
    assert found == pytest.approx(value, rel=1e-6)
    with pytest.raises(TypeError, match="`y_true` must be an array of numbers"):
        make(names[0]).update_state("truth", half)


@pytest.mark.everywhere
@EVERY
def test_states_are_handed_on_as_keras_does(family, compiled):
    make, names, (truth, _, right, wrong) = FAMILIES[family]
    metric, half = make(names[0]), np.where(LABELS[..., None] == 0, right, wrong)
    assert np.isnan(float(metric.result()))  # nothing was counted
    start = [v.value for v in metric.variables]
    states = compiled(metric.stateless_update_state)(start, truth, half)
    assert np.isfinite(float(metric.stateless_result(states)))
    assert np.isnan(float(metric.result()))
    for variable, state in zip(metric.variables, states, strict=True):
        variable.assign(state)
    assert np.isfinite(float(metric.result()))
    metric.reset_state()
    assert np.isnan(float(metric.result()))


@pytest.mark.once
@pytest.mark.parametrize("label", [2**32, -(2**62)])
@pytest.mark.parametrize("family", ["ConfusionMatrix", "BoundaryIoU"])
def test_labels_beyond_32_bits_are_refused(family, label):
    make, names, (truth, _, right, _) = FAMILIES[family]
    truth = truth.astype("int64")
    truth[0, 0, 0] = label
    with pytest.raises(ValueError, match=f"`y_true` must be whole numbers .* Received: {label}"):
        make(names[0]).update_state(truth, right)


@pytest.mark.once
@pytest.mark.parametrize("label", [3, 37, -1, 0.5])
def test_labels_of_no_class_have_no_boundary(label):
    metric = metrics.BoundaryIoU(3)
    truth = LABELS.astype("float32")
    truth[0, 3, 3] = label
    metric.update_state(truth, np.eye(3)[LABELS])
    assert np.isnan(float(metric.result()))
    with pytest.raises(ValueError, match="1 pixels of y_true name no class"):
        metric.scores()


def test_bytes_with_a_void_label_of_minus_one():
    """A label of 255 in bytes is not -1 cut to bytes."""
    truth = np.where(LABELS == 2, 255, LABELS).astype("uint8")
    for metric in (
        metrics.ConfusionMatrix(3, ignore_class=-1),
        metrics.BoundaryIoU(3, ignore_class=-1),
    ):
        metric.update_state(ops.convert_to_tensor(truth), np.eye(3)[LABELS])
        assert np.isnan(float(metric.result()))


@pytest.mark.once
def test_three_that_share_measure_once_and_never_what_was_there_before():
    """A buffer that is filled anew holds another batch, though it is the same object."""
    first = metrics.DepthErrors("abs_rel")
    group = [first, first.also("rmse"), first.also("delta1")]
    calls = []
    for metric in group:
        metric.measure = lambda *x, m=metric.measure: calls.append(1) or m(*x)
    alone = [metrics.DepthErrors(m.score) for m in group]
    truth, prediction = DEPTH.copy(), DEPTH.copy()
    for factor in (1.1, 2.0, 0.7):
        prediction[:] = DEPTH * factor
        for metric, other in zip(group, alone, strict=True):
            metric.update_state(truth, prediction)
            other.update_state(truth.copy(), prediction.copy())
            assert float(metric.result()) == float(other.result())
    calls.clear()
    for _ in range(2):
        tensors = ops.convert_to_tensor(truth), ops.convert_to_tensor(prediction)
        for metric in group:
            metric.update_state(*tensors)
    assert len(calls) == 2
    assert first._last.inputs == ()  # the batch is let go


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="only torch writes into tensors")
def test_a_tensor_written_into_is_measured_again():
    first = metrics.DepthErrors("abs_rel")
    second, alone = first.also("rmse"), metrics.DepthErrors("rmse")
    truth, prediction = ops.convert_to_tensor(DEPTH), ops.convert_to_tensor(DEPTH.copy())
    first.update_state(truth, prediction)
    prediction.mul_(2)
    for metric in (second, alone):
        metric.update_state(truth, prediction)
    assert float(second.result()) == float(alone.result()) > 1


@pytest.mark.once
def test_options_may_be_scalars_of_numpy():
    made = [
        metrics.ConfusionMatrix(np.int64(3), ignore_class=np.int32(255), threshold=np.float32(0.5)),
        metrics.BoundaryIoU(np.int64(3), ignore_class=np.uint8(255), width=np.float64(0.1)),
        metrics.DepthErrors(min_depth=np.float32(0.1), max_depth=np.int64(10)),
        metrics.DepthErrors(crop=np.array([0, 4, 1, 5]), median_scaling=np.bool_(True)),
        metrics.ColorErrors(grid=np.int64(10), stride=np.int64(2), threshold=np.float16(5)),
    ]
    for metric in made:
        json.dumps(metric.get_config())
        assert expect_round_trip(metric)._direction == metric._direction
    with pytest.raises(ValueError, match="`median_scaling` must be True or False"):
        metrics.DepthErrors(median_scaling="no")
    with pytest.raises(ValueError, match="`num_classes` must be an integer >= 1"):
        metrics.BoundaryIoU(0)

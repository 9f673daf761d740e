import numpy as np
import pytest

from keras_dense.training import multitask_delta

pytestmark = pytest.mark.once


def test_formula():
    multi = {"seg": np.float32(0.42), "depth": 0.66, "normals": 18.0}
    single = {"seg": 0.40, "depth": 0.60, "normals": 20.0}
    m, s = (np.array(list(scores.values()), "float64") for scores in (multi, single))
    wanted = np.mean(np.array([1, -1, -1]) * (m - s) / s)
    assert multitask_delta(multi, single, lower_is_better=["depth", "normals"]) == pytest.approx(
        wanted, rel=1e-6
    )
    assert multitask_delta(single, single, lower_is_better={"depth"}) == 0.0
    assert multitask_delta({"d": 2.0}, {"d": 4.0}, lower_is_better="d") == pytest.approx(0.5)
    assert type(multitask_delta(multi, single, lower_is_better=["depth"])) is float


def test_several_scores_of_a_task_count_as_one():
    multi = {"seg": {"mean_iou": 0.5, "pixel_accuracy": 0.9}, "depth": {"rmse": 0.5, "delta1": 0.8}}
    single = {"depth": {"delta1": 0.5, "rmse": 1.0}, "seg": {"mean_iou": 0.4, "pixel_accuracy": 1}}
    wanted = ((0.25 - 0.1) / 2 + (0.5 + 0.6) / 2) / 2
    assert multitask_delta(multi, single, lower_is_better=["rmse"]) == pytest.approx(wanted)
    errors = {"depth": {"rmse": 1.0, "abs_rel": 0.2}}
    halved = {"depth": {"rmse": 0.5, "abs_rel": 0.1}}
    assert multitask_delta(halved, errors, lower_is_better=["depth"]) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("multi", "single", "lower", "message"),
    [
        ({"a": 1.0}, {"b": 1.0}, (), r"same tasks.*the tasks: \['a'\] and \['b'\]"),
        ({"a": {"x": 1.0}}, {"a": 1.0}, (), r"for a: \['x'\] and 1.0"),
        ({}, {}, (), "at least one"),
        ({"a": 1.0}, {"a": 0.0}, (), "not 0. Received for a: 1.0 and 0.0"),
        ({"a": float("nan")}, {"a": 1.0}, (), "finite numbers.*for a: nan"),
        ({"a": np.ones(2)}, {"a": 1.0}, (), "finite numbers"),
        ({"a": 1.0}, {"a": 1.0}, ["rmse"], r"must name tasks or scores: \['a'\].*\['rmse'\]"),
    ],
)
def test_bad_input(multi, single, lower, message):
    with pytest.raises(ValueError, match=message):
        multitask_delta(multi, single, lower_is_better=lower)

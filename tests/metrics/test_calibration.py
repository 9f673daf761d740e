"""Calibration error against NumPy in float64, and against figures of torchmetrics."""

import numpy as np
import pytest

from keras_dense.metrics import CalibrationError
from keras_dense.testing import check_metric


def batch(shape=(2, 9, 11), classes=4, seed=0):
    """Labels with void pixels, and logits that lean towards them."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, shape)
    logits = 2 * random.normal(size=(*shape, classes)).astype("float32")
    labels[random.random(shape) < 0.2] = 255
    logits += 1.5 * np.eye(classes, dtype="float32")[labels % classes * (labels != 255)]
    return labels, logits


def reference(labels, logits, bins, weight=None):
    """Expected and largest error, and (accuracy, confidence, share) of each bin."""
    x = np.asarray(logits, "float64")
    p = np.exp(x - x.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    keep = (labels != 255) & (np.ones(labels.shape, bool) if weight is None else weight > 0)
    confidence, right = p.max(-1)[keep], (p.argmax(-1) == labels)[keep]
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    rows = np.full((bins, 3), np.nan)
    rows[:, 2] = 0
    for b in range(bins):
        here = place == b
        if here.any():
            rows[b] = right[here].mean(), confidence[here].mean(), here.mean()
    gap = np.abs(rows[:, 0] - rows[:, 1])
    return np.nansum(gap * rows[:, 2]), np.nanmax(gap), rows.T


def test_contract():
    check_metric(CalibrationError(4), *batch())


@pytest.mark.exhaustive
@pytest.mark.parametrize("mode", ["binary", "multilabel"])
def test_contract_of_other_modes(mode):
    labels, logits = batch(classes=2)
    if mode == "binary":
        check_metric(CalibrationError(1), labels, logits[..., :1])
    else:
        check_metric(CalibrationError(2, mode=mode), np.stack([labels, labels], -1), logits)


@pytest.mark.everywhere
@pytest.mark.parametrize("bins", [15, pytest.param(1, marks=pytest.mark.once)])
def test_against_numpy(bins):
    labels, logits = batch()
    metric = CalibrationError(4, bins=bins)
    metric.update_state(labels, logits)
    error, largest, rows = reference(labels, logits, bins)
    scores = metric.scores()
    assert float(metric.result()) == pytest.approx(error, rel=1e-5)
    assert scores["calibration_error"] == pytest.approx(error, rel=1e-5)
    assert scores["calibration_error_max"] == pytest.approx(largest, rel=1e-5)
    for name, row in zip(("accuracy", "confidence", "share"), rows, strict=True):
        np.testing.assert_allclose(scores[f"calibration_{name}"], row, rtol=1e-5, err_msg=name)


def test_weights_and_other_modes():
    labels, logits = batch()
    weight = np.random.default_rng(1).integers(0, 3, labels.shape)
    metric = CalibrationError(4)
    metric.update_state(labels, logits, weight.astype("float32"))
    error = reference(labels, logits, 15, weight)[0]
    assert float(metric.result()) == pytest.approx(error, rel=1e-5)
    # One logit is two classes, of which the first has the logit 0.
    labels, logits = batch(classes=2)
    two = np.concatenate([0 * logits[..., :1], logits[..., :1]], -1)
    error = reference(labels, two, 15)[0]
    metric = CalibrationError(1)
    metric.update_state(labels, logits[..., :1])
    assert float(metric.result()) == pytest.approx(error, rel=1e-5)
    metric = CalibrationError(2, mode="multilabel")
    metric.update_state(np.stack([labels] * 2, -1), np.concatenate([logits[..., :1]] * 2, -1))
    assert float(metric.result()) == pytest.approx(error, rel=1e-5)


def test_no_digit_is_lost_in_many_pixels():
    logits = np.full((1, 500, 1000, 1), np.log(0.7 / 0.3), "float32")
    metric = CalibrationError(1)
    for _ in range(2):
        metric.update_state(np.ones((1, 500, 1000)), logits)
    assert metric.scores()["calibration_error"] == pytest.approx(0.3, rel=1e-6)


@pytest.mark.parametrize("source", ["figures", "torchmetrics"])
def test_values_of_torchmetrics(source):
    labels, logits = batch()
    wanted = [0.2079882324, 0.4891263247]  # torchmetrics 1.9.0, norm "l1" and "max", 15 bins
    if source == "torchmetrics":
        torch = pytest.importorskip("torch")
        theirs = pytest.importorskip("torchmetrics.functional.classification")
        p = torch.softmax(torch.tensor(logits), -1).permute(0, 3, 1, 2)
        wanted = [
            theirs.multiclass_calibration_error(
                p, torch.tensor(labels), 4, n_bins=15, norm=norm, ignore_index=255
            ).item()
            for norm in ("l1", "max")
        ]
    metric = CalibrationError(4)
    metric.update_state(labels, logits)
    scores = metric.scores()
    assert [scores["calibration_error"], scores["calibration_error_max"]] == pytest.approx(
        wanted, rel=1e-5
    )


def test_bad_bins():
    with pytest.raises(ValueError, match="`bins` must be an integer >= 1"):
        CalibrationError(2, bins=0)

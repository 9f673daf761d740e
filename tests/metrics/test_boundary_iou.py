"""Boundary IoU against erosions counted with SciPy."""

import keras
import numpy as np
import pytest
from scipy import ndimage

from keras_dense.metrics import BoundaryIoU
from keras_dense.ops.boundary import boundary


def eroded(mask, steps):
    return ndimage.binary_erosion(mask, np.ones((3, 3)), steps, border_value=0)


def reference(truth, predicted, classes, width=0.02, void=255):
    """Intersections over unions of the boundaries of each class, over all images."""
    steps = max(1, round(width * np.hypot(*truth.shape[1:])))
    hits, union = np.zeros(classes), np.zeros(classes)
    for t, p in zip(truth, predicted, strict=True):
        known = t != void
        for c in range(classes):
            edges = []
            for labels in (t, p):
                mask = (labels == c) & known
                edges.append(mask & ~eroded(mask, steps))
            hits[c] += (edges[0] & edges[1]).sum()
            union[c] += (edges[0] | edges[1]).sum()
    with np.errstate(invalid="ignore"):
        return hits / union


def labels(seed, shape=(3, 41, 57), classes=4):
    noise = np.random.default_rng(seed).normal(size=(*shape, classes))
    return ndimage.gaussian_filter(noise, (0, 5, 5, 0)).argmax(-1)


@pytest.mark.parametrize("reach", [1, 2, 5])
def test_boundary_is_what_erosion_takes(reach):
    mask = labels(0)[0] == 1
    found = keras.ops.convert_to_numpy(boundary(mask[None, ..., None], reach))[0, ..., 0]
    np.testing.assert_array_equal(found, mask & ~eroded(mask, reach))


@pytest.mark.everywhere
@pytest.mark.parametrize("width", [0.02, pytest.param(0.05, marks=pytest.mark.once)])
def test_against_scipy_in_any_batches(width):
    truth, predicted = labels(1), labels(1)
    predicted[:, :, 3:] = predicted[:, :, :-3].copy()
    truth[0, :7] = 255
    scores = 9.0 * np.eye(5, dtype="float32")[predicted]  # the fifth class never occurs
    wanted = reference(truth, predicted, 5, width)
    metric = BoundaryIoU(5, width=width)
    metric.update_state(truth, scores)
    np.testing.assert_allclose(metric.scores()["boundary_iou_per_class"], wanted)
    assert float(metric.result()) == pytest.approx(np.nanmean(wanted), rel=1e-6)
    metric.reset_state()
    for n in range(3):
        metric.update_state(truth[n : n + 1, ..., None], scores[n : n + 1])
    np.testing.assert_allclose(metric.scores()["boundary_iou_per_class"], wanted)


def test_one_logit_and_weights():
    truth, predicted = labels(2) % 2, labels(3) % 2
    metric = BoundaryIoU(1)
    metric.update_state(truth, predicted[..., None] - 0.5, np.array([1.0, 0.0, 1.0]))
    wanted = reference(truth[::2], predicted[::2], 2)[1]
    assert float(metric.result()) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.everywhere
def test_within_fit_and_from_config():
    truth, predicted = labels(4), labels(5)
    scores = np.eye(4, dtype="float32")[predicted]
    image = keras.Input((None, None, 4))
    model = keras.Model(image, keras.layers.Activation("linear")(image))
    metric = BoundaryIoU.from_config(BoundaryIoU(4, ignore_class=None, width=0.05).get_config())
    model.compile(loss="mse", metrics=[metric])
    found = model.evaluate(
        scores, np.float32(truth)[..., None], batch_size=2, verbose=0, return_dict=True
    )
    wanted = np.nanmean(reference(truth, predicted, 4, 0.05, void=None))
    assert found["boundary_iou"] == pytest.approx(wanted, rel=1e-5)


def test_bad_input():
    with pytest.raises(ValueError, match="`width` must be a number > 0 and <= 1"):
        BoundaryIoU(3, width=0)
    with pytest.raises(ValueError, match=r"`y_pred` must be \(B, H, W, 3\)"):
        BoundaryIoU(3).update_state(np.zeros((1, 4, 4), int), np.zeros((1, 4, 4, 2)))
    with pytest.raises(ValueError, match="`y_true` must be labels"):
        BoundaryIoU(3).update_state(np.zeros((1, 4, 4, 3), int), np.zeros((1, 4, 4, 3)))

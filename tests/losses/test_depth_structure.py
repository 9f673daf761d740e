import keras
import numpy as np
import pytest
from keras import ops

from keras_dense.losses import (
    DepthSSIM,
    EdgeAwareSmoothness,
    GradientMatching,
    ScaleAndShiftInvariant,
    edge_aware_smoothness,
)
from keras_dense.losses.depth_ssim import masked_ssim
from keras_dense.ops.masked import image_median
from keras_dense.testing import check_loss
from keras_dense.testing.expect import value_and_gradient

from . import reference
from .depths import batch


def known_of(truth):
    return np.isfinite(truth) & (np.nan_to_num(truth) > 0)


def clean(truth):
    return np.where(known_of(truth), truth, 1.0).astype("float64")


def matching(difference, known, scales):
    """The sum over scales, a pair of pixels at a time."""
    total = 0.0
    for s in range(scales):
        d, m = (x[:, :: 2**s, :: 2**s] for x in (difference, known))
        b, h, w = d.shape
        slopes = 0.0
        for i, y, x in np.ndindex(b, h, w):
            for y2, x2 in ((y + 1, x), (y, x + 1)):
                if y2 < h and x2 < w and m[i, y, x] and m[i, y2, x2]:
                    slopes += abs(d[i, y2, x2] - d[i, y, x])
        total += slopes / max(m.sum(), 1)
    return total


def aligned(truth, prediction, known, kind):
    """The difference of one image after alignment."""
    t, p = truth[known], prediction[known]
    if kind == "least_squares":
        scale, shift = np.linalg.lstsq(np.stack([p, np.ones_like(p)], 1), t, rcond=None)[0]
        return scale * prediction + shift - truth

    def center(x, values):
        median = np.median(values)
        return (x - median) / np.abs(values - median).mean()

    return center(prediction, p) - center(truth, t)


STRUCTURED = [
    GradientMatching(scales=1),
    GradientMatching(scales=1, log=False),
    ScaleAndShiftInvariant(),
    ScaleAndShiftInvariant("median"),
    ScaleAndShiftInvariant(gradient_weight=0.5, scales=1),
    DepthSSIM(),
    DepthSSIM(reciprocal=True),
]
# Scales of every second pixel depend on where the image begins, which `check_loss` moves.
OTHERS = [GradientMatching(), ScaleAndShiftInvariant("median", gradient_weight=0.5)]


@pytest.mark.parametrize("loss", STRUCTURED, ids=lambda loss: loss.name)
def test_contract(loss):
    truth, prediction = batch(unknown=False)
    check_loss(loss, truth, prediction, void=np.nan)


@pytest.mark.parametrize("loss", OTHERS, ids=lambda loss: loss.name)
def test_contract_of_several_scales(loss):
    truth, prediction = batch(unknown=False)
    check_loss(loss, truth, prediction, void=None)


@pytest.mark.parametrize("loss", STRUCTURED + OTHERS, ids=lambda loss: loss.name)
def test_unknown_pixels_and_empty_images(loss):
    truth, prediction = batch((3, 6, 5))
    truth[1] = np.nan
    value, gradient = value_and_gradient(loss, truth, prediction)
    unknown = ~known_of(truth)
    assert np.isfinite(gradient).all() and not gradient[unknown].any()
    assert gradient[~unknown].any()
    other = prediction.copy()
    other[unknown] = np.nan
    again = float(loss(np.where(unknown, 0.0, truth)[..., None], other))
    assert again == pytest.approx(value, rel=1e-6)
    alone = float(loss(truth[[0, 2]], prediction[[0, 2]]))
    assert value == pytest.approx(alone, rel=1e-5)
    value, gradient = value_and_gradient(loss, np.zeros_like(truth), prediction)
    assert value == 0.0 and not gradient.any()


@pytest.mark.everywhere
@pytest.mark.parametrize("shape", [(2, 9, 13), pytest.param((1, 1, 5), marks=pytest.mark.once)])
def test_gradient_matching_by_the_formula(shape):
    truth, prediction = batch(shape)
    known, p = known_of(truth), prediction[..., 0].astype("float64")
    for scales in (1, 4):
        logs = matching(np.log(p) - np.log(clean(truth)), known, scales)
        meters = matching(p - clean(truth), known, scales)
        assert float(GradientMatching(scales=scales)(truth, prediction)) == pytest.approx(
            logs, rel=1e-5
        )
        value = GradientMatching(scales=scales, log=False)(truth, prediction)
        assert float(value) == pytest.approx(meters, rel=1e-5)


@pytest.mark.everywhere
@pytest.mark.parametrize("kind", ["least_squares", "median"])
def test_scale_and_shift_by_the_formula(kind):
    truth, prediction = batch((3, 6, 5))
    truth[1, 3:] = np.nan  # other numbers of known pixels, odd and even
    known, p, t = known_of(truth), prediction[..., 0].astype("float64"), clean(truth)
    difference = np.stack([aligned(*args, kind) for args in zip(t, p, known, strict=True)])
    each = [np.abs(d)[m].mean() for d, m in zip(difference, known, strict=True)]
    value = ScaleAndShiftInvariant(kind)(truth, prediction)
    assert float(value) == pytest.approx(np.mean(each), rel=1e-4)
    with_slopes = ScaleAndShiftInvariant(kind, gradient_weight=0.5, scales=3)(truth, prediction)
    expected = np.mean(each) + 0.5 * matching(difference, known, 3)
    assert float(with_slopes) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", ["least_squares", "median"])
def test_scale_and_shift_cost_nothing(kind):
    truth, prediction = batch()
    loss = ScaleAndShiftInvariant(kind)
    value = float(loss(truth, prediction))
    assert float(loss(truth, 3 * prediction + 7)) == pytest.approx(value, rel=1e-4)
    constant, gradient = value_and_gradient(loss, truth, np.full_like(prediction, 4.3))
    assert np.isfinite(constant) and np.isfinite(gradient).all()
    if kind == "least_squares":  # the mean depth is the best that a constant can do
        deviations = [
            np.abs(t[m] - t[m].mean()).mean()
            for t, m in zip(clean(truth), known_of(truth), strict=True)
        ]
        assert constant == pytest.approx(np.mean(deviations), rel=1e-5)


@pytest.mark.everywhere
@pytest.mark.parametrize("kind", ["least_squares", "median"])
def test_alignment_is_differentiated(kind):
    truth, prediction = batch()
    known, t = known_of(truth), clean(truth)

    def value(x):
        differences = [aligned(*args, kind) for args in zip(t, x[..., 0], known, strict=True)]
        return np.mean([np.abs(d)[m].mean() for d, m in zip(differences, known, strict=True)])

    _, gradient = value_and_gradient(ScaleAndShiftInvariant(kind), truth, prediction)
    expected = reference.numeric_gradient(value, prediction)
    np.testing.assert_allclose(gradient, expected, atol=2e-4)


@pytest.mark.everywhere
def test_median_is_that_of_numpy():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(6, 4, 5, 1)).astype("float32")
    known = rng.random(x.shape) < 0.6
    known[1], known[2, :, :-1], known[2, 1:] = False, False, False
    median = ops.convert_to_numpy(image_median(x, ops.convert_to_tensor(known))).ravel()
    expected = [np.median(v[m]) if m.any() else 0.0 for v, m in zip(x, known, strict=True)]
    np.testing.assert_allclose(median, expected, rtol=1e-6)


def test_ssim_is_that_of_scikit_image_inside():
    metrics = pytest.importorskip("skimage.metrics")
    truth, prediction = batch((2, 16, 17), unknown=False)
    ssim = masked_ssim(
        ops.convert_to_tensor(truth[..., None]),
        ops.convert_to_tensor(prediction),
        ops.ones(prediction.shape),
        10.0,
    )
    for i in range(2):
        _, full = metrics.structural_similarity(
            truth[i].astype("float64"),
            prediction[i, ..., 0].astype("float64"),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=10.0,
            full=True,
        )
        inside = ops.convert_to_numpy(ssim)[i, 5:-5, 5:-5, 0]
        np.testing.assert_allclose(inside, full[5:-5, 5:-5], atol=2e-5)


def windows(x, y, known, data_range, size=11, sigma=1.5):
    """SSIM a pixel at a time, of the known part of its window."""
    offsets = np.arange(size) - size // 2
    gauss = np.exp(-0.5 * (offsets / sigma) ** 2)
    pad = size // 2
    x, y, known = (np.pad(v.astype("float64"), pad) for v in (x, y, known))
    result = np.zeros((x.shape[0] - 2 * pad, x.shape[1] - 2 * pad))
    for i, j in np.ndindex(result.shape):
        here = (slice(i, i + size), slice(j, j + size))
        w = np.outer(gauss, gauss) * known[here]
        if not w.sum():
            continue
        w = w / w.sum()
        a, b = (w * x[here]).sum(), (w * y[here]).sum()
        aa, bb = (w * (x[here] - a) ** 2).sum(), (w * (y[here] - b) ** 2).sum()
        ab = (w * (x[here] - a) * (y[here] - b)).sum()
        c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
        result[i, j] = (2 * a * b + c1) * (2 * ab + c2)
        result[i, j] /= (a**2 + b**2 + c1) * (aa + bb + c2)
    return result


@pytest.mark.everywhere
@pytest.mark.parametrize("reciprocal", [False, pytest.param(True, marks=pytest.mark.once)])
def test_ssim_looks_at_nothing_unknown(reciprocal):
    truth, prediction = batch((2, 9, 14))
    truth[0, 2:7, 3:9] = 0.0
    known = known_of(truth)
    t, p = clean(truth), np.where(known, prediction[..., 0], 1.0)
    if reciprocal:
        t, p = 1 / t, 1 / p
    cost = [np.clip((1 - windows(*args, 10.0)) / 2, 0, 1) for args in zip(t, p, known, strict=True)]
    expected = np.stack(cost)[known].mean()
    assert float(DepthSSIM(reciprocal=reciprocal)(truth, prediction)) == pytest.approx(
        expected, rel=1e-4
    )
    weight = np.random.default_rng(5).random(truth.shape)
    weighted = DepthSSIM(reciprocal=reciprocal)(truth, prediction, weight)
    expected = (weight * np.stack(cost))[known].sum() / weight[known].sum()
    assert float(weighted) == pytest.approx(expected, rel=1e-4)


def roughness(depth, image):
    depth = depth[..., 0].astype("float64")
    depth = depth / depth.mean((1, 2), keepdims=True)
    image = image.astype("float64") / 255
    total = 0.0
    for axis in (1, 2):
        edge = np.abs(np.diff(image, axis=axis)).mean(-1)
        total += (np.abs(np.diff(depth, axis=axis)) * np.exp(-edge)).mean()
    return total


@pytest.mark.everywhere
def test_edge_aware_smoothness():
    rng = np.random.default_rng(6)
    image = rng.integers(0, 256, (2, 6, 5, 3), dtype="uint8")
    _, depth = batch()
    expected = roughness(depth, image)
    assert float(edge_aware_smoothness(depth, image)) == pytest.approx(expected, rel=1e-5)
    loss = EdgeAwareSmoothness()
    assert float(loss(image, depth)) == pytest.approx(expected, rel=1e-5)
    check_loss(loss, image.astype("float32"), depth, void=np.nan, extreme=None)
    edges = np.zeros((1, 1, 4, 3)), np.array([0, 0, 255.0, 255]).reshape(1, 1, 4, 1) * np.ones(3)
    step = np.array([1.0, 1, 2, 2]).reshape(1, 1, 4, 1)
    plain, at_an_edge = (float(edge_aware_smoothness(step, image)) for image in edges)
    assert at_an_edge == pytest.approx(plain * np.exp(-1))


def test_edge_aware_smoothness_in_a_model():
    @keras.saving.register_keras_serializable("tests")
    class Smooth(keras.layers.Layer):
        def call(self, depth, image):
            self.add_loss(0.5 * edge_aware_smoothness(depth, image))
            return depth

    image = keras.Input((None, None, 3))
    depth = keras.layers.Conv2D(1, 1, activation="softplus")(image)
    model = keras.Model(image, Smooth()(depth, image))
    model.compile("sgd", loss="mae")
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 6, 5, 3)).astype("float32")
    prediction = model.predict(pixels, verbose=0)
    loss = model.evaluate(pixels, prediction, verbose=0)
    assert loss == pytest.approx(0.5 * roughness(prediction, pixels), rel=1e-4)


def test_bad_arguments():
    with pytest.raises(ValueError, match="`scales` must be an integer >= 1"):
        GradientMatching(scales=0)
    with pytest.raises(ValueError, match="`alignment` must be one of 'least_squares', 'median'"):
        ScaleAndShiftInvariant("mean")
    with pytest.raises(ValueError, match="`window` must be odd. Received: window=10"):
        DepthSSIM(window=10)
    with pytest.raises(ValueError, match="`data_range` must be a number >= 1e-06"):
        DepthSSIM(data_range=0.0)
    with pytest.raises(ValueError, match="`y_pred` must be depth"):
        EdgeAwareSmoothness()(np.zeros((1, 2, 2, 3)), np.zeros((1, 2, 2, 3)))

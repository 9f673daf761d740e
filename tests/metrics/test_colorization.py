import numpy as np
import pytest
from keras import ops

from keras_dense.metrics import ColorErrors
from keras_dense.metrics.colorization import SCORES
from keras_dense.ops import ab_bins, structural_similarity
from keras_dense.ops.color import to_lab
from keras_dense.testing import check_metric
from keras_dense.testing.expect import expect_round_trip


def batch(height=22, width=25, channels=313, stride=4, unknown=True):
    random = np.random.default_rng(0)
    image = random.uniform(0, 255, (3, height, width, 3)).astype("float32")
    if unknown:
        image[0, :2, :4] = np.nan
        image[1, -1, 2, 2] = np.nan
        image[2] = np.nan
    size = (3, -(-height // stride), -(-width // stride), channels)
    return image, (random.normal(size=size) * (3 if channels > 2 else 0.2)).astype("float32")


def colors(prediction, stride, height, width, temperature=0.38):
    """(a, b) at the image's size, float64: annealed mean, half-pixel bilinear, cut."""
    ab = prediction.astype("float64")
    if ab.shape[-1] > 2:
        power = np.exp((ab - ab.max(-1, keepdims=True)) / temperature)
        ab = power / power.sum(-1, keepdims=True) @ ab_bins()
    else:
        ab = ab * 110
    for axis, size in ((1, height), (2, width)):
        place = ((np.arange(size) + 0.5) / stride - 0.5).clip(0, ab.shape[axis] - 1)
        low = np.floor(place).astype(int)
        high = np.minimum(low + 1, ab.shape[axis] - 1)
        share = (place - low).reshape([-1 if n == axis else 1 for n in range(4)])
        ab = ab.take(low, axis) * (1 - share) + ab.take(high, axis) * share
    return ab


def lab_to_rgb(lab):
    return pytest.importorskip("skimage.color", reason="compares with scikit-image").lab2rgb(lab)


def reference(image, prediction, weight=None, stride=4, prior=None, threshold=10.0):
    known = np.isfinite(image).all(-1)
    w = known * (1.0 if weight is None else weight)
    rgb = np.where(known[..., None], image, 0).astype("float64")
    lab = to_lab(rgb)
    ab = colors(prediction, stride, *image.shape[1:3])
    d = np.linalg.norm(ab - lab[..., 1:], axis=-1)
    bins = ((lab[..., None, 1:] - ab_bins()) ** 2).sum(-1).argmin(-1)
    if prior is None:
        prior = np.bincount(bins.ravel(), w.ravel(), minlength=313)
    balance = np.divide(1, prior, out=np.zeros(313), where=np.asarray(prior) > 0)[bins] * w
    curve = [(w * (d <= t)).sum() / w.sum() for t in np.linspace(0, 150, 30001)]
    made = lab_to_rgb(np.concatenate([lab[..., :1], ab], -1))
    error = ((made - rgb / 255) ** 2).mean(-1)
    psnr = [
        -10 * np.log10((v * e).sum() / v.sum()) for v, e in zip(w, error, strict=True) if v.any()
    ]
    return {
        "auc": (sum(curve) - (curve[0] + curve[-1]) / 2) / 30000,
        "auc_rebalanced": (balance * np.maximum(0, 1 - d / 150)).sum() / balance.sum(),
        "accuracy": (w * (d <= threshold)).sum() / w.sum(),
        "rmse_ab": np.sqrt((w * d**2).sum() / w.sum() / 2),
        "psnr": np.mean(psnr),
    }


@pytest.mark.everywhere
@pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB")
@pytest.mark.parametrize("channels", [2, 313])
def test_against_numpy(channels):
    image, prediction = batch(channels=channels)
    weight = np.random.default_rng(1).uniform(0, 2, image.shape[:3]) * (np.arange(25) > 1)
    prior = np.random.default_rng(2).random(313) * (np.arange(313) % 4 > 0)
    for w, p in [(None, None), (weight, prior)]:
        expected = reference(image, prediction, w, prior=p, threshold=30.0)
        for score, value in expected.items():
            metric = ColorErrors(score, prior=p, threshold=30.0)
            metric.update_state(image, prediction, w)
            assert float(metric.result()) == pytest.approx(value, rel=1e-4, abs=2e-5), score


@pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB")
@pytest.mark.parametrize("size", [(22, 25), (11, 40)])
def test_ssim_as_scikit_image(size):
    metrics = pytest.importorskip("skimage.metrics", reason="compares with scikit-image")
    image, prediction = batch(*size, channels=2, unknown=False)
    lab = to_lab(image.astype("float64"))
    made = lab_to_rgb(np.concatenate([lab[..., :1], colors(prediction, 4, *size)], -1))
    settings = {
        "channel_axis": -1,
        "data_range": 1.0,
        "gaussian_weights": True,
        "sigma": 1.5,
        "use_sample_covariance": False,
    }
    expected = [
        metrics.structural_similarity(m, i, **settings)
        for m, i in zip(made, image.astype("float64") / 255, strict=True)
    ]
    metric = ColorErrors("ssim")
    metric.update_state(image, prediction)
    assert float(metric.result()) == pytest.approx(np.mean(expected), rel=1e-4)


def test_ssim_leaves_out_windows_with_unknown_pixels():
    random = np.random.default_rng(0)
    x, y = random.random((2, 1, 20, 24, 3))
    known = np.ones((1, 20, 24, 1))
    known[:, 4, :3] = 0
    y_other = np.where(known > 0, y, 0.3)
    value, whole = map(ops.convert_to_numpy, structural_similarity(x, y_other, known=known))
    right, every = map(ops.convert_to_numpy, structural_similarity(x, y))
    expected = np.ones((10, 14), bool)
    expected[:5, :3] = False  # rows 0 to 4 of windows reach row 4, columns 0 to 2 column 0 to 2
    np.testing.assert_array_equal(whole[0, ..., 0], expected)
    np.testing.assert_allclose(value[whole], right[whole], rtol=1e-5)
    assert every.all()
    # Smaller than a window: none is whole.
    assert not ops.convert_to_numpy(structural_similarity(x[:, :8], y[:, :8])[1]).any()


@pytest.mark.parametrize("score", SCORES)
def test_one_batch_or_several(score):
    image, prediction = batch()
    whole, parts = ColorErrors(score), ColorErrors(score)
    whole.update_state(image, prediction)
    for n in reversed(range(3)):
        parts.update_state(image[n : n + 1], prediction[n : n + 1])
    assert float(parts.result()) == pytest.approx(float(whole.result()), rel=1e-6)
    small, few = batch(17, 30)
    parts.update_state(small, few)  # another size
    assert np.isfinite(float(parts.result()))


@pytest.mark.parametrize(
    "score",
    [
        "auc",
        *(
            pytest.param(s, marks=pytest.mark.once)
            for s in ("auc_rebalanced", "accuracy", "rmse_ab")
        ),
    ],
)
@pytest.mark.parametrize("channels", [2, len(ab_bins(40))])
def test_contract(score, channels):
    image, prediction = batch(4, 5, channels, stride=1)
    metric = ColorErrors(score, grid=40, stride=1, threshold=40.0)
    check_metric(metric, image[:2], ops.convert_to_numpy(ops.cast(prediction[:2], "float32")))


def test_shared_measuring_and_config():
    image, prediction = batch()
    first = ColorErrors("auc", temperature=0.5, prior=np.ones(313))
    others = [first.also(score) for score in SCORES[1:]]
    for metric in (first, *others):
        metric.update_state(image, prediction)
        alone = ColorErrors(metric.score, temperature=0.5, prior=np.ones(313))
        alone.update_state(image, prediction)
        assert float(metric.result()) == float(alone.result())
        assert metric.name == metric.score
    assert expect_round_trip(others[0]).score == "auc_rebalanced"


def test_perfect_and_empty():
    """A perfect prediction of one color; nothing known."""
    image = np.full((1, 12, 12, 3), (200, 90, 40), "uint8")
    ab = to_lab(image.astype("float64"))[:, ::4, ::4, 1:] / 110
    best = {"auc": 1, "auc_rebalanced": 1, "accuracy": 1, "rmse_ab": 0, "psnr": 100, "ssim": 1}
    for score, value in best.items():
        metric = ColorErrors(score)
        assert np.isnan(float(metric.result()))
        metric.update_state(np.full((1, 12, 12, 3), np.nan), ab)
        assert np.isnan(float(metric.result()))
        metric.update_state(image, ab)
        assert float(metric.result()) == pytest.approx(value, abs=2e-4)


def test_bad_input():
    with pytest.raises(ValueError, match="`score` must be one of .*'auc'"):
        ColorErrors("lpips")
    with pytest.raises(ValueError, match="each of the 313 bins"):
        ColorErrors(prior=np.ones(3))
    with pytest.raises(ValueError, match="`y_pred` must have 313 channels"):
        ColorErrors().update_state(np.zeros((1, 8, 8, 3)), np.zeros((1, 2, 2, 21)))
    with pytest.raises(ValueError, match="1/4 of the size"):
        ColorErrors().update_state(np.zeros((1, 9, 8, 3)), np.zeros((1, 2, 2, 2)))

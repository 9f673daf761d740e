"""Surface metrics against all pairs of pixels in NumPy, and against figures of MONAI."""

import keras
import numpy as np
import pytest
from scipy import ndimage

from keras_dense.metrics import (
    AverageSurfaceDistance,
    BoundaryF,
    DicePerImage,
    HausdorffDistance,
    SurfaceDice,
    surface_distances,
)
from keras_dense.testing.expect import expect_round_trip, reload

NAN, INF = np.nan, np.inf
EVERY = (AverageSurfaceDistance, BoundaryF, DicePerImage, HausdorffDistance, SurfaceDice)


def labels(seed, shape=(3, 41, 57), classes=3):
    noise = np.random.default_rng(seed).normal(size=(*shape, classes))
    return ndimage.gaussian_filter(noise, (0, 5, 5, 0)).argmax(-1)


def pair():
    """Truth and prediction: class 2 only predicted in image 0, class 1 nowhere in image 1."""
    truth, found = labels(1), labels(2)
    found = np.where(labels(3, classes=2) == 0, truth, found)
    truth[0][truth[0] == 2] = 0
    truth[1][truth[1] == 1], found[1][found[1] == 1] = 0, 2
    return truth, found


def edge(mask):
    return mask & ~ndimage.binary_erosion(mask)


def all_pairs(truth, found, spacing=(1.0, 1.0)):
    """Distances of surfaces from all pairs of their pixels."""
    points = [np.argwhere(edge(mask)) * np.array(spacing) for mask in (truth, found)]
    if not all(map(len, points)):
        return tuple(np.full(len(p), INF) for p in points)
    table = np.linalg.norm(points[0][:, None] - points[1][None], axis=-1)
    return table.min(1), table.min(0)


def reference(truth, found, formula, classes=3, spacing=(1.0, 1.0), void=255):
    """Values of images and classes; NaN where neither has the class."""
    values = np.full((len(truth), classes), NAN)
    for n, c in np.ndindex(values.shape):
        known = truth[n] != void
        masks = [(x[n] == c) & known for x in (truth, found)]
        if any(m.any() for m in masks):
            values[n, c] = formula(*all_pairs(*masks, spacing), masks)
    return values


def hausdorff(a, b, masks, percentile=95, missing=INF):
    empty = not (len(a) and len(b))
    return missing if empty else max(np.percentile(x, percentile) for x in (a, b))


def average(a, b, masks, missing=INF):
    return np.concatenate([a, b]).mean() if len(a) and len(b) else missing


def within(a, b, masks, tolerance=2.0):
    return (np.concatenate([a, b]) <= tolerance).mean()


def boundary_f(a, b, masks, tolerance=1.0):
    if not (len(a) and len(b)):
        return 0.0
    recall, precision = (a <= tolerance).mean(), (b <= tolerance).mean()
    return 2 * precision * recall / max(precision + recall, 1e-9)


def dice(a, b, masks):
    return 2 * (masks[0] & masks[1]).sum() / sum(m.sum() for m in masks)


def means(values):
    """Means over images, then over classes."""
    each = [np.mean(v[v == v]) if (v == v).any() else NAN for v in values.T]
    return np.array(each), np.nanmean(each)


def measured(metric, truth, found, weight=None):
    metric.update_state(truth, 9.0 * np.eye(3, dtype="float32")[found], weight)
    return metric.scores()


def same(scores, wanted):
    """Whether all scores agree, arrays too."""
    assert set(scores) == set(wanted)
    for name, value in wanted.items():
        np.testing.assert_allclose(scores[name], value, rtol=1e-6, err_msg=name)


def diagonal(spacing=(1.0, 1.0)):
    return np.hypot(41 * spacing[0], 57 * spacing[1])


# A metric, its formula here, and arguments of both.
CASES = [
    (HausdorffDistance, hausdorff, {"missing": "diagonal"}, {"missing": diagonal()}),
    (HausdorffDistance, hausdorff, {"percentile": 100, "missing": "ignore"}, {"missing": NAN}),
    (AverageSurfaceDistance, average, {}, {"missing": diagonal()}),
    (SurfaceDice, within, {"tolerance": 2.0}, {}),
    (BoundaryF, boundary_f, {}, {}),
    (BoundaryF, boundary_f, {"tolerance": 3.0}, {"tolerance": 3.0}),
    (DicePerImage, dice, {}, {}),
]
CASES[1][3]["percentile"] = 100


@pytest.mark.parametrize("cls, formula, given, here", CASES)
def test_against_all_pairs(cls, formula, given, here):
    truth, found = pair()
    truth[2, :9, 5:30] = 255
    name = cls(3).name
    values = reference(truth, found, lambda *x: formula(*x, **here))
    each, mean = means(values)
    metric = cls(3, **given)
    scores = measured(metric, truth, found)
    np.testing.assert_allclose(scores[f"{name}_per_class"], each, rtol=1e-6)
    assert scores[name] == pytest.approx(mean, rel=1e-6)
    assert float(metric.result()) == pytest.approx(mean, rel=1e-6)
    metric.reset_state()
    for n in range(3):  # in any batches
        measured(metric, truth[n : n + 1, ..., None], found[n : n + 1])
    assert float(metric.result()) == pytest.approx(mean, rel=1e-6)


@pytest.mark.once
def test_spacing_in_units():
    truth, found = pair()
    spacing = (0.5, 1.25)
    values = reference(
        truth, found, lambda *x: hausdorff(*x, missing=diagonal(spacing)), spacing=spacing
    )
    scores = measured(HausdorffDistance(3, spacing=spacing), truth, found)
    np.testing.assert_allclose(scores["hausdorff_distance_per_class"], means(values)[0], rtol=1e-6)
    double = measured(SurfaceDice(3, tolerance=4.0, spacing=2), truth, found)
    same(double, measured(SurfaceDice(3, tolerance=2.0), truth, found))
    half = measured(BoundaryF(3, spacing=0.5), truth, found)
    same(half, measured(BoundaryF(3), truth, found))


# Values of images and classes of `pair()` by MONAI 1.6.1, include_background=True. Its percentile
# of infinite distances is NaN; here as for the maximum.
MONAI = {
    "hd95": [
        [8.931603, 14.739985, INF],
        [12.041595, NAN, 15.633290],
        [14.244216, 15.839679, 9.339824],
    ],
    "hd": [
        [11.045361, 19.235384, INF],
        [15.620500, NAN, 21.213203],
        [16.643317, 18.439089, 12.806249],
    ],
    "asd": [[2.031445, 2.211253, INF], [2.527638, NAN, 3.892682], [3.228647, 3.942390, 2.603672]],
    "nsd": [[0.628333, 0.722567, 0.0], [0.593857, NAN, 0.473267], [0.578667, 0.555556, 0.564403]],
    "dice": [[0.704842, 0.749709, 0.0], [0.670732, 1.0, 0.513255], [0.68, 0.566751, 0.523952]],
}


def of_monai():
    torch, monai = pytest.importorskip("torch"), pytest.importorskip("monai.metrics")
    truth, found = (torch.tensor(np.eye(3)[x].transpose(0, 3, 1, 2)) for x in pair())
    common = {"y_pred": found, "y": truth, "include_background": True}
    values = {
        "hd95": monai.compute_hausdorff_distance(percentile=95, **common),
        "hd": monai.compute_hausdorff_distance(**common),
        "asd": monai.compute_average_surface_distance(symmetric=True, **common),
        "nsd": monai.compute_surface_dice(class_thresholds=[2.0] * 3, **common),
        "dice": monai.compute_dice(ignore_empty=False, **common),
    }
    values["hd95"][0, 2] = INF
    return {name: value.numpy().tolist() for name, value in values.items()}


@pytest.mark.once
@pytest.mark.parametrize("source", ["figures", "monai"])
@pytest.mark.filterwarnings("ignore:the (ground truth|prediction) of class:UserWarning")
def test_values_of_monai(source):
    wanted = MONAI if source == "figures" else of_monai()
    metrics = {
        "hd95": HausdorffDistance(3, missing="infinity"),
        "hd": HausdorffDistance(3, percentile=100, missing="infinity"),
        "asd": AverageSurfaceDistance(3, missing="infinity"),
        "nsd": SurfaceDice(3, tolerance=2.0),
        "dice": DicePerImage(3, empty=1.0),
    }
    truth, found = pair()
    for name, metric in metrics.items():
        for n in range(3):
            metric.reset_state()
            scores = measured(metric, truth[n : n + 1], found[n : n + 1])
            np.testing.assert_allclose(
                scores[f"{metric.name}_per_class"], wanted[name][n], rtol=2e-6, err_msg=name
            )


@pytest.mark.once
def test_empty_regions():
    """In neither: no value. In one: the diagonal, 0, or what is asked for."""
    none, one = np.zeros((1, 30, 40), int), np.zeros((1, 30, 40), int)
    one[0, 4, 5] = 1
    logits = {"none": none[..., None] - 0.5, "one": one[..., None] - 0.5}
    for cls in EVERY:
        metric = cls(1)
        metric.update_state(none, logits["none"])
        assert np.isnan(float(metric.result())) and np.isnan(metric.scores()[metric.name])
        metric.update_state(one, logits["one"])  # one pixel, found
        best = 0.0 if metric._direction == "down" else 1.0
        assert float(metric.result()) == best
        metric.update_state(none, logits["one"])
        metric.update_state(one, logits["none"])
        worst = 50.0 if metric._direction == "down" else 0.0
        assert float(metric.result()) == pytest.approx((best + 2 * worst) / 3)
    for missing, wanted in (("infinity", INF), ("ignore", 0.0)):
        metric = HausdorffDistance(1, missing=missing)
        metric.update_state(none, logits["one"])
        metric.update_state(one, logits["one"])
        metric.update_state(one, logits["none"])
        assert float(metric.result()) == metric.scores()["hausdorff_distance"] == wanted
    filled = DicePerImage(1, empty=0.5)
    filled.update_state(
        np.concatenate([none, 0 * none + 255]), np.concatenate([logits["none"]] * 2)
    )
    assert float(filled.result()) == 0.5  # an image of void pixels is no image without objects


@pytest.mark.once
def test_void_is_no_region_and_weights_choose_pixels():
    truth, found = pair()
    holes = np.where(np.random.default_rng(0).random(truth.shape) < 0.1, 255, truth)
    for cls in EVERY:
        scores = measured(cls(3), holes, found)
        same(measured(cls(3), truth, found, holes != 255), scores)
        first = measured(cls(3), truth, found, np.array([0.0, 1.0, 1.0]))
        same(measured(cls(3), truth[1:], found[1:]), first)
        spoiled = 9.0 * np.eye(3)[found]
        spoiled[holes == 255] = np.nan
        metric = cls(3)
        metric.update_state(holes, spoiled)
        same(metric.scores(), scores)


@pytest.mark.once
def test_several_labels_and_one_hot():
    truth, found = pair()
    hot = np.eye(3, dtype=int)[truth]
    for cls in EVERY:
        wanted = measured(cls(3), truth, found)
        same(measured(cls(3), hot, found), wanted)
        metric = cls(3, mode="multilabel")
        metric.update_state(hot, np.eye(3)[found] - 0.5)
        same(metric.scores(), wanted)


@pytest.mark.everywhere
@pytest.mark.parametrize(
    "cls", [HausdorffDistance, pytest.param(DicePerImage, marks=pytest.mark.once)]
)
def test_within_fit_and_from_file(cls):
    """Compiled, where a function of SciPy is called from the graph."""
    truth, found = pair()
    scores = 9.0 * np.eye(3, dtype="float32")[found]
    image = keras.Input((None, None, 3))
    model = keras.Model(image, keras.layers.Activation("linear")(image))
    metric = expect_round_trip(cls(3))
    fast = "auto" if cls is DicePerImage else False
    model.compile(loss="mse", metrics=[metric], jit_compile=fast)
    wanted = measured(cls(3), truth, found)[metric.name]
    for made in (model, reload(model)):
        found = made.evaluate(
            scores, np.float32(truth)[..., None], batch_size=2, verbose=0, return_dict=True
        )
        assert found[metric.name] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only XLA cannot call SciPy")
def test_compiled_by_xla_it_says_what_to_do():
    image = keras.Input((None, None, 3))
    model = keras.Model(image, keras.layers.Activation("linear")(image))
    model.compile(loss="mse", metrics=[HausdorffDistance(3)], jit_compile=True)
    with pytest.raises(Exception, match="HausdorffDistance_needs_jit_compile_False_in_compile"):
        model.evaluate(np.zeros((1, 8, 8, 3), "float32"), np.zeros((1, 8, 8, 1)), verbose=0)


@pytest.mark.once
def test_distances_of_regions():
    truth, found = (x[1] == 2 for x in pair())
    for spacing in (1, (0.5, 2.0)):
        space = (spacing,) * 2 if spacing == 1 else spacing
        for a, b in zip(
            surface_distances(truth, found, spacing=spacing),
            all_pairs(truth, found, space),
            strict=True,
        ):
            np.testing.assert_allclose(np.sort(a), np.sort(b))
    assert [len(x) for x in surface_distances(truth, truth & False)] == [edge(truth).sum(), 0]
    assert np.isinf(surface_distances(truth, truth & False)[0]).all()


@pytest.mark.once
def test_bad_arguments():
    with pytest.raises(ValueError, match="`percentile` must be a number > 0 and <= 100"):
        HausdorffDistance(2, percentile=0)
    with pytest.raises(ValueError, match="`spacing` must be a number > 0, or two"):
        SurfaceDice(2, spacing=(1, 1, 3))
    with pytest.raises(ValueError, match="`spacing` must be a number > 0"):
        SurfaceDice(2, spacing=(1, 0))
    with pytest.raises(ValueError, match="`tolerance` must be a number >= 0"):
        BoundaryF(2, tolerance=-1)
    with pytest.raises(ValueError, match="`missing` must be one of 'diagonal', 'infinity'"):
        AverageSurfaceDistance(2, missing="nan")
    with pytest.raises(ValueError, match="`empty` must be a number from 0 to 1"):
        DicePerImage(2, empty=2)
    with pytest.raises(ValueError, match=r"`y_pred` must be \(B, H, W, 3\)"):
        HausdorffDistance(3).update_state(np.zeros((1, 4, 4), int), np.zeros((1, 4, 4, 2)))
    with pytest.raises(ValueError, match="`truth` must be one region.*with .0, 3."):
        surface_distances(np.array([[0, 3]]), np.array([[0, 1]]))
    with pytest.raises(ValueError, match="`found` must have the shape of the truth"):
        surface_distances(np.zeros((2, 3)), np.zeros((3, 2)))

"""The promises of every loss about `reduction` and about bad samples: a table of all losses."""

import functools
import json

import keras
import numpy as np
import pytest
from keras import ops

from keras_dense import losses
from keras_dense.testing.expect import expect_round_trip

from . import reference

RNG = np.random.default_rng(0)
SHAPE = (2, 5, 6)
VOID = RNG.random(SHAPE) < 0.2
NONE = np.zeros(SHAPE, bool)
WEIGHT = RNG.uniform(0.5, 2.0, SHAPE).astype("float32")
WEIGHT[0, 1, 2] = WEIGHT[1, 3, 3] = 0.0
MEANS = ("sum_over_batch_size", "mean", "mean_with_sample_weight")

LABELS = RNG.integers(0, 3, SHAPE)
HOT = np.eye(3)[LABELS]
LOGITS = RNG.normal(size=(*SHAPE, 3)).astype("float32")
DEPTH = RNG.uniform(0.5, 9.0, (*SHAPE, 1))
NORMALS = RNG.normal(size=(*SHAPE, 3))
NORMALS /= np.linalg.norm(NORMALS, axis=-1, keepdims=True)
IMAGE = RNG.uniform(0, 255, (*SHAPE, 3))

NEAR = (DEPTH * np.exp(RNG.normal(0.1, 0.3, DEPTH.shape))).astype("float32")
TURNED = (NORMALS + RNG.normal(0, 0.3, NORMALS.shape)).astype("float32")
CONCENTRATED = np.concatenate([TURNED, RNG.uniform(1, 9, DEPTH.shape)], -1).astype("float32")

SEGMENTATION = (LABELS, 255, LOGITS)
METERS = (DEPTH, np.nan, NEAR)
DIRECTIONS = (NORMALS, np.nan, TURNED)
SURE = (NORMALS, np.nan, CONCENTRATED)


# Drawn by a generator of their own: the numbers of others stay.
MAPS = np.random.default_rng(1).uniform(0, 1, (*SHAPE, 2))
MAPS[..., 0] = MAPS[..., 0].round()


def instance_maps():
    p = 1 / (1 + np.exp(-LOGITS[..., :2].astype("float64")))
    return -(MAPS * np.log(p) + (1 - MAPS) * np.log(1 - p)).sum(-1)


def unit(x):
    x = np.asarray(x, "float64")[..., :3]
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def log_of_truth():
    return (HOT * reference.log_softmax(LOGITS.astype("float64"))).sum(-1)


def von_mises_fisher():
    kappa, cosine = CONCENTRATED[..., 3].astype("float64"), (unit(TURNED) * NORMALS).sum(-1)
    return -np.log(kappa) - kappa * (cosine - 1) + np.log(1 - np.exp(-2 * kappa))


def angular_von_mises_fisher():
    kappa, cosine = CONCENTRATED[..., 3].astype("float64"), (unit(TURNED) * NORMALS).sum(-1)
    return -np.log(kappa**2 + 1) + kappa * np.arccos(cosine) + np.log(1 + np.exp(-kappa * np.pi))


# A loss by its reduction; target, what is void in it, prediction; the cost of each pixel in NumPy,
# "pixel" or "image" where that would be another loss, None where the batch is one.
TABLE = {
    "CrossEntropy": (losses.CrossEntropy, *SEGMENTATION, lambda: -log_of_truth()),
    "Focal": (
        losses.Focal,
        *SEGMENTATION,
        lambda: -((1 - np.exp(log_of_truth())) ** 2) * log_of_truth(),
    ),
    "OhemCrossEntropy": (
        functools.partial(losses.OhemCrossEntropy, ratio=1.0),
        *SEGMENTATION,
        lambda: -log_of_truth(),
    ),
    "Dice": (functools.partial(losses.Dice, per_image=True), *SEGMENTATION, "image"),
    "Jaccard": (functools.partial(losses.Jaccard, per_image=True), *SEGMENTATION, "image"),
    "Tversky": (functools.partial(losses.Tversky, per_image=True), *SEGMENTATION, "image"),
    "Lovasz": (functools.partial(losses.Lovasz, per_image=True), *SEGMENTATION, "image"),
    "GeneralizedDice": (
        functools.partial(losses.GeneralizedDice, per_image=True),
        *SEGMENTATION,
        "image",
    ),
    "MatthewsCorrelation": (
        functools.partial(losses.MatthewsCorrelation, per_image=True),
        *SEGMENTATION,
        "image",
    ),
    "ClDice": (functools.partial(losses.ClDice, per_image=True), *SEGMENTATION, "image"),
    "Boundary": (losses.Boundary, *SEGMENTATION, "pixel"),
    "Hausdorff": (losses.Hausdorff, *SEGMENTATION, "pixel"),
    "DepthL1": (losses.DepthL1, *METERS, lambda: np.abs(DEPTH - NEAR)[..., 0]),
    "BerHu": (losses.BerHu, *METERS, "pixel"),
    "DepthSSIM": (losses.DepthSSIM, *METERS, "pixel"),
    "ScaleInvariantLog": (
        functools.partial(losses.ScaleInvariantLog, reduction_over="image"),
        *METERS,
        "image",
    ),
    "ScaleAndShiftInvariant": (losses.ScaleAndShiftInvariant, *METERS, "image"),
    "GradientMatching": (losses.GradientMatching, *METERS, None),
    "VirtualNormal": (
        functools.partial(losses.VirtualNormal, (6.0, 6.0, 3.0, 3.0), triplets=50),
        *METERS,
        None,
    ),
    "EdgeAwareSmoothness": (losses.EdgeAwareSmoothness, IMAGE, np.nan, NEAR, None),
    "PairwiseAffinity": (losses.PairwiseAffinity, IMAGE, np.nan, LOGITS, None),
    "DenseCRF": (
        functools.partial(losses.DenseCRF, sigma=3.0, stride=1, exact=True),
        IMAGE,
        np.nan,
        LOGITS,
        None,
    ),
    "ReconstructionL1": (
        functools.partial(losses.ReconstructionL1, stride=1),
        IMAGE,
        np.nan,
        RNG.uniform(0, 1, (*SHAPE, 3)).astype("float32"),
        "pixel",
    ),
    "NormalsCosine": (
        losses.NormalsCosine,
        *DIRECTIONS,
        lambda: 1 - (unit(TURNED) * NORMALS).sum(-1),
    ),
    "NormalsAngular": (
        losses.NormalsAngular,
        *DIRECTIONS,
        lambda: np.arccos((unit(TURNED) * NORMALS).sum(-1)),
    ),
    "NormalsL1": (losses.NormalsL1, *DIRECTIONS, lambda: np.abs(unit(TURNED) - NORMALS).sum(-1)),
    "NormalsL2": (losses.NormalsL2, *DIRECTIONS, lambda: ((unit(TURNED) - NORMALS) ** 2).sum(-1)),
    "VonMisesFisher": (losses.VonMisesFisher, *SURE, von_mises_fisher),
    "AngularVonMisesFisher": (losses.AngularVonMisesFisher, *SURE, angular_von_mises_fisher),
    "ColorCrossEntropy": (
        functools.partial(losses.ColorCrossEntropy, grid=40, stride=1),
        IMAGE,
        np.nan,
        RNG.normal(size=(*SHAPE, len(losses.colorization.ab_bins(40)))).astype("float32"),
        "pixel",
    ),
    "AbSmoothL1": (
        functools.partial(losses.AbSmoothL1, stride=1),
        IMAGE,
        np.nan,
        RNG.normal(size=(*SHAPE, 2)).astype("float32"),
        "pixel",
    ),
    "InstanceCrossEntropy": (
        losses.InstanceCrossEntropy,
        MAPS,
        np.nan,
        LOGITS[..., :2],
        instance_maps,
    ),
    "Sum": (
        lambda reduction="mean": losses.Sum(
            [losses.CrossEntropy(reduction=reduction), losses.Focal(reduction=reduction)],
            [2.0, 0.5],
            reduction=reduction,
        ),
        *SEGMENTATION,
        lambda: -(2 + 0.5 * (1 - np.exp(log_of_truth())) ** 2) * log_of_truth(),
    ),
}
# Their contracts and numbers are proved on every backend; these promises are code of all losses.
ONCE = ("Boundary", "ClDice", "GeneralizedDice", "Hausdorff", "MatthewsCorrelation")
EVERY = pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.once] * (n in ONCE)) for n in sorted(TABLE)],
)


def test_the_table_has_every_loss():
    public = {name for name in losses.__all__ if isinstance(getattr(losses, name), type)}
    assert public - {"DenseLoss"} == set(TABLE)


def holes(truth, value, where):
    truth = np.array(truth, np.result_type(truth, np.min_scalar_type(value)))
    truth[where] = value
    return truth.astype("float32")


class Run:
    """The value of a loss, its gradient, and its terms: what it is without reduction.

    One function with tensors for arguments, as in `fit`, compiled on JAX.
    """

    def __init__(self, name):
        make, _, _, _, cost = TABLE[name]
        self.loss, self.others = make(), []
        if cost is not None:
            self.others = [make(reduction="none")]
        if keras.backend.backend() == "jax":
            import jax

            self.jitted = jax.jit(jax.value_and_grad(self._all, has_aux=True))

    def _all(self, y_pred, y_true, weight):
        value = self.loss(y_true, y_pred, weight)
        return value, [loss(y_true, y_pred, weight) for loss in self.others]

    def __call__(self, y_true, y_pred, weight):
        y_pred, y_true, weight = (
            ops.convert_to_tensor(x, "float32") for x in (y_pred, y_true, weight)
        )
        backend = keras.backend.backend()
        if backend == "jax":
            (value, others), gradient = self.jitted(y_pred, y_true, weight)
        elif backend == "tensorflow":
            import tensorflow as tf

            with tf.GradientTape() as tape:
                tape.watch(y_pred)
                value, others = self._all(y_pred, y_true, weight)
            gradient = tape.gradient(value, y_pred)
        else:
            y_pred = y_pred.detach().requires_grad_()
            value, others = self._all(y_pred, y_true, weight)
            value.backward()
            gradient = y_pred.grad
        return [ops.convert_to_numpy(x).astype("float64") for x in (value, gradient, *others)]


@pytest.mark.everywhere
@EVERY
def test_reductions_and_bad_samples(name):
    make, clean, unknown, prediction, cost = TABLE[name]
    run = Run(name)
    truth = holes(clean, unknown, VOID)
    value, gradient, *others = run(truth, prediction, WEIGHT)
    kept = ~VOID & (WEIGHT > 0)
    assert np.isfinite(value) and np.isfinite(gradient).all() and gradient[kept].any()
    if cost is not None:
        (terms,) = others
        assert terms.shape == (SHAPE[:1] if cost == "image" else SHAPE)
        weight = np.where(VOID, 0, WEIGHT).astype("float64")
        count = SHAPE[0] if cost == "image" else weight.sum()
        assert value == pytest.approx(terms.sum() / count, rel=1e-5)
        if cost != "image":
            assert not terms[~kept].any()
        if callable(cost):
            np.testing.assert_allclose(terms, weight * cost(), rtol=2e-4, atol=2e-5)

    # A prediction of NaN or infinity where nothing is known, or nothing weighs, is not seen.
    for bad in (np.nan, np.inf, -np.inf):
        spoiled = np.where(kept[..., None], prediction, np.float32(bad))
        found = run(truth, spoiled, WEIGHT)
        assert not found[1][~kept].any()
        for before, after in zip((value, gradient, *others), found, strict=True):
            np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)

    # Nothing known, or nothing that weighs.
    for y_true, weight in ((holes(clean, unknown, ~NONE), WEIGHT), (truth, WEIGHT * 0)):
        for found in run(y_true, prediction * np.float32(np.nan), weight):
            assert not found.any()

    # A weight that is none makes the number NaN, and its pixel does not reach the weights.
    place = np.argwhere(kept)[0]
    without = WEIGHT.copy()
    without[tuple(place)] = 0
    wanted = run(truth, prediction, without)[1]
    for bad in (np.nan, -1.0, np.inf):
        weight = WEIGHT.copy()
        weight[tuple(place)] = bad
        found = run(truth, prediction, weight)
        assert all(np.isnan(x).any() for x in (found[0], *found[2:]))
        np.testing.assert_allclose(found[1], wanted, rtol=1e-5, atol=1e-6)
        if cost is not None and cost != "image":
            assert np.argwhere(np.isnan(found[2])).tolist() == [place.tolist()]
    weight[tuple(place)] = without[tuple(place)]
    weight[VOID] = np.nan  # where nothing is known, any weight will do
    assert run(truth, prediction, weight)[0] == pytest.approx(run(truth, prediction, without)[0])


@pytest.mark.once
@EVERY
def test_arrays_like_lists(name):
    make, clean, unknown, prediction, _ = TABLE[name]
    truth, loss = holes(clean, unknown, VOID), make()
    value = float(loss(truth, prediction, WEIGHT))
    lists = loss(truth.tolist(), prediction.tolist(), WEIGHT.tolist())
    assert float(lists) == pytest.approx(value, rel=1e-6)


@pytest.mark.once
@EVERY
def test_what_reduction_may_be(name):
    make, clean, unknown, prediction, cost = TABLE[name]
    truth = holes(clean, unknown, VOID)
    value = float(make()(truth, prediction, WEIGHT))
    for reduction in MEANS:
        loss = make(reduction=reduction)
        assert loss.reduction == reduction
        assert float(loss(truth, prediction, WEIGHT)) == pytest.approx(value, rel=1e-6)
    for reduction in ("none", None, "sum"):
        if cost is None:
            with pytest.raises(
                ValueError, match="one number for the batch. Call it with one image"
            ):
                make(reduction=reduction)
            continue
        loss = make(reduction=reduction)
        copy = expect_round_trip(loss)
        assert copy.reduction == reduction and copy.get_config() == loss.get_config()
        json.dumps(keras.saving.serialize_keras_object(loss))
        total = float(ops.sum(loss(truth, prediction, WEIGHT)))
        weight = SHAPE[0] if cost == "image" else np.where(VOID, 0, WEIGHT).sum()
        assert value == pytest.approx(total / weight, rel=1e-5)
    with pytest.raises(ValueError, match="argument `reduction`"):
        make(reduction="median")


@pytest.mark.once
def test_what_to_do_for_a_loss_of_each_image():
    overlaps = (losses.Dice, losses.Jaccard, losses.Tversky, losses.Lovasz, losses.ClDice)
    for cls in (*overlaps, losses.GeneralizedDice, losses.MatthewsCorrelation):
        with pytest.raises(ValueError, match="one number for the batch. Use per_image=True"):
            cls(reduction="none")
    with pytest.raises(ValueError, match="Use reduction_over='image'"):
        losses.ScaleInvariantLog(reduction="none")
    with pytest.raises(ValueError, match="With gradient_weight=0"):
        losses.ScaleAndShiftInvariant(gradient_weight=0.5, reduction="sum")


@pytest.mark.once
def test_a_formula_of_one_number_has_only_a_mean():
    class Largest(losses.DenseLoss):
        def compute(self, pixels):
            return ops.max(pixels.logits)

    assert float(Largest()(LABELS, LOGITS)) == pytest.approx(LOGITS.max())
    with pytest.raises(
        ValueError, match="one number for the batch. Let its formula return `Costs`"
    ):
        Largest(reduction="none")(LABELS, LOGITS)


@pytest.mark.once
def test_a_sum_takes_losses_of_its_own_reduction_and_one_shape():
    with pytest.raises(
        ValueError, match="reduction='none', and reduction='sum_over_batch_size' of"
    ):
        losses.Sum([losses.CrossEntropy()], reduction="none")
    both = losses.Sum(
        [losses.CrossEntropy(reduction="none"), losses.Dice(per_image=True, reduction="none")],
        reduction=None,
    )
    with pytest.raises(ValueError, match=r"all of images with .*\(2,\), \(2, 5, 6\)"):
        both(LABELS, LOGITS)


@pytest.mark.once
def test_each_pixel_with_class_weights_and_several_labels():
    share = np.array([1.0, 2.0, 0.5])
    options = {"class_weight": share, "reduction": "none"}
    each = ops.convert_to_numpy(losses.CrossEntropy(**options)(LABELS, LOGITS))
    np.testing.assert_allclose(each, -share[LABELS] * log_of_truth(), rtol=1e-5)
    mean = losses.CrossEntropy(class_weight=share)(LABELS, LOGITS)
    assert float(mean) == pytest.approx(each.sum() / share[LABELS].sum(), rel=1e-5)
    loss = losses.CrossEntropy("multilabel", reduction="none")
    each = ops.convert_to_numpy(loss(HOT, LOGITS))
    right = reference.sigmoid(np.where(HOT == 1, LOGITS, -LOGITS))
    np.testing.assert_allclose(each, -np.log(right), rtol=1e-4)
    binary = losses.CrossEntropy("binary", reduction="none")
    each = ops.convert_to_numpy(binary(LABELS > 0, LOGITS[..., :1]))
    wanted = -np.log(reference.sigmoid(np.where(LABELS > 0, 1, -1) * LOGITS[..., 0]))
    np.testing.assert_allclose(each, wanted, rtol=1e-4)


@pytest.mark.once
def test_colors_at_a_quarter_of_the_size():
    """Each pixel of the prediction weighs as many pixels as are known below it."""
    image = np.repeat(np.repeat(IMAGE, 4, 1), 4, 2)
    image[0, :4, :6] = np.nan
    prediction = RNG.normal(size=(*SHAPE, 2)).astype("float32")
    weight = np.ones(image.shape[:3], "float32")
    each = ops.convert_to_numpy(losses.AbSmoothL1(reduction="none")(image, prediction, weight))
    assert each.shape == SHAPE and each[0, 0, 0] == 0 and (each > 0).sum() == each.size - 1
    value = float(losses.AbSmoothL1()(image, prediction))
    assert value == pytest.approx(each.sum() / (np.prod(SHAPE) - 1.5), rel=1e-5)
    spoiled = prediction.copy()
    spoiled[0, 0, 0] = np.nan
    assert float(losses.AbSmoothL1()(image, spoiled)) == pytest.approx(value, rel=1e-6)
    weight[1, 4, 4] = np.nan
    found = losses.AbSmoothL1(reduction="none")(image, prediction, ops.convert_to_tensor(weight))
    assert np.argwhere(np.isnan(ops.convert_to_numpy(found))).tolist() == [[1, 1, 1]]


@pytest.mark.everywhere
def test_labels_of_no_class_are_nan_at_their_pixels(compiled):
    kinds = losses.CrossEntropy(), losses.Dice()
    kinds += losses.CrossEntropy(reduction="none"), losses.Dice(per_image=True, reduction="none")
    run = compiled(lambda y_true, y_pred: [loss(y_true, y_pred) for loss in kinds])
    for label in (-1, 37, 2**31 - 1, -(2**31)):
        labels = LABELS.astype("int32")
        labels[1, 2, 3] = label
        *numbers, pixels, images = run(ops.convert_to_tensor(labels), LOGITS)
        assert np.isnan([float(x) for x in numbers]).all()
        assert np.argwhere(np.isnan(ops.convert_to_numpy(pixels))).tolist() == [[1, 2, 3]]
        assert np.isnan(ops.convert_to_numpy(images)).tolist() == [False, True]


@pytest.mark.once
def test_labels_beyond_32_bits_and_weights_that_are_none_are_refused():
    for label in (-(2**62), 2**32, 2**40 + 1):
        labels = LABELS.astype("int64")
        labels[0, 0, 0] = label
        with pytest.raises(ValueError, match=rf"Received: y_true with \[{label}\]"):
            losses.CrossEntropy()(labels, LOGITS)
    for weight in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="`sample_weight` must be finite and not negative"):
            losses.NormalsCosine()(NORMALS, TURNED, np.full(SHAPE, weight))
    with pytest.raises(TypeError, match="`y_true` must be an array of numbers"):
        losses.DepthL1()(DEPTH.astype(str), NEAR)


@pytest.mark.once
def test_options_may_be_scalars_of_numpy():
    made = [
        losses.Focal(gamma=np.float32(2), ignore_class=np.uint8(255), class_weight=np.ones(3)),
        losses.OhemCrossEntropy(min_pixels=np.int64(5), threshold=np.array(0.5)),
        losses.Dice(per_image=np.bool_(True), smooth=np.float16(1)),
        losses.GradientMatching(scales=np.int32(2)),
        losses.ColorCrossEntropy(grid=np.int64(40), neighbors=np.int64(3), stride=np.int64(2)),
        losses.VirtualNormal(np.array([8, 8, 4, 4]), triplets=np.int64(9), seed=np.int64(1)),
        losses.Sum([losses.Dice()], np.array([2])),
    ]
    for loss in made:
        json.dumps(loss.get_config())
        expect_round_trip(loss)
    with pytest.raises(ValueError, match="`per_image` must be True or False. Received: .*'false'"):
        losses.Dice(per_image="false")
    with pytest.raises(ValueError, match="`seed` must be an integer >= 0. Received: seed=1.5"):
        losses.VirtualNormal((8, 8, 4, 4), seed=1.5)


@pytest.mark.everywhere
def test_a_logit_of_minus_infinity_rules_a_class_out(compiled):
    """As those who know that a class cannot be write it; the class that is costs as without it."""

    def values(mode):
        kinds = (losses.CrossEntropy, losses.Focal, losses.OhemCrossEntropy, losses.Dice)
        return compiled(lambda y, x: ops.stack([kind(mode)(y, x) for kind in kinds]))

    for mode in ("multiclass", "binary", "multilabel"):
        labels, logits = reference.batch(mode, shape=(1, 3, 4), classes=3)
        if mode == "multiclass":
            labels, ruled = np.where(labels == 2, 0, labels), [0, 0, 1]
        else:
            labels, ruled = np.where(labels == 1, 0, labels), 1
        logits = np.where(ruled, np.float32(-np.inf), logits)
        far = np.where(np.isinf(logits), np.float32(-1e4), logits)
        run = values(mode)
        found, wanted = (ops.convert_to_numpy(run(labels, x)) for x in (logits, far))
        np.testing.assert_allclose(found, wanted, atol=1e-6)

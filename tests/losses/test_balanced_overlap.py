"""Generalized Dice and Matthews' correlation against NumPy in float64, and figures of MONAI."""

import numpy as np
import pytest

from keras_dense.losses import GeneralizedDice, MatthewsCorrelation, Tversky
from keras_dense.testing.expect import value_and_gradient

from . import reference
from .test_spatial import probabilities, smooth_batch


def sums(labels, logits, weight, mode):
    p, t, known = probabilities(labels, logits, mode)
    w = np.broadcast_to(weight[..., None] * known, p.shape)
    return [x.sum((0, 1, 2)) for x in (w * p * t, w * p, w * t, w)]


def generalized_dice(labels, logits, weight, mode="multiclass", share=1.0):
    hits, p, t, area = sums(labels, logits, weight, mode)
    if mode == "binary":
        hits, p, t = (
            np.concatenate(x) for x in ((area - p - t + hits, hits), (area - p, p), (area - t, t))
        )
    on = t > 0
    v = np.where(on, share / np.where(on, t, 1) ** 2, 0)
    loss = 1 - 2 * (v * hits).sum() / (v * (p + t)).sum()
    if mode == "multilabel" and not on.all():
        loss += (p / area)[~on].mean()
    return loss


def correlation(labels, logits, weight, mode="multiclass", share=1.0):
    tp, p, t, area = sums(labels, logits, weight, mode)
    fp, fn = p - tp, t - tp
    tn = area - tp - fp - fn
    share = share * np.ones(len(tp))
    with np.errstate(invalid="ignore", divide="ignore"):
        mcc = (tp * tn - fp * fn) / np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    mcc = np.where(t == area, p / area, mcc)
    on = t > 0
    loss = (share * (1 - mcc))[on].sum() / share[on].sum()
    if mode != "multiclass" and not on.all():
        loss += (p / area)[~on].mean()
    return loss


EVERY = pytest.mark.parametrize(
    "cls, formula", [(GeneralizedDice, generalized_dice), (MatthewsCorrelation, correlation)]
)


@pytest.mark.everywhere
@EVERY
def test_multiclass(cls, formula):
    labels, logits = reference.batch(classes=5)
    labels[labels == 3] = 255  # class 3 is absent
    weight = np.random.default_rng(1).random(labels.shape)
    for w, share in [(np.ones(labels.shape), np.ones(5)), (weight, np.array([1, 2, 0.5, 9, 3]))]:
        found = float(cls(class_weight=share)(labels, logits, w))
        assert found == pytest.approx(formula(labels, logits, w, share=share), rel=1e-5)


@EVERY
@pytest.mark.parametrize("mode", ["binary", "multilabel"])
def test_other_modes(cls, formula, mode):
    labels, logits = reference.batch(mode)
    if mode == "multilabel":
        labels[..., 2] = np.where(labels[..., 2] == 1, 0, labels[..., 2])  # label 2 is absent
    ones = np.ones(labels.shape[:3])
    found = float(cls(mode=mode)(labels, logits))
    assert found == pytest.approx(formula(labels, logits, ones, mode), rel=1e-5)


@EVERY
def test_images_by_themselves(cls, formula):
    labels, logits = reference.batch(shape=(3, 5, 7))
    labels[1] = 255
    alone = [float(cls()(labels[i : i + 1], logits[i : i + 1])) for i in (0, 2)]
    assert float(cls(per_image=True)(labels, logits)) == pytest.approx(np.mean(alone), rel=1e-5)


@EVERY
def test_gradient(cls, formula):
    labels, logits = reference.batch(shape=(1, 2, 3))
    ones = np.ones(labels.shape)
    _, gradient = value_and_gradient(cls(), labels, logits)
    wanted = reference.numeric_gradient(lambda x: formula(labels, x, ones), logits)
    np.testing.assert_allclose(gradient, wanted, atol=1e-6)


@EVERY
def test_right_and_empty_and_full(cls, formula):
    """A right prediction costs 0 with every class absent or present; a wrong one has a slope."""
    labels = np.array([[[0, 1, 1, 255]]])
    logits = np.eye(30, dtype="float32")[labels % 30] * 100
    assert float(cls()(labels, logits)) == pytest.approx(0.0, abs=1e-6)
    for truth in (0, 1):
        labels = np.full((1, 4, 5), truth)
        right = np.full((1, 4, 5, 1), 30.0 if truth else -30.0)
        assert float(cls("binary")(labels, right)) == pytest.approx(0.0, abs=1e-6)
        value, gradient = value_and_gradient(cls("binary"), labels, 0 * right)
        assert value > 0.3 and np.abs(gradient).min() > 1e-4


def test_chance_has_no_correlation():
    labels, logits = reference.batch("binary")
    assert float(MatthewsCorrelation("binary")(labels, 0 * logits + 2.0)) == pytest.approx(1.0)
    opposite = np.where(labels == 1, -30.0, 30.0)[..., None]
    assert float(MatthewsCorrelation("binary")(labels, opposite)) == pytest.approx(2.0, abs=1e-5)


@pytest.mark.parametrize("source", ["figures", "monai"])
def test_generalized_dice_of_monai(source):
    labels, logits = smooth_batch()
    wanted = {False: 0.5062075257, True: 0.6083546877}  # MONAI 1.6.1, smooth_nr = smooth_dr = 0
    if source == "monai":
        torch, monai = pytest.importorskip("torch"), pytest.importorskip("monai.losses")
        x = torch.tensor(logits.transpose(0, 3, 1, 2))
        hot = torch.tensor(np.eye(3)[labels].transpose(0, 3, 1, 2))
        for per_image in wanted:
            loss = monai.GeneralizedDiceLoss(
                softmax=True, smooth_nr=0, smooth_dr=0, batch=not per_image
            )
            wanted[per_image] = loss(x, hot).item()
    found = {p: float(GeneralizedDice(per_image=p)(labels, logits)) for p in wanted}
    assert found == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("exponent", [0.75, 2.0])
def test_focal_tversky(exponent):
    labels, logits = reference.batch()

    def formula(x):
        hits, p, t, _ = sums(labels, x, np.ones(labels.shape), "multiclass")
        index = hits / (hits + 0.3 * (p - hits) + 0.7 * (t - hits))
        return np.mean((1 - index) ** exponent)

    value, gradient = value_and_gradient(Tversky(exponent=exponent), labels, logits)
    assert value == pytest.approx(formula(logits), rel=1e-5)
    wanted = reference.numeric_gradient(formula, logits)
    np.testing.assert_allclose(gradient, wanted, atol=1e-6)
    right = 100.0 * np.eye(4, dtype="float32")[labels % 4]
    value, gradient = value_and_gradient(Tversky(exponent=exponent), labels % 4, right)
    assert value == pytest.approx(0, abs=1e-6) and np.isfinite(gradient).all()


def test_bad_exponent():
    with pytest.raises(ValueError, match="`exponent` must be a number > 0"):
        Tversky(exponent=0)

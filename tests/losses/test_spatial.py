"""Losses by distance and by skeleton against SciPy in float64, and against figures of MONAI."""

import keras
import numpy as np
import pytest
from keras import ops
from scipy import ndimage

from keras_dense.losses import (
    Boundary,
    ClDice,
    GeneralizedDice,
    Hausdorff,
    MatthewsCorrelation,
    Sum,
)
from keras_dense.losses.cl_dice import soft_skeleton
from keras_dense.losses.distance import signed_distance
from keras_dense.ops.distance import nearest_distance
from keras_dense.testing.expect import value_and_gradient

from . import reference


def smooth_batch(seed=3, shape=(2, 13, 17), classes=3):
    """Labels in blobs, and logits that half agree with them."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=(*shape, classes)), (0, 2, 2, 0))
    other = ndimage.gaussian_filter(rng.normal(size=(*shape, classes)), (0, 1.5, 1.5, 0))
    return noise.argmax(-1), (20 * other + 15 * noise).astype("float32")


def field(inside, known):
    """The signed distance as in the code of Kervadec et al., in SciPy."""
    inside, outside = inside & known, ~inside & known
    if not inside.any() or not outside.any():
        return np.zeros(inside.shape)
    to_inside, to_outside = (ndimage.distance_transform_edt(~x) for x in (inside, outside))
    return np.where(outside, to_inside, 0) - np.where(inside, to_outside - 1, 0)


def both_distances(inside, known):
    inside, outside = inside & known, ~inside & known
    if not inside.any() or not outside.any():
        return np.zeros(inside.shape)
    return sum(ndimage.distance_transform_edt(~x) for x in (inside, outside))


def probabilities(labels, logits, mode):
    """Probabilities, truth and known pixels of each class, `(B, H, W, C)`."""
    logits = np.asarray(logits, "float64")
    if mode == "multiclass":
        p, known = reference.softmax(logits), (labels != 255)[..., None] & (logits == logits)
        return p, np.eye(p.shape[-1])[np.where(labels == 255, 0, labels)] * known, known
    labels = labels.reshape(logits.shape)
    known = labels != 255
    return reference.sigmoid(logits), np.where(known, labels, 0), known


def by_class(function, *maps):
    """A function of maps `(H, W)` over images and classes."""
    out = np.zeros(maps[0].shape)
    for n, c in np.ndindex(out.shape[0], out.shape[3]):
        out[n, :, :, c] = function(*(x[n, :, :, c] for x in maps))
    return out


def boundary(labels, logits, weight, mode="multiclass", share=1.0, reach=np.inf):
    p, t, known = probabilities(labels, logits, mode)
    distance = np.clip(by_class(field, t == 1, known), -reach, reach)
    return averaged(distance * p, known, weight, mode, share)


def hausdorff(labels, logits, weight, mode="multiclass", share=1.0, alpha=2.0, frozen=None):
    p, t, known = probabilities(labels, logits, mode)
    region = p if frozen is None else probabilities(labels, frozen, mode)[0]
    distance = sum(by_class(both_distances, x > 0.5, known) ** alpha for x in (t, region))
    return averaged(distance * (p - t) ** 2, known, weight, mode, share)


def averaged(cost, known, weight, mode, share):
    weight = np.broadcast_to(weight[..., None] * known * share, cost.shape)
    if mode == "multilabel":
        return (weight * cost).sum() / weight.sum()
    return (weight * cost).sum() / weight.sum()


@pytest.mark.everywhere
@pytest.mark.parametrize(
    "shape", [(2, 9, 14, 2), pytest.param((1, 1, 5, 1), marks=pytest.mark.once)]
)
def test_distances_are_those_of_scipy(shape):
    sites = np.random.default_rng(0).random(shape) < 0.1
    sites[0, 0, 3, 0], sites[..., -1] = True, sites[..., -1] & (shape[-1] == 1)
    sites[0, 0, 3, 0] = True
    found = ops.convert_to_numpy(nearest_distance(ops.convert_to_tensor(sites)))
    for n, c in np.ndindex(shape[0], shape[3]):
        here = sites[n, :, :, c]
        wanted = ndimage.distance_transform_edt(~here) if here.any() else np.zeros(here.shape)
        np.testing.assert_allclose(found[n, :, :, c], wanted, rtol=1e-6)


def test_signed_distance_is_that_of_kervadec():
    labels, _ = smooth_batch()
    known = np.random.default_rng(1).random(labels.shape) < 0.9
    inside = labels == 1
    inside[1] = False  # absent
    found = signed_distance(*(ops.convert_to_tensor(x[..., None]) for x in (inside, known)))
    wanted = by_class(field, inside[..., None], known[..., None])
    np.testing.assert_allclose(ops.convert_to_numpy(found)[known], wanted[known], rtol=1e-6)


@pytest.mark.everywhere
@pytest.mark.parametrize("cls, formula", [(Boundary, boundary), (Hausdorff, hausdorff)])
def test_multiclass_against_scipy(cls, formula):
    labels, logits = smooth_batch()
    labels[0, 3:5, 2:9] = 255
    labels[1] = np.where(labels[1] == 2, 0, labels[1])  # class 2 is absent from an image
    weight = np.random.default_rng(1).uniform(0.5, 2, labels.shape)
    share = np.array([1.0, 2.0, 0.5])
    found = float(cls(class_weight=share)(labels, logits, weight))
    assert found == pytest.approx(formula(labels, logits, weight, share=share), rel=1e-5)


@pytest.mark.parametrize("cls, formula", [(Boundary, boundary), (Hausdorff, hausdorff)])
@pytest.mark.parametrize("mode", ["binary", "multilabel"])
def test_other_modes_against_scipy(cls, formula, mode):
    labels, logits = reference.batch(mode, shape=(2, 9, 11), classes=3)
    weight = np.random.default_rng(1).uniform(0.5, 2, labels.shape[:3])
    found = float(cls(mode=mode)(labels, logits, weight))
    assert found == pytest.approx(formula(labels, logits, weight, mode), rel=1e-5)


def test_reach_and_alpha():
    labels, logits = smooth_batch()
    ones = np.ones(labels.shape)
    found = float(Boundary(reach=2.0)(labels, logits))
    assert found == pytest.approx(boundary(labels, logits, ones, reach=2.0), rel=1e-5)
    found = float(Hausdorff(alpha=1.0)(labels, logits))
    assert found == pytest.approx(hausdorff(labels, logits, ones, alpha=1.0), rel=1e-5)
    assert float(Hausdorff(reach=1.0)(labels, logits)) < float(Hausdorff()(labels, logits))


def test_gradients():
    labels, logits = reference.batch(shape=(1, 3, 4), classes=3)
    ones = np.ones(labels.shape)
    _, gradient = value_and_gradient(Boundary(), labels, logits)
    wanted = reference.numeric_gradient(lambda x: boundary(labels, x, ones), logits)
    np.testing.assert_allclose(gradient, wanted, atol=1e-5)
    _, gradient = value_and_gradient(Hausdorff(), labels, logits)
    wanted = reference.numeric_gradient(
        lambda x: hausdorff(labels, x, ones, frozen=logits), logits
    )  # distances of the prediction are constants
    np.testing.assert_allclose(gradient, wanted, atol=1e-5)
    for per_image in (False, True):
        loss = ClDice(per_image=per_image, iterations=2, smooth=1.0, alpha=0.7)
        _, gradient = value_and_gradient(loss, labels, logits)
        options = {"iterations": 2, "smooth": 1.0, "alpha": 0.7, "per_image": per_image}
        wanted = reference.numeric_gradient(lambda x, o=options: cl_dice(labels, x, **o), logits)
        np.testing.assert_allclose(gradient, wanted, atol=1e-5)


def skeleton(x, known, iterations):
    """The soft skeleton in SciPy; pixels that are not known are neither least nor largest."""
    cross = ndimage.generate_binary_structure(2, 1)

    def erode(x):
        low = np.where(known, x, np.inf)
        return known * ndimage.minimum_filter(low, footprint=cross, mode="constant", cval=np.inf)

    def opened(x):
        return ndimage.maximum_filter(erode(x), size=3, mode="constant", cval=-np.inf)

    found = np.maximum(x - opened(x), 0)
    for _ in range(iterations):
        x = erode(x)
        line = np.maximum(x - opened(x), 0)
        found = found + np.maximum(line - found * line, 0)
    return known * found


def cl_dice(labels, logits, mode="multiclass", iterations=3, smooth=0.0, alpha=0.5, per_image=True):
    p, t, known = probabilities(labels, logits, mode)
    known = np.broadcast_to(known, p.shape)
    p, t = p * known, t * known
    lines = [
        by_class(lambda x, k: skeleton(x, k, iterations), x.astype("float64"), known)
        for x in (p, t)
    ]
    groups = [slice(n, n + 1) for n in range(len(p))] if per_image else [slice(None)]
    losses = []
    for group in groups:
        each = []
        for c in range(p.shape[-1]):
            q, y, a, b = (x[group, ..., c] for x in (p, t, *lines))
            if y.any():
                precision = ((a * y).sum() + smooth) / (a.sum() + smooth)
                sensitivity = ((b * q).sum() + smooth) / (b.sum() + smooth)
                line = 2 * precision * sensitivity / (precision + sensitivity)
                dice = 2 * (q * y).sum() / (q.sum() + y.sum())
                each.append(alpha * (1 - line) + (1 - alpha) * (1 - dice))
        losses.append(np.mean(each))
    return np.mean(losses)


@pytest.mark.everywhere
@pytest.mark.parametrize("per_image", [False, pytest.param(True, marks=pytest.mark.once)])
def test_cl_dice_against_scipy(per_image):
    labels, logits = smooth_batch()
    labels[0, 3:5, 2:9] = 255
    for options in ({}, {"alpha": 1.0, "smooth": 1.0, "iterations": 1}, {"alpha": 0.0}):
        found = float(ClDice(per_image=per_image, **options)(labels, logits))
        wanted = cl_dice(labels, logits, per_image=per_image, **options)
        assert found == pytest.approx(wanted, rel=1e-5)


def test_skeletons_of_shapes():
    """A cross of bars keeps its two lines, a pixel itself, and nothing has none."""
    image = np.zeros((1, 21, 31, 1), "float32")
    image[:, 9:12], image[:, :, 14:17] = 1, 1
    ones = ops.ones(image.shape, "bool")
    found = ops.convert_to_numpy(soft_skeleton(ops.convert_to_tensor(image), ones, 3))[0, ..., 0]
    assert found[10, 3:12].all() and found[3:8, 15].all()
    assert not found[9, 3:12].any() and not found[11, 3:12].any()
    dot = np.zeros((1, 5, 5, 1), "float32")
    dot[0, 2, 2] = 1
    ones = ops.ones(dot.shape, "bool")
    found = ops.convert_to_numpy(soft_skeleton(ops.convert_to_tensor(dot), ones, 3))
    np.testing.assert_array_equal(found, dot)
    assert not ops.convert_to_numpy(soft_skeleton(ops.zeros(dot.shape), ones, 3)).any()


# Figures of MONAI 1.6.1 for `smooth_batch()`: HausdorffDTLoss(softmax=True), of class 1 alone
# (sigmoid=True) with alpha 2 and 1, and SoftclDiceLoss(iter_=3, smooth=1e-12) of class 1.
MONAI = {
    "softmax": 2.417677164,
    "alpha 2": 2.476363182,
    "alpha 1": 1.071328163,
    "lines": 0.3558673263,
}


def of_monai():
    torch, monai = pytest.importorskip("torch"), pytest.importorskip("monai.losses")
    labels, logits = smooth_batch()
    x, y = torch.tensor(logits.transpose(0, 3, 1, 2)), torch.tensor(labels)[:, None]
    hot = torch.tensor(np.eye(3)[labels].transpose(0, 3, 1, 2))
    one, target = x[:, 1:2], (y == 1).float()
    hd, lines = monai.HausdorffDTLoss, monai.SoftclDiceLoss(iter_=3, smooth=1e-12)
    return {
        "softmax": hd(softmax=True, include_background=True)(x, hot).item(),
        "alpha 2": hd(sigmoid=True, include_background=True)(one, target).item(),
        "alpha 1": hd(sigmoid=True, alpha=1.0, include_background=True)(one, target).item(),
        "lines": lines(torch.sigmoid(one), target).item(),
    }


@pytest.mark.parametrize("source", ["figures", "monai"])
def test_against_monai(source):
    wanted = MONAI if source == "figures" else of_monai()
    labels, logits = smooth_batch()
    found = {
        "softmax": Hausdorff()(labels, logits),
        "alpha 2": Hausdorff("binary")(labels == 1, logits[..., 1:2]),
        "alpha 1": Hausdorff("binary", alpha=1.0)(labels == 1, logits[..., 1:2]),
        "lines": ClDice("binary", alpha=1.0, smooth=1.0, per_image=True)(
            labels == 1, logits[..., 1:2]
        ),
    }
    assert {k: float(v) for k, v in found.items()} == pytest.approx(wanted, rel=1e-5)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX knows every size")
def test_sizes_that_are_not_known_and_a_pixel():
    image = keras.Input((None, None, 3))
    model = keras.Model(image, keras.layers.Conv2D(3, 1)(image))
    made = [cls() for cls in (Boundary, Hausdorff, ClDice, GeneralizedDice, MatthewsCorrelation)]
    model.compile("sgd", loss=Sum(made))
    for shape in ((1, 1, 1), (2, 7, 4)):
        labels, images = reference.batch(shape=shape, classes=3)
        labels[:] = np.where(labels == 255, 0, labels)
        wanted = sum(float(loss(labels, model.predict_on_batch(images))) for loss in made)
        assert float(model.train_on_batch(images, labels)) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.once
def test_bad_options():
    with pytest.raises(ValueError, match="`reach` must be a number > 0"):
        Boundary(reach=0)
    with pytest.raises(ValueError, match="`alpha` must be a number > 0"):
        Hausdorff(alpha=0)
    with pytest.raises(ValueError, match="`alpha` must be a number from 0 to 1"):
        ClDice(alpha=2)
    with pytest.raises(ValueError, match="`iterations` must be an integer >= 0"):
        ClDice(iterations=-1)
    for cls in (Boundary, Hausdorff, ClDice):
        with pytest.raises(ValueError, match=r"`y_pred` must be maps \(B, H, W, C\)"):
            cls()(np.zeros((2, 5), int), np.zeros((2, 5, 3)))

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from keras_dense.losses import VirtualNormal
from keras_dense.testing import check_loss
from keras_dense.testing.expect import value_and_gradient

from .depths import batch

CAMERA = (9.0, 11.0, 6.5, 5.0)


def by_hand(loss, truth, prediction):
    """The formula, a triplet at a time, at the places that the loss has drawn."""
    known = np.isfinite(truth) & (np.nan_to_num(truth) > 0)
    filled = np.where(known, truth, 1.0).astype("float32")
    places = ops.convert_to_numpy(loss.places(ops.convert_to_tensor(filled[..., None])))
    fx, fy, cx, cy = CAMERA
    height, width = truth.shape[1:]

    def point(depth, place):
        v, u = divmod(int(place), width)
        z = float(depth[v, u])
        return np.array([(u - cx) / fx * z, (v - cy) / fy * z, z])

    def normal(a, b, c):
        n = np.cross(b - a, c - a)
        size = np.linalg.norm(n)
        return n / size if size > 1e-9 else np.zeros(3)

    differences = []
    for image in range(len(truth)):
        for triplet in places.reshape(-1, 3):
            if not known[image].ravel()[triplet].all():
                continue
            real = [point(truth[image], p) for p in triplet]
            edges = [real[j] - real[i] for i, j in itertools.combinations(range(3), 2)]
            if (np.abs(edges).min(0) < 0.005).all():
                continue
            units = [e / np.linalg.norm(e) if np.linalg.norm(e) > 1e-6 else 0 * e for e in edges]
            if max(abs(a @ b) for a, b in itertools.combinations(units, 2)) > 0.867:
                continue
            guess = [point(prediction[image, ..., 0], p) for p in triplet]
            differences.append(np.abs(normal(*guess) - normal(*real)).sum())
    kept = np.sort(differences)[int(loss.drop * len(differences)) :]
    return kept.mean() if len(kept) else 0.0, len(differences)


@pytest.mark.everywhere
def test_by_the_formula():
    truth, prediction = batch((2, 10, 13))
    for drop in (0.25, 0.0):
        loss = VirtualNormal(CAMERA, triplets=200, drop=drop, seed=3)
        expected, count = by_hand(loss, truth, prediction)
        assert count > 50
        assert float(loss(truth, prediction)) == pytest.approx(expected, rel=1e-4)


def test_contract():
    truth, prediction = batch((2, 8, 9), unknown=False)
    check_loss(VirtualNormal(CAMERA, triplets=100), truth, prediction, void=None)


def test_unknown_pixels_and_empty_images():
    truth, prediction = batch((2, 9, 8))
    loss = VirtualNormal(CAMERA, triplets=300)
    value, gradient = value_and_gradient(loss, truth, prediction)
    unknown = ~(np.isfinite(truth) & (np.nan_to_num(truth) > 0))
    assert np.isfinite(gradient).all() and not gradient[unknown].any()
    assert gradient[~unknown].any()
    other = np.where(unknown[..., None], np.nan, prediction)
    assert float(loss(np.where(unknown, 0.0, truth), other)) == pytest.approx(value, rel=1e-6)
    value, gradient = value_and_gradient(loss, np.zeros_like(truth), prediction)
    assert value == 0.0 and not gradient.any()


def test_a_plane_of_any_distance_is_right_and_a_turned_one_is_not():
    v, u = np.mgrid[:20, :24]
    fx, fy, cx, cy = CAMERA
    ray = np.stack([(u - cx) / fx, (v - cy) / fy, np.ones_like(u)], -1)

    def plane(normal, distance):
        return (distance / (ray @ np.asarray(normal)))[None].astype("float32")

    loss = VirtualNormal(CAMERA, triplets=2000)
    tilted = plane((0.1, 0.2, 1.0), 2.0)
    near = plane((0.1, 0.2, 1.0), 3.0)
    assert float(loss(tilted, near[..., None])) == pytest.approx(0.0, abs=1e-4)
    wall = plane((0.0, 0.0, 1.0), 2.0)
    turned = np.array([0.1, 0.2, 1.0]) / np.linalg.norm([0.1, 0.2, 1.0])
    expected = np.abs(turned - [0, 0, 1]).sum()
    # Triplets of either orientation, all with the same difference.
    assert float(loss(tilted, wall[..., None])) == pytest.approx(expected, rel=1e-3)


def test_other_targets_are_looked_at_elsewhere():
    truth, _ = batch((1, 50, 60), unknown=False)
    loss = VirtualNormal(CAMERA, triplets=500)
    seen = [
        set(ops.convert_to_numpy(loss.places(ops.convert_to_tensor(x))).tolist())
        for x in (truth[..., None], truth[..., None], truth[:, ::-1, :, None] * 1.01)
    ]
    assert seen[0] == seen[1]
    assert len(seen[0] & seen[2]) < 0.6 * len(seen[0])
    assert 0 <= min(seen[2]) and max(seen[2]) < 50 * 60


@pytest.mark.everywhere
def test_any_size_in_a_graph_that_does_not_know_it():
    model = keras.Sequential([keras.Input((None, None, 1)), keras.layers.Conv2D(1, 1)])
    model.compile("sgd", loss=VirtualNormal(CAMERA, triplets=50))
    for shape in ((2, 5, 7), (1, 9, 4)):
        truth, prediction = batch(shape, unknown=False)
        assert np.isfinite(model.train_on_batch(prediction, truth))


def test_bad_arguments():
    for intrinsics in ((1, 1, 0), (0, 1, 0, 0), np.eye(3), (1, np.nan, 0, 0)):
        with pytest.raises(ValueError, match=r"`intrinsics` must be \(fx, fy, cx, cy\)"):
            VirtualNormal(intrinsics)
    with pytest.raises(ValueError, match="`triplets` must be an integer >= 1"):
        VirtualNormal(CAMERA, triplets=0)
    with pytest.raises(ValueError, match="`drop` must be a number from 0 to"):
        VirtualNormal(CAMERA, drop=1.0)

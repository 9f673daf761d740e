"""Labels by which an image can be rebuilt, against loops in NumPy."""

import numpy as np
import pytest
from keras import ops

import keras_dense as kd
from keras_dense.ops.class_colors import rebuild_by_color

RNG = np.random.default_rng(0)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def reference(scores, image, weight, rounds, window):
    """At stride 1."""
    colors, reach = image / 255.0, window // 2
    height, width, classes = scores.shape
    change = np.zeros_like(scores)
    for _ in range(rounds):
        q, distance = softmax(scores + change), np.zeros_like(scores)
        for y in range(height):
            for x in range(width):
                near = np.s_[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]
                around = colors[near].reshape(-1, 3)
                for k in range(classes):
                    q_k = q[near][..., k].ravel()
                    little = 1e-3 * window**2
                    mean = (q_k @ around + little * around.mean(0)) / (q_k.sum() + little)
                    distance[y, x, k] = ((colors[y, x] - mean) ** 2).sum()
        change = -weight * distance
    return scores + change


@pytest.mark.everywhere
@pytest.mark.parametrize("weight, rounds, window", [(3.0, 3, 5), (20.0, 1, 3), (0.0, 2, 3)])
def test_colors_and_labels_in_turn(weight, rounds, window):
    scores = RNG.normal(size=(2, 6, 9, 3)).astype("float32")
    image = RNG.integers(0, 256, (2, 6, 9, 3)).astype("uint8")
    found = rebuild_by_color(scores, image, weight=weight, rounds=rounds, window=window, stride=1)
    for b in range(2):
        wanted = reference(scores[b].astype("float64"), image[b], weight, rounds, window)
        np.testing.assert_allclose(ops.convert_to_numpy(found)[b], wanted, atol=1e-4)


@pytest.mark.everywhere
def test_each_round_lowers_the_energy():
    scores = RNG.normal(size=(1, 12, 14, 4)).astype("float32")
    image = RNG.integers(0, 256, (1, 12, 14, 3)).astype("float32")
    p, colors = softmax(scores.astype("float64")), image.astype("float64") / 255
    energies = []
    for rounds in range(5):
        # A window over the whole image: every class has one color.
        y = rebuild_by_color(scores, image, weight=5.0, rounds=rounds, window=29, stride=1)
        q = softmax(ops.convert_to_numpy(y).astype("float64"))
        mean = np.einsum("bhwk,bhwc->kc", q, colors) / q.sum((0, 1, 2))[:, None]
        distance = ((colors[..., None, :] - mean) ** 2).sum(-1)
        energies.append((q * np.log(q / p)).sum() + 5.0 * (q * distance).sum())
    # What counts for classes without pixels is not in this energy.
    assert all(b <= a + 1e-3 for a, b in zip(energies, energies[1:], strict=False)), energies


def test_larger_cells_are_means_and_sizes_need_not_divide():
    scores = RNG.normal(size=(1, 7, 9, 3)).astype("float32")
    image = RNG.integers(0, 256, (1, 7, 9, 3)).astype("float32")
    fine = np.repeat(np.repeat(scores, 2, 1), 2, 2)
    photo = np.repeat(np.repeat(image, 2, 1), 2, 2)
    small = ops.convert_to_numpy(rebuild_by_color(scores, image, stride=1, window=3)) - scores
    large = ops.convert_to_numpy(rebuild_by_color(fine, photo, stride=2, window=3)) - fine
    means = large.reshape(7, 2, 9, 2, 3).mean((1, 3))
    # Bilinear between the cells: a cell's mean takes an eighth from each neighbor.
    for axis in (0, 1):
        before, after = (np.roll(small[0], by, axis) for by in (1, -1))
        small = (0.75 * small[0] + 0.125 * (before + after))[None]
    inside = np.s_[1:-1, 1:-1]
    np.testing.assert_allclose(means[inside], small[0][inside], atol=1e-4)
    odd = rebuild_by_color(fine[:, :13, :17], photo[:, :13, :17])
    assert tuple(odd.shape) == (1, 13, 17, 3) and np.isfinite(ops.convert_to_numpy(odd)).all()


def test_a_border_moves_to_that_of_the_colors():
    image = np.zeros((1, 24, 32, 3), "float32")
    image[:, :, 16:] = 220
    scores = np.zeros((1, 24, 32, 2), "float32")
    scores[:, :, :13, 0] = scores[:, :, 13:, 1] = 0.8  # three pixels off
    layer = kd.layers.RebuildByColor(window=13)
    labels = ops.convert_to_numpy(layer(scores, image)).argmax(-1)
    truth = np.arange(32)[None, None] >= 16
    assert (labels == truth).mean() > 0.99 > (scores.argmax(-1) == truth).mean()


def test_bad_arguments():
    for settings, message in (
        ({"weight": -1}, "`weight` must be a number >= 0"),
        ({"rounds": 0}, "`rounds` must be an integer >= 1"),
        ({"window": 4}, "`window` must be odd"),
        ({"stride": 0}, "`stride` must be an integer >= 1"),
    ):
        with pytest.raises(ValueError, match=message):
            kd.layers.RebuildByColor(**settings)
    with pytest.raises(ValueError, match="at least 2 classes"):
        kd.layers.RebuildByColor()(np.zeros((1, 4, 4, 1)), np.zeros((1, 4, 4, 3)))

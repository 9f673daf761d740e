"""A network that sees positions only."""

import keras
import numpy as np

import keras_dense as kd

HEADS = {
    "labels": kd.heads.Segmentation(3),
    "depth": kd.heads.Depth(max_depth=9.0),
    "color": kd.heads.Colorization(grid=40),
    "help": kd.heads.Auxiliary(kd.heads.Segmentation(3)),
}


def test_predictions_have_the_structure_of_the_heads_and_ignore_the_image():
    model = kd.training.blind(HEADS)
    assert set(kd.heads.of(model)) == {"labels", "depth", "color"}
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (2, 9, 13, 3)).astype("float32")
    found = {key: np.asarray(y) for key, y in model.predict_on_batch(images).items()}
    channels = HEADS["color"].channels
    shapes = {"labels": (2, 9, 13, 3), "depth": (2, 9, 13, 1), "color": (2, 3, 4, channels)}
    assert {key: y.shape for key, y in found.items()} == shapes
    for y in found.values():
        np.testing.assert_allclose(y[0], y[1], atol=1e-6)


def test_it_learns_what_lies_where():
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (16, 8, 10, 3)).astype("float32")
    labels = np.zeros((16, 8, 10), "int32")
    labels[:, 4:] = 1  # The lower half.
    keras.utils.set_random_seed(0)
    model = kd.training.blind(kd.heads.Segmentation(2))
    model.compile(keras.optimizers.Adam(0.05), **kd.objectives(model))
    model.fit(images, labels, batch_size=4, epochs=15, verbose=0)
    assert (np.asarray(kd.decoded(model).predict_on_batch(images)) == labels).mean() > 0.95

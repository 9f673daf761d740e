"""A head of one's own: what `kd.heads.Head` gives it."""

import keras
import numpy as np
import pytest

import keras_dense as kd


@keras.saving.register_keras_serializable("test_head")
class Brightness(kd.heads.Head):
    """A number at every pixel."""

    channels = 1

    def __init__(self, *, loss=None, weight=1.0, target="brightness"):
        super().__init__(loss=loss, weight=weight, target=target)

    def default_loss(self):
        return keras.losses.MeanSquaredError()

    def metrics(self):
        return [keras.metrics.MeanAbsoluteError()]

    def encode(self, sample):
        return sample[self.target]


def images(height, width):
    return np.random.default_rng(0).integers(0, 256, (2, height, width, 3), "uint8")


def lively(backbone):
    """Scores that begin at zero would say nothing."""
    model = kd.fcn8s(backbone, heads=Brightness())
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        if len(weight.shape) == 4:
            weight.assign(rng.normal(0, 0.1, weight.shape))
    return model


@pytest.mark.everywhere
def test_trains_on_any_network(backbone):
    head, photos = Brightness(), images(37, 45)
    model = kd.fcn8s(backbone, heads=head)
    model.compile("sgd", **kd.objectives(head))
    samples = [{"image": x, "brightness": x.mean(-1, keepdims=True) / 255} for x in photos]
    history = model.fit(kd.datasets.Loader(samples, head, 2), verbose=0).history
    truth = np.stack([s["brightness"] for s in samples])
    assert history["loss"][0] == pytest.approx(np.square(truth).mean(), rel=1e-4)


def test_views_of_an_image_are_averaged_as_numbers(backbone):
    model, x = lively(backbone), images(64, 96)
    found = kd.inference.predict_multiscale(model, x, Brightness(), scales=(1.0,))
    plain = model.predict(x, verbose=0)
    mirrored = model.predict(x[:, :, ::-1], verbose=0)[:, :, ::-1]
    assert np.abs(plain - mirrored).max() > 1e-3
    np.testing.assert_allclose(found, (plain + mirrored) / 2, rtol=1e-4, atol=1e-5)


def test_tiles_are_mixed_as_numbers(backbone):
    model, x = lively(backbone), images(96, 128)[0]
    settings = {"tile": 64, "overlap": 16, "progress": False}
    found = kd.inference.predict_tiled(model, x, Brightness(), **settings)
    same = kd.inference.predict_tiled(model, x, **settings)
    assert found.shape == (96, 128, 1) and np.ptp(found) > 1e-3
    np.testing.assert_allclose(found, same, rtol=1e-4, atol=1e-5)


def test_leaves_as_a_prediction():
    head, y = Brightness(), np.ones((1, 2, 3, 1), "float32")
    ((name, found),) = head.outputs(y, None).items()
    assert name == "prediction" and (found == y).all() and head.about() == {"prediction": {}}

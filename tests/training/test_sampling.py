"""Training at sampled pixels: what it equals, and that it works as any training does."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_dense as kd
from keras_dense.testing.expect import reload
from keras_dense.training import SampledPixels, on_sampled_pixels


class Stripes:
    """Four samples whose left half is dark and of class 0, the last column void."""

    def __len__(self):
        return 4

    def __getitem__(self, i):
        labels = np.zeros((40, 48), "uint8")
        labels[:, 24:] = 1
        image = np.repeat(200 * labels[..., None], 3, -1)
        labels[:, -1] = 255
        return {"image": image, "segmentation": labels}


def weights_of(model):
    return [ops.convert_to_numpy(w.value).copy() for w in model.weights]


@pytest.mark.parametrize("auxiliary", [True, pytest.param(False, marks=pytest.mark.once)])
def test_all_pixels_are_the_full_model(backbone, auxiliary):
    """The loss is the same, and so is what a step of gradient descent does."""
    head = kd.heads.Segmentation(2)
    heads = kd.heads.with_auxiliary(head) if auxiliary else head
    model = kd.hypercolumn(backbone, heads=heads, taps=("P1", "P4"), mlp=(8,))
    loader = kd.datasets.Loader(Stripes(), heads, 2, workers=0)
    start, ends = model.get_weights(), []
    for trained, batches in (
        (model, loader),
        (on_sampled_pixels(model), SampledPixels(loader, 40 * 48)),
    ):
        model.set_weights(start)
        keras.utils.set_random_seed(0)
        trained.compile(keras.optimizers.SGD(0.1), **kd.objectives(heads))
        inputs, targets = batches[0]
        tested = trained.test_on_batch(inputs, targets, return_dict=True)
        if not auxiliary:  # It has dropout, which draws other numbers.
            trained.train_on_batch(inputs, targets)
        ends.append((tested, weights_of(trained)))
    (full, after), (sampled, also) = ends
    assert full["loss"] > 0.1
    for name, value in full.items():
        assert sampled[name] == pytest.approx(value, rel=1e-4), name
    if not auxiliary:
        assert max(np.abs(a - b).max() for a, b in zip(start, after, strict=True)) > 1e-3
        for a, b in zip(after, also, strict=True):
            np.testing.assert_allclose(a, b, atol=2e-5)


def test_fit_and_predict_everywhere(backbone, tmp_path):
    head = kd.heads.Segmentation(2)
    model = kd.hypercolumn(backbone, heads=head, taps=("P1", "P2"), mlp=(16,))
    training = on_sampled_pixels(model)
    training.compile(keras.optimizers.Adam(0.01), **kd.objectives(head))
    loader = kd.datasets.Loader(Stripes(), head, 2, workers=1)
    pixels = SampledPixels(loader, sample_pixels=50)
    before = weights_of(model)
    history = training.fit(pixels, epochs=3, validation_data=pixels, verbose=0).history
    assert history["loss"][-1] < history["loss"][0] and "val_mean_iou" in history
    moved = [np.any(a != b) for a, b in zip(before, weights_of(model), strict=True)]
    assert all(moved), [w.path for w, m in zip(model.weights, moved, strict=True) if not m]
    images = np.stack([Stripes()[0]["image"]])
    y = model.predict(images, verbose=0)
    assert y.shape == (1, 40, 48, 2)
    # Either file carries on.
    training.save(tmp_path / "training.keras")
    inputs, targets = pixels[0]
    again = keras.saving.load_model(tmp_path / "training.keras")
    np.testing.assert_allclose(
        again.predict_on_batch(inputs), training.predict_on_batch(inputs), atol=1e-5
    )
    loaded = reload(model)
    np.testing.assert_allclose(loaded.predict(images, verbose=0), y, atol=1e-5)
    np.testing.assert_allclose(
        on_sampled_pixels(loaded).predict_on_batch(inputs),
        training.predict_on_batch(inputs),
        atol=1e-5,
    )


def test_memory_of_a_step_is_that_of_the_sample(backbone):
    """The perceptron's hidden maps would have 128 · 128 · 512 numbers."""
    if keras.backend.backend() != "torch":
        pytest.skip("one backend shows what it makes")
    import torch

    model = on_sampled_pixels(kd.hypercolumn(backbone, 3, taps=("P1", "P4"), mlp=(512,)))
    inputs = {
        "image": np.zeros((1, 128, 128, 3), "float32"),
        "positions": np.zeros((1, 100, 2), "int32"),
    }
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda x: sizes.append(x.numel()) or x, lambda x: x
    ):
        ops.sum(model(inputs, training=True)).backward()
    assert max(sizes) <= 100 * 512  # all pixels would be 128·128·512


def test_any_model_and_structure_of_heads(backbone):
    heads = {"objects": kd.heads.Segmentation(2), "edges": kd.heads.Segmentation(1)}
    model = kd.fcn32s(backbone, heads=heads)
    training = on_sampled_pixels(model)
    labels = np.random.default_rng(0).integers(0, 2, (2, 33, 47))
    images = np.random.default_rng(0).integers(0, 256, (2, 33, 47, 3), dtype="uint8")
    batches = [(images, {"objects": labels, "edges": labels[..., None]}, np.ones((2, 33, 47)))]
    inputs, targets, weight = SampledPixels(batches, 20)[0]
    assert targets["objects"].shape == weight.shape == (2, 1, 20)
    assert targets["edges"].shape == (2, 1, 20, 1)
    y = keras.tree.map_structure(ops.convert_to_numpy, training(inputs, training=False))
    full = keras.tree.map_structure(ops.convert_to_numpy, model(images, training=False))
    rows, columns = np.moveaxis(inputs["positions"], -1, 0)
    for key, values in y.items():
        wanted = full[key][np.arange(2)[:, None], rows, columns]
        np.testing.assert_allclose(values[:, 0], wanted, atol=1e-6)


def test_samples_are_drawn_anew_and_repeat():
    loader = kd.datasets.Loader(Stripes(), None, 2, workers=0)
    batches = [(images, np.zeros(images.shape[:3])) for (images,) in loader]
    first, again, other = (SampledPixels(batches, 30, seed=seed) for seed in (0, 0, 1))

    def drawn(pixels, number):
        return pixels[number][0]["positions"]

    positions = drawn(first, 0)
    assert positions.dtype == "int32" and positions.shape == (2, 30, 2)
    assert positions.min() >= 0 and (positions.max((0, 1)) < (40, 48)).all()
    assert len({tuple(p) for p in positions[0]}) == 30
    np.testing.assert_array_equal(positions, drawn(again, 0))
    for pixels, number in ((other, 0), (first, 1)):
        assert np.any(drawn(pixels, number) != positions)
    assert np.any(positions[0] != positions[1])
    first.on_epoch_end()  # both batches were drawn
    assert np.any(drawn(first, 0) != positions) and len(first) == 2


def test_bad_input():
    for count in (0, 2.5, True, None):
        with pytest.raises(ValueError, match="`sample_pixels` must be an integer >= 1"):
            SampledPixels([], count)
    small = SampledPixels([(np.zeros((1, 4, 5, 3)), np.zeros((1, 4, 5)))], 21)
    with pytest.raises(ValueError, match="at most the pixels of an image, 4·5"):
        small[0]
    with pytest.raises(TypeError, match="must be a functional Keras model"):
        on_sampled_pixels(object())

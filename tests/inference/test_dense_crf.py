"""Post-processing with a dense CRF, and its energy, against all pairs in NumPy float64."""

import numpy as np
import pytest

from keras_dense.inference import crf_energy, dense_crf


def scene(height, width, classes=3, seed=0):
    """Patches of color with noise, and probabilities that have seen them badly."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    labels = ((rows // 9) * 3 + columns // 11) % classes
    colors = np.array(rng.integers(40, 215, (classes, 3)))
    image = colors[labels] + rng.normal(0, 6, (height, width, 3))
    scores = np.exp(1.2 * np.eye(classes)[labels] + rng.normal(0, 1, (height, width, classes)))
    return (scores / scores.sum(-1, keepdims=True)), image.clip(0, 255).astype("uint8"), labels


def kernels(image, gaussian_sxy=3.0, bilateral_sxy=80.0, bilateral_srgb=13.0):
    """All pairs, normalized symmetrically."""
    pixels = np.stack(np.mgrid[: image.shape[0], : image.shape[1]], -1).reshape(-1, 2)
    colors = image.reshape(-1, 3).astype("float64") / bilateral_srgb
    for f in (pixels / gaussian_sxy, np.concatenate([pixels / bilateral_sxy, colors], -1)):
        k = np.exp(-0.5 * np.square(f[:, None] - f[None]).sum(-1))
        norm = k.sum(1)
        yield k / np.sqrt(norm[:, None] * norm[None])


def mean_field(probabilities, image, iterations, compat=(3, 10), **settings):
    logs = np.log(np.maximum(probabilities, 1e-5)).reshape(-1, probabilities.shape[-1])
    pairs = list(kernels(image, **settings))
    q = np.exp(logs) / np.exp(logs).sum(-1, keepdims=True)
    for _ in range(iterations):
        q = np.exp(logs + sum(w * k @ q for w, k in zip(compat, pairs, strict=True)))
        q /= q.sum(-1, keepdims=True)
    return q.reshape(probabilities.shape)


@pytest.mark.everywhere
def test_exact_is_exact():
    probabilities, image, _ = scene(13, 12)
    wanted = mean_field(probabilities, image, 4, (2, 5), gaussian_sxy=1.5, bilateral_sxy=20)
    found = dense_crf(
        probabilities,
        image,
        4,
        gaussian_sxy=1.5,
        gaussian_compat=2,
        bilateral_sxy=20,
        bilateral_compat=5,
        exact=True,
    )
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=1e-4)


@pytest.mark.everywhere
def test_the_lattice_has_the_labels():
    probabilities, image, labels = scene(40, 48)
    wanted = mean_field(probabilities, image, 10)
    found = dense_crf(probabilities, image)
    assert (found.argmax(-1) == wanted.argmax(-1)).mean() > 0.98
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)
    assert (found.argmax(-1) == labels).mean() > (probabilities.argmax(-1) == labels).mean() + 0.2


def test_batches_and_unknown_pixels():
    pairs = [scene(12, 15, seed=n)[:2] for n in range(2)]
    probabilities, images = (np.stack(x) for x in zip(*pairs, strict=True))
    known = np.ones((2, 12, 15))
    known[1, :, 11:] = 0
    found = dense_crf(probabilities, images, 3, known=known)
    np.testing.assert_allclose(found[0], dense_crf(*pairs[0], 3), atol=1e-4)
    cut = dense_crf(probabilities[1][:, :11], images[1][:, :11], 3)
    np.testing.assert_allclose(found[1][:, :11], cut, atol=1e-4)
    np.testing.assert_allclose(found[1][:, 11:], probabilities[1][:, 11:], atol=1e-5)


def test_noise_finds_room_for_its_lattice():
    """In compiled functions the first lattice is too small for it."""
    image = np.random.default_rng(0).integers(0, 256, (160, 160, 3), np.uint8)
    probabilities = np.random.default_rng(1).dirichlet([1, 1], (160, 160))
    found = dense_crf(probabilities, image, 1, bilateral_sxy=3, bilateral_srgb=1, gaussian_compat=0)
    # No two pixels are alike: every pixel gets only its own message.
    alone = probabilities * np.exp(10 * probabilities)
    alone /= alone.sum(-1, keepdims=True)
    assert np.isfinite(found).all() and np.abs(found - alone).mean() < 1e-3


def test_energy():
    probabilities, image, _ = scene(9, 11)
    labels = np.random.default_rng(0).integers(0, 3, (9, 11))
    found = crf_energy(labels, probabilities, image, exact=True)
    flat = labels.ravel()
    differ = flat[:, None] != flat[None]
    gaussian, bilateral = (0.5 * (k * differ).sum() for k in kernels(image))
    unary = -np.log(np.take_along_axis(probabilities.reshape(-1, 3), flat[:, None], -1)).sum()
    wanted = {"unary": unary, "gaussian": 3 * gaussian, "bilateral": 10 * bilateral}
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, rel=1e-4), name
    assert found["total"] == pytest.approx(sum(wanted.values()), rel=1e-4)


def test_inference_lowers_the_energy():
    probabilities, image, _ = scene(30, 33)
    energies = [
        crf_energy(dense_crf(probabilities, image, n).argmax(-1), probabilities, image)["total"]
        for n in (0, 1, 5)
    ]
    assert energies[0] > energies[1] >= energies[2]


def test_bad_input():
    p, image = np.full((4, 5, 2), 0.5), np.zeros((4, 5, 3), "uint8")
    for bad, photo in ((p, image[:, :4]), (p[0], image), (p, image[..., 0])):
        with pytest.raises(ValueError, match="of one height and width. Received"):
            dense_crf(bad, photo)
    with pytest.raises(ValueError, match="at least 2 classes: give p and 1 - p"):
        dense_crf(p[..., :1], image)
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="`probabilities` must be finite numbers"):
            dense_crf(p * bad, image)
        with pytest.raises(ValueError, match="`image` must be finite numbers"):
            dense_crf(p, image + bad)
    with pytest.raises(ValueError, match="apply a softmax to logits first"):
        dense_crf(p - 1, image)
    with pytest.raises(ValueError, match="must have at least one pixel"):
        dense_crf(p[:0], image[:0])
    with pytest.raises(ValueError, match="`known` must have the image's"):
        dense_crf(p, image, known=np.ones((4, 4)))
    for name in ("gaussian_sxy", "bilateral_sxy", "bilateral_srgb"):
        with pytest.raises(ValueError, match=f"`{name}` must be a number > 0"):
            dense_crf(p, image, **{name: 0})
    with pytest.raises(ValueError, match="`bilateral_compat` must be a number >= 0"):
        dense_crf(p, image, bilateral_compat=-1)
    with pytest.raises(ValueError, match="`iterations` must be an integer >= 0"):
        dense_crf(p, image, 1.5)
    with pytest.raises(ValueError, match="`normalization` must be one of"):
        dense_crf(p, image, normalization="rows")
    for labels in (np.zeros((4, 4), int), np.zeros((4, 5))):
        with pytest.raises(ValueError, match="`labels` must be ints .H, W."):
            crf_energy(labels, p, image)
    with pytest.raises(ValueError, match="`labels` must be from 0 to 1. Received: 0 to 2"):
        crf_energy(np.full((4, 5), 2) * (np.arange(5) > 2), p, image)


def test_pydensecrf():
    """The same labels as the library whose parameters these are."""
    module = pytest.importorskip("pydensecrf.densecrf", reason="needs pydensecrf2")
    probabilities, image, _ = scene(60, 80, 4)
    for sxy, srgb in ((80, 13), (160, 3)):
        crf = module.DenseCRF2D(80, 60, 4)
        energy = -np.log(probabilities.clip(1e-5)).transpose(2, 0, 1).reshape(4, -1)
        crf.setUnaryEnergy(np.ascontiguousarray(energy, "float32"))
        crf.addPairwiseGaussian(sxy=3, compat=3)
        crf.addPairwiseBilateral(sxy=sxy, srgb=srgb, rgbim=image.copy(), compat=10)
        wanted = np.array(crf.inference(10)).reshape(4, 60, 80).transpose(1, 2, 0)
        found = dense_crf(probabilities, image, bilateral_sxy=sxy, bilateral_srgb=srgb)
        assert (found.argmax(-1) == wanted.argmax(-1)).mean() > 0.998
        assert np.abs(found - wanted).mean() < 1e-3

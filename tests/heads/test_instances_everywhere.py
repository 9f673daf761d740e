"""A network for numbered objects, through everything that takes heads."""

import json
import pathlib

import keras
import numpy as np
import pytest

import keras_dense as kd
from keras_dense._command import main
from keras_dense.datasets import transforms

pytest.importorskip("scipy")
pytest.importorskip("skimage")


def scene(seed, size=(48, 64)):
    """Bright discs on dark ground, some in touch."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    numbers = np.zeros(size, "int32")
    for number, (v, u) in enumerate(rng.uniform(0, size, (12, 2)), start=1):
        numbers[(y - v) ** 2 + (x - u) ** 2 <= rng.uniform(4, 7) ** 2] = number
    image = np.where(numbers > 0, 200, 40)[..., None] + rng.integers(0, 40, (*size, 3))
    return {
        "image": image.astype("uint8"),
        "segmentation": (numbers > 0).astype("uint8"),
        "instances": numbers,
    }


@pytest.fixture(scope="module")
def trained():
    """A network for objects beside labels, after one pass over three scenes."""
    keras.utils.set_random_seed(0)
    heads = {"cells": kd.heads.Instances(min_size=2), "labels": kd.heads.Segmentation(2)}
    data = [scene(seed) for seed in range(3)]
    x = image = keras.Input((None, None, 3))
    for n in range(5):
        x = keras.layers.Conv2D(8, 3, 2, padding="same", activation="relu", name=f"conv{n}")(x)
    backbone = kd.backbone(keras.Model(image, x), preprocessing="tf")
    model = kd.fpn(backbone, heads=heads, filters=(8, 8))
    model.compile("adam", **kd.objectives(model))
    # Crops beyond the image are unknown there.
    crop = [transforms.RandomRotation(20), transforms.RandomCrop((40, 72))]
    model.fit(kd.datasets.Loader(data, model, 1, transforms=crop), verbose=0)
    return model, data


def maps_of(model, image):
    return keras.ops.convert_to_numpy(kd.decoded(model).predict_on_batch(image[None])["cells"])[0]


def test_pixels_beyond_the_image_are_unknown():
    sample = transforms.Pad((60, 70))({**scene(0), "instances": scene(0)["instances"].astype("u2")})
    assert sample["instances"].dtype == np.int32 and (sample["instances"][48:] == -1).all()
    turned = transforms.RandomRotation((30, 30))(scene(0), np.random.default_rng(0))
    assert (turned["instances"] == -1).sum() == (turned["segmentation"] == 255).sum() > 0
    target = kd.heads.Instances().encode(turned)
    np.testing.assert_array_equal(np.isnan(target[..., 0]), turned["segmentation"] == 255)
    weight = transforms.BorderWeights()(turned, None)["weight"]
    np.testing.assert_array_equal(weight == 0, turned["segmentation"] == 255)
    with pytest.raises(ValueError, match="'instances' must have shape"):
        kd.datasets.transforms.Pad(multiple=8)({**scene(0), "instances": np.zeros((48, 64, 2))})


def test_it_trains_beside_a_segmentation(trained):
    model, data = trained
    scores = kd.training.evaluate(model, kd.datasets.Loader(data, model, 1))
    assert 0 <= scores["cells"]["foreground_iou"] < 1 and "mean_iou" in scores["labels"]
    assert 0 < scores["cells"]["distance_error"] < 1
    report = kd.datasets.check(data, model, workers=0)
    assert report["samples"] == 3


def test_it_is_drawn(trained, tmp_path):
    model, data = trained
    preview = kd.training.Preview(data, tmp_path, count=1)
    assert preview.drawing(model).shape[1:] == (4 * 64, 3)


def test_it_is_predicted_in_tiles_and_at_several_scales(trained):
    model, data = trained
    image = data[0]["image"]
    tiles = kd.inference.predict_tiled(model, image, tile=32, progress=False)["cells"]
    assert tiles.shape == (48, 64, 2) and tiles.dtype == np.float32 and 0 <= tiles.min()
    whole = kd.inference.predict_tiled(model, image, progress=False)["cells"]
    np.testing.assert_allclose(whole, maps_of(model, image), atol=1e-5)
    views = kd.inference.predict_multiscale(model, image[None], scales=(1.0, 1.5))
    assert views["cells"].shape == (1, 48, 64, 2)


@pytest.mark.once
def test_decoding_as_documented():
    """The lines of docs/objects.md give the same objects without this package."""
    page = (pathlib.Path(__file__).parents[2] / "docs" / "objects.md").read_text()
    lines = page[page.index("foreground, distance = maps") :]
    lines = lines[: lines.index("```")]
    from scipy import ndimage
    from skimage.morphology import reconstruction
    from skimage.segmentation import watershed

    rng = np.random.default_rng(0)
    head = kd.heads.Instances(min_size=0)
    for seed in range(3):
        maps = head.encode(scene(seed)) + rng.normal(0, 0.2, (48, 64, 2))
        maps = ndimage.gaussian_filter(maps, (1, 1, 0)).clip(0, 1)
        names = {"np": np, "ndimage": ndimage, "maps": maps[None]}
        names |= {"reconstruction": reconstruction, "watershed": watershed}
        exec(lines, names)
        found, numbers = head.objects(maps), names["numbers"]
        pairs = np.unique(np.stack([found, numbers], -1).reshape(-1, 2), axis=0)
        assert found.max() > 5 and len(pairs) == found.max() + 1 == len(np.unique(numbers))


@pytest.mark.once
def test_it_is_known_to_the_command_line(trained, tmp_path, capsys, monkeypatch):
    model, data = trained
    pil = pytest.importorskip("PIL.Image")
    for folder in ("data/images", "data/instances"):
        (tmp_path / folder).mkdir(parents=True)
    for n, sample in enumerate(data):
        pil.fromarray(sample["image"]).save(tmp_path / f"data/images/{n}.png")
        numbers = pil.fromarray(sample["instances"].astype("uint16"))
        numbers.save(tmp_path / f"data/instances/{n}.png")
    model.save(tmp_path / "m.keras")
    monkeypatch.chdir(tmp_path)
    run = ["predict", "m.keras", "data/images", "--out", "found", "--overlay"]
    assert main(run) == 0
    with pil.open(tmp_path / "found/cells/0.png") as file:
        found = np.array(file)
        assert "number of an object" in json.loads(file.text["about"])["unit"]
    head = kd.heads.of(model)["cells"]
    maps = maps_of(model, data[0]["image"])
    np.testing.assert_array_equal(found, head.objects(maps))
    assert (tmp_path / "found/cells/overlay/0.png").exists()
    assert main([*run[:-3], "--out", "tiles", "--tile", "32"]) == 0
    assert main([*run[:-3], "--out", "views", "--flip"]) == 0
    scores = ["evaluate", "m.keras", "data/images", "data/instances", "--head", "cells"]
    assert main([*scores, "--out", "s.json"]) == 0
    assert "foreground_iou" in capsys.readouterr().out
    stored = json.loads((tmp_path / "s.json").read_text())
    expected = kd.training.evaluate(model, kd.datasets.Loader(data, model, 1))["cells"]
    assert stored["distance_error"] == pytest.approx(expected["distance_error"], rel=1e-4)
    # Results are read as annotations are.
    (tmp_path / "again").mkdir()
    (tmp_path / "data/images").rename(tmp_path / "again/images")
    with pil.open(tmp_path / "tiles/cells/0.png") as file:
        found = np.array(file)
    (tmp_path / "tiles/cells").rename(tmp_path / "again/instances")
    again = kd.datasets.instances(tmp_path / "again", "trainval", separate=False)[0]
    np.testing.assert_array_equal(again["instances"], found)
    np.testing.assert_array_equal(again["segmentation"], found > 0)


@pytest.mark.exhaustive
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="exports run on TensorFlow")
def test_it_is_exported(trained, tmp_path):
    tf, onnxruntime = pytest.importorskip("tensorflow"), pytest.importorskip("onnxruntime")
    model, data = trained
    image = data[0]["image"]
    wanted = maps_of(model, image)
    kd.export.savedmodel(model, tmp_path / "served")
    module = tf.saved_model.load(str(tmp_path / "served"))
    served = module.signatures["serving_default"](images=tf.constant(image[None]))
    np.testing.assert_allclose(served["cells_maps"][0], wanted, atol=1e-4)
    kd.export.onnx(model, tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    (found,) = session.run(["cells_maps"], {"images": image[None]})
    np.testing.assert_allclose(found[0], wanted, atol=1e-3)
    head = kd.heads.of(model)["cells"]
    np.testing.assert_array_equal(
        head.objects(np.asarray(served["cells_maps"])[0]), head.objects(wanted)
    )

"""Numbered objects: how they are learned, what is counted of them, intervals of scores."""

import importlib.util
import json
import pathlib

import keras
import numpy as np
import pytest

import keras_dense as kd
from keras_dense.recipes import choose_objects
from keras_dense.recipes.choose import check
from keras_dense.recipes.data import augmentation
from keras_dense.recipes.intervals import load_images, save_images
from keras_dense.recipes.network import heads_of
from keras_dense.recipes.report_objects import objects_table
from keras_dense.recipes.scores import score

pytest.importorskip("PIL.Image")
pytest.importorskip("scipy.ndimage")
pytest.importorskip("skimage.segmentation")
_spec = importlib.util.spec_from_file_location(
    "recipe_folders", pathlib.Path(__file__).with_name("folders.py")
)
F = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(F)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    root = F.blobs(tmp_path_factory.mktemp("objects"), 8)
    return kd.recipes.look(root / "images", root / "masks")


def has_border_weights(recipe):
    return any(type(step).__name__ == "BorderWeights" for step in augmentation(recipe))


def test_objects_are_told_apart(found):
    recipe = kd.recipes.choose(found, weights=None)
    assert recipe.value("objects") == "instances"
    assert "panoptic quality" in recipe["choices"]["objects"]["why"]
    head = heads_of(recipe)
    assert isinstance(head, kd.heads.Instances) and not has_border_weights(recipe)
    assert isinstance(head.loss, kd.losses.InstanceCrossEntropy)


def test_or_learned_as_one_class(found):
    recipe = kd.recipes.choose(found, weights=None, objects="foreground")
    assert recipe["choices"]["objects"]["why"] == "Given."
    assert isinstance(heads_of(recipe), kd.heads.Segmentation) and has_border_weights(recipe)
    with pytest.raises(ValueError, match="`objects` must be one of 'instances', 'foreground'"):
        kd.recipes.choose(found, weights=None, objects="apart")
    recipe.set("objects", "instances", "Edited.")
    with pytest.raises(ValueError, match="`losses` must be .*'instance_cross_entropy'"):
        check(recipe)


def test_masks_of_classes_have_no_such_choice(tmp_path):
    labels = kd.recipes.look(F.scenes(tmp_path, 3) / "images", tmp_path / "masks")
    assert "objects" not in kd.recipes.choose(labels, weights=None)["choices"]
    with pytest.raises(ValueError, match="settings must be among .*Received: objects"):
        kd.recipes.choose(labels, weights=None, objects="instances")


def test_without_the_extra(found, monkeypatch):
    def missing(module, extra):
        raise ImportError(f"this needs `{module}`. Install it with: pip install x[{extra}]")

    given = kd.recipes.choose(found, weights=None)
    monkeypatch.setattr(choose_objects, "require", missing)
    recipe = kd.recipes.choose(found, weights=None)
    assert recipe.value("objects") == "foreground" and has_border_weights(recipe)
    assert "keras_dense[objects]" in recipe["warned"][-1]
    with pytest.raises(ImportError, match=r"\[objects\]"):
        kd.recipes.choose(found, weights=None, objects="instances")
    with pytest.raises(ImportError, match=r"\[objects\]"):
        check(given)


class Exact(keras.layers.Layer):
    """Logits of the maps of objects from an image that holds them."""

    def call(self, images):
        chances = keras.ops.cast(images[..., :2], "float32") / 255
        return 12 * (chances - 0.5)


def samples_of(numbers, shown, head):
    """Samples of true numbers, with images of the maps of other ones."""
    found = []
    for truth, other in zip(numbers, shown, strict=True):
        maps = np.rint(255 * head.encode({"instances": other})).astype("uint8")
        image = np.concatenate([maps, maps[..., :1]], -1)
        found.append({"image": image, "instances": truth})
    return found


def cells(count):
    numbers = np.zeros((40, 60), "int32")
    for i in range(count):
        y, x = divmod(i, 3)
        numbers[4 + 18 * y : 16 + 18 * y, 4 + 18 * x : 16 + 18 * x] = i + 1
    return numbers


def test_scores_are_those_of_the_library():
    head = kd.heads.Instances()
    truths, shown = [cells(3), cells(5), cells(4)], [cells(3), cells(4), cells(6)]
    data = samples_of(truths, shown, head)
    image = keras.Input((None, None, 3))
    model = keras.Model(image, Exact()(image))
    scored = score(model, data, head)
    wanted = kd.metrics.InstanceScores()
    for truth, other in zip(truths, shown, strict=True):
        wanted.update(truth, other)
    values = scored.heads[""]
    for name in ("ap50", "pq", "aji"):
        np.testing.assert_allclose(values[name], wanted.scores()[name])
    assert scored.score == values["pq"] and values["foreground_iou"] < 1
    each = [kd.metrics.instance_scores(*pair)["pq"] for pair in zip(truths, shown, strict=True)]
    np.testing.assert_allclose([value for _, value in scored.images], each)
    drawn = kd.training.bootstrap(wanted)
    for name in ("ap50", "pq", "aji"):
        ends = scored.intervals()[""][name]
        np.testing.assert_allclose(ends, [drawn[name].low, drawn[name].high])
    table = objects_table(values, scored.intervals()[""])
    assert "AP50" in table and f"{100 * values['pq']:.1f}" in table and " to " in table
    # One image has no interval, and what the scores are of is kept.
    assert score(model, data[:1], head).intervals() == {"": {}}


def test_pieces_of_a_large_image_are_one_image(monkeypatch):
    monkeypatch.setattr("keras_dense.recipes.scores.LARGE_PIXELS", 1200)
    head = kd.heads.Instances()
    image = keras.Input((None, None, 3))
    model = keras.Model(image, Exact()(image))
    data = samples_of([cells(4)] * 2, [cells(4)] * 2, head)
    scored = score(model, data, head)
    assert len(scored.images) == 2 and len(scored.counts["instances"]) == 2
    assert scored.heads[""]["recall"] > 0.5


def test_intervals_of_labels():
    rng = np.random.default_rng(0)
    head = kd.heads.Segmentation(3)
    truths = rng.integers(0, 3, (4, 20, 24))
    guesses = np.where(rng.random((4, 20, 24)) < 0.7, truths, 0)
    data = [
        {"image": np.eye(3, dtype="uint8")[guess] * 255, "segmentation": truth}
        for guess, truth in zip(guesses, truths, strict=True)
    ]
    image = keras.Input((None, None, 3))
    model = keras.Model(image, keras.layers.Rescaling(1 / 25)(image))
    scored = score(model, data, head)
    matrices = scored.counts["labels"]
    assert matrices.shape == (4, 3, 3) and (matrices.sum(0) == scored.matrix).all()
    wanted = kd.training.bootstrap(matrices, score="mean_iou")
    found = scored.intervals()[""]
    np.testing.assert_allclose(found["mean_iou"], [wanted.low, wanted.high])
    assert np.shape(found["iou"]) == (3, 2)
    assert found["mean_iou"][0] < scored.score < found["mean_iou"][1]


def test_counts_of_several_runs(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        counts = {"labels": np.full((2, 3, 3), ord(name))}
        save_images(counts, [f"{name}0.png", f"{name}1.png"], tmp_path / name)
    found = load_images([tmp_path / "a", tmp_path / "b"])
    assert found["names"].tolist() == ["a0.png", "a1.png", "b0.png", "b1.png"]
    assert found["labels"][:, 0, 0].tolist() == [97, 97, 98, 98]


@pytest.mark.exhaustive
def test_a_run_with_objects(tmp_path):
    root = F.blobs(tmp_path, 6)
    out = tmp_path / "run"
    found = kd.recipes.train(
        root / "images",
        root / "masks",
        out=out,
        steps=2,
        rounds=1,
        validation=0.4,
        network="fcn32s",
        backbone="mobilenet",
        backbone_arguments={"alpha": 0.25},
        weights=None,
        batch_size=2,
        crop=[32, 64],
        exports=[],
        progress=False,
    )
    assert found == json.loads((out / "results.json").read_text())
    assert 0 <= found["score"] == found["heads"][""]["pq"] <= 1
    assert len(found["intervals"][""]["ap50"]) == 2
    text = (out / "report.html").read_text(encoding="utf-8")
    assert "AP50" in text and "AJI" in text and ".objects(maps)" in text
    model = keras.saving.load_model(out / "model.keras")
    assert isinstance(kd.heads.of(model), kd.heads.Instances)

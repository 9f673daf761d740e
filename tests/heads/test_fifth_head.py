"""A head of a user's own, from public names alone, through everything that takes heads."""

import json
import os
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest

import keras_dense as kd
from keras_dense._command import main

# Written to a module of its own, as a user would: other processes import it.
EDGES = '''
import keras
import numpy as np
from keras import ops

import keras_dense as kd


@keras.saving.register_keras_serializable("edges")
class Edges(kd.heads.Head):
    """The probability of a boundary at every pixel; annotations are arrays, NaN where unknown."""

    channels = 1
    suffix = ".npy"

    def __init__(self, *, loss=None, weight=1.0, target="edges"):
        super().__init__(loss=loss, weight=weight, target=target)

    def default_loss(self):
        return EdgeLoss()

    def metrics(self):
        return [EdgeError(name="edge_error")]

    def encode(self, sample):
        return np.asarray(sample[self.target], "float32").reshape(*sample[self.target].shape[:2], 1)

    def unknown(self, size):
        return np.full((*size, 1), np.nan, "float32")

    def decode(self, prediction, image=None):
        return ops.sigmoid(prediction)

    def outputs(self, prediction, image):
        return {"edges": self.decode(prediction)}

    def about(self):
        return {"edges": {"unit": "probability", "range": [0, 1]}}


@keras.saving.register_keras_serializable("edges")
class EdgeLoss(keras.losses.Loss):
    def call(self, y_true, y_pred):
        known = ops.cast(ops.equal(y_true, y_true), "float32")
        y_true = ops.where(known > 0, y_true, 0.0)
        loss = ops.softplus(y_pred) - y_true * y_pred
        return ops.sum(known * loss, (1, 2, 3)) / ops.maximum(ops.sum(known, (1, 2, 3)), 1.0)


@keras.saving.register_keras_serializable("edges")
class EdgeError(keras.metrics.Mean):
    def update_state(self, y_true, y_pred, sample_weight=None):
        error = ops.subtract(ops.sigmoid(y_pred), ops.convert_to_tensor(y_true, "float32"))
        super().update_state(ops.abs(error))
'''


@pytest.fixture(scope="module")
def edges(tmp_path_factory):
    folder = tmp_path_factory.mktemp("users")
    (folder / "my_edges.py").write_text(EDGES)
    sys.path.insert(0, str(folder))
    import my_edges

    yield folder, my_edges.Edges
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def trained(edges):
    """A network for edges beside labels, after one pass over three scenes."""
    heads = {"edges": edges[1](weight=0.5), "labels": kd.heads.Segmentation(3)}
    rng = np.random.default_rng(0)
    data = [
        {
            "image": rng.integers(0, 256, (40, 56, 3), dtype="uint8"),
            "segmentation": rng.integers(0, 3, (40, 56)),
            "edges": rng.integers(0, 2, (40, 56)),
        }
        for _ in range(3)
    ]
    backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    model = kd.fpn(backbone, heads=heads, filters=(8, 8))
    model.compile("sgd", **kd.objectives(model))
    model.fit(kd.datasets.Loader(data, model, 1), verbose=0)
    return model, data


def test_it_trains_beside_a_segmentation(trained):
    model, data = trained
    scores = kd.training.evaluate(model, kd.datasets.Loader(data, model, 1))
    assert 0 < scores["edges"]["edge_error"] < 1 and "mean_iou" in scores["labels"]
    kd.testing.check_model(keras.models.clone_model(model), sizes=((64, 64), (33, 41)))


def test_it_is_drawn(trained, tmp_path):
    model, data = trained
    preview = kd.training.Preview(data, tmp_path, count=1)
    assert preview.drawing(model).shape[1:] == (4 * 56, 3)


def test_it_is_predicted_in_tiles_and_at_several_scales(trained):
    model, data = trained
    whole = kd.decoded(model).predict_on_batch(data[0]["image"][None])["edges"][0]
    tiles = kd.inference.predict_tiled(model, data[0]["image"], progress=False)["edges"]
    np.testing.assert_allclose(tiles, whole, atol=1e-4)
    views = kd.inference.predict_multiscale(model, data[0]["image"][None], scales=(1.0, 1.5))
    assert views["edges"].shape == (1, 40, 56, 1)


@pytest.mark.once
def test_it_is_known_to_the_command_line(trained, edges, tmp_path, capsys, monkeypatch):
    model, data = trained
    pil = pytest.importorskip("PIL.Image")
    for folder in ("images", "edges"):
        (tmp_path / folder).mkdir()
    for n, sample in enumerate(data):
        pil.fromarray(sample["image"]).save(tmp_path / f"images/{n}.png")
        np.save(tmp_path / f"edges/{n}.npy", sample["edges"])
    model.save(tmp_path / "m.keras")
    run = command(edges[0], tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["info", "m.keras"]) == 0
    assert "head edges        Edges" in capsys.readouterr().out
    run("predict", "m.keras", "images", "--out", "found", "--overlay")
    found = np.load(tmp_path / "found/edges/0.npy")
    wanted = kd.decoded(model).predict_on_batch(data[0]["image"][None])["edges"]
    np.testing.assert_allclose(found, wanted[0], atol=1e-5)
    assert (tmp_path / "found/edges/overlay/0.png").exists()
    arguments = ("evaluate", "m.keras", "images", "edges", "--head", "edges", "--out", "s.json")
    assert main(arguments) == 0 and "edge_error" in capsys.readouterr().out
    scores = kd.training.evaluate(model, kd.datasets.Loader(data, model, 1))
    stored = json.loads((tmp_path / "s.json").read_text())
    assert stored["edge_error"] == pytest.approx(scores["edges"]["edge_error"], rel=1e-4)


@pytest.mark.exhaustive
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="exports run on TensorFlow")
def test_it_is_exported(trained, edges, tmp_path):
    tf, onnxruntime = pytest.importorskip("tensorflow"), pytest.importorskip("onnxruntime")
    model, data = trained
    image = data[0]["image"][None]
    wanted = kd.decoded(model).predict_on_batch(image)["edges"]
    kd.export.savedmodel(model, tmp_path / "served")
    module = tf.saved_model.load(str(tmp_path / "served"))
    served = module.signatures["serving_default"](images=tf.constant(image))
    assert set(served) == {"edges", "labels", "labels_confidence"}
    np.testing.assert_allclose(served["edges"], wanted, atol=1e-4)
    model.save(tmp_path / "m.keras")
    command(edges[0], tmp_path)("export", "m.keras", "onnx", "m.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    np.testing.assert_allclose(session.run(["edges"], {"images": image})[0], wanted, atol=1e-3)


def command(users, folder):
    """Runs `python -m keras_dense` in a process that knows the user's module."""

    def run(*arguments):
        path = os.pathsep.join([str(users), os.getcwd(), os.environ.get("PYTHONPATH", "")])
        script = "import my_edges, sys; from keras_dense._command import main; sys.exit(main())"
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script), *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run

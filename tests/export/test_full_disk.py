"""Exports onto a full disk, and beside what a killed one left."""

import os
import subprocess
import sys

import keras
import pytest
from keras import layers

import keras_dense as kd
from keras_dense._lock import host_code, lock

resource = pytest.importorskip("resource", reason="the system must limit the size of files")
pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="TensorFlow is the backend that exports"
)
MODULES = {"savedmodel": "tensorflow", "onnx": "tf2onnx", "openvino": "openvino"}
MODULES["litert"] = "ai_edge_litert"
ENDINGS = {"savedmodel": "", "onnx": ".onnx", "openvino": ".xml", "litert": ".tflite"}


def network():
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(64, 3, padding="same")(image)
    model = keras.Model(image, layers.Conv2D(3, 3, padding="same")(x))
    return kd.heads.attach(model, kd.heads.Segmentation(3))


@pytest.mark.parametrize(
    "kind",
    [
        "savedmodel",
        *(pytest.param(k, marks=pytest.mark.exhaustive) for k in ("onnx", "openvino", "litert")),
    ],
)
def test_nothing_half_written_stays(tmp_path, kind):
    pytest.importorskip(MODULES[kind])
    path, before = tmp_path / f"m{ENDINGS[kind]}", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            getattr(kd.export, kind)(network(), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_a_second_export_to_one_place_waits_and_drafts_of_killed_ones_go(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    draft = tmp_path / f".m.{host_code()}-{gone.pid}-.x1y2z3.partial"
    (draft / "new" / "m").mkdir(parents=True)
    with lock(tmp_path / "m.lock", tmp_path / "m"):
        with pytest.raises(BlockingIOError, match=f"process {os.getpid()} .* writes to .*m'"):
            kd.export.savedmodel(network(), tmp_path / "m")
    kd.export.savedmodel(network(), tmp_path / "m")
    assert [path.name for path in tmp_path.iterdir()] == ["m"]

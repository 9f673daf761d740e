"""A conversion that goes wrong by chance is done again."""

import sys

import keras
import numpy as np
import pytest

import keras_dense as kd

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="TensorFlow exports"
)


@pytest.mark.parametrize("wrong", [1, 3])
def test_an_output_with_one_dimension_more(wrong, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    subject = sys.modules["keras_dense.export.onnx"]
    image = keras.Input((None, None, 3))
    model = keras.Model(image, keras.layers.Conv2D(1, 1)(image))
    model = kd.heads.attach(model, kd.heads.Depth())
    loads = []

    def load(path, right=subject.load):
        loads.append(path)
        run = right(path)
        if len(loads) > wrong:
            return run
        return lambda images: {name: y[None] for name, y in run(images).items()}

    monkeypatch.setattr(subject, "load", load)
    images = np.arange(105, dtype="uint8").reshape(1, 5, 7, 3)
    if wrong < 3:
        kd.export.onnx(model, tmp_path / "model.onnx", images=images)
        assert (tmp_path / "model.onnx").exists() and len(loads) == 2
    else:
        with pytest.raises(RuntimeError, match=r"should be float32 \(1, 5, 7, 1\), it is float32"):
            kd.export.onnx(model, tmp_path / "model.onnx", images=images)
        assert not (tmp_path / "model.onnx").exists() and len(loads) == 3

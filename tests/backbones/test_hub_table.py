"""Every family of KerasHub at three sizes: forward, a training step, a file in a fresh process."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_dense as kd
from tests.backbones import hub_hierarchical as small
from tests.backbones.hub_networks import MAKERS, network
from tests.models.small import run

pytestmark = pytest.mark.skipif(
    not os.environ.get("KERAS_DENSE_ON_REQUEST"), reason="KERAS_DENSE_ON_REQUEST=1 runs it"
)
SIZES = ((64, 96), (97, 131), (224, 224))
LOADING = """
import sys
import keras, keras_hub, numpy as np
import keras_dense
folder = sys.argv[1]
model = keras.saving.load_model(folder + "/model.keras")
images, wanted = np.load(folder + "/images.npy"), np.load(folder + "/wanted.npy")
got = model.predict_on_batch(images)
np.testing.assert_allclose(got, wanted, atol=2e-6 * np.abs(wanted).max(), rtol=0)
"""


def images(height, width, batch=1):
    shape = (batch, height, width, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype="uint8")


def backbone_of(name):
    if name in MAKERS:
        return kd.backbone(network(name), taps={"P3": 1, "P4": 2}, preprocessing="tf")
    return kd.backbone(small.model(name), preprocessing="tf")


@pytest.mark.parametrize("name", [*MAKERS, *small.MODELS])
def test_family(name, tmp_path):
    pytest.importorskip("keras_hub")
    levels = {"levels": ("P4", "P3")} if name in MAKERS else {}
    decoder = kd.decoders.segformer(8, **levels)
    model = kd.assemble(backbone_of(name), decoder, kd.heads.Segmentation(4))
    model.compile(keras.optimizers.SGD(0.01), **kd.objectives(model))
    before = [np.array(keras.ops.convert_to_numpy(w)) for w in model.trainable_weights]
    labels = np.random.default_rng(1).integers(0, 4, (2, 97, 131))
    assert np.isfinite(model.train_on_batch(images(97, 131, 2), labels)[0])
    after = [keras.ops.convert_to_numpy(w) for w in model.trainable_weights]
    moved = sum(np.any(a != b) for a, b in zip(before, after, strict=True))
    assert moved >= 0.85 * len(before)  # `check_model` tells which of the others have no effect
    for size in SIZES:
        scores = run(model, images(*size))
        assert scores.shape == (1, *size, 4) and np.isfinite(scores).all()
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", images(97, 131))
    np.save(tmp_path / "wanted.npy", run(model, images(97, 131)))
    subprocess.run([sys.executable, "-c", LOADING, tmp_path], check=True)

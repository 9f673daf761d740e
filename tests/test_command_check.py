"""`python -m keras_dense check`, and what `evaluate` says of data that cannot be what was meant."""

import json

import keras
import numpy as np
import pytest

import keras_dense as kd
from keras_dense._command import main

PIL = pytest.importorskip("PIL.Image")


@pytest.fixture
def folders(tmp_path):
    """Images, black and white masks of their bright part, and a model that finds it."""
    for name in ("images", "masks", "depth", "others"):
        (tmp_path / name).mkdir()
    rng = np.random.default_rng(0)
    for n in range(2):
        bright = rng.random((16, 16)) > 0.5
        image = np.where(bright[..., None], 255, rng.integers(0, 9, (16, 16, 3))).astype("uint8")
        PIL.fromarray(image).save(tmp_path / f"images/{n}.png")
        PIL.fromarray(bright * np.uint8(255)).save(tmp_path / f"masks/{n}.png")
        PIL.fromarray((bright * 1000 + 500).astype("uint16")).save(tmp_path / f"depth/{n}.png")
    PIL.fromarray(image).save(tmp_path / "others/7.png")
    x = keras.Input((None, None, 3))
    conv = keras.layers.Conv2D(1, 1)
    model = keras.Model(x, conv(x))
    conv.set_weights([np.ones((1, 1, 3, 1), "float32"), np.array([-300.0], "float32")])
    kd.heads.attach(model, kd.heads.Segmentation(1)).save(tmp_path / "m.keras")
    return tmp_path


def test_evaluate_says_what_is_wrong_with_masks(folders, capsys):
    model, images, masks = (str(folders / name) for name in ("m.keras", "images", "masks"))
    out = folders / "scores.json"
    assert main(["evaluate", model, images, masks, "--out", str(out)]) == 1
    assert "only 0 and 255" in capsys.readouterr().err and not out.exists()
    # Black for void is allowed, and hardly meant where nothing else is left than one class.
    assert main(["evaluate", model, images, masks, "--remap", "255=255"]) == 0
    assert "labels are 0 and 255" in (said := capsys.readouterr().err) and "--remap 255=1" in said
    assert main(["evaluate", model, images, masks, "--out", str(out), "--remap", "255=1"]) == 0
    assert json.loads(out.read_text())["iou"] == [1.0, 1.0] and not capsys.readouterr().err
    for file in (folders / "masks").iterdir():
        PIL.fromarray(np.full((16, 16), 9, "uint8")).save(file)
    for void in (["--remap", "9=255"], ["--void", "9"]):
        assert main(["evaluate", model, images, masks, *void]) == 1
        assert "No pixel of any target is known" in capsys.readouterr().err
    assert main(["evaluate", model, images, masks, "--remap", "9=1", "--void", "9", "8"]) == 1
    assert "--remap and --void both name 9" in capsys.readouterr().err
    assert main(["evaluate", model, images, masks, "--remap", "255:1"]) == 1
    assert "--remap takes VALUE=CLASS, such as 255=1. Received: 255:1" in capsys.readouterr().err


@pytest.mark.once
def test_check_of_masks_and_depth(folders, capsys):
    images, masks, others = (str(folders / name) for name in ("images", "masks", "others"))
    assert main(["check", images, masks]) == 1
    said = capsys.readouterr()
    assert "2 samples of 16 x 16" in said.out and "remap={255: 1}" in said.out
    assert "1 warnings, see the report" in said.err
    assert main(["check", images, masks, "--classes", "no", "yes", "--remap", "255=1"]) == 0
    assert "  yes: " in capsys.readouterr().out
    assert main(["check", images, masks, "--classes", "3", "--remap", "255=1"]) == 1
    assert "1 of 3 classes never occur" in capsys.readouterr().out
    told = ["check", images, masks, "--classes", "2", "--remap", "255=1"]
    assert main([*told, "--against", others]) == 1
    assert "also in the other data set" in capsys.readouterr().out
    assert main([*told, "--against", others, "--limit", "1"]) == 0
    capsys.readouterr()
    assert main(["check", images, "--depth", str(folders / "depth")]) == 0
    assert "100.0 % of the pixels known, 0.5 to 1.5 m" in capsys.readouterr().out
    PIL.fromarray(np.full((16, 16), 9, "uint8")).save(folders / "masks/1.png")
    assert main(["check", images, masks, "--classes", "2"]) == 1
    assert "1 of 2 samples are faulty" in (said := capsys.readouterr().err) and "1.png" in said
    assert main(["check", images]) == 1
    assert "give a folder of masks, or --depth" in capsys.readouterr().err

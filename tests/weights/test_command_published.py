"""Published networks by name on the command line."""

import numpy as np
import pytest

import keras_dense as kd
from keras_dense._command import main

from . import published

PIL = pytest.importorskip("PIL.Image")
torch = pytest.importorskip("torch", reason="the file is PyTorch's")
pytestmark = pytest.mark.once

NAME = "torchvision/lraspp_mobilenet_v3_large"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("small") / "lraspp.pth"
    torch.save({k: torch.tensor(v) for k, v in published.random(NAME).items()}, path)
    return str(path)


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    image = np.random.default_rng(0).integers(0, 256, (45, 67, 3), dtype="uint8")
    PIL.fromarray(image).save(tmp_path / "photos" / "a.png")
    return str(tmp_path / "photos"), image


def test_predicts_with_a_published_network(file, photos, tmp_path, capsys):
    folder, image = photos
    out = tmp_path / "labels"
    assert main(["predict", NAME, folder, "--out", str(out), "--weights", file]) == 0
    assert "its authors recommend images of this size: short side 520" in capsys.readouterr().out
    labels = PIL.open(out / "a.png")
    model = kd.weights.pretrained(NAME, file)
    expected = model.predict(image[None], verbose=0)[0].argmax(-1)
    np.testing.assert_array_equal(np.array(labels), expected)
    assert labels.getpalette()[45:48] == kd.heads.of(model).palette[15].tolist()


def test_info_downloads_nothing(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert main(["info", NAME]) == 0
    said = capsys.readouterr().out
    assert "  scores      mean IoU 57.9" in said and "  license     BSD-3-Clause" in said
    assert "parameters        3,246,194, 3,221,538 of them trainable" in said
    assert "Segmentation background, aeroplane" in said
    assert not list(tmp_path.iterdir())
    assert main(["info"]) == 0
    assert capsys.readouterr().out.split() == kd.weights.list()


def test_a_file_comes_before_a_name(file, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / NAME
    path.parent.mkdir()
    path.write_bytes(b"no model")
    assert main(["info", NAME]) == 1
    assert f"'{NAME}' cannot be loaded as a model" in capsys.readouterr().err
    assert main(["info", NAME, "--weights", file]) == 1
    assert "--weights goes with the name of a published network" in capsys.readouterr().err


def test_bad_names_and_files(file, photos, capsys, tmp_path, monkeypatch):
    folder, out = photos[0], str(tmp_path / "labels")

    def said(name, *more):
        assert main(["predict", name, folder, "--out", out, *more]) == 1
        return capsys.readouterr().err

    text = said("torchvision/fcn_resnet5")
    assert "there is no model 'torchvision/fcn_resnet5'. Did you mean 'torchvision/fcn_re" in text
    assert said("none.keras").strip().endswith("there is no model 'none.keras'")
    assert "must be a file that exists" in said(NAME, "--weights", str(tmp_path / "none.pth"))
    text = said("torchvision/fcn_resnet50", "--weights", file)
    assert "They look like: torchvision, LR-ASPP" in text
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    text = said(NAME)
    assert f"The file of '{NAME}' could not be downloaded" in text
    assert "Here a file is passed with --weights FILE." in text

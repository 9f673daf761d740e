"""Weights into a model that is there, and everything that may be wrong with a file."""

import sys

import keras
import numpy as np
import pytest
from keras import layers

import keras_dense as kd
from keras_dense._weights.rules import Rule
from keras_dense.weights.torchvision import network

from . import published

torch = pytest.importorskip("torch", reason="the files are PyTorch's")
pytestmark = pytest.mark.once

NAME = "torchvision/lraspp_mobilenet_v3_large"
RULES = (Rule("c", "first", "conv"), Rule("s", "{head}scores", "conv"))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "lraspp.pth"
    tensors = {key: torch.tensor(value) for key, value in published.random(NAME).items()}
    torch.save(tensors, path)
    return str(path)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A file of another network."""
    path = tmp_path_factory.mktemp("files") / "fcn.pth"
    tensors = published.zeros("torchvision/fcn_resnet50")
    torch.save({k: torch.zeros(()).expand(v.shape) for k, v in tensors.items()}, path)
    return str(path)


def weights(model):
    return [keras.ops.convert_to_numpy(w.value).copy() for w in model.weights]


def same(before, model):
    return all(np.array_equal(a, b) for a, b in zip(before, weights(model), strict=True))


def small(classes=3):
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, name="first")(image)
    x = layers.Conv2D(classes, 1, name="scores")(x)
    return kd.heads.attach(keras.Model(image, x, name="small"), kd.heads.Segmentation(classes))


def tensors_of(classes=3):
    return {
        "c.weight": np.ones((4, 3, 3, 3)),
        "c.bias": np.ones(4),
        "s.weight": np.ones((classes, 4, 1, 1)),
        "s.bias": np.ones(classes),
    }


def test_finds_the_rules_by_itself(file):
    model = network("mobilenet_v3_large", "lraspp", heads=kd.heads.Segmentation(21))
    report = kd.weights.load(model, file)
    assert report.complete and report.source == file
    assert str(report).startswith(f"read {report.total} of {report.total} weights of 'lraspp_mob")
    expected = published.random(NAME)["classifier.high_classifier.weight"]
    kernel = model.get_layer("scores_high").get_weights()[0]
    np.testing.assert_array_equal(kernel, expected.transpose(2, 3, 1, 0))
    # The same by the name of a network; and the heads of this model may have other names.
    heads = {"objects": kd.heads.Segmentation(21), "depth": kd.heads.Depth()}
    model = network("mobilenet_v3_large", "lraspp", heads=heads)
    with pytest.warns(UserWarning, match="missing in the file: depth_scores_low/kernel"):
        report = kd.weights.load(model, file, rules=NAME, strict=False)
    assert "objects_scores_high/kernel" in report.read and not report.unread


def test_bad_files_of_another_network(file, other):
    model = network("mobilenet_v3_large", "lraspp", heads=kd.heads.Segmentation(11))
    before = weights(model)
    with pytest.raises(ValueError, match="holds weights of another network than 'lraspp_mob") as e:
        kd.weights.load(model, other)
    assert "They look like: torchvision, FCN on ResNet-34 or -50." in str(e.value)
    assert same(before, model)
    with pytest.raises(ValueError, match="21 classes, the model predicts 11. With `strict=False`"):
        kd.weights.load(model, file)
    assert same(before, model)
    with pytest.warns(UserWarning, match=r"scores_low/kernel: \(1, 1, 40, 21\) in the file"):
        report = kd.weights.load(model, file, strict=False)
    assert len(report.mismatched) == 4 and not report.missing and not same(before, model)
    scores = model.get_layer("scores_low").get_weights()[0]
    assert any(np.array_equal(scores, old) for old in before)


def test_tensors_and_rules_of_your_own(tmp_path):
    model = small()
    report = kd.weights.load(model, tensors_of(), rules=RULES)
    assert report.complete and report.source == "the given tensors"
    assert all((w == 1).all() for w in weights(model))
    state = {key: torch.tensor(value * 2) for key, value in tensors_of().items()}
    kd.weights.load(model, state, rules=RULES)
    assert all((w == 2).all() for w in weights(model))
    # A dict of heads has other names of layers.
    torch.save(state, tmp_path / "a.pth")
    assert kd.weights.load(small(), tmp_path / "a.pth", rules=RULES).complete


def test_bad_sources(tmp_path):
    model = small()
    before = weights(model)
    with pytest.raises(FileNotFoundError, match="Did you mean 'torchvision/fcn_resnet50'"):
        kd.weights.load(model, "torchvision/fcn_resnet5")
    with pytest.raises(FileNotFoundError, match="existing file or a name of kd.weights.list") as e:
        kd.weights.load(model, tmp_path / "none.pth")
    assert "Did you mean" not in str(e.value)
    with pytest.raises(IsADirectoryError, match="folder"):
        kd.weights.load(model, tmp_path)
    page = tmp_path / "page.pth"
    page.write_bytes(b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>")
    with pytest.raises(ValueError, match="page.pth.*(web page|HTML)"):
        kd.weights.load(model, page)
    cut = tmp_path / "cut.pth"
    torch.save(tensors_of(), tmp_path / "whole.pth")
    cut.write_bytes((tmp_path / "whole.pth").read_bytes()[:500])
    with pytest.raises(ValueError, match="cut.pth"):
        kd.weights.load(model, cut)
    with pytest.raises(ValueError, match="`name` must be a published network"):
        kd.weights.load(model, tensors_of(), rules="torchvision/none")
    assert same(before, model)


class _Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit('executed')",)


def test_bad_hostile_pickles_are_not_executed(tmp_path):
    model = small()
    state = {key: torch.tensor(value) for key, value in tensors_of().items()}
    for zipped in (True, False):
        path = tmp_path / f"evil{zipped}.pth"
        torch.save({**state, "evil": _Evil()}, path, _use_new_zipfile_serialization=zipped)
        assert kd.weights.load(model, path, rules=RULES).complete


def test_a_file_is_found_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "torchvision").mkdir()
    state = {key: torch.tensor(value) for key, value in tensors_of().items()}
    torch.save(state, tmp_path / "torchvision" / "fcn_resnet50")
    assert kd.weights.load(small(), "torchvision/fcn_resnet50", rules=RULES).complete


def test_by_name_it_is_downloaded(tmp_path, monkeypatch, file):
    asked = []

    def fetched(remote):
        asked.append(remote.urls)
        return file

    # The function of this name hides the module.
    monkeypatch.setattr(sys.modules["keras_dense.weights.load"], "fetch", fetched)
    model = network("mobilenet_v3_large", "lraspp", heads=kd.heads.Segmentation(21))
    assert kd.weights.load(model, NAME).complete
    assert asked == [kd.weights.info(NAME).urls]

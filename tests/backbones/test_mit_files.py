"""Published files of Mix Transformers in `kd.backbone`: every project's names, with any wrapper."""

import gzip
import json
import re

import numpy as np
import pytest

import keras_dense as kd
from keras_dense.backbones import published
from keras_dense.backbones.torchvision import NETWORKS
from tests.weights import segformer_oracle as oracle

SHAPES = json.loads(gzip.decompress(oracle.KEYS.read_bytes()))
TRANSFORMERS = SHAPES["nvidia/segformer_b0_ade20k"]
AUTHORS = {
    name: shape
    for name, shape in oracle.authors(TRANSFORMERS).items()
    if name.startswith("backbone.")
}
TOP = {"weight": [1000, 256], "bias": [1000]}


def encoder(shapes, prefix):
    """Names of an encoder alone."""
    return {k.removeprefix(prefix): s for k, s in shapes.items() if k.startswith(prefix)}


def prefixed(shapes, prefix):
    return {f"{prefix}{name}": shape for name, shape in shapes.items()}


BARE = encoder(AUTHORS, "backbone.")
# File: names and shapes, what comes before the names of the encoder, and a convolution in it.
FILES = {
    "of NVIDIA": {**BARE, **prefixed(TOP, "head.")},
    "of SMP": BARE,
    "of a network of SMP": {
        **prefixed(BARE, "encoder."),
        "decoder.fuse_stage.0.weight": [16, 64, 1, 1],
        "segmentation_head.0.weight": [2, 16, 1, 1],
    },
    "of a SegFormer of NVIDIA": oracle.authors(TRANSFORMERS),
    "of a classifier of transformers": {
        **{k: s for k, s in TRANSFORMERS.items() if k.startswith("segformer.")},
        **prefixed(TOP, "classifier."),
    },
    "of an encoder of transformers": encoder(TRANSFORMERS, "segformer."),
    "of a SegFormer of transformers": TRANSFORMERS,
    "of a SegFormer of MMSegmentation": SHAPES["mmseg/segformer_b0_ade20k"],
}
FIRST = re.compile(r"(patch_embed1|patch_embeddings\.0|layers\.0\.0)\.proj(ection)?\.weight")


def written(shapes, path):
    values = oracle.tensors(shapes)
    np.savez(path, **values)
    return next(v for k, v in values.items() if FIRST.search(k)), values


@pytest.fixture(scope="module")
def networks():
    """Without and with the top."""
    return [kd.backbones.mit_b0(include_top=top) for top in (False, True)]


@pytest.mark.parametrize("file", FILES)
def test_files_of_all_projects(file, networks, tmp_path):
    first, values = written(FILES[file], tmp_path / "mit.npz")
    top = next((name for name in ("head", "classifier") if f"{name}.bias" in values), None)
    model = networks[top is not None]
    published.load(model, tmp_path / "mit.npz", NETWORKS["mit_b0"], "mit_b0")
    kernel = model.get_layer("stage1_embed").get_weights()[0]
    np.testing.assert_array_equal(kernel, first.transpose(2, 3, 1, 0))
    if top:
        found = model.get_layer("predictions").get_weights()[1]
        np.testing.assert_array_equal(found, values[f"{top}.bias"])
    if "block2.0.attn.kv.weight" in values:
        stacked = values["block2.0.attn.kv.weight"]
        attention = model.get_layer("stage2_block1_attention")
        np.testing.assert_array_equal(attention.value.get_weights()[0], stacked[64:].T)


def test_the_path_of_a_file_as_weights(tmp_path):
    first, _ = written(FILES["of NVIDIA"], tmp_path / "mit.npz")
    backbone = kd.backbone("mit_b0", tmp_path / "mit.npz")
    kernel = backbone.get_layer("stage1_embed").get_weights()[0]
    np.testing.assert_array_equal(kernel, first.transpose(2, 3, 1, 0))
    # All are drawn from a wide normal distribution; random ones would be near zero.
    assert all(0.5 < np.std(w) < 1.5 for w in backbone.get_weights() if w.size > 500)
    assert backbone.get_layer("standardize").mean[0] == pytest.approx(0.485 * 255)


def test_bad_files(tmp_path):
    written(FILES["of SMP"], tmp_path / "mit_b0.npz")
    with pytest.raises(ValueError, match="holds weights of another network than 'mit_b1'"):
        kd.backbone("mit_b1", tmp_path / "mit_b0.npz")
    message = r"'mit_b2' are published for Keras. NVIDIA publishes it: pass .*nvidia/mit-b2"
    with pytest.raises(ValueError, match=message):
        kd.backbone("mit_b2")
    with pytest.raises(ValueError, match=r"torchvision does not have 'mit_b0'. NVIDIA publishes"):
        kd.backbone("mit_b0", "torchvision")
    with pytest.raises(FileNotFoundError, match=r"path of an existing file.*mit_b0\.pth"):
        kd.backbone("mit_b0", tmp_path / "mit_b0.pth")

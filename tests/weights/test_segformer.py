"""SegFormers of transformers, MMSegmentation and the authors, read into ours."""

import gzip
import json

import numpy as np
import pytest

import keras_dense as kd
from keras_dense.weights.segformer import RECORDS, RULES, network

from . import segformer_oracle

NAMES = {
    "transformers": "nvidia/segformer_b0_ade20k",
    "mmseg": "mmseg/segformer_b0_ade20k",
}


def ours(normalize=False):
    return network("mit_b0", heads=kd.heads.Segmentation(150), normalize=normalize)


@pytest.mark.parametrize("source", RULES)
def test_every_tensor_has_a_place(source, zero_weights):
    known = json.loads(gzip.decompress(segformer_oracle.KEYS.read_bytes()))
    shapes = (
        segformer_oracle.authors(known[NAMES["transformers"]])
        if source == "authors"
        else known[NAMES[source]]
    )
    model = ours(source == "mmseg")
    values = segformer_oracle.tensors(shapes)
    report = kd.weights.load(model, values, rules=RULES[source])
    assert report.complete and not report.unread
    assert len(report.read) == len(model.weights)
    # Where the file has several layers in one tensor, or one where ours has several.
    fuse = next(v for k, v in values.items() if "fus" in k and v.ndim == 4)
    levels = ("P2", "P3", "P4", "P5")
    levels = levels if source == "mmseg" else levels[::-1]
    parts = [model.get_layer(f"fuse_{level}").get_weights()[0] for level in levels]
    np.testing.assert_array_equal(np.concatenate(parts), fuse[:, :, 0, 0].T)
    layer = model.get_layer("backbone").get_layer("stage2_block1_attention")
    if source == "mmseg":
        stacked = values["backbone.layers.1.1.0.attn.attn.in_proj_weight"]
        np.testing.assert_array_equal(layer.value.get_weights()[0], stacked[128:].T)
    if source == "authors":
        stacked = values["backbone.block2.0.attn.kv.weight"]
        np.testing.assert_array_equal(layer.key.get_weights()[0], stacked[:64].T)


def test_records():
    assert len(RECORDS) == 24
    record = kd.weights.info("nvidia/segformer_b5_ade20k")
    assert "640-640" in record.page and not record.permissive and record.grid == "image"
    record = kd.weights.info("mmseg/segformer_b2_cityscapes")
    assert record.hash == "6096669a" and len(record.classes.names) == 19
    assert record.arguments == {"backbone_name": "mit_b2", "normalize": True}


@pytest.mark.exhaustive
@pytest.mark.parametrize("source", NAMES)
def test_the_numbers_of_their_packages(source, tmp_path):
    """At a size that strides divide, and at one that they do not."""
    torch = pytest.importorskip("torch")
    if source == "transformers":
        pytest.importorskip("transformers")
        theirs = segformer_oracle.of_transformers()
        theirs.save_pretrained(tmp_path)
        path = tmp_path / "model.safetensors"
    else:
        pytest.importorskip("mmengine")
        theirs, path = segformer_oracle.of_mmseg(), tmp_path / "model.pth"
        torch.save({"state_dict": theirs.state_dict(), "meta": {}}, path)
    model = kd.weights.pretrained(NAMES[source], path=path)
    mean = np.array([0.485, 0.456, 0.406], "float32") * 255
    std = np.array([0.229, 0.224, 0.225], "float32") * 255
    for size in ((64, 96), (97, 131)):
        image = np.random.default_rng(1).integers(0, 256, (1, *size, 3)).astype("uint8")
        seen = torch.tensor(((image - mean) / std).transpose(0, 3, 1, 2).astype("float32"))
        with torch.no_grad():
            scores = (
                theirs(seen).logits if source == "transformers" else theirs(seen, mode="tensor")
            )
            scores = torch.nn.functional.interpolate(scores, size=size, mode="bilinear")
        wanted = scores.numpy().transpose(0, 2, 3, 1)
        found = model.predict(image, verbose=0)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())

"""MMSegmentation's networks: the scores of the original with the same weights."""

import importlib.util
import sys
import types

import numpy as np
import pytest

import keras_dense as kd
from keras_dense.weights import mmseg
from keras_dense.weights.load import ready_for

from . import published

QUICK = "mmseg/deeplabv3plus_r18_loveda"
# One network runs on every backend.
MARKS = {QUICK: (), "mmseg/pspnet_r18_cityscapes_769": pytest.mark.everywhere}
NAMES = [
    pytest.param(name, marks=MARKS.get(name, pytest.mark.exhaustive))
    for name in published.shapes("mmseg")
]
original = pytest.mark.skipif(
    importlib.util.find_spec("mmseg") is None, reason="MMSegmentation is not installed"
)


def both_heads(record, classes=None):
    head = kd.heads.Segmentation(classes) if classes else record.head()
    if record.auxiliary is None:
        return {"segmentation": head}
    return {"segmentation": head, "auxiliary": kd.heads.Auxiliary(head, **record.auxiliary)}


def read_whole(model, tensors, rules):
    """Put all tensors of a file into a network, and check that they are all."""
    ready = ready_for(model, tensors, rules, "the file")
    assert ready.report.complete and set(ready.report.left_out) <= {"counters"}, ready.report
    ready.apply(restore=False)


def close(found, expected):
    assert found.shape == expected.shape and expected.std() > 0.05
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", NAMES)
def test_the_scores_of_the_original(name):
    record, image = kd.weights.info(name), published.image(name)
    model = record.builder(heads=both_heads(record), **record.arguments)
    read_whole(model, published.random(name), record.rules)
    with np.load(published.SCORES) as expected:
        for key, y in model.predict(image, verbose=0).items():
            close(published.sample(y), expected[f"{name}/{key}"])


# Beside the package itself: narrow variants at two sizes

DEPTH_18 = {"backbone.depth": 18}
# Settings of theirs, and of ours.
NARROW = {
    "fcn_r50_voc": (
        {**DEPTH_18, "decode_head.in_channels": 512, "decode_head.channels": 16},
        {"backbone_name": "resnet18_v1c", "filters": 16},
    ),
    "pspnet_r50_voc": (
        {**DEPTH_18, "decode_head.in_channels": 512, "decode_head.channels": 16},
        {"backbone_name": "resnet18_v1c", "filters": 16, "bin_filters": 16},
    ),
    "deeplabv3_r50_voc": (
        {**DEPTH_18, "decode_head.in_channels": 512, "decode_head.channels": 16},
        {"backbone_name": "resnet18_v1c", "filters": 16},
    ),
    "deeplabv3plus_r50_voc": (
        {
            **DEPTH_18,
            "decode_head.in_channels": 512,
            "decode_head.channels": 16,
            "decode_head.c1_in_channels": 64,
        },
        {"backbone_name": "resnet18_v1c", "filters": 16},
    ),
    "upernet_r50_voc": (
        {
            **DEPTH_18,
            "decode_head.in_channels": [64, 128, 256, 512],
            "decode_head.channels": 16,
        },
        {"backbone_name": "resnet18_v1c", "filters": 16},
    ),
    "fpn_r50_ade20k": (
        {**DEPTH_18, "neck.in_channels": [64, 128, 256, 512], "decode_head.channels": 16},
        {"backbone_name": "resnet18_v1c", "filters": (256, 16)},
    ),
    "unet_fcn_drive": (
        {
            "backbone.base_channels": 8,
            "decode_head.in_channels": 8,
            "decode_head.channels": 64,
            "auxiliary_head.in_channels": 16,
        },
        {"filters": (64, 32, 16, 8)},
    ),
}


@original
@pytest.mark.parametrize("name", NARROW)
def test_the_same_function(name):
    from . import mmseg_oracle

    theirs, ours = NARROW[name]
    record = kd.weights.info(f"mmseg/{name}")
    if record.auxiliary is not None and "unet" not in name:
        theirs = {**theirs, "auxiliary_head.in_channels": 256}
    network = mmseg_oracle.network(name, theirs)
    model = record.builder(heads=both_heads(record), **{**record.arguments, **ours})
    read_whole(model, {k: x.numpy() for k, x in network.state_dict().items()}, record.rules)
    for size in ((64, 96), (75, 101)):
        image = np.random.default_rng(0).integers(0, 256, (1, *size, 3)).astype("uint8")
        seen = image
        if "unet" in name:  # Theirs refuses other sizes than multiples of 16; ours pads.
            padding = [(0, -n % 16) for n in size]
            seen = np.pad(image, [(0, 0), *padding, (0, 0)], mode="reflect")
        expected = mmseg_oracle.predict(network, seen)
        for key, y in model.predict(image, verbose=0).items():
            close(y, expected[key][:, : size[0], : size[1]])


@original
@pytest.mark.once
def test_addresses_scores_and_classes_are_those_of_the_package():
    from . import mmseg_oracle

    published_there = mmseg_oracle.published_files()
    for file in mmseg.FILES:
        url, score = published_there[file.stem]
        # One host is misspelled there.
        assert file.url == url.replace("oz1z1penmmlab", "openmmlab") and file.score == score
    for name, (names, palette) in mmseg_oracle.classes().items():
        data = mmseg.DATA[name].classes
        assert list(data.names) == [name.strip() for name in names]
        assert data.palette.tolist() == palette


# What a file says


def checkpoint(path, tensors, meta):
    """A file as MMEngine writes it, with objects of its own in it."""
    torch = pytest.importorskip("torch", reason="the files are PyTorch's")
    module = types.ModuleType("history_buffer")  # mmengine.logging.history_buffer

    class HistoryBuffer:
        def __init__(self):
            self._log_history = np.arange(3.0)

    HistoryBuffer.__module__, HistoryBuffer.__qualname__ = module.__name__, "HistoryBuffer"
    module.HistoryBuffer = HistoryBuffer
    sys.modules[module.__name__] = module
    try:
        state = {key: torch.from_numpy(np.array(value)) for key, value in tensors.items()}
        hub = {"log_scalars": {"train/loss": HistoryBuffer()}}
        torch.save({"meta": meta, "state_dict": state, "message_hub": hub}, path)
    finally:
        del sys.modules[module.__name__]


@pytest.mark.once
def test_files_of_mmengine_and_their_classes(tmp_path):
    path, tensors = tmp_path / "own.pth", published.random(QUICK)
    names = ("water ", "land", "cloud")
    own = {key: value[:3] if "conv_seg" in key else value for key, value in tensors.items()}
    checkpoint(path, own, {"CLASSES": names, "PALETTE": [[0, 0, 255], [0, 255, 0], [9, 9, 9]]})
    with pytest.warns(UserWarning, match="names 3 classes of the file, such as 'water', where"):
        model = kd.weights.pretrained(QUICK, path, input_shape=(32, 32, 3))
    head = kd.heads.of(model)
    assert list(head.class_names) == ["water", "land", "cloud"]
    assert np.asarray(head.palette)[2].tolist() == [9, 9, 9]
    # The newer form, with the catalogue's classes: no warning.
    record = kd.weights.info(QUICK)
    checkpoint(path, tensors, {"dataset_meta": {"classes": list(record.classes.names)}})
    model = kd.weights.pretrained(QUICK, path, auxiliary=True, input_shape=(32, 32, 3))
    assert kd.heads.of(model)["segmentation"].num_classes == 7


@pytest.mark.once
def test_bad_classes_of_a_file_are_passed_over():
    for meta in ({}, {"meta": None}, {"meta": {"CLASSES": 5}}, {"meta": {"CLASSES": (1, 2)}}):
        assert mmseg.classes_in(meta) is None
    for palette in (None, [[1, 2]], [[300, 0, 0], [0, 0, 0]], "red", [[1, 2, 3]]):
        found = mmseg.classes_in({"meta": {"CLASSES": ("a", "b"), "PALETTE": palette}})
        assert found.names == ("a", "b") and found.palette.shape == (2, 3)


@pytest.mark.once
def test_names_of_files():
    names = [name for name in kd.weights.list("mmseg/*") if "/segformer" not in name]
    assert len(names) == len(set(names)) == len(mmseg.FILES)
    assert kd.weights.list("mmseg/pspnet_r50_cityscapes*") == [
        "mmseg/pspnet_r50_cityscapes",
        "mmseg/pspnet_r50_cityscapes_769",
    ]
    record = kd.weights.info("mmseg/unet_deeplabv3_stare_dice")
    assert record.test_size == "605×700 pixels, in tiles of 128×128 with stride 85"
    assert record.scores == {"Dice of vessels": 82.71} and not record.trusted
    record = kd.weights.info("mmseg/pspnet_r101_cityscapes_769")
    assert (record.grid, record.arguments["grid"]) == ("image_corners",) * 2
    assert record.permissive and record.hash == "dba412fa"
    assert len(kd.weights.list("mmseg/*_voc")) == 10
    assert kd.weights.info("mmseg/pspnet_r101_ade20k").scores == {"mean IoU": 44.39}

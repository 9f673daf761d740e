"""Decoded samples in a folder: the same, whole or missing, and noticed if the data set changed."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

import keras_dense as kd
from keras_dense.datasets import (
    Loader,
    as_torch,
    cached,
    folder,
    scenes,
    subset,
    together,
    transforms,
    weaken,
)

pytestmark = pytest.mark.once
Image = pytest.importorskip("PIL.Image")


@pytest.fixture
def files(tmp_path):
    """A function that reads five pairs of files, and their folder."""
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for i in range(5):
        for kind, array in (
            ("images", rng.integers(0, 256, (6, 8, 3), "uint8")),
            ("masks", rng.integers(0, 3, (6, 8), "uint8")),
        ):
            Image.fromarray(array).save(tmp_path / kind / f"{i}.png")

    def read(**settings):
        return folder(tmp_path / "images", tmp_path / "masks", **{"num_classes": 3} | settings)

    return read, tmp_path


class Counted(list):
    """A data set that counts how often it is read."""

    name, num_classes = "counted", 3

    def __init__(self, samples):
        super().__init__(samples)
        self.reads = 0

    def __getitem__(self, index):
        self.reads += 1
        return dict(super().__getitem__(index))


def same(one, two):
    assert list(one) == list(two)
    for key, value in one.items():
        assert type(value) is type(two[key]), key
        np.testing.assert_array_equal(value, two[key])
        assert getattr(value, "dtype", None) == getattr(two[key], "dtype", None)


def test_samples_come_back_as_they_were(tmp_path):
    world = Counted(
        {
            **s,
            "place": f"é{i}",
            "number": i,
            "exposure": 0.1,
            "none": None,
            "day": True,
            "file": s["image"],
        }
        for i, s in enumerate(scenes(4, size=(8, 12), seed=1))
    )
    world[0]["depth"][0, 0] = np.nan
    wanted = [world[i] for i in range(4)]
    for _ in range(2):
        kept = cached(world, tmp_path / "cache")
        for index in (0, 1, 2, 3, -1):
            same(kept[index], wanted[index])
        assert len(kept) == 4 and kept.name == "counted" and kept.num_classes == 3
    before = world.reads
    same(kept[2], wanted[2])
    assert world.reads == before
    assert kept[2]["image"] is not kept[2]["image"]
    with pytest.raises(IndexError):
        kept[4]


def test_a_loader_gives_the_same_batches_from_it(files):
    read, path = files
    augment = [transforms.RandomCrop(4), transforms.RandomFlip()]

    def batches(dataset, give=list):
        settings = {"transforms": augment, "shuffle": True, "workers": 3, "seed": 3}
        loader = Loader(dataset, kd.heads.Segmentation(3), 2, **settings)
        return [batch for _ in range(2) for batch in give(loader)]

    wanted = batches(read())
    kept = cached(read(), path / "cache")
    for give in (list, lambda loader: as_torch(loader, workers=2)):
        for one, two in zip(batches(kept, give), wanted, strict=True):
            np.testing.assert_array_equal(one[0], two[0])
            np.testing.assert_array_equal(one[1], two[1])


def test_a_changed_file_is_read_anew(files):
    read, path = files
    kept = cached(read(), path / "cache")
    old = [kept[i]["segmentation"] for i in range(5)]
    mask = path / "masks" / "3.png"
    Image.fromarray(np.full((6, 8), 2, "uint8")).save(mask)
    os.utime(mask, ns=(1, 1))
    again = cached(read(), path / "cache")
    for found in (kept[3], again[3], subset(again, [3])[0]):
        assert (found["segmentation"] == 2).all()
    np.testing.assert_array_equal(again[1]["segmentation"], old[1])


def test_files_are_found_through_other_data_sets(files):
    from keras_dense.datasets.cached import _stamp

    read, path = files
    part = subset(read(), [4, 2])
    assert [entry[0] for entry in _stamp(part, 1)] == ["2.png", "2.png"]
    assert [entry[0] for entry in _stamp(cached(part), 0)] == ["4.png", "4.png"]
    both = together(part, weaken(subset(read(), [0, 1]), "tags"), shares=(1, 1))
    names = [_stamp(both, index)[0][0] for index in both.order(0, 0, False)]
    assert names == ["4.png", "0.png", "2.png", "1.png"]
    world = scenes(2, 8)
    assert _stamp(world, 1) == _stamp(subset(world, [1]), 0) == [world.describe(1)]
    assert _stamp([1], 0) == ["list"]


def test_another_data_set_is_refused(files):
    read, path = files
    kept = cached(read(), path / "cache")
    for i in range(5):
        kept[i]
    message = "`folder` must be empty, or have the samples of this data set. Received: .*cache.*"
    for other, what in (
        (read(num_classes=4), "num_classes='3' instead of '4'"),
        (subset(read(), 4), "samples=5 instead of 4"),
        (read(remap={0: 1, 1: 0}), "another 'segmentation' in sample 0"),
        (read(class_names=["a", "b", "c"]), "class_names"),
    ):
        with pytest.raises(ValueError, match=message + what):
            cached(other, path / "cache")


def test_a_damaged_file_is_read_anew(files):
    read, path = files
    kept = cached(read(), path / "cache")
    wanted = kept[2]
    entry = path / "cache" / "0000002.npz"
    whole = entry.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], whole[:200] + b"\0\0\0" + whole[203:], b"PK"):
        entry.write_bytes(damaged)
        same(kept[2], wanted)
        assert entry.read_bytes() == whole


def test_bad_values(tmp_path):
    kept = cached(Counted([{"image": np.zeros((2, 2, 3), "uint8"), "boxes": [1, 2]}]), tmp_path)
    with pytest.raises(TypeError, match="arrays, numbers and texts.*'boxes' of list"):
        kept[0]
    assert [p.name for p in tmp_path.iterdir()] == ["data.json"]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a signal that kills at once")
def test_a_killed_process_leaves_whole_files(tmp_path):
    """It is killed amid the file of the fourth sample."""
    code = f"""
import os, signal, sys
import numpy as np
sys.path.insert(0, {str(os.getcwd())!r})
from keras_dense.datasets import cached
savez = np.savez
def slow(file, **arrays):
    savez(file, **arrays)
    if arrays["array_1"] == 3:
        file.truncate(file.tell() // 2)
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
np.savez = slow
world = [{{"image": np.full((4, 4, 3), i, "uint8"), "number": np.array(i)}} for i in range(5)]
kept = cached(world, {str(tmp_path / "cache")!r})
for i in range(5):
    kept[i]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    names = sorted(p.name for p in (tmp_path / "cache").iterdir() if not p.name.startswith("."))
    assert names == ["0000000.npz", "0000001.npz", "0000002.npz", "data.json"]
    world = [{"image": np.full((4, 4, 3), i, "uint8"), "number": np.array(i)} for i in range(5)]
    kept = cached(world, tmp_path / "cache")
    for i in range(5):
        same(kept[i], world[i])
    assert len(list((tmp_path / "cache").glob("*.npz"))) == 5

"""Subsets, splits, and data sets in memory."""

import pickle

import numpy as np
import pytest

from keras_dense.datasets import cached, scenes, split, subset

pytestmark = pytest.mark.once


class Counting(list):
    """A data set that counts how often it is read."""

    name, num_classes = "counting", 3
    reads = 0

    def __getitem__(self, index):
        self.reads += 1
        return super().__getitem__(index)


def samples(count, label=0):
    return Counting(
        {
            "image": np.full((2, 3, 3), i, np.uint8),
            "segmentation": np.full((2, 3), label, np.uint8),
        }
        for i in range(count)
    )


def test_subset():
    ds = subset(scenes(count=10, size=16), [3, -1])
    assert len(ds) == 2 and ds.num_classes == 8 and ds.name == "scenes"
    np.testing.assert_array_equal(ds[1]["image"], scenes(count=10, size=16)[9]["image"])
    assert len(subset(range(10), 4)) == 4
    assert [subset(range(10), slice(1, None, 4))[i] for i in range(3)] == [1, 5, 9]
    assert pickle.loads(pickle.dumps(ds)).class_names == ds.class_names
    with pytest.raises(IndexError, match="`indices` must be below 10"):
        subset(range(10), [10])
    with pytest.raises(AttributeError):
        subset(range(3), 2).palette  # noqa: B018


def test_split():
    a, b = split(range(100), 0.8, seed=3)
    assert len(a) == 80 and len(b) == 20
    assert sorted([*a, *b]) == list(range(100)) and list(a) == sorted(a)
    again, _ = split(range(100), 0.8, seed=3)
    other, _ = split(range(100), 0.8, seed=4)
    assert list(again) == list(a) != list(other)
    with pytest.raises(ValueError, match="a sample in both parts.*fraction=1"):
        split(range(3), 1)


def test_cached_reads_once_and_is_read_only():
    source = samples(3)
    ds = cached(source)
    for _ in range(3):
        assert [int(ds[i]["image"][0, 0, 0]) for i in range(3)] == [0, 1, 2]
    assert source.reads == 3 and len(ds) == 3 and ds.name == "counting"
    with pytest.raises(ValueError, match="read-only"):
        ds[0]["image"][:] = 1
    ds[0]["segmentation"] = None  # a copy of the dict
    assert ds[0]["segmentation"] is not None

"""Labeled and weak samples in every batch; weak annotation made of masks."""

import numpy as np
import pytest

import keras_dense as kd
from keras_dense.datasets import DatasetWarning, Loader, scenes, split, subset, together, weaken

pytestmark = pytest.mark.once


class Numbered:
    """Samples whose image holds their number."""

    num_classes = 3

    def __init__(self, count, first=0, labels=None):
        self.count, self.first, self.labels = count, first, labels

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        sample = {"image": np.full((2, 3, 3), self.first + index, "uint8")}
        if self.labels is not None:
            sample["segmentation"] = np.full((2, 3), self.labels, "uint8")
        return sample


def both(labeled=5, weak=9, shares=(2, 3)):
    return together(Numbered(labeled, 0, 1), Numbered(weak, 100), shares=shares)


def numbers(loader, epoch=None):
    if epoch is not None:
        loader.epoch = epoch
    return [batch[0][:, 0, 0, 0].tolist() for batch in loader]


def test_every_batch_has_both_in_fixed_shares():
    loader = Loader(both(), None, 5, shuffle=True)
    found = numbers(loader)
    assert len(found) == len(loader) == 3
    for batch in found:
        assert [n < 100 for n in batch] == [True, True, False, False, False]
    assert sorted(n for batch in found for n in batch[2:]) == list(range(100, 109))
    few = sorted(n for batch in found for n in batch[:2])
    assert set(few) == set(range(5)) and len(few) == 6  # one of them twice
    assert numbers(loader) != found


def test_repeatable_and_continued():
    first = Loader(both(), None, 5, shuffle=True, seed=3)
    epochs = [numbers(first) for _ in range(3)]
    again = Loader(both(), None, 5, shuffle=True, seed=3, epoch=2, workers=0)
    assert numbers(again) == epochs[2]
    assert numbers(Loader(both(), None, 5, shuffle=True, seed=4)) != epochs[0]
    assert numbers(Loader(both(), None, 5)) == numbers(Loader(both(), None, 5, seed=8))
    again.resume(1, 2)
    assert again[0][0][:, 0, 0, 0].tolist() == epochs[1][2]


def test_a_sample_that_is_used_twice_is_changed_in_another_way():
    def noise(sample, rng):
        return {"image": np.full_like(sample["image"], rng.integers(256))}

    few = together(Numbered(1, 0, 1), Numbered(6, 100), shares=(1, 1))
    loader = Loader(few, None, 2, transforms=[noise], shuffle=True)
    assert len({batch[0][0, 0, 0, 0] for batch in loader}) == 6


def test_a_faulty_sample_is_replaced_by_one_of_its_kind():
    class Faulty(Numbered):
        def __getitem__(self, index):
            if index == 1:
                raise ValueError("broken")
            return super().__getitem__(index)

    data = together(Faulty(4, 0, 1), Numbered(8, 100), shares=(1, 2))
    loader = Loader(data, None, 3, shuffle=True, on_error="skip", workers=0)
    with pytest.warns(UserWarning, match="skipped.*sample 1 .labeled: Faulty.: broken"):
        found = numbers(loader)
    assert all(batch[0] in (0, 2, 3) and min(batch[1:]) >= 100 for batch in found)


def test_padding_has_no_weight():
    head = kd.heads.Segmentation(3)
    loader = Loader(both(), head, 5, pad=4, missing="unknown", workers=0)
    images, labels, weights = loader[2]
    assert images.shape == (5, 4, 4, 3)
    assert weights[:, :2, :3].min() == 1 and weights[:, 2:].max() == weights[:, :, 3:].max() == 0
    assert (labels[2:] == 255).all() and (labels[:2, :2, :3] == 1).all()


def test_bad_data():
    with pytest.raises(ValueError, match="`shares` must be a tuple of 2 integers >= 1"):
        both(shares=(0, 4))
    with pytest.raises(ValueError, match="`weak` must have samples. Received: an empty"):
        both(weak=0)
    with pytest.raises(ValueError, match="`labeled` must have masks.*'image'.*known pixel"):
        together(Numbered(3), Numbered(3))
    with pytest.raises(ValueError, match="`labeled` must have masks.*'segmentation'"):
        together(Numbered(3, labels=255), Numbered(3))
    other = Numbered(3)
    other.num_classes = 4
    with pytest.raises(ValueError, match="the same classes. Received: num_classes=3 and 4"):
        together(Numbered(3, labels=1), other)
    with pytest.warns(DatasetWarning, match="a label at 100% of its pixels.*used for training"):
        together(Numbered(3, labels=1), Numbered(3, labels=1))
    with pytest.raises(ValueError, match="`batch_size` must be 5, the sum of the shares"):
        Loader(both(), None, 4)
    with pytest.raises(TypeError, match="must be the result of `together` itself"):
        Loader(subset(both(), 3), None, 5)


@pytest.fixture(scope="module")
def world():
    return scenes(3, size=(48, 64), seed=2)


@pytest.mark.parametrize("kind", ["scribbles", "points"])
def test_marks_are_few_right_and_in_every_region(world, kind):
    from scipy import ndimage

    weak = weaken(world, kind, seed=1)
    for i in range(len(world)):
        truth, marks = world[i]["segmentation"], weak[i]["segmentation"]
        known = marks != 255
        assert (marks[known] == truth[known]).all()
        assert 0 < known.mean() < (0.25 if kind == "scribbles" else 0.1)
        for label in np.unique(truth):
            regions, count = ndimage.label(truth == label)
            assert {*np.unique(regions[known & (truth == label)])} == {*range(1, count + 1)}
        assert set(np.flatnonzero(weak[i]["tags"] == 1)) == set(np.unique(truth))
    assert "depth" not in weak[0] and "intrinsics" not in weak[0]
    np.testing.assert_array_equal(
        weak[1]["segmentation"], weaken(world, kind, seed=1)[1]["segmentation"]
    )
    assert (weak[1]["segmentation"] != weaken(world, kind, seed=2)[1]["segmentation"]).any()


def test_boxes_are_void_around_regions():
    labels = np.zeros((8, 9), "uint8")
    labels[2:7, 1:6] = 1
    labels[2, 1] = 0
    data = Numbered(1, labels=0)
    sample = {"image": np.zeros((8, 9, 3), "uint8"), "segmentation": labels}
    data.__class__ = type("Boxed", (Numbered,), {"__getitem__": lambda self, i: sample})
    found = weaken(data, "boxes", core=0.2)[0]["segmentation"]
    wanted = np.zeros((8, 9), int)
    wanted[2:7, 1:6] = 255
    wanted[4, 3] = 1
    np.testing.assert_array_equal(found, wanted)
    bare = weaken(data, "boxes", core=0)[0]["segmentation"]
    assert set(np.unique(bare)) == {0, 255}


def test_bad_weakening(world):
    with pytest.raises(ValueError, match="`kind` must be one of 'scribbles', 'points'"):
        weaken(world, "clicks")
    with pytest.raises(ValueError, match="`core` must be a number >= 0 and < 1"):
        weaken(world, "boxes", core=1)
    with pytest.raises(ValueError, match="must have 'segmentation'.*'image'"):
        weaken(Numbered(2), "tags")[0]
    with pytest.raises(ValueError, match="`dataset` must have `num_classes`"):
        weaken(list(world), "tags")


def test_few_of_one_data_set(world):
    """The usual experiment: masks of a part are hidden."""
    few, many = split(world, 0.4)
    data = together(few, weaken(many, "tags"), shares=(1, 2))
    heads = {"labels": kd.heads.Segmentation(8), "tags": kd.heads.Tags(8)}
    images, targets, _ = Loader(data, heads, 3, missing="unknown", workers=0)[0]
    assert (targets["labels"][0] != 255).all() and (targets["labels"][1:] == 255).all()
    assert (targets["tags"] != 255).all() and targets["tags"].sum(1).min() > 1

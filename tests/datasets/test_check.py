"""Checks of data sets: unusable data is an error, suspicious data a warning with the remedy."""

import re
import warnings

import numpy as np
import pytest

from keras_dense.datasets import DatasetWarning, check, scenes, subset
from keras_dense.heads import Colorization, Depth, Normals, Segmentation

pytestmark = pytest.mark.once


class Set(list):
    name, num_classes, class_names = "toys", 3, ["sky", "road", "car"]

    def describe(self, index):
        return f"{index}.png"


def samples(*labels, **more):
    rng = np.random.default_rng(0)
    made = Set()
    for value in labels:
        image = rng.integers(0, 256, (2, 3, 3)).astype("uint8")
        made.append({"image": image, "segmentation": np.resize(value, (2, 3)), **more})
    return made


def quiet(dataset, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return check(dataset, **options)


def test_a_good_set_is_counted():
    report = quiet(samples([0, 1, 2], [0, 1, 255]))
    assert report["samples"] == 2 and report["sizes"] == {(2, 3): 2}
    assert report["pixels"].tolist() == [4, 4, 2] and report["void"] == 2
    assert report["values"] == {0: 4, 1: 4, 2: 2, 255: 2} and report["warnings"] == []
    lines = str(report).splitlines()
    assert lines[0] == "2 samples of 2 x 3 (height x width)"
    assert "  road: 33.33 % of the pixels" in lines and "  void: 16.67 %" in lines
    found = quiet(scenes(40, 32), heads={"depth": Depth(max_depth=40.0), "normals": Normals()})
    assert 0.5 < found["depth"]["known"] < 1 and found["depth"]["high"] < 40
    assert found["normals"]["known"] == found["depth"]["known"]


def dark():
    made = samples([0, 1, 2])
    made[0]["image"] = made[0]["image"] % 2
    return made


def twice():
    made = samples([0, 1, 2], [2])
    made[1]["image"] = made[0]["image"]
    return made


DEPTH = np.linspace(1, 2, 6).reshape(2, 3, 1)
UP = np.broadcast_to([0.0, 0.0, -1.0], (2, 3, 3))


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (samples([0, 255]), r"only labels are 0 and 255.*remap=\{255: 1\}"),
        (samples([0], [0, 2]), r"1 of 3 classes never occur: road \(1\)"),
        (samples([0, 1, 2], [255]), r"Masks of only void: 1 \(1.png\)"),
        (dark(), r"Images with only 0 and 1, like a range of 0.0 to 1.0.*1 \(0.png\)"),
        (twice(), r"Images that occur more than once: 1 \(0.png = 1.png\)"),
        (
            samples([0, 1, 2], depth=DEPTH * 1500),
            "The median depth is 2250 m: check that depth is in meters",
        ),
        (samples([0, 1, 2], depth=DEPTH / 255), "check that depth is in meters"),
        (samples([0, 1, 2], depth=DEPTH * 0 + 3), r"Depth maps with one value: 1 \(0"),
        (samples([0, 1, 2], normals=UP * 2), "100.0 % of the normals do not have length 1"),
        (samples([0, 1, 2], normals=-UP), "100.0 % of the normals face away from the camera"),
        (samples([0, 1, 2], weight=np.zeros((2, 3))), r"weight 0 at every pixel: 1 \(0.png\)"),
        (Set([{"image": np.full((2, 3, 3), 7, "uint8")}]), r"Images of one color: 1 \(0.png\)"),
    ],
)
def test_suspicious_data_is_a_warning(dataset, message):
    with pytest.warns(DatasetWarning, match="toys is probably not as intended") as caught:
        report = check(dataset)
    (text,) = (str(w.message) for w in caught)
    assert re.search(message, text), text
    assert report["warnings"] and report["warnings"][0] in str(report)


@pytest.mark.parametrize(
    ("dataset", "heads", "message"),
    [
        (samples([255]), None, r"Every pixel of every mask is void \(255\)"),
        (samples([0], depth=DEPTH * np.nan), None, "No pixel of depth is known"),
        (samples([0], normals=UP * 0), None, "No normal is known"),
        (samples([0], depth=DEPTH * 1500), Depth(max_depth=10.0), "No pixel .* known to the head"),
        (samples([0]), {"d": Depth(), "c": Colorization()}, "No pixel .* known to head 'd'"),
        (
            samples([0, 4]),
            None,
            r"1 of 1 .*faulty:\n  sample 0: 0.png: labels \[4\] are out of range for 3",
        ),
        (samples([0, 2]), Segmentation(1), "all classes.*toys has 3. Received: a head of 2"),
        (samples([0.5]), None, "0.png: sample: `segmentation` must be whole numbers"),
        (samples([0], weight=UP[..., 2]), None, "`weight` must be finite and >= 0. Received: -1"),
        (Set(), None, "an empty data set"),
    ],
)
def test_unusable_data_is_an_error(dataset, heads, message):
    with pytest.raises(ValueError, match=message):
        check(dataset, heads=heads)


def test_all_faults_at_once():
    broken = samples([0], [1], [9], [0.5])
    broken[1] = None
    with pytest.raises(ValueError, match="3 of 4 samples are faulty") as found:
        check(broken)
    assert [line.split(":")[0].strip() for line in str(found.value).splitlines()[1:]] == [
        "sample 1",
        "sample 2",
        "sample 3",
    ]


def test_images_of_another_split():
    train, val = samples([0, 1, 2], [0, 1, 2], [0, 1, 2]), samples([0, 1, 2])
    with pytest.warns(DatasetWarning, match="also in the other data set.*: 1 "):
        report = check(train, against=val)
    assert report["shared"] == [("0.png", "0.png")]
    assert quiet(subset(train, [1, 2]), against=val)["shared"] == []


def test_limit_reads_samples_spread_evenly():
    class Read(Set):
        read = set()

        def __getitem__(self, index):
            self.read.add(index)
            return super().__getitem__(index)

    many = Read(samples(*[[0, 1, 2]] * 9))
    assert quiet(many, limit=np.int64(3), workers=np.int64(1))["samples"] == 3
    assert many.read == {0, 4, 8}
    with pytest.raises(ValueError, match="`limit` must be an integer >= 1. Received: limit=0"):
        check(many, limit=0)


def test_indices_are_integers_or_a_bool_for_each():
    letters = list("abcd")
    for indices in (np.array([1, 3]), [False, True, False, True], [1.0, 3.0], np.array([1, -1])):
        assert list(subset(letters, indices)) == ["b", "d"]
    assert len(subset(letters, [])) == 0 and len(subset(letters, np.int64(2))) == 2
    with pytest.raises(ValueError, match="`indices` must be whole numbers"):
        subset(letters, [0.5])
    with pytest.raises(ValueError, match="or 4 booleans, one per sample. Received: bool of shape"):
        subset(letters, [True, False])

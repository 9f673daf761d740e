"""Relations of classes, computed from labels and depth."""

import numpy as np
import pytest

import keras_dense as kd
from keras_dense.datasets import RELATIONS, relations_of, with_relations


def test_a_mask_that_can_be_read_by_eye():
    labels = np.array(
        [
            [0, 0, 0, 0],
            [0, 2, 2, 0],
            [1, 2, 2, 255],
            [1, 1, 1, 1],
        ]
    )
    depth = np.where(labels == 2, 2.0, 8.0)
    depth[labels == 0] = 0  # the sky
    found = relations_of(labels, depth[..., None], 4)
    touches, above, before = (found[..., i] for i in range(len(RELATIONS)))
    assert touches[0, 1] == touches[1, 0] == touches[0, 2] == touches[1, 2] == 1
    assert above[0, 1] == above[0, 2] == above[2, 1] == 1 and above[1, 0] == above[1, 2] == 0
    assert before[2, 1] == 1 and before[1, 2] == 0
    assert before[0, 1] == before[1, 0] == before[2, 0] == 255
    assert (found[3, :3] == 0).all() and (found[:3, 3] == 0).all()
    assert (found[np.arange(4), np.arange(4)] == 255).all()
    np.testing.assert_array_equal(relations_of(labels[:, ::-1], depth[:, ::-1], 4), found)
    assert (relations_of(labels, None, 4)[0, 1] == [1, 1, 255]).all()
    assert (relations_of(np.full((2, 2), 255), None, 4) == 255).all()


def test_samples_of_scenes():
    world = with_relations(kd.datasets.scenes(3, 24))
    sample, names = world[0], world.class_names
    assert sample["interactions"].shape == (8, 8, 3) and len(world) == 3
    sky, ground = names.index("sky"), names.index("ground")
    if {sky, ground} <= set(np.unique(sample["segmentation"])):
        assert sample["interactions"][sky, ground, 1] == 1
    weak = kd.datasets.weaken(world, "tags")[0]
    assert "segmentation" not in weak and (weak["interactions"] == sample["interactions"]).all()
    assert "interactions" not in kd.datasets.weaken(world, "image")[0]


def test_bad_input():
    with pytest.raises(ValueError, match="`labels` must be from 0 to 1"):
        relations_of([[0, 5]], None, 2)
    with pytest.raises(ValueError, match="`depth` must be of the size of the labels"):
        relations_of([[0, 1]], [[1.0]], 2)
    with pytest.raises(ValueError, match="`dataset` must have num_classes"):
        with_relations([])

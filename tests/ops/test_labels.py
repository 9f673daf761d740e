"""One reading of segmentation targets, for losses (shares) and for metrics (labels)."""

import numpy as np
import pytest
from keras import ops

from keras_dense.losses import CrossEntropy
from keras_dense.metrics import ConfusionMatrix
from keras_dense.ops import labels
from keras_dense.testing.expect import value_and_gradient


def read(function, *args):
    return [ops.convert_to_numpy(x) for x in function(*args)]


@pytest.mark.parametrize("ignore_class", [None, 255, 1])
def test_labels_and_one_hot_rows_are_read_alike(ignore_class):
    values = np.array([0, 1, 2, 255, -1, 1.5, np.nan, 7], "float32").reshape(1, 2, 4, 1)
    args = "labels", 3, "multiclass", ignore_class
    label, valid, wrong = read(labels.read_labels, values, *args)
    hot, hot_valid, hot_wrong = read(labels.read_target, values, *args)
    right = np.isin(values, [c for c in range(3) if c != ignore_class])
    void = values == (np.nan if ignore_class is None else ignore_class)
    np.testing.assert_array_equal(valid, right)
    np.testing.assert_array_equal(wrong, ~right & ~void)
    np.testing.assert_array_equal(label, np.where(right, values, 0))
    np.testing.assert_array_equal(hot, right & (values == np.arange(3)))
    np.testing.assert_array_equal((hot_valid, hot_wrong), (valid, wrong))
    again, *masks = read(labels.read_labels, hot, "hot", 3, "multiclass", ignore_class)
    np.testing.assert_array_equal(again, label)
    np.testing.assert_array_equal(masks, (valid, np.zeros_like(wrong)))


def test_shares_of_independent_labels_have_a_loss_but_no_count():
    values = np.array([[[[0, 1, 0.3, 255, 1.2]]]], "float32")
    args = "hot", 5, "multilabel", 255
    share, valid, wrong = read(labels.read_target, values, *args)
    assert share.ravel().tolist() == [0, 1, np.float32(0.3), 0, 0]
    assert (valid.ravel() * 1).tolist() == [1, 1, 1, 0, 0]
    assert (wrong.ravel() * 1).tolist() == [0, 0, 0, 0, 1]
    label, valid, wrong = read(labels.read_labels, values, *args)
    assert label.ravel().tolist() == [0, 1, 0, 0, 0]
    assert (valid.ravel() * 1).tolist() == [1, 1, 0, 0, 0]
    assert (wrong.ravel() * 1).tolist() == [0, 0, 1, 0, 1]


def test_a_soft_pixel_is_void_for_loss_and_metric_if_no_class_outweighs_the_ignored_one():
    shares = np.array([[[[0.4, 0.3, 0.3], [0.3, 0.4, 0.3], [0.5, 0.5, 0.0]]]], "float32")
    logits = np.zeros((1, 1, 3, 3), "float32")
    for ignore_class, kept in ((0, [1]), (1, [0]), (2, [0, 1, 2])):
        _, gradient = value_and_gradient(CrossEntropy(ignore_class=ignore_class), shares, logits)
        assert np.flatnonzero(gradient.any(-1)).tolist() == kept
        metric = ConfusionMatrix(3, ignore_class=ignore_class)
        metric.update_state(shares, logits)
        assert metric.matrix().sum() == len(kept)


@pytest.mark.once
def test_a_mode_must_fit_the_number_of_classes():
    assert [labels.check_mode(None, n) for n in (1, 2)] == ["binary", "multiclass"]
    assert [labels.check_mode("multilabel", n) for n in (1, 2)] == ["multilabel"] * 2
    for mode, num_classes in (("binary", 3), ("multiclass", 1)):
        with pytest.raises(ValueError, match=f"does not go with num_classes={num_classes}"):
            labels.check_mode(mode, num_classes)
    with pytest.raises(ValueError, match="`mode` must be one of 'multiclass', 'binary', "):
        labels.check_mode("softmax")
    with pytest.raises(ValueError, match="`ignore_class` must be an integer of at most 24 bits"):
        labels.check_ignore_class(2**25, "multiclass")

"""Numbered objects: targets, objects from maps, files and drawings."""

import sys

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_dense as kd
from keras_dense.heads import Instances, drawing
from keras_dense.testing import check_model

ndimage = pytest.importorskip("scipy.ndimage")
pytest.importorskip("skimage")


def discs(size, places, radius):
    """Numbered discs; later ones are drawn over earlier ones."""
    y, x = np.mgrid[: size[0], : size[1]]
    numbers = np.zeros(size, "int32")
    for number, (v, u) in enumerate(places, start=1):
        numbers[(y - v) ** 2 + (x - u) ** 2 <= radius**2] = number
    return numbers


# Two that touch, two that the edge cuts, one alone, one of a single pixel.
PLACES = [(0, 12), (12, 12), (12, 25), (13, 51), (25, 38)]
CELLS = discs((40, 52), PLACES, 6.4)
CELLS[37, 3] = 9


def same_objects(found, wanted):
    """The same objects under any numbers."""
    pairs = np.unique(np.stack([found, wanted], -1).reshape(-1, 2), axis=0)
    return len(pairs) == len(np.unique(found)) == len(np.unique(wanted))


def test_encode():
    numbers = np.array([[0, 4, 4, 4, 7, 7], [0, 4, 4, 4, 7, 7], [0, 4, 4, 4, -1, -3]])
    target = Instances().encode({"instances": numbers})
    assert target.shape == (3, 6, 2) and target.dtype == np.float32
    np.testing.assert_array_equal(target[:2, :, 0], (numbers[:2] > 0))
    # A neighbor is as far as background is, and the edge of the image is no border.
    np.testing.assert_allclose(target[:2, :, 1], [[0, 0.5, 1, 0.5, 0.5, 1]] * 2)
    assert np.isnan(target[2, 4:]).all() and np.isfinite(target[:, :4]).all()
    for form in (numbers[..., None], numbers.astype("float64"), numbers.tolist()):
        np.testing.assert_array_equal(Instances().encode({"instances": form}), target)


def test_distances_of_every_object():
    """The distance to the nearest pixel that is not its own, over the largest one."""
    target = Instances().encode({"instances": CELLS})
    for number in range(1, 6):
        inside = CELLS == number
        mask = np.pad(inside, 1, mode="edge")
        distance = ndimage.distance_transform_edt(np.pad(mask, 9, mode="edge"))[10:-10, 10:-10]
        np.testing.assert_allclose(
            target[inside, 1], (distance / distance[inside].max())[inside], atol=1e-6
        )
    assert target[37, 3].tolist() == [1, 1]
    np.testing.assert_array_equal(target[CELLS == 0], 0)


@pytest.mark.parametrize("numbers", [np.zeros((4, 5), int), np.full((4, 5), 3)])
def test_images_of_background_or_of_one_object_alone(numbers):
    head = Instances()
    target = head.encode({"instances": numbers})
    np.testing.assert_array_equal(target, np.repeat(numbers[..., None] > 0, 2, -1))
    np.testing.assert_array_equal(head.objects(target), numbers > 0)


def test_objects_of_a_target_are_those_it_was_made_of():
    found = Instances(min_size=0).objects(Instances().encode({"instances": CELLS}))
    assert found.dtype == np.uint16 and same_objects(found, CELLS)
    # In reading order.
    first = [np.argmax(found == number) for number in range(1, 7)]
    assert first == sorted(first)
    assert found[37, 3] == 6 and Instances().objects(found) is not None


@pytest.mark.parametrize("seed", range(3))
def test_objects_of_crowded_targets(seed):
    """Discs beside and over each other, three quarters of them whole, at any place."""
    rng = np.random.default_rng(seed)
    numbers = discs((120, 140), rng.uniform(0, 120, (40, 2)), 8.3)
    found = Instances(min_size=0).objects(Instances().encode({"instances": numbers}))
    right = 0
    names = np.unique(numbers[numbers > 0])
    for number in names:
        inside = numbers == number
        best = np.bincount(found[inside])[1:].argmax() + 1
        right += (inside & (found == best)).sum() > 0.7 * (inside | (found == best)).sum()
    assert right >= 0.75 * len(names)


def test_settings():
    maps = np.zeros((20, 40, 2), "float32")
    maps[5:15, 5:35, 0] = 0.6
    ramp = 1 - np.abs(np.arange(30) - 14.5) / 15
    maps[5:15, 5:35, 1] = np.maximum(np.roll(ramp, 7), np.roll(ramp, -7))[None]
    valley = maps[10, 5:35, 1]
    fall = valley.max() - valley[10:20].min()
    assert 0.35 < fall < 0.45
    assert Instances(prominence=0.35).objects(maps).max() == 2
    assert Instances(prominence=0.45).objects(maps).max() == 1
    assert Instances(0.61).objects(maps).max() == 0
    assert Instances(min_size=150).objects(maps).max() == 2
    assert Instances(min_size=151).objects(maps).max() == 0
    assert Instances(min_size=151).objects(maps, min_size=150).max() == 2
    # A region without a peak is an object, too, and pixels without a number are background.
    maps[..., 1] = 0
    maps[5:15, 7] = np.nan
    found = Instances().objects(maps)
    assert found[10, [5, 7, 8]].tolist() == [1, 0, 2] and found.max() == 2


def test_more_objects_than_16_bits_can_number():
    numbers = np.zeros((520, 520), "int64")
    numbers[::2, ::2] = 1
    maps = np.repeat(numbers[..., None], 2, -1).astype("float32")
    head = Instances(min_size=0)
    found = head.objects(maps)
    assert found.dtype == np.uint32 and found.max() == 67600
    with pytest.raises(ValueError, match="67600 objects are more than a PNG of 16 bits can number"):
        head.stored(maps)


def test_results_and_files():
    head = Instances(min_size=0)
    prediction = np.random.default_rng(0).normal(size=(1, 3, 4, 2)).astype("float32")
    (name, maps), ((about, facts),) = *head.outputs(prediction, None).items(), head.about().items()
    assert name == about == "maps" and facts["prominence"] == head.prominence
    maps = ops.convert_to_numpy(maps)
    np.testing.assert_allclose(maps, 1 / (1 + np.exp(-prediction)), rtol=1e-5)
    np.testing.assert_allclose(head.from_mean(head.to_mean(prediction)), prediction, atol=1e-5)
    target = head.encode({"instances": CELLS})
    stored = head.stored(target)
    assert stored.array.dtype == np.uint16 and stored.palette is None
    assert same_objects(stored.array, CELLS) and stored.facts["objects"] == 6


def test_drawings():
    head = Instances(min_size=0)
    target = head.encode({"instances": np.where(CELLS == 3, -1, CELLS)})
    numbers = head.objects(target)
    drawn = head.draw(target)
    assert drawn.shape == (40, 52, 3) and drawn.dtype == np.uint8
    hatched = drawing.hatch(40, 52)
    np.testing.assert_array_equal(drawn[CELLS == 3], hatched[CELLS == 3])
    assert (drawn[20, 3] == 0).all()
    # Each object has a color of its own inside, and its number's in every image.
    inner = (numbers > 0) & ~drawing.outlines(numbers)
    assert len(np.unique(drawn[inner], axis=0)) == len(np.unique(numbers[inner]))
    np.testing.assert_array_equal(drawn[12, 12], drawing.number_colors(np.array([[2]]))[0, 0])
    np.testing.assert_array_equal(head.draw(numbers)[numbers > 0], drawn[numbers > 0])
    assert len(np.unique(drawing.number_colors(np.arange(301)[None])[0], axis=0)) > 250
    image = np.full((40, 52, 3), 100, "uint8")
    over = head.overlay(target, image)
    assert over.dtype == np.uint8 and (over[20, 3] == 100).all()
    assert (over[12, 12] != 100).any() and head.legend() == []


def test_errors():
    head = Instances(min_size=0)
    found = CELLS.copy()
    found[CELLS == 2], found[CELLS == 3] = 3, 3  # Two were taken for one.
    found[30:34, 10:14] = 77
    found[37, 3] = 0
    truth = head.encode({"instances": np.where(CELLS == 4, -1, CELLS)})
    drawn = head.error(truth, found)
    wrong = (drawn == drawing.WRONG).all(-1)
    expected = np.isin(CELLS, (2, 3, 9)) | (found == 77)
    # Of two objects in one, the larger may be more than half of it.
    assert not wrong[np.isin(CELLS, (1, 5))].any() and not wrong[(CELLS == 0) & (found == 0)].any()
    assert wrong[31, 11] and wrong[37, 3] and wrong[CELLS == 3].any() and expected[wrong].all()
    hatched = drawing.hatch(40, 52)
    np.testing.assert_array_equal(drawn[CELLS == 4], hatched[CELLS == 4])


def test_contract_of_a_model(backbone):
    heads = {"cells": Instances(), "labels": kd.heads.Segmentation(3)}
    model = kd.assemble(backbone, lambda features: features["P5"], heads)
    check_model(model, heads, sizes=((65, 97),))


@pytest.mark.everywhere
def test_learns_in_fit():
    """Two 3×3 convolutions read both maps off images that show them."""
    head = Instances()
    target = head.encode({"instances": CELLS})
    image = np.stack([np.nan_to_num(target), np.nan_to_num(target)])
    inputs = keras.Input((None, None, 2))
    model = keras.Model(inputs, layers.Conv2D(2, 1)(inputs))
    model.compile(keras.optimizers.Adam(0.3), **kd.objectives(head))
    targets = np.stack([target, target])
    targets[0, :9] = np.nan
    history = model.fit(image, targets, epochs=60, verbose=0).history
    assert history["foreground_iou"][-1] > 0.99 and history["distance_error"][-1] < 0.1
    found = head.objects(ops.convert_to_numpy(head.decode(model(image)))[0])
    assert same_objects(np.where(CELLS == 9, 0, found), np.where(CELLS == 9, 0, CELLS))


def test_config_round_trip():
    loss = kd.losses.InstanceCrossEntropy(0.5)
    head = Instances(0.4, prominence=0.2, min_size=3, loss=loss, weight=0.5, target="nuclei")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(head))
    assert again.get_config() == head.get_config()
    assert again.loss.distance_weight == 0.5
    assert isinstance(Instances().loss, kd.losses.InstanceCrossEntropy)
    aux = kd.heads.Auxiliary(head)
    assert aux.min_size == 3 and aux.objects(head.encode({"nuclei": CELLS})).max() == 5


def test_bad_arguments():
    for threshold in (0, 1, "half"):
        with pytest.raises(ValueError, match="`threshold` must be a number > 0 and < 1"):
            Instances(threshold)
    with pytest.raises(ValueError, match="`prominence` must be a number > 0"):
        Instances(prominence=0)
    with pytest.raises(ValueError, match="`min_size` must be an integer >= 0"):
        Instances(min_size=-1)
    head = Instances()
    with pytest.raises(KeyError, match="has no 'instances'.*'image'"):
        head.encode({"image": 0})
    with pytest.raises(ValueError, match=r"`instances` must have shape \(height, width\)"):
        head.encode({"instances": np.zeros((3, 4, 3), int)})
    with pytest.raises(ValueError, match="`instances` must be whole numbers"):
        head.encode({"instances": np.full((3, 4), 0.5)})
    with pytest.raises(ValueError, match=r"`result` must be maps of shape \(height, width, 2\)"):
        head.objects(np.zeros((3, 4, 3)))
    with pytest.raises(ValueError, match="`min_size` must be an integer >= 0"):
        head.objects(np.zeros((3, 4, 2)), min_size=-1)
    with pytest.raises(ValueError, match="from 0 to 1. Received: 0 to 3"):
        head.check_targets(np.array([0.0, 3.0, np.nan]))
    with pytest.raises(TypeError, match="Depth predicts no numbered objects"):
        kd.heads.Depth().objects(np.zeros((3, 4, 1)))
    with pytest.raises(ValueError, match="`separate` must be True or False"):
        kd.datasets.instances("nuclei", separate="no")


def test_bad_environments(monkeypatch):
    head, target = Instances(), Instances().encode({"instances": CELLS})
    monkeypatch.setitem(sys.modules, "skimage.morphology", None)
    with pytest.raises(ImportError, match=r"pip install keras_dense\[objects\]"):
        head.objects(target)
    monkeypatch.setitem(sys.modules, "scipy.ndimage", None)
    with pytest.raises(ImportError, match=r"pip install keras_dense\[objects\]"):
        head.encode({"instances": CELLS})

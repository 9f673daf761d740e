"""The contract of all segmentation losses, tested on each."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_dense import losses
from keras_dense.losses.contract import DenseLoss
from keras_dense.testing import check_loss
from keras_dense.testing.expect import value_and_gradient

from . import reference

# Neighbors matter to these: a row that is there twice is not a row of double weight.
SPATIAL = [losses.Boundary, losses.ClDice, losses.Hausdorff]
FEW = [*SPATIAL, losses.GeneralizedDice, losses.MatthewsCorrelation]
CLASSES = [
    losses.CrossEntropy,
    losses.Dice,
    losses.Focal,
    losses.GeneralizedDice,
    losses.Jaccard,
    losses.Lovasz,
    losses.MatthewsCorrelation,
    losses.OhemCrossEntropy,
    losses.Tversky,
    *SPATIAL,
]
# What a target may be and which pixels count is code of all of them: one shows it on every backend.
FIRST = pytest.param(CLASSES[0], marks=pytest.mark.everywhere)
EVERY = pytest.mark.parametrize("cls", [FIRST, *CLASSES[1:]], ids=lambda c: c.__name__)
# The other modes of the newer ones share their code with the first, or with Dice.
CONTRACTS = [
    pytest.param(cls, mode, marks=[pytest.mark.exhaustive] * (mode != "multiclass" and cls in FEW))
    for cls in CLASSES
    for mode in ("multiclass", "binary", "multilabel")
]
MODES = pytest.mark.parametrize("mode", ["multiclass", "binary", "multilabel"])


def made(cls, **config):
    """A loss that no option keeps from being any other pixel's sum."""
    return cls(ratio=1.0, **config) if cls is losses.OhemCrossEntropy else cls(**config)


@pytest.mark.parametrize("cls, mode", CONTRACTS)
def test_contract(cls, mode):
    labels, logits = reference.batch(mode, void=False)
    check_loss(cls(mode=mode), labels, logits)


def test_contract_of_a_sum():
    labels, logits = reference.batch(void=False)
    check_loss(losses.Sum([losses.CrossEntropy(), losses.Dice()], [0.3, 2.0]), labels, logits)


@EVERY
def test_every_form_of_a_target_is_the_same(cls):
    labels, logits = reference.batch()
    loss = made(cls, class_weight=[1.0, 2.0, 3.0, 0.5])
    hot = np.eye(4)[np.where(labels == 255, 0, labels)] * (labels != 255)[..., None]
    value = float(loss(labels, logits))
    forms = [labels[..., None], hot, labels.astype("uint8"), labels.astype("int64"), hot > 0]
    for form in forms:
        assert float(loss(form, logits)) == pytest.approx(value, rel=1e-6)
    for tensor in (ops.convert_to_tensor(labels), ops.convert_to_tensor(hot, dtype="float32")):
        assert float(loss(tensor, logits)) == pytest.approx(value, rel=1e-6)
    binary = made(cls, mode="binary")
    labels, logits = reference.batch("binary")
    assert float(binary(labels, logits)) == pytest.approx(float(binary(labels[..., None], logits)))


@EVERY
def test_ignore_class_may_be_a_class_or_negative_or_none(cls):
    labels, logits = reference.batch(void=False)
    value = float(made(cls, ignore_class=0)(labels, logits))
    assert float(made(cls)(np.where(labels == 0, 255, labels), logits)) == pytest.approx(value)
    assert float(made(cls, ignore_class=0)(np.eye(4)[labels], logits)) == pytest.approx(value)
    negative = np.where(labels == 0, -1, labels)
    assert float(made(cls, ignore_class=-1)(negative, logits)) == pytest.approx(value)
    whole = float(made(cls)(labels, logits))
    assert float(made(cls, ignore_class=None)(labels, logits)) == pytest.approx(whole)


@EVERY
def test_weights_of_pixels(cls):
    """Weights are relative; those of an image count for its pixels; a large one counts double."""
    labels, logits = reference.batch()
    loss = made(cls)
    value = float(loss(labels, logits))
    assert float(loss(labels, logits, np.full((2, 5, 7), 3.0))) == pytest.approx(value, rel=1e-5)
    first = float(loss(labels[:1], logits[:1]))
    for shape in [(2,), (2, 1), (2, 1, 1), (2, 1, 1, 1)]:
        weight = np.array([1.0, 0.0]).reshape(shape)
        assert float(loss(labels, logits, weight)) == pytest.approx(first, rel=1e-5)
    if cls is losses.OhemCrossEntropy or cls in SPATIAL:
        return
    weight = np.ones((2, 5, 7))
    weight[:, :2] = 2.0
    twice = [np.concatenate([x, x[:, :2]], axis=1) for x in (labels, logits)]
    assert float(loss(labels, logits, weight)) == pytest.approx(float(loss(*twice)), rel=1e-5)


@EVERY
@MODES
def test_labels_of_no_class(cls, mode):
    """NumPy targets raise; tensors make the number NaN and leave the gradient as if void."""
    labels, logits = reference.batch(mode, void=False)
    wrong = labels.copy()
    wrong[0, 0, 0] = 37
    with pytest.raises(ValueError, match=r"Received: y_true with \[37"):
        cls(mode=mode)(wrong, logits)
    loss = cls(mode=mode)
    assert np.isnan(float(loss(ops.convert_to_tensor(wrong), logits)))
    value, gradient = value_and_gradient(loss, wrong, logits)
    assert np.isnan(value)
    _, void = value_and_gradient(loss, np.where(wrong == 37, 255, wrong), logits)
    np.testing.assert_allclose(gradient, void, atol=1e-6)


@pytest.mark.parametrize("value", [-1, 4, 1.5, np.nan])
def test_what_is_no_label(value):
    labels, logits = reference.batch(void=False)
    labels = labels.astype("float32")
    labels[0, 0, 0] = value
    with pytest.raises(ValueError, match="labels from 0 to 3 .4 classes."):
        losses.CrossEntropy()(labels, logits)
    assert np.isnan(float(losses.CrossEntropy()(ops.convert_to_tensor(labels), logits)))


def test_rows_that_are_not_one_hot():
    _, logits = reference.batch()
    hot = np.ones((2, 5, 7, 4), "float32")
    assert np.isnan(float(losses.CrossEntropy()(ops.convert_to_tensor(hot), logits)))


@EVERY
@MODES
def test_void_only_batches_at_extreme_logits(cls, mode):
    labels, logits = reference.batch(mode)
    labels[:] = 255
    value, gradient = value_and_gradient(cls(mode=mode), labels, logits * 1e4)
    assert value == 0.0
    assert not gradient.any()


@EVERY
def test_shapes_that_do_not_fit(cls):
    labels, logits = reference.batch()
    loss = cls()
    with pytest.raises(ValueError, match="as many channels as `y_pred`, 4"):
        loss(np.zeros((2, 5, 7, 3)), logits)
    with pytest.raises(ValueError, match="same size"):
        loss(labels[:, 1:], logits)
    with pytest.raises(ValueError, match=r"integer labels \(B, H, W\) or one-hot"):
        loss(labels[0, 0], logits)
    with pytest.raises(ValueError, match="mode='binary'"):
        loss(labels, logits[..., :1])
    with pytest.raises(ValueError, match=r"one channel with mode='binary'"):
        cls(mode="binary")(labels, logits)
    with pytest.raises(ValueError, match="`class_weight` must have 4 numbers"):
        cls(class_weight=[1, 2])(labels, logits)
    with pytest.raises(ValueError, match="`sample_weight` must have shape"):
        loss(labels, logits, np.ones((2, 5, 6)))


@EVERY
def test_bad_options(cls):
    with pytest.raises(ValueError, match="`mode` must be one of"):
        cls(mode="softmax")
    with pytest.raises(ValueError, match="`ignore_class` must be an integer"):
        cls(ignore_class="void")
    with pytest.raises(ValueError, match="`ignore_class` must be an integer"):
        cls(ignore_class=2.5)
    with pytest.raises(ValueError, match="both are labels"):
        cls(mode="binary", ignore_class=0)
    with pytest.raises(ValueError, match="numbers >= 0"):
        cls(class_weight=[1, -1])
    with pytest.raises(ValueError, match="not all of them 0"):
        cls(class_weight=[0, 0])
    with pytest.raises(ValueError, match="not a dict"):
        cls(class_weight={0: 1.0})
    with pytest.raises(ValueError, match="one for each class"):
        cls(class_weight=2.0)


def test_class_weight_of_a_binary_overlap_is_refused():
    overlaps = (losses.Dice, losses.Jaccard, losses.Tversky, losses.Lovasz)
    for cls in (*overlaps, losses.MatthewsCorrelation, *SPATIAL):
        with pytest.raises(ValueError, match="only the foreground is scored"):
            cls(mode="binary", class_weight=[1, 2])


def test_subclasses_need_a_formula():
    labels, logits = reference.batch()
    with pytest.raises(TypeError, match="must implement compute"):
        DenseLoss()(labels, logits)


@pytest.mark.everywhere
def test_fit_with_varying_sizes_and_every_loss():
    """One model, all losses, two image sizes, weighted metrics: as a user trains."""
    from keras_dense.metrics import ConfusionMatrix

    model = keras.Sequential([keras.Input((None, None, 4)), keras.layers.Conv2D(4, 1)])
    # The newer ones, which take long to compile, are trained like this in test_spatial.py.
    loss = losses.Sum([made(cls) for cls in CLASSES if cls not in FEW])
    model.compile("sgd", loss=loss, metrics=[ConfusionMatrix(4)])
    for shape in [(2, 5, 7), (1, 6, 3)]:
        labels, images = reference.batch(shape=shape)
        values = model.train_on_batch(images, labels, return_dict=True)
        assert np.isfinite(values["loss"])
        assert 0.0 <= values["mean_iou"] <= 1.0

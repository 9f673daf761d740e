"""tf.data, torch and grain give the batches of the loader, epoch after epoch."""

import multiprocessing
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import tree

import keras_dense as kd
from keras_dense.datasets import (
    ClassMix,
    Loader,
    Mixed,
    as_grain,
    as_tf_data,
    as_torch,
    scenes,
    transforms,
)
from keras_dense.training import SampledPixels, TwoViews

WORLD = scenes(10, size=(24, 32), seed=1)
HEADS = {
    "labels": kd.heads.Segmentation(8),
    "depth": kd.heads.Depth(),
    "normals": kd.heads.Normals(),
    "color": kd.heads.Colorization(),
}


def made(kind="plain", world=WORLD, heads=HEADS, **settings):
    """Batches with random crops, in random order, with a last batch of two samples."""
    augment = [transforms.RandomCrop(16), transforms.RandomFlip(), transforms.ColorJitter()]
    settings = {"shuffle": True, "drop_last": False, "seed": 7, "transforms": augment} | settings
    loader = Loader(world, heads, 4, **settings)
    if kind == "mixed":
        return Mixed(loader, ClassMix())
    if kind == "views":
        return TwoViews(loader, strong=[transforms.Noise(9)], mix=ClassMix())
    return SampledPixels(loader, 20) if kind == "pixels" else loader


def weighted():
    world = [
        {**sample, "weight": np.full((24, 32), i, "float32")} for i, sample in enumerate(WORLD)
    ]
    return made(world=world)


def arrays(batches):
    return [tree.map_structure(np.array, batch) for batch in batches]


def same(found, wanted):
    assert len(found) == len(wanted)
    for one, two in zip(found, wanted, strict=True):
        tree.assert_same_structure(one, two)
        for a, b in zip(tree.flatten(one), tree.flatten(two), strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


MAKERS = {
    "one head": lambda: made(heads=kd.heads.Segmentation(8)),
    "four heads": made,
    "no heads": lambda: made(heads=None),
    "weights": weighted,
    "padded": lambda: made(pad=8, transforms=[transforms.RandomScale(0.5, 1.2)]),
    "no threads": lambda: made(workers=0),
    "mixed": lambda: made("mixed"),
    "views": lambda: made("views"),
    "pixels": lambda: made("pixels"),
    "together": lambda: Loader(
        kd.datasets.together(kd.datasets.subset(WORLD, 3), WORLD, shares=(1, 3)),
        HEADS,
        4,
        shuffle=True,
        missing="unknown",
    ),
}
ALL = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
SOME = pytest.mark.parametrize(
    "make", [MAKERS[k] for k in ("four heads", "padded", "mixed", "views")]
)
pytestmark = pytest.mark.filterwarnings("ignore:The first weak sample has a label")


def epochs(batches, count=3):
    return [arrays(batches) for _ in range(count)]


@ALL
@pytest.mark.once
def test_tf_data(make):
    pytest.importorskip("tensorflow")
    wanted = epochs(make())
    loader = make()
    data = as_tf_data(loader)
    assert len(data) == len(loader)
    assert loader.epoch == 0
    for epoch, batches in enumerate(wanted):
        same(arrays(data), batches)
        assert loader.epoch == epoch + 1
        next(iter(data))  # an iteration that ends early is none
        assert loader.epoch == epoch + 1


@pytest.mark.once
def test_static_shapes_of_tf_data():
    pytest.importorskip("tensorflow")
    images, labels = as_tf_data(made(heads=kd.heads.Segmentation(8))).element_spec
    assert images.shape.as_list() == [None, 16, 16, 3] and labels.shape.as_list() == [None, 16, 16]
    images, _ = as_tf_data(made(drop_last=True)).element_spec
    assert images.shape.as_list() == [4, 16, 16, 3]
    images, _ = as_tf_data(MAKERS["padded"]()).element_spec
    assert images.shape.as_list() == [None, None, None, 3]


@ALL
@pytest.mark.once
def test_torch(make):
    torch = pytest.importorskip("torch")
    wanted = epochs(make())
    loader = make()
    data = as_torch(loader)
    assert len(data) == len(loader)
    state = torch.random.get_rng_state()
    for epoch, batches in enumerate(wanted):
        next(iter(data))
        assert loader.epoch == epoch
        same(arrays(data), batches)
    assert torch.equal(torch.random.get_rng_state(), state)


@SOME
@pytest.mark.once
@pytest.mark.parametrize("persistent", [False, True])
def test_processes_of_torch(make, persistent):
    pytest.importorskip("torch")
    wanted = epochs(make(), 2)
    loader = make()
    next(iter(loader))  # its threads are running when processes start
    data = as_torch(loader, workers=2, persistent_workers=persistent)
    next(iter(data))  # reads ahead, to the end of the epoch
    assert loader.epoch == 0
    for batches in wanted:
        same(arrays(data), batches)
    assert loader.epoch == 2


@pytest.mark.once
@pytest.mark.exhaustive
def test_processes_that_do_not_inherit():
    pytest.importorskip("torch")
    wanted = epochs(made(), 1)[0]
    context = multiprocessing.get_context("spawn")
    same(arrays(as_torch(made(), workers=1, multiprocessing_context=context)), wanted)


@ALL
@pytest.mark.once
def test_grain(make):
    pytest.importorskip("grain")
    wanted = sum(epochs(make(), 2), [])
    loader = make()
    data = as_grain(loader, epochs=2)
    same(arrays(data), wanted)
    assert loader.epoch == 0
    same(arrays(data), wanted)
    iterator = iter(data)
    for _ in range(2):
        next(iterator)
    state = iterator.get_state()
    other = iter(as_grain(make(), epochs=2))
    other.set_state(state)
    same(arrays(other), wanted[2:])


@pytest.mark.once
@pytest.mark.exhaustive
def test_processes_of_grain():
    pytest.importorskip("grain")
    code = """
import sys
import grain
import numpy as np
from tests.datasets.test_adapters import as_grain, epochs, made, same
if __name__ == "__main__":
    from absl import app
    def main(_):
        wanted = sum(epochs(made(), 2), [])
        data = as_grain(made(), epochs=2).mp_prefetch(grain.MultiprocessingOptions(num_workers=2))
        same(list(data), wanted)
        print("same")
    app.run(main)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "same", done.stderr[-2000:]


@pytest.mark.once
def test_a_continued_run():
    pytest.importorskip("tensorflow")
    pytest.importorskip("torch")
    whole = epochs(made(), 3)
    for give in (as_tf_data, as_torch, lambda loader: as_torch(loader, workers=1)):
        loader = made()
        loader.resume(1, 2)
        data = give(loader)
        same(arrays(data), whole[1][2:] + whole[2][:2])
        assert loader.clock.first == 2 and loader.epoch == 2
    loader = made(epoch=1)
    if "grain" in sys.modules:
        same(arrays(as_grain(loader, 1)), whole[1])


class Seen(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self.epochs = []

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(float(logs["loss"]))


def losses(data, **settings):
    """Losses of `fit` that depend on every image of an epoch, in any order."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(8, 1)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)
    model.compile(keras.optimizers.SGD(1e-6), loss)
    seen = Seen()
    model.fit(data, epochs=2, verbose=0, shuffle=False, callbacks=[seen], **settings)
    return seen.epochs


@pytest.mark.everywhere
def test_fit_sees_the_same_batches():
    def loader():
        return made(heads=kd.heads.Segmentation(8))

    wanted = losses(loader())
    assert wanted[0] != wanted[1]
    found = {}
    for name, give in (("tensorflow", as_tf_data), ("torch", as_torch)):
        try:
            __import__(name)
        except ImportError:
            continue
        found[name] = losses(give(loader()))
    try:
        import grain  # noqa: F401
    except ImportError:
        pass
    else:
        one = loader()
        found["grain"] = losses(as_grain(one, epochs=2), steps_per_epoch=len(one))
    for name, values in found.items():
        np.testing.assert_allclose(values, wanted, rtol=1e-5, err_msg=name)


def test_bad_arguments(monkeypatch):
    for give in (as_tf_data, as_torch, lambda data: as_grain(data, 1)):
        with pytest.raises(TypeError, match="`loader` must be a kd.datasets.Loader, or made from"):
            give(WORLD)
    with pytest.raises(TypeError, match="what the loader decides. Received: shuffle, batch_size"):
        as_torch(made(), shuffle=True, batch_size=3)
    with pytest.raises(ValueError, match="`workers` must be an integer >= 0"):
        as_torch(made(), workers=-1)
    with pytest.raises(ValueError, match="`epochs` must be an integer >= 1"):
        as_grain(made(), 0)
    for name, give in (
        ("tensorflow", as_tf_data),
        ("torch", as_torch),
        ("grain", lambda data: as_grain(data, 1)),
    ):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            with pytest.raises(ImportError, match=rf"pip install keras_dense\[{name}\]"):
                give(made())


@pytest.mark.once
def test_a_faulty_sample_is_named_by_processes_too():
    pytest.importorskip("torch")

    class Faulty(list):
        name = "faulty"

    data = Faulty([{"image": np.zeros((4, 4, 3), "float32")}] * 3)
    loader = Loader(data, None, 1)
    with pytest.raises(ValueError, match="sample 0 of faulty: .*uint8"):
        next(iter(as_torch(loader, workers=1)))

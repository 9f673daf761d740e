"""Loader: each sample once per epoch, reproducible on every backend, with helpful errors."""

import gc
import pickle
import threading
import time
import warnings
import weakref

import keras
import numpy as np
import pytest

from keras_dense import heads
from keras_dense.datasets import Loader, cached, camvid, scenes, subset, transforms
from keras_dense.datasets.sample import pixel_keys
from keras_dense.heads import Segmentation
from keras_dense.losses.weighted import MapLoss, safe_divide
from keras_dense.training import DynamicWeightAverage, LogSum, UncertaintyWeighting, balanced


class Head(heads.Head):
    """A stub whose target is an array of the sample."""

    def __init__(self, key="segmentation"):
        self.target = key

    def encode(self, sample):
        return sample[self.target]


class Numbered:
    """Samples that contain their index."""

    name = "numbered"

    def __init__(self, count, size=(4, 6)):
        self.count, self.size = count, size

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        height, width = self.size(i) if callable(self.size) else self.size
        return {
            "image": np.full((height, width, 3), i, np.uint8),
            "segmentation": np.full((height, width), i % 3, np.uint8),
            "depth": np.ones((height, width, 1), np.float32),
        }


def seen(batches):
    return [batch[0][:, 0, 0, 0].tolist() for batch in batches]


def flat(lists):
    return [i for part in lists for i in part]


def test_batches_and_targets():
    images, targets = Loader(Numbered(5), Head(), 2)[1]
    assert images.shape == (2, 4, 6, 3) and images.dtype == np.uint8
    np.testing.assert_array_equal(targets[:, 0, 0], [2, 0])
    heads = {"labels": Head(), "meters": Head("depth")}
    loader = Loader(Numbered(5), heads, 2)
    assert len(loader) == 3
    images, targets = loader[2]
    assert images.shape[0] == 1 and set(targets) == {"labels", "meters"}
    assert targets["meters"].shape == (1, 4, 6, 1)
    (images,) = Loader(Numbered(3), None, 3)[0]
    assert images.shape[0] == 3
    assert len(Loader(Numbered(5), None, 2, drop_last=True)) == 2
    assert len(Loader(Numbered(5), None, 2, shuffle=True)) == 2
    assert len(Loader(Numbered(5), None, 2, shuffle=True, drop_last=False)) == 3


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_each_sample_once_and_reshuffled(workers):
    loader = Loader(Numbered(20), Head(), 4, shuffle=True, seed=5, workers=workers)
    epochs = [flat(seen(loader)) for _ in range(3)]
    assert all(sorted(e) == list(range(20)) for e in epochs)
    assert epochs[0] != epochs[1] != epochs[2] and loader.epoch == 3
    again = Loader(Numbered(20), Head(), 4, shuffle=True, seed=5)
    assert [flat(seen(again)) for _ in range(3)] == epochs
    other = Loader(Numbered(20), Head(), 4, shuffle=True, seed=6)
    assert flat(seen(other)) != epochs[0]
    resumed = Loader(Numbered(20), Head(), 4, shuffle=True, seed=5, epoch=2)
    assert flat(seen(resumed)) == epochs[2]
    again.epoch = 1
    assert flat(seen(again)) == epochs[1]
    again.epoch = 0
    assert flat(again.indices(b).tolist() for b in range(5)) == epochs[0]


def test_augmentation_depends_on_seed_epoch_and_sample_only():
    ds = scenes(count=6, size=32)
    augment = [transforms.RandomCrop(16), transforms.RandomFlip()]

    def images_of(loader):
        out = {}
        for batch in range(len(loader)):
            index = loader.indices(batch)
            for i, image in zip(index, loader[batch][0], strict=True):
                out[int(i)] = image
        return out

    one = images_of(Loader(ds, Head(), 2, transforms=augment, shuffle=True, workers=0))
    two = images_of(Loader(ds, Head(), 3, transforms=augment, workers=3))
    for i in range(6):
        np.testing.assert_array_equal(one[i], two[i])
    later = images_of(Loader(ds, Head(), 3, transforms=augment, epoch=1))
    assert any((later[i] != one[i]).any() for i in range(6))


def test_workers_are_threads_that_work_at_once_and_ahead():
    class Slow(Numbered):
        threads = set()
        busy = most = 0
        lock = threading.Lock()

        def __getitem__(self, i):
            with self.lock:
                self.threads.add(threading.get_ident())
                self.busy += 1
                self.most = max(self.most, self.busy)
            time.sleep(0.01)
            with self.lock:
                self.busy -= 1
            return super().__getitem__(i)

    ds = Slow(24)
    loader = Loader(ds, Head(), 4, workers=4)
    assert flat(seen(loader)) == list(range(24))
    assert 2 <= ds.most <= 4 and threading.get_ident() not in ds.threads


def test_threads_end_with_the_loader():
    loader = Loader(Numbered(8), None, 2)
    loader[0]
    gone = weakref.ref(loader)
    del loader
    gc.collect()
    assert gone() is None


def test_pickles():
    loader = Loader(Numbered(8), Head(), 2, shuffle=True, epoch=3)
    loader[0]
    again = pickle.loads(pickle.dumps(loader))
    assert again.epoch == 3 and seen(again) == seen(loader)


@pytest.mark.parametrize("pad", [False, True])
def test_different_sizes(pad):
    ds = Numbered(6, size=lambda i: (4 + i % 3, 10 - i % 3))
    if not pad:
        with pytest.raises(
            ValueError,
            match="batch 0 has images of different sizes: 4 x 10, 5 x 9, 6 x 8 .*pad=True",
        ):
            Loader(ds, Head(), 3)[0]
        return
    loader = Loader(ds, Head(), 3, pad=True)
    images, labels = loader[0]
    assert images.shape == (3, 6, 10, 3) and labels.shape == (3, 6, 10)
    assert (labels[1, 5:] == 255).all() and (labels[1, :, 9:] == 255).all()
    assert (images[1][labels[1] == 255] == (124, 116, 104)).all()
    assert (labels[1, :5, :9] == 1).all()
    # The second batch has other sizes so that TensorFlow learns that sizes differ.
    assert loader[1][0].shape == (3, 7, 11, 3)
    assert Loader(ds, Head(), 3, pad=8)[1][0].shape == (3, 8, 24, 3)


def model(classes=3):
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    outputs = keras.layers.Conv2D(classes, 1)(x)
    net = keras.Model(inputs, outputs)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)
    net.compile("sgd", loss)
    return net


@pytest.mark.everywhere
def test_fit_sees_each_sample_once_an_epoch():
    """Workers of Keras would replay batches; batches that Keras inspects do not count."""
    calls = []

    class Recorded(Loader):
        def __getitem__(self, batch):
            calls.append((self.epoch, batch, tuple(self.indices(batch))))
            return super().__getitem__(batch)

    train = Recorded(Numbered(24), Head(), 4, shuffle=True, seed=1)
    val = Loader(Numbered(6), Head(), 4)
    net = model()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        history = net.fit(train, validation_data=val, epochs=3, shuffle=False, verbose=0)
    assert len(history.history["loss"]) == 3 and len(history.history["val_loss"]) == 3
    assert train.epoch == 3
    for epoch in range(3):
        wanted = Loader(Numbered(24), Head(), 4, shuffle=True, seed=1, epoch=epoch)
        mine = [(b, i) for e, b, i in calls if e == epoch]
        # TensorFlow looks at two batches, JAX and torch at one, before the first epoch.
        assert mine[-6:] == [(b, tuple(wanted.indices(b))) for b in range(6)]
        assert len(mine) <= 6 + (2 if epoch == 0 else 0)


@pytest.mark.everywhere
def test_resumed_fit_equals_unbroken_fit():
    def run(net, epochs, first=0):
        loader = Loader(
            Numbered(12), Head(), 4, shuffle=True, transforms=transforms.RandomCrop(3), epoch=first
        )
        net.fit(loader, epochs=epochs, initial_epoch=first, shuffle=False, verbose=0)
        return [w.copy() for w in net.get_weights()]

    keras.utils.set_random_seed(3)
    unbroken = run(model(), 4)
    keras.utils.set_random_seed(3)
    net = model()
    run(net, 2)
    resumed = run(net, 4, first=2)
    for a, b in zip(unbroken, resumed, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_fit_warns_if_keras_shuffles_too():
    with pytest.warns(UserWarning, match="give shuffle=False to fit"):
        model().fit(Loader(Numbered(40), Head(), 2, shuffle=True), verbose=0)


@pytest.mark.everywhere
def test_fit_on_varying_sizes_and_a_dict_of_heads():
    ds = Numbered(8, size=lambda i: (4, 6) if i < 4 else (5 + i, 9))
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    outputs = {
        "labels": keras.layers.Conv2D(3, 1, name="labels")(x),
        "meters": keras.layers.Conv2D(1, 1, name="meters")(x),
    }
    net = keras.Model(inputs, outputs)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)
    net.compile("sgd", {"labels": loss, "meters": "mse"})
    loader = Loader(ds, {"labels": Head(), "meters": Head("depth")}, 2, pad=True)
    history = net.fit(loader, epochs=2, shuffle=False, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    predicted = net.predict(Loader(Numbered(4), None, 2), verbose=0)
    assert predicted["labels"].shape == (4, 4, 6, 3)


class Weighted(Numbered):
    """Sample i has weight i + 1 at each pixel."""

    def __getitem__(self, i):
        sample = super().__getitem__(i)
        return {**sample, "weight": np.full(sample["image"].shape[:2], i + 1, "float64")}


@pytest.mark.everywhere
def test_weights_go_with_the_targets():
    images, targets, weights = Loader(Weighted(3), Head(), 2)[1]
    assert weights.dtype == np.float32 and weights.shape == targets.shape == (1, 4, 6)
    heads = {"labels": Head(), "meters": Head("depth")}
    images, targets, weights = Loader(Weighted(3), heads, 2)[0]
    assert set(weights) == set(targets)
    np.testing.assert_array_equal(weights["meters"][:, 0, 0], [1, 2])
    assert len(Loader(Weighted(3), None, 2)[0]) == 1


def test_weights_move_with_the_image():
    crop = transforms.RandomCrop((6, 6))
    _, targets, weights = Loader(Weighted(2), Head(), 2, transforms=crop)[0]
    np.testing.assert_array_equal(weights == 0, targets == 255)
    assert (weights == 0).sum() == 2 * 2 * 6
    padded = Loader(Weighted(4, size=lambda i: (4 + i, 6)), Head(), 2, pad=True)
    _, targets, weights = padded[0]
    np.testing.assert_array_equal(weights == 0, targets == 255)


def test_weights_of_all_samples_or_none():
    class Some(Weighted):
        def __getitem__(self, i):
            sample = super().__getitem__(i)
            return sample if i else {k: v for k, v in sample.items() if k != "weight"}

    loader = Loader(Some(4), Head(), 2, workers=0)
    assert len(loader[1]) == 3
    with pytest.raises(ValueError, match="1 of the 2 samples in batch 0 have a 'weight'"):
        loader[0]
    bad = Weighted(2)
    broken = [{**bad[i], "weight": np.ones((3, 6))} for i in range(2)]
    with pytest.raises(ValueError, match="'weight' is 3 x 6 pixels"):
        Loader(broken, Head(), 2, workers=0)[0]


def test_errors_name_the_sample():
    class Broken(Numbered):
        def __getitem__(self, i):
            if i == 5:
                raise KeyError("what")
            return super().__getitem__(i)

        def describe(self, i):
            return f"image{i}.png"

    with pytest.raises(RuntimeError, match=r"sample 5 \(image5.png\): 'what'"):
        list(Loader(Broken(8), Head(), 4))

    def torn(sample, rng):
        return {**sample, "segmentation": sample["segmentation"][:1]}

    with pytest.raises(ValueError, match="sample 0 of numbered: after torn: 'segmentation' is 1 x"):
        Loader(Numbered(8), Head(), 4, transforms=torn)[0]
    with pytest.raises(TypeError, match="sample 0: sample: must be a dict with the key 'image'"):
        Loader([1, 2], None, 2)[0]
    with pytest.raises(Exception, match=r"sample 5 \(image5.png\)"):  # through each backend
        model().fit(Loader(Broken(8), Head(), 4), shuffle=False, verbose=0)


def test_targets_of_different_shapes():
    class Odd(heads.Head):
        def __init__(self):
            self.target = "segmentation"

        def encode(self, sample):
            return np.zeros(int(sample["image"][0, 0, 0]) + 1)

    with pytest.raises(ValueError, match="targets of 'the head' have different shapes"):
        Loader(Numbered(2), Odd(), 2)[0]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "`batch_size` must be an integer >= 1.*batch_size=0"),
        ({"batch_size": 2.0}, ValueError, "`batch_size` must be an integer"),
        ({"seed": -1}, ValueError, "`seed` must be an integer >= 0"),
        ({"epoch": -1}, ValueError, "`epoch` must be an integer >= 0"),
        ({"workers": -1}, ValueError, "`workers` must be an integer >= 0"),
        ({"pad": -4}, ValueError, "`pad` must be an integer >= 1"),
        ({"batch_size": 9, "drop_last": True}, ValueError, "at least one batch.*: 4 samples"),
        ({"dataset": []}, ValueError, "at least one batch.*: 0 samples"),
        ({"dataset": iter([])}, TypeError, "`dataset` must have __len__"),
        ({"heads": [Head()]}, TypeError, "`heads` must be a head"),
        ({"heads": {"a": 3}}, TypeError, "`heads` must be a head .*Received: 3"),
        ({"transforms": [None]}, TypeError, r"transforms\[0\]=None"),
    ],
)
def test_bad_arguments(arguments, error, message):
    arguments = {"dataset": Numbered(4), "heads": Head(), "batch_size": 2, **arguments}
    with pytest.raises(error, match=message):
        Loader(**arguments)


def test_batch_out_of_range():
    with pytest.raises(IndexError, match="batch 2 of 2"):
        Loader(Numbered(4), None, 2)[2]


def test_real_camvid(shared_data):
    ds = subset(camvid(shared_data / "camvid", "train"), 8)
    augment = [transforms.RandomScale(0.5, 2), transforms.RandomCrop(128), transforms.RandomFlip()]
    net = model(11)
    loader = Loader(ds, Head(), 4, transforms=augment, shuffle=True)
    history = net.fit(loader, epochs=2, shuffle=False, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


class Partial(Numbered):
    """Sample i has labels if i is even, and depth if i is a multiple of 3; all have intrinsics."""

    def __getitem__(self, i):
        sample = super().__getitem__(i)
        lacking = {"segmentation": i % 2, "depth": i % 3}
        sample = {key: value for key, value in sample.items() if not lacking.get(key)}
        return {**sample, "intrinsics": np.eye(3)}


class AbsoluteError(MapLoss):
    """Mean absolute difference where the target is finite and above 0."""

    def known(self, y_true):
        return keras.ops.logical_and(keras.ops.isfinite(y_true), y_true > 0)

    def compute(self, y_true, y_pred, weight):
        return safe_divide(
            keras.ops.sum(weight * keras.ops.abs(y_true - y_pred)), keras.ops.sum(weight)
        )


class Meters(Head):
    """A head of another task, with the methods for loading and training."""

    loss, weight = AbsoluteError(), 1.0

    def __init__(self):
        super().__init__("depth")

    def unknown(self, size):
        return np.zeros((*size, 1), "float32")


def partial_heads():
    return {"labels": Segmentation(3), "meters": Meters()}


@pytest.mark.parametrize("pad", [False, True])
def test_missing_annotations_are_unknown(pad):
    loader = Loader(Partial(6), partial_heads(), 6, missing="unknown", pad=pad)
    _, targets = loader[0]
    known = [
        (t.reshape(6, -1) != void).all(1)
        for t, void in zip(targets.values(), (255, 0), strict=True)
    ]
    np.testing.assert_array_equal(known[0], [True, False] * 3)
    np.testing.assert_array_equal(known[1], [True, False, False] * 2)
    assert targets["labels"].dtype == np.int32 and targets["meters"].dtype == np.float32
    assert (targets["labels"][1::2] == 255).all() and (targets["meters"][[1, 2, 4, 5]] == 0).all()
    single = Loader(Partial(2), Segmentation(3), 2, missing="unknown")
    np.testing.assert_array_equal(single[0][1][1], np.full((4, 6), 255))
    with pytest.raises(RuntimeError, match="sample 1 of numbered: .*no 'segmentation' to train"):
        Loader(Partial(6), partial_heads(), 6)[0]


@pytest.mark.parametrize(
    "balancer",
    [
        pytest.param(None, marks=pytest.mark.everywhere),
        UncertaintyWeighting,
        DynamicWeightAverage,
        LogSum,
    ],
)
def test_partial_labels_train(balancer):
    """Batches of both, one or no task have finite losses; a missing task changes no weight."""
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    outputs = {
        "labels": keras.layers.Conv2D(3, 1, name="labels")(x),
        "meters": keras.layers.Conv2D(1, 1, name="meters")(x),
    }
    net = keras.Model(inputs, outputs)
    net = balanced(net, balancer()) if balancer else net
    net.compile(
        keras.optimizers.SGD(0.1), loss={key: head.loss for key, head in partial_heads().items()}
    )

    def fit(indices, batch_size):
        ds = subset(Partial(12), indices)
        loader = Loader(ds, partial_heads(), batch_size, missing="unknown")
        before = {name: net.get_layer(name).get_weights() for name in outputs}
        history = net.fit(loader, shuffle=False, verbose=0).history
        assert np.isfinite(history["loss"]).all()
        after = {name: net.get_layer(name).get_weights() for name in outputs}
        assert all(np.isfinite(w).all() for ws in after.values() for w in ws)
        return {
            name: any((a != b).any() for a, b in zip(after[name], before[name], strict=True))
            for name in outputs
        }

    assert fit(range(12), 3) == {"labels": True, "meters": True}
    assert fit([2, 4], 2) == {"labels": True, "meters": False}
    assert fit([3, 9], 1) == {"labels": False, "meters": True}
    assert fit([1, 5], 2) == {"labels": False, "meters": False}


def test_intrinsics_travel_along_untouched():
    """Intrinsics are not pixels, even if the image is 3 x 3."""
    ds = Partial(2, size=lambda i: (3, 3 + i))
    sample = transforms.ColorJitter()(ds[0], np.random.default_rng(0))
    np.testing.assert_array_equal(sample["intrinsics"], np.eye(3))
    assert sorted(pixel_keys(sample)) == ["depth", "image", "segmentation"]
    np.testing.assert_array_equal(cached(ds)[0]["intrinsics"], np.eye(3))
    loader = Loader(ds, partial_heads(), 2, missing="unknown", pad=True)
    images, targets = loader[0]
    assert images.shape == (2, 3, 4, 3) and set(targets) == {"labels", "meters"}
    with pytest.raises(ValueError, match=r"'intrinsics' must have shape \(3, 3\).*\(3, 4\)"):
        Loader([{**ds[0], "intrinsics": np.eye(3, 4)}], None, 1)[0]


def test_missing_bad_arguments():
    with pytest.raises(ValueError, match="`missing` must be one of 'raise', 'unknown'.*None"):
        Loader(Numbered(2), Head(), 1, missing=None)
    with pytest.raises(ValueError, match="Head has no target for unknown pixels"):
        Loader(Numbered(2), Head(), 1, missing="unknown")


class Faulty(Numbered):
    """Samples with a fault of one kind: a missing file, a label, an image."""

    def __init__(self, count, bad, kind="missing"):
        super().__init__(count)
        self.bad, self.kind = bad, kind

    def describe(self, i):
        return f"{i}.png"

    def __getitem__(self, i):
        sample = super().__getitem__(i)
        if i not in self.bad:
            return sample
        if self.kind == "missing":
            raise FileNotFoundError("no such file")
        key, value = {"label": ("segmentation", 9), "image": ("image", 0.5)}[self.kind]
        return {**sample, key: np.full(sample[key].shape, value)}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("pad", [False, True])
@pytest.mark.parametrize("kind", ["missing", "label", "image"])
def test_faulty_samples_are_named_or_skipped(kind, pad, workers):
    def load(**options):
        data, head = Faulty(8, {2, 5}, kind), Segmentation(3)
        options = {"shuffle": True, "seed": 4, "pad": pad, "workers": workers, **options}
        return Loader(data, head, 2, **options)

    with pytest.raises((FileNotFoundError, ValueError), match=r"Loader: sample [25] \([25].png\)"):
        list(load())
    with pytest.warns(UserWarning) as warned:
        skipping = load(on_error="skip")
        epochs = [flat(seen(skipping)) for _ in range(2)]
    for i in (2, 5):
        text = f"skipped and replaced by another sample: Loader: sample {i} ({i}.png): "
        assert any(str(warning.message).startswith(text) for warning in warned)
    assert sorted(skipping.skipped) == [2, 5] and "2.png" in skipping.skipped[2]
    for epoch, found in enumerate(epochs):
        order = flat(load(epoch=epoch).indices(b).tolist() for b in range(4))
        wanted = [
            next(i for i in order[place:] + order[:place] if i not in (2, 5)) for place in range(8)
        ]
        assert found == wanted
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        resumed = load(on_error="skip", epoch=1)
        assert flat(seen(resumed)) == epochs[1]


def test_a_replacement_is_transformed_with_other_random_numbers():
    crop = transforms.RandomCrop(2)
    rows = np.arange(36, dtype="uint8").reshape(6, 6, 1).repeat(3, -1)

    class Alike(Faulty):
        def __getitem__(self, i):
            super().__getitem__(i)
            return {"image": rows}

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loader = Loader(Alike(2, {0}), None, 2, transforms=crop, on_error="skip", seed=3)
        (images,) = loader[0]
    assert (images[0] != images[1]).any()


def test_skipping_more_than_half_is_an_error():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match="4 of 6 samples are faulty, more than half.*no such"):
            list(Loader(Faulty(6, {0, 1, 3, 5}), None, 2, on_error="skip", workers=0))
        with pytest.raises(ValueError, match="1 of 1 samples are faulty"):
            Loader(Faulty(1, {0}), None, 1, on_error="skip")[0]

    class Lacking(Numbered):
        def __getitem__(self, i):
            raise ImportError("Pillow")

    with pytest.raises(ImportError, match="sample 0 of numbered: Pillow"):  # not the sample's fault
        Loader(Lacking(2), None, 1, on_error="skip")[0]
    with pytest.raises(
        ValueError, match="`on_error` must be one of 'raise', 'skip'. Received: .*None"
    ):
        Loader(Numbered(2), None, 1, on_error=None)


class Labeled(list):
    """Samples of the given labels, 8×8 pixels each."""

    name = "labeled"

    def __init__(self, count, *values):
        image = np.zeros((8, 8, 3), np.uint8)
        labels = np.resize(np.array(values, np.uint8), (8, 8))
        super().__init__({"image": image, "segmentation": labels} for _ in range(count))


def batches(dataset, head, **settings):
    return list(Loader(dataset, head, 2, **settings))


def test_a_head_of_fewer_classes_than_the_data_set():
    """It would train on labels that it does not know."""
    text = r"scenes has 8. Received: a head of 5. Give kd.heads.Segmentation\(8\)"
    with pytest.raises(ValueError, match=text):
        Loader(scenes(2, 16), Segmentation(5), 2)
    with pytest.raises(ValueError, match="has 8. Received: head 'labels' of 2. Give"):
        Loader(subset(scenes(2, 16), [0]), {"labels": Segmentation(1)}, 1)
    Loader(scenes(2, 16), {"more": Segmentation(9), "meters": heads.Depth()}, 2)
    with pytest.raises(ValueError, match="sample 0.*from 0 to 4.*Received: 7"):
        batches(Labeled(2, 0, 7), Segmentation(5))

    def halve(sample, rng):
        return {**sample, "segmentation": sample["segmentation"] // 4}

    flip = transforms.RandomFlip()
    assert len(batches(scenes(2, 16), Segmentation(2), transforms=[flip, halve])) == 1
    with pytest.raises(ValueError, match="scenes has 8"):
        Loader(scenes(2, 16), Segmentation(2), 2, transforms=flip)


@pytest.mark.parametrize("head", [Segmentation(2), Segmentation(1), {"labels": Segmentation(5)}])
@pytest.mark.parametrize("workers", [0, 2])
def test_black_and_white_masks_teach_nothing(head, workers):
    """White is void, and black the only class that is left."""
    with pytest.warns(UserWarning, match=r"only labels are 0 and 255.*remap={255: 1}") as warned:
        loader = Loader(Labeled(4, 0, 255), head, 2, workers=workers)
        assert len(list(loader)) == 2 and len(list(loader)) == 2
    assert len(warned) == 1
    batches(Labeled(4, 0, 1, 255), head)
    batches(Labeled(4, 0), head)  # Some parts of a data set show the background alone.
    no_void = Segmentation(256, ignore_class=None)
    batches(Labeled(4, 0, 255), no_void)


def test_masks_of_void_teach_nothing():
    with pytest.warns(UserWarning, match=r"Every pixel of the first targets is void \(255\)"):
        batches(Labeled(4, 255), Segmentation(2), pad=True)

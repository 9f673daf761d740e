"""Shares of batches for several processes."""

import keras
import numpy as np
import pytest

from keras_dense import heads
from keras_dense.datasets import BoxMix, Loader, Mixed, scenes, subset, together, weaken
from keras_dense.training import SampledPixels, TwoViews, recalibrate_batch_norm


class Numbered:
    def __init__(self, count, broken=()):
        self.count, self.broken = count, broken

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index in self.broken:
            raise ValueError("broken")
        return {"image": np.full((2, 2, 3), index, "uint8")}


def numbers(batches):
    return [images[:, 0, 0, 0].tolist() for (images,) in batches]


def noisy(sample, rng):
    return {"image": sample["image"] + rng.integers(0, 100, (2, 2, 3)).astype("uint8")}


@pytest.mark.parametrize("samples", [24, 25, 31])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("workers", [0, 2])
def test_shares_of_a_step_are_the_batch_of_one_process(samples, count, workers):
    arguments = {"shuffle": True, "seed": 4, "workers": workers, "transforms": [noisy]}
    whole = Loader(Numbered(samples), None, 6, **arguments)
    parts = [
        Loader(Numbered(samples), None, 6, shard=(r, count), **arguments) for r in range(count)
    ]
    for epoch in range(3):
        assert {len(part) for part in parts} == {samples // 6} and len(whole) == samples // 6
        shares = [list(part) for part in parts]
        for step, (batch,) in enumerate(whole):
            own = [share[step][0] for share in shares]
            assert [len(x) for x in own] == [6 // count] * count
            # Process r has r, r + count, …: with the same random transforms.
            for rank, images in enumerate(own):
                np.testing.assert_array_equal(images, batch[rank::count])
        assert all(part.epoch == epoch + 1 for part in parts)


def test_shares_are_disjoint_and_cover_an_epoch():
    parts = [Loader(Numbered(20), None, 4, shuffle=True, shard=(r, 2), workers=0) for r in (0, 1)]
    for _ in range(2):
        seen = [sum(numbers(part), []) for part in parts]
        assert sorted(seen[0] + seen[1]) == list(range(20)) and len(seen[0]) == len(seen[1]) == 10


def test_the_last_batch_is_shared_if_it_can_be():
    parts = [Loader(Numbered(10), None, 4, shard=(r, 2)) for r in (0, 1)]
    assert [numbers(part) for part in parts] == [[[0, 2], [4, 6], [8]], [[1, 3], [5, 7], [9]]]
    assert [part.indices(2).tolist() for part in parts] == [[8], [9]]


def test_a_share_continues_where_it_was_and_with_another_number_of_processes():
    arguments = {"shuffle": True, "seed": 2, "workers": 0}
    whole = Loader(Numbered(20), None, 4, **arguments)
    whole.resume(3, 2)
    found = numbers(whole)
    for count in (2, 4):
        shares = []
        for rank in range(count):
            part = Loader(Numbered(20), None, 4, shard=(rank, count), **arguments)
            part.resume(3, 2)
            shares.append(numbers(part))
        together = [sorted(sum(step, [])) for step in zip(*shares, strict=True)]
        assert together == [sorted(batch) for batch in found]


def test_faulty_samples_are_replaced_as_in_one_process():
    arguments = {"shuffle": True, "on_error": "skip", "workers": 0}
    with pytest.warns(UserWarning, match="skipped"):
        whole = numbers(Loader(Numbered(12, broken=(3, 7)), None, 4, **arguments))
    shares = []
    for rank in (0, 1):
        part = Loader(Numbered(12, broken=(3, 7)), None, 4, shard=(rank, 2), **arguments)
        with pytest.warns(UserWarning, match="skipped"):
            shares.append(numbers(part))
    assert [sorted(a + b) for a, b in zip(*shares, strict=True)] == [sorted(b) for b in whole]


def test_each_process_gets_both_parts_of_together():
    world = scenes(12, size=8)
    both = together(subset(world, 4), weaken(subset(world, range(4, 12)), "tags"), shares=(2, 4))
    for rank in (0, 1):
        loader = Loader(both, None, 6, shuffle=True, shard=(rank, 2))
        parts = [both.part(i) for i in loader.indices(0)]
        assert sorted(parts) == [0, 1, 1]
    whole = Loader(both, None, 6, shuffle=True)
    halves = [Loader(both, None, 6, shuffle=True, shard=(r, 2)).indices(1) for r in (0, 1)]
    assert sorted(np.concatenate(halves)) == sorted(whole.indices(1))
    with pytest.raises(ValueError, match="`shares` of `together` must be multiples of 3"):
        Loader(both, None, 6, shard=(0, 3))


def test_views_and_mixtures_differ_between_processes_and_are_repeated():
    head, world = heads.Segmentation(8), scenes(4, size=8)

    def first(rank, wrap):
        loader = Loader(world, head, 4, workers=0, shard=(rank, 2))
        return wrap(loader)[0]

    for wrap in (
        lambda x: Mixed(x, BoxMix(probability=1)),
        lambda x: TwoViews(x, mix=BoxMix(probability=1)),
    ):
        a, b = first(0, wrap), first(0, wrap)
        for x, y in zip(keras.tree.flatten(a), keras.tree.flatten(b), strict=True):
            np.testing.assert_array_equal(x, y)
    sampled = [first(rank, lambda x: SampledPixels(x, 9))[0]["positions"] for rank in (0, 1)]
    assert not np.array_equal(*sampled)


def test_statistics_need_whole_batches():
    model = keras.Sequential([keras.Input((2, 2, 3)), keras.layers.BatchNormalization()])
    with pytest.raises(ValueError, match="whole batches.*Received: shard=\\(1, 2\\)"):
        recalibrate_batch_norm(model, Loader(Numbered(4), None, 4, shard=(1, 2)))


@pytest.mark.parametrize("shard", [(2, 2), (-1, 2), (0, 0), (0,), "2", 3, (0.5, 2), (0, 1, 2)])
def test_bad_shard(shard):
    with pytest.raises(ValueError, match=r"`shard` must be 'auto', None or \(rank, count\)"):
        Loader(Numbered(8), None, 4, shard=shard)


@pytest.mark.parametrize(
    "samples, batch, shard, drop, message",
    [
        (8, 4, (0, 3), None, "`batch_size` must be a multiple of the 3 processes"),
        (9, 4, (0, 2), None, "last batch has 1 samples, which 2 processes cannot share"),
        (3, 8, (0, 8), None, "last batch has 3 samples, which 8 processes cannot share"),
        (3, 8, (0, 8), True, "samples for at least one batch"),
    ],
)
def test_bad_division(samples, batch, shard, drop, message):
    with pytest.raises(ValueError, match=message):
        Loader(Numbered(samples), None, batch, shard=shard, drop_last=drop)


def test_auto(monkeypatch):
    for name in ("WORLD_SIZE", "KERAS_DISTRIBUTION_NUM_PROCESSES"):
        monkeypatch.delenv(name, raising=False)
    assert Loader(Numbered(8), None, 4, shard="auto").shard == (0, 1)
    # Started by a launcher, but not joined: each process would train alone.
    for name in ("WORLD_SIZE", "KERAS_DISTRIBUTION_NUM_PROCESSES"):
        monkeypatch.setenv(name, "2")
    with pytest.raises(RuntimeError, match="=2 says that there are several processes, but this"):
        Loader(Numbered(8), None, 4, shard="auto")

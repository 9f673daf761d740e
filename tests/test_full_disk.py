"""Disks that fill at any moment: a message, nothing half-written, and a run that goes on."""

import contextlib
import errno
import os

import keras
import numpy as np
import pytest
from keras import layers

import keras_dense as kd
from keras_dense._command import main

PIL = pytest.importorskip("PIL.Image")
resource = pytest.importorskip("resource", reason="the system must limit the size of files")
pytestmark = pytest.mark.once
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextlib.contextmanager
def small_files(limit):
    """Every file can have so many bytes at most; writing more is an error of the system."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def photo(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype="uint8")


def network(head):
    image = keras.Input((None, None, 3))
    return kd.heads.attach(keras.Model(image, layers.Conv2D(head.channels, 1)(image)), head)


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_predict_stops_and_goes_on(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    network(kd.heads.Normals()).save(tmp_path / "m.keras")
    for n, side in enumerate((8, 200, 8)):
        PIL.fromarray(photo(side, side, n)).save(tmp_path / "in" / f"{n}.png")
    out = tmp_path / "out"
    told = ["predict", str(tmp_path / "m.keras"), str(tmp_path / "in"), "--out", str(out)]
    with small_files(12_000):
        assert main(told) == 1
        said = capsys.readouterr().err
    assert "cannot write" in said and "1.png' (File too large); stopped" in said
    assert files(out) == ["0.png"]
    assert main(told) == 0
    assert "1 images were done before" in capsys.readouterr().out
    assert files(out) == ["0.png", "1.png", "2.png"]


@pytest.mark.parametrize("name", ["result.npy", "result.tif", "result.zarr"])
def test_tiles_that_do_not_fit(tmp_path, name):
    pytest.importorskip("rasterio" if name.endswith("tif") else "zarr")
    model, out = network(kd.heads.Segmentation(200)), tmp_path / name
    settings = {"tile": 64, "progress": False, "out": out}
    with small_files(20_000), pytest.raises(OSError, match=f"File too large.*{name}"):
        kd.inference.predict_tiled(model, photo(200, 200), **settings)
    assert files(tmp_path) == []


def failing(monkeypatch, number):
    """Let the call of a given number, of all that write, find a full disk."""
    from keras_dense.inference import outputs

    calls = []

    def counted(function):
        def call(*args, **kwargs):
            calls.append(function)
            if len(calls) == number:
                raise FULL
            return function(*args, **kwargs)

        return call

    for place, name in (
        (os, "replace"),
        (os, "rename"),
        (os, "fsync"),
        (np, "savez"),
        (outputs, "write_geotiff"),
        (outputs, "_write_zarr"),
    ):
        monkeypatch.setattr(place, name, counted(getattr(place, name)))
    return calls


@pytest.mark.exhaustive
@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
def test_a_disk_that_fills_at_any_moment(tmp_path, monkeypatch):
    pytest.importorskip("zarr")
    pytest.importorskip("rasterio")
    image, x = photo(100, 120), keras.Input((None, None, 3))
    model = keras.Model(x, {key: layers.Conv2D(3, 1)(x) for key in "abc"})
    heads = {key: kd.heads.Segmentation(3) for key in "abc"}
    settings = {"tile": 64, "overlap": 10, "progress": False}
    expected = kd.inference.predict_tiled(model, image, heads, **settings)
    names = {"a": "a.npy", "b": "b.zarr", "c": "c.tif"}
    for number in range(1, 99):
        folder = tmp_path / str(number)
        out = {key: folder / name for key, name in names.items()}
        with monkeypatch.context() as patch:
            calls = failing(patch, number)
            try:
                found = kd.inference.predict_tiled(model, image, heads, out=out, **settings)
            except OSError as error:
                assert error.errno == errno.ENOSPC
        if len(calls) >= number:
            assert not list(folder.glob(".*")), "a draft was left"
            found = kd.inference.predict_tiled(model, image, heads, out=out, **settings)
        for key, y in found.items():
            np.testing.assert_array_equal(np.squeeze(y[:, :]), expected[key])
        assert sorted(path.name for path in folder.iterdir()) == sorted(names.values())
        if len(calls) < number:
            break
    assert number > 15


def test_a_model_is_saved_whole_or_not(tmp_path):
    model, path = network(kd.heads.Segmentation(3)), tmp_path / "model.keras"
    with small_files(2000), pytest.raises(OSError, match="File too large.*model.keras"):
        kd.training.save(model, path)
    assert files(tmp_path) == []
    kd.training.save(model, path)
    before = path.read_bytes()
    with small_files(2000), pytest.raises(OSError, match="File too large"):
        kd.training.save(model, path)
    assert path.read_bytes() == before and files(tmp_path) == ["model.keras"]
    with pytest.raises(ValueError, match="`file` must end in '.keras'"):
        kd.training.save(model, tmp_path / "model.h5")


def test_checkpoints_ask_for_room_before_hdf5_writes(tmp_path, monkeypatch):
    """HDF5 crashes when it cannot close its file."""
    from keras_dense import _files

    image, labels = np.zeros((2, 8, 8, 3), "float32"), np.zeros((2, 8, 8), "int32")
    model = network(kd.heads.Segmentation(3))
    model.compile("adam", **kd.objectives(model))
    checkpoint = kd.training.Checkpoint(tmp_path / "run")
    model.fit(image, labels, verbose=0, callbacks=[checkpoint])
    kept = files(tmp_path)
    assert "state.weights.h5" in kept
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(_files.shutil, "disk_usage", lambda path: usage)
    second = kd.training.Checkpoint(tmp_path / "run")
    start = second.restore(model)
    with pytest.raises(OSError, match="No space left on device.*epoch_0002"):
        model.fit(image, labels, verbose=0, epochs=2, initial_epoch=start, callbacks=[second])
    assert [name for name in files(tmp_path) if name != ".lock"] == kept

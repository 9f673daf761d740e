import csv
import json
import os
import signal
import subprocess
import sys
import time
import warnings

import keras
import numpy as np
import pytest

from keras_dense import heads
from keras_dense.datasets import Loader
from keras_dense.training import Checkpoint

PROGRAM = """
import os, signal, sys
import numpy as np
import keras
from keras_dense.training import Checkpoint, layerwise

directory, kill_at = sys.argv[1], sys.argv[2]
EPOCHS = 4


class Data(keras.utils.PyDataset):
    # Order and noise follow from the epoch, as they do in keras_dense.datasets.Loader.
    epoch = 0

    def __len__(self):
        return 5

    def __getitem__(self, index):
        rng = np.random.default_rng((self.epoch, index))
        x = rng.normal(size=(4, 6)).astype("float32")
        return x, x[:, :2] ** 2

    def on_epoch_end(self):
        self.epoch += 1


class Kill(keras.callbacks.Callback):
    # The hardest end there is: in the middle of an epoch, or in the middle of writing.
    def on_train_batch_end(self, batch, logs=None):
        if kill_at == f"batch {self.params.get('epoch', self.epoch)} {batch}":
            os.kill(os.getpid(), signal.SIGKILL)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch


class Tested(Checkpoint):
    def _write_csv(self):
        if kill_at == f"written {self._epochs}":
            os.kill(os.getpid(), signal.SIGKILL)
        super()._write_csv()


keras.utils.set_random_seed(11)
model = keras.Sequential([
    keras.Input((6,)), keras.layers.Dense(8, "relu", name="backbone"),
    keras.layers.Dropout(0.3), keras.layers.BatchNormalization(), keras.layers.Dense(2)])
rate = keras.optimizers.schedules.PolynomialDecay(0.05, 20, 0.0, power=0.9)
optimizer = layerwise(model, keras.optimizers.SGD(rate, momentum=0.9), {"backbone": 0.1})
model.compile(optimizer, loss="mse", metrics=["mae"])
if kill_at.startswith("saving"):
    original = model.save_weights
    def save_weights(path):
        original(path)
        if int(model.optimizer.iterations) == 5 * int(kill_at.split()[1]):
            with open(path, "r+b") as file:  # half of the file has reached the disk
                file.truncate(1000)
            os.kill(os.getpid(), signal.SIGKILL)
    model.save_weights = save_weights
checkpoint, data = Tested(directory), Data()
start = checkpoint.restore(model, data)
model.fit(data, epochs=EPOCHS, initial_epoch=start, callbacks=[Kill(), checkpoint],
          shuffle=False, verbose=0)
"""


def run(program, directory, kill_at="never"):
    return subprocess.run(
        [sys.executable, program, str(directory), kill_at], capture_output=True, text=True
    )


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_killed_run_continues_to_the_same_numbers(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    whole = run(program, tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    ends = ["batch 1 2", "saving 2", "written 3"]
    for kill_at in ends:
        result = run(program, tmp_path / "killed", kill_at)
        assert result.returncode == -signal.SIGKILL, (kill_at, result.stderr)
    result = run(program, tmp_path / "killed")
    assert result.returncode == 0, result.stderr

    expected = (tmp_path / "whole" / "history.csv").read_text()
    assert (tmp_path / "killed" / "history.csv").read_text() == expected
    rows = list(csv.DictReader(expected.splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert {"loss", "mae"} <= set(rows[0])
    left = [path.name for path in (tmp_path / "killed" / "checkpoints").iterdir()]
    assert left == ["epoch_0004"]


@pytest.mark.slow
def test_killed_from_outside(tmp_path):
    """A real SIGKILL at a random moment."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.replace("EPOCHS = 4", "EPOCHS = 100000"))
    process = subprocess.Popen(
        [sys.executable, program, str(tmp_path / "run"), "never"], stderr=subprocess.DEVNULL
    )
    csv_file = tmp_path / "run" / "history.csv"
    deadline = time.monotonic() + 120
    while not (csv_file.exists() and len(csv_file.read_text().splitlines()) > 3):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    states = sorted((tmp_path / "run" / "checkpoints").glob("epoch_*"))
    assert 1 <= len(states) <= 2
    state = json.loads((states[-1] / "state.json").read_text())
    assert state["epochs"] >= 3 and len(state["history"]["loss"]) == state["epochs"]


def small():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(keras.optimizers.Adam(0.1), loss="mse")
    return model


def fit(model, checkpoint, epochs, start=0):
    x = np.ones((4, 3), "float32")
    model.fit(x, x[:, :2], epochs=epochs, initial_epoch=start, callbacks=[checkpoint], verbose=0)


def test_optimizer_state_is_restored(tmp_path):
    model = small()
    fit(model, Checkpoint(tmp_path), 2)
    again = small()
    assert Checkpoint(tmp_path).restore(again) == 2
    for a, b in zip(model.optimizer.variables, again.optimizer.variables, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b))


@pytest.mark.once
def test_a_run_is_not_overwritten(tmp_path):
    fit(small(), Checkpoint(tmp_path), 1)
    with pytest.raises(ValueError, match="already holds a run.*restore"):
        fit(small(), Checkpoint(tmp_path), 1)


@pytest.mark.once
@pytest.mark.once
def test_two_processes_do_not_train_in_one_directory(tmp_path):
    fcntl = pytest.importorskip("fcntl", reason="the system must have locks of files")
    with open(tmp_path / ".lock", "w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError, match="another run writes to"):
            fit(small(), Checkpoint(tmp_path), 1)
    assert not (tmp_path / "checkpoints").exists()
    fit(small(), Checkpoint(tmp_path), 1)
    assert not (tmp_path / ".lock").exists()


def test_a_spoilt_checkpoint_is_passed_over(tmp_path):
    fit(small(), Checkpoint(tmp_path, keep=2), 3)
    spoilt = tmp_path / "checkpoints" / "epoch_0003" / "state.weights.h5"
    spoilt.write_bytes(spoilt.read_bytes()[:500])
    with pytest.warns(UserWarning, match="Skipping the unreadable .*epoch_0003"):
        assert Checkpoint(tmp_path).restore(small()) == 2
    last = tmp_path / "checkpoints" / "epoch_0002" / "state.weights.h5"
    last.write_bytes(b"nothing")
    with pytest.raises(OSError):
        Checkpoint(tmp_path).restore(small())


@pytest.mark.once
def test_another_network(tmp_path):
    fit(small(), Checkpoint(tmp_path), 1)
    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(5)])
    other.compile("adam", loss="mse")
    with pytest.raises(
        ValueError, match="another network: Dense linear 3x2 2 then, Dense linear 3x5 5 now"
    ):
        Checkpoint(tmp_path).restore(other)


def test_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match="`keep` must be an integer >= 1. Received: keep=0"):
        Checkpoint(tmp_path, keep=0)
    with pytest.raises(ValueError, match="built and compiled"):
        Checkpoint(tmp_path).restore(keras.Sequential([keras.Input((3,))]))


@pytest.mark.parametrize(
    ("steps", "batches"),
    [(2, 3), *(pytest.param(*c, marks=pytest.mark.once) for c in ((2, 4), (None, 3), (9, 2)))],
)
def test_a_pass_goes_on_where_it_was(tmp_path, steps, batches):
    """A run resumed after any epoch sees the rest of the pass, for any `steps_per_epoch`."""
    rng = np.random.default_rng(0)
    data = [{"image": rng.integers(0, 256, (2, 2, 3)).astype("uint8")} for _ in range(batches)]

    class Mean(heads.Head):
        def __init__(self):
            self.target = "image"

        def encode(self, sample):
            return sample["image"].astype("float32").mean(-1, keepdims=True)

    def run(directory, epochs):
        loader = Loader(data, Mean(), 1, shuffle=True, seed=2)
        model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(1, 1)])
        model.compile("sgd", loss="mse")
        checkpoint = Checkpoint(directory)
        start = checkpoint.restore(model, loader)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(
                loader,
                epochs=epochs,
                initial_epoch=start,
                steps_per_epoch=steps,
                callbacks=[checkpoint],
                shuffle=False,
                verbose=0,
            )
        state = sorted((directory / "checkpoints").iterdir())[-1] / "state.json"
        return json.loads(state.read_text())["places"][0]

    taken = [run(tmp_path / "resumed", epochs) for epochs in range(1, 6)]
    whole = [run(tmp_path / str(epochs), epochs) for epochs in range(1, 6)]
    per_epoch = min(steps or batches, batches)
    if batches % per_epoch == 0:
        assert taken == whole == [per_epoch * epochs for epochs in range(1, 6)]
    else:  # Keras ends an epoch where a pass ends: of three batches it takes 2, 1, 2, 1, …
        assert whole == [2, 3, 5, 6, 8] and taken == [2, 4, 6, 8, 10]


def test_a_run_goes_on_with_its_own_data_and_network_only(tmp_path):
    data = [{"image": np.full((2, 2, 3), i, "uint8")} for i in range(8)]

    class Head(heads.Head):
        def __init__(self):
            self.target = "image"

        def encode(self, sample):
            return np.zeros((2, 2, 1), "float32")

    def network(activation="relu"):
        layers = [keras.layers.Conv2D(2, 1, activation=activation), keras.layers.Conv2D(1, 1)]
        return keras.Sequential([keras.Input((None, None, 3)), *layers])

    def restore(model=None, optimizer="sgd", loader=None):
        model = network() if model is None else model
        model.compile(optimizer, loss="mse")
        loader = Loader(data, Head(), 2) if loader is None else loader
        checkpoint = Checkpoint(tmp_path, keep=np.int64(2), seed=np.int64(1))
        return checkpoint, checkpoint.restore(model, loader), model, loader

    checkpoint, start, model, loader = restore()
    model.fit(loader, initial_epoch=start, callbacks=[checkpoint], verbose=0)
    assert restore()[1] == 1
    for changed, message in (
        ({"model": network("tanh")}, "another network: Conv2D relu .* then, Conv2D tanh .* now"),
        ({"optimizer": keras.optimizers.SGD(0.1)}, None),
        ({"optimizer": keras.optimizers.Lion()}, "another optimizer: SGD then, Lion now"),
        ({"loader": Loader(data[:6], Head(), 2)}, "another data set: batches=4 then, batches=3"),
        ({"loader": Loader(data, Head(), 2, seed=3)}, "another data set: seed=0 then, seed=3 now"),
    ):
        if message is None:
            assert restore(**changed)[1] == 1
            continue
        with pytest.raises(ValueError, match=message):
            restore(**changed)

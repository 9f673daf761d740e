"""Checkpoints of a training that may be killed at any moment and continues exactly."""

import contextlib
import csv
import itertools
import json
import math
import pathlib
import re
import shutil
import tempfile
import warnings
from typing import Any

import keras
import numpy as np

from keras_dense import _check
from keras_dense._files import need_room, remove_drafts, whole
from keras_dense._lock import held_here, lock
from keras_dense._types import PathLike
from keras_dense.ops.replicas import checksum, gathered, process_place, wait_for_all
from keras_dense.training.batch_norm import sublayers


class Checkpoint(keras.callbacks.Callback):
    """Keep a run directory from which training continues, without losing a finished epoch.

    After each epoch the weights, the optimizer's state, the random state of layers such as
    dropout, the number of the epoch and the history are written to a new folder, which gets its
    name when it is complete; then the previous folder is removed. So a complete state exists at any
    moment, even after `kill -9`. The run continues exactly: the same command gives the same history
    as a run without a break.

    ```python
    checkpoint = kd.training.Checkpoint("runs/camvid")
    start = checkpoint.restore(model, loader)          # 0 in a new directory
    model.fit(loader, epochs=60, initial_epoch=start, callbacks=[checkpoint], shuffle=False)
    checkpoint.history                                 # from the very first epoch
    ```

    The directory holds `checkpoints/epoch_0007/` (`state.weights.h5`, `state.json`) and
    `history.csv`, one line for each finished epoch. A value that was not measured, say between two
    validations, is NaN in `history` and in the file.

    `keras.callbacks.BackupAndRestore` is less safe: it overwrites its only weights file in place,
    keeps the epoch in a second file (a kill between the two repeats an epoch), drops the history,
    and deletes the backup at the end.

    A run continues only with the network, the optimizer and the data it was started with. Compared
    are kinds, shapes and activations of layers, the class of the optimizer, and of each loader the
    number of samples and batches, the batch size, the seed and shuffling.

    With `fit(steps_per_epoch=…)` the loader continues in the middle of a pass.

    Give `shuffle=False` to `fit`, as with any `kd.datasets.Loader`. At the start of each epoch the
    global random numbers (Python, NumPy, the backend) are seeded from `seed` and the epoch, since
    PyTorch's dropout uses them. Counters of other callbacks, such as the patience of
    `EarlyStopping`, are not restored.

    Args:
        directory: folder of the run; made if need be.
        keep: int >= 1, number of checkpoints that stay, the newest. With 2, a checkpoint that the
            disk has damaged is skipped with a warning.
        seed: int >= 0.

    Attributes:
        history: dict from each logged name to its values, from the first epoch on.

    While it trains, other runs cannot train in the directory. Of several processes of one run
    (docs/scale.md), the first writes, and all read: the directory must be on a disk that all of
    them see. With loaders that share each batch, a run can continue with another number of
    processes.

    Raises:
        BlockingIOError: if another run trains in the directory.
        RuntimeError: if the processes of one run find different checkpoints, or have different
            weights after an epoch.
        ValueError: if `keep` or `seed` is out of range; if training would start from the beginning
            in a directory that holds a run, because `restore` was not called; if the model, the
            optimizer or the data given to `restore` differ from those of the checkpoint.

    >>> import tempfile
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", loss="mse")
    >>> folder = tempfile.mkdtemp()
    >>> checkpoint = Checkpoint(folder)
    >>> checkpoint.restore(model)
    0
    >>> x, y = keras.ops.ones((4, 2)), keras.ops.ones((4, 1))
    >>> history = model.fit(x, y, epochs=3, callbacks=[checkpoint], verbose=0)
    >>> Checkpoint(folder).restore(model)
    3
    """

    def __init__(self, directory: PathLike, *, keep: int = 1, seed: int = 0) -> None:
        super().__init__()
        self.directory = pathlib.Path(directory)
        self.keep = _check.integer(keep, "keep", low=1)
        self.seed = _check.integer(seed, "seed", low=0)
        self.history: dict[str, list[float]] = {}
        self._epochs = 0
        self._loaders: list = []
        self._taken: dict[int, int] = {}  # batches of each loader before this `fit`
        self._begun: int | None = None  # the first epoch of this `fit`
        self._lock = contextlib.ExitStack()

    @property
    def _folder(self) -> pathlib.Path:
        return self.directory / "checkpoints"

    def _complete(self) -> list[pathlib.Path]:
        """Finished checkpoints, oldest first."""
        if not self._folder.is_dir():
            return []
        found = [p for p in self._folder.iterdir() if re.fullmatch(r"epoch_\d+", p.name)]
        return sorted(found, key=lambda p: int(p.name[len("epoch_") :]))

    def restore(self, model: keras.Model, *loaders: Any) -> int:
        """Put the newest state into a compiled model.

        Args:
            model: the compiled model, built as at the first start.
            *loaders: training data with an `epoch` that decides its order and its random
                transforms, such as a `kd.datasets.Loader`.

        Returns:
            The number of finished epochs: `fit(..., initial_epoch=checkpoint.restore(model))`.
        """
        if not getattr(model, "compiled", False) or not model.built:
            raise ValueError("`model` must be built and compiled before its state is restored.")
        first = process_place()[0] == 0
        if first:
            remove_drafts(self._folder)
        complete = self._complete()
        while complete:
            newest = complete.pop()
            try:
                state = json.loads((newest / "state.json").read_text())
                self._compare(newest, state.get("of", {}), _described(model, loaders))
                self._load(model, newest / "state.weights.h5", state["random"])
            except (OSError, json.JSONDecodeError) as error:
                if not complete:
                    raise
                warnings.warn(f"Skipping the unreadable {newest}: {error}", stacklevel=2)
                if first:
                    shutil.rmtree(newest)
                continue
            self.history, self._epochs = state["history"], state["epochs"]
            places = state.get("places", [])
            if first:
                self._write_csv()
            break
        else:
            places = []
        # None trains, and removes checkpoints, before all have read.
        found = gathered(self._epochs)
        if len(set(found)) > 1:
            raise RuntimeError(
                f"The processes of this run find checkpoints of different epochs in "
                f"{str(self.directory)!r}: {', '.join(f'{n:.0f}' for n in found)}, by rank. All of "
                "them must see the same directory: use a shared disk, or copy it to every machine."
            )
        self._loaders = [loader for loader in loaders if hasattr(loader, "epoch")]
        for number, loader in enumerate(self._loaders):
            if not hasattr(loader, "resume"):
                loader.epoch = self._epochs
                continue
            taken = places[number] if number < len(places) else self._epochs * len(loader)
            self._taken[number] = taken
            loader.resume(*divmod(taken, len(loader)))
        return self._epochs

    def _compare(self, path: pathlib.Path, then: dict, now: dict) -> None:
        for key in then:
            if key in now and then[key] != now[key]:
                raise ValueError(
                    f"{path} belongs to a run with another {key}: "
                    f"{_difference(then[key], now[key])}. "
                    "Start with the same arguments, or in a new directory."
                )

    def _load(self, model: keras.Model, path: pathlib.Path, random: list) -> None:
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        try:
            model.load_weights(path)
            for variable, value in zip(_random_state(model), random, strict=True):
                variable.assign(value)
        except (ValueError, KeyError) as error:
            raise ValueError(
                f"{path} holds another network or another optimizer than '{model.name}' now has. "
                "Start with the same arguments, or in a new directory. Keras says: "
                f"{str(error).splitlines()[0]}"
            ) from error

    def on_train_begin(self, logs=None):
        if self._complete() and not self._epochs:
            raise ValueError(
                f"{self.directory} already holds a run. Continue it with "
                "`fit(..., initial_epoch=checkpoint.restore(model, loader))`, or use a new "
                "directory."
            )

        # A `fit` that an error ended holds it still.
        if process_place()[0] == 0 and not held_here(self.directory / ".lock"):
            self._lock.enter_context(lock(self.directory / ".lock"))
        if self._begun is not None:  # a second `fit` of this process
            self._taken = {number: self._place(number, self._epochs) for number in self._taken}
        self._begun = None

    def on_train_end(self, logs=None):
        self._lock.close()

    def on_epoch_begin(self, epoch, logs=None):
        seed = self.seed + 7919 * epoch
        if keras.backend.backend() == "torch":
            seed += 15485863 * process_place()[0]  # other dropout for other samples
        keras.utils.set_random_seed(seed % 2**32)
        self._begun = epoch if self._begun is None else self._begun
        for number, loader in enumerate(self._loaders):
            if number not in self._taken:
                if loader.epoch != epoch:  # Keras looks at batches before it starts
                    loader.epoch = epoch
                continue
            # An evaluation may have read the data since: back to where training is.
            place, part = divmod(self._place(number, epoch), len(loader))
            if epoch == self._begun or (not part and not self._taken[number] % len(loader)):
                loader.resume(place, part)

    def _place(self, number: int, epoch: int) -> int:
        """Number of batches of a loader that were trained on before `epoch`."""
        length = len(self._loaders[number])
        steps = min(self.params.get("steps") or length, length)
        # Keras ends an epoch at the end of a pass, and executes whole groups of steps.
        group = getattr(self.model, "steps_per_execution", 1)
        steps = min(-(-steps // group) * group, length)
        passes, more = divmod(epoch - (self._begun or 0), -(-length // steps))
        return self._taken[number] + passes * length + more * steps

    def on_epoch_end(self, epoch, logs=None):
        for name, value in (logs or {}).items():
            values = self.history.setdefault(name, [])
            values.extend([float("nan")] * (epoch - len(values)))
            values.append(float(value))
        self._epochs = epoch + 1
        rank, count = process_place()
        if count > 1:
            self._check_equal()
        if rank == 0:
            self._write()
            self._write_csv()
            for old in self._complete()[: -self.keep]:
                shutil.rmtree(old)
        elif keras.backend.backend() == "jax":
            # Keras puts values on the devices of all processes while it saves: all take part.
            with tempfile.TemporaryDirectory() as unused:
                self.model.save_weights(pathlib.Path(unused, "state.weights.h5"))
        wait_for_all()

    def _check_equal(self) -> None:
        """Raise an error if the processes have not trained the same network."""
        found = gathered(checksum([keras.ops.convert_to_numpy(w) for w in self.model.weights]))
        if not np.allclose(found, found[0], rtol=1e-6, atol=1e-6, equal_nan=True):
            raise RuntimeError(
                "The processes have different weights after an epoch: each has trained a network "
                "of its own. With PyTorch, give kd.training.SyncProcesses() to `fit` as the first "
                "callback; with JAX, build the model under keras.distribution.DataParallel."
            )

    def _write(self) -> None:
        random = [keras.ops.convert_to_numpy(v).tolist() for v in _random_state(self.model)]
        state = {
            "epochs": self._epochs,
            "history": self.history,
            "random": random,
            "places": [self._place(number, self._epochs) for number in self._taken],
            "of": _described(self.model, self._loaders),
        }
        with whole(self._folder / f"epoch_{self._epochs:04d}", fsync=True) as draft:
            draft.mkdir()
            optimizer = self.model.optimizer
            variables = [*self.model.variables, *(optimizer.variables if optimizer else ())]
            # HDF5 also writes some hundred bytes about each of them.
            need_room(draft, sum(_bytes(v) + 4096 for v in variables))
            self.model.save_weights(draft / "state.weights.h5")
            (draft / "state.json").write_text(json.dumps(state))

    def _write_csv(self) -> None:
        path = self.directory / "history.csv"
        with whole(path) as draft, draft.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["epoch", *self.history])
            for epoch in range(self._epochs):
                row: list = [
                    values[epoch : epoch + 1] or ["nan"] for values in self.history.values()
                ]
                writer.writerow([epoch + 1, *(value[0] for value in row)])


def _bytes(variable: Any) -> int:
    dtype = keras.backend.standardize_dtype(variable.dtype)
    return math.prod(variable.shape) * (8 if dtype.endswith("64") else 4)


def _described(model: keras.Model, loaders: Any) -> dict:
    """Facts that must be the same when a run continues, for JSON."""
    optimizer, names = model.optimizer, []
    while optimizer is not None:
        names.append(type(optimizer).__name__)
        inner = (getattr(optimizer, name, None) for name in ("optimizer", "inner_optimizer"))
        optimizer = next((found for found in inner if found is not None), None)
    found: dict[str, Any] = {
        "network": [_line(layer) for layer in sublayers(model).values()],
        "optimizer": names,
    }
    facts = ("batch_size", "seed", "shuffle", "sample_pixels")
    for number, loader in enumerate(loaders):
        facts_of = {fact: int(getattr(loader, fact)) for fact in facts if hasattr(loader, fact)}
        if hasattr(loader, "__len__"):
            facts_of["batches"] = len(loader)
        if hasattr(getattr(loader, "dataset", None), "__len__"):
            facts_of["samples"] = len(loader.dataset)
        found[f"data set ({number})" if number else "data set"] = facts_of
    return found


def _line(layer: keras.Layer) -> str:
    activation = getattr(getattr(layer, "activation", None), "__name__", "")
    shapes = " ".join("x".join(map(str, w.shape)) or "scalar" for w in layer.weights)
    return f"{type(layer).__name__} {activation} {shapes}".strip()


def _difference(then: Any, now: Any) -> str:
    """The first difference of two descriptions."""
    if isinstance(then, dict):
        pairs = [(f"{key}={then.get(key)!r}", f"{key}={now.get(key)!r}") for key in then | now]
    else:
        pairs = list(itertools.zip_longest(then, now, fillvalue="nothing"))
    return next(f"{a} then, {b} now" for a, b in pairs if a != b)


def _random_state(model: keras.Model) -> list:
    """Variables that Keras leaves out of weights files: the states of random layers."""
    weights = {id(weight) for weight in model.weights}
    return [variable for variable in model.variables if id(variable) not in weights]

"""A training that can be killed at any moment and goes on as if it had not been."""

import csv
import json
import os
import pathlib
import re
import shutil
import warnings

import keras


class Checkpoint(keras.callbacks.Callback):
    """Keeps a run directory from which training goes on with nothing lost but the epoch under way.

    After each epoch the weights, the optimizer's state, the random state of layers such as
    dropout, the epoch's number and the history so far are written to a new folder, which gets its
    name only when it is complete; then the folder before it is removed. Wherever a `kill -9` hits,
    a complete state is there. The run continues exactly: the same command gives the same history
    as one without a break.

    ```python
    checkpoint = kd.training.Checkpoint("runs/camvid")
    start = checkpoint.restore(model, loader)          # 0 in a new directory
    model.fit(loader, epochs=60, initial_epoch=start, callbacks=[checkpoint], shuffle=False)
    checkpoint.history                                 # from the very first epoch
    ```

    What is in the directory: `checkpoints/epoch_0007/` (`state.weights.h5`, `state.json`) and
    `history.csv`, one line for each finished epoch. Where a value was not measured, say between two
    validations, `history` and the file have NaN.

    `keras.callbacks.BackupAndRestore` does not give that: it overwrites its only weights file in
    place, keeps the epoch in a second file (a kill between the two repeats an epoch), drops the
    history, and deletes the backup at the end.

    Give `shuffle=False` to `fit`, as for any `keras_dense.datasets.Loader`. At the start of each
    epoch the global random numbers (Python, NumPy, the backend) are seeded anew from `seed` and the
    epoch: PyTorch's dropout draws from them. Other callbacks' own counters, such as the patience of
    `EarlyStopping`, are not restored.

    Args:
        directory: The run's folder; made if need be.
        keep: How many of the newest checkpoints stay, at least 1. With 2, a checkpoint that the
            disk has spoilt is passed over with a warning.
        seed: Integer ≥ 0.

    Raises:
        ValueError: If `keep` or `seed` is not such an integer; when training would start at the
            beginning in a directory that holds a run, because `restore` was not called; when
            `restore` gets a model that the checkpoint does not fit.

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

    def __init__(self, directory, keep=1, seed=0):
        super().__init__()
        for name, value, least in (("keep", keep, 1), ("seed", seed, 0)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(
                    f"`{name}` must be an integer of at least {least}. Received: {name}={value!r}"
                )
        self.directory = pathlib.Path(directory)
        self.keep = keep
        self.seed = seed
        self.history = {}
        self._epochs = 0
        self._loaders = []

    @property
    def _folder(self):
        return self.directory / "checkpoints"

    def _complete(self):
        """Finished checkpoints, oldest first."""
        if not self._folder.is_dir():
            return []
        found = [p for p in self._folder.iterdir() if re.fullmatch(r"epoch_\d+", p.name)]
        return sorted(found, key=lambda p: int(p.name[len("epoch_") :]))

    def restore(self, model, *loaders):
        """Puts the newest state into a compiled model and returns the number of finished epochs.

        Args:
            model: The compiled model, built as at the first start.
            *loaders: What the model trains on, where it has an `epoch` from which its order and
                its random transforms follow, as `keras_dense.datasets.Loader` does.

        Returns:
            The epoch to start with: `fit(..., initial_epoch=checkpoint.restore(model))`.
        """
        if not getattr(model, "compiled", False) or not model.built:
            raise ValueError("`model` must be built and compiled before its state is restored.")
        for stale in self._folder.glob(".writing-*") if self._folder.is_dir() else ():
            shutil.rmtree(stale, ignore_errors=True)
        complete = self._complete()
        while complete:
            newest = complete.pop()
            try:
                state = json.loads((newest / "state.json").read_text())
                self._load(model, newest / "state.weights.h5", state["random"])
            except (OSError, json.JSONDecodeError) as error:
                if not complete:
                    raise
                warnings.warn(f"Passing over the unreadable {newest}: {error}", stacklevel=2)
                shutil.rmtree(newest)
                continue
            self.history, self._epochs = state["history"], state["epochs"]
            self._write_csv()
            break
        self._loaders = [loader for loader in loaders if hasattr(loader, "epoch")]
        for loader in self._loaders:
            loader.epoch = self._epochs
        return self._epochs

    def _load(self, model, path, random):
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

    def on_epoch_begin(self, epoch, logs=None):
        keras.utils.set_random_seed((self.seed + 7919 * epoch) % 2**32)
        for loader in self._loaders:
            if loader.epoch != epoch:  # Keras looks at batches before it starts, some count those
                loader.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        for name, value in (logs or {}).items():
            values = self.history.setdefault(name, [])
            values.extend([float("nan")] * (epoch - len(values)))
            values.append(float(value))
        self._epochs = epoch + 1
        self._write()
        self._write_csv()
        for old in self._complete()[: -self.keep]:
            shutil.rmtree(old)

    def _write(self):
        final = self._folder / f"epoch_{self._epochs:04d}"
        draft = self._folder / f".writing-{os.getpid()}"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        self.model.save_weights(draft / "state.weights.h5")
        random = [keras.ops.convert_to_numpy(v).tolist() for v in _random_state(self.model)]
        state = {"epochs": self._epochs, "history": self.history, "random": random}
        (draft / "state.json").write_text(json.dumps(state))
        for path in (draft / "state.weights.h5", draft / "state.json", draft):
            _to_disk(path)
        draft.rename(final)
        _to_disk(self._folder)

    def _write_csv(self):
        draft = self.directory / ".history.csv"
        with draft.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["epoch", *self.history])
            for epoch in range(self._epochs):
                row = [values[epoch : epoch + 1] or ["nan"] for values in self.history.values()]
                writer.writerow([epoch + 1, *(value[0] for value in row)])
        draft.replace(self.directory / "history.csv")


def _random_state(model):
    """The variables that Keras does not put into a weights file: what random layers draw next."""
    weights = {id(weight) for weight in model.weights}
    return [variable for variable in model.variables if id(variable) not in weights]


def _to_disk(path):
    """Waits until a file or folder would survive a power cut, where the system can say so."""
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

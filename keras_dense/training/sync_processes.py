"""Training of one model by several processes of PyTorch, inside a plain `fit`."""

import contextlib
from typing import Any

import keras

from keras_dense.ops.replicas import (
    average_over_processes,
    common_step,
    process_place,
    same_everywhere,
    sum_over_processes,
    take_from_first,
)


class SyncProcesses(keras.callbacks.Callback):
    """Train one model in all processes that PyTorch's `torchrun` has started.

    Each process runs the same script, with its own share of each batch:

    ```python
    torch.distributed.init_process_group(timeout=datetime.timedelta(minutes=10))
    loader = kd.datasets.Loader(train, model, 64, shuffle=True, shard="auto")
    sync, checkpoint = kd.training.SyncProcesses(), kd.training.Checkpoint("runs/camvid")
    start = checkpoint.restore(model, loader)
    callbacks = [sync, checkpoint]
    model.fit(loader, epochs=60, initial_epoch=start, callbacks=callbacks, shuffle=False)
    ```

    - Before training, all variables of model and optimizer become those of process 0.
    - In each step, the gradients become their mean over the processes before the optimizer uses
      them. So weights stay equal everywhere. Losses of this package are means over the known pixels
      of all processes (see docs/scale.md for the few that are not).
    - At the end of an epoch and of a validation, metrics are those of all processes: the same logs
      everywhere, so that `EarlyStopping` and the like decide alike. Within an epoch, the progress
      bar shows those of the process.
    - At the end of an epoch, other variables, such as the averages of batch norm, become their mean
      over the processes.

    It works for any model with the optimizer of Keras: `balanced`, `self_training`, `layerwise`,
    float16, accumulated gradients. It does nothing for a single process, and on JAX and TensorFlow,
    which do all of this themselves. List it before other callbacks. All processes must run the same
    callbacks, and the same validation; only output may differ (`verbose`).

    `torch.nn.parallel.DistributedDataParallel` is for a loop of one's own: `fit` calls the model,
    not such a wrapper of it, and the wrapper does not know Keras' metrics and averages.

    If another process dies, the next step raises the error of `torch.distributed`; if it hangs, the
    error comes after the `timeout` of `init_process_group`.

    Raises:
        ValueError: if the processes have different models or optimizers.

    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", loss="mse")
    >>> x, y = keras.ops.ones((4, 2)), keras.ops.ones((4, 1))
    >>> history = model.fit(x, y, callbacks=[SyncProcesses()], verbose=0)  # one process: nothing
    """

    def __init__(self) -> None:
        super().__init__()
        self._active = False
        self._step = contextlib.ExitStack()
        self._inside = self._trained = self._measured = False

    def on_train_begin(self, logs=None):
        self._active = keras.backend.backend() == "torch" and process_place()[1] > 1
        self._end_step()  # that of a `fit` that an error ended
        self._trained = self._measured = False
        if not self._active:
            return
        model, optimizer = self.model, self.model.optimizer
        if not optimizer.built:
            optimizer.build(model.trainable_variables)
        variables = [*model.variables, *optimizer.variables]
        facts = [f"{type(optimizer).__name__} {v.path} {v.shape} {v.dtype}" for v in variables]
        if not same_everywhere("\n".join(facts)):
            raise ValueError(
                "SyncProcesses: the processes have different models or optimizers. Build them by "
                "the same code with the same arguments in each process."
            )
        take_from_first(_tensors(variables))
        self._patch()

    def _patch(self) -> None:
        # In the instances, and only during `fit`: any model and any optimizer can be trained.
        model, optimizer = self.model, self.model.optimizer
        apply, result = type(optimizer).apply, type(model).get_metrics_result

        def averaged_apply(grads, trainable_variables=None):
            average_over_processes([g for g in grads if g is not None])
            return apply(optimizer, grads, trainable_variables)

        def common_result():
            self._share_state()
            return result(model)

        optimizer.apply, model.get_metrics_result = averaged_apply, common_result

    def _share_state(self) -> None:
        """At the end of an epoch or a validation, metrics and averages of all processes.

        Keras asks for the metrics after each step, too, and then once more at the end.
        """
        if self._inside or not self._measured:
            return
        _share(self.model.metrics_variables)
        if self._trained:
            _share(self.model.non_trainable_variables)
        self._trained = self._measured = False

    def _begin_step(self) -> None:
        if self._active:
            self._inside = True
            self._step.enter_context(common_step())

    def _end_step(self) -> None:
        self._inside, self._measured = False, True
        self._step.close()

    def on_train_batch_begin(self, batch, logs=None):
        self._begin_step()

    def on_train_batch_end(self, batch, logs=None):
        self._end_step()
        self._trained = True

    def on_test_batch_begin(self, batch, logs=None):
        self._begin_step()

    def on_test_batch_end(self, batch, logs=None):
        self._end_step()

    def on_train_end(self, logs=None):
        if self._active:
            del self.model.get_metrics_result, self.model.optimizer.apply
        self._active = False


def _share(variables: Any) -> None:
    """Sums over the processes become sums over all; other numbers that steps change, means."""
    sums = [v for v in variables if v.aggregation == "sum"]
    # Integers, such as numbers of steps and states of random generators, are equal everywhere.
    means = [v for v in variables if v.aggregation != "sum" and "float" in str(v.dtype)]
    sum_over_processes(_tensors(sums))
    average_over_processes(_tensors(means))


def _tensors(variables: Any) -> list:
    return [variable.value for variable in variables]

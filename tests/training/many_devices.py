"""Trainings for test_processes.py: on one device, on two of a process, or in two processes.

    python many_devices.py OUT DEVICES SCENARIO …

Several processes have the variables of torchrun or of keras.distribution. Writes
OUT/SCENARIO.RANK.json.
"""

import contextlib
import datetime
import json
import os
import pathlib
import signal
import sys

import keras
import numpy as np

import keras_dense as kd

SIZE = 12
TWO_HEADS = ("uncertainty", "log_sum", "progress")


class Uneven:
    """Scenes of which each has another number of void pixels."""

    num_classes = 8

    def __init__(self, count=10):
        self.scenes = kd.datasets.scenes(count, size=SIZE)

    def __len__(self):
        return len(self.scenes)

    def __getitem__(self, index):
        sample = dict(self.scenes[index])
        labels = sample["segmentation"].copy()
        labels[: index * 5 % SIZE] = 255
        return {**sample, "segmentation": labels}


def network(heads, *, norm=None, dropout=0.0):
    image = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.Conv2D(8, 3, padding="same", name="first")(x)
    if norm is not None:
        x = keras.layers.BatchNormalization(momentum=0.5, trainable=norm != "frozen")(x)
    x = keras.layers.Dropout(dropout)(keras.layers.ReLU()(x))
    if not isinstance(heads, dict):
        return kd.heads.attach(keras.Model(image, keras.layers.Conv2D(8, 1)(x)), heads)
    outputs = {key: keras.layers.Conv2D(head.channels, 1)(x) for key, head in heads.items()}
    outputs["depth"] = keras.layers.Activation("softplus")(outputs["depth"])
    return kd.heads.attach(keras.Model(image, outputs), heads)


def losses(scenario):
    found = {
        "dice": kd.losses.Sum([kd.losses.CrossEntropy(), kd.losses.Dice(smooth=1.0)]),
        "lovasz_of_images": kd.losses.Lovasz(per_image=True),
        "lovasz_of_batch": kd.losses.Lovasz(),
        "hard_by_threshold": kd.losses.OhemCrossEntropy(threshold=0.15, min_pixels=0),
        "hard_by_share": kd.losses.OhemCrossEntropy(ratio=0.3),
        "keras_loss": keras.losses.SparseCategoricalCrossentropy(True, ignore_class=255),
    }
    return found.get(scenario)


def build(scenario):
    """A compiled model, and what is trained (with the same weights)."""
    keras.utils.set_random_seed(3)
    head = kd.heads.Segmentation(8)
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
    if scenario in TWO_HEADS:
        model = network({"segmentation": head, "depth": kd.heads.Depth(max_depth=60.0)})
        balancers = {
            "uncertainty": kd.training.UncertaintyWeighting,
            "log_sum": kd.training.LogSum,
            "progress": kd.training.DynamicWeightAverage,
        }
        training = kd.training.balanced(model, balancers[scenario]())
    else:
        norm = {"frozen": "frozen", "batch_norm": "own", "fused": "own", "teacher": "frozen"}
        model = training = network(head, norm=norm.get(scenario))
    if scenario == "fused":
        kd.surgery.accelerate(model)
    if scenario == "teacher":
        training = kd.training.self_training(model, relative=False, confidence=0.13, fill="pixels")
    if scenario == "layerwise":
        optimizer = kd.training.layerwise(model, optimizer, {"first": 0.1})
    given = kd.objectives(training)
    if losses(scenario) is not None:
        given["loss"] = losses(scenario)
    training.compile(optimizer, **given)
    return model, training


def train(scenario, out, rank):
    model, training = build(scenario)
    loader = kd.datasets.Loader(Uneven(), model, 4, shuffle=True, seed=1, shard="auto", workers=0)
    shard = None if scenario == "whole_validation" else "auto"
    val = kd.datasets.Loader(Uneven(8), model, 4, shard=shard, workers=0)
    history = training.fit(
        loader,
        epochs=3,
        shuffle=False,
        validation_data=val,
        callbacks=[kd.training.SyncProcesses()],
        verbose=0,
    ).history
    images = np.stack([Uneven()[i]["image"] for i in range(2)])
    outputs = keras.tree.flatten(training.predict(images, verbose=0))
    found = {
        "history": history,
        "predictions": [np.asarray(x).tolist() for x in outputs],
        "weights": [np.asarray(w).tolist() for w in training.get_weights()],
    }
    (out / f"{scenario}.{rank}.json").write_text(json.dumps(found))


class End(keras.callbacks.Callback):
    """End or stop this process in the middle of an epoch: `kill 1 2` is rank 1, epoch 2."""

    def __init__(self, rank):
        super().__init__()
        name, of, epoch = (os.environ.get("END") or "never -1 -1").split()
        self.signal = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}.get(name)
        self.epoch = int(epoch) if self.signal and rank == int(of) else -1

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch == self.epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.now and batch == 1:
            os.kill(os.getpid(), self.signal)


def run(out, rank):
    """A run with checkpoints."""
    model, training = build("frozen")
    loader = kd.datasets.Loader(Uneven(), model, 4, shuffle=True, seed=1, shard="auto", workers=0)
    checkpoint = kd.training.Checkpoint(out)
    start = checkpoint.restore(training, loader)
    callbacks = [kd.training.SyncProcesses(), checkpoint, End(rank)]
    if os.environ.get("END") == "alone 0 0":
        callbacks = callbacks[1:]
        training.set_weights([w + rank for w in training.get_weights()])
    training.fit(
        loader, epochs=4, initial_epoch=start, shuffle=False, callbacks=callbacks, verbose=0
    )
    found = {"start": start, "history": checkpoint.history}
    (out / f"run.{rank}.json").write_text(json.dumps(found))


@contextlib.contextmanager
def devices(number):
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        torch.set_num_threads(1)
        if number > 1:
            limit = datetime.timedelta(seconds=float(os.environ.get("LIMIT", 600)))
            torch.distributed.init_process_group("gloo", timeout=limit)
        yield
        if number > 1:
            torch.distributed.destroy_process_group()
    elif backend == "jax":
        if "KERAS_DISTRIBUTION_NUM_PROCESSES" in os.environ:
            keras.distribution.initialize()
        with keras.distribution.DataParallel(auto_shard_dataset=False).scope():
            yield
    else:
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        parts = [tf.config.LogicalDeviceConfiguration()] * number
        tf.config.set_logical_device_configuration(cpu, parts)
        names = [f"CPU:{i}" for i in range(number)]
        with tf.distribute.MirroredStrategy(names).scope():
            yield


def main():
    out, number, *scenarios = sys.argv[1:]
    with devices(int(number)):
        rank = kd.datasets.Loader(Uneven(2), None, 2, shard="auto").shard[0]
        for scenario in scenarios:
            if scenario == "run":
                run(pathlib.Path(out), rank)
            else:
                train(scenario, pathlib.Path(out), rank)


if __name__ == "__main__":
    main()

"""Costs of metrics and data, compared with a step of training."""

import os
import pathlib
import statistics
import sys

from _turns import in_turns

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


def _network(size, batch, classes, with_metrics=True, backbone="mobilenet_v2"):
    """FCN-8s, a call that trains it for one step, its head, and the labels of the step."""
    import keras
    import numpy as np

    import keras_dense as kd

    keras.utils.set_random_seed(0)
    head = kd.heads.Segmentation(classes)
    model = kd.fcn8s(backbone, heads=head, weights=None)
    arguments = kd.objectives(model)
    if not with_metrics:
        arguments.pop("metrics")
    model.compile(keras.optimizers.SGD(0.001, momentum=0.9), **arguments)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, size, size, 3), "uint8")
    labels = rng.integers(0, classes, (batch, size, size), "int32")
    return model, lambda: model.train_on_batch(images, labels), head, labels


def _compiled(metrics, truth, prediction, jit):
    """A call that updates the metrics as `fit` does on this backend."""
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        def update(truth, prediction):
            for metric in metrics:
                metric.update_state(truth, prediction)

        update = tf.function(update, jit_compile=jit)
        return lambda: (update(truth, prediction), metrics[0].variables[0].numpy())
    if keras.backend.backend() == "jax":
        import jax

        def update(states, truth, prediction):
            pairs = zip(metrics, states, strict=True)
            return [m.stateless_update_state(s, truth, prediction) for m, s in pairs]

        update = jax.jit(update)
        states = [[v.value for v in metric.variables] for metric in metrics]
        return lambda: jax.block_until_ready(update(states, truth, prediction))
    return lambda: [metric.update_state(truth, prediction) for metric in metrics]


def metric(rounds=20, batch=4, size=256, classes=21):
    """Time of the head's metrics over time of the training step."""
    import keras

    logits = keras.random.normal((batch, size, size, classes))
    for backbone in ("mobilenet_v2", "resnet50"):
        plain, step, head, labels = _network(size, batch, classes, False, backbone)
        _, step_with, _, _ = _network(size, batch, classes, True, backbone)
        truth = keras.ops.convert_to_tensor(labels)
        update = _compiled(head.metrics(), truth, logits, bool(plain.jit_compile))
        times = in_turns(
            rounds, step=step, step_with=step_with, update=update, again=update, thrice=update
        )
        alone = min(min(times[name]) for name in ("update", "again", "thrice"))
        bare, full = min(times["step"]), min(times["step_with"])
        backend = keras.backend.backend()
        figure = f"{alone / bare:.1%} ({alone * 1e3:.1f} ms of {bare * 1e3:.0f} ms)"
        yield f"metric update over the train step, {backbone}", "≤ 3 %", figure, backend
        ratios = [b / a for a, b in zip(times["step"], times["step_with"], strict=True)]
        figure = f"{full / bare - 1:+.1%} (median of pairs {statistics.median(ratios) - 1:+.1%})"
        yield "the same, as train step with and without", "", figure, backend


def data(rounds=5, batch=8, size=256):
    """Images per second of the data pipeline over images per second of training."""
    import keras

    import keras_dense as kd

    folder = pathlib.Path(os.environ.get("KERAS_DENSE_DATA", REPOSITORY.parent / "shared/data"))
    if (folder / "camvid").is_dir():
        source = kd.datasets.camvid(folder / "camvid", "train")
    else:
        print(f"(no CamVid in {folder}: scenes instead)", file=sys.stderr)
        source = kd.datasets.scenes(64, 320)
    T = kd.datasets.transforms
    steps = [T.RandomScale(0.75, 1.5), T.RandomCrop(size), T.RandomFlip(), T.ColorJitter()]
    head = kd.heads.Segmentation(source.num_classes)
    _, step, _, _ = _network(size, batch, source.num_classes)
    loaders = {
        f"{source.name}, {how}": kd.datasets.Loader(
            part, head, batch_size=batch, transforms=steps, shuffle=True, workers=2
        )
        for how, part in (("read anew", source), ("cached", kd.datasets.cached(source)))
    }
    for name, loader in loaders.items():
        number = min(len(loader), 12)
        times = in_turns(
            rounds,
            data=lambda loader=loader, number=number: [loader[i] for i in range(number)],
            train=lambda: [step() for _ in range(3)],
        )
        gives, eats = number * batch / min(times["data"]), 3 * batch / min(times["train"])
        figure = f"{gives / eats:.1f}× ({gives:.0f} over {eats:.1f} images/s)"
        what = f"data pipeline ({name}) over training"
        yield what, "≥ 1.5×", figure, keras.backend.backend()

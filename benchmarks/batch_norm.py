"""A training step with and without `kd.training.fuse_batch_norm`.

    KERAS_BACKEND=tensorflow python benchmarks/batch_norm.py    # also torch; JAX fuses by itself

Two networks with the same weights take turns, in seconds of computing on one thread. The losses of
both are printed, too: they are the same to rounding.
"""

import argparse
import os
import time

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
for threads in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(threads, "1")

import keras  # noqa: E402
import numpy as np  # noqa: E402
from _turns import in_turns  # noqa: E402

import keras_dense as kd  # noqa: E402

NETWORKS = {
    "FCN-8s, MobileNetV2": lambda: kd.fcn8s("mobilenet_v2", 11, weights=None),
    "FCN-8s, ResNet-50": lambda: kd.fcn8s("resnet50", 11, weights=None),
    "U-Net, MobileNetV2": lambda: kd.unet("mobilenet_v2", 11, weights=None),
}


def compiled(build, fused):
    keras.utils.set_random_seed(0)
    model = build()
    if fused:
        kd.training.fuse_batch_norm(model)
    model.compile(keras.optimizers.SGD(1e-3), loss=kd.objectives(model)["loss"])
    return model


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args(argv)
    rng = np.random.default_rng(0)
    shape = (args.batch, args.size, args.size)
    images = rng.integers(0, 256, (*shape, 3), dtype="uint8")
    labels = rng.integers(0, 11, shape, dtype="uint8")
    print("| network | backend | as Keras | fused | ratio | first losses |")
    print("|---|---|---:|---:|---:|---|")
    for name, build in NETWORKS.items():
        models = {which: compiled(build, which == "fused") for which in ("plain", "fused")}
        losses = {
            which: float(np.asarray(model.train_on_batch(images, labels)))
            for which, model in models.items()
        }
        calls = {
            which: (lambda model=model: model.train_on_batch(images, labels))
            for which, model in models.items()
        }
        seconds = in_turns(args.rounds, clock=time.process_time, **calls)
        plain, fused = (min(seconds[which]) for which in ("plain", "fused"))
        print(
            f"| {name} | {keras.backend.backend()} | {plain:.2f} s | {fused:.2f} s "
            f"| {fused / plain:.2f}× | {losses['plain']:.5f}, {losses['fused']:.5f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

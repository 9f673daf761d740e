"""Predictions and training steps of networks with and without `kd.surgery.accelerate`.

    KERAS_BACKEND=torch python benchmarks/accelerate.py    # also tensorflow, jax

Builders accelerate their networks; the plain ones are made of the same configurations. Both have
the same weights and take turns, in seconds of computing on one thread. The largest difference of
their predictions, relative to the largest score, is printed, too.
"""

import argparse
import os
import time

os.environ.setdefault("KERAS_BACKEND", "torch")
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
    "U-Net, VGG-16": lambda: kd.unet("vgg16", 11, weights=None),
}


def pair(build):
    """A network as Keras computes it, and the accelerated one; both compiled."""
    keras.utils.set_random_seed(0)
    fast = build()
    plain = keras.Model.from_config(fast.get_config())
    plain.set_weights(fast.get_weights())
    loss = kd.objectives(fast)["loss"]
    for model in (plain, fast):
        model.compile(keras.optimizers.SGD(1e-3, momentum=0.9), loss=loss)
    return {"plain": plain, "fast": fast}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args(argv)
    rng = np.random.default_rng(0)
    shape = (args.batch, args.size, args.size)
    images = rng.integers(0, 256, (*shape, 3), dtype="uint8")
    labels = rng.integers(0, 11, shape, dtype="uint8")
    print("| network | backend | call | as Keras | accelerated | ratio | difference |")
    print("|---|---|---|---:|---:|---:|---:|")
    for name, build in NETWORKS.items():
        models = pair(build)
        wanted, found = (model.predict_on_batch(images) for model in models.values())
        difference = f"{np.abs(found - wanted).max() / np.abs(wanted).max():.0e}"
        for call in ("prediction", "training step"):
            calls = {
                which: (lambda model=model: model.predict_on_batch(images))
                if call == "prediction"
                else (lambda model=model: model.train_on_batch(images, labels))
                for which, model in models.items()
            }
            seconds = in_turns(args.rounds, clock=time.process_time, **calls)
            plain, fast = (min(seconds[which]) for which in models)
            cells = (name, keras.backend.backend(), call, f"{plain:.2f} s", f"{fast:.2f} s")
            print("|", " | ".join((*cells, f"{fast / plain:.2f}×", difference)), "|", flush=True)
            difference = ""


if __name__ == "__main__":
    main()

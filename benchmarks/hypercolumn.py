"""Hypercolumns: scores of every tap summed, beside one convolution on the concatenation.

    python benchmarks/hypercolumn.py [--backends torch tensorflow jax] [--size 256] [--rounds 3]

VGG-16's last map of each of five strides (64, 128, 256, 512 and 512 channels), 21 classes, random
weights, float32 on the CPU. Peak memory is what a process of its own, warmed up at a small size,
needs on top for the first call; times are the best of some rounds in turns. With --busy, for a
machine that does other things too: one thread, and seconds of computing. Prints Markdown tables.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import threading
import time

import numpy as np
from _turns import in_turns

BACKENDS = ("torch", "tensorflow", "jax")
CLASSES, HIDDEN = 21, 256
TAPS = {f"P{n}": channels for n, channels in enumerate((64, 128, 256, 512, 512))}
FORMS = ("fused", "naive")
# What is measured: the part after the backbone from maps that are given, and the whole network.
TASKS = {
    "scores from taps, forward": ("taps", "forward"),
    "scores from taps, train step": ("taps", "train"),
    "network, forward": ("network", "forward"),
    "network, train step": ("network", "train"),
    f"network, perceptron of {HIDDEN}, forward": ("perceptron", "forward"),
    f"network, perceptron of {HIDDEN}, train step": ("perceptron", "train"),
}
PIXELS = 2000  # On which the fused perceptron is trained.


def naive_decoder(mlp=()):
    """Every tap upsampled to the image, all of them concatenated, then 1×1 convolutions."""
    from keras import layers

    from keras_dense.decoders import scores
    from keras_dense.layers import BilinearUpsampling
    from keras_dense.surgery.graph import source_of
    from keras_dense.surgery.strides import stride_between

    @scores
    def decode(features, wanted):
        columns = [
            BilinearUpsampling(stride_between(source_of(x), x))(x) for x in features.values()
        ]
        x = layers.Concatenate()(columns)
        for width in mlp:
            x = layers.Conv2D(width, 1, activation="relu")(x)
        return layers.Conv2D(wanted.channels, 1)(x)

    return decode


def pooled_backbone():
    """Taps as wide as VGG's, which cost next to nothing: the image pooled and repeated."""
    import keras
    from keras import layers

    x = image = keras.Input((None, None, 3))
    features = {}
    for tap, channels in TAPS.items():
        if features:
            x = layers.AveragePooling2D(2)(x)
        # A 1×1 convolution that is not trained makes a real map of it.
        features[tap] = layers.Conv2D(channels, 1, trainable=False)(x)
    return keras.Model(image, features, name="backbone")


def network(form, part):
    import keras

    import keras_dense as kd

    keras.utils.set_random_seed(0)
    mlp = (HIDDEN,) if part == "perceptron" else ()
    if part == "taps":
        backbone = pooled_backbone()
    else:
        backbone = kd.backbone("vgg16", weights=None)
        backbone = kd.surgery.feature_pyramid(
            backbone, taps={tap: backbone.output[tap]._keras_history.operation.name for tap in TAPS}
        )
    if form == "fused":
        decoder = kd.decoders.hypercolumn(mlp=mlp, batch_norm=False)
    else:
        decoder = naive_decoder(mlp)
    return kd.assemble(backbone, decoder, kd.heads.Segmentation(CLASSES))


def call_of(form, part, kind, size):
    """The measured call, for an image of `size`²."""
    import keras

    import keras_dense as kd

    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (1, size, size, 3)).astype("float32")
    labels = rng.integers(0, CLASSES, (1, size, size)).astype("int32")
    model = network(form, part)
    if kind == "forward":
        return lambda: model.predict_on_batch(images)
    inputs, targets = images, labels
    if part == "perceptron" and form == "fused":
        model = kd.training.on_sampled_pixels(model)
        pixels = min(PIXELS, size * size)
        inputs, targets = kd.training.SampledPixels([(images, labels)], pixels)[0]
    settings = kd.objectives(kd.heads.Segmentation(CLASSES))
    settings.pop("metrics")
    model.compile(keras.optimizers.SGD(1e-6), **settings)
    return lambda: model.train_on_batch(inputs, targets)


def resident():
    """Bytes of memory that this process has now."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_of(call, every=0.0005):
    """The most memory that is resident while `call` runs, in bytes."""
    most, done = [resident()], threading.Event()

    def watch():
        while not done.is_set():
            most[0] = max(most[0], resident())
            time.sleep(every)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        call()
    finally:
        done.set()
        thread.join()
    return max(most[0], resident())


def measure_memory(form, part, kind, size):
    """MB on top of what the process had, for a second call at this size."""
    import gc

    call_of(form, part, kind, 64)()
    call = call_of(form, part, kind, size)
    gc.collect()
    before = resident()
    return (peak_of(call) - before) / 2**20


def measure_time(part, kind, size, rounds, busy):
    clock = time.process_time if busy else time.perf_counter
    calls = {form: call_of(form, part, kind, size) for form in FORMS}
    return {form: min(times) for form, times in in_turns(rounds, clock=clock, **calls).items()}


def child(backend, *words, busy):
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    # Freed memory goes back to the system, so that what is resident is what is in use.
    environment.update(MALLOC_TRIM_THRESHOLD_="0", MALLOC_MMAP_THRESHOLD_="65536")
    command = [sys.executable, __file__, "--child", *map(str, words), *(["--busy"] if busy else [])]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def row(*cells):
    print("|", " | ".join(cells), "|", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("memory", "time"), help="one of the two columns")
    parser.add_argument("--busy", action="store_true", help="one thread; seconds of computing")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        what, *words = args.child
        if what == "memory":
            form, part, kind, size = words
            print(json.dumps(measure_memory(form, part, kind, int(size))))
        else:
            part, kind, size, rounds = words
            print(json.dumps(measure_time(part, kind, int(size), int(rounds), args.busy)))
        return
    if args.busy:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    row("task", "backend", "memory, naive over fused", "time, naive over fused")
    print("|---|---|---|---|")
    for backend in args.backends:
        if importlib.util.find_spec(backend) is None:
            continue
        for task, (part, kind) in TASKS.items():
            cells = [f"{task}, {args.size}×{args.size}", backend, "", ""]
            if args.only != "time":
                more, less = (
                    child(backend, "memory", form, part, kind, args.size, busy=args.busy)
                    for form in ("naive", "fused")
                )
                cells[2] = f"{more / max(less, 1):.1f}× ({more:.0f} over {less:.0f} MB)"
            if args.only != "memory":
                times = child(backend, "time", part, kind, args.size, args.rounds, busy=args.busy)
                slow, fast = times["naive"], times["fused"]
                cells[3] = f"{slow / fast:.1f}× ({slow:.2f} over {fast:.2f} s)"
            row(*cells)


if __name__ == "__main__":
    main()

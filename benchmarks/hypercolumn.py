"""Hypercolumns: sums of the scores of taps, compared with one convolution on all taps.

    python benchmarks/hypercolumn.py [--backends torch tensorflow jax] [--size 256] [--rounds 3]

The last map of VGG-16 at each of five strides (64, 128, 256, 512 and 512 channels), 21 classes,
random weights, float32 on the CPU. Peak memory is the additional memory of the first call, in a
process of its own that is warmed up at a small size; times are the best of some rounds in turns.
--busy is for a machine with other work: one thread, and seconds of computing. Prints Markdown
tables.
"""

import argparse
import gc
import json
import os
import pathlib
import threading
import time

import numpy as np
from _peers import compile_without_metrics
from _process import child, heading, installed, one_thread, parser_of, ratio, row
from _turns import in_turns

CLASSES, HIDDEN = 21, 256
TAPS = {f"P{n}": channels for n, channels in enumerate((64, 128, 256, 512, 512))}
FORMS = ("fused", "naive")
# The part after the backbone, from given maps, and the whole network.
TASKS = {
    "scores from taps, forward": ("taps", "forward"),
    "scores from taps, train step": ("taps", "train"),
    "network, forward": ("network", "forward"),
    "network, train step": ("network", "train"),
    f"network, perceptron of {HIDDEN}, forward": ("perceptron", "forward"),
    f"network, perceptron of {HIDDEN}, train step": ("perceptron", "train"),
}
PIXELS = 2000  # The fused perceptron is trained on so many.


def naive_decoder(mlp=()):
    """Every tap upsampled to the image, all of them concatenated, then 1×1 convolutions."""
    from keras import layers

    from keras_dense.decoders import scores, stride_between
    from keras_dense.layers import BilinearUpsampling

    @scores
    def decode(features, wanted):
        image = features["P0"]  # As large as the image.
        columns = [BilinearUpsampling(stride_between(image, x))(x) for x in features.values()]
        x = layers.Concatenate()(columns)
        for width in mlp:
            x = layers.Conv2D(width, 1, activation="relu")(x)
        return layers.Conv2D(wanted.channels, 1)(x)

    return decode


def pooled_backbone():
    """Taps with the channels of VGG at almost no cost: the pooled image, repeated."""
    import keras
    from keras import layers

    x = image = keras.Input((None, None, 3))
    features = {}
    for tap, channels in TAPS.items():
        if features:
            x = layers.AveragePooling2D(2)(x)
        # A frozen 1×1 convolution gives it channels.
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
    compile_without_metrics(model, keras.optimizers.SGD(1e-6))
    return lambda: model.train_on_batch(inputs, targets)


def resident():
    """Bytes of memory of this process."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_of(call, every=0.0005):
    """Peak of the resident memory during a call, in bytes."""
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
    """Additional MB for a first call at this size."""
    call_of(form, part, kind, 64)()
    call = call_of(form, part, kind, size)
    gc.collect()
    before = resident()
    return (peak_of(call) - before) / 2**20


def measure_time(part, kind, size, rounds, busy):
    clock = time.process_time if busy else time.perf_counter
    calls = {form: call_of(form, part, kind, size) for form in FORMS}
    return {form: min(times) for form, times in in_turns(rounds, clock=clock, **calls).items()}


def run(backend, args, *words):
    """A process of this script on a backend."""
    # Freed memory goes back to the system, so that resident memory is memory in use.
    memory = {"MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_MMAP_THRESHOLD_": "65536"}
    return child(__file__, backend, "--child", *words, *["--busy"] * args.busy, **memory)


def main():
    parser = parser_of(__doc__, rounds=3)
    parser.add_argument("--only", choices=("memory", "time"), help="one of the two columns")
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
        one_thread()
    heading("task", "backend", "memory, naive over fused", "time, naive over fused")
    for backend in installed(args.backends):
        for task, (part, kind) in TASKS.items():
            memory = seconds = ""
            if args.only != "time":
                more, less = (
                    run(backend, args, "memory", form, part, kind, args.size)
                    for form in ("naive", "fused")
                )
                memory = f"{more / max(less, 1):.1f}× ({more:.0f} over {less:.0f} MB)"
            if args.only != "memory":
                times = run(backend, args, "time", part, kind, args.size, args.rounds)
                seconds = ratio(times["naive"], times["fused"], digits=1)
            row(f"{task}, {args.size}×{args.size}", backend, memory, seconds)


if __name__ == "__main__":
    main()

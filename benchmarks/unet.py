"""U-Net on three backbones, compared with segmentation_models_pytorch: time and memory.

    python benchmarks/unet.py [--backends torch tensorflow jax] [--rounds 2] [--busy]

ResNet-50, VGG-16 and MobileNetV2, 21 classes, random weights, float32 on the CPU. Times: each of
our backends has a process of its own, where it takes turns with the peer, on the same images and
with as many threads. --busy is for a machine with other work: one thread each, and seconds of
computing. Memory: a fresh process for each network and task. Prints Markdown tables; README.md
explains how to install the peer.
"""

import argparse
import gc
import importlib.util
import json
import os
import sys
import time

import numpy as np
from _memory import forget, resident
from _peers import compile_without_metrics, our_calls, peer_calls, peer_library, size_of
from _process import child, heading, installed, one_thread, parser_of, ratio, row
from _turns import in_turns

CLASSES = 21
# Our name of a backbone, and the peer's.
NETWORKS = {
    "ResNet-50": ("resnet50", "resnet50"),
    "VGG-16": ("vgg16", "vgg16"),
    "MobileNetV2": ("mobilenet_v2", "mobilenet_v2"),
}
OURS = ("ours", "ours, decoder of SMP")
TASKS = {
    "forward": (1, 2, 0),
    "train step": (2, 1, 1),
}  # Images, their side over --size, forward or training.


def decoder_of_the_peer(center, filters=(256, 128, 64, 32, 16)):
    """SMP's decoder: nearest neighbor, concatenation, two 3×3 convolutions; scores by a 3×3 one."""
    from keras import layers

    from keras_dense.decoders import conv_bn_relu, read_through

    @read_through(3)
    def decode(features):
        x = features["P5"]
        for n in (1, 2) if center else ():  # On VGG.
            x = conv_bn_relu(x, 512, 3, name=f"center_{n}")
        for level, width in zip((4, 3, 2, 1, 0), filters, strict=True):
            x = layers.UpSampling2D(2, name=f"up{level}")(x)
            if level:  # Not at the size of the image, where only VGG has a feature.
                x = layers.Concatenate(name=f"join{level}")([x, features[f"P{level}"]])
            for n in (1, 2):
                x = conv_bn_relu(x, width, 3, name=f"block{level}_{n}")
        return x

    return decode


def our_network(name, whose):
    import keras

    import keras_dense as kd

    keras.utils.set_random_seed(0)
    head, backbone = kd.heads.Segmentation(CLASSES), NETWORKS[name][0]
    if whose == "ours":
        model = kd.unet(backbone, heads=head, weights=None)
    else:
        decoder = decoder_of_the_peer(center=backbone == "vgg16")
        model = kd.assemble(kd.backbone(backbone, weights=None), decoder, head)
    return compile_without_metrics(model, keras.optimizers.SGD(0.001, momentum=0.9))


def peer_network(name):
    import segmentation_models_pytorch as smp
    import torch

    torch.manual_seed(0)
    return smp.Unet(NETWORKS[name][1], encoder_weights=None, classes=CLASSES)


def batch(task, size):
    count, times, _ = TASKS[task]
    rng = np.random.default_rng(0)
    shape = (count, times * size, times * size)
    images = rng.uniform(0, 255, (*shape, 3)).astype("float32")
    return images, rng.integers(0, CLASSES, shape).astype("int32")


def call_of(whose, network, task, size):
    calls = peer_calls if whose == "SMP" else our_calls
    return calls(network, *batch(task, size))[TASKS[task][2]]


def network_of(whose, name):
    return peer_network(name) if whose == "SMP" else our_network(name, whose)


def measure(args):
    """Seconds of every call on the backend of this process, and sizes."""
    import keras

    backend = keras.backend.backend()
    clock = time.process_time if args.busy else time.perf_counter
    seconds, sizes = {}, {}
    for name in args.networks:
        networks = {whose: network_of(whose, name) for whose in (*OURS, "SMP")}
        for task in TASKS:
            calls = {w: call_of(w, network, task, args.size) for w, network in networks.items()}
            if backend == "torch" and task == "forward":
                for whose, call in calls.items():
                    sizes[f"{name} | {whose}"] = size_of(networks[whose], call)
            times = in_turns(args.rounds, clock=clock, **calls)
            seconds[f"{name} | {task}"] = {whose: min(times[whose]) for whose in calls}
            print(backend, name, task, times, file=sys.stderr, flush=True)
        del networks, calls
        keras.backend.clear_session()
        gc.collect()
    return {"seconds": seconds, "sizes": sizes}


def load(whose):
    """Import all modules that will be used, also those that are imported at first use."""
    if whose == "SMP":
        import segmentation_models_pytorch  # noqa: F401

        return
    import keras

    import keras_dense  # noqa: F401

    keras.utils.set_random_seed(0)  # Loads TensorFlow to seed it.
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(CLASSES, 1)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images, labels = np.zeros((1, 8, 8, 3), "float32"), np.zeros((1, 8, 8), "int32")
    model.predict_on_batch(images)
    model.train_on_batch(images, labels)


def peak(args):
    """Most MB while a network runs twice, with its weights and without the libraries."""
    whose, name, task = args.peak
    load(whose)
    gc.collect()
    before = resident("VmRSS")
    call = call_of(whose, network_of(whose, name), task, args.size)
    gc.collect()
    forget()  # SMP builds VGG with its classifier and drops it.
    call()
    call()
    return resident("VmHWM") - before


def run(backend, args, *words):
    """A process of this script on a backend."""
    shared = ["--rounds", args.rounds, "--size", args.size, *["--busy"] * args.busy]
    return child(__file__, backend, *shared, "--networks", *args.networks, *words)


def main():
    parser = parser_of(__doc__, rounds=2)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if importlib.util.find_spec("segmentation_models_pytorch") is None:
        print("(no peer to compare with here: see benchmarks/README.md)", file=sys.stderr)
        return
    if args.child or args.peak:
        peer_library("torchvision")
        print(json.dumps(peak(args) if args.peak else measure(args)))
        return
    if args.busy:
        one_thread()
    backends = installed(args.backends)
    results = {backend: run(backend, args, "--child") for backend in backends}

    if "torch" in results:
        heading("U-Net on", "whose", "10⁶ parameters", f"10⁹ multiply-adds, 1×{2 * args.size}²")
        for name, (count, flops) in results["torch"]["sizes"].items():
            row(*name.split(" | "), f"{count:.2f}", f"{flops:.1f}")
        print()
    shown = {
        task: f"{task}, {count}×{times * args.size}×{times * args.size}"
        for task, (count, times, _) in TASKS.items()
    }
    heading("U-Net on", "task", "whose, over SMP's", *(f"on {b}" for b in backends))
    for name in args.networks:
        for task in TASKS:
            for whose in OURS:
                times = [result["seconds"][f"{name} | {task}"] for result in results.values()]
                row(name, shown[task], whose, *(ratio(t[whose], t["SMP"]) for t in times))
    if not os.path.exists("/proc/self/clear_refs"):
        return
    print()
    columns = [f"{whose}, on {backend}" for whose in OURS for backend in backends]
    heading("U-Net on", "peak memory, MB", "SMP", *columns)
    for name in args.networks:
        for task in TASKS:
            runs = [("SMP", "torch"), *((whose, b) for whose in OURS for b in backends)]
            found = [run(b, args, "--peak", whose, name, task) for whose, b in runs]
            row(name, shown[task], *(f"{mb:.0f}" for mb in found))


if __name__ == "__main__":
    main()

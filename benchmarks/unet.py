"""U-Net on ResNet-50, VGG-16 and MobileNetV2, beside segmentation_models_pytorch: time and memory.

    python benchmarks/unet.py [--backends torch tensorflow jax] [--rounds 2] [--busy]

21 classes, random weights, float32 on the CPU. Times: each backend of ours has a process of its
own, where it takes turns with the peer, on the same images and with as many threads. With --busy,
for a machine that does other things too: one thread each, and seconds of computing. Memory: a fresh
process for each network and task. Prints Markdown tables; README.md says where the peer comes from.
"""

import argparse
import gc
import importlib.util
import json
import os
import re
import subprocess
import sys
import time

import numpy as np
from _peers import peer_library
from _turns import in_turns

BACKENDS = ("torch", "tensorflow", "jax")
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
}  # images, their side over --size, which call


def decoder_of_the_peer(center, filters=(256, 128, 64, 32, 16)):
    """Nearest neighbor, all channels joined, two 3×3 convolutions; read through another 3×3."""
    from keras import layers

    from keras_dense.decoders import conv_bn_relu, read_through

    @read_through(3)
    def decode(features):
        x = features["P5"]
        for n in (1, 2) if center else ():  # on VGG
            x = conv_bn_relu(x, 512, 3, name=f"centre_{n}")
        for level, width in zip((4, 3, 2, 1, 0), filters, strict=True):
            x = layers.UpSampling2D(2, name=f"up{level}")(x)
            if level:  # VGG's feature of the size of the image is left out
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
    arguments = kd.objectives(head)
    arguments.pop("metrics")  # The peer has none.
    model.compile(keras.optimizers.SGD(0.001, momentum=0.9), **arguments)
    return model


def peer_network(name):
    import segmentation_models_pytorch as smp
    import torch

    torch.manual_seed(0)
    return smp.Unet(NETWORKS[name][1], encoder_weights=None, classes=CLASSES)


def our_calls(model, images, labels):
    return lambda: model.predict_on_batch(images), lambda: model.train_on_batch(images, labels)


def peer_calls(model, images, labels):
    import torch

    x = torch.from_numpy(images / 255).permute(0, 3, 1, 2).contiguous()
    y = torch.from_numpy(labels).long()
    optimizer = torch.optim.SGD(model.parameters(), 0.001, momentum=0.9)

    def forward():
        model.eval()
        with torch.inference_mode():
            model(x)

    def train():
        model.train()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    return forward, train


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


def parameters(network):
    if hasattr(network, "trainable_weights"):
        return sum(int(np.prod(w.shape)) for w in network.trainable_weights)
    return sum(p.numel() for p in network.parameters())


def multiply_adds(call):
    """10⁹ of a call on torch."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return counter.get_total_flops() / 2e9


def measure(args):
    """Seconds of every call on this process' backend, and sizes."""
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
                    size = parameters(networks[whose]) / 1e6, multiply_adds(call)
                    sizes[f"{name} | {whose}"] = size
            times = in_turns(args.rounds, clock=clock, **calls)
            seconds[f"{name} | {task}"] = {whose: min(times[whose]) for whose in calls}
            print(backend, name, task, times, file=sys.stderr, flush=True)
        del networks, calls
        keras.backend.clear_session()
        gc.collect()
    return {"seconds": seconds, "sizes": sizes}


def resident(key):
    """MB of this process: now ("VmRSS"), or at most since the last `forget` ("VmHWM")."""
    with open("/proc/self/status") as status:
        return int(re.search(rf"{key}:\s+(\d+)", status.read())[1]) / 1024


def forget():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def load(whose):
    """Import all that will be used, also what is imported at first use."""
    if whose == "SMP":
        import segmentation_models_pytorch  # noqa: F401

        return
    import keras

    import keras_dense  # noqa: F401

    keras.utils.set_random_seed(0)  # loads TensorFlow, if it is there, to seed it
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(CLASSES, 1)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images, labels = np.zeros((1, 8, 8, 3), "float32"), np.zeros((1, 8, 8), "int32")
    model.predict_on_batch(images)
    model.train_on_batch(images, labels)


def peak(args):
    """MB at most while a network is run twice, its weights included, the libraries not."""
    whose, name, task = args.peak
    load(whose)
    gc.collect()
    before = resident("VmRSS")
    call = call_of(whose, network_of(whose, name), task, args.size)
    gc.collect()
    forget()  # SMP builds VGG with its classifier, and drops that
    call()
    call()
    return resident("VmHWM") - before


def child(backend, args, *more):
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ, "KERAS_BACKEND": backend}
    command = [sys.executable, __file__, "--rounds", str(args.rounds), "--size", str(args.size)]
    command += ["--networks", *args.networks, *(["--busy"] if args.busy else []), *more]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def row(*cells):
    print("|", " | ".join(cells), "|", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--busy", action="store_true", help="one thread; seconds of computing")
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
        # All three backends make as many threads as there are cores for them.
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    backends = [b for b in args.backends if importlib.util.find_spec(b) is not None]
    results = {backend: child(backend, args, "--child") for backend in backends}

    if "torch" in results:
        row("U-Net on", "whose", "10⁶ parameters", f"10⁹ multiply-adds, 1×{2 * args.size}²")
        print("|---|---|---|---|")
        for name, (count, flops) in results["torch"]["sizes"].items():
            row(*name.split(" | "), f"{count:.2f}", f"{flops:.1f}")
        print()
    shown = {
        task: f"{task}, {count}×{times * args.size}×{times * args.size}"
        for task, (count, times, _) in TASKS.items()
    }
    row("U-Net on", "task", "whose, over SMP's", *(f"on {b}" for b in backends))
    print("|---" * (3 + len(backends)) + "|")
    for name in args.networks:
        for task in TASKS:
            for whose in OURS:
                cells = []
                for result in results.values():
                    times = result["seconds"][f"{name} | {task}"]
                    ours, theirs = times[whose], times["SMP"]
                    cells.append(f"{ours / theirs:.2f}× ({ours:.2f} over {theirs:.2f} s)")
                row(name, shown[task], whose, *cells)
    if not os.path.exists("/proc/self/clear_refs"):
        return
    print()
    row("U-Net on", "peak memory, MB", "SMP", *(f"{w}, on {b}" for w in OURS for b in backends))
    print("|---" * (3 + len(OURS) * len(backends)) + "|")
    for name in args.networks:
        for task in TASKS:
            runs = [("SMP", "torch"), *((whose, b) for whose in OURS for b in backends)]
            found = [child(b, args, "--peak", whose, name, task) for whose, b in runs]
            row(name, shown[task], *(f"{mb:.0f}" for mb in found))


if __name__ == "__main__":
    main()

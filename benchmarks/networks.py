"""DeepLabv3 and PSPNet on ResNet-50, compared with torchvision and segmentation_models_pytorch.

    python benchmarks/networks.py [--backends torch tensorflow jax] [--rounds 2] [--busy]

Output stride 8, 21 classes, random weights, float32 on the CPU. Each of our backends has a process
of its own, where it takes turns with the peers, on the same images and with as many threads. --busy
is for a machine with other work: one thread each, and seconds of computing. Prints Markdown tables;
README.md explains how to install the peers.
"""

import argparse
import gc
import importlib.util
import json
import sys
import time

import numpy as np
from _peers import compile_without_metrics, our_calls, peer_calls, peer_library, size_of
from _process import child, heading, installed, one_thread, parser_of, ratio, row
from _turns import in_turns

CLASSES = 21
# Networks and their peers; for each peer, whether it is measured beside every backend.
NETWORKS = {
    "DeepLabv3": {"torchvision": True, "SMP": False},
    "PSPNet": {"SMP, kernels of the paper": True, "SMP": False},
    # The share of Keras and its backend: the classifier alone, as it is and dilated.
    "ResNet-50": {"torchvision": True},
    "ResNet-50, dilated": {"torchvision": True},
}


def our_network(name):
    import keras

    import keras_dense as kd

    keras.utils.set_random_seed(0)
    optimizer = keras.optimizers.SGD(0.001, momentum=0.9)
    if name.startswith("ResNet"):
        backbone = keras.applications.ResNet50(
            weights=None, include_top=False, input_shape=(None, None, 3)
        )
        if "dilated" in name:
            backbone = kd.surgery.dilate(backbone, 8)
        kd.surgery.accelerate(backbone)  # as builders do
        x = keras.layers.GlobalAveragePooling2D()(backbone.output)
        model = keras.Model(backbone.input, keras.layers.Dense(CLASSES)(x))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer, loss)
        return model
    heads = kd.heads.Segmentation(CLASSES)
    if name == "DeepLabv3":  # As torchvision has it.
        heads = kd.heads.with_auxiliary(heads)
    build = kd.pspnet if name == "PSPNet" else kd.deeplabv3
    model = build("resnet50", heads=heads, weights=None, output_stride=8)
    return compile_without_metrics(model, optimizer)


def peer_network(name, peer):
    """The network of a peer; its PSPNet also with the kernels of the paper."""
    import torch

    torch.manual_seed(0)
    if name.startswith("ResNet"):
        from torchvision.models import resnet50

        dilated = [False, "dilated" in name, "dilated" in name]
        return resnet50(num_classes=CLASSES, replace_stride_with_dilation=dilated)
    if peer == "torchvision":
        from torchvision.models.segmentation import deeplabv3_resnet50

        return deeplabv3_resnet50(
            weights=None, weights_backbone=None, num_classes=CLASSES, aux_loss=True
        )
    import segmentation_models_pytorch as smp

    common = {"encoder_weights": None, "classes": CLASSES}
    if name == "DeepLabv3":
        return smp.DeepLabV3("resnet50", encoder_output_stride=8, **common)
    # By default it stops at the encoder's stage 3.
    model = smp.PSPNet("resnet50", encoder_depth=5, output_stride=8, **common)
    if peer != "SMP":
        model.decoder.conv[0] = torch.nn.Conv2d(4096, 512, 3, padding=1, bias=False)
        model.segmentation_head[0] = torch.nn.Conv2d(512, CLASSES, 1)
    return model


def tasks(size):
    return {
        f"forward, 2×{size}×{size}": (2, size, 0),
        f"forward, 1×{2 * size}×{2 * size}": (1, 2 * size, 0),
        f"train step, 2×{size}×{size}": (2, size, 1),
    }


def measure(names, rounds, size, clock):
    """Seconds of every call on the backend of this process, and sizes."""
    import keras

    backend = keras.backend.backend()
    rng = np.random.default_rng(0)
    seconds, sizes = {}, {}
    for name in names:
        peers = NETWORKS[name]
        library = {"torchvision": "torchvision"}
        found = [
            peer
            for peer, everywhere in peers.items()
            if (everywhere or backend == "torch")
            and peer_library(library.get(peer, "segmentation_models_pytorch")) is not None
        ]
        if not found:
            continue
        ours, networks = our_network(name), {peer: peer_network(name, peer) for peer in found}
        for task, (batch, side, kind) in tasks(size).items():
            images = rng.uniform(0, 255, (batch, side, side, 3)).astype("float32")
            shape = (batch,) if name.startswith("ResNet") else (batch, side, side)
            labels = rng.integers(0, CLASSES, shape).astype("int32")
            calls = {"ours": our_calls(ours, images, labels)[kind]}
            for peer, network in networks.items():
                calls[peer] = peer_calls(network, images, labels)[kind]
            if backend == "torch" and kind == 0 and batch == 1:
                for whose, network in {"ours": ours, **networks}.items():
                    sizes[f"{name} | {whose}"] = size_of(network, calls[whose])
            times = in_turns(rounds, clock=clock, **calls)
            seconds[f"{name} | {task}"] = {call: min(times[call]) for call in calls}
            print(backend, name, task, times, file=sys.stderr, flush=True)
        del ours, networks, calls
        keras.backend.clear_session()
        gc.collect()
    return {"seconds": seconds, "sizes": sizes}


def main():
    parser = parser_of(__doc__, rounds=2)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        clock = time.process_time if args.busy else time.perf_counter
        print(json.dumps(measure(args.networks, args.rounds, args.size, clock)))
        return
    if importlib.util.find_spec("torchvision") is None:
        print("(no peers to compare with here: see benchmarks/README.md)", file=sys.stderr)
        return
    if args.busy:
        one_thread()
    backends = installed(args.backends)
    words = ["--child", "--rounds", args.rounds, "--size", args.size, *["--busy"] * args.busy]
    words += ["--networks", *args.networks]
    results = {backend: child(__file__, backend, *words) for backend in backends}

    if "torch" in results:
        heading("network", "whose", "10⁶ parameters", f"10⁹ multiply-adds, 1×{2 * args.size}²")
        for name, (parameters, flops) in results["torch"]["sizes"].items():
            row(*name.split(" | "), f"{parameters:.2f}", f"{flops:.1f}")
        print()
    heading("network, over whose", "task", *(f"ours on {b}" for b in backends))
    for name in args.networks:
        for peer in NETWORKS[name]:
            for task in tasks(args.size):
                found = [r["seconds"].get(f"{name} | {task}", {}) for r in results.values()]
                cells = [ratio(t["ours"], t[peer]) if peer in t else "" for t in found]
                if any(cells):
                    row(f"{name}, over {peer}", task, *cells)


if __name__ == "__main__":
    main()

"""DeepLabv3 and PSPNet on ResNet-50, beside those of torchvision and segmentation_models_pytorch.

    python benchmarks/networks.py [--backends torch tensorflow jax] [--rounds 2] [--busy]

Output stride 8, 21 classes, random weights, float32 on the CPU. Each backend of ours has a process
of its own, where it takes turns with the peers, on the same images and with as many threads. With
--busy, for a machine that does other things too: one thread each, and seconds of computing.
Prints Markdown tables; README.md beside this file says where the peers come from.
"""

import argparse
import gc
import importlib.util
import json
import os
import subprocess
import sys
import time

import numpy as np
from _peers import peer_library
from _turns import in_turns

BACKENDS = ("torch", "tensorflow", "jax")
CLASSES = 21
# Each with its peers; for each peer, whether it is measured beside every backend.
NETWORKS = {
    "DeepLabv3": {"torchvision": True, "SMP": False},
    "PSPNet": {"SMP, kernels of the paper": True, "SMP": False},
    # What of it is Keras and its backend: the classifier as it is, and dilated, with nothing else.
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
        x = keras.layers.GlobalAveragePooling2D()(backbone.output)
        model = keras.Model(backbone.input, keras.layers.Dense(CLASSES)(x))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer, loss)
        return model
    heads = kd.heads.Segmentation(CLASSES)
    if name == "DeepLabv3":  # As torchvision's. The heads that SMP can add classify the image.
        heads = kd.heads.with_auxiliary(heads)
    build = kd.pspnet if name == "PSPNet" else kd.deeplabv3
    model = build("resnet50", heads=heads, weights=None, output_stride=8)
    arguments = kd.objectives(heads)
    arguments.pop("metrics")  # The peers have none.
    model.compile(optimizer, **arguments)
    return model


def peer_network(name, peer):
    """As the peer builds it, and for PSPNet also with the kernels that the paper's network has."""
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


def our_calls(model, images, labels):
    targets = {name: labels for name in model.output} if isinstance(model.output, dict) else labels
    return (
        lambda: model.predict_on_batch(images),
        lambda: model.train_on_batch(images, targets),
    )


def peer_calls(model, images, labels):
    import torch

    x = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    y = torch.from_numpy(labels).long()
    optimizer = torch.optim.SGD(model.parameters(), 0.001, momentum=0.9)
    loss = torch.nn.functional.cross_entropy

    def forward():
        model.eval()
        with torch.inference_mode():
            model(x)

    def train():
        model.train()
        optimizer.zero_grad()
        out = model(x)
        if isinstance(out, dict):
            total = loss(out["out"], y) + 0.4 * loss(out["aux"], y)
        else:
            total = loss(out, y)
        total.backward()
        optimizer.step()
        total.item()

    return forward, train


def tasks(size):
    return {
        f"forward, 2×{size}×{size}": (2, size, 0),
        f"forward, 1×{2 * size}×{2 * size}": (1, 2 * size, 0),
        f"train step, 2×{size}×{size}": (2, size, 1),
    }


def size_of(parameters, call):
    """Millions of parameters, and 10⁹ multiply-adds of a call on torch."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return parameters / 1e6, counter.get_total_flops() / 2e9


def measure(rounds, size, clock):
    """Seconds of every call on this process' backend, and sizes."""
    import keras

    backend = keras.backend.backend()
    rng = np.random.default_rng(0)
    seconds, sizes = {}, {}
    for name, peers in NETWORKS.items():
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
                calls[peer] = peer_calls(network, images / 255, labels)[kind]
            if backend == "torch" and kind == 0 and batch == 1:
                count = sum(int(np.prod(w.shape)) for w in ours.trainable_weights)
                sizes[f"{name} | ours"] = size_of(count, calls["ours"])
                for peer, network in networks.items():
                    count = sum(p.numel() for p in network.parameters())
                    sizes[f"{name} | {peer}"] = size_of(count, calls[peer])
            times = in_turns(rounds, clock=clock, **calls)
            seconds[f"{name} | {task}"] = {call: min(times[call]) for call in calls}
            print(backend, name, task, times, file=sys.stderr, flush=True)
        del ours, networks, calls
        keras.backend.clear_session()
        gc.collect()
    return {"seconds": seconds, "sizes": sizes}


def child(backend, args):
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ, "KERAS_BACKEND": backend}
    command = [sys.executable, __file__, "--child", "--rounds", str(args.rounds)]
    command += ["--size", str(args.size), *(["--busy"] if args.busy else [])]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def row(*cells):
    print("|", " | ".join(cells), "|", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--busy", action="store_true", help="one thread; seconds of computing")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        clock = time.process_time if args.busy else time.perf_counter
        print(json.dumps(measure(args.rounds, args.size, clock)))
        return
    if importlib.util.find_spec("torchvision") is None:
        print("(no peers to compare with here: see benchmarks/README.md)", file=sys.stderr)
        return
    if args.busy:
        # All three backends make as many threads as there are cores for them.
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    backends = [b for b in args.backends if importlib.util.find_spec(b) is not None]
    results = {backend: child(backend, args) for backend in backends}

    if "torch" in results:
        row("network", "whose", "10⁶ parameters", f"10⁹ multiply-adds, 1×{2 * args.size}²")
        print("|---|---|---|---|")
        for name, (parameters, flops) in results["torch"]["sizes"].items():
            row(*name.split(" | "), f"{parameters:.2f}", f"{flops:.1f}")
        print()
    row("network, over whose", "task", *(f"ours on {b}" for b in backends))
    print("|---" * (2 + len(backends)) + "|")
    for name, peers in NETWORKS.items():
        for peer in peers:
            for task in tasks(args.size):
                cells = []
                for result in results.values():
                    times = result["seconds"].get(f"{name} | {task}", {})
                    if peer in times:
                        ours, theirs = times["ours"], times[peer]
                        cells.append(f"{ours / theirs:.2f}× ({ours:.2f} over {theirs:.2f} s)")
                    else:
                        cells.append("")
                if any(cells):
                    row(f"{name}, over {peer}", task, *cells)


if __name__ == "__main__":
    main()

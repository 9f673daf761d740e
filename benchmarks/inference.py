"""Time from pixels to labels on the CPU: our exports compared with torchvision and SMP.

    python benchmarks/inference.py [--only "U-Net, ResNet-50"] [--size 320 416] [--rounds 7]

21 classes, random weights, one image. Every call starts with uint8 pixels `(1, H, W, 3)` in NumPy
and ends with labels `(1, H, W)` in NumPy: standardized, predicted, arg-maxed. The peers, eager and
by `torch.compile`, and our OpenVINO and ONNX files take turns in one process, with as many threads,
in float32 and in bfloat16 (the peers by `torch.autocast`; OpenVINO chooses it by itself on CPUs
that have it), OpenVINO in int8 as well. Prints a Markdown table; README.md explains how to install
the peers.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import numpy as np
from _peers import peer_library
from _turns import in_turns

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

CLASSES = 21
SUFFIX = {"openvino": ".xml", "onnx": ".onnx"}
PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}  # And their names in OpenVINO.


def fcn_of_torchvision(backbone):
    """The FCN of torchvision: dilated to stride 8, one 3×3 convolution, scores, bilinear."""
    from keras import layers

    import keras_dense as kd

    def decode(features):
        x = features["P5"]
        x = layers.Conv2D(512, 3, padding="same", use_bias=False, name="convolve")(x)
        return layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(x))

    backbone = kd.surgery.dilate(kd.backbone(backbone, weights=None), 8)
    return kd.assemble(backbone, decode, kd.heads.Segmentation(CLASSES), name="fcn")


def unet_of_smp(backbone):
    """The U-Net of SMP, layer by layer, on our backbone."""
    from unet import decoder_of_the_peer

    import keras_dense as kd

    decoder = decoder_of_the_peer(center=False)
    head = kd.heads.Segmentation(CLASSES)
    return kd.assemble(kd.backbone(backbone, weights=None), decoder, head, name="unet")


def ours(builder, backbone, **settings):
    import keras_dense as kd

    return getattr(kd, builder)(backbone, num_classes=CLASSES, weights=None, **settings)


# By name and variant. Keras is imported when one is built.
NETWORKS = {
    ("U-Net, ResNet-50", "decoder of SMP"): lambda: unet_of_smp("resnet50"),
    ("U-Net, ResNet-50", ""): lambda: ours("unet", "resnet50"),
    ("U-Net, MobileNetV2", "decoder of SMP"): lambda: unet_of_smp("mobilenet_v2"),
    ("U-Net, MobileNetV2", ""): lambda: ours("unet", "mobilenet_v2"),
    ("DeepLabv3+, ResNet-50", ""): lambda: ours("deeplabv3plus", "resnet50", separable=True),
    ("FCN, ResNet-50", ""): lambda: fcn_of_torchvision("resnet50"),
}


def peer(name):
    import torch

    torch.manual_seed(0)
    if name.startswith("FCN"):
        from torchvision.models.segmentation import fcn_resnet50

        network = fcn_resnet50(weights=None, weights_backbone=None, num_classes=CLASSES)
        return "torchvision", lambda x: network.eval()(x)["out"]
    import segmentation_models_pytorch as smp

    build = smp.Unet if name.startswith("U-Net") else smp.DeepLabV3Plus
    encoder = "resnet50" if "ResNet" in name else "mobilenet_v2"
    network = build(encoder, encoder_weights=None, classes=CLASSES)
    return "SMP", lambda x: network.eval()(x)


def from_pixels_to_labels(network):
    """The steps that users of a peer write around its network."""
    import torch

    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)

    def labels(images):
        x = (images.permute(0, 3, 1, 2).float() / 255 - mean) / std
        return network(x).argmax(1).to(torch.uint8)

    return labels


def export(names, size, folder):
    """Export our networks, in a process with TensorFlow; prints as `kd.export` does."""
    from export import randomized

    import keras_dense as kd

    for (name, kind), build in NETWORKS.items():
        if name not in names:
            continue
        model = randomized(build())
        for format, suffix in SUFFIX.items():
            file = folder / f"{name} {kind}{suffix}"
            getattr(kd.export, format)(model, file, size=size)
        if not kind:
            images = np.random.default_rng(0).integers(0, 256, (4, *size, 3), dtype="uint8")
            file = folder / f"{name} int8.xml"
            kd.export.openvino(model, file, size=size, images=images, quantize="int8")


def onnx_runtime(file, threads):
    """A function from pixels to labels."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(file), options)
    return lambda images: session.run(["labels"], {"images": images})[0]


def openvino(file, threads, precision):
    """A function from pixels to labels."""
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": PRECISIONS[precision], "INFERENCE_NUM_THREADS": threads}
    network = openvino.Core().compile_model(file, "CPU", settings)
    return lambda images: network(images)["labels"]


def ours_of(name, folder, threads):
    """`{(what, precision): function}` of our exports."""
    calls = {}
    for file in sorted(folder.glob(f"{name} *")):
        kind = file.stem.removeprefix(name).strip()
        if kind == "int8":
            if file.suffix == ".xml":
                calls["ours, OpenVINO", "int8"] = openvino(file, threads, "float32")
            continue
        kind = f" ({kind})" if kind else ""
        if file.suffix == ".onnx":
            calls[f"ours, ONNX Runtime{kind}", "float32"] = onnx_runtime(file, threads)
        elif file.suffix == ".xml":
            for precision in PRECISIONS:
                call = openvino(file, threads, precision)
                calls[f"ours, OpenVINO{kind}", precision] = call
    return calls


def peers_of(name):
    """`{(what, precision): function}` of the peer, eager and compiled."""
    import torch

    whose, network = peer(name)
    labels, calls = from_pixels_to_labels(network), {}
    for precision in PRECISIONS:
        for how, function in {"eager": labels, "compiled": torch.compile(labels)}.items():

            def run(images, function=function, less=precision != "float32"):
                with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=less):
                    return function(torch.from_numpy(images)).numpy()

            calls[f"{whose}, {how}", precision] = run
    return calls


def measure(name, folder, size, rounds):
    """Best seconds of each, in turns."""
    import torch

    images = np.random.default_rng(0).integers(0, 256, (1, *size, 3), dtype="uint8")
    peers, exports = peers_of(name), ours_of(name, folder, torch.get_num_threads())
    calls = {what: lambda run=run: run(images) for what, run in {**peers, **exports}.items()}
    shapes = {call().shape for call in calls.values()}
    assert shapes == {(1, *size)}, shapes
    seconds = in_turns(rounds, limit=60, **{" ".join(what): call for what, call in calls.items()})
    seconds = dict(zip(calls, seconds.values(), strict=True))
    best = {what: min(times) for what, times in seconds.items()}
    fastest = {
        precision: min((what for what in peers if what[1] == precision), key=best.get)
        for precision in PRECISIONS
    }
    for (title, precision), times in seconds.items():
        ratios = []
        for other in fastest.values():
            pairs = [a / b for a, b in zip(seconds[other], times, strict=True)]
            ratio = best[other] / best[title, precision]
            ratios.append(f"{ratio:.2f}× ({statistics.median(pairs):.2f}×)")
        took = f"{1000 * best[title, precision]:.0f} ms"
        print("|", " | ".join((name, title, precision, took, *ratios)), "|", flush=True)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--only", nargs="+", help="names of networks")
    add("--size", nargs=2, type=int, default=(320, 416))
    add("--rounds", type=int, default=7)
    add("--export", type=pathlib.Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    args = arguments()
    names = args.only or list(dict.fromkeys(name for name, _ in NETWORKS))
    if args.export:
        return export(names, tuple(args.size), args.export)
    for library in ("torchvision", "segmentation_models_pytorch"):
        if peer_library(library) is None:
            raise SystemExit(f"{library} is missing: see benchmarks/README.md")
    with tempfile.TemporaryDirectory() as folder:
        # TensorFlow has threads of its own: they stay out of the process that measures.
        command = [sys.executable, *sys.argv, "--export", folder]
        subprocess.run(command, check=True, env={**os.environ, "KERAS_BACKEND": "tensorflow"})
        print(f"\nOne image of {args.size[0]}×{args.size[1]}, {CLASSES} classes.\n")
        print("| network | what | precision | best time | over the peer's float32 | its bfloat16 |")
        print("|---|---|---|---:|---:|---:|", flush=True)
        for name in names:
            measure(name, pathlib.Path(folder), tuple(args.size), args.rounds)


if __name__ == "__main__":
    main()

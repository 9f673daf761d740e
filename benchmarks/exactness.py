"""Exactness of dilated networks: every family of backbones, and networks of peers.

    python benchmarks/exactness.py [--only ours peers] [--families VGG16 …]

With the same weights, `dilate(m, s)(x)[:, ::k, ::k]` should be `m(x)`. The tables have the largest
difference relative to the largest value of `m(x)`. KERAS_BACKEND chooses the backend (default:
tensorflow); peers are measured if they are installed (see README.md).
"""

import argparse
import os
import sys

import numpy as np
from _peers import peer_library

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# The smallest member of every family of keras.applications.
FAMILIES = (
    "VGG16 ResNet50 ResNet50V2 MobileNet MobileNetV2 MobileNetV3Small DenseNet121 EfficientNetB0 "
    "EfficientNetV2B0 ConvNeXtTiny Xception InceptionV3 InceptionResNetV2 NASNetMobile"
).split()
STRIDES = (16, 8)


def error(wanted, got, k, phase=(0, 0)):
    """Largest relative difference of (B, H, W, C) maps, where both have cells."""
    got = got[:, phase[0] :: k, phase[1] :: k]
    height, width = (min(a, b) for a, b in zip(wanted.shape[1:3], got.shape[1:3], strict=True))
    difference = wanted[:, :height, :width] - got[:, :height, :width]
    return np.abs(difference).max() / np.abs(wanted).max()


def least_error(wanted, got, k):
    """Error at the best phase: symmetric padding shifts the image by some cells."""
    return min(error(wanted, got, k, (i, j)) for i in range(k) for j in range(k))


def scales(rng, shape):
    return rng.uniform(0.8, 1.2, shape).astype("float32")


def offsets(rng, shape):
    return rng.normal(0, 0.1, shape).astype("float32")


def first_line(exception):
    lines = str(exception).split(" Received")[0].splitlines()
    return ": ".join([type(exception).__name__, *lines[:1]])[:150]


def both(cells):
    """One cell for both strides."""
    return cells[0] if len(set(cells)) == 1 else " / ".join(cells)


# Ours


def strided(model):
    """Numbers of convolutions and of poolings with a stride."""
    from keras import layers

    convolutions = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)
    counts = []
    for kinds in (convolutions, (layers.MaxPooling2D, layers.AveragePooling2D)):
        found = [layer for layer in model._flatten_layers() if isinstance(layer, kinds)]
        counts.append(sum(max(np.atleast_1d(layer.strides)) > 1 for layer in found))
    return np.array(counts)


def family(name, x):
    """A network whose output depends on the image as after training, and an image in its range.

    Batch normalizations have the statistics of the image, so that maps do not fade with depth, and
    random scales and offsets; the scales of ConvNeXt's branches are about 1.
    """
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    build = getattr(keras.applications, name)
    model = build(weights=None, include_top=False, input_shape=x.shape[1:])
    rng = np.random.default_rng(0)
    for layer in model._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.0
            if layer.gamma is not None:
                layer.gamma.assign(scales(rng, layer.gamma.shape))
            layer.beta.assign(offsets(rng, layer.beta.shape))
        elif type(layer).__name__ == "LayerScale":
            layer.gamma.assign(scales(rng, layer.gamma.shape))
    own = any(isinstance(layer, (layers.Rescaling, layers.Normalization)) for layer in model.layers)
    x = 127.5 * (x + 1) if own else x
    model(x, training=True)
    return model, x


def ours(size, families):
    import keras

    import keras_dense as kd

    yield (
        "keras.applications, `kd.surgery.dilate`",
        "strides out: convolutions + poolings, at 16 / 8",
        'error, `mode="exact"`',
        'error, `mode="same"`: the usual way',
        "the usual way, best phase",
    )
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (2, size, size, 3)).astype("float32")
    for name in families:
        keras.backend.clear_session()
        try:
            model, image = family(name, x)
        except ValueError as refusal:  # NASNet on torch: Keras does not build it.
            yield name, "", f"(not built on this backend: {first_line(refusal)})", "", ""
            continue
        wanted = model.predict(image, verbose=0)
        out, exact, usual, best = [], [], [], []
        for stride in STRIDES:
            k = 32 // stride
            dense = kd.surgery.dilate(model, stride)
            out.append("{} + {}".format(*(strided(model) - strided(dense))))
            got = dense.predict(image, verbose=0)
            assert got[:, ::k, ::k].shape == wanted.shape
            exact.append(f"{error(wanted, got, k):.2g}")
            try:
                got = kd.surgery.dilate(model, stride, mode="same").predict(image, verbose=0)
            except ValueError as refusal:
                usual.append(first_line(refusal)), best.append("–")
                continue
            usual.append(f"{error(wanted, got, k):.2g}")
            best.append(f"{least_error(wanted, got, k):.2g}")
        yield name, *map(both, (out, exact, usual, best))


# Peers


def torchvision_network(name, stride):
    from torchvision import models
    from torchvision.models.feature_extraction import create_feature_extractor

    if name.startswith("mobilenet_v3"):
        if stride == 8:
            raise ValueError("has a flag for output stride 16 only")
        model, last = getattr(models, name)(dilated=stride == 16), "features"
    else:
        dilated = [False, stride < 16, stride < 32]
        model, last = getattr(models, name)(replace_stride_with_dilation=dilated), "layer4"
    return create_feature_extractor(model, {last: "map"}), lambda out: out["map"]


def smp_network(name, stride):
    from segmentation_models_pytorch.encoders import get_encoder

    return get_encoder(name, weights=None, output_stride=stride), lambda out: out[-1]


def timm_network(name, stride):
    import timm

    option = {} if stride == 32 else {"output_stride": stride}
    return timm.create_model(name, num_classes=0, global_pool="", **option), lambda out: out


PEERS = {
    "torchvision": (torchvision_network, "resnet18 resnet50 mobilenet_v3_large"),
    "segmentation_models_pytorch": (
        smp_network,
        "resnet18 resnet50 mobilenet_v2 efficientnet-b0 densenet121 vgg16_bn xception inceptionv4",
    ),
    "timm": (
        timm_network,
        "resnet18 resnet50 mobilenetv2_100 efficientnet_b0 convnext_tiny densenet121 vgg16_bn "
        "xception41 inception_v3",
    ),
}


def strided_modules(model):
    from torch import nn

    counts = []
    for kinds in ((nn.Conv2d,), (nn.MaxPool2d, nn.AvgPool2d)):
        found = [module for module in model.modules() if isinstance(module, kinds)]
        counts.append(sum(max(np.atleast_1d(module.stride)) > 1 for module in found))
    return np.array(counts)


def peer(build, name, size):
    """Cells of a row: strides removed, error, error at the best phase.

    The network is prepared as ours.
    """
    import torch

    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.uniform(-1, 1, (2, 3, size, size)).astype("float32"))

    def maps(model, read):
        with torch.inference_mode():
            return read(model.eval()(x)).permute(0, 2, 3, 1).numpy()

    torch.manual_seed(0)
    model, read = build(name, 32)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
                module.weight.copy_(torch.from_numpy(scales(rng, module.weight.shape)))
                module.bias.copy_(torch.from_numpy(offsets(rng, module.bias.shape)))
        for path, weight in model.named_parameters():
            if path.endswith("gamma"):  # Those of ConvNeXt start at 1e-6.
                weight.copy_(torch.from_numpy(scales(rng, weight.shape)))
        model.train()(x)
    wanted = maps(model, read)
    out, plain, best = [], [], []
    for stride in STRIDES:
        k = 32 // stride
        try:
            dense, read = build(name, stride)
        except Exception as refusal:  # Peers raise different errors; the message is the result.
            out.append("–"), plain.append(first_line(refusal)), best.append("–")
            continue
        dense.load_state_dict(model.state_dict())
        got = maps(dense, read)
        if got.shape[1] != k * wanted.shape[1]:
            out.append("–"), plain.append(f"map of {got.shape[1]} cells"), best.append("–")
            continue
        out.append("{} + {}".format(*(strided_modules(model) - strided_modules(dense))))
        plain.append(f"{error(wanted, got, k):.2g}")
        best.append(f"{least_error(wanted, got, k):.2g}")
    return map(both, (out, plain, best))


def peers(size, families):
    yield (
        "peer",
        "strides out: convolutions + poolings, at 16 / 8",
        "error, or message",
        "best phase",
    )
    for library, (build, names) in PEERS.items():
        module = peer_library(library)
        if module is None:
            print(f"(not installed: {library})", file=sys.stderr)
            continue
        for name in names.split():
            yield f"{library} {module.__version__}, {name}", *peer(build, name, size)


PARTS = {"ours": ours, "peers": peers}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--size", type=int, default=224, help="sides of the image, n × 32")
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=FAMILIES)
    args = parser.parse_args()
    for part in args.only:
        for number, row in enumerate(PARTS[part](args.size, args.families)):
            print("|", " | ".join(row), "|", flush=True)
            if number == 0:
                print("|---" * len(row) + "|")
        print()


if __name__ == "__main__":
    main()

"""Exports compared with the Keras model: differences, sizes and latencies of every format.

    python benchmarks/export.py [--only unet fcn8s] [--formats onnx litert] [--size 256 320]
    python benchmarks/export.py --tiny                      # a trial of seconds

Every export is made for any size and for the measured size, there also with the options of the
format (labels before the last upsampling, smaller weights). Prints a Markdown table; README.md
explains its columns.
"""

import argparse
import importlib
import os
import pathlib
import tempfile

os.environ["KERAS_BACKEND"] = "tensorflow"  # The backend that exports.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from _turns import in_turns

SUFFIX = {"savedmodel": "", "onnx": ".onnx", "openvino": ".xml", "litert": ".tflite"}
# Options of each format, at the fixed size.
_SMALLER = {"float16": {"quantize": "float16"}, "int8": {"quantize": "int8"}}
OPTIONS = {
    "onnx": {"early labels": {"early_labels": True}, **_SMALLER},
    "openvino": {"early labels": {"early_labels": True}, **_SMALLER},
    "litert": _SMALLER,
}


def networks(tiny):
    """Functions that build models, by name."""
    import keras_dense as kd

    labels = kd.heads.Segmentation(21)
    four = {
        "segmentation": labels,
        "depth": kd.heads.Depth(),
        "normals": kd.heads.Normals(),
        "color": kd.heads.Colorization(),
    }
    small = kd.backbone("mobilenet_v2", weights=None, alpha=0.35) if tiny else None

    def on(name):
        return small or kd.backbone(name, weights=None)

    return {
        "fcn8s": lambda: kd.fcn8s(on("vgg16"), heads=labels),
        "deeplabv3plus": lambda: kd.deeplabv3plus(on("resnet50"), heads=labels),
        "unet": lambda: kd.unet(on("mobilenet_v2"), heads=labels),
        "segnet": lambda: kd.segnet_basic(heads=labels, **({"filters": 8} if tiny else {})),
        "four heads": lambda: kd.unet(on("mobilenet_v2"), heads=four),
        "crf": lambda: kd.with_crf(kd.fcn32s(on("mobilenet_v2"), heads=labels)),
    }


def randomized(model):
    """The model with random scores and statistics; a new one has the same output everywhere."""
    import numpy as np
    from keras import layers

    rng = np.random.default_rng(0)
    for layer in model._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            for weight in layer.weights:
                about_one = weight.name in ("gamma", "moving_variance")
                weight.assign(about_one + rng.uniform(-0.2, 0.2, weight.shape))
        elif isinstance(layer, layers.Conv2D) and layer.kernel_size == (1, 1):
            shape = layer.kernel.shape
            layer.kernel.assign(rng.normal(0, shape[2] ** -0.5, shape))
    return model


def rows(name, build, formats, size, rounds, folder):
    """Rows of one network, one for each format and kind of size: difference, bytes and time."""
    import numpy as np

    import keras_dense as kd
    from keras_dense.export.check import sentence
    from keras_dense.export.files import size_of

    model = randomized(build())
    images = np.random.default_rng(0).integers(0, 256, (1, *size, 3), dtype="uint8")
    product = kd.decoded(model)
    calls, texts = {("keras", ""): lambda: product.predict_on_batch(images)}, {}
    for format in formats:
        kinds = {"any": {}, "fixed": {"size": size}}
        for kind, option in OPTIONS.get(format, {}).items():
            kinds[f"fixed, {kind}"] = {"size": size, **option}
        for kind, settings in kinds.items():
            key = (format, kind)
            path = pathlib.Path(folder, f"{name} {kind}{SUFFIX[format]}")
            try:
                found = getattr(kd.export, format)(model, path, images=images, **settings)
            except (ValueError, RuntimeError) as error:
                if "early_labels" not in str(error):  # There is no last upsampling.
                    texts[key] = (str(error).split(": ", 1)[-1][:90], "–")
                continue
            texts[key] = (sentence(found), f"{size_of(path) / 1e6:.1f} MB")
            run = importlib.import_module(f"keras_dense.export.{format}").load(path)
            calls[key] = lambda run=run: run(images)
    times = {
        key: min(t)
        for key, t in in_turns(rounds, **{" ".join(k): c for k, c in calls.items()}).items()
    }
    yield name, "Keras", "", "", "", f"{1000 * times['keras ']:.1f} ms", "1×"
    for key, (difference, megabytes) in texts.items():
        time = times.get(" ".join(key))
        shown = ("–", "–") if time is None else _beside(time, times["keras "])
        yield (name, *key, difference, megabytes, *shown)


def _beside(time, keras):
    return f"{1000 * time:.1f} ms", f"{time / keras:.2f}×"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", help="names of networks")
    parser.add_argument("--formats", nargs="+", choices=SUFFIX, default=list(SUFFIX))
    parser.add_argument("--size", nargs=2, type=int, default=(320, 416))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--tiny", action="store_true", help="small networks and images, 2 rounds")
    args = parser.parse_args()
    size, rounds = ((64, 96), 2) if args.tiny else (tuple(args.size), args.rounds)
    known = networks(args.tiny)
    table = []
    with tempfile.TemporaryDirectory() as folder:
        for name in args.only or known:
            table += rows(name, known[name], args.formats, size, rounds, folder)
    print(f"\nOne image of {size[0]}×{size[1]}.\n")
    print("| network | format | size | difference | file | best time | beside Keras |")
    print("|---|---|---|---|---|---|---|")
    for row in table:
        print("|", " | ".join(row), "|")


if __name__ == "__main__":
    main()

"""Google's DeepLab in PyTorch and float64, written from the papers and the authors' names.

Independent of the package: windows pad as TensorFlow does at the sizes used, dilation is written
out for each layer, maps are resized with aligned corners. A `Reference` draws its weights as it
first meets them, by the names of the checkpoint.
"""

import math

import numpy as np
import torch
from torch.nn import functional

# Channels, repetitions, stride (8 → 16 → 32 are dilated where the output stride is reached).
_MOBILENET = ((16, 1, 1), (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))


class Reference:
    """A network with random weights.

    Attributes:
        weights: dict from the names of the checkpoint to float32 arrays, filled by the first call.
    """

    def __init__(self, backbone, classes, width=1.0, output_stride=16, seed=0, values=True):
        self.backbone, self.classes, self.width = backbone, classes, width
        self.output_stride, self.values = output_stride, values
        self.rng, self.weights, self.epsilon = np.random.default_rng(seed), {}, 1e-3

    def __call__(self, image):
        """Scores `(H, W, classes)` of an image `(H, W, 3)` from 0 to 255.

        Height and width are padded with the mean color to a multiple of the stride plus 1.
        """
        multiple = self.output_stride
        x = torch.tensor(image, dtype=torch.float64).permute(2, 0, 1)[None]
        height, width = image.shape[:2]
        sides = [math.ceil((n - 1) / multiple) * multiple + 1 for n in (height, width)]
        x = functional.pad(x, (0, sides[1] - width, 0, sides[0] - height), value=127.5)
        x = x * 2 / 255 - 1
        x, low = self.mobilenet(x) if self.backbone == "mobilenet" else self.xception(x)
        self.epsilon = 1e-5
        x = self.pyramid(x, [] if low is None else [6, 12, 18])
        if low is not None:
            x = self.decoder(x, low)
        x = self.conv(x, "logits/semantic", self.classes, bias=True, norm=False)
        x = functional.interpolate(x, size=sides, mode="bilinear", align_corners=True)
        self.epsilon = 1e-3
        return x[0, :, :height, :width].permute(1, 2, 0).numpy()

    # Layers

    def weight(self, name, shape, low=None, high=None, std=None):
        if name not in self.weights:
            if not self.values:
                value = np.broadcast_to(np.float32(0), shape)
            elif std is not None:
                value = self.rng.normal(0, std, shape)
            else:
                value = self.rng.uniform(low, high, shape)
            self.weights[name] = value.astype("float32") if self.values else value
        return torch.tensor(self.weights[name], dtype=torch.float64)

    def conv(self, x, name, filters, size=1, stride=1, rate=1, bias=False, norm=True):
        if filters is None:
            shape = (size, size, x.shape[1], 1)
            kernel = self.weight(f"{name}/depthwise_weights", shape, std=math.sqrt(2) / size)
            kernel, groups = kernel.permute(2, 3, 0, 1), x.shape[1]
        else:
            shape, groups = (size, size, x.shape[1], filters), 1
            std = math.sqrt(2 / (size * size * x.shape[1]))
            kernel = self.weight(f"{name}/weights", shape, std=std).permute(3, 2, 0, 1)
        pad = (size - 1) * rate // 2
        shift = self.weight(f"{name}/biases", (filters,), -0.5, 0.5) if bias else None
        x = functional.conv2d(x, kernel, shift, stride, pad, rate, groups)
        return self.norm(x, f"{name}/BatchNorm") if norm else x

    def norm(self, x, name):
        n = (x.shape[1],)
        gamma = self.weight(f"{name}/gamma", n, 0.6, 1.2)
        beta = self.weight(f"{name}/beta", n, -0.2, 0.2)
        mean = self.weight(f"{name}/moving_mean", n, -0.2, 0.2)
        variance = self.weight(f"{name}/moving_variance", n, 0.5, 1.5)
        scale = gamma / torch.sqrt(variance + self.epsilon)
        return x * scale[:, None, None] + (beta - mean * scale)[:, None, None]

    def separable(self, x, name, filters, stride=1, rate=1, relu=False):
        x = self.conv(x, f"{name}_depthwise", None, 3, stride, rate)
        x = self.conv(x.relu() if relu else x, f"{name}_pointwise", filters)
        return x.relu() if relu else x

    # Backbones

    def mobilenet(self, x):
        def scaled(filters):
            return int(filters * self.width)

        x = self.conv(x, "MobilenetV2/Conv", scaled(32), 3, 2).clamp(0, 6)
        stride, rate, number = 2, 1, 0
        for filters, count, first in _MOBILENET:
            for n in range(count):
                step = first if n == 0 else 1
                # Where the stride is used up, the block that had it keeps the rate before it.
                kept, own = (step, rate) if stride * step <= self.output_stride else (1, rate)
                rate = rate if kept == step else rate * step
                name = "MobilenetV2/expanded_conv" + (f"_{number}" if number else "")
                y = x
                if number:
                    y = self.conv(y, f"{name}/expand", 6 * x.shape[1]).clamp(0, 6)
                y = self.conv(y, f"{name}/depthwise", None, 3, kept, own).clamp(0, 6)
                y = self.conv(y, f"{name}/project", scaled(filters))
                x = x + y if y.shape == x.shape else y
                stride, number = stride * kept, number + 1
        return x, None

    def xception(self, x):
        x = self.conv(x, "xception_65/entry_flow/conv1_1", 32, 3, 2).relu()
        x = self.conv(x, "xception_65/entry_flow/conv1_2", 64, 3).relu()
        # Rates at output stride 16, and at 8, where block 3 loses its stride.
        fine = self.output_stride == 8
        x, _ = self.module(x, "entry_flow/block1/unit_1", [128] * 3, 2)
        x, low = self.module(x, "entry_flow/block2/unit_1", [256] * 3, 2)
        x, _ = self.module(x, "entry_flow/block3/unit_1", [728] * 3, 1 if fine else 2)
        middle = 2 if fine else 1
        for unit in range(1, 17):
            name = f"middle_flow/block1/unit_{unit}"
            x, _ = self.module(x, name, [728] * 3, rate=middle, shortcut=False)
        x, _ = self.module(x, "exit_flow/block1/unit_1", [728, 1024, 1024], rate=middle)
        name = "xception_65/exit_flow/block2/unit_1/xception_module/separable_conv"
        for n, filters in enumerate((1536, 1536, 2048), 1):
            x = self.separable(x, f"{name}{n}", filters, rate=2 * middle, relu=True)
        return x, low

    def module(self, x, name, filters, stride=1, rate=1, shortcut=True):
        scope, y, maps = f"xception_65/{name}/xception_module", x, []
        for n, channels in enumerate(filters, 1):
            step = stride if n == 3 else 1
            y = self.separable(y.relu(), f"{scope}/separable_conv{n}", channels, step, rate)
            maps.append(y)
        if shortcut:
            x = self.conv(x, f"{scope}/shortcut", filters[-1], stride=stride)
        return x + y, maps[1]

    # Decoder

    def pyramid(self, x, rates):
        mean = self.conv(x.mean((2, 3), keepdim=True), "image_pooling", 256).relu()
        branches = [mean.expand(-1, -1, *x.shape[2:]), self.conv(x, "aspp0", 256).relu()]
        for n, rate in enumerate(rates, 1):
            rate = rate * 16 // self.output_stride
            branches.append(self.separable(x, f"aspp{n}", 256, rate=rate, relu=True))
        return self.conv(torch.cat(branches, 1), "concat_projection", 256).relu()

    def decoder(self, x, low):
        low = self.conv(low, "decoder/feature_projection0", 48).relu()
        size = low.shape[2:]
        x = functional.interpolate(x, size=size, mode="bilinear", align_corners=True)
        x = torch.cat([x, low], 1)
        for n in range(2):
            x = self.separable(x, f"decoder/decoder_conv{n}", 256, relu=True)
        return x


# Published forms of the same weights


def of_keras(weights):
    """Names and arrays as in the files of bonlime/keras-deeplab-v3-plus."""
    found = {}
    for key, value in weights.items():
        *scopes, part = key.replace("xception_65/", "").replace("MobilenetV2/", "").split("/")
        scopes = [s for s in scopes if s not in ("decoder", "xception_module")]
        scopes = [s for s in scopes if s != "unit_1" or "middle_flow" in key]
        if "middle_flow" in key:
            scopes.remove("block1")
        name = "_".join(scopes).replace("BatchNorm", "BN")
        names = {"weights": "kernel", "biases": "bias", "depthwise_weights": "depthwise_kernel"}
        found[f"{name}/{name}/{names.get(part, part)}:0"] = value
    return found


def checkpoint(path, weights):
    """A checkpoint of TensorFlow 1, with the state of the training; its prefix."""
    import tensorflow as tf

    tensors = {**weights, "global_step": np.int64(30000)}
    for key in [key for key in weights if key.endswith(("weights", "gamma"))]:
        tensors[f"{key}/Momentum"] = weights[key] * 0
    names = list(tensors)
    tf.raw_ops.SaveV2(
        prefix=str(path),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.constant(tensors[name]) for name in names],
    )
    return path


def frozen_graph(path, weights):
    """A frozen graph: constants, each with an `Identity`, and those of the standardization."""
    from tensorflow.core.framework import graph_pb2
    from tensorflow.python.framework import tensor_util

    graph = graph_pb2.GraphDef()
    others = {"Reshape/tensor": np.full(3, 127.5, "float32"), "mul/x": np.float32(2 / 255)}
    others["ResizeBilinear/size"] = np.array([33, 33], "int32")
    for name, value in {**others, **weights}.items():
        node = graph.node.add(name=name, op="Const")
        node.attr["dtype"].type = 3 if value.dtype == "int32" else 1
        node.attr["value"].tensor.CopyFrom(tensor_util.make_tensor_proto(value))
        graph.node.add(name=f"{name}/read", op="Identity", input=[name])
    path.write_bytes(graph.SerializeToString())
    return path


def keras_file(path, weights):
    """An `.h5` file of weights of Keras 2."""
    import h5py

    with h5py.File(path, "w") as file:
        for name, value in of_keras(weights).items():
            file.create_dataset(name, data=value)
    return path


WRITERS = {
    "checkpoint": ("model.ckpt", checkpoint),
    "frozen graph": ("frozen_inference_graph.pb", frozen_graph),
    "Keras": ("deeplab.h5", keras_file),
}

# Names and shapes of the published files

PUBLISHED = {
    f"deeplab/{kind}_{data}": (backbone, classes, 1.0)
    for kind, backbone in (("mobilenetv2", "mobilenet"), ("xception65", "xception"))
    for data, classes in (("voc", 21), ("voc_trainval", 21), ("cityscapes", 19), ("ade20k", 151))
} | {
    "deeplab/mobilenetv2_voc_8bit": ("mobilenet", 21, 1.0),
    "deeplab/mobilenetv2_dm05_voc": ("mobilenet", 21, 0.5),
    "deeplab/mobilenetv2_dm05_voc_8bit": ("mobilenet", 21, 0.5),
}


def names_and_shapes():
    """Names and shapes of each checkpoint, from this implementation."""
    found = {}
    for name, arguments in PUBLISHED.items():
        reference = Reference(*arguments, values=False)
        reference(np.zeros((17, 17, 3)))
        found[name] = {key: list(value.shape) for key, value in reference.weights.items()}
    return found


def main(litert):
    """Write `keys/deeplab.json.gz`, and `keys/litert/deeplab.json.gz` from a folder of files."""
    import gzip
    import json
    import pathlib

    import keras_dense as kd

    quantized = {
        f"deeplab/mobilenetv2_{width}voc_8bit": {
            key: list(value.shape)
            for key, value in kd.weights.read(
                pathlib.Path(litert, f"deeplabv3_mnv2_{width}pascal_quant.tflite")
            ).items()
        }
        for width in ("", "dm05_")
    }
    keys = pathlib.Path(__file__).parent / "keys"
    (keys / "litert").mkdir(exist_ok=True)
    for path, found in ((keys, names_and_shapes()), (keys / "litert", quantized)):
        text = json.dumps(found, separators=(",", ":")).encode()
        (path / "deeplab.json.gz").write_bytes(gzip.compress(text, mtime=0))


if __name__ == "__main__":
    import sys

    main(*sys.argv[1:])

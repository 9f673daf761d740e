"""Facts of torchvision, for tests without it: its files, and outputs of its networks.

    python tests/backbones/torchvision_files.py

writes `torchvision_files.json.gz` (names and shapes of all tensors of each file, its accuracy and
size) and `torchvision_outputs.npz` (last features for weights that `weights` draws). Needs
torchvision, but no download: a file has the tensors of the network that reads it. (The files of
DenseNets are older; `torchvision.models.densenet` says how their names differ.)
"""

import gzip
import json
import pathlib
import zlib

import numpy as np

FILES = pathlib.Path(__file__).with_suffix(".json.gz")
OUTPUTS = pathlib.Path(__file__).with_name("torchvision_outputs.npz")
NAMES = """resnet18 resnet34 resnet50 resnet101 resnet152 resnext50_32x4d resnext101_32x8d
resnext101_64x4d wide_resnet50_2 wide_resnet101_2 vgg16 vgg19 vgg16_bn vgg19_bn densenet121
densenet161 densenet169 densenet201 mobilenet_v2 mobilenet_v3_small mobilenet_v3_large
efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3 efficientnet_b4 efficientnet_b5
efficientnet_b6 efficientnet_b7 convnext_tiny convnext_small convnext_base convnext_large""".split()
# One of each kind, and channels of the last map that are kept.
RUN = """resnet18 vgg16_bn densenet121 mobilenet_v2 mobilenet_v3_small mobilenet_v3_large
efficientnet_b0 convnext_tiny""".split()
SIZES, CHANNELS = ((64, 96), (75, 101)), 16


def files():
    """Dict from a network to its "tensors" (name → shape) and "files" (name, accuracy, MiB)."""
    return json.loads(gzip.decompress(FILES.read_bytes()))


def weights(tensors):
    """Random weights as after training, from names and shapes; the same for every NumPy."""
    drawn = {}
    for name, shape in tensors.items():
        random = np.random.RandomState(zlib.crc32(name.encode()))
        if name.endswith("num_batches_tracked"):
            drawn[name] = np.zeros((), "int64")
            continue
        if name.endswith("running_var"):
            value = random.uniform(0.5, 1.5, shape)
        elif name.endswith("layer_scale"):
            value = random.uniform(0.1, 0.4, shape)
        elif len(shape) == 1:
            scale = name.endswith("weight")
            value = random.uniform(0.5, 1.0, shape) if scale else random.normal(0, 0.2, shape)
        else:
            value = random.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape)
        drawn[name] = value.astype("float32")
    return drawn


def image(height, width):
    return np.random.RandomState(height).randint(0, 256, (1, height, width, 3)).astype("uint8")


def published():
    """See `files`."""
    import torch
    from torchvision import models

    found = {}
    for name in NAMES:
        with torch.device("meta"):
            state = getattr(models, name)(weights=None).state_dict()
        if name.startswith("densenet"):
            state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
        rows = [
            [
                weights.url.rpartition("/")[2],
                weights.meta["_metrics"]["ImageNet-1K"]["acc@1"],
                weights.meta["_file_size"],
            ]
            for weights in models.get_model_weights(name)
            if weights.name != "IMAGENET1K_FEATURES"
        ]
        tensors = {key: list(value.shape) for key, value in state.items()}
        found[name] = {"files": rows, "tensors": tensors}
    return found


def last_map(name, tensors, x):
    """The last features of torchvision's network for an image 0–255."""
    import torch
    from torchvision import models

    net = getattr(models, name)(weights=None).eval()
    net.load_state_dict({k: torch.from_numpy(v) for k, v in weights(tensors).items()}, strict=False)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in MEAN_STD)
    with torch.no_grad():
        y = (torch.from_numpy(x.transpose(0, 3, 1, 2)) / 255 - mean) / std
        if hasattr(net, "features"):
            y = net.features(y)
            y = torch.relu(y) if name.startswith("densenet") else y
        else:
            for part in list(net.children())[:-2]:  # without mean and scores
                y = part(y)
    return y.numpy().transpose(0, 2, 3, 1)


MEAN_STD = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

if __name__ == "__main__":
    text = json.dumps(published(), separators=(",", ":")).encode()
    FILES.write_bytes(gzip.compress(text, 9, mtime=0))
    outputs = {
        f"{name} {height}": last_map(name, files()[name]["tensors"], image(height, width))
        for name in RUN
        for height, width in SIZES
    }
    np.savez_compressed(
        OUTPUTS,
        **{k: np.append(y[..., :CHANNELS].ravel(), np.abs(y).max()) for k, y in outputs.items()},
    )
    for path in (FILES, OUTPUTS):
        print(f"{path}: {path.stat().st_size:,} bytes")

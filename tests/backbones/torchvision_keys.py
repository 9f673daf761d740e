"""Write `torchvision_keys.json.gz`: names and shapes of all tensors of torchvision's files.

    python tests/backbones/torchvision_keys.py

Needs torchvision, but no download: a file has the tensors of the network that reads it. (The files
of DenseNets are older; `torchvision.models.densenet` says how their names differ.)
"""

import gzip
import json
import pathlib

import torch
from torchvision import models

PLACE = pathlib.Path(__file__).with_suffix(".json.gz")
NAMES = """resnet18 resnet34 resnet50 resnet101 resnet152 resnext50_32x4d resnext101_32x8d
resnext101_64x4d wide_resnet50_2 wide_resnet101_2 vgg16 vgg19 vgg16_bn vgg19_bn densenet121
densenet161 densenet169 densenet201 mobilenet_v2 mobilenet_v3_small mobilenet_v3_large
efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3 efficientnet_b4 efficientnet_b5
efficientnet_b6 efficientnet_b7 convnext_tiny convnext_small convnext_base convnext_large""".split()


def published():
    """Dict from a network to its tensors and its files: name, accuracy, MiB."""
    found = {}
    for name in NAMES:
        with torch.device("meta"):
            state = getattr(models, name)(weights=None).state_dict()
        if name.startswith("densenet"):
            state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
        files = [
            [
                weights.url.rpartition("/")[2],
                weights.meta["_metrics"]["ImageNet-1K"]["acc@1"],
                weights.meta["_file_size"],
            ]
            for weights in models.get_model_weights(name)
            if weights.name != "IMAGENET1K_FEATURES"
        ]
        tensors = {key: list(value.shape) for key, value in state.items()}
        found[name] = {"files": files, "tensors": tensors}
    return found


if __name__ == "__main__":
    text = json.dumps(published(), separators=(",", ":")).encode()
    PLACE.write_bytes(gzip.compress(text, 9, mtime=0))
    print(f"{PLACE}: {PLACE.stat().st_size:,} bytes")

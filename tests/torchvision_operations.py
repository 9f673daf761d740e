"""Imports of torchvision, and of what needs it, where it is compiled for another PyTorch."""

import importlib

_KEPT = []  # A declaration lives as long as its object.


def declare():
    """Declare the two operations without which torchvision cannot be imported; none is used."""
    try:
        importlib.import_module("torchvision")
    except ImportError:
        return
    except RuntimeError as failure:
        if "nms" not in str(failure):
            raise
        import torch

        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(library)

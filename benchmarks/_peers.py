"""Libraries to compare with."""

import importlib

_ALIVE = []  # A declaration lives as long as the object that made it.


def peer_library(name):
    """The module, or None where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
    except RuntimeError as failure:
        if name != "torchvision" or "nms" not in str(failure):
            raise
    # The torchvision of PyPI is compiled for CUDA. Beside a torch without it, its operators (for
    # detection) are missing; it wants two of them declared all the same.
    import torch

    fragment = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        fragment.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _ALIVE.append(fragment)
    return importlib.import_module(name)

"""Libraries to compare with, and calls of their networks and of ours."""

import importlib
import math

_ALIVE = []  # A declaration lives as long as its object.


def peer_library(name):
    """The module, or `None` if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
    except RuntimeError as failure:
        if name != "torchvision" or "nms" not in str(failure):
            raise
    # The torchvision of PyPI is compiled for CUDA. With a torch for the CPU its operators for
    # detection are missing, but two of them must be declared.
    import torch

    fragment = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        fragment.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _ALIVE.append(fragment)
    return importlib.import_module(name)


def compile_without_metrics(model, optimizer):
    """Compile with the losses of the model's heads; the peers have no metrics."""
    import keras_dense as kd

    settings = kd.objectives(model)
    settings.pop("metrics")
    model.compile(optimizer, **settings)
    return model


def our_calls(model, images, labels):
    """A forward pass and a training step of a Keras model, from NumPy arrays."""
    targets = {name: labels for name in model.output} if isinstance(model.output, dict) else labels
    return lambda: model.predict_on_batch(images), lambda: model.train_on_batch(images, targets)


def peer_calls(network, images, labels):
    """The same of a network of PyTorch, whose images are from 0 to 1; tensors are made before."""
    import torch

    x = torch.from_numpy(images / 255).permute(0, 3, 1, 2).contiguous()
    y = torch.from_numpy(labels).long()
    optimizer = torch.optim.SGD(network.parameters(), 0.001, momentum=0.9)
    loss = torch.nn.functional.cross_entropy

    def forward():
        network.eval()
        with torch.inference_mode():
            network(x)

    def train():
        network.train()
        optimizer.zero_grad()
        out = network(x)
        if isinstance(out, dict):  # torchvision
            total = loss(out["out"], y) + 0.4 * loss(out["aux"], y)
        else:
            total = loss(out, y)
        total.backward()
        optimizer.step()
        total.item()

    return forward, train


def size_of(network, call):
    """Millions of trainable parameters, and 10⁹ multiply-adds of a call on torch."""
    import keras
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    ours = isinstance(network, keras.Model)
    weights = network.trainable_weights if ours else list(network.parameters())
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return sum(math.prod(w.shape) for w in weights) / 1e6, counter.get_total_flops() / 2e9

"""DPT and Depth Anything of transformers: its necks and heads with random weights, and ours."""

import keras
import numpy as np
import pytest
import torch

import keras_dense as kd
from tests import torchvision_operations

from .small import images, trained
from .test_dpt import patches
from .torch_reference import outputs

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.once

WIDTH, NECK, FILTERS = 12, [4, 6, 8, 10], 8
COMMON = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "neck_hidden_sizes": NECK,
    "fusion_hidden_size": FILTERS,
}


torchvision_operations.declare()


def dpt(semantic):
    from transformers.models.dpt import modeling_dpt as theirs

    config = transformers.DPTConfig(
        **COMMON,
        image_size=64,
        backbone_out_indices=[0, 1, 2, 3],
        readout_type="ignore",
        is_hybrid=False,
        use_batch_norm_in_fusion_residual=semantic,
        num_labels=5,
    )
    make = theirs.DPTSemanticSegmentationHead if semantic else theirs.DPTDepthEstimationHead
    return theirs.DPTNeck(config), make(config)


def depth_anything(kind):
    from transformers.models.depth_anything import modeling_depth_anything as theirs

    backbone = transformers.Dinov2Config(
        hidden_size=WIDTH, num_hidden_layers=4, num_attention_heads=2, out_indices=[1, 2, 3, 4]
    )
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=WIDTH,
        neck_hidden_sizes=NECK,
        fusion_hidden_size=FILTERS,
        patch_size=14,
        depth_estimation_type=kind,
        max_depth=20 if kind == "metric" else 1,
    )
    return theirs.DepthAnythingNeck(config), theirs.DepthAnythingDepthEstimationHead(config)


def drawn(*modules):
    rng = np.random.default_rng(0)
    for module in modules:
        for name, x in module.eval().state_dict().items():
            if x.ndim > 1:
                value = rng.normal(0, np.sqrt(2 / np.prod(x.shape[1:])), x.shape)
            elif name.endswith("running_var") or ("norm" in name and name.endswith("weight")):
                value = rng.uniform(0.5, 1.5, x.shape)
            else:
                value = rng.normal(0, 0.2, x.shape)
            x.copy_(torch.tensor(value))


def copy(model, layer, module):
    """The weights of a module of PyTorch in a layer."""
    values = [x.detach().numpy() for x in module.parameters()]
    if isinstance(module, torch.nn.BatchNorm2d):
        values += [module.running_mean.numpy(), module.running_var.numpy()]
    values = [x.transpose(2, 3, 1, 0) if x.ndim == 4 else x for x in values]
    model.get_layer(layer).set_weights(values)


def load(model, neck, head):
    for n, stage in enumerate(neck.reassemble_stage.layers, 1):
        copy(model, f"reassemble_T{n}_project", stage.projection)
        if n != 3:
            name = "upsample" if n < 3 else "reduce"
            copy(model, f"reassemble_T{n}_{name}", stage.resize)
        copy(model, f"narrow_T{n}", neck.convs[n - 1])
        fusion = neck.fusion_stage.layers[4 - n]
        copy(model, f"fusion_T{n}_project", fusion.projection)
        for unit in (1, 2):
            residual = getattr(fusion, f"residual_layer{unit}")
            for part in (1, 2):
                if unit == 2 or n < 4:
                    name = f"fusion_T{n}_unit_{unit}"
                    copy(model, f"{name}_conv_{part}", getattr(residual, f"convolution{part}"))
                    if hasattr(residual, "batch_norm1"):
                        copy(model, f"{name}_bn_{part}", getattr(residual, f"batch_norm{part}"))
    convolutions = [x for x in head.modules() if isinstance(x, torch.nn.Conv2d)]
    names = ("head_1", "head_2", "scores") if len(convolutions) == 3 else ("head_1", "scores")
    for name, module in zip(names, convolutions, strict=True):
        copy(model, name, module)
    for module in head.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            copy(model, "head_1_bn", module)


CASES = {
    "dpt depth": (16, (64, 96), lambda: dpt(False), kd.heads.RelativeDepth(activation="relu")),
    "dpt segmentation": (16, (64, 96), lambda: dpt(True), kd.heads.Segmentation(5)),
    "depth anything": (
        14,
        (70, 98),
        lambda: depth_anything("relative"),
        kd.heads.RelativeDepth(activation="relu"),
    ),
    "depth anything in meters": (
        14,
        (56, 84),
        lambda: depth_anything("metric"),
        kd.heads.Depth(1e-6, 20.0),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_same_function(name):
    patch, size, make, head = CASES[name]
    neck, theirs = make()
    drawn(neck, theirs)
    backbone = patches(patch, WIDTH)
    decoder = kd.decoders.dpt(
        FILTERS,
        reassemble=NECK[::-1],
        batch_norm=name == "dpt segmentation",
        style="segmentation" if name == "dpt segmentation" else "depth",
    )
    model = kd.assemble(backbone, decoder, head, grid="multiple_corners")
    load(model, neck, theirs)
    image = images(1, *size)
    features = outputs(model.get_layer("backbone"), image)
    cells = [n // patch for n in size]
    tokens = []
    for n in range(1, 5):
        x = torch.tensor(features[f"T{n}"].reshape(1, -1, WIDTH))
        tokens.append(torch.cat([torch.zeros(1, 1, WIDTH), x], 1))  # the class comes first
    with torch.no_grad():
        maps = neck(tokens, *cells)
        wanted = theirs(maps, *cells) if "anything" in name else theirs(maps)
    wanted = wanted.numpy()
    wanted = wanted[..., None] if wanted.ndim == 3 else wanted.transpose(0, 2, 3, 1)
    found = outputs(model, image)
    assert found.shape == wanted.shape and wanted.std() > 0.05
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())
    # All but a unit that is not used.
    count = sum(x.numel() for m in (neck, theirs) for x in m.parameters())
    unused = sum(x.numel() for x in neck.fusion_stage.layers[0].residual_layer1.parameters())
    assert trained(model) - trained(backbone) == count - unused
    assert keras.backend.standardize_dtype(model.output.dtype) == "float32"

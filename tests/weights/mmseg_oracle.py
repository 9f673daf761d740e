"""MMSegmentation's own networks, from its configuration files.

Needs `mmsegmentation`, `mmengine` and `mmcv-lite` beside PyTorch. Run as a script, this writes what
the tests without these packages compare with: names and shapes of the tensors of one published file
of each structure, and scores of these networks with the weights of `published.random`:

    cd tests && python -m weights.mmseg_oracle
"""

import gzip
import importlib
import json
import pathlib
import sys
import types
import warnings

import numpy as np
import torch
import torch.nn.functional as F

from tests import torchvision_operations

from .published import KEYS, SCORES, image, random, sample

# By the names of records: the file of the configuration.
CONFIGS = {
    "fcn_r50_voc": "fcn/fcn_r50-d8_4xb4-40k_voc12aug-512x512",
    "pspnet_r50_voc": "pspnet/pspnet_r50-d8_4xb4-40k_voc12aug-512x512",
    "deeplabv3_r50_voc": "deeplabv3/deeplabv3_r50-d8_4xb4-40k_voc12aug-512x512",
    "deeplabv3plus_r50_voc": "deeplabv3plus/deeplabv3plus_r50-d8_4xb4-40k_voc12aug-512x512",
    "upernet_r50_voc": "upernet/upernet_r50_4xb4-40k_voc12aug-512x512",
    "fpn_r50_ade20k": "sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512",
    "unet_fcn_drive": "unet/unet-s5-d16_fcn_4xb4-40k_drive-64x64",
    "unet_pspnet_drive": "unet/unet-s5-d16_pspnet_4xb4-40k_drive-64x64",
    "unet_deeplabv3_drive": "unet/unet-s5-d16_deeplabv3_4xb4-40k_drive-64x64",
    # Narrow heads, corners aligned, and a plain stem.
    "deeplabv3plus_r18_loveda": "deeplabv3plus/deeplabv3plus_r18-d8_4xb4-80k_loveda-512x512",
    "pspnet_r18_cityscapes_769": "pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-769x769",
    "fcn_r50b_cityscapes": "fcn/fcn_r50b-d8_4xb2-80k_cityscapes-512x1024",
    "deeplabv3plus_mobilenet_v2_cityscapes": "mobilenet_v2/"
    "mobilenet-v2-d8_deeplabv3plus_4xb2-80k_cityscapes-512x1024",
}


MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


class _Ops(types.ModuleType):
    """Stands for the compiled operations that the small mmcv lacks; none is used here."""

    __path__: list[str] = []

    def __getattr__(self, name):
        return type(name, (), {}) if not name.startswith("__") else super().__getattribute__(name)


def package():
    """`mmseg`, imported without compiled operations."""
    for name in ("mmcv.ops", "mmcv.ops.point_sample"):
        sys.modules.setdefault(name, _Ops(name))
    torchvision_operations.declare()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mmseg = importlib.import_module("mmseg")
        importlib.import_module("mmseg.models")
    importlib.import_module("mmengine.registry").init_default_scope("mmseg")
    return mmseg


def folder():
    """The folder of its configuration files, and of what it publishes about its files."""
    return pathlib.Path(package().__file__).parent / ".mim" / "configs"


def network(name, changes=None, seed=0):
    """The network of a record in evaluation, with random weights and statistics.

    `changes` are further settings by their dotted names, such as "backbone.depth".
    """
    config = importlib.import_module("mmengine.config").Config
    read = config.fromfile(str(folder() / f"{CONFIGS[name]}.py"))
    changes = {"pretrained": None, "data_preprocessor": None, **(changes or {})}
    read.merge_from_dict({f"model.{key}": value for key, value in changes.items()})
    settings = _with_norm(read.model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = importlib.import_module("mmseg.registry").MODELS.build(settings).eval()
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, old in model.state_dict().items():
        if old.ndim > 1:
            new = torch.randn(old.shape, generator=generator) * (2 / old[0].numel()) ** 0.5
        elif key.endswith(("running_var", "weight")):
            new = torch.rand(old.shape, generator=generator) * 0.5 + 0.5
        else:
            new = torch.randn(old.shape, generator=generator) * 0.1
        state[key] = new if old.ndim else old
    model.load_state_dict(state)
    return model


def _with_norm(settings):
    """Settings with the batch norm of one device in place of that of several."""
    for key, value in settings.items():
        if key == "norm_cfg" and value is not None:
            value["type"] = "BN"
        elif isinstance(value, dict):
            _with_norm(value)
    return settings


def predict(model, image):
    """Scores of both heads for images `(B, H, W, 3)`, in their size, as ours come."""
    mean, std = (torch.tensor(v)[:, None, None] for v in (MEAN, STD))
    x = (torch.from_numpy(image.astype("float32")).permute(0, 3, 1, 2) - mean) / std
    with torch.no_grad():
        features = model.extract_feat(x)
        found = {"segmentation": model.decode_head(features)}
        if model.with_auxiliary_head:
            found["auxiliary"] = model.auxiliary_head(features)
        corners = model.decode_head.align_corners
        size = image.shape[1:3]
        return {
            key: F.interpolate(y, size, mode="bilinear", align_corners=corners)
            .permute(0, 2, 3, 1)
            .numpy()
            for key, y in found.items()
        }


def published_files():
    """Address and score of each file by its name, as the package lists them."""
    yaml, found = importlib.import_module("yaml"), {}
    for path in folder().glob("*/metafile.yaml"):
        for model in yaml.safe_load(path.read_text())["Models"]:
            results, url = model["Results"], model.get("Weights")
            metrics = (results[0] if isinstance(results, list) else results)["Metrics"]
            stem = pathlib.PurePosixPath(url or "").stem
            found[stem] = url, metrics.get("mIoU", metrics.get("Dice"))
    return found


def classes():
    """Names and palettes by the names of data sets in the catalogue."""
    package()
    data = importlib.import_module("mmseg.datasets")
    known = {
        "voc": "PascalVOCDataset",
        "ade20k": "ADE20KDataset",
        "cityscapes": "CityscapesDataset",
        "loveda": "LoveDADataset",
        "potsdam": "PotsdamDataset",
        "vaihingen": "ISPRSDataset",
        "isaid": "iSAIDDataset",
        "drive": "DRIVEDataset",
        "stare": "STAREDataset",
        "chase_db1": "ChaseDB1Dataset",
        "hrf": "HRFDataset",
    }
    metas = {name: getattr(data, kind).METAINFO for name, kind in known.items()}
    return {name: (meta["classes"], meta["palette"]) for name, meta in metas.items()}


def main():
    """Write the names and shapes, and scores."""
    networks = {f"mmseg/{name}": network(name) for name in CONFIGS}
    found = {
        name: {key: list(x.shape) for key, x in model.state_dict().items()}
        for name, model in networks.items()
    }
    text = json.dumps(found, separators=(",", ":")).encode()
    (KEYS / "mmseg.json.gz").write_bytes(gzip.compress(text, mtime=0))
    scores = {}
    for name, model in networks.items():
        model.load_state_dict({k: torch.from_numpy(x) for k, x in random(name).items()})
        for key, y in predict(model, image(name)).items():
            scores[f"{name}/{key}"] = sample(y)
    np.savez_compressed(SCORES, **scores)


if __name__ == "__main__":
    main()

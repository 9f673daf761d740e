"""SegFormers of transformers and MMSegmentation, with random weights.

Run as a script where both are installed, this writes names and shapes of the tensors of their
files:

    cd tests && python -m weights.segformer_oracle
"""

import gzip
import json
import pathlib
import warnings

import numpy as np

KEYS = pathlib.Path(__file__).parent / "fixtures" / "segformer_keys.json.gz"

WIDTHS, DEPTHS, HEADS = (32, 64, 160, 256), (2, 2, 2, 2), (1, 2, 5, 8)


def declared():
    """Let transformers be imported where torchvision's compiled part does not fit PyTorch."""
    import torch

    if not hasattr(torch.ops.torchvision, "nms"):
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return library
    return None


def randomized(network, seed=0):
    import torch

    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.ndim > 1:
                values = rng.normal(0, np.prod(value.shape[1:]) ** -0.5, value.shape)
            elif name.endswith(("weight", "running_var")):
                values = rng.uniform(0.5, 1.5, value.shape)
            elif value.ndim:
                values = rng.normal(0, 0.2, value.shape)
            else:
                continue
            value.copy_(torch.from_numpy(np.asarray(values)))
    return network.eval()


def of_transformers(classes=150, filters=256):
    """MiT-B0 with its head, as transformers builds it."""
    kept = declared()
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    config = SegformerConfig(
        depths=list(DEPTHS),
        hidden_sizes=list(WIDTHS),
        num_attention_heads=list(HEADS),
        decoder_hidden_size=filters,
        num_labels=classes,
    )
    network = randomized(SegformerForSemanticSegmentation(config))
    network.kept = kept
    return network


def of_mmseg():
    """SegFormer-B0 for ADE20K from the configuration file of MMSegmentation."""
    from . import mmseg_oracle

    mmseg_oracle.package()
    from mmengine.config import Config
    from mmseg.registry import MODELS

    path = mmseg_oracle.folder() / "segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py"
    model = Config.fromfile(str(path)).model
    model.pretrained = model.data_preprocessor = model.backbone.init_cfg = None
    model.decode_head.norm_cfg = {"type": "BN", "requires_grad": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return randomized(MODELS.build(model))


def shapes_of(tensors):
    return {name: list(value.shape) for name, value in tensors.items()}


def main():
    import tempfile

    from safetensors import numpy as safetensors

    with tempfile.TemporaryDirectory() as folder:
        of_transformers().save_pretrained(folder)
        saved = safetensors.load_file(f"{folder}/model.safetensors")
    found = {
        "nvidia/segformer_b0_ade20k": shapes_of(saved),
        "mmseg/segformer_b0_ade20k": shapes_of(of_mmseg().state_dict()),
    }
    text = json.dumps(found, separators=(",", ":")).encode()
    KEYS.write_bytes(gzip.compress(text, mtime=0))


if __name__ == "__main__":
    main()

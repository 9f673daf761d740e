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

from tests import torchvision_operations

KEYS = pathlib.Path(__file__).parent / "fixtures" / "segformer_keys.json.gz"

WIDTHS, DEPTHS, HEADS = (32, 64, 160, 256), (2, 2, 2, 2), (1, 2, 5, 8)


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
    torchvision_operations.declare()
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    config = SegformerConfig(
        depths=list(DEPTHS),
        hidden_sizes=list(WIDTHS),
        num_attention_heads=list(HEADS),
        decoder_hidden_size=filters,
        num_labels=classes,
    )
    network = randomized(SegformerForSemanticSegmentation(config))
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


def authors(shapes):
    """The names of the authors' files, which transformers made its own from."""
    found = {}
    for name, shape in shapes.items():
        new = name.replace("segformer.encoder.", "backbone.")
        stage = [n for n in new.split(".") if n.isdigit()]
        if "patch_embeddings" in new:
            new = new.replace(f"patch_embeddings.{stage[0]}", f"patch_embed{int(stage[0]) + 1}")
            new = new.replace("layer_norm", "norm")
        elif ".block." in new:
            new = new.replace(f"block.{stage[0]}", f"block{int(stage[0]) + 1}")
            for old, their in (
                ("attention.self.query", "attn.q"),
                ("attention.self.sr", "attn.sr"),
                ("attention.self.layer_norm", "attn.norm"),
                ("attention.output.dense", "attn.proj"),
                ("layer_norm_1", "norm1"),
                ("layer_norm_2", "norm2"),
                ("mlp.dense", "mlp.fc"),
            ):
                new = new.replace(old, their)
            if "self.value" in new:
                continue
            if "self.key" in new:
                new, shape = (
                    new.replace("attention.self.key", "attn.kv"),
                    [2 * shape[0], *shape[1:]],
                )
        elif "layer_norm" in new:
            new = new.replace(f"layer_norm.{stage[0]}", f"norm{int(stage[0]) + 1}")
        elif "linear_c." in new:
            new = new.replace(f"linear_c.{stage[0]}", f"linear_c{int(stage[0]) + 1}")
        for old, their in (
            ("linear_fuse", "linear_fuse.conv"),
            ("batch_norm", "linear_fuse.bn"),
            ("classifier", "linear_pred"),
        ):
            new = new.replace(f"decode_head.{old}.", f"decode_head.{their}.")
        found[new] = shape
    return {**found, "decode_head.conv_seg.weight": [150, 256, 1, 1]}


def tensors(shapes, seed=0):
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(0, 1, shape).astype("float32") if shape else np.zeros((), "int64")
        for name, shape in shapes.items()
    }


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

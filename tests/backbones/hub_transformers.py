"""Places of the weights of vision transformers of the library transformers in KerasHub's.

A row names both sides of each weight; `moved` follows it. Paths are those of attributes: a number
is an index, `@Name` stands for all layers of a class, `*` for the number of a block.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from tests.backbones.hub_networks import WIDTH, dinov2, network

_SIZE = {"hidden_size": WIDTH, "num_hidden_layers": 4, "num_attention_heads": 2}
_HIDDEN = {"intermediate_size": 12}
_SQUARE = {"image_size": 48, "patch_size": 16}
_INTERPOLATED = {"interpolate_pos_encoding": True}


@dataclasses.dataclass(frozen=True)
class Peer:
    """A network of transformers beside one of KerasHub.

    Attributes:
        kind: what its classes begin with; `suffix` comes before "Config" and "Model".
        settings: of its configuration, beside those of all.
        ours: function that makes KerasHub's network.
        weights: from paths in KerasHub's network to names in the file.
        size: side of the images that both were built for.
        other: another size, of whole patches, at which the authors interpolate positions.
        prefix: tokens before those of the patches; `None` where it gives a map.
        normalized: whether its last tokens passed the last normalization.
        call: further arguments of its call.
        images: function of images before it.
    """

    kind: str
    settings: Mapping[str, Any]
    ours: Callable[[], keras.Model]
    weights: Mapping[str, str]
    suffix: str = ""
    size: int = 48
    other: tuple[int, int] = (64, 112)
    prefix: int | None = 0
    normalized: bool = True
    call: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    images: Callable[[np.ndarray], np.ndarray] = lambda x: x

    def build(self, transformers):
        """The network, with random weights."""
        import torch

        config = getattr(transformers, f"{self.kind}{self.suffix}Config")
        config = config(**_SIZE, **self.settings)
        model = getattr(transformers, f"{self.kind}{self.suffix}Model")(config).eval()
        rng = np.random.default_rng(0)
        with torch.no_grad():
            for parameter in model.parameters():
                value = rng.normal(scale=0.3, size=tuple(parameter.shape))
                parameter.copy_(torch.from_numpy(value.astype("float32")))
        return model

    def moved(self, theirs):
        """KerasHub's network with its weights."""
        ours = self.ours()
        state = {name: value.numpy() for name, value in theirs.state_dict().items()}
        for path, name in self.weights.items():
            for number in range(4) if "*" in path else (0,):
                part = _part(ours, path.replace("*", str(number)))
                _assign(part, name.replace("*", str(number)), state)
        return ours

    def tokens(self, theirs, x):
        """The last tokens of the patches as a map, of NumPy images."""
        import torch

        seen = torch.from_numpy(self.images(x).transpose(0, 3, 1, 2).astype("float32"))
        with torch.no_grad():
            out = theirs(seen, **self.call).last_hidden_state.numpy()
        if self.prefix is None:
            return out.transpose(0, 2, 3, 1)
        patch = self.settings["patch_size"]
        return out[:, self.prefix :].reshape(1, *(n // patch for n in x.shape[1:3]), WIDTH)


def _part(thing, path):
    for step in path.split("/"):
        if step.startswith("@"):
            thing = [layer for layer in thing.layers if type(layer).__name__ == step[1:]]
        elif step.isdigit():
            thing = thing[int(step)]
        else:
            found = getattr(thing, step, None)
            thing = thing.get_layer(step) if found is None else found
    return thing


def _assign(part, name, state):
    """The tensors of a module or a parameter to a layer or a variable."""
    if isinstance(part, keras.layers.MultiHeadAttention):
        output = "o_proj" if f"{name}.o_proj.weight" in state else "out_proj"
        for theirs, ours in (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value")):
            weight, bias = (state[f"{name}.{theirs}.{kind}"] for kind in ("weight", "bias"))
            heads = part.num_heads
            ours = getattr(part, f"_{ours}_dense")
            ours.set_weights([weight.T.reshape(WIDTH, heads, -1), bias.reshape(heads, -1)])
        weight, bias = (state[f"{name}.{output}.{kind}"] for kind in ("weight", "bias"))
        part._output_dense.set_weights([weight.T.reshape(part.num_heads, -1, WIDTH), bias])
    elif isinstance(part, keras.layers.Embedding):
        value = state.get(f"{name}.weight", state.get(name))
        part.embeddings.assign(value.reshape(part.embeddings.shape))
    elif isinstance(part, keras.layers.Layer):
        weight, bias = state[f"{name}.weight"], state.get(f"{name}.bias")
        if weight.ndim > 1:
            weight = weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T
        part.set_weights([weight] if bias is None else [weight, bias])
    elif name == "arange":  # positions of a new CLIP, see `hub/clip.py`
        part.assign(np.arange(part.shape[-1])[None])
    else:
        value = state[name]
        if len(part.shape) == 4:  # ViTDet: a map, without the position of its class token
            value = value[:, 1:]
        part.assign(value.reshape(part.shape))


def _block(ours, theirs, names):
    return {f"{ours}/*/{part}": f"{theirs}.*.{name}" for part, name in names.items()}


_VIT = {
    "vit_patching_and_embedding/patch_embedding": "embeddings.patch_embeddings.projection",
    "vit_patching_and_embedding/class_token": "embeddings.cls_token",
    "vit_patching_and_embedding/position_embedding": "embeddings.position_embeddings",
    "vit_encoder/layer_norm": "layernorm",
    **_block(
        "vit_encoder/encoder_layers",
        "layers",
        {
            "layer_norm_1": "layernorm_before",
            "mha": "attention",
            "layer_norm_2": "layernorm_after",
            "mlp/dense_1": "mlp.fc1",
            "mlp/dense_2": "mlp.fc2",
        },
    ),
}
_SIGLIP = {
    "embedding/patch_embedding": "embeddings.patch_embedding",
    "embedding/position_embedding": "embeddings.position_embedding",
    "post_layer_norm": "post_layernorm",
    **_block(
        "encoder_layers",
        "encoder.layers",
        {
            "layer_norm1": "layer_norm1",
            "self_attn": "self_attn",
            "layer_norm2": "layer_norm2",
            "mlp/fc1": "mlp.fc1",
            "mlp/fc2": "mlp.fc2",
        },
    ),
}
_CLIP = {
    "embedding/patch_embedding": "embeddings.patch_embedding",
    "embedding/class_embedding": "embeddings.class_embedding",
    "embedding/position_embedding": "embeddings.position_embedding",
    "embedding/position_ids": "arange",
    "pre_layer_norm": "pre_layrnorm",
    "layer_norm": "post_layernorm",
    **_block(
        "encoder_layers",
        "encoder.layers",
        {
            "layer_norm_1": "layer_norm1",
            "attention": "self_attn",
            "layer_norm_2": "layer_norm2",
            "dense_1": "mlp.fc1",
            "dense_2": "mlp.fc2",
        },
    ),
}
_TABLES = "attention/add_decomposed_relative_pe"
_VIT_DET = {
    "@ViTDetPatchingAndEmbedding/0/projection": "embeddings.projection",
    "@AddPositionalEmbedding/0/pos_embed": "embeddings.position_embeddings",
    **_block(
        "@WindowedTransformerEncoder",
        "encoder.layer",
        {
            "layer_norm1": "norm1",
            "attention/qkv": "attention.qkv",
            "attention/projection": "attention.proj",
            f"{_TABLES}/rel_pos_h": "attention.rel_pos_h",
            f"{_TABLES}/rel_pos_w": "attention.rel_pos_w",
            "layer_norm2": "norm2",
            "mlp_block/dense_net/layers/0": "mlp.fc1",
            "mlp_block/dense_net/layers/2": "mlp.fc2",
        },
    ),
}
_DINOV2 = {
    "embeddings/patch_embeddings/projection": "embeddings.patch_embeddings.projection",
    "embeddings/cls_token": "embeddings.cls_token",
    "embeddings/position_embeddings": "embeddings.position_embeddings",
    "embeddings/interpolated_position_embeddings": "embeddings.position_embeddings",
    "layernorm": "layernorm",
}


def _dinov2_blocks(theirs):
    return _block(
        "encoder/layers",
        theirs,
        {
            "norm1": "norm1",
            "attention/attention": "attention",
            "layer_scale1/lambda1": "layer_scale1.lambda1",
            "norm2": "norm2",
            "mlp/fc1": "mlp.fc1",
            "mlp/fc2": "mlp.fc2",
            "layer_scale2/lambda1": "layer_scale2.lambda1",
        },
    )


def _dinov2(registers):
    import keras_hub

    return dinov2(
        keras_hub.models,
        intermediate_dim=2 * WIDTH,
        num_register_tokens=registers,
        antialias_in_interpolation=bool(registers),
    )


def _standardized(x):
    """As ViTDet does itself, here and in KerasHub."""
    return (x - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])


_OF_DINOV2: dict[str, Any] = {"size": 42, "other": (70, 98)}
_DINOV2_SIZE = {"mlp_ratio": 2, "image_size": 42, "patch_size": 14, "layerscale_value": 0.7}
_WINDOWS = {"window_size": 4, "window_block_indices": [0, 2]}
PEERS = {
    "vit": Peer(
        "ViT",
        {**_HIDDEN, **_SQUARE, "layer_norm_eps": 1e-6},
        lambda: network("vit", shape=(48, 48, 3)),
        _VIT,
        prefix=1,
        call=_INTERPOLATED,
    ),
    "siglip": Peer(
        "Siglip",
        {**_HIDDEN, **_SQUARE},
        lambda: network("siglip"),
        _SIGLIP,
        suffix="Vision",
        call=_INTERPOLATED,
    ),
    "clip": Peer(
        "CLIP",
        {**_HIDDEN, **_SQUARE},
        lambda: network("clip"),
        _CLIP,
        suffix="Vision",
        prefix=1,
        normalized=False,
        call=_INTERPOLATED,
    ),
    "vit_det": Peer(
        "VitDet",
        {
            **_WINDOWS,
            "mlp_ratio": 2,
            "patch_size": 8,
            "image_size": 48,
            "pretrain_image_size": 48,
            "use_relative_position_embeddings": True,
        },
        lambda: network("vit_det"),
        _VIT_DET,
        other=(56, 104),
        prefix=None,
        normalized=False,
        images=_standardized,
    ),
    "dinov2": Peer(
        "Dinov2",
        _DINOV2_SIZE,
        lambda: _dinov2(0),
        {**_DINOV2, **_dinov2_blocks("encoder.layer")},
        prefix=1,
        **_OF_DINOV2,
    ),
    "dinov2_with_registers": Peer(
        "Dinov2WithRegisters",
        {**_DINOV2_SIZE, "num_register_tokens": 2},
        lambda: _dinov2(2),
        {
            **_DINOV2,
            "embeddings/register_tokens": "embeddings.register_tokens",
            **_dinov2_blocks("encoder.layer"),
        },
        prefix=3,
        **_OF_DINOV2,
    ),
}

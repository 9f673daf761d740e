"""Small networks of KerasHub with random weights, and what they compute themselves."""

import keras
import numpy as np
from keras import ops

SIZE = dict(num_layers=4, num_heads=2)
WIDTH = 8


def _vit(models, shape=(32, 48, 3)):
    return models.ViTBackbone(shape, 16, hidden_dim=WIDTH, mlp_dim=12, **SIZE)


def _deit(models):
    return models.DeiTBackbone((32, 48, 3), 16, hidden_dim=WIDTH, intermediate_dim=12, **SIZE)


def dinov2(models, image=42, **settings):
    shapes = {"image_shape": (image, image, 3), "position_embedding_shape": (42, 42, 3)}
    size = {"hidden_dim": WIDTH, "intermediate_dim": 12, "num_register_tokens": 2}
    return models.DINOV2Backbone(14, **{**SIZE, **size, **shapes, **settings})


def _dinov3(models):
    return models.DINOV3Backbone(
        16,
        hidden_dim=WIDTH,
        intermediate_dim=12,
        num_register_tokens=2,
        image_shape=(48, 48, 3),
        use_gated_mlp=True,
        use_key_bias=False,
        **SIZE,
    )


def _siglip(models):
    return models.SigLIPVisionEncoder(
        16, hidden_dim=WIDTH, intermediate_dim=12, image_shape=(48, 48, 3), **SIZE
    )


def _clip(models):
    return models.CLIPVisionEncoder(
        16, hidden_dim=WIDTH, intermediate_dim=12, image_shape=(48, 48, 3), **SIZE
    )


def _vit_det(models):
    return models.ViTDetBackbone(
        hidden_size=WIDTH,
        intermediate_dim=2 * WIDTH,
        global_attention_layer_indices=[1, 3],
        image_shape=(48, 48, 3),
        patch_size=8,
        window_size=4,
        num_output_channels=4,
        **SIZE,
    )


MAKERS = {
    "vit": _vit,
    "deit": _deit,
    "dinov2": dinov2,
    "dinov3": _dinov3,
    "siglip": _siglip,
    "clip": _clip,
    "vit_det": _vit_det,
}


def network(name, **settings):
    """A small network of KerasHub with random weights."""
    import keras_hub

    model = MAKERS[name](keras_hub.models, **settings)
    rng = np.random.default_rng(0)
    for variable in model.weights:
        if "int" not in keras.backend.standardize_dtype(variable.dtype):
            variable.assign(rng.normal(scale=0.3, size=variable.shape))
    if name == "dinov2":  # as after loading: derived from the stored ones
        embedding = model.embeddings
        fresh = embedding._interpolate_position_embeddings(
            embedding.position_embeddings,
            embedding.patch_size,
            embedding.position_embedding_shape,
            embedding.image_shape,
        )
        embedding.interpolated_position_embeddings.assign(fresh)
    return model


def called(model, x):
    """The tokens or the map that a network of KerasHub computes."""
    if isinstance(model.input, dict):
        x = {next(iter(model.input)): x}
    return ops.convert_to_numpy(model(x))


def last_tokens(name, model, x):
    """The tokens of the patches after the last block, as KerasHub's network ends."""
    if name == "siglip":  # its last layer makes one vector of all
        model = keras.Model(model.input, model.post_layer_norm.output)
    tokens = called(model, x)
    before = {"vit": 1, "deit": 2, "dinov2": 3, "dinov3": 3, "clip": 1}
    return tokens[:, before.get(name, 0) :]


def ended(name, model, feature):
    """The last raw map of a backbone, ended as KerasHub's network ends: normalization, neck."""
    if name == "vit_det":
        return ops.convert_to_numpy(model.neck(feature))
    tokens = ops.reshape(feature, (feature.shape[0], -1, feature.shape[-1]))
    norms = {
        "vit": lambda: model.get_layer("vit_encoder").layer_norm,
        "deit": lambda: model.get_layer("deit_encoder").layer_norm,
        "clip": lambda: model.layer_norm,
        "siglip": lambda: model.post_layer_norm,
    }
    return ops.convert_to_numpy(norms[name]()(tokens) if name in norms else tokens)

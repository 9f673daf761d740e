"""Small hierarchical backbones of KerasHub, with random weights."""

import warnings

import keras
import numpy as np

SIZE = 64


def randomized(model, seed=0):
    """Weights of He's size, and statistics of batch norms near 1."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        name, shape = weight.path.rpartition("/")[2], weight.shape
        if name in ("gamma", "moving_variance", "scale"):
            values = rng.uniform(0.5, 1.5, shape)
        elif len(shape) > 1 and name != "relative_position_bias_table":
            values = rng.normal(0, np.prod(shape[:-1]) ** -0.5, shape)
        else:
            values = rng.normal(0, 0.2, shape)
        weight.assign(values.astype("float32"))
    return model


def mit(hub, size=SIZE):
    return hub.MiTBackbone(
        layerwise_depths=[1, 2, 1, 1],
        num_layers=4,
        layerwise_num_heads=[1, 2, 2, 4],
        layerwise_sr_ratios=[8, 4, 2, 1],
        max_drop_path_rate=0.1,
        layerwise_patch_sizes=[7, 3, 3, 3],
        layerwise_strides=[4, 2, 2, 2],
        image_shape=(size, size, 3),
        hidden_dims=[8, 16, 16, 32],
    )


def swin(hub, size=SIZE):
    return hub.SwinTransformerBackbone(
        image_shape=(size, size, 3),
        embed_dim=8,
        depths=(2, 2, 2, 1),
        num_heads=(1, 2, 2, 4),
        window_size=2,
    )


def hgnetv2(hub, size=SIZE):
    return hub.HGNetV2Backbone(
        depths=[1, 1, 2, 1],
        embedding_size=8,
        hidden_sizes=[8, 16, 16, 32],
        stem_channels=[3, 8, 8],
        hidden_act="relu",
        use_learnable_affine_block=True,
        stackwise_stage_filters=[
            (8, 8, 16, 1, 2, 3),
            (16, 8, 16, 1, 2, 3),
            (16, 8, 24, 2, 2, 5),
            (24, 8, 32, 1, 2, 5),
        ],
        apply_downsample=[False, True, True, True],
        use_lightweight_conv_block=[False, False, True, True],
        image_shape=(size, size, 3),
    )


def resnet(hub, size=SIZE, **settings):
    settings = {
        "input_conv_filters": [64],
        "input_conv_kernel_sizes": [7],
        "block_type": "bottleneck_block",
        **settings,
    }
    return hub.ResNetBackbone(
        stackwise_num_filters=[64, 8, 8, 8],
        stackwise_num_blocks=[1, 1, 1, 1],
        stackwise_num_strides=[1, 2, 2, 2],
        image_shape=(size, size, 3),
        **settings,
    )


def resnet_vd(hub, size=SIZE):
    stem = {"input_conv_filters": [8, 8, 64], "input_conv_kernel_sizes": [3, 3, 3]}
    return resnet(hub, size, block_type="bottleneck_block_vd", **stem)


def densenet(hub, size=SIZE):
    return hub.DenseNetBackbone(
        stackwise_num_repeats=[1, 2, 1, 1],
        compression_ratio=0.5,
        growth_rate=8,
        image_shape=(size, size, 3),
    )


def cspnet(hub, size=SIZE):
    return hub.CSPNetBackbone(
        stem_filters=8,
        stem_kernel_size=3,
        stem_strides=1,
        stackwise_depth=[1, 1, 1, 1, 1],
        stackwise_strides=[2, 2, 2, 2, 2],
        stackwise_num_filters=[8, 8, 16, 16, 32],
        block_type="dark_block",
        block_ratio=[1.0] + [0.5] * 4,
        bottle_ratio=[0.5] + [1.0] * 4,
        expand_ratio=[2.0] + [1.0] * 4,
        stage_type="csp",
        image_shape=(size, size, 3),
    )


def efficientnet(hub, size=SIZE, **settings):
    settings = {
        "stackwise_squeeze_and_excite_ratios": [0.25] * 5,
        "stackwise_block_types": ["v1"] * 5,
        **settings,
    }
    return hub.EfficientNetBackbone(
        stackwise_kernel_sizes=[3, 3, 3, 5, 5],
        stackwise_num_repeats=[1, 2, 1, 2, 1],
        stackwise_input_filters=[8, 8, 8, 16, 16],
        stackwise_output_filters=[8, 8, 16, 16, 32],
        stackwise_expansion_ratios=[1, 4, 4, 6, 6],
        stackwise_strides=[1, 2, 2, 2, 2],
        width_coefficient=1.0,
        depth_coefficient=1.0,
        image_shape=(size, size, 3),
        **settings,
    )


def efficientnet_v2(hub, size=SIZE):
    return efficientnet(
        hub,
        size,
        stackwise_squeeze_and_excite_ratios=[0, 0, 0, 0.25, 0.25],
        stackwise_block_types=["fused", "fused", "fused", "unfused", "unfused"],
        stackwise_force_input_filters=[0] * 5,
        stackwise_nores_option=[0] * 5,
    )


def mobilenet(hub, size=SIZE):
    return hub.MobileNetBackbone(
        stackwise_expansion=[[40, 56], [64, 144], [72]],
        stackwise_num_blocks=[2, 2, 1],
        stackwise_num_filters=[[16, 16], [24, 24], [32]],
        stackwise_kernel_size=[[3, 3], [5, 5], [5]],
        stackwise_num_strides=[[2, 1], [2, 1], [2]],
        stackwise_se_ratio=[[None, None], [0.25, 0.25], [0.3]],
        stackwise_activation=[["relu", "relu"], ["hard_swish"] * 2, ["hard_swish"]],
        stackwise_padding=[[1, 1], [2, 2], [2]],
        output_num_filters=48,
        input_num_filters=16,
        depthwise_filters=8,
        depthwise_stride=2,
        depthwise_residual=False,
        squeeze_and_excite=0.5,
        last_layer_filter=48,
        image_shape=(size, size, 3),
    )


def vgg(hub, size=SIZE):
    return hub.VGGBackbone(
        stackwise_num_repeats=[1, 1, 2, 1, 1],
        stackwise_num_filters=[8, 8, 16, 16, 32],
        image_shape=(size, size, 3),
    )


def xception(hub, size=SIZE):
    return hub.XceptionBackbone(
        stackwise_conv_filters=[[8, 16], [24, 24], [32, 32], [40, 40], [48, 48], [56, 64]],
        stackwise_pooling=[False, True, True, True, True, False],
        image_shape=(size, size, 3),
    )


TRANSFORMERS = {"mit": mit, "swin": swin}
CONVOLUTIONAL = {
    "hgnetv2": hgnetv2,
    "resnet": resnet,
    "resnet_vd": resnet_vd,
    "densenet": densenet,
    "cspnet": cspnet,
    "efficientnet": efficientnet,
    "efficientnet_v2": efficientnet_v2,
    "mobilenet": mobilenet,
    "vgg": vgg,
    "xception": xception,
}
MODELS = {**TRANSFORMERS, **CONVOLUTIONAL}


def model(name, size=SIZE):
    """A model of KerasHub by its name here."""
    import keras_hub

    with warnings.catch_warnings():
        # A Dropout, through which masks pass, stands before layers that do not take any.
        warnings.filterwarnings("ignore", "Layer 'attn'")
        return randomized(MODELS[name](keras_hub.models, size))


def outputs(hub, x):
    """All maps that KerasHub itself gives, in a list: declared features, or the last one."""
    declared = getattr(hub, "pyramid_outputs", None) or hub.output
    maps = list(dict(declared).values()) if isinstance(declared, dict) else [declared]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Layer 'attn'")
        found = keras.Model(hub.input, [*maps, hub.output])(x, training=False)
    return [keras.ops.convert_to_numpy(y) for y in keras.tree.flatten(found)]

"""Makes `smp.json.gz`: settings, names and shapes of networks of segmentation_models_pytorch.

Run it in an environment that has the package:

    python tests/weights/make_smp.py
"""

import gzip
import json
import pathlib
import tempfile
import warnings

FILE = pathlib.Path(__file__).parent / "smp.json.gz"

_UNET = {"decoder_channels": [24, 16, 12, 8, 16]}
# Class, and settings that differ from its own: every option and encoder at least once.
CASES = (
    ("Unet", _UNET),
    ("Unet", {"encoder_name": "vgg16_bn", **_UNET}),
    ("Unet", {"encoder_name": "densenet121", "activation": "sigmoid", **_UNET}),
    ("Unet", {"encoder_name": "mobilenet_v2", "decoder_use_norm": False, **_UNET}),
    ("Unet", {"encoder_name": "timm-efficientnet-b0", **_UNET}),
    ("Unet", {"encoder_name": "tu-efficientnet_b0", "decoder_interpolation": "bilinear", **_UNET}),
    (
        "Unet",
        {"encoder_depth": 3, "decoder_channels": [32, 16, 24], "decoder_attention_type": "scse"},
    ),
    ("UnetPlusPlus", {"encoder_name": "vgg16_bn", **_UNET}),
    (
        "UnetPlusPlus",
        {"decoder_attention_type": "scse", "decoder_channels": [32, 16, 24, 16, 16]},
    ),
    (
        "UnetPlusPlus",
        {
            "encoder_depth": 4,
            "decoder_channels": [32, 16, 24, 16],
            "decoder_interpolation": "bilinear",
            "decoder_use_norm": "identity",
        },
    ),
    ("FPN", {"decoder_pyramid_channels": 64, "decoder_segmentation_channels": 32}),
    (
        "FPN",
        {"encoder_depth": 4, "upsampling": 2, "decoder_merge_policy": "cat", "classes": 1},
    ),
    ("DeepLabV3", {"decoder_channels": 32}),
    (
        "DeepLabV3",
        {
            "encoder_name": "mobilenet_v2",
            "decoder_channels": 16,
            "encoder_output_stride": 16,
            "decoder_aspp_separable": True,
            "decoder_atrous_rates": [2, 4, 6],
        },
    ),
    ("DeepLabV3", {"encoder_name": "timm-efficientnet-b0", "decoder_channels": 16}),
    ("DeepLabV3", {"encoder_name": "tu-resnet18", "decoder_channels": 16}),
    ("DeepLabV3Plus", {"decoder_channels": 32, "aux_params": {"classes": 4}}),
    (
        "DeepLabV3Plus",
        {"decoder_channels": 32, "decoder_aspp_separable": False, "encoder_output_stride": 8},
    ),
    ("PSPNet", {"psp_out_channels": 32}),
    ("PSPNet", {"psp_out_channels": 32, "encoder_depth": 4, "upsampling": 16}),
    ("Linknet", {}),
    ("Linknet", {"encoder_name": "efficientnet-b1", "encoder_depth": 4, "in_channels": 4}),
    ("Linknet", {"encoder_name": "densenet161", "encoder_depth": 4}),
    ("Linknet", {"encoder_name": "resnext50_32x4d", "encoder_depth": 3}),
    ("MAnet", {"decoder_pab_channels": 8, **_UNET}),
    (
        "MAnet",
        {
            "encoder_depth": 3,
            "decoder_channels": [32, 16, 24],
            "decoder_use_norm": False,
            "decoder_interpolation": "bilinear",
        },
    ),
    ("MAnet", {"encoder_name": "tu-convnext_tiny", **_UNET}),
    ("PAN", {"decoder_channels": 16}),
    ("PAN", {"encoder_depth": 3, "decoder_interpolation": "nearest"}),
    (
        "PAN",
        {
            "encoder_name": "vgg16_bn",
            "encoder_depth": 4,
            "encoder_output_stride": 32,
            "decoder_channels": 16,
        },
    ),
    ("PAN", {"encoder_name": "tu-mobilenetv3_large_100", "decoder_channels": 16}),
    ("UPerNet", {"decoder_channels": 16}),
    ("UPerNet", {"encoder_depth": 3, "decoder_channels": 16}),
    ("UPerNet", {"encoder_name": "tu-convnext_tiny", "decoder_channels": 16}),
    ("Segformer", {"decoder_segmentation_channels": 16}),
    ("Segformer", {"encoder_depth": 3, "decoder_segmentation_channels": 16}),
    ("Segformer", {"encoder_name": "tu-convnext_tiny", "decoder_segmentation_channels": 16}),
    ("Unet", {"encoder_name": "tu-convnext_tiny", **_UNET}),
    ("Unet", {"encoder_name": "tu-mobilenetv2_100", **_UNET}),
    ("Unet", {"encoder_name": "tu-mobilenetv3_small_100", **_UNET}),
    ("Unet", {"encoder_name": "timm-mobilenetv3_large_100", **_UNET}),
    ("FPN", {"encoder_name": "tu-tf_efficientnet_b0.ns_jft_in1k", "decoder_pyramid_channels": 64}),
    ("FPN", {"encoder_name": "tu-tf_efficientnetv2_b0", "decoder_pyramid_channels": 64}),
    ("FPN", {"encoder_name": "tu-tf_efficientnetv2_s", "decoder_pyramid_channels": 64}),
    ("DeepLabV3", {"encoder_name": "tu-tf_efficientnetv2_b0", "decoder_channels": 16}),
    ("DeepLabV3", {"encoder_name": "tu-mobilenetv3_small_100", "decoder_channels": 16}),
    ("Unet", {"encoder_name": "mit_b0", **_UNET}),
    ("Segformer", {"encoder_name": "mit_b0", "decoder_segmentation_channels": 16}),
    ("FPN", {"encoder_name": "mit_b1", "decoder_pyramid_channels": 64}),
)


def name_of(kind, settings):
    """A name for one of the cases."""
    return " ".join((kind, *(f"{key}={value}" for key, value in settings.items())))


def build(package, kind, settings):
    """The network, with small defaults."""
    settings = {"encoder_name": "resnet18", "encoder_weights": None, "classes": 3, **settings}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Encoders of timm by their old names.
        return getattr(package, kind)(**settings)


def stored(network):
    """The settings as `save_pretrained` writes them, names and shapes."""
    with tempfile.TemporaryDirectory() as folder:
        network.save_pretrained(folder)
        config = json.loads((pathlib.Path(folder) / "config.json").read_text())
    shapes = {name: list(value.shape) for name, value in network.state_dict().items()}
    return {"config": config, "shapes": shapes}


def main():
    import segmentation_models_pytorch as package

    found = {name_of(*case): stored(build(package, *case)) for case in CASES}
    FILE.write_bytes(gzip.compress(json.dumps(found).encode(), mtime=0))


if __name__ == "__main__":
    main()

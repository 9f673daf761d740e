"""Networks that users trained with segmentation_models_pytorch, from the folders it saves.

    model = kd.weights.pretrained("smp", "runs/my_unet")

The project publishes encoders, but hardly a whole network: so the catalogue has one record of it,
which makes another from the "config.json" of a folder.
"""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from keras_dense import _check
from keras_dense._types import PathLike, Shape
from keras_dense._weights.rules import Rule
from keras_dense.backbones.application import Preprocessing
from keras_dense.heads import Segmentation
from keras_dense.models.assemble import assemble, channels_of
from keras_dense.models.build import HeadsLike
from keras_dense.weights.record import Record
from keras_dense.weights.smp_decoders import FAMILIES
from keras_dense.weights.smp_encoder import Encoder
from keras_dense.weights.smp_encoders import encoder_of
from keras_dense.weights.smp_folder import CONFIG, folder_of
from keras_dense.weights.smp_plan import HEAD, Plan

NAME = "smp"
_PAGE = "https://github.com/qubvel-org/segmentation_models.pytorch"
_COMMON: dict[str, Any] = {
    "encoder_name": "resnet34",
    "encoder_weights": "imagenet",
    "in_channels": 3,
    "classes": 1,
    "activation": None,
    "aux_params": None,
}


def network(
    build_backbone: Callable[[int], keras.Model],
    plan: Plan,
    *,
    name: str,
    heads: HeadsLike,
    input_shape: Shape,
) -> keras.Model:
    """A network of segmentation_models_pytorch.

    Args:
        build_backbone: function from the channels of the image to the backbone.
        plan: its decoder.
        name: str, the name of the model.
        heads: a head, or a dict of heads.
        input_shape: `(height, width, channels)` of the image.
    """
    backbone = build_backbone(channels_of(input_shape))
    return assemble(
        backbone, plan.decoder, heads, input_shape=input_shape, name=name, grid=plan.grid
    )


def record_of(
    path: PathLike, preprocessing: Preprocessing | None = None
) -> tuple[Record, pathlib.Path]:
    """The record of a folder, and its file of weights.

    Args:
        path: the folder, or the file of weights beside its "config.json".
        preprocessing: the standardization in place of the one that the folder tells, see
            `kd.backbone`.

    Raises:
        ValueError: for a network, an encoder or a setting that is not known here.
        FileNotFoundError: for a path that does not exist, or a folder without settings or weights.
    """
    folder = folder_of(path)
    kind, settings = _settings(folder.config)
    encoder = encoder_of(settings["encoder_name"])
    plan = _plan(kind, settings, encoder)
    if preprocessing is None:
        preprocessing = folder.preprocessing()
    depth = settings["encoder_depth"]

    def build_backbone(channels: int) -> keras.Model:
        return encoder.backbone(depth, plan.output_stride, channels, preprocessing)

    head = _head(settings)
    record = Record(
        name=NAME,
        builder=network,
        arguments={
            "build_backbone": build_backbone,
            "plan": plan,
            "name": f"{kind.lower()}_{settings['encoder_name'].replace('-', '_')}",
        },
        rules=(*encoder.file_rules(depth), *plan.rules, *HEAD),
        file=folder.file.name,
        page=_PAGE,
        normalization=str(preprocessing),
        grid=plan.grid,
        channels=folder.channels,
        make_head=lambda: Segmentation(**head),
    )
    return record, folder.file


def _settings(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The class and its settings, with the defaults of those that are not stored.

    Raises:
        ValueError: for another class, or settings that it does not have.
    """
    kind = config.get("_model_class")
    if kind not in FAMILIES:
        wanted = f"one of {', '.join(FAMILIES)} in {CONFIG!r}"
        raise _check.fail("_model_class", wanted, kind)
    family = FAMILIES[kind]
    settings = {**_COMMON, **family.defaults}
    for key, value in config.items():
        key = family.old.get(key, key)
        if key in settings:
            settings[key] = value
        elif not key.startswith("_") and value is not None:
            raise ValueError(
                f"{CONFIG!r} must have settings of {kind} that are known here: "
                f"{', '.join(settings)}. Received: {key}={value!r}"
            )
    settings["encoder_depth"] = _check.integer(settings["encoder_depth"], "encoder_depth", 3, 5)
    return kind, settings


def _plan(kind: str, settings: Mapping[str, Any], encoder: Encoder) -> Plan:
    """The decoder, with a check that its scores have the size of the image."""
    plan = FAMILIES[kind].plan(settings, encoder)
    found = settings.get("upsampling")
    if found is not None and found != plan.upsampling:
        wanted = f"{plan.upsampling}, so that scores have the size of the image"
        raise _check.fail("upsampling", wanted, found)
    return plan


# By the name of the activation: the mode of the head, which predicts the logits before it.
_MODES = {
    None: None,
    "identity": None,
    "sigmoid": "multilabel",
    "softmax": "multiclass",
    "softmax2d": "multiclass",
    "logsoftmax": "multiclass",
}


def _head(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the head. Files hold no names of classes: they are numbered."""
    classes = _check.integer(settings["classes"], "classes", low=1)
    mode = _MODES[_check.choice(settings["activation"], "activation", tuple(_MODES))]
    if classes == 1 and mode == "multiclass":
        raise _check.fail("activation", "None or 'sigmoid' for one class", settings["activation"])
    return {"num_classes": classes, "mode": "binary" if classes == 1 else mode}


def _without_folder(**kwargs: Any) -> keras.Model:
    raise _check.fail("path", f"the folder of the network for {NAME!r}", None)


RECORDS = (
    Record(
        name=NAME,
        builder=_without_folder,
        rules=(),
        stored=record_of,
        file=f"{CONFIG} and the weights, in the folder that `save_pretrained` writes",
        data="your own images",
        license="that of your weights",
        citation='Iakubovskii, "Segmentation Models PyTorch", 2019',
        page=_PAGE,
        test_size="that of your training",
        normalization='"albumentations_config_eval.json", or that of the encoder\'s weights',
        grid="as the network has it there",
    ),
)
# Those of a file are found by its names, see `smp_names`.
RULES: dict[str, Sequence[Rule]] = {}

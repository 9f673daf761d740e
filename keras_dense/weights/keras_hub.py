"""Presets of KerasHub: DeepLabv3+, SegFormer, Depth Anything v2.

KerasHub downloads and reads them itself. Here its networks get what they lack: images 0–255 of any
size, their normalization within the model, predictions of the size of the image, names and colors
of classes. A folder that `task.save_to_preset(folder)` has written is read, too, without a network.
"""

import functools
import importlib
import os
import pathlib
import warnings
from collections.abc import Mapping
from typing import Any

import keras

from keras_dense import _check
from keras_dense._types import PathLike, Shape
from keras_dense._weights.fetch import cache_folder
from keras_dense.heads import Depth, Head, Heads, RelativeDepth, Segmentation
from keras_dense.heads.model_heads import found
from keras_dense.models.assemble import prefix_of
from keras_dense.weights.classes import ADE20K, CITYSCAPES, VOC, Classes
from keras_dense.weights.keras_hub_networks import NETWORKS, Rebuilt
from keras_dense.weights.record import Record


def load(
    record: Record,
    path: PathLike | None,
    *,
    heads: Heads | None = None,
    input_shape: Shape | None = None,
    strict: bool = True,
) -> keras.Model:
    """The network of a preset, with its weights.

    Args:
        record: its record.
        path: the folder of a preset; default: KerasHub downloads the one that the record names.
        heads: heads; default: a segmentation of the classes that the preset was trained on.
        input_shape: `(height, width, channels)` of the image.
        strict: bool. `False`: heads of other classes stay random, with a warning.

    Returns:
        A `keras.Model`.

    Raises:
        ImportError: without KerasHub.
        ConnectionError: if the preset cannot be downloaded.
        FileNotFoundError: for a path that is no folder of a preset.
        ValueError: for a preset of another network, or of other classes.
    """
    task = _task(record, path)
    if heads is None:
        heads = Heads(_head(record, task))
    shape = (None, None, record.channels) if input_shape is None else input_shape
    build = NETWORKS[record.arguments["task"]]
    rebuilt = build(task, heads.pack(heads), shape, _preprocessing(task))
    rebuilt.transfer(_transfer_scores(rebuilt, record, strict))
    return rebuilt.model


def _task(record: Record, path: PathLike | None) -> Any:
    """The task of KerasHub, with its weights."""
    kind, preset = record.arguments["task"], record.name.partition("/")[2]
    models = _models(record.name)
    if path is None:
        _check_handle(record, getattr(models, kind).presets)
    else:
        _check_folder(path)
    try:
        task = getattr(models, record.arguments["base"]).from_preset(
            preset if path is None else os.fspath(path)
        )
    except (OSError, ValueError) as error:
        if path is not None:
            raise ValueError(
                f"`path` must be a preset of {kind}. KerasHub says: {error}"
            ) from error
        raise ConnectionError(_failure(record, preset, error)) from error
    if path is None:
        _tell_terms(record)
    names = [each.__name__ for each in type(task).__mro__]
    if kind not in names:
        raise ValueError(
            f"`path` must be the folder of a preset of {kind} for {record.name!r}. "
            f"Received: path={path!r}, which holds a {names[0]}"
        )
    return task


def _models(name: str) -> Any:
    """The networks of KerasHub."""
    try:
        return importlib.import_module("keras_hub").models
    except ImportError as error:
        raise ImportError(
            f"{name!r} needs the package keras_hub, which could not be imported ({error}). "
            "Install it with: pip install keras-hub"
        ) from error


def _check_folder(path: PathLike) -> None:
    folder = pathlib.Path(path)
    missing = [name for name in ("config.json", "task.json") if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            "`path` must be the folder of a preset, as `task.save_to_preset(folder)` writes it. "
            f"Received: path={os.fspath(path)!r}, which has no {' and no '.join(missing)}"
        )


def _check_handle(record: Record, presets: Mapping[str, Any]) -> None:
    """Warn where KerasHub's list names the file of another preset."""
    handle = presets.get(record.file, {}).get("kaggle_handle", "")
    if handle and record.file not in handle.split("/"):
        warnings.warn(
            f"KerasHub's own list gives {handle!r} as the place of {record.file!r}: the weights of "
            f"{record.name!r} are those of another preset.",
            stacklevel=5,
        )


def _tell_terms(record: Record) -> None:
    """Print terms that are not permissive, the first time."""
    notice, note = record.remote.notice, cache_folder() / f"{record.file}.license.txt"
    if notice and not note.exists():
        print(notice)
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(f"{notice}\n", "utf-8")


def _failure(record: Record, preset: str, error: Exception) -> str:
    reason = str(error).strip() or type(error).__name__
    return (
        f"The preset {preset!r} could not be downloaded by KerasHub: {reason}\n"
        f"Get it in another way, such as with a browser from {record.page}, unpack it, and pass "
        f"its folder: `kd.weights.pretrained({record.name!r}, path='…/{preset}')`.\n"
        "Behind a proxy, set the variables HTTPS_PROXY and HTTP_PROXY."
    )


def _preprocessing(task: Any) -> Mapping[str, Any] | str:
    """The normalization of a preset, as `kd.backbone` takes it: x · scale + offset there."""
    converter = getattr(task.preprocessor, "image_converter", None)
    scale, offset = getattr(converter, "scale", None), getattr(converter, "offset", None)
    if scale is None and offset is None:
        return "none"

    def channels(value, default):
        values = [default] if value is None else keras.tree.flatten(value)
        return [float(x) for x in (values * 3 if len(values) == 1 else values)]

    std = [1 / x for x in channels(scale, 1.0)]
    shift = channels(offset, 0.0)
    return {"mean": [-b * s for b, s in zip(shift, std, strict=True)], "std": std}


# By their number, for presets of other classes than the record names.
_BY_NUMBER = {len(known.names): known for known in (VOC, CITYSCAPES, ADE20K)}


def _head(record: Record, task: Any) -> Head:
    """A head of what a preset was trained on."""
    if record.classes is None:
        if task.depth_estimation_type == "relative":
            return record.head()
        return Depth(task.min_depth, task.max_depth or 1.0)
    count = task.num_classes
    if len(record.classes.names) == count:
        return record.head()
    known = _BY_NUMBER.get(count)
    warnings.warn(
        f"The preset given for {record.name!r} predicts {count} classes, where the catalogue has "
        f"{record.classes}. "
        + (f"They are taken for the {known}." if known else "Their names are not known."),
        stacklevel=4,
    )
    if known is None:
        return Segmentation(count)
    return Segmentation(count, class_names=known.names, palette=known.palette)


def _transfer_scores(rebuilt: Rebuilt, record: Record, strict: bool) -> str | None:
    """Weights of the scores for the first head with as many channels; the prefix of its layers."""
    heads = found(rebuilt.model)
    kernel, *bias = rebuilt.scores
    others, chosen = [], None
    for key in {} if heads is None else heads:
        layer = rebuilt.model.get_layer(f"{prefix_of(key)}scores")
        if chosen is None and tuple(layer.kernel.shape) == kernel.shape:
            layer.set_weights([kernel, *(bias or [0.0 * kernel[0, 0, 0]])])
            chosen = prefix_of(key)
        else:
            others.append(f"{layer.name} of {layer.kernel.shape[-1]} channels")
    if not others:
        return chosen
    what = "one channel of depth" if record.classes is None else f"{kernel.shape[-1]} classes"
    message = f"{record.name!r} was trained for {what}, the model predicts {', '.join(others)}."
    if strict:
        raise ValueError(
            f"{message} With `strict=False` all other weights are read, and the scores of the "
            "model stay as they are, for training."
        )
    warnings.warn(f"{message} Its scores start at random.", stacklevel=4)
    return chosen


# What has a table of rules elsewhere is transferred from layer to layer here.
RULES: dict[str, tuple] = {"layers": ()}
_KAGGLE = "https://www.kaggle.com/models/keras"
_SEGFORMER = (
    "Xie et al., SegFormer: Simple and Efficient Design for Semantic Segmentation with "
    "Transformers, NeurIPS 2021"
)
_DEEPLAB = (
    "Chen et al., Encoder-Decoder with Atrous Separable Convolution for Semantic Image "
    "Segmentation, ECCV 2018; weights: the KerasHub authors"
)


def _builder(*, heads: Any, **_: Any) -> keras.Model:
    raise _check.fail("name", "loaded by `kd.weights.pretrained`", "a preset of KerasHub")


def _record(preset: str, model: str, task: str, parameters: int, **more: Any) -> Record:
    base = "ImageSegmenter" if task.endswith("ImageSegmenter") else "DepthEstimator"
    return Record(
        name=f"keras_hub/{preset}",
        builder=_builder,
        loader=load,
        arguments={"task": task, "base": base},
        rules=RULES["layers"],
        urls=(f"kaggle://keras/{model}/keras/{preset}",),
        file=preset,
        bytes=4 * parameters,
        rounded=True,
        page=f"{_KAGGLE}/{model}",
        normalization="that of the preset, within the model",
        **more,
    )


def _segformer(
    size: str, parameters: int, classes: Classes, pixels: int, score: float, **more: Any
) -> Record:
    data = {150: "ade20k", 19: "cityscapes"}[len(classes.names)]
    return _record(
        f"segformer_{size}_{data}_{pixels}",
        "segformer",
        "SegFormerImageSegmenter",
        parameters,
        classes=classes,
        data=classes.data,
        scores={"mean IoU": score},
        scored_on=f"{classes.data} val, single scale, as in the paper",
        license="NVIDIA Source Code License for SegFormer (not commercial)",
        citation=_SEGFORMER,
        test_size={
            150: f"short side {pixels}",
            19: f"windows of {pixels}×{pixels}",
        }[len(classes.names)],
        grid="image",
        **more,
    )


def _depth_anything(size: str, parameters: int, nyu: float, kitti: float, license: str) -> Record:
    return _record(
        f"depth_anything_v2_{size}",
        "depth-anything",
        "DepthAnythingDepthEstimator",
        parameters,
        make_head=functools.partial(RelativeDepth, activation="relu"),
        data="synthetic images with depth, and 62 million images that a larger network labeled",
        scores={"AbsRel on NYU": nyu, "AbsRel on KITTI": kitti},
        scored_on="zero-shot, scale and shift of each image aligned",
        license=license,
        citation="Yang et al., Depth Anything V2, NeurIPS 2024",
        test_size="518×518, or short side 518",
        grid="multiple_corners",
    )


# Weights without those of the scores, and mean IoU on ADE20K and Cityscapes (table 1 of the paper).
_SIZES = {
    "b0": (3_719_027, 37.4, 76.2),
    "b1": (13_682_643, 42.2, 78.5),
    "b2": (24_727_507, 46.5, 81.0),
    "b3": (44_603_347, 49.4, 81.7),
    "b4": (61_373_907, 50.3, 82.3),
    "b5": (81_974_227, 51.0, 82.4),
}

RECORDS = (
    _record(
        "deeplab_v3_plus_resnet50_pascalvoc",
        "deeplabv3plus",
        "DeepLabV3ImageSegmenter",
        39_190_656,
        classes=VOC,
        data="PASCAL VOC 2012 and SBD",
        scores={"mean IoU": 63.0, "pixel accuracy": 90.01},
        scored_on="PASCAL VOC 2012 val, by KerasHub",
        license="Apache-2.0",
        citation=_DEEPLAB,
        test_size="512×512",
        grid="multiple",
    ),
    *(
        _segformer(size, count, ADE20K, 640 if size == "b5" else 512, score)
        for size, (count, score, _) in _SIZES.items()
    ),
    *(
        _segformer(size, count, CITYSCAPES, 1024, score)
        for size, (count, _, score) in _SIZES.items()
    ),
    _depth_anything("small", 25_311_169, 0.053, 0.078, "Apache-2.0"),
    _depth_anything("base", 98_522_945, 0.049, 0.078, "CC BY-NC 4.0"),
    _depth_anything("large", 336_718_529, 0.045, 0.074, "CC BY-NC 4.0"),
)

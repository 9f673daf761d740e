"""Published networks, whole: downloaded, built and read."""

import contextlib
import dataclasses
import gc
import os
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import keras

from keras_dense import _check
from keras_dense._types import PathLike, Shape
from keras_dense._weights.fetch import fetch
from keras_dense._weights.read import read_file
from keras_dense.backbones import check_shape
from keras_dense.backbones.application import Preprocessing
from keras_dense.heads import Auxiliary, Heads
from keras_dense.models.build import HeadsLike
from keras_dense.weights.catalogue import info
from keras_dense.weights.load import finish, ready_for
from keras_dense.weights.record import Record


def pretrained(
    name: str,
    path: PathLike | None = None,
    *,
    num_classes: int | None = None,
    heads: HeadsLike | None = None,
    strict: bool = True,
    auxiliary: bool = False,
    input_shape: Shape | None = None,
    preprocessing: Preprocessing | None = None,
) -> keras.Model:
    """A published network with its weights, which knows its classes and their colors.

    The file is downloaded on first use, to the folder `keras_dense` in the cache of Keras
    (`~/.keras`, or the variable `KERAS_HOME` of the environment).

    Args:
        name: str, one of `kd.weights.list()`; or "smp", a network of your own that was trained with
            segmentation_models_pytorch and stored by `save_pretrained`.
        path: the file, if you have it: nothing is downloaded then. Where files name their classes
            (MMSegmentation's), it may be one of your own classes. Of "smp" the folder with
            "config.json" and the weights; of "keras_hub/…" the folder of a preset, which
            `task.save_to_preset(folder)` writes.
        num_classes, heads: other classes or heads than those of the file, for training, with
            `strict=False`: their scores start with random weights.
        strict: bool. `True`: every weight of the network must be in the file, and everything of the
            file must have a place. `False`: what does not fit stays random, with a warning.
        auxiliary: bool, whether the auxiliary head of the file, which only helps training, becomes
            an output, too. By default it is left out.
        input_shape: `(height, width, channels)` of the image; `None` stands for any height or
            width. Default: any size, and the channels of the file.
        preprocessing: of "smp", what happens to images 0–255 within the model, see `kd.backbone`.
            Default: as "albumentations_config_eval.json" in the folder says; without that file, as
            the weights that the encoder started from expect. Changes of size are left to you.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, 3)` → predictions of the same size. Its classes
        are those of `kd.heads.of(model)`.

    Raises:
        ValueError: for an unknown name, a file of another network, or other classes without
            `strict=False`; the message lists what does not fit.
        FileNotFoundError: for a path that does not exist.
        ConnectionError: if the file cannot be downloaded; the message says where to get it.
        ImportError: for "keras_hub/…" without KerasHub.

    Example:

    ```python
    model = kd.weights.pretrained("torchvision/deeplabv3_resnet50")
    labels = kd.decoded(model).predict(images)
    kd.heads.of(model).class_names

    # A file that is there already:
    model = kd.weights.pretrained("torchvision/fcn_resnet50", path="fcn_resnet50_coco.pth")

    # Depth, from a preset that KerasHub downloads:
    model = kd.weights.pretrained("keras_hub/depth_anything_v2_small")

    # A folder of segmentation_models_pytorch, with names for its classes:
    head = kd.heads.Segmentation(3, class_names=["sky", "road", "car"])
    model = kd.weights.pretrained("smp", path="runs/my_unet", heads=head)

    # Other classes, for training:
    model = kd.weights.pretrained("torchvision/fcn_resnet50", num_classes=11, strict=False)
    ```
    """
    record, path = _record(name, path, preprocessing)
    wanted = _heads(record, num_classes, heads, auxiliary)
    if record.loader is not None:
        if input_shape is not None:
            input_shape = check_shape(input_shape)
        given = None if heads is None and num_classes is None else Heads(wanted)
        return record.loader(record, path, heads=given, input_shape=input_shape, strict=strict)
    # First of all: without a network the error should come at once.
    file = fetch(record.remote) if path is None else path
    if not os.path.exists(file) and not os.path.exists(f"{os.fspath(file)}.index"):
        raise FileNotFoundError(f"`path` must be a file that exists. Received: path={file!r}")
    if record.classes_in and heads is None and num_classes is None:
        # Read twice: while the network is built, there is no memory for the tensors.
        record = _as_named(record, read_file(file).meta)
        wanted = _heads(record, None, None, auxiliary)
    shape = (None, None, record.channels) if input_shape is None else check_shape(input_shape)
    with _collected():
        model = record.builder(heads=wanted, input_shape=shape, **record.arguments)
    tensors = read_file(file).tensors
    ready = ready_for(model, tensors, record.rules, os.fspath(file))
    del tensors
    finish(ready, strict=strict, fresh=True)
    return model


def _record(
    name: str, path: PathLike | None, preprocessing: Preprocessing | None
) -> tuple[Record, PathLike | None]:
    """The record of a network, and the path of its file if it is there."""
    record = info(name)
    if record.stored is not None:
        if path is None:
            raise _check.fail("path", f"the folder of the network for {name!r}", path)
        return record.stored(path, preprocessing)
    if preprocessing is not None:
        raise _check.fail("preprocessing", f"None for {name!r}, which has its own", preprocessing)
    return record, path


@contextlib.contextmanager
def _collected() -> Iterator[None]:
    """Release what is dropped inside: surgery copies the backbone, and the file needs that memory.

    Older objects, of which there are many more, are not looked at.
    """
    frozen = gc.get_freeze_count() > 0
    if not frozen:
        gc.freeze()
    try:
        yield
    finally:
        if not frozen:
            gc.collect()
            gc.unfreeze()


def _as_named(record: Record, meta: Mapping[str, Any]) -> Record:
    """The record with the classes that its file names, if it names others."""
    named = record.classes_in(meta) if record.classes_in else None
    if named is None or record.classes is None:
        return record
    if list(named.names) != list(record.classes.names):
        warnings.warn(
            f"The file given for {record.name!r} names {named}, such as {named.names[0]!r}, where "
            f"the catalogue has {record.classes}. Its own are used.",
            stacklevel=3,
        )
    return dataclasses.replace(record, classes=named)


def _heads(
    record: Record, num_classes: int | None, heads: HeadsLike | None, auxiliary: bool
) -> HeadsLike:
    """The heads to build: those that are given, or the one of the file, and its auxiliary one."""
    if heads is None and num_classes is None:
        found = Heads(record.head())
    else:
        found = Heads.of(heads, num_classes)
    if not auxiliary:
        return found.pack(found)
    if record.auxiliary is None:
        raise ValueError(
            f"`auxiliary` must be False for {record.name!r}, whose file has no auxiliary head."
        )
    if not found.single:
        raise ValueError("`auxiliary` must be False with a dict of `heads`: name it among them.")
    head = found[""]
    return {"segmentation": head, "auxiliary": Auxiliary(head, **record.auxiliary)}

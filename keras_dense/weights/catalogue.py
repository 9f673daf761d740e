"""The catalogue of published networks: names, and what is known about each."""

import builtins
import difflib
import fnmatch
from types import ModuleType

from keras_dense.weights import (
    crfasrnn,
    deconvnet,
    deeplab,
    deeplabv2,
    dilation,
    fcn,
    fcn_alexnet,
    keras_hub,
    midas,
    mmseg,
    pspnet,
    segformer,
    segnet,
    torchvision,
)
from keras_dense.weights.record import Record

# Modules of records, one for each project, in the order of `kd.weights.list`.
SOURCES: tuple[ModuleType, ...] = (
    torchvision,
    mmseg,
    deeplab,
    deeplabv2,
    fcn,
    fcn_alexnet,
    dilation,
    crfasrnn,
    pspnet,
    segnet,
    deconvnet,
    keras_hub,
    midas,
    segformer,
)


def records() -> dict[str, Record]:
    """All records by name.

    >>> "torchvision/fcn_resnet50" in records()
    True
    """
    return {record.name: record for source in SOURCES for record in source.RECORDS}


def list(pattern: str = "*") -> builtins.list[str]:
    """Names of published networks that `kd.weights.pretrained` loads.

    Args:
        pattern: str, such as "*voc*", compared without case with the name, the classes and the data
            that the network was trained on. Without `*` and `?` it may be any part of them.

    Returns:
        A list of names.

    Example:

    >>> import keras_dense as kd
    >>> kd.weights.list("torchvision/fcn_*")
    ['torchvision/fcn_resnet50', 'torchvision/fcn_resnet101']
    """
    pattern = pattern.lower()
    if not any(sign in pattern for sign in "*?["):
        pattern = f"*{pattern}*"
    return [
        name
        for name, record in records().items()
        if any(
            fnmatch.fnmatchcase(text.lower(), pattern)
            for text in (name, record.data, str(record.classes or ""))
        )
    ]


def info(name: str) -> Record:
    """Data, classes, scores, license and more of a published network.

    Args:
        name: str, one of `kd.weights.list()`.

    Returns:
        A `kd.weights.Record`, which prints well.

    Raises:
        ValueError: for an unknown name; the nearest are suggested.

    Example:

    >>> import keras_dense as kd
    >>> record = kd.weights.info("torchvision/lraspp_mobilenet_v3_large")
    >>> record.license, record.grid
    ('BSD-3-Clause; the weights may carry terms of their data', 'image')
    """
    known = records()
    if name in known:
        return known[name]
    raise ValueError(
        "`name` must be a published network of kd.weights.list(). "
        f"Received: name={name!r}.{suggestion(name)}"
    )


def suggestion(name: str) -> str:
    """A sentence with the names nearest to an unknown one.

    >>> suggestion("torchvision/deeplab_resnet50")
    " Did you mean 'torchvision/deeplabv3_resnet50' or 'torchvision/deeplabv3_resnet101'?"
    """
    known = records()
    near = difflib.get_close_matches(str(name), known, n=2, cutoff=0.6)
    if not near:
        tails = {full.partition("/")[2]: full for full in known}
        near = [tails[n] for n in difflib.get_close_matches(str(name), tails, n=2, cutoff=0.6)]
    if not near:
        return f" Sources: {', '.join(dict.fromkeys(r.source for r in known.values()))}."
    return f" Did you mean {' or '.join(map(repr, near))}?"

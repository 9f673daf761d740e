"""Records of published files of weights: plain data, made without building anything."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from keras_dense._types import PathLike
from keras_dense._weights.fetch import Remote
from keras_dense._weights.rules import Rule
from keras_dense.backbones.application import Preprocessing
from keras_dense.heads import Head, Segmentation
from keras_dense.weights.classes import Classes

# Licenses that allow any use; others are printed with a download.
PERMISSIVE = ("Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "MIT")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Record:
    """A published network.

    Attributes:
        name: str, "source/network".
        builder: function that builds the network: `builder(heads=…, input_shape=…, **arguments)`.
        arguments: dict of further arguments of the builder.
        rules: how names of the file become layers, see `kd.weights.load`.
        classes: `Classes` with names and palette; `None` for another kind of head.
        urls: places to download from, the best first.
        file: str, the name of the file in the cache; default: that of the first URL.
        bytes: int, about the size of the file.
        rounded: bool, whether `bytes` is too rough to tell a whole file from a part of it.
        hash: str, first hex digits of its SHA-256, or its MD5; `None` if none is published.
        trusted: bool, whether a file with another hash is refused.
        data: str, what it was trained on.
        scores: dict of published scores by their names, in percent for IoU and accuracy.
        scored_on: str, the data and the size of images of these scores.
        license: str, by its SPDX name where it has one.
        citation: str.
        page: str, address of the project.
        test_size: str, size of images that its authors recommend.
        normalization: str, what happens to the image within the model.
        grid: str, the grid that it computes on, see `kd.assemble`.
        channels: int, channels of the image.
        auxiliary: dict of arguments of `kd.heads.Auxiliary` for the auxiliary head of the file;
            `None` if it has none.
        make_head: function that makes the head; default: a `Segmentation` of the `classes`.
        classes_in: function from what a file says beside its tensors to the `Classes` that it
            names, or `None`; for projects whose files do.
        loader: function that builds the network with its weights, for a project whose files its own
            package reads: `loader(record, path, heads=…, input_shape=…, strict=…)`.
        stored: for networks that users trained themselves, of which no file is published: function
            from their path, and a `preprocessing` or `None`, to the record of the network that lies
            there and its file of weights.

    Example:

    >>> import keras_dense as kd
    >>> record = kd.weights.info("torchvision/deeplabv3_resnet50")
    >>> record.classes.names[15], record.scores["mean IoU"]
    ('person', 66.4)
    """

    name: str
    builder: Callable[..., keras.Model]
    rules: Sequence[Rule]
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    classes: Classes | None = None
    urls: Sequence[str] = ()
    file: str = ""
    bytes: int | None = None
    rounded: bool = False
    hash: str | None = None
    trusted: bool = True
    data: str = ""
    scores: Mapping[str, float] = dataclasses.field(default_factory=dict)
    scored_on: str = ""
    license: str = ""
    citation: str = ""
    page: str = ""
    test_size: str = ""
    normalization: str = ""
    grid: str = "multiple"
    channels: int = 3
    auxiliary: Mapping[str, Any] | None = None
    make_head: Callable[[], Head] | None = None
    classes_in: Callable[[Mapping[str, Any]], Classes | None] | None = None
    loader: Callable[..., keras.Model] | None = None
    stored: Callable[[PathLike, Preprocessing | None], tuple["Record", pathlib.Path]] | None = None

    @property
    def source(self) -> str:
        """The part of the name before the slash."""
        return self.name.partition("/")[0]

    @property
    def permissive(self) -> bool:
        """Whether the license allows any use."""
        return self.license.partition(" ")[0].rstrip(",;") in PERMISSIVE

    @property
    def remote(self) -> Remote:
        """The file as `_weights.fetch` takes it."""
        notice = None
        if not self.permissive:
            terms = self.license or "unknown terms"
            notice = f"The weights {self.name!r} come under terms of their own: {terms}."
            notice += f" See {self.page}" if self.page else ""
        return Remote(
            self.name,
            self.urls,
            size=None if self.rounded else self.bytes,
            hash=self.hash,
            trusted=self.trusted,
            notice=notice,
            file=self.file,
        )

    def head(self) -> Head:
        """A fresh head with the class names and colors of the file."""
        if self.make_head is not None:
            return self.make_head()
        if self.classes is None:
            raise ValueError(f"The record {self.name!r} must have `classes` or `make_head`.")
        return Segmentation(
            len(self.classes.names), class_names=self.classes.names, palette=self.classes.palette
        )

    def __repr__(self) -> str:
        size = "" if self.bytes is None else f"{self.bytes / 1e6:,.1f} MB"
        hashed = "" if self.hash is None else f", hash {self.hash}"
        scores = ", ".join(f"{name} {value:g}" for name, value in self.scores.items())
        classes = "" if self.classes is None else str(self.classes)
        lines = {
            "trained on": self.data,
            "predicts": classes,
            "scores": f"{scores} ({self.scored_on})" if scores and self.scored_on else scores,
            "test size": self.test_size,
            "image": self.normalization,
            "grid": self.grid,
            "file": f"{self.remote.file} {size}{hashed}".strip(),
            "from": "\n".join(self.urls) or "no place is known for download: pass `path`",
            "license": self.license or "unknown",
            "page": self.page,
            "citation": self.citation,
        }
        rows = [self.name]
        for what, text in lines.items():
            if text:
                first, *rest = text.splitlines()
                rows += [f"  {what:<12}{first}", *(f"{'':<14}{line}" for line in rest)]
        return "\n".join(rows)

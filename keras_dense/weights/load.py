"""Weights of other projects in a model that is there already."""

import os
import pathlib
import warnings
from collections.abc import Mapping, Sequence

import keras
import numpy as np

from keras_dense import _check
from keras_dense._types import Array, ArrayLike, PathLike
from keras_dense._weights.fetch import fetch
from keras_dense._weights.plan import Plan
from keras_dense._weights.read import read
from keras_dense._weights.report import Report
from keras_dense._weights.rules import Rule, plan, split, unwrapped
from keras_dense.heads.model_heads import found
from keras_dense.models.assemble import prefix_of
from keras_dense.weights import smp, smp_folder
from keras_dense.weights.catalogue import SOURCES, info, records, suggestion
from keras_dense.weights.smp_names import recognized

# So many sets of rules are tried on a file of an unknown network.
_TRIED = 4


def load(
    model: keras.Model,
    source: PathLike | Mapping[str, ArrayLike],
    *,
    rules: Sequence[Rule] | str | None = None,
    strict: bool = True,
) -> Report:
    """Load published weights into a model.

    All names and shapes are compared before the first weight is set: where this fails, the model
    stays as it was.

    Args:
        model: a model, changed in place.
        source: a name of `kd.weights.list()`; the path of a file (which comes first if both exist),
            or of a folder of segmentation_models_pytorch; or its tensors, a dict from names to
            arrays.
        rules: how names become layers: the name of a published network whose rules are used, or
            rules of your own. Default: those of the network if `source` is a name; otherwise those
            that read the most.
        strict: bool. `True`: every weight of the model must be in the file, and everything of the
            file must have a place. `False`: what fits is read, a head for other classes stays as
            it is, and a warning lists the rest.

    Returns:
        A report: `read`, `missing`, `unread`, `mismatched`, `left_out`; it prints well.

    Raises:
        ValueError: if something does not fit: the message lists it, and says which network the file
            looks like; for an unknown name.
        FileNotFoundError: for a path that does not exist.
        ConnectionError: if a file cannot be downloaded.

    Example:

    ```python
    backbone = kd.backbone("resnet50_v1b", weights=None)
    model = kd.deeplabv3(backbone, 11, output_stride=8)
    report = kd.weights.load(model, "torchvision/deeplabv3_resnet50", strict=False)
    print(report)
    ```
    """
    tensors, name, chosen = _opened(source, rules)
    if chosen is not None:
        ready = ready_for(model, tensors, chosen, name)
    else:
        ready = _best(model, tensors, name)
    del tensors
    return finish(ready, strict=strict)


def finish(ready: Plan, *, strict: bool, fresh: bool = False) -> Report:
    """Check a plan and set its weights; a `fresh` model is thrown away if that fails."""
    ready.check(strict)
    report = ready.apply(restore=not fresh)
    if not report.complete:
        warnings.warn(str(report), stacklevel=3)
    return report


def ready_for(
    model: keras.Model, tensors: Mapping[str, Array], rules: Sequence[Rule], source: str
) -> Plan:
    """A plan with the names of the layers of this model's heads."""
    return plan(tensors, model, rules, source=source, prefixes=_prefixes(model))


def _prefixes(model: keras.Model) -> dict[str, str]:
    """Prefixes of the layers of the main head and the auxiliary one."""
    heads = found(model)
    prefixes: dict[str, str] = {}
    for key, head in ({} if heads is None else heads).items():
        prefixes.setdefault("head" if head.final else "auxiliary", prefix_of(key))
    return prefixes


def _opened(
    source: PathLike | Mapping[str, ArrayLike], rules: Sequence[Rule] | str | None
) -> tuple[dict[str, Array], str, Sequence[Rule] | None]:
    """The tensors of a source, its name for messages, and rules if they are known."""
    known = (info(rules).rules or None) if isinstance(rules, str) else rules
    if isinstance(source, Mapping):
        return {key: _array(value) for key, value in source.items()}, "the given tensors", known
    if smp_folder.is_folder(source):
        record, file = smp.record_of(source, "none")
        return read(file), os.fspath(file), record.rules if known is None else known
    # A checkpoint of TensorFlow is given by the start of its names.
    if os.path.exists(source) or os.path.exists(f"{os.fspath(source)}.index"):
        return read(source), os.fspath(source), known
    name = os.fspath(source)
    if name not in records():
        # Names of the catalogue have a slash, and no ending of a file.
        hint = suggestion(name) if not pathlib.Path(name).suffix else ""
        raise FileNotFoundError(
            "`source` must be an existing file or a name of kd.weights.list(). "
            f"Received: source={name!r}.{hint}"
        )
    record = info(name)
    if record.loader is not None:
        wanted = f"a file: {name!r} is loaded whole, by `kd.weights.pretrained({name!r})`"
        raise _check.fail("source", wanted, name)
    if record.stored is not None:
        raise _check.fail("source", f"the path of the network for {name!r}", source)
    path = fetch(record.remote)
    return read(path), os.fspath(path), record.rules if known is None else known


def _array(value: ArrayLike) -> Array:
    """An array of NumPy, from one or from a tensor of any framework."""
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def _best(model: keras.Model, tensors: dict[str, Array], name: str) -> Plan:
    """The plan of the rules that read the most."""
    sets = {id(rules): rules for source in SOURCES for rules in source.RULES.values()}
    likely = sorted(sets.values(), key=lambda rules: -_known(tensors, rules))[:_TRIED]
    plans = []
    for rules in recognized(tensors) or likely:
        try:
            plans.append(ready_for(model, tensors, rules, name))
        except ValueError:
            continue  # Rules of another network.
    return max(plans, key=lambda ready: (len(ready.report.read), -len(ready.report.unread)))


def _known(tensors: dict[str, Array], rules: Sequence[Rule]) -> int:
    """The number of names that rules match, of some throughout the file."""
    names = [split(key)[0] for key in unwrapped(tensors, rules)]
    return sum(any(rule.match(n) for rule in rules) for n in names[:: len(names) // 50 + 1])

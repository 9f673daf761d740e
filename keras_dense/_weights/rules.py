r"""Rules from the names of a file to the layers of a model.

    rules = (
        Rule(r"backbone\.conv1", "backbone/conv1", "conv"),
        Rule(r"backbone\.layer(\d)\.(\d+)\.bn(\d)", r"backbone/layer\1_\2_bn\3", "batch_norm"),
        Rule(r"fc\..*", None, "skip", "the classifier"),
    )
    found = plan(read(path), model, rules)
    found.check(strict=True)
    report = found.apply()

Everything is matched, converted and compared before the first weight is set.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np

from keras_dense._types import Array, Shape
from keras_dense._weights.kinds import Kind, is_bilinear, kind_of
from keras_dense._weights.plan import Plan
from keras_dense._weights.report import Mismatch, Report
from keras_dense._weights.targets import Target, targets

# A name of a layer from a match: a template as of `re.Match.expand`, or a function.
Template = str | Callable[[re.Match], str | None]


@dataclasses.dataclass(frozen=True)
class Rule:
    r"""Names of a file, and the layer that their tensors belong to.

    Args:
        pattern: regular expression of a whole name, without its last part (".weight", "/0"): of
            the module. For the kinds "skip" and "bilinear", of the whole key.
        layer: path of the layer in the model, nested models joined by "/": a template that may
            refer to groups of the pattern (`\1`), or a function of the match, which may return
            `None` for a module that the rule does not cover after all. `{head}` and `{auxiliary}`
            stand for the prefixes of layers of these heads. `None` with "skip" and "bilinear".
        kind: name of a kind, or a `Kind`. "skip" leaves tensors out; "bilinear" makes sure that
            they are the fixed kernel that interpolates, which ours computes without weights.
        unless: a reason. Given one, tensors are left out without complaint if the model does not
            have the layer: "the auxiliary head". For "skip" it is the reason of the report.
        shared: whether other rules may take the same tensors for other layers, as for a convolution
            of a concatenation, which ours computes in parts.
        theirs, ours: prefixes of all names, before those of the pattern and of the layer; see
            `within`.
    """

    pattern: str
    layer: Template | None
    kind: str | Kind
    unless: str | None = None
    shared: bool = False
    theirs: str = ""
    ours: str = ""

    def match(self, name: str) -> re.Match | None:
        """The match of a whole name, without the prefix."""
        if not name.startswith(self.theirs):
            return None
        return re.fullmatch(self.pattern, name[len(self.theirs) :])

    def path(self, match: re.Match, prefixes: Mapping[str, str]) -> str | None:
        """The layer that a match refers to."""
        if self.layer is None:
            return None
        path = match.expand(self.layer) if isinstance(self.layer, str) else self.layer(match)
        for name, prefix in prefixes.items():
            path = None if path is None else path.replace(f"{{{name}}}", prefix)
        return None if path is None else f"{self.ours}{path}"


def within(rules: Sequence[Rule], theirs: str, ours: str) -> tuple[Rule, ...]:
    r"""Rules of a network for the same network as a part of another.

    Args:
        rules: of the part alone.
        theirs: str, what names of the file begin with there, such as "backbone.".
        ours: str, what paths of layers begin with, such as "backbone/".

    >>> (rule,) = within([Rule(r"bn(\d)", r"bn\1", "batch_norm")], "backbone.", "backbone/")
    >>> rule.path(rule.match("backbone.bn1"), {})
    'backbone/bn1'
    """
    return tuple(
        dataclasses.replace(rule, theirs=f"{theirs}{rule.theirs}", ours=f"{ours}{rule.ours}")
        for rule in rules
    )


# Numbers that frameworks store beside weights.
COMMON = (
    Rule(r"(.*\.)?(num_batches_tracked|total_ops|total_params)", None, "skip", "counters"),
    Rule(r"(optimizer|lr_scheduler)([./].*)?", None, "skip", "the optimizer"),
)
# What every key begins with if a wrapper was saved.
WRAPPERS = ("module.", "state_dict.", "model_state.", "model.", "net.")
_LAST = re.compile(r"(?:(.*)[./])?([^./]+?)(?::\d+)?")


def split(key: str) -> tuple[str, str]:
    """A key as module and last part.

    >>> split("layer1.0.conv1.weight"), split("conv1/conv1/kernel:0"), split("scale")
    (('layer1.0.conv1', 'weight'), ('conv1/conv1', 'kernel'), ('', 'scale'))
    """
    match = _LAST.fullmatch(key)
    return ("", key) if match is None else (match[1] or "", match[2])


def unwrapped(tensors: Mapping[str, Array], rules: Sequence[Rule] = ()) -> dict[str, Array]:
    """Tensors without the prefixes of wrappers, where rules know no name with them.

    >>> rules = [Rule("a", "a", "conv")]
    >>> list(unwrapped({"module.net.a.weight": 1, "module.net.a.bias": 2}, rules))
    ['a.weight', 'a.bias']
    """
    found = dict(tensors)
    while found and not any(rule.match(split(key)[0]) for key in found for rule in rules):
        shared = [w for w in WRAPPERS if all(key.startswith(w) for key in found)]
        if not shared:
            break
        found = {key.removeprefix(shared[0]): value for key, value in found.items()}
    return found


@dataclasses.dataclass
class _Group:
    """Tensors of one module that one rule takes for one layer."""

    kind: Kind
    target: Target
    found: dict[str, Array] = dataclasses.field(default_factory=dict)
    keys: dict[str, str] = dataclasses.field(default_factory=dict)


def plan(
    tensors: Mapping[str, Array],
    model: keras.Model,
    rules: Sequence[Rule],
    *,
    source: str = "the file",
    prefixes: Mapping[str, str] | None = None,
) -> Plan:
    """Match, convert and compare the tensors of a file; nothing is set.

    Args:
        tensors: dict from the names of the file to arrays.
        model: the model that gets them.
        rules: the first that takes a tensor counts.
        source: str, the name of the file for messages.
        prefixes: dict from a placeholder of layer names to its text; default: `{head}` is empty and
            `{auxiliary}` is "auxiliary_".

    Returns:
        A `Plan` with its `report`; `apply()` sets the weights.

    Raises:
        ValueError: if two modules of the file belong to one layer, or a kernel that must
            interpolate does not.
    """
    return _Planner(tensors, model, rules, prefixes).plan(source)


class _Planner:
    def __init__(self, tensors, model, rules, prefixes):
        self.tensors = unwrapped(tensors, rules)
        self.model = model
        self.targets = targets(model)
        self.rules = (*rules, *COMMON)
        self.named = self._by_name()
        self.prefixes = {"head": "", "auxiliary": "auxiliary_", **(prefixes or {})}
        self.groups: dict[tuple[int, str], _Group] = {}
        self.values: dict[str, tuple[Array, str]] = {}
        self.unread: list[str] = []
        self.mismatched: list[Mismatch] = []
        self.left_out: dict[str, list[str]] = {}

    def plan(self, source: str) -> Plan:
        for key in self.tensors:
            self._place(key)
        for group in self.groups.values():
            self._convert(group)
        self._fill()
        self._whole_layers()
        variables = {
            f"{path}/{name}": variable
            for path, target in self.targets.items()
            for name, variable in target.weights.items()
        }
        wrong = {one.name for one in self.mismatched}
        report = Report(
            source,
            self.model.name,
            read=tuple(name for name in variables if name in self.values),
            missing=tuple(n for n in variables if n not in self.values and n not in wrong),
            unread=tuple(self.unread),
            mismatched=tuple(self.mismatched),
            left_out={reason: tuple(keys) for reason, keys in self.left_out.items()},
        )
        values = {name: value for name, (value, _) in self.values.items()}
        return Plan(report, variables, values, tuple(self.tensors))

    def _by_name(self) -> dict[str, Target | None]:
        """Layers by their names alone, where no other has the same: surgery opens nested models."""
        found: dict[str, Target | None] = {}
        for path, target in self.targets.items():
            name = path.rpartition("/")[2]
            found[name] = None if name in found else target
        return found

    def _place(self, key: str) -> None:
        """Find the rule of a tensor: leave it out, or put it into the group of its layer."""
        module, part = split(key)
        reason: str | None = None
        taken = False
        for number, rule in enumerate(self.rules):
            if rule.kind in ("skip", "bilinear"):
                if rule.match(key):
                    self._skip(key, rule)
                    return
                continue
            kind = kind_of(rule.kind)
            weight = kind.weight(part)
            match = rule.match(module) if weight else None
            path = rule.path(match, self.prefixes) if match else None
            if path is None or weight is None:
                continue
            target = self.targets.get(path) or self.named.get(path.rpartition("/")[2])
            if target is not None:
                group = self.groups.setdefault((number, module), _Group(kind, target))
                group.found[weight], group.keys[weight] = self.tensors[key], key
                taken = True
                if not rule.shared:
                    return
                continue
            # A later rule may know another place for it.
            reason = reason or rule.unless
        if taken:
            return
        if reason is None:
            self.unread.append(key)
        else:
            self.left_out.setdefault(reason, []).append(key)

    def _skip(self, key: str, rule: Rule) -> None:
        if rule.kind == "bilinear" and not is_bilinear(self.tensors[key]):
            raise ValueError(
                f"{key!r} must be the fixed kernel of bilinear upsampling, which this network "
                f"computes without weights. Received: an array of shape {self.tensors[key].shape} "
                "with other numbers"
            )
        reason = rule.unless or ("fixed upsampling" if rule.kind == "bilinear" else "not needed")
        self.left_out.setdefault(reason, []).append(key)

    def _convert(self, group: _Group) -> None:
        target = group.target
        try:
            values = group.kind.values(dict(group.found), target)
        except (ValueError, IndexError, TypeError):
            # Axes that cannot be turned: compared as they are.
            values = {name: group.found[name] for name in target.weights if name in group.found}
        for name, value in values.items():
            key = group.keys.get(name, next(iter(group.keys.values())))
            if name not in target.weights:
                self.unread.append(key)
                continue
            weight = f"{target.path}/{name}"
            if weight in self.values:
                raise ValueError(
                    f"{self.values[weight][1]!r} and {key!r} both belong to {weight!r}: the rules "
                    "do not fit this file."
                )
            shape: Shape = target.shape(name)
            if tuple(value.shape) == shape:
                self.values[weight] = (value, key)
            else:
                self.mismatched.append(Mismatch(weight, tuple(value.shape), shape, key))

    def _fill(self) -> None:
        """Values that a kind implies: a scale of 1 for a batch norm without one."""
        value: Array
        for group in self.groups.values():
            target = group.target
            for name, fill in group.kind.fills.items():
                weight = f"{target.path}/{name}"
                if name in target.weights and weight not in self.values:
                    number = fill(target.layer) if callable(fill) else fill
                    value = np.full(target.shape(name), number, "float32")
                    self.values[weight] = (value, next(iter(group.keys.values())))

    def _whole_layers(self) -> None:
        """A layer with a weight of another shape keeps all its own: half of it is no layer."""
        wrong = {one.name.rpartition("/")[0] for one in self.mismatched}
        for weight in [w for w in self.values if w.rpartition("/")[0] in wrong]:
            value, key = self.values.pop(weight)
            shape = tuple(value.shape)
            self.mismatched.append(Mismatch(weight, shape, shape, key))

"""Names of the tensors in a nested checkpoint, and what else it says."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from keras_dense._types import Array
from keras_dense._weights.formats import pickled
from keras_dense._weights.formats.file import Broken, Contents
from keras_dense._weights.formats.pickled import Global, Ndarray, Opaque

# Keys under which training scripts store the network; averaged weights are the last choice.
_NETWORK = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "network",
    "net",
    "weights",
    "params",
    "state_dict_ema",
    "ema_state_dict",
    "model_ema",
    "ema",
)
# Keys of what only the training goes on with.
_TRAINING = re.compile(
    r"optim\w*|\w*optimizers?(_states?|_state_dict)?|\w*schedulers?(_states?|_state_dict)?|"
    r"(grad_)?scaler|amp|message_hub|callbacks|loops|\w*rng_states?|\w*ema\w*"
)
# Prefixes of all names, from wrappers that run or compile a network.
_WRAPPERS = ("module.", "_orig_mod.")
_DEPTH = 20
# Entries of a checkpoint, each counted wherever it appears: a few bytes can name millions.
_ENTRIES = 200_000
# Values of entries that are no tensors, in all.
_PLAIN = 100_000
_SMALL = 10_000

Arrays = Mapping[type, Callable[[Any], Array]]


def unwrapped(tensors: dict[str, Any]) -> dict[str, Any]:
    """Tensors without the prefixes of wrappers, where all have them.

    >>> list(unwrapped({"module.a.weight": 1, "module.a.bias": 2}))
    ['a.weight', 'a.bias']
    """
    for prefix in _WRAPPERS * 2:
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def contents(root: Any, arrays: Arrays, form: str, everything: bool) -> Contents:
    """Contents of an unpickled checkpoint.

    Args:
        root: dict of tensors, or a nested one.
        arrays: dict from types of nodes to functions that return the values.
        form: str, the name of the format.
        everything: whether the state of the training is read, too; names are then those of the
            file, without any prefix removed.
    """
    if isinstance(root, Ndarray) and pickled.parts(root):
        root = pickled.parts(root)[0]  # type: ignore[index]
    network, rest = (root, {}) if everything else _network(root, arrays)
    budget = [_PLAIN]
    meta = {str(key): plain(value, budget) for key, value in rest.items()}
    left_out = [str(key) for key, value in rest.items() if _is_large(value, arrays)]
    left_out += [str(key) for key in rest if _TRAINING.fullmatch(str(key))]
    for key in left_out:
        meta.pop(key, None)
    found = {}
    for name, value in _leaves(network):
        if type(value) in arrays:
            found[name or "tensor"] = value
        else:
            meta.setdefault(name, plain(value, budget))
    if not found:
        raise Broken(_why_empty(root, form))
    if left_out:
        meta["left_out"] = sorted(set(left_out))
    found = found if everything else unwrapped(found)
    return Contents({name: _read(name, value, arrays) for name, value in found.items()}, meta, form)


def _read(name: str, node: Any, arrays: Arrays) -> Array:
    try:
        return arrays[type(node)](node)
    except Broken as error:
        raise Broken(f"cannot be read: the tensor {name[:200]!r} {error}") from None


def _network(root: Any, arrays: Arrays) -> tuple[Any, dict]:
    """The part of a checkpoint that is the network, and all other parts."""
    rest: dict = {}
    for _ in range(3):
        if not isinstance(root, dict):
            break
        # A single tensor beside the network may be the best accuracy so far.
        beside = sum(type(value) in arrays for value in root.values())
        key = next((k for k in _NETWORK if k in root and _tensors(root[k], arrays) > beside), None)
        if key is None:
            break
        rest |= {k: v for k, v in root.items() if k != key}
        root = root[key]
    if isinstance(root, dict):
        training = {k for k in root if isinstance(k, str) and _TRAINING.fullmatch(k)}
        if training and not training >= {k for k in root if _tensors(root[k], arrays)}:
            rest |= {k: root[k] for k in training}
            root = {k: v for k, v in root.items() if k not in training}
    return root, rest


def _tensors(value: Any, arrays: Arrays) -> int:
    return sum(type(leaf) in arrays for _, leaf in _leaves(value))


def _is_large(value: Any, arrays: Arrays) -> bool:
    """Check for tensors; small arrays, such as the mean of the images, are settings."""
    found = (leaf for _, leaf in _leaves(value) if type(leaf) in arrays)
    return any(not isinstance(leaf, Ndarray) or len(leaf.raw) > _SMALL for leaf in found)


def _children(value: Any) -> Iterator[tuple[Any, Any]] | None:
    """Names and parts of a container; of a `torch.nn.Module` its tensors; `None` for a leaf."""
    if isinstance(value, Opaque):
        inner = value.state
        if isinstance(inner, dict) and isinstance(inner.get("_modules"), dict):
            return _module(inner)
        return iter(value.items.items()) if value.items else None
    if isinstance(value, dict):
        return iter(value.items())
    if isinstance(value, (list, tuple)) and not isinstance(value, Global):
        return iter(enumerate(value))
    return None


def _module(inner: dict) -> Iterator[tuple[Any, Any]]:
    hidden = inner.get("_non_persistent_buffers_set")
    hidden = hidden if isinstance(hidden, set) else set()
    for kind in ("_parameters", "_buffers", "_modules"):
        if isinstance(inner.get(kind), dict):
            for name, value in inner[kind].items():
                if value is not None and name not in hidden:
                    yield name, value


def _leaves(value: Any) -> Iterator[tuple[str, Any]]:
    """Names and values of all that is no container, in order."""
    left = _ENTRIES
    stack = [("", iter([("", value)]))]
    while stack:
        prefix, parts = stack[-1]
        entry = next(parts, None)
        if entry is None:
            stack.pop()
            continue
        key, part = entry
        left -= 1
        if left < 0:
            raise Broken(f"has more than {_ENTRIES} entries: no checkpoint, or made to deceive")
        name = f"{prefix}.{key}" if prefix else str(key)
        inner = _children(part)
        if inner is None or len(stack) > _DEPTH or not _is_deep(part):
            yield name, part
        else:
            stack.append((name, inner))


def _is_deep(value: Any) -> bool:
    # Lists of numbers or of text are entries, not containers of tensors.
    simple = (str, bytes, int, float, type(None))
    if not isinstance(value, (list, tuple)):
        return True
    return any(not isinstance(part, simple) for part in value)


def plain(value: Any, left: list[int], depth: int = 0) -> Any:
    """Numbers, text and containers of them as they are; the rest as its name, such as "<a.B>"."""
    left[0] -= 1
    if left[0] < 0 or depth > _DEPTH:
        return "…"
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return value
    if isinstance(value, Global):
        return f"<{value}>"
    if isinstance(value, Ndarray):
        try:
            return pickled.array(value).tolist() if len(value.raw) <= _SMALL else "<array>"
        except (Broken, TypeError):
            return "<array>"
    if isinstance(value, Opaque) and value.items:
        value = value.items
    if isinstance(value, dict):
        return {_name(key): plain(part, left, depth + 1) for key, part in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(part, left, depth + 1) for part in value]
    return f"<{value.kind}>" if isinstance(value, Opaque) else "<tensor>"


def _name(key: Any) -> Any:
    return key if isinstance(key, (str, int)) else str(key)


def _why_empty(root: Any, form: str) -> str:
    if isinstance(root, Opaque):
        return (
            f"holds an object of the class {root.kind}, which is not executed. Save the weights "
            "alone, with the package that wrote it: torch.save(model.state_dict(), new_path)"
        )
    return (
        f"has no tensors ({form}, {type(root).__name__}). Expected a dict of them, as "
        "torch.save(model.state_dict(), path) writes"
    )

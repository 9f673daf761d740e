"""Public names of the package, read off its export lists; nothing is imported but this file.

A page is a module of the public interface: `keras_dense` itself and those that its `__all__` lists,
directly or through another. A name has its entry on the page of the module that exports it, and is
called by its shortest path: `kd.fcn8s` is on the page of `kd.models`.
"""

import ast
import dataclasses
import functools
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = "keras_dense"


@dataclasses.dataclass(frozen=True)
class Definition:
    """Place of a class, function or value in the source, and its docstring."""

    file: pathlib.Path  # relative to the repository
    name: str  # in that file
    first: int
    last: int
    kind: str  # "class", "function" or "value"
    docstring: str | None

    @property
    def path(self) -> str:
        """Path of the definition; names are imported into the modules that export them."""
        parts = self.file.with_suffix("").parts
        return ".".join([*(part for part in parts if part != "__init__"), self.name])


@dataclasses.dataclass(frozen=True)
class Entry:
    """A public name: its path, the other paths of the same thing, and its definition."""

    path: str  # "keras_dense.fcn8s"
    others: tuple[str, ...]
    definition: Definition

    @property
    def short(self) -> str:
        return short(self.path)

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]


def short(path: str) -> str:
    """A path as users write it: `kd.losses.Dice`."""
    return "kd" + path.removeprefix(PACKAGE)


def summary(docstring: str | None) -> str:
    """First line of a docstring."""
    return (docstring or "").strip().partition("\n")[0]


def file_of(module: str) -> pathlib.Path | None:
    """File of a module, relative to the repository, or `None` if there is no such module."""
    base = pathlib.Path(*module.split("."))
    for path in (base / "__init__.py", base.with_suffix(".py")):
        if (ROOT / path).is_file():
            return path
    return None


def _file(module: str) -> pathlib.Path:
    file = file_of(module)
    if file is None:
        raise ValueError(f"there is no module {module}")
    return file


@functools.cache
def _tree(file: pathlib.Path) -> ast.Module:
    return ast.parse((ROOT / file).read_text(encoding="utf-8"))


def module_docstring(module: str) -> str:
    """Docstring of a module; empty if it has none."""
    file = _file(module)
    return ast.get_docstring(_tree(file)) or ""


def exports(module: str) -> list[str]:
    """Names in the `__all__` of a module."""
    file = _file(module)
    for node in _tree(file).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return list(ast.literal_eval(node.value))
    raise ValueError(f"{module} has no __all__")


def modules(module: str = PACKAGE) -> list[str]:
    """The public modules: the given one, and those that it exports."""
    found = [module]
    for name in exports(module):
        inner = f"{module}.{name}"
        # A function may have the name of its file: `kd.backbones.backbone`.
        if file_of(inner) is not None and _binding(module, name) in (None, inner):
            found += modules(inner)
    return found


def _binding(module: str, name: str) -> str | None:
    """Path of what a module imports under a name: a module, or a name within another module."""
    file = _file(module)
    for node in _tree(file).body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return f"{node.module}.{alias.name}"
    return None


def definition(module: str, name: str) -> Definition:
    """Follow the imports of a name to the statement that defines it."""
    bound = _binding(module, name)
    if bound is not None:
        return definition(*bound.rsplit(".", 1))
    file = _file(module)
    for node in _tree(file).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            kind = "class" if isinstance(node, ast.ClassDef) else "function"
            last = node.end_lineno or first
            return Definition(file, name, first, last, kind, ast.get_docstring(node))
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(getattr(target, "id", None) == name for target in targets):
            last = node.end_lineno or node.lineno
            return Definition(file, name, node.lineno, last, "value", _text_after(file, node))
    raise ValueError(f"{module} exports {name}, which it does not define")


def _text_after(file: pathlib.Path, node: ast.stmt) -> str | None:
    """The sentence in the call that is assigned, the string below it, or the comment above it."""
    for inner in ast.walk(getattr(node, "value", None) or node):
        text = inner.value if isinstance(inner, ast.Constant) else None
        if isinstance(text, str) and text.endswith(".") and "{" not in text:
            return text
    body = _tree(file).body
    after = body[body.index(node) + 1 :][:1]
    if after and isinstance(after[0], ast.Expr) and isinstance(after[0].value, ast.Constant):
        if isinstance(after[0].value.value, str):
            return after[0].value.value
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()[: node.lineno - 1]
    comment: list[str] = []
    while lines and lines[-1].startswith("#"):
        comment.insert(0, lines.pop().lstrip("# "))
    return " ".join(comment) or None


def pages() -> dict[str, list[Entry]]:
    """The entries of each page: every public name once, below the module that exports it."""
    listed: dict[Definition, list[str]] = {}
    public = modules()
    for module in public:
        for name in exports(module):
            path = f"{module}.{name}"
            if path not in public:
                listed.setdefault(definition(module, name), []).append(path)
    found: dict[str, list[Entry]] = {module: [] for module in public}
    for where, paths in listed.items():
        shortest, *others = sorted(paths, key=lambda path: (path.count("."), path))
        # Names of the package itself are on the page of the subpackage that has them, too.
        page = (others or [shortest])[0].rpartition(".")[0]
        found[page].append(Entry(shortest, tuple(others), where))
    return found

"""The rules of the house, read off the source: who imports whom, what is public and promised."""

import ast
import importlib
import inspect
import pathlib
import subprocess
import sys

import keras
import pytest

import keras_dense

pytestmark = pytest.mark.once

PACKAGE = pathlib.Path(keras_dense.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# Each room may import those before it.
ROOMS = (
    "ops layers losses metrics surgery backbones heads models datasets training inference export "
    "testing weights plot recipes"
).split()
BACKENDS = {"tensorflow", "jax", "torch"}
# Public modules whose names are checked below, where they exist.
PUBLIC = [room for room in ROOMS if (PACKAGE / room / "__init__.py").exists()]
PUBLIC += ["datasets.transforms", "decoders"]


def room_of(parts):
    """The room of a module path below the package; `None` for the private helpers beside them."""
    if parts and parts[0] == "decoders":  # names of `models`
        return "models"
    return parts[0] if parts and parts[0] in ROOMS else None


def imports(tree):
    """Full names of the modules that a file imports, with the node."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written in full"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            # Of `from keras_dense import _check` it is the module that is imported, not the face.
            if not all(name.startswith("keras_dense._") for name in names):
                yield node.module, node
            for name in names:
                yield name, node


def top_level(tree):
    """Statements that run on import: all but those within functions."""
    stack = list(tree.body)
    while stack:
        node = stack.pop()
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield node
            stack.extend(ast.iter_child_nodes(node))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports(path):
    tree = ast.parse(path.read_text())
    own = room_of(path.relative_to(PACKAGE).parts)
    at_import = {id(node) for node in top_level(tree)}
    for name, node in imports(tree):
        parts = name.split(".")
        where = f"{path.relative_to(PACKAGE)}:{node.lineno} imports {name}"
        if parts[0] == "keras_dense":
            if own and len(parts) > 1:
                other = room_of(parts[1:])
                if other is None:
                    assert parts[1].startswith("_"), f"{where}: {own} may not import the face"
                else:
                    assert ROOMS.index(other) <= ROOMS.index(own), f"{where}: a later room"
            elif own:
                raise AssertionError(f"{where}: {own} may not import the face")
        elif parts[0] in BACKENDS:
            assert own in {"ops", "export"}, f"{where}: backends belong to ops/ and export/"
        if id(node) in at_import and parts[0] not in sys.stdlib_module_names:
            assert parts[0] in {"keras_dense", "keras", "numpy"}, f"{where}: import it where used"


def public_names():
    for room in PUBLIC:
        module = importlib.import_module(f"keras_dense.{room}")
        for name in getattr(module, "__all__", ()):
            yield f"{room}.{name}", getattr(module, name)
    for name in keras_dense.__all__:
        yield name, getattr(keras_dense, name)


# Bases that users extend and never save.
ABSTRACT = {"losses.DenseLoss", "training.Balancer"}
NAMES = dict(public_names())
CODE = {
    name: thing
    for name, thing in NAMES.items()
    if inspect.isclass(thing) or inspect.isfunction(thing)
}


@pytest.mark.parametrize("module", ["", *PUBLIC])
def test_all_is_sorted_and_complete(module):
    module = importlib.import_module(f"keras_dense.{module}".rstrip("."))
    assert hasattr(module, "__all__"), f"{module.__name__} has no __all__"
    assert module.__all__ == sorted(module.__all__)
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        assert hasattr(module, name), f"{module.__name__}.__all__ names {name}"


@pytest.mark.parametrize("name", [name for name in CODE if name not in ABSTRACT])
def test_documented_with_an_example(name):
    text = inspect.getdoc(CODE[name]) or ""
    assert text.splitlines()[:1] and text.splitlines()[0].strip(), f"{name} has no docstring"
    assert ">>> " in text or "```python" in text, f"{name} has no example in its docstring"


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, thing in CODE.items()
        if inspect.isclass(thing)
        and name not in ABSTRACT
        and issubclass(
            thing,
            (keras.Layer, keras.losses.Loss, keras.metrics.Metric, keras.optimizers.Optimizer),
        )
    ],
)
def test_can_be_saved(name):
    thing = CODE[name]
    registered = keras.saving.get_registered_name(thing)
    assert registered == f"keras_dense>{thing.__name__}"
    assert keras.saving.get_registered_object(registered) is thing


def test_import_is_light():
    """Optional packages load where they are used, not with the library."""
    heavy = {"PIL", "matplotlib", "scipy", "skimage", "keras_cv", "keras_hub"}
    code = f"""
import sys, keras
before = set(sys.modules)
import keras_dense
print(sorted({heavy} & (set(sys.modules) - before)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"

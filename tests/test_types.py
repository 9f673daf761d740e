"""Every public function and class says what it takes, and functions what they return."""

import importlib
import inspect
import pathlib

import pytest

import keras_dense

pytestmark = pytest.mark.once

PACKAGE = pathlib.Path(keras_dense.__file__).parent
MODULES = ["", "decoders", "datasets.transforms"] + sorted(
    path.parent.name for path in PACKAGE.glob("*/__init__.py") if not path.parent.name[0] == "_"
)


def public():
    for module in dict.fromkeys(MODULES):
        found = importlib.import_module(f"keras_dense.{module}".rstrip("."))
        for name in getattr(found, "__all__", ()):
            thing = getattr(found, name)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                yield f"{module}.{name}".lstrip("."), thing


@pytest.mark.parametrize("name, thing", [pytest.param(*pair, id=pair[0]) for pair in public()])
def test_public_arguments_have_types(name, thing):
    function = thing.__init__ if inspect.isclass(thing) else thing
    if inspect.isclass(thing) and "__init__" not in vars(thing):
        return  # Its base says it, or nothing is to be said.
    parameters = list(inspect.signature(function).parameters.values())
    if inspect.isclass(thing):
        parameters = parameters[1:]
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    untyped = [
        p.name
        for p in parameters
        if p.annotation is inspect.Parameter.empty and p.kind not in kinds
    ]
    assert not untyped, f"{name} has arguments without a type: {', '.join(untyped)}"
    if not inspect.isclass(thing):
        returns = inspect.signature(function).return_annotation
        assert returns is not inspect.Signature.empty, f"{name} does not say what it returns"


def test_the_package_is_marked_as_typed():
    assert (PACKAGE / "py.typed").exists()

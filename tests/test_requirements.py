"""Declarations of pyproject.toml are tested: lower bounds, pins, extras, Python."""

import ast
import os
import pathlib
import re
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import keras_dense
from keras_dense import _keras

pytestmark = pytest.mark.once

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = pathlib.Path(keras_dense.__file__).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = {
    name: [Requirement(text) for text in listed]
    for name, listed in PROJECT["optional-dependencies"].items()
}
DECLARED = [Requirement(text) for text in PROJECT["dependencies"]]
DECLARED += [requirement for listed in EXTRAS.values() for requirement in listed]
# Modules that are not called like their package; one package that has a smaller build.
PACKAGES = {"pil": "pillow", "skimage": "scikit-image", "tensorflow-cpu": "tensorflow"}


def name_of(name):
    name = canonicalize_name(name)
    return PACKAGES.get(name, name)


def pins(file):
    """The versions by package of a file of `package==version`, and of the files it names."""
    found = {}
    for line in (ROOT / "requirements" / file).read_text().splitlines():
        line = line.partition("#")[0].strip()
        if line.startswith("-r "):
            found |= pins(line[3:])
        elif line:
            requirement = Requirement(line)
            (specifier,) = requirement.specifier
            assert specifier.operator == "==", f"{file}: {line} is no exact version"
            found[name_of(requirement.name)] = Version(specifier.version)
    return found


def floor(requirement):
    (specifier,) = requirement.specifier
    assert specifier.operator == ">=", f"{requirement}: say from which version on, and no more"
    return Version(specifier.version)


def test_every_lower_bound_is_a_version_that_is_tested():
    tested = pins("docs.txt") | pins("test.txt") | pins("oldest.txt")
    declared = {(name_of(r.name), floor(r)) for r in DECLARED}
    assert declared == {(name, tested.get(name)) for name, _ in declared}
    # jaxlib comes with jax and is as old.
    assert set(pins("oldest.txt")) - {name for name, _ in declared} == {"jaxlib"}


def test_the_pinned_versions_are_allowed():
    pinned = pins("docs.txt") | pins("test.txt")
    for requirement in DECLARED:
        assert pinned[name_of(requirement.name)] in requirement.specifier, str(requirement)


def test_one_range_of_python_everywhere():
    oldest = re.fullmatch(r">=3\.(\d+)", PROJECT["requires-python"])[1]
    classified = re.findall(r"Python :: 3\.(\d+)", "\n".join(PROJECT["classifiers"]))
    assert classified[0] == oldest
    span = f"Python 3.{oldest} to 3.{classified[-1]}"
    assert span in (ROOT / "Makefile").read_text()
    assert span.replace("to", "–") in (ROOT / "README.md").read_text()


def test_the_extra_that_an_error_names_brings_the_package():
    brings = {extra: {name_of(r.name) for r in listed} for extra, listed in EXTRAS.items()}
    seen = 0
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "require"):
                continue
            given = [*node.args, *(word.value for word in node.keywords)]
            module, extra = (getattr(argument, "value", None) for argument in given)
            if isinstance(module, str) and isinstance(extra, str):
                package = name_of(module.partition(".")[0])
                where = f"{path.relative_to(PACKAGE)}:{node.lineno}"
                assert package in brings[extra], f"{where}: {package} is not in [{extra}]"
                seen += 1
    assert seen > 30


def test_the_oldest_keras_is_the_declared_one():
    assert Version(_keras.OLDEST) == floor(DECLARED[0]) and DECLARED[0].name == "keras"


@pytest.mark.parametrize("version", ["3.15.0", "3.16.0.dev2026112803", "3.100.0", "4.0.0rc1"])
def test_newer_versions_of_keras_pass(version):
    _keras.check_version(version)


@pytest.mark.parametrize("version", ["2.15.0", "3.8.0", "3.14.1"])
def test_an_older_keras_is_refused(version):
    expected = (
        f"keras_dense needs Keras {_keras.OLDEST} or later. Found: Keras {version}. Install it "
        f'with: pip install --upgrade "keras>={_keras.OLDEST}"'
    )
    with pytest.raises(ImportError) as error:
        _keras.check_version(version)
    assert str(error.value) == expected


def test_an_older_keras_is_named_before_anything_else_goes_wrong(tmp_path):
    """A stub of Keras that has a version only."""
    (tmp_path / "keras.py").write_text("__version__ = '2.15.0'")
    code = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; import keras_dense.layers"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode and "ImportError: keras_dense needs Keras" in done.stderr, done.stderr


@pytest.mark.parametrize(
    "missing, there, says",
    [
        (
            "tensorflow",
            ["torch"],
            "Installed: torch. Before keras is imported, set the environment",
        ),
        ("jax", ["tensorflow", "torch"], "Installed: tensorflow, torch. Before"),
        ("torch", [], "Install one of: tensorflow, jax, torch"),
    ],
)
def test_a_backend_that_is_not_installed_is_named_with_those_that_are(missing, there, says):
    hidden = set(_keras.BACKENDS) - set(there)
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
        f"sys.modules.update({dict.fromkeys(hidden)!r}); import keras_dense"
    )
    setting = {**os.environ, "KERAS_BACKEND": missing}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=setting)
    last = done.stderr.strip().splitlines()[-1]
    assert f"ImportError: Keras is set to run on {missing}, which is not installed." in last
    assert says in last, last

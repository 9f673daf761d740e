"""The release: packages, types, documents, one version everywhere."""

import pathlib
import re
import tomllib

import pytest

import keras_dense

pytestmark = pytest.mark.once

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "keras_dense"
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
TARGETS = SETTINGS["tool"]["hatch"]["build"]["targets"]


def test_the_wheel_has_every_package_and_the_marker_of_types():
    """The build takes the whole folder, but what git ignores."""
    assert TARGETS["wheel"] == {"packages": ["keras_dense"]}
    assert (PACKAGE / "py.typed").is_file()
    for folder in {path.parent for path in PACKAGE.rglob("*.py")}:
        assert (folder / "__init__.py").is_file(), f"{folder} is no package"
    ignored = (ROOT / ".gitignore").read_text().split()
    names = {part for path in PACKAGE.rglob("*.py") for part in path.relative_to(ROOT).parts}
    assert not names & {line.strip("/") for line in ignored}


def test_the_source_distribution_can_be_tested_and_documented():
    listed = TARGETS["sdist"]["include"]
    for name in listed:
        assert (ROOT / name).exists(), f"{name} is listed and does not exist"
    needed = {"keras_dense", "tests", "docs", "mkdocs.yml", "requirements", "examples", "Makefile"}
    assert needed | {"LICENSE", "CITATION.cff", "SECURITY.md"} <= set(listed)


def test_one_version_everywhere():
    assert SETTINGS["project"]["dynamic"] == ["version"]
    assert SETTINGS["tool"]["hatch"]["version"]["path"] == "keras_dense/_version.py"
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert cited[1] == keras_dense.__version__
    license = re.search(r"^license: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert license[1] == SETTINGS["project"]["license"]


def test_the_line_of_the_issue_template_prints_versions(capsys):
    text = (ROOT / ".github" / "ISSUE_TEMPLATE" / "bug.yml").read_text()
    exec(re.search(r'python -c "(.+?)"', text)[1], {})
    assert keras_dense.__version__ in capsys.readouterr().out


@pytest.mark.parametrize("name", ["CODE_OF_CONDUCT.md", "SECURITY.md"])
def test_links_of_documents_lead_somewhere(name):
    for link in re.findall(r"\]\(([^)#]+)", (ROOT / name).read_text()):
        assert (ROOT / link).exists(), f"{name}: {link}"

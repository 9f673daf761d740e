"""The documentation site, without its tools: names, navigation, links, sizes."""

import importlib
import pathlib
import re
import sys

import pytest

import keras_dense

pytestmark = pytest.mark.once

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS / "site"))
import api  # noqa: E402
import gallery  # noqa: E402

PAGES = sorted(DOCS.rglob("*.md"))
OTHERS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
LINK = re.compile(r"\]\(([^)\s]+)\)")


def test_every_public_name_has_a_place_and_a_docstring():
    listed = {path for entries in api.pages().values() for e in entries for path in all_paths(e)}
    missing = []
    for module in api.modules():
        for name in importlib.import_module(module).__all__:
            path = f"{module}.{name}"
            if path not in api.modules() and path not in listed:
                missing.append(path)
    assert not missing, f"public names without a place in the API: {missing}"
    for entries in api.pages().values():
        for entry in entries:
            where = entry.definition
            if where.kind == "value":
                continue
            assert api.summary(where.docstring), f"{entry.short} has no docstring ({where.file})"


def all_paths(entry):
    return (entry.path, *entry.others)


def test_definitions_are_found_where_they_are():
    for entries in api.pages().values():
        for entry in entries:
            module, _, name = entry.path.rpartition(".")
            where = entry.definition
            assert hasattr(importlib.import_module(module), name)
            lines = (ROOT / where.file).read_text("utf-8").splitlines()
            assert any(where.name in line for line in lines[where.first - 1 : where.last])
            assert where.path.rpartition(".")[0] in sys.modules


def test_the_public_modules_are_those_of_the_package():
    found = set(api.modules())
    assert {f"keras_dense.{n}" for n in dir(keras_dense) if not n.startswith("_")} >= {
        module for module in found if module.count(".") == 1
    }
    assert {"keras_dense.decoders", "keras_dense.datasets.transforms"} < found
    assert "keras_dense.backbones.backbone" not in found  # a function


def test_values_say_what_they_are():
    values = [e for entries in api.pages().values() for e in entries]
    values = {e.short: e.definition for e in values if e.definition.kind == "value"}
    assert values["kd.ops.FRAMES"].docstring.startswith("Rows are the axes")
    assert values["kd.backbones.resnet34"].name == "resnet34"


def test_the_navigation_has_every_page():
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    listed = re.findall(r"^ +- [^\n#]+: ([\w/]+\.md)$", text, re.MULTILINE)
    generated = {"contributing.md", "changes.md"}
    pages = {page.relative_to(DOCS).as_posix() for page in PAGES}
    assert set(listed) == pages | generated and len(listed) == len(set(listed))


@pytest.mark.parametrize("page", [*PAGES, *OTHERS], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    for link in LINK.findall(text):
        path, _, anchor = link.partition("#")
        if "://" in link or path.startswith(("api/", "<")):
            continue  # The build of the site checks pages that it makes.
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{page.name}: {link}"


def anchors(page):
    """Anchors of the headings of a page, as Markdown makes them."""
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    found = set()
    for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        plain = re.sub(r"[`*]|\]\([^)]*\)|\[", "", title).lower()
        found.add(re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip()))
    return found


def test_images_are_small():
    for path in DOCS.rglob("*"):
        if path.suffix in (".png", ".jpg", ".svg"):
            assert path.stat().st_size <= 200_000, f"{path.name} is larger than 200 kB"


def test_the_gallery_has_every_network():
    names = {entry.name for entry in gallery.networks()}
    assert names | set(gallery.NOT_DRAWN) == set(keras_dense.models.__all__)
    assert set(gallery.RESULTS) <= names
    for image, _, place in gallery.RESULTS.values():
        assert (DOCS / image).is_file()
        page, _, anchor = place.partition("#")
        assert anchor in anchors(DOCS / page)
    for entry in gallery.networks():
        assert gallery.first(entry.definition.docstring).endswith(".")


def test_the_gallery_reads_papers_from_docstrings():
    text = "Network.\n\nReference: He et al.,\nCVPR 2016.\n\n>>> 1\n1"
    assert gallery.reference(text) == "He et al., CVPR 2016."
    assert gallery.reference("Network.") == "" and gallery.first(text) == "Network."

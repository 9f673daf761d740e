"""Blocks of Python in the documentation, and the small world in which they run."""

import ast
import pathlib
import re
from collections.abc import Iterator
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Blocks that begin with ```py are not run: lines of other packages, files that are not here.
BLOCK = re.compile(r"^( *)```python\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)


class Snippet(NamedTuple):
    """A block, and the line of its page where it begins."""

    line: int
    code: str


def name_of(page: pathlib.Path) -> str:
    return page.relative_to(ROOT).as_posix()


def snippets(page: pathlib.Path) -> list[Snippet]:
    text = page.read_text("utf-8")
    found = []
    for block in BLOCK.finditer(text):
        indent = len(block[1])
        code = "\n".join(line[indent:] for line in block[2].splitlines())
        found.append(Snippet(text[: block.start()].count("\n") + 2, code))
    return found


def calls(code: str) -> Iterator[tuple[str, ast.Call | None]]:
    """Paths of `kd` that code reads, such as "kd.losses.Dice", with the call if it is called."""
    tree = ast.parse(code)
    short = {}  # T = kd.datasets.transforms
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            path = _path(node.value, {})
            if path is not None:
                short[node.targets[0].id] = path
    called = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            path = _path(node, short)
            if path is not None:
                yield path, called.get(id(node))


def _path(node: ast.expr, short: dict[str, str]) -> str | None:
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    if isinstance(node, ast.Name) and names and (node.id == "kd" or node.id in short):
        return ".".join([short.get(node.id, "kd"), *names])
    return None

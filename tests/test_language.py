"""One voice: the words of the glossary in CONTRIBUTING.md, American spelling, plain first lines."""

import ast
import pathlib
import re

import pytest

pytestmark = pytest.mark.once

ROOT = pathlib.Path(__file__).parents[1]
FOLDERS = ("keras_dense", "examples", "benchmarks", "tests", "docs", "requirements")
ENDINGS = (".py", ".md", ".toml", ".sh", ".js", ".html")
# A word that is not written here, and the one that is.
WORDS = {
    r"trunks?": "backbone",
    r"pictures?": "image (or drawing, where it is drawn)",
    r"gr" r"ey\w*": "gray",
    r"\w*col" r"our\w*": "color",
    r"\w*met" r"res?": "meter",
    r"cent" r"re[sd]?": "center",
    r"neighb" r"our\w*": "neighbor",
    r"behavi" r"our\w*": "behavior",
    r"(?:un)?(?:norm|initi|optim|organ|gener|regular|visual|serial|summar|minim|maxim|standard)"
    r"(?:al)?is(?:e|ed|es|ing|ation)s?": "-ize",
    r"label" r"led": "labeled",
    r"à t" r"rous": "atrous",
    r"kno" r"bs?": "argument, setting",
    r"nobody|somebody|whoever|whatever": "say who or what it is",
    r"mend(?:s|ed|ing)?": "fix",
    r"as of every": "common to all",
}
FORBIDDEN = re.compile(rf"(?<![a-z])(?:{'|'.join(WORDS)})(?![a-z])", re.IGNORECASE)
BACKWARDS = re.compile(r"(?:What|How|Where|Which|Who|Whose|Of|That|Nothing)\b")


def written_files():
    for folder in FOLDERS:
        yield from sorted((ROOT / folder).rglob("*"))
    yield from (
        ROOT / name
        for name in (
            "README.md",
            "CONTRIBUTING.md",
            "CODE_OF_CONDUCT.md",
            "SECURITY.md",
            "Makefile",
        )
    )


FILES = [
    path
    for path in written_files()
    if path.is_file()
    and (path.suffix in ENDINGS or path.name == "Makefile")
    and path.name not in (pathlib.Path(__file__).name,)
]


def name_of(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_words_of_the_glossary(path):
    found = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if path.name == "CONTRIBUTING.md" and line.startswith("| "):
            continue  # The glossary itself.
        # Underscores join words in names.
        for word in FORBIDDEN.findall(line.replace("_", " ")):
            found.append(f"{name_of(path)}:{number}: {word!r}")
    assert not found, "words that the glossary in CONTRIBUTING.md replaces:\n" + "\n".join(found)


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".py"], ids=name_of)
def test_first_lines_are_noun_phrases_or_imperatives(path):
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            text = ast.get_docstring(node)
            if text and BACKWARDS.match(text):
                line = getattr(node, "lineno", 1)
                found.append(f"{name_of(path)}:{line}: {text.splitlines()[0]}")
    assert not found, "first lines that do not name their subject:\n" + "\n".join(found)

"""Extension of griffe: examples in docstrings become blocks of code.

Docstrings have them without a heading, as Python's own documentation does.
"""

from typing import Any

import griffe


class Doctests(griffe.Extension):
    """Put a fence around each run of lines from `>>>` to an empty line."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if not obj.is_alias and obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(text: str) -> str:
    """The text of a docstring with its examples fenced, where they are not yet."""
    lines: list[str] = []
    inside = other = False
    for line in text.splitlines():
        bare = line.strip()
        indent = line[: len(line) - len(line.lstrip())]
        if bare.startswith("```"):
            other = not other
        elif bare.startswith(">>>") and not inside and not other:
            lines += ["", f"{indent}```pycon"]
            inside, opened = True, indent
        elif inside and not bare:
            lines.append(f"{opened}```")
            inside = False
        lines.append(line)
    if inside:
        lines.append(f"{opened}```")
    return "\n".join(lines)

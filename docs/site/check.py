"""Check the built site: every link and image leads to a file, and every anchor exists.

python docs/site/check.py build/site
"""

import html.parser
import pathlib
import sys
import urllib.parse

# Made by the theme for every page; anchors of its scripts.
THEME = {"__search", "__toc", "__drawer", "__consent"}


class Page(html.parser.HTMLParser):
    """Links and anchors of a page."""

    def __init__(self, path: pathlib.Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and name in ("href", "src"):
                self.links.append(value)
            elif value and name in ("id", "name"):
                self.anchors.add(value)


def faults(site: pathlib.Path) -> list[str]:
    """Links that lead nowhere, as lines of page and link."""
    pages = {path: Page(path) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        if path.name == "404.html":
            continue  # Its links begin at the root of the host.
        for link in page.links:
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or parts.netloc or parts.fragment in THEME:
                continue
            target = (path.parent / urllib.parse.unquote(parts.path)).resolve()
            target = path if not parts.path else target
            if target.is_dir():
                target = target / "index.html"
            there = pages.get(target)
            anchor = urllib.parse.unquote(parts.fragment)
            if not target.is_file() or (anchor and there and anchor not in there.anchors):
                found.append(f"{path.relative_to(site)}: {link}")
    return found


def main() -> None:
    site = pathlib.Path(sys.argv[1]).resolve()
    found = faults(site)
    if found:
        sys.exit("\n".join([*found, f"{len(found)} links lead nowhere"]))
    print(f"{len(list(site.rglob('*.html')))} pages, every link leads to a page and a place on it")


if __name__ == "__main__":
    main()

"""Hooks of MkDocs: the API reference, the source, and pages from outside of docs/.

None of these pages is a file of its own: the reference is made from the export lists, so a new
public name is on the site without another line.
"""

import pathlib
import posixpath
import re
import sys

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import api  # noqa: E402
import doctests  # noqa: E402
import gallery  # noqa: E402

ROOT = api.ROOT
# Files outside of docs/ that are pages, under their names on the site.
OUTSIDE = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changes.md"}
SHOWN = {".py": "python", ".sh": "bash", ".txt": "text", ".js": "javascript", ".html": "html"}
FOLDERS = ("keras_dense", "examples", "benchmarks", "docs")
LINK = re.compile(r"(\]\(|src=\")([^)\s\"]+)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages of the reference into the navigation, below "API"."""
    listed = [{"All names": "api/index.md"}]
    listed += [{api.short(module): _page(module)} for module in api.modules()[1:]]
    (config.nav or []).insert(-1, {"API": listed})
    return config


def on_pre_build(config: MkDocsConfig) -> None:
    """Draw the networks of the gallery."""
    gallery.draw()


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add all pages that are generated."""
    texts = {name: (ROOT / path).read_text("utf-8") for path, name in OUTSIDE.items()}
    texts["api/index.md"] = _index()
    for module, entries in api.pages().items():
        if module != api.PACKAGE:
            texts[_page(module)] = _reference(module, entries)
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in SHOWN and "__pycache__" not in path.parts:
                texts[_source(path.relative_to(ROOT))] = _listing(path)
        for path in sorted((ROOT / folder).rglob("README.md")):
            texts[_source(path.relative_to(ROOT))] = path.read_text("utf-8")
    for name, text in texts.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Complete the gallery, and point links that leave docs/ to pages of the site."""
    here = page.file.src_uri
    if here == "gallery.md":
        markdown = gallery.complete(markdown)
    return LINK.sub(lambda found: found[1] + _target(found[2], here), markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Show public names in signatures: `kd.decoders.fpn` is defined as `fpn_decoder`."""
    for module, entries in api.pages().items() if page.file.src_uri.startswith("api/") else ():
        if page.file.src_uri == _page(module):
            for entry in entries:
                if entry.name != entry.definition.name:
                    old, new = (f">{n}</span><span" for n in (entry.definition.name, entry.name))
                    html = html.replace(old, new)
    return html


def _target(link: str, here: str) -> str:
    """A link of a file of the repository as a link of the site."""
    if "://" in link or link.startswith(("#", "mailto:")):
        return link
    path, _, anchor = link.partition("#")
    origin = _origin(here)
    full = posixpath.normpath(posixpath.join(posixpath.dirname(origin), path))
    if full in OUTSIDE:
        page = OUTSIDE[full]
    elif full == "README.md":
        page = "index.md"
    elif full == "LICENSE":
        return "https://www.apache.org/licenses/LICENSE-2.0"
    elif full.startswith("docs/") and not full.endswith(".py"):
        page = full.removeprefix("docs/")
    else:
        page = _shown(full)
    relative = posixpath.relpath(page, posixpath.dirname(here) or ".")
    return relative + (f"#{anchor}" if anchor else "")


def _shown(full: str) -> str:
    """Page of a file or folder outside of docs/; a folder is represented by its README."""
    path = ROOT / full
    if path.is_dir():
        names = ["README.md", "server.py", "index.html"]
        path = next((path / name for name in names if (path / name).is_file()), path)
    return _source(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else full


def _origin(here: str) -> str:
    """File of the repository that a page was made from."""
    if here.startswith("source/"):
        return here.removeprefix("source/")
    outside = {name: path for path, name in OUTSIDE.items()}
    return outside.get(here, f"docs/{here}")


def _page(module: str) -> str:
    return f"api/{module.removeprefix(api.PACKAGE + '.').replace('.', '_')}.md"


def _source(path: pathlib.PurePath) -> str:
    """Page of a file of the repository."""
    name = path.as_posix()
    return f"source/{name}" if name.endswith(".md") else f"source/{name}.md"


def _listing(path: pathlib.Path) -> str:
    """Page of a file with numbered lines; the search leaves it out."""
    text = path.read_text("utf-8")
    fence = "`" * (2 + max([1, *map(len, re.findall("`+", text))]))
    kind = SHOWN[path.suffix]
    title = path.relative_to(ROOT).as_posix()
    head = "---\nsearch:\n  exclude: true\nhide:\n  - navigation\n  - toc\n---\n"
    return f'{head}# `{title}`\n\n{fence}{{.{kind} linenums="1"}}\n{text}\n{fence}\n'


def _reference(module: str, entries: list[api.Entry]) -> str:
    """Page of a public module: its docstring, a table of its names, and an entry for each."""
    parts = [f"# {api.short(module)}", doctests.fenced(api.module_docstring(module))]
    parts.append(_table(entries, ""))
    parts += [_entry(entry) for entry in entries]
    if any(entry.definition.kind == "value" for entry in entries) and module.endswith("backbones"):
        parts.append(_builder())
    return "\n\n".join(parts) + "\n"


def _table(entries: list[api.Entry], page: str) -> str:
    rows = []
    for entry in sorted(entries, key=lambda entry: entry.short.lower()):
        about = api.summary(entry.definition.docstring).replace("|", "\\|")
        name = entry.short if page else entry.name
        rows.append(f"| [`{name}`]({page}#{entry.path}) | {about} |")
    return "\n".join(["| name | |", "|---|---|", *rows])


def _entry(entry: api.Entry) -> str:
    where = entry.definition
    # As HTML: MkDocs does not see the anchors of numbered lines; check.py does.
    page = f"../{_source(where.file).removesuffix('.md')}.html#__codelineno-0-{where.first}"
    lines = f"lines {where.first} to {where.last}"
    lines = lines if where.last > where.first else f"line {where.first}"
    place = f"{where.file.as_posix()}, {lines}"
    parts = [f'Source: <a href="{page}">{place}</a>.']
    if entry.others:
        parts.append(f"Also {', '.join(f'`{api.short(path)}`' for path in entry.others)}.")
    source = f'<div class="kd-source" markdown>{" ".join(parts)}</div>'
    if where.kind == "value":
        return f"{_value(entry)}\n\n{source}"
    options = {"heading": entry.short, "toc_label": entry.name}
    listed = "\n".join(f'      {key}: "{value}"' for key, value in options.items())
    # By the place of its definition: at its public name there may be a file of the same name.
    anchor = f'<a id="{entry.path}"></a>'
    return f"{anchor}\n\n::: {where.path}\n    options:\n{listed}\n\n{source}"


def _value(entry: api.Entry) -> str:
    """Entry of a name that is assigned: its line of the source."""
    where = entry.definition
    lines = (ROOT / where.file).read_text("utf-8").splitlines()[where.first - 1 : where.last]
    parts = [f"## {entry.short} {{ #{entry.path} data-toc-label='{where.name}' }}"]
    parts += [where.docstring or "", "```python\n" + "\n".join(lines) + "\n```"]
    if "_network(" in lines[0]:
        parts.append("A builder with [these arguments](#builders).")
    return "\n\n".join(filter(None, parts))


def _builder() -> str:
    return (
        "## Builders { #builders }\n\nThe networks that are assigned above are functions of one "
        "form:\n\n"
        "::: keras_dense.backbones.builder.Builder.__call__\n    options:\n"
        '      show_root_heading: true\n      heading: "builder"\n      heading_level: 3\n'
        "      filters: []\n"
    )


def _index() -> str:
    """Page of all names."""
    pages = api.pages()
    (version,) = pages.pop(api.PACKAGE)
    text = (
        "# API\n\n`import keras_dense as kd` gives all names on these pages. They are read off the "
        "export lists of the package, with signature, types, arguments, an example that is a test, "
        f"and a link to the source. `{version.short}` is the version.\n\n"
        "## The names of `kd` itself { #kd }\n\n"
    )
    top = [(m, e) for m, entries in pages.items() for e in entries if e.path.count(".") == 1]
    for module in dict.fromkeys(module for module, _ in top):
        listed = [e for m, e in top if m == module]
        text += _table(listed, _page(module).removeprefix("api/")) + "\n\n"
    for module, entries in pages.items():
        page = _page(module).removeprefix("api/")
        about = api.summary(api.module_docstring(module))
        text += f"## [`{api.short(module)}`]({page})\n\n{about}\n\n"
        text += " · ".join(f"[`{e.short.split('.')[-1]}`]({page}#{e.path})" for e in entries)
        text += "\n\n"
    return text

"""Code in the documentation: its names and arguments exist, and it runs."""

import inspect
import os
import pathlib
import sys
import warnings

import pytest

import keras_dense as kd

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import snippets as blocks
import world

pytestmark = pytest.mark.once

PAGES = [page for page in blocks.PAGES if blocks.snippets(page)]
# Pages that a stranger reads first. The others run on request: together they take minutes.
FIRST = {"README.md"} | {
    f"docs/{name}.md"
    for name in (
        "faq",
        "from_keras_hub",
        "from_pydensecrf",
        "from_segmentation_models",
        "from_smp",
        "index",
        "start",
    )
}


@pytest.mark.parametrize("page", PAGES, ids=blocks.name_of)
def test_names_and_arguments_exist(page):
    seen = 0
    for line, code in blocks.snippets(page):
        where = f"{blocks.name_of(page)}:{line}"
        for path, call in blocks.calls(code):
            thing = kd
            for name in path.split(".")[1:]:
                assert hasattr(thing, name), f"{where}: there is no {path}"
                thing = getattr(thing, name)
            if call is not None:
                _check_arguments(thing, call, f"{where}: {path}")
            seen += 1
    assert seen or "kd." not in "".join(code for _, code in blocks.snippets(page))


def _check_arguments(thing, call, where):
    given = [word.arg for word in call.keywords]
    positional = [argument for argument in call.args if type(argument).__name__ != "Starred"]
    signature = inspect.signature(thing)
    # `**kd.objectives(model)` may bring what is missing.
    bind = signature.bind if None not in given and positional == call.args else None
    try:
        named = dict.fromkeys(name for name in given if name is not None)
        (bind or signature.bind_partial)(*positional, **named)
    except TypeError as error:
        raise AssertionError(f"{where}: {error}") from error


@pytest.mark.exhaustive
@pytest.mark.parametrize("page", PAGES, ids=blocks.name_of)
def test_runs(page, tmp_path, monkeypatch, zero_weights):
    """Every block of a page, in its order."""
    name = blocks.name_of(page)
    if name not in FIRST and not os.environ.get("KERAS_DENSE_ON_REQUEST"):
        pytest.skip("only on request (KERAS_DENSE_ON_REQUEST=1)")
    monkeypatch.chdir(tmp_path)
    world.prepare(monkeypatch)
    names = world.names(name)
    skipped = world.NOT_RUN.get(name, ())
    for line, code in blocks.snippets(page):
        if code.lstrip().startswith(skipped or "\0"):
            continue
        seen = dict(names) if name in world.INDEPENDENT else names
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the small data
            # Lines of the page in tracebacks.
            exec(compile("\n" * (line - 1) + code, name, "exec"), seen)

"""The rules of conftest.py about which backend runs which test, on tests that need no Keras."""

import os
import pathlib
import subprocess
import sys

import pytest

pytestmark = pytest.mark.once
HERE = pathlib.Path(__file__).parent
BACKENDS = "torch tensorflow jax"
FILES = {
    "tests/layers/test_layer.py": """
        import pytest
        a = pytest.mark.parametrize("a", [1, 2, pytest.param(3, marks=pytest.mark.once)])
        b = pytest.mark.parametrize("b, c", [("u", 0), ("v", 0)])
        @a
        @b
        def test_two_parameters(a, b, c): ...
        @b
        def test_one_parameter(b, c): ...
        def test_bad_arguments(): ...
        @pytest.mark.once
        def test_file(): ...
        @pytest.mark.exhaustive
        def test_long(): ...
    """,
    "tests/losses/test_loss.py": """
        import pytest
        def test_contract(): ...
        @pytest.mark.everywhere
        def test_numbers(): ...
        def test_more_numbers(): ...
    """,
    "tests/models/test_model.py": """
        import pytest
        def test_contract(): ...
        def test_portable(): ...
        @pytest.mark.exhaustive
        @pytest.mark.parametrize("n", range(30))
        def test_shared(n): ...
        @pytest.mark.skipif(False, reason="")
        def test_export(): ...
    """,
    "tests/test_files.py": """
        import pytest
        pytestmark = pytest.mark.once
        import nothing_of_this_name
    """,
}


def collected(folder, backend, suite):
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "KERAS_DENSE_BACKENDS": BACKENDS,
        "KERAS_DENSE_SUITE": suite,
    }
    # The last file stands for one that the other backends must not import.
    ignored = ["--ignore=tests/test_files.py"] if backend == "torch" else []
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "--collect-only",
            "-q",
            "-p",
            "no:cacheprovider",
            *ignored,
        ],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 5), done.stdout + done.stderr
    return [line.split("::")[1] for line in done.stdout.splitlines() if "::" in line]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    marks = "".join(f"\n    {m}: ." for m in ("once", "everywhere", "exhaustive", "slow"))
    (folder / "pytest.ini").write_text(
        f"[pytest]\naddopts = --import-mode=importlib\nmarkers ={marks}\n"
    )
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        lines = [line.removeprefix(8 * " ") for line in text.splitlines()]
        (folder / name).write_text("\n".join(lines))
    (folder / "tests" / "conftest.py").write_text((HERE / "conftest.py").read_text())
    return folder


def test_each_backend_runs_its_share(folder):
    found = {backend: collected(folder, backend, "quick") for backend in BACKENDS.split()}
    first, *others = found.values()
    everywhere = {"test_one_parameter[u-0]", "test_one_parameter[v-0]", "test_export"}
    # The contract of the loss; those of models are in the rest.
    by_turns = {"test_contract", "test_numbers"}
    alone = {"test_bad_arguments", "test_file", "test_more_numbers", "test_portable"}
    assert everywhere | by_turns | alone <= set(first) and "test_long" not in first
    assert sum(name.startswith("test_two_parameters") for name in first) == 6
    for names in others:
        assert everywhere <= set(names) and not alone & set(names)
        two = [name for name in names if name.startswith("test_two_parameters")]
        assert len(two) == 2  # one with each value of both, and the third is marked
        assert {n for name in two for n in "12uv" if n in name.partition("[")[2]} == set("12uv")
    turns = [name for names in others for name in names if name in by_turns]
    assert sorted(turns) == ["test_contract", "test_numbers"]


def test_the_rest_has_what_the_quick_suite_left_out(folder):
    first, *others = (collected(folder, backend, "rest") for backend in BACKENDS.split())
    found = sorted(first + [name for names in others for name in names])
    shared = [name for name in found if name.startswith("test_shared")]
    assert len(shared) == len(set(shared)) == 30 and len(set(shared) & set(first)) > 15
    alone = [name for name in found if name not in shared]
    assert alone == ["test_contract"] * 3 + ["test_long", "test_numbers"]

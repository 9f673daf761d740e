"""Install the package with each backend alone on each Python, run some tests, print a table.

    python tests/run_matrix.py [--backends torch] [--pythons 3.11 3.12] [--oldest] [-- tests]

The package is built and installed as users get it, so the tests run what was installed and not this
folder. Environments are in .venv-matrix, are made anew each time, and are removed after their row:
some take gigabytes. `--keep` leaves them.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".venv-matrix"
BACKENDS = ("torch", "tensorflow", "jax")
# Tests that need the core and Pillow only, and no other backend for references.
TESTS = ["tests/ops", "tests/losses", "tests/test_saving.py"]
TOOLS = ("pytest", "pillow", "scipy")
# XLA compiles every network for every size, and should be quick. The other flags of
# tests/run_backends.sh are not known to every JAX, which then ends without a word.
XLA_FLAGS = "--xla_backend_optimization_level=1"
FACTS = """
import importlib.metadata, importlib.util, sys, time
import keras
began = time.perf_counter()
import keras_dense
seconds = time.perf_counter() - began
others = [name for name in {others!r} if importlib.util.find_spec(name)]
print(keras_dense.__file__)
print(keras.__version__, importlib.metadata.version({package!r}), f"{{seconds:.2f}} s", *others)
"""


def main() -> int:
    """Print the table; 1 if anything failed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    args = _arguments(project)
    rows, failed = [], False
    with tempfile.TemporaryDirectory() as folder:
        wheel = _build(pathlib.Path(folder))
        for version in args.pythons:
            python = find(version)
            for backend in args.backends:
                place = FOLDER / f"{version}-{backend}"
                try:
                    row, good = _row(python, version, backend, wheel, args, place)
                finally:
                    if not args.keep:
                        shutil.rmtree(place, ignore_errors=True)
                rows.append(row)
                failed |= not good
                print(f"{version} {backend}: {row[-1]}", file=sys.stderr, flush=True)
    print(table(("Python", "backend", "Keras", "version", "import", "others", "tests"), rows))
    return int(failed)


def _arguments(project: dict) -> argparse.Namespace:
    classified = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    parser.add_argument("--pythons", nargs="+", default=classified)
    parser.add_argument("--oldest", action="store_true", help="the oldest versions allowed")
    parser.add_argument("--keep", action="store_true", help="do not remove the environments")
    parser.add_argument("tests", nargs="*", default=TESTS, help="after --: for pytest")
    return parser.parse_args()


def find(version: str) -> str | None:
    """A Python of a version: on the path, or one of pyenv's; `None` if there is none."""
    listed = [shutil.which(f"python{version}")]
    root = pathlib.Path(os.environ.get("PYENV_ROOT", pathlib.Path.home() / ".pyenv"))
    listed += [str(path) for path in sorted(root.glob(f"versions/{version}.*/bin/python"))]
    for path in filter(None, listed):
        code = "import sys; print('%d.%d' % sys.version_info[:2])"
        done = subprocess.run([path, "-c", code], capture_output=True, text=True)
        if done.returncode == 0 and done.stdout.strip() == version:
            return path
    return None


def _build(folder: pathlib.Path) -> pathlib.Path:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder)]
    subprocess.run([*command, str(ROOT)], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def _row(python, version, backend, wheel, args, place):
    """A row of the table, and whether all went well."""
    if python is None:
        return (version, backend, "", "", "", "", "no such Python"), True
    shutil.rmtree(place, ignore_errors=True)
    subprocess.run([python, "-m", "venv", str(place)], check=True)
    pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    wanted = [f"{wheel}[{backend}]", *TOOLS]
    constraints = _oldest(place) if args.oldest else []
    done = subprocess.run([*pip, *wanted, *constraints], capture_output=True, text=True)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        return (version, backend, "", "", "", "", f"not installed: {''.join(last)}"), False
    os.environ.setdefault("XLA_FLAGS", XLA_FLAGS)
    facts = _facts(place, backend)
    passed, said = _test(place, backend, args.tests)
    return (version, backend, *facts, said), passed and not facts[-1]


def _oldest(place: pathlib.Path) -> list[str]:
    """Constraints of the oldest versions: of oldest.txt, and of test.txt for what is not there."""
    pins = _pins("test.txt") | _pins("oldest.txt")
    file = place / "oldest.txt"
    file.write_text("".join(f"{name}=={number}\n" for name, number in pins.items()), "utf-8")
    return ["--constraint", str(file)]


def _pins(file: str) -> dict[str, str]:
    """The pinned version of each package, TensorFlow under the name of the extra."""
    text = (ROOT / "requirements" / file).read_text("utf-8")
    listed = re.findall(r"^([\w-]+)(?:\[\w+\])?==(\S+)", text, re.MULTILINE)
    return {name.replace("tensorflow-cpu", "tensorflow"): number for name, number in listed}


def _environment(backend: str) -> dict[str, str]:
    settings = {"KERAS_BACKEND": backend, "KERAS_DENSE_SUITE": "quick", "CUDA_VISIBLE_DEVICES": ""}
    # By these names, tests for all backends run.
    settings |= {"KERAS_DENSE_BACKENDS": backend, "TF_CPP_MIN_LOG_LEVEL": "2", "MPLBACKEND": "Agg"}
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | settings


def _facts(place: pathlib.Path, backend: str) -> tuple[str, str, str, str]:
    """Versions, time of import, and backends that should not be there."""
    others = [name for name in BACKENDS if name != backend]
    code = FACTS.format(others=others, package=backend)
    # From elsewhere: this folder would be imported.
    done = subprocess.run(
        [str(place / "bin" / "python"), "-c", code],
        capture_output=True,
        text=True,
        cwd=place,
        env=_environment(backend),
        check=True,
    )
    file, line = done.stdout.strip().splitlines()[-2:]
    if not pathlib.Path(file).is_relative_to(place):
        raise RuntimeError(f"imported {file}, not what was installed in {place}")
    keras, version, seconds, unit, *found = line.split()
    return keras, version, f"{seconds} {unit}", " ".join(found)


def _test(place: pathlib.Path, backend: str, tests: list[str]) -> tuple[bool, str]:
    # `pytest`, not `python -m pytest`, which would put this folder first.
    done = subprocess.run(
        [str(place / "bin" / "pytest"), "-q", "-p", "no:cacheprovider", *tests],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=_environment(backend),
    )
    lines = (done.stdout.strip() or done.stderr.strip()).splitlines()
    if done.returncode:
        print("\n".join([*lines[-40:], *done.stderr.splitlines()[-20:]]), file=sys.stderr)
    if done.returncode < 0:
        return False, f"ended by signal {-done.returncode}"
    return done.returncode == 0, re.sub(r" in .*", "", lines[-1]) if lines else "nothing was said"


def table(titles, rows) -> str:
    """A table of Markdown."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())

"""Costs of keras_dense compared with Keras: the calls of each pair take turns in one run.

    python benchmarks/cost.py [--only import build metric data]

KERAS_BACKEND chooses the backend (default: tensorflow). Prints a Markdown table; README.md explains
what each line compares.
"""

import argparse
import importlib.util
import os
import pathlib
import subprocess
import sys

from _training import data, metric
from _turns import in_turns

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
BACKENDS = ("tensorflow", "jax", "torch")


def imports(rounds=6):
    """Seconds that `import keras_dense` adds to `import keras`, in new interpreters."""
    for backend in BACKENDS:
        if importlib.util.find_spec(backend) is None:
            continue

        def run(module, backend=backend):
            environment = {**os.environ, "KERAS_BACKEND": backend}
            subprocess.run(
                [sys.executable, "-c", f"import {module}"],
                env=environment,
                cwd=REPOSITORY,
                check=True,
                stderr=subprocess.DEVNULL,
            )

        times = in_turns(rounds, keras=lambda: run("keras"), ours=lambda: run("keras_dense"))
        keras, ours = min(times["keras"]), min(times["ours"])
        figure = f"{ours - keras:+.2f} s ({keras:.2f} → {ours:.2f} s)"
        yield "`import keras_dense` over `import keras`", "≤ +0.3 s", figure, backend


def build(rounds=6):
    """Time to build FCN-8s on ResNet-50 over time to build the application alone."""
    import keras

    import keras_dense as kd

    def application():
        keras.applications.ResNet50(weights=None, include_top=False)

    def fcn8s():
        kd.fcn8s("resnet50", weights=None)

    times = in_turns(rounds, application=application, fcn8s=fcn8s)
    bare, ours = min(times["application"]), min(times["fcn8s"])
    figure = f"{ours / bare:.2f}× ({bare:.2f} → {ours:.2f} s)"
    yield "building `fcn8s('resnet50')` over `ResNet50`", "≤ 2.5×", figure, keras.backend.backend()


PARTS = {"import": imports, "build": build, "metric": metric, "data": data}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    args = parser.parse_args()
    print("| what | bar | measured | backend |\n|---|---|---|---|")
    for part in args.only:
        for row in PARTS[part]():
            print("|", " | ".join(row), "|", flush=True)


if __name__ == "__main__":
    main()

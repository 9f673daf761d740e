"""Processes of a benchmark, one for each backend, and the rows of its tables."""

import argparse
import importlib.util
import json
import os
import subprocess
import sys

BACKENDS = ("torch", "tensorflow", "jax")


def parser_of(description, rounds):
    """Parser of the arguments that benchmarks on several backends share."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    add = parser.add_argument
    add("--backends", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    add("--rounds", type=int, default=rounds)
    add("--size", type=int, default=256)
    add("--busy", action="store_true", help="one thread; seconds of computing")
    return parser


def installed(backends):
    return [name for name in backends if importlib.util.find_spec(name) is not None]


def one_thread():
    """Run this process, and those it starts, on one core: each backend then has one thread."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def child(script, backend, *words, **environment):
    """Run a script on a backend, and return the JSON in the last line of its output."""
    variables = {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ, "KERAS_BACKEND": backend}
    command = [sys.executable, script, *map(str, words)]
    done = subprocess.run(
        command, env={**variables, **environment}, stdout=subprocess.PIPE, check=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def row(*cells):
    print("|", " | ".join(cells), "|", flush=True)


def heading(*cells):
    row(*cells)
    print("|---" * len(cells) + "|")


def ratio(ours, theirs, digits=2):
    """Text of a ratio of two times, and the times in seconds."""
    return f"{ours / theirs:.{digits}f}× ({ours:.2f} over {theirs:.2f} s)"

"""The final model as a file, and its exports."""

import importlib.util
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Sequence

import keras

from keras_dense._files import whole

# What each format needs, besides TensorFlow, which writes all of them.
_NEEDS = {"savedmodel": (), "onnx": ("tf2onnx", "onnx", "onnxruntime")}
_PLACES = {"savedmodel": "savedmodel/1", "onnx": "model.onnx", "litert": "model.tflite"}
_PLACES["openvino"] = "model.xml"
_SECONDS = 600


def available() -> list[str]:
    """Return the formats whose packages are installed."""
    if importlib.util.find_spec("tensorflow") is None:
        return []
    return [
        name
        for name, needs in _NEEDS.items()
        if all(importlib.util.find_spec(package) is not None for package in needs)
    ]


def deliver(
    model: keras.Model,
    out: pathlib.Path,
    exports: Sequence[str] | None,
    say: Callable[[str], None],
) -> dict[str, str]:
    """Write `model.keras` and its exports; a format that fails is said, and costs nothing else.

    Args:
        model: the final model.
        out: folder of the run.
        exports: formats; `None` for those that are available.
        say: function that takes a line.

    Returns:
        A dict from the formats that were written to their paths.
    """
    file = out / "model.keras"
    with whole(file) as draft:
        # Without the optimizer, which is in the checkpoint.
        keras.Model(model.input, model.output, name=model.name).save(draft)
    formats = available() if exports is None else list(exports)
    written = {}
    for name in formats:
        if name not in _PLACES:
            say(f"! {name} was not written: formats are {', '.join(_PLACES)}")
            continue
        target = out / "export" / _PLACES[name]
        say(f"writing {target}")
        error = _export(file, name, target)
        if error is None:
            written[name] = str(target)
        else:
            say(f"! {name} was not written: {error}")
    return written


def _export(file: pathlib.Path, name: str, target: pathlib.Path) -> str | None:
    """Export in a process of its own, on TensorFlow; the reason if it fails."""
    target.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "keras_dense", "export", str(file), name, str(target)]
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow"}
    try:
        done = subprocess.run(
            [*command, "--overwrite"],
            capture_output=True,
            text=True,
            env=environment,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"it took longer than {_SECONDS} seconds"
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"exit status {done.returncode}"

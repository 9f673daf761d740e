"""Commands that are killed at random moments leave nothing that is half done."""

import os
import pathlib
import subprocess
import sys

import keras
import pytest

SCRIPT = pathlib.Path(__file__).with_name("kill_commands.py")
COMMANDS = {"torch": ("predict", "evaluate", "compare", "train"), "tensorflow": ("export",)}
BACKEND = keras.backend.backend()


@pytest.mark.exhaustive
@pytest.mark.skipif(
    BACKEND not in COMMANDS or not os.environ.get("KERAS_DENSE_ON_REQUEST"),
    reason="many minutes: KERAS_DENSE_ON_REQUEST=1 runs it",
)
@pytest.mark.parametrize("command", COMMANDS.get(BACKEND, ()))
def test_twenty_kills(command, tmp_path):
    words = [sys.executable, str(SCRIPT), str(tmp_path / "place"), command]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "20 kills of runs" in done.stdout

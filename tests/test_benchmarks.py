"""The benchmark for a GPU runs where there is none, keeps its time, and says what is missing."""

import json
import os
import pathlib
import subprocess
import sys
import time

import keras
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "benchmarks" / "gpu.py"
pytestmark = [
    pytest.mark.once,
    pytest.mark.slow,
    pytest.mark.skipif(not SCRIPT.exists(), reason="a release has no benchmarks"),
]


def run(out, *words):
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""}
    backend = keras.backend.backend()
    words = [*words, "--backends", backend, "--networks", "crf", "--out", str(out)]
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, SCRIPT, *words], env=environment, capture_output=True, text=True
    )
    return done, json.loads((out / "gpu.json").read_text()), time.monotonic() - began


@pytest.mark.exhaustive
def test_a_smoke_run(tmp_path):
    done, found, _ = run(tmp_path, "--smoke", "--minutes", "5")
    assert done.returncode == 0, done.stderr
    measured = [(r["precision"], r["task"]) for r in found["results"]]
    assert sorted(measured) == [
        (precision, task)
        for precision in ("bfloat16", "float32")
        for task in ("inference", "training")
    ]
    assert all(r["images_per_second"] > 0 and r["memory"] > 50 for r in found["results"])
    text = (tmp_path / "gpu.md").read_text()
    assert text.strip() in done.stdout and text.count("| CRF layer |") == 2
    assert found["versions"]["keras"] == keras.__version__


def test_no_gpu_is_said(tmp_path):
    done, found, _ = run(tmp_path)
    assert done.returncode == 1 and "Nothing was measured. --smoke tries the script" in done.stderr
    assert found["results"][0]["failed"] == "no GPU is seen by this backend"
    assert "no GPU is seen by this backend" in (tmp_path / "gpu.md").read_text()


def test_the_time_is_kept(tmp_path):
    """Importing a backend takes longer than these seconds, or they suffice: both are kept."""
    done, found, seconds = run(tmp_path, "--smoke", "--minutes", "0.26")
    assert "ended after" in found["results"][-1]["failed"] or seconds < 16
    assert seconds < 40

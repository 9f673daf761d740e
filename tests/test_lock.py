"""Locks: one run at a time, and what a killed one leaves."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

import keras_dense
from keras_dense import _lock
from keras_dense._lock import is_gone, lock, started

pytestmark = pytest.mark.once

PACKAGE = pathlib.Path(keras_dense.__file__).parent
# The package without its own imports, which take seconds.
LIGHT = """
import os, signal, sys, time, types
package = sys.modules["keras_dense"] = types.ModuleType("keras_dense")
package.__path__ = [sys.argv[1]]
from keras_dense._lock import lock
"""


def run(code, *arguments):
    command = [sys.executable, "-c", LIGHT + code, str(PACKAGE), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_living_run_keeps_others_out(tmp_path):
    file = tmp_path / ".lock"
    code = "\nwith lock(sys.argv[2]):\n    print('in', flush=True)\n    sys.stdin.read()\n"
    command = [sys.executable, "-c", LIGHT + code, str(PACKAGE), str(file)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "in\n"
        with pytest.raises(BlockingIOError, match=rf"process {other.pid} on .*since .*Wait for"):
            with lock(file, tmp_path / "labels"):
                pass
        assert file.exists()  # The lock of the other is still there.
        other.stdin.close()
        other.wait()
    with lock(file):
        assert json.loads(file.read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a signal that kills at once")
def test_the_lock_of_a_killed_run_is_none(tmp_path):
    file = tmp_path / "new" / ".lock"
    code = "\nwith lock(sys.argv[2]):\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    assert run(code, file).wait() == -signal.SIGKILL
    assert json.loads(file.read_text())["pid"] > 0
    with lock(file):
        pass
    assert not file.exists()


def test_one_process_has_it_once(tmp_path):
    with lock(tmp_path / ".lock"):
        (tmp_path / "link").symlink_to(tmp_path)
        with pytest.raises(BlockingIOError, match="writes to"), lock(tmp_path / "link" / ".lock"):
            pass
    with pytest.raises(KeyError), lock(tmp_path / ".lock"):
        raise KeyError
    with lock(tmp_path / ".lock"):
        pass


def test_another_machine_counts_as_living(tmp_path):
    file = tmp_path / ".lock"
    mine = {"pid": 1, "host": "elsewhere", "started": "", "since": "2026-01-01 00:00:00"}
    file.write_text(json.dumps(mine))
    with pytest.raises(BlockingIOError, match="on elsewhere.*no longer running there, remove"):
        with lock(file):
            pass
    assert file.exists()
    file.write_text('{"pid": 1')  # Cut by a kill.
    with lock(file):
        pass


def test_without_locks_of_the_system_the_process_decides(tmp_path, monkeypatch):
    file = tmp_path / ".lock"
    monkeypatch.setitem(sys.modules, "fcntl", None)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    mine = {"host": _lock.host(), "started": "", "since": "2026-01-01 00:00:00"}
    file.write_text(json.dumps({**mine, "pid": gone.pid}))
    with lock(file):
        pass
    file.write_text(json.dumps({**mine, "pid": os.getppid()}))
    with pytest.raises(BlockingIOError, match=f"process {os.getppid()}"), lock(file):
        pass


def test_a_number_that_was_given_again_is_another_process():
    assert not is_gone(os.getpid(), started(os.getpid()))
    if started(os.getpid()):
        assert is_gone(os.getpid(), "12")

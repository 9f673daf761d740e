"""Files that appear completely or not at all, even if writing them fails or is killed."""

import errno
import os
import pathlib
import signal
import subprocess
import sys

import pytest

import keras_dense
from keras_dense._files import beside, remove_drafts, whole
from keras_dense._lock import host_code

pytestmark = pytest.mark.once

PACKAGE = pathlib.Path(keras_dense.__file__).parent


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_and_its_parents_are_made(tmp_path):
    with whole(tmp_path / "a" / "b.txt") as draft:
        draft.write_text("new")
        assert names(tmp_path / "a") != ["b.txt"]
    assert (tmp_path / "a" / "b.txt").read_text() == "new"
    assert names(tmp_path / "a") == ["b.txt"]


def test_the_draft_has_the_name_of_the_target(tmp_path):
    with whole(tmp_path / "model.weights.h5") as draft:
        assert draft.name == "model.weights.h5"
        draft.touch()


def test_a_long_name_is_no_obstacle(tmp_path):
    name = "é" * 120 + ".txt"
    with whole(tmp_path / name) as draft:
        draft.touch()
    assert names(tmp_path) == [name]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(error), whole(tmp_path / "a.txt") as draft:
        draft.write_text("half")
        raise error
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a signal that kills at once")
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_killed_run_leaves_the_old_one_and_the_next_run_works(tmp_path, kind):
    target = tmp_path / "a"
    inner = "" if kind == "file" else "inner.txt"
    code = f"""
import os, signal, sys, types
# The package without its own imports, which take seconds.
package = sys.modules["keras_dense"] = types.ModuleType("keras_dense")
package.__path__ = [sys.argv[2]]
from keras_dense._files import whole
for text in ("old", "half"):
    with whole(sys.argv[1]) as draft:
        {"" if kind == "file" else "draft.mkdir()"}
        (draft / {inner!r}).write_text(text)
        if text == "half":
            os.kill(os.getpid(), signal.SIGKILL)
"""
    run = subprocess.run([sys.executable, "-c", code, target, PACKAGE])
    assert run.returncode == -signal.SIGKILL
    assert (target / inner).read_text() == "old"
    assert len(names(tmp_path)) == 2  # The draft stays …
    with whole(target) as draft:
        if kind == "folder":
            draft.mkdir()
        (draft / inner).write_text("new")
    assert (target / inner).read_text() == "new"
    assert names(tmp_path) == ["a"]  # … until the next run that writes there.


def draft_of(pid, name="a", host=None):
    return f".{name}.{host or host_code()}-{pid}-.x1y2z3.partial"


def gone():
    """The number of a process that has ended."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def test_only_drafts_of_killed_runs_are_removed(tmp_path):
    killed = [tmp_path / draft_of(gone()), tmp_path / draft_of(gone(), "another")]
    others = [draft_of(os.getppid()), draft_of(gone(), host="0123abcd"), ".a.txt.x1.partial"]
    for path in [*killed, *(tmp_path / name for name in others)]:
        (path / "new").mkdir(parents=True)
    with whole(tmp_path / "b.txt") as draft:
        draft.touch()
    assert names(tmp_path) == sorted([*others, "b.txt"])
    remove_drafts(tmp_path)
    assert names(tmp_path) == sorted([others[0], "b.txt"])


def test_a_folder_killed_between_two_names_gets_the_new_one(tmp_path):
    draft = tmp_path / draft_of(gone(), "model")
    for place in ("old", "new/model"):
        (draft / place).mkdir(parents=True)
        (draft / place / f"{place[:3]}.txt").touch()
    with whole(tmp_path / "b.txt") as other:
        other.touch()
    assert names(tmp_path) == ["b.txt", "model"]
    assert names(tmp_path / "model") == ["new.txt"]


@pytest.mark.parametrize(
    "error, number",
    [
        (OSError(errno.ENOSPC, "full"), errno.ENOSPC),
        (RuntimeError("ResourceExhausted: a/b; No space left on device"), errno.ENOSPC),
        (ValueError("write failed: File too large"), errno.EFBIG),
        (ValueError("something else"), None),
    ],
)
def test_a_full_disk_is_one_error_from_every_library(tmp_path, error, number):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(OSError if number else ValueError) as found:
        with whole(tmp_path / "a.txt") as draft:
            draft.write_text("half")
            raise error
    if number:
        assert found.value.errno == number and found.value.filename == str(tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == "old" and names(tmp_path) == ["a.txt"]


def test_names_beside_a_long_one(tmp_path):
    for name in ("é" * 125 + ".npy", "a" * 250 + ".npy"):
        path = beside(tmp_path / name, ".state.npz")
        path.touch()
        assert path != beside(tmp_path / f"b{name[1:]}", ".state.npz")
    assert beside("labels.npy", ".part") == pathlib.Path("labels.npy.part")


def test_a_folder_takes_the_place_of_an_older_one(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old.txt").touch()
    with whole(tmp_path / "model") as draft:
        draft.mkdir()
        (draft / "new.txt").touch()
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == ["new.txt"]


def test_a_folder_that_cannot_be_replaced_is_put_back(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old.txt").touch()
    rename = os.rename

    def failing(source, target):
        if pathlib.Path(source).parent.name == "new":
            raise OSError("no")
        rename(source, target)

    with pytest.raises(OSError, match="no"), whole(tmp_path / "model") as draft:
        draft.mkdir()
        monkeypatch.setattr(os, "rename", failing)
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == ["old.txt"]


def test_what_is_written_beside_the_draft_moves_with_it_in_alphabetical_order(
    tmp_path, monkeypatch
):
    replace, moved = os.replace, []

    def recording(source, target):
        moved.append(pathlib.Path(target).name)
        replace(source, target)

    monkeypatch.setattr(os, "replace", recording)
    (tmp_path / "net.bin").write_text("old")
    with whole(tmp_path / "net.xml") as draft:
        draft.write_text("graph")
        draft.with_suffix(".bin").write_text("weights")
    assert moved == ["net.bin", "net.xml"]
    assert names(tmp_path) == ["net.bin", "net.xml"]
    assert (tmp_path / "net.bin").read_text() == "weights"


def test_writing_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing was written for .*a.txt"):
        with whole(tmp_path / "a.txt"):
            pass
    assert names(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="folders cannot be synchronized there")
def test_fsync_reaches_every_file_before_it_gets_its_name(tmp_path, monkeypatch):
    events = []
    monkeypatch.setattr(os, "fsync", lambda handle: events.append("fsync"))
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (events.append("named"), replace(a, b)))
    with whole(tmp_path / "state", fsync=True) as draft:
        draft.mkdir()
        (draft / "a").touch()
        (draft / "b").touch()
    # Two files and their folder; after the move, the folder that has the name.
    assert events == ["fsync"] * 3 + ["named", "fsync"]

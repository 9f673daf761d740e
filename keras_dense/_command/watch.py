"""A folder that grows: new images are predicted as they come."""

import argparse
import contextlib
import pathlib
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from keras_dense._command.console import Progress
from keras_dense._command.files import report
from keras_dense._command.load import Unusable
from keras_dense.datasets.files import EXTENSIONS


def check(args: argparse.Namespace) -> None:
    """Check the arguments that go with `--watch`."""
    if not args.watch > 0:
        raise Unusable(f"--watch must be a number of seconds > 0. Received: {args.watch:g}")
    for path in args.images:
        if not pathlib.Path(path).is_dir():
            raise Unusable(f"--watch takes folders. Received: {path!r}")


def run(args: argparse.Namespace, work: Any, folders: list[pathlib.Path]) -> int:
    """Predict images until Ctrl-C; returns the exit code."""
    work.results.check({}, work.sources)
    watcher, done = Watcher(folders), 0
    failed: dict[pathlib.Path, Exception] = {}
    bar = Progress(None, "image", quiet=args.quiet)
    with work.results.locked({}), _stopped_by_term(), bar:
        print(f"watching {', '.join(map(str, folders))}; Ctrl-C ends it", flush=True)
        try:
            while True:
                for stem, file in watcher.whole_files():
                    failed.pop(file, None)
                    error = _one(work, stem, file, bar, done)
                    if error is None:
                        done += 1
                        bar.update(done)
                    elif file.exists():
                        failed[file] = error
                        bar.clear()
                        print(f"{file}: {error}", file=sys.stderr)
                time.sleep(args.watch)
        except KeyboardInterrupt:
            bar.clear()
            print(f"stopped after {done} images")
    args.document |= {"images": done + len(failed)}
    return report(failed, done + len(failed), "images", args.document)


@contextlib.contextmanager
def _stopped_by_term() -> Iterator[None]:
    """Let SIGTERM, by which services are stopped, do the same as Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _one(work, stem, file, bar, done):
    """Predict an image unless it is done; returns an error of this image."""
    try:
        work.results.check({stem: file}, work.sources)
        with_targets = work.results.targets(stem)
        if work.results.state(stem, file) == "done":
            return None
        for path in with_targets:
            path.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, Unusable) as error:
        return error
    return work.file(stem, file, bar, done)


class Watcher:
    """New images of folders, once they are whole.

    A file counts as whole if its size and its time have not changed since the last look.

    Args:
        folders: list of paths.
    """

    def __init__(self, folders: list[pathlib.Path]) -> None:
        self._folders = folders
        self._seen: dict[pathlib.Path, tuple[int, int]] = {}
        self._given: dict[pathlib.Path, tuple[int, int]] = {}
        self._stems: dict[str, pathlib.Path] = {}

    def whole_files(self) -> list[tuple[str, pathlib.Path]]:
        """Pairs of stem and file that are new or were changed, and are whole."""
        found, now = [], {}
        for file in self._listed():
            try:
                facts = file.stat()
            except OSError:
                continue  # it was moved away
            now[file] = state = (facts.st_size, facts.st_mtime_ns)
            same = self._seen.get(file) == state and facts.st_size > 0
            if not same or self._given.get(file) == state or not self._is_alone(file):
                continue
            self._given[file] = state
            found.append((file.stem, file))
        self._seen = now
        return found

    def _listed(self) -> list[pathlib.Path]:
        listed = []
        for folder in self._folders:
            try:
                inside = sorted(folder.iterdir())
            except OSError as error:
                raise Unusable(f"cannot read {str(folder)!r} ({error.strerror})") from error
            listed += [
                file
                for file in inside
                if file.suffix.lower() in EXTENSIONS and file.name[0] != "." and file.is_file()
            ]
        return listed

    def _is_alone(self, file: pathlib.Path) -> bool:
        """Whether the results of a file have a name of their own; says so once if not."""
        other = self._stems.setdefault(file.stem, file)
        if other != file and other.exists():
            if file not in self._given:
                self._given[file] = (-1, -1)
                print(
                    f"{file}: left out, its results would have the name of those of {other}",
                    file=sys.stderr,
                )
            return False
        self._stems[file.stem] = file
        return True

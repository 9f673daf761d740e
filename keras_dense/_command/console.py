"""Progress with the time left, and results for people or as JSON for machines."""

import contextlib
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TextIO

import numpy as np

_OFTEN, _SELDOM = 0.1, 30.0  # seconds between two lines on a terminal, and elsewhere


def duration(seconds: float) -> str:
    """Seconds as a clock shows them.

    >>> duration(75.2), duration(4000)
    ('1:15', '1:06:40')
    """
    minutes, seconds = divmod(math.ceil(seconds - 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class Progress:
    """A line with the number of finished units, their rate, and the time left.

    On a terminal one line that rewrites itself, elsewhere a new one every half minute. Time left is
    counted from the end of the first unit on, which may have compiled something.

    Args:
        total: int, number of units; `None` if it is not known.
        unit: str, their name, singular.
        quiet: bool, whether to print nothing.
        stream: file to print to; default: stderr.
        clock: function that returns seconds.

    >>> import io
    >>> times = iter([0.0, 10.0, 12.0])
    >>> bar = Progress(5, "image", stream=io.StringIO(), clock=lambda: next(times))
    >>> bar.update(1), bar.update(2), bar.text()
    (None, None, '2/5 images, 2 s each, 0:06 left')
    """

    def __init__(
        self,
        total: int | None,
        unit: str,
        *,
        quiet: bool = False,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total, self.unit, self.quiet = total, unit, quiet
        self._stream = sys.stderr if stream is None else stream
        self._clock, self._terminal = clock, self._stream.isatty()
        self._begin = self._now = self._shown = clock()
        self._first: tuple[float, float] | None = None
        self._done, self._width = 0.0, 0

    def update(self, done: float) -> None:
        """Say how many units are done; a fraction counts."""
        self._now, self._done = self._clock(), done
        if self._first is None and done >= 1:
            self._first = (self._now, done)
        pause = _OFTEN if self._terminal else _SELDOM
        if self._now - self._shown >= pause or (self._terminal and done == self.total):
            self._show()

    def text(self) -> str:
        """The line."""
        done = math.floor(self._done)
        name = self.unit if self.total == 1 else f"{self.unit}s"
        found = f"{done} {name}" if self.total is None else f"{done}/{self.total} {name}"
        when, before = self._first or (self._begin, 0)
        if self._done == before:  # nothing since the first
            when, before = self._begin, 0
        if self._done <= before or self._now <= when:
            return found
        each = (self._now - when) / (self._done - before)
        found += f", {each:.3g} s each" if each >= 1 else f", {1 / each:.3g} a second"
        if self.total is not None and self._done < self.total:
            found += f", {duration(each * (self.total - self._done))} left"
        return found

    def _show(self):
        if self.quiet:
            return
        self._shown, text = self._now, self.text()
        if self._terminal:
            text = text[: shutil.get_terminal_size().columns - 1]
            print(f"\r{text:<{self._width}}", end="", file=self._stream, flush=True)
            self._width = len(text)
        else:
            print(text, file=self._stream, flush=True)
            self._width = 1

    def clear(self) -> None:
        """Remove the line of a terminal, so that something else can be printed."""
        if self._terminal and self._width:
            print(f"\r{'':<{self._width}}\r", end="", file=self._stream, flush=True)
            self._width = 0

    def close(self) -> None:
        """End the line; elsewhere one last line, if there was one before."""
        if self._width:
            self._show()
            if self._terminal:
                print(file=self._stream, flush=True)
        self._width = 0

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


def plain(value: Any) -> Any:
    """A value for JSON: arrays as lists, NaN and infinity as `None`, other objects as text.

    >>> plain({"iou": np.array([0.5, np.nan])})
    {'iou': [0.5, None]}
    """
    if isinstance(value, dict):
        return {str(key): plain(x) for key, x in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple, set)):
        return [plain(x) for x in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


@contextlib.contextmanager
def on_stderr() -> Iterator[TextIO]:
    """Send to stderr what is printed to stdout, by libraries, too; yields the true stdout."""
    true, real = sys.stdout, sys.stdout is sys.__stdout__
    kept = None
    if real:  # What is written below Python.
        true.flush()
        kept = os.dup(1)
        os.dup2(2, 1)
        true = os.fdopen(os.dup(kept), "w", encoding="utf-8")
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield true
    finally:
        if kept is not None:
            true.close()
            os.dup2(kept, 1)
            os.close(kept)


def print_json(document: dict[str, Any], stream: TextIO) -> None:
    """One JSON document on a line of its own."""
    print(json.dumps(plain(document), ensure_ascii=False), file=stream, flush=True)

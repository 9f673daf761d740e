"""The memory that a prediction needs, and that there is."""

import os
import pathlib
import re
from collections.abc import Iterator, Sequence
from math import prod

import keras
from keras import tree

from keras_dense.surgery import cost

# Operations need more inside than their outputs: on networks of five kinds, 1.4 to 2.5 times
# what `cost` calls the peak (benchmarks/predict_memory.py).
INSIDE = 2.6
# Copies of a prediction while several versions are averaged.
COPIES = 6
# Other programs need some of what is available, too.
SHARE = 0.8
# Images that nearly all machines can predict undivided.
SMALL = 1 << 20
TILES = (1536, 1024, 768, 512, 384, 256)
_UNKNOWN = 4 << 30


def available(root: str = "/") -> int:
    """Bytes that this process may still take: what the system and the limits of its group leave.

    Without Linux: half of the memory of the machine, or 4 GiB if that is unknown.

    Args:
        root: of the file system, for tests.
    """
    base = pathlib.Path(root)
    try:
        said = (base / "proc/meminfo").read_text()
        rooms = [1024 * int(re.findall(r"MemAvailable:\s+(\d+)", said)[0])]
    except (OSError, IndexError):
        return _half()
    return max(0, min([*rooms, *_groups(base), *_limits(base)]))


def _half() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, OSError, ValueError):
        return _UNKNOWN


def _groups(base: pathlib.Path) -> Iterator[int]:
    """Bytes that each control group around this process leaves; both versions of them."""
    try:
        lines = (base / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, kinds, path = line.split(":", 2)
        if "memory" in kinds.split(","):
            top = base / "sys/fs/cgroup/memory"
            names = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
        elif not kinds:
            top = base / "sys/fs/cgroup"
            names = "memory.max", "memory.current", "inactive_file"
        else:
            continue
        inside = top / path.lstrip("/")
        # In a container, the path may be that outside.
        for folder in {top, inside, *(p for p in inside.parents if p.is_relative_to(top))}:
            left = _left(folder, *names)
            if left is not None:
                yield left


def _left(folder: pathlib.Path, limit: str, usage: str, idle: str) -> int | None:
    try:
        most = int((folder / limit).read_text())  # or "max"
        used = int((folder / usage).read_text())
        said = (folder / "memory.stat").read_text()
    except (OSError, ValueError):
        return None
    # Pages of files are given back when memory gets short.
    spare = re.findall(rf"^{idle} (\d+)", said, re.MULTILINE)
    return most - used + sum(map(int, spare))


def _limits(base: pathlib.Path) -> Iterator[int]:
    """Bytes that `ulimit -v` and `ulimit -d` leave."""
    try:
        import resource

        said = (base / "proc/self/status").read_text()
    except (ImportError, OSError):
        return
    for kind, name in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        most = resource.getrlimit(kind)[0]
        used = re.findall(rf"{name}:\s+(\d+)", said)
        if most != resource.RLIM_INFINITY and used:
            yield most - 1024 * int(used[0])


class Memory:
    """Estimates of the memory of predictions, and the tiles that they need.

    Args:
        network: functional `keras.Model` of everything that is computed.
        scales: sizes of the versions that are averaged; none: the image alone.
    """

    def __init__(self, network: keras.Model, scales: Sequence[float] = ()) -> None:
        self._network, self._scales = network, tuple(scales)
        self._known: dict[tuple[int, int], int | None] = {}

    def needed(self, size: tuple[int, int]) -> int | None:
        """Bytes that the prediction of an image takes; `None` if that is unknown."""
        if size not in self._known:
            self._known[size] = self._computed(size)
        return self._known[size]

    def _computed(self, size):
        largest = max(self._scales, default=1)
        try:
            found = cost(self._network, tuple(max(1, round(n * largest)) for n in size))
            bytes_ = INSIDE * found.peak
            if self._scales:
                bytes_ += COPIES * 4 * prod(size) * self._channels()
        # Layers of the user's may raise anything.
        except Exception:
            return None
        return int(bytes_)

    def _channels(self):
        return sum(y.shape[-1] or 1 for y in tree.flatten(self._network.output) if y.ndim == 4)

    def tile(self, size: tuple[int, int], room: int) -> int | None:
        """The side of tiles for an image that `room` bytes are too few for, undivided.

        Returns:
            int, or `None` if it can be predicted undivided.
        """
        if prod(size) <= SMALL:
            return None
        whole = self.needed(size)
        if whole is None or whole <= SHARE * room:
            return None
        sides = [side for side in TILES if side < max(size)] or [max(size)]
        for side in sides:
            part = self.needed((min(side, size[0]), min(side, size[1])))
            if part is not None and part <= SHARE * room:
                return side
        return sides[-1]

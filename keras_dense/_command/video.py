"""Videos, read and written by ffmpeg."""

import argparse
import contextlib
import importlib
import math
import pathlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_dense._command.console import Progress
from keras_dense._command.files import make_folder, same
from keras_dense._command.load import Unusable
from keras_dense._files import disk_error, whole
from keras_dense._lock import lock

EXTENSIONS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".mts")


def is_video(path: pathlib.Path) -> bool:
    """Whether a name is that of a video."""
    return path.suffix.lower() in EXTENSIONS


def check(args: argparse.Namespace, paths: list[pathlib.Path], videos: list[pathlib.Path]) -> None:
    """Check the arguments of videos, before a model is loaded."""
    if len(videos) < len(paths):
        raise Unusable("videos and images are predicted one after the other, not together")
    for path in videos:
        if not path.is_file():
            raise Unusable(f"there is no video {str(path)!r}")
    if len({path.stem for path in videos}) < len(videos):
        raise Unusable("two videos have one name; predict them to folders of their own")
    if is_video(args.out):
        if len(videos) > 1:
            raise Unusable("--out must be a folder for several videos")
        if same(args.out, videos[0]):
            raise Unusable(f"--out would write over {str(videos[0])!r}, which is read")
        if args.out.exists() and not args.overwrite:
            raise Unusable(f"there is something at {str(args.out)!r} (--overwrite replaces it)")
    executable()


def executable() -> str:
    """The program ffmpeg: of the system, or of the package imageio-ffmpeg."""
    found = shutil.which("ffmpeg")
    if found is not None:
        return found
    try:
        return importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        raise Unusable(
            "videos are read and written by ffmpeg, which was not found. Install it "
            "(https://ffmpeg.org), or: pip install imageio-ffmpeg"
        ) from error


def run(args: argparse.Namespace, work: Any, videos: list[pathlib.Path]) -> int:
    """Predict the frames of videos; returns the exit code."""
    args.document["frames"] = {}
    if is_video(args.out):
        return _as_video(args, work, videos[0])
    stems = {f"{path.stem}/000000": path for path in videos}
    work.results.check({}, work.sources)
    with work.results.locked(stems):
        for path in videos:
            _as_files(args, work, path)
    return 0


def _as_files(args, work, path):
    """Write the results of every frame to files `…/video/000000.png`."""
    before = 0
    with _bar(args, path) as bar:
        for number, pixels in enumerate(frames(path)):
            stem = f"{path.stem}/{number:06d}"
            work.results.check({stem: path}, ())
            if work.results.state(stem, path) == "done":
                before += 1
            else:
                work.write(stem, work.predicted(pixels, f"{path}, frame {number}"), pixels)
            bar.update(number + 1)
            args.document["frames"][str(path)] = number + 1
    if before:
        print(f"{path}: {before} frames were done before (--overwrite does them anew)")


def _as_video(args, work, path):
    """Write the results of every frame as a video."""
    if not work.heads.single and len(work.heads) > 1:
        raise Unusable("a video shows one head; with several --out must be a folder")
    head = next(iter(work.heads.values()))
    make_folder(args.out.absolute().parent)
    hidden = args.out.with_name(f".{args.out.name}.lock")
    try:
        with lock(hidden, args.out), whole(args.out) as draft, _bar(args, path) as bar:
            with contextlib.ExitStack() as stack:
                write = None
                for number, pixels in enumerate(frames(path)):
                    found = []
                    results = work.predicted(pixels, f"{path}, frame {number}")
                    work.heads.map(lambda _, head, x, to=found: to.append(x), results)
                    drawn = head.overlay(found[0], pixels) if args.overlay else head.draw(found[0])
                    if write is None:
                        writing = writer(draft, drawn.shape[:2], facts_of(path)[0])
                        write = stack.enter_context(writing)
                    write(drawn)
                    bar.update(number + 1)
                    args.document["frames"][str(path)] = number + 1
    except BlockingIOError as error:
        raise Unusable(str(error)) from error
    except OSError as error:
        if disk_error(error) is None:
            raise
        raise Unusable(f"cannot write {str(args.out)!r} ({error.strerror}); stopped") from error
    return 0


def _bar(args, path):
    rate, seconds = facts_of(path)
    total = math.floor(rate * seconds + 0.5) if seconds else None
    return Progress(total, "frame", quiet=args.quiet)


def facts_of(path: pathlib.Path) -> tuple[float, float]:
    """Frames a second (25 if it is not said) and seconds (0 if they are not) of a video."""
    said = subprocess.run(
        [executable(), "-hide_banner", "-nostdin", "-i", str(path)],
        capture_output=True,
        text=True,
        errors="replace",
    ).stderr
    rate = re.search(r"(\d+(?:\.\d+)?) fps", said)
    clock = re.search(r"Duration: (\d+):(\d+):(\d+(?:\.\d+)?)", said)
    seconds = (
        sum(float(n) * f for n, f in zip(clock.groups(), (3600, 60, 1), strict=True))
        if clock
        else 0
    )
    return (float(rate[1]) if rate else 25.0), seconds


def frames(path: pathlib.Path) -> Iterator[np.ndarray]:
    """The frames of a video, uint8 `(H, W, 3)`, upright, at a constant rate.

    Raises:
        Unusable: if ffmpeg cannot read it.
    """
    command = [executable(), "-v", "error", "-nostdin", "-i", str(path)]
    command += ["-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "-"]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said)
        stream: Any = process.stdout
        count = 0
        try:
            while True:
                pixels = _read_ppm(stream)
                if pixels is None:
                    break
                count += 1
                yield pixels
            code = process.wait()
        finally:
            stream.close()
            process.kill()
            process.wait()
        said.seek(0)
        lines = said.read().decode(errors="replace").strip().splitlines()
        if code or not count:
            reason = lines[-1] if lines else "it has no frames"
            after = f" after {count} frames" if count else ""
            raise Unusable(f"{str(path)!r} cannot be read as a video{after} ({reason})")


def _read_ppm(stream) -> np.ndarray | None:
    """The next image of a stream of PPM files; `None` at its end."""
    head = stream.readline(), stream.readline(), stream.readline()
    if head[0] != b"P6\n":
        return None
    width, height = map(int, head[1].split())
    content = stream.read(3 * width * height)
    if len(content) < 3 * width * height:
        return None
    return np.frombuffer(content, np.uint8).reshape(height, width, 3)


@contextlib.contextmanager
def writer(path: pathlib.Path, size: tuple[int, int], rate: float) -> Iterator:
    """A function that adds an image, uint8 `(H, W, 3)`, to a video.

    Raises:
        OSError: if ffmpeg cannot write it.
    """
    height, width = size
    command = [executable(), "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += ["-s", f"{width}x{height}", "-r", f"{rate:g}", "-i", "-", "-an"]
    # Most encoders take even sizes only.
    command += ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p", str(path)]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=said)
        stream: Any = process.stdin
        broken = False
        try:
            try:
                yield lambda image: stream.write(np.ascontiguousarray(image).tobytes())
                stream.close()
            except BrokenPipeError:
                broken = True
            code = process.wait()
        finally:
            process.kill()
            process.wait()
        said.seek(0)
        if code or broken:
            text = said.read().decode(errors="replace").strip() or f"ffmpeg ended with {code}"
            raise OSError(f"{path.name}: {text.splitlines()[-1]}")

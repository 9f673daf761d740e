"""Kills commands that write at random moments, and looks at what is there.

    KERAS_BACKEND=torch python tests/kill_commands.py FOLDER predict evaluate compare train
    KERAS_BACKEND=tensorflow python tests/kill_commands.py FOLDER export

After each kill, every file under its final name must be whole. A run that is not killed must then
finish, with the files of a run that never was, and nothing else. FOLDER is made, and removed.

Each run is a fork of a process that has imported everything and computed nothing: backends cannot
be forked later.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import sys
import time
import zipfile

import keras
import numpy as np
from PIL import Image

import keras_dense as kd
from keras_dense._command import main

# Files that are the same in every run, byte by byte.
EXACT = (".png", ".npy")


def forked(work, seconds=None):
    """Run a function in a process of its own, and kill it after some seconds; its exit code."""
    process = os.fork()
    if not process:
        code = 1
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            code = work() or 0
        except BaseException as error:
            print(repr(error), file=sys.stderr)
        finally:
            os._exit(code)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(process, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def prepare(place):
    """Two networks, photographs and masks."""
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (place / name).mkdir(parents=True)
    for n in range(8):
        image = rng.integers(0, 256, (96, 128, 3), dtype="uint8")
        Image.fromarray(image).save(place / "images" / f"{n}.png")
        Image.fromarray((image[..., 0] > 100).astype("uint8")).save(place / "masks" / f"{n}.png")
    for name in ("a", "b"):
        backbone = kd.backbone("mobilenet", weights=None, alpha=0.25)
        kd.fcn32s(backbone, 2).save(place / f"{name}.keras")


def commands(place, out):
    """Arguments of each command, for results in a folder."""
    a, b, images, masks = (str(place / x) for x in ("a.keras", "b.keras", "images", "masks"))
    out.mkdir(exist_ok=True)
    training = "rounds=2 steps=4 batch_size=2 crop=64,64"
    return {
        "predict": ["predict", a, images, "--out", str(out), "--overlay"],
        "evaluate": ["evaluate", a, images, masks, "--out", str(out / "scores.json")],
        "compare": ["compare", a, b, masks, "--images", images, "--out", str(out)],
        "train": [
            *("train", images, masks, "--out", str(out / "run"), "--weights", "none"),
            *("--backbone", "mobilenet", "alpha=0.25", "--network", "fcn32s", "--minutes", "1"),
            *("--exports", "--workers", "1", "--set", *training.split()),
        ],
        "onnx": ["export", a, "onnx", str(out / "m.onnx"), "--overwrite"],
        "savedmodel": ["export", a, "savedmodel", str(out / "m"), "--overwrite"],
        "litert": ["export", a, "litert", str(out / "m.tflite"), "--overwrite"],
    }


def names(folder):
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def check(out, once):
    """Make sure that what has its final name is whole."""
    for name in names(out):
        path = out / name
        if any(part.startswith(".") for part in path.relative_to(out).parts):
            continue
        if path.suffix in EXACT and (once / name).exists() and not name.startswith("run/"):
            assert path.read_bytes() == (once / name).read_bytes(), name
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix in (".keras", ".npz"):
            assert zipfile.ZipFile(path).testzip() is None, name
        elif path.suffix == ".png":
            Image.open(path).load()
    if (out / "m").exists():
        assert names(out / "m") == names(once / "m")
    if (out / "m.onnx").exists():
        assert weights_of(out / "m.onnx") == weights_of(once / "m.onnx")
    if (out / "m.tflite").exists():
        assert (out / "m.tflite").stat().st_size == (once / "m.tflite").stat().st_size


def weights_of(file):
    """Bytes of the weights of a checked ONNX file; the names of its nodes differ between runs."""
    import onnx

    model = onnx.load(file)
    onnx.checker.check_model(model)
    return sorted(len(onnx.numpy_helper.to_array(x).tobytes()) for x in model.graph.initializer)


def killed(place, name, rounds, rng):
    once, out = place / f"{name}_once", place / f"{name}_out"
    began = time.monotonic()
    code = forked(lambda: main([*commands(place, once)[name], "--quiet"]))
    assert code == 0, f"{name} ended with {code}"
    seconds = time.monotonic() - began
    ended, done = 0, False
    for _ in range(rounds):
        # Finished results are done anew, others are continued most of the time.
        again = done or rng.random() < 0.3
        more = ["--overwrite"] if name in ("predict", "train") and again else []
        work = [*commands(place, out)[name], "--quiet", *more]
        done = forked(lambda w=work: main(w), float(rng.uniform(0, 1.1 * seconds))) == 0
        ended += done
        check(out, once)
    code = forked(lambda: main([*commands(place, out)[name], "--quiet"]))
    assert code == 0, f"{name} after kills ended with {code}"
    check(out, once)
    assert names(out) == names(once), names(out) ^ names(once)
    print(f"{name}: {rounds} kills of runs of {seconds:.1f} s, {ended} came too late", flush=True)


def run():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("commands", nargs="+")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    chosen = []
    for name in args.commands:
        chosen += ["onnx", "savedmodel", "litert"] if name == "export" else [name]
    args.folder.mkdir()
    try:
        code = forked(lambda: keras.utils.set_random_seed(0) or prepare(args.folder))
        assert code == 0
        rng = np.random.default_rng(args.seed)
        for name in chosen:
            killed(args.folder, name, args.rounds, rng)
    finally:
        shutil.rmtree(args.folder, ignore_errors=True)


if __name__ == "__main__":
    run()

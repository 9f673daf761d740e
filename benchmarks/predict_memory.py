"""Peak memory of `python -m keras_dense predict` over the size of the image (Linux).

    python benchmarks/predict_memory.py                       # FCN-8s on MobileNetV2; minutes
    python benchmarks/predict_memory.py --sizes 1 4 12 24 81 --settings tile=0 "" flip,overlay
    python benchmarks/predict_memory.py --draw before.json after.json --out memory.png

Each point is a process of its own. Random weights; the image is a drawn scene, repeated. Settings
are arguments of the command, joined by commas: "tile=0" predicts the image undivided, "" lets the
command choose. Prints a Markdown table; `--json` keeps the figures, `--draw` draws those of files.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
SMALLEST = 0.01  # megapixels: what the libraries and the network take


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--model", default="fcn8s")
    add("--backbone", default="mobilenet_v2")
    add("--alpha", type=float, default=1.0, help="width of the backbone")
    add("--classes", type=int, default=21)
    add("--sizes", type=float, nargs="+", default=[1, 4, 12, 24], help="megapixels, 4:3")
    add("--settings", nargs="+", default=["tile=0", "", "overlay,flip"])
    add("--limit", type=float, metavar="GB", help="of the data of a process, as `ulimit -d`")
    add("--json", type=pathlib.Path, metavar="FILE", help="keep the figures")
    add("--draw", nargs="+", type=pathlib.Path, metavar="FILE", help="draw figures, measure none")
    add("--out", type=pathlib.Path, default=pathlib.Path("predict_memory.png"))
    return parser.parse_args()


def write_network(args, path):
    code = (
        "import keras, keras_dense as kd; keras.utils.set_random_seed(0); "
        f"b = kd.backbone({args.backbone!r}, weights=None, alpha={args.alpha}); "
        f"m = kd.{args.model}(b, {args.classes}); "
        f"m.save({str(path)!r})"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def write_image(megapixels, path):
    import numpy as np
    from PIL import Image

    import keras_dense as kd

    cell = kd.datasets.scenes(1, (512, 512), objects=(6, 8))[0]["image"]
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    width = round(height * 4 / 3)
    repeats = (height // 512 + 1, width // 512 + 1, 1)
    Image.fromarray(np.tile(cell, repeats)[:height, :width]).save(path)


def measured(command, limit):
    """Peak of the resident memory of a command in bytes, seconds, and what it says of tiles."""

    def limited():
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (int(limit * 1e9),) * 2)

    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            command, stdout=said, stderr=subprocess.STDOUT, preexec_fn=limited
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        lines = said.read().strip().splitlines()
    if process.returncode:
        return {"failed": f"exit code {process.returncode}", "said": lines[-3:]}
    seconds = time.perf_counter() - began
    return {
        "bytes": 1024 * usage.ru_maxrss,
        "seconds": seconds,
        "said": [x for x in lines if "tiles" in x],
    }


def told(found):
    if "failed" in found:
        return found["failed"]
    return f"{found['bytes'] / 1e9:.2f} GB, {found['seconds']:.0f} s"


def words(setting):
    for part in filter(None, setting.split(",")):
        name, _, value = part.partition("=")
        yield from [f"--{name}", *([value] if value else [])]


def draw(files, out):
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(6, 3.6), constrained_layout=True)
    for file in files:
        for setting, points in json.loads(file.read_text()).items():
            found = [(float(x), y["bytes"] / 1e9) for x, y in points.items() if "bytes" in y]
            name = setting or "default"
            axis.plot(*zip(*found, strict=True), "o-", label=f"{file.stem}: {name}")
    axis.set(xlabel="megapixels", ylabel="peak memory, GB", ylim=(0, None), xlim=(0, None))
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    figure.savefig(out, dpi=110)


def main():
    args = arguments()
    if args.draw:
        return draw(args.draw, args.out)
    sizes = [SMALLEST, *args.sizes]
    table = {setting: {} for setting in args.settings}
    print("| megapixels |", " | ".join(setting or "default" for setting in table), "|")
    print("|---" * (len(table) + 1) + "|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        write_network(args, place / "m.keras")
        for size in sizes:
            write_image(size, place / "image.png")
            cells = []
            for setting in table:
                files = [str(place / "m.keras"), str(place / "image.png")]
                command = [sys.executable, "-m", "keras_dense", "predict", *files, "--overwrite"]
                command += ["--out", str(place / "out"), *words(setting), "--quiet"]
                found = table[setting][size] = measured(command, args.limit)
                cells.append(told(found))
            print(f"| {size:g} |", " | ".join(cells), "|", flush=True)
            if args.json:
                args.json.write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()

"""The first hour of a newcomer, by the clock: from an empty environment to a served model.

    python benchmarks/first_hour.py --backends torch --minutes 5
    python benchmarks/first_hour.py --root ../shared/data --constraint versions.txt

For each backend, an environment is made and the built package installed in it, as users do, with
that backend alone. Then come the commands of the documentation: a photograph labeled by a published
network, forty photographs with masks trained from ImageNet weights, the model used, exported and
served. Prints a Markdown table of minutes; a step that fails is printed, and ends its column.

The published network and the weights are files of `--root`, so downloads are not measured. Exports
need TensorFlow, so its installation on another backend is a step of its own.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

from _process import BACKENDS, heading, row

ROOT = pathlib.Path(__file__).resolve().parents[1]
PUBLISHED = "weights/deeplabv3_mnv2_pascal_quant.tflite"
WEIGHTS = "weights/mobilenet_v2_1.0_224.weights.h5"
IMAGES = 40
SERVER = ("onnxruntime", "pillow", "python-multipart", "starlette", "uvicorn")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--backends", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    add("--root", type=pathlib.Path, default=ROOT.parent / "shared" / "data")
    add("--minutes", type=float, default=5.0, help="of the training")
    add("--constraint", help="file of versions, for pip")
    add("--out", type=pathlib.Path, help="keep the folders of the journeys here")
    return parser.parse_args()


class Journey:
    """One newcomer: a folder, an environment in it, and minutes for each step."""

    def __init__(self, backend, folder, wheel, args):
        self.backend, self.folder, self.wheel, self.args = backend, folder, wheel, args
        self.root = args.root.resolve()
        self.minutes = {}
        hidden = ("PYTHONPATH", "VIRTUAL_ENV")
        self.environment = {k: v for k, v in os.environ.items() if k not in hidden}
        self.environment |= {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
        self.environment["KERAS_HOME"] = str(folder / "keras")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    def run(self, *command):
        """A command in the environment; what it prints is kept in `log.txt`."""
        program = self.folder / "env" / "bin" / command[0]
        with (self.folder / "log.txt").open("a") as log:
            print("$", *command, file=log, flush=True)
            done = subprocess.run(
                [program, *map(str, command[1:])],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        if done.returncode:
            last = (self.folder / "log.txt").read_text(errors="replace").splitlines()[-15:]
            raise SystemExit("\n".join([f"{self.backend}: {' '.join(map(str, command))}", *last]))

    def pip(self, *packages):
        constraint = ["--constraint", self.args.constraint] if self.args.constraint else []
        self.run("python", "-m", "pip", "install", "--quiet", *constraint, *packages)

    def install(self):
        subprocess.run([sys.executable, "-m", "venv", self.folder / "env"], check=True)
        self.pip(f"{self.wheel}[{self.backend},examples,objects]")

    def photograph(self):
        photos = sorted((self.root / "voc_mini" / "images").iterdir())[:1]
        self.command(
            *("predict", "deeplab/mobilenetv2_voc_8bit", *photos, "--out", "published"),
            *("--weights", self.root / PUBLISHED, "--overlay"),
        )

    def training(self):
        for kind in ("images", "masks"):
            (self.folder / kind).mkdir()
            files = sorted((self.root / "camvid" / "train" / kind).iterdir())
            for file in files[:: len(files) // IMAGES][:IMAGES]:
                shutil.copy(file, self.folder / kind)
        self.command(
            *("train", "images", "masks", "--out", "run", "--void", 11, "--exports"),
            *("--weights", self.root / WEIGHTS, "--minutes", self.args.minutes),
        )

    def command(self, *words):
        self.run("python", "-m", "keras_dense", *words)

    def use(self):
        photos = self.folder / "photos"
        photos.mkdir()
        for file in sorted((self.root / "camvid" / "val" / "images").iterdir())[::20]:
            shutil.copy(file, photos)
        self.command("predict", "run/model.keras", "photos", "--out", "labels", "--overlay")
        self.command(
            *("evaluate", "run/model.keras", self.root / "camvid" / "val" / "images"),
            *(self.root / "camvid" / "val" / "masks", "--void", 11, "--out", "scores.json"),
        )

    def exporters(self):
        self.pip(f"{self.wheel}[export]")

    def export(self):
        self.environment["KERAS_BACKEND"] = "tensorflow"
        self.command("export", "run/model.keras", "onnx", "model.onnx")

    def serve(self):
        self.pip(*SERVER)
        program = [self.folder / "env" / "bin" / "python", ROOT / "examples/serving/server.py"]
        (photograph, *_) = sorted((self.folder / "photos").iterdir())
        with (self.folder / "server.txt").open("w+") as log:
            server = subprocess.Popen(
                [*program, "model.onnx", "--port", "8765"],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            try:
                answer = self.ask(photograph.read_bytes(), server)
            finally:
                server.terminate()
                server.wait()
        (self.folder / "served.png").write_bytes(answer)

    def ask(self, body, server, patience=60):
        headers = {"Content-Type": "image/png", "Accept": "image/png"}
        url = "http://127.0.0.1:8765/predict"
        until = time.monotonic() + patience
        while True:
            try:
                request = urllib.request.Request(url, body, headers)
                return urllib.request.urlopen(request, timeout=patience).read()
            except OSError:
                if server.poll() is not None or time.monotonic() > until:
                    raise
                time.sleep(0.2)

    def steps(self):
        yield "install", self.install
        yield "a photograph, labeled", self.photograph
        yield f"{IMAGES} photographs, trained", self.training
        yield "used and evaluated", self.use
        yield "exporters installed", self.exporters
        yield "exported", self.export
        yield "served", self.serve

    def go(self):
        """Minutes of each step, and the mean IoU on photographs that were not trained on."""
        for name, step in self.steps():
            began = time.monotonic()
            step()
            self.minutes[name] = round((time.monotonic() - began) / 60, 2)
            print(f"{self.backend}: {name}: {self.minutes[name]} min", file=sys.stderr, flush=True)
        return json.loads((self.folder / "scores.json").read_text())


def main():
    args = arguments()
    with tempfile.TemporaryDirectory() as temporary:
        out = (args.out or pathlib.Path(temporary)).resolve()
        out.mkdir(parents=True, exist_ok=True)
        build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(out)]
        subprocess.run([*build, str(ROOT)], check=True)
        (wheel,) = out.glob("*.whl")
        columns, scores = {}, {}
        for backend in args.backends:
            journey = Journey(backend, out / backend, wheel, args)
            try:
                scores[backend] = journey.go()
            except SystemExit as failure:
                print(failure, file=sys.stderr, flush=True)
            columns[backend] = journey.minutes
    heading("minutes for", *columns)
    for name, _ in journey.steps():
        row(name, *(str(minutes.get(name, "failed")) for minutes in columns.values()))
    row("together", *(f"{sum(minutes.values()):.1f}" for minutes in columns.values()))
    found = (scores.get(backend, {}).get("mean_iou") for backend in columns)
    row("mean IoU, validation", *(f"{value:.3f}" if value else "" for value in found))


if __name__ == "__main__":
    main()

"""Costs of tiles: pixels per second compared with plain predict, memory, and seams.

    python benchmarks/tiled.py         # fcn8s on mobilenet_v2, 10,000×10,000; long without a GPU
    python benchmarks/tiled.py --size 3000 --seams 1024 --model deeplabv3plus --backbone resnet50

KERAS_BACKEND chooses the backend (default: tensorflow). Weights are random unless --weights is a
`.keras` file. Prints a Markdown table; README.md explains what each line compares.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--size", type=int, default=10_000, help="side of the large image")
    add("--seams", type=int, default=2048, help="side of the image that is predicted undivided")
    add("--model", default="fcn8s")
    add("--backbone", default="mobilenet_v2")
    add("--weights", help="a .keras file instead of --model, such as a trained one")
    add("--tile", type=int, help="default: that of predict_tiled")
    add("--overlap", type=int)
    add("--batch-size", type=int, default=1)
    add("--rounds", type=int, default=5, help="of plain predict, before and after")
    add("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    add("--part", choices=PARTS, help=argparse.SUPPRESS)
    return parser.parse_args()


def network(args):
    import keras

    import keras_dense as kd

    keras.utils.set_random_seed(0)
    if args.weights:
        return keras.saving.load_model(args.weights, compile=False)
    model = getattr(kd, args.model)(args.backbone, weights=None)
    for weight in model.trainable_weights:
        # Scores that start at zero have no seams.
        if len(weight.shape) == 4 and not keras.ops.any(weight != 0):
            weight.assign(keras.random.normal(weight.shape, stddev=0.05))
    return model


class Scene:
    """An image of any size that takes no memory: one drawn scene, repeated."""

    def __init__(self, size, cell=512):
        import numpy as np

        import keras_dense as kd

        scenes = kd.datasets.scenes(1, (cell, cell), objects=(6, 8))
        self.cell, self.shape, self.dtype = scenes[0]["image"], (size, size, 3), np.dtype("uint8")

    def __getitem__(self, key):
        import numpy as np

        rows, columns = (np.arange(*s.indices(self.shape[0])) % len(self.cell) for s in key)
        return self.cell[rows[:, None], columns]


class Peak:
    """Peak of the resident memory during a block, in bytes (Linux)."""

    def __enter__(self):
        self.most, self._stop = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self):
        while not self._stop.wait(0.02):
            self.most = max(self.most, self._now())

    @staticmethod
    def _now():
        # Without the pages of the result's file, which belong to the system.
        for line in pathlib.Path("/proc/self/status").read_text().splitlines():
            if line.startswith("RssAnon"):
                return 1024 * int(line.split()[1])
        return 0

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


def large(args):
    """Pixels per second and memory for a large image, compared with predict of one tile."""
    import keras_dense as kd

    model = network(args)
    scene = Scene(args.size)
    predictor = kd.inference.TiledPredictor(model)
    rows, columns, _ = predictor.plan(scene.shape[:2], tile=args.tile, overlap=args.overlap)
    image = scene[0 : rows.tile, 0 : columns.tile][None].repeat(args.batch_size, 0)
    pixels = image[..., 0].size

    def plain():
        start = time.perf_counter()
        model.predict(image, batch_size=args.batch_size, verbose=0)
        return time.perf_counter() - start

    plain()
    with Peak() as before:
        seconds = [plain() for _ in range(args.rounds)]
    settings = {"tile": args.tile, "overlap": args.overlap, "batch_size": args.batch_size}
    # Compile on an image of four tiles.
    warm = Scene(min(args.size, 2 * rows.tile - rows.width))
    tile = (rows.tile, columns.tile)
    kd.inference.predict_tiled(model, warm, **{**settings, "tile": tile}, progress=False)
    with tempfile.TemporaryDirectory() as folder, Peak() as during:
        start = time.perf_counter()
        out = pathlib.Path(folder) / "labels.npy"
        kd.inference.predict_tiled(model, scene, **settings, out=out)
        took = time.perf_counter() - start
    seconds += [plain() for _ in range(args.rounds)]
    seconds.sort()
    usual = seconds[len(seconds) // 2]
    speed, alone = args.size**2 / took / 1e6, pixels / usual / 1e6
    count = len(rows.places) * len(columns.places)
    computed = count * rows.tile * columns.tile / args.size**2
    yield "tiles", "", f"{count} of {rows.tile}×{columns.tile}, sharing {rows.width}"
    yield "pixels computed over pixels of the image", "", f"{computed:.3f}"
    yield "10⁶ pixels/s, tiled", "", f"{speed:.3f} ({took:.0f} s)"
    yield "10⁶ pixels/s, predict of one tile (median)", "", f"{alone:.3f} ({usual:.2f} s)"
    yield "ratio", "≥ 0.85", f"{speed / alone:.3f}"
    # The cost of the loop without that of overlaps.
    yield "ratio of computed pixels", "", f"{speed * computed / alone:.3f}"
    yield "peak beyond predict's, GB", "≤ 1.5", f"{(during.most - before.most) / 1e9:.2f}"


def seams(args):
    """Differences from a prediction of the undivided image, by overlap."""
    import numpy as np

    import keras_dense as kd

    model = network(args)
    image = Scene(args.seams)[0 : args.seams, 0 : args.seams]
    whole = model.predict_on_batch(image[None])[0]
    scale = whole.std()
    for overlap in (0, 16, 32, 48, 64, 128):
        tile = args.tile or args.seams // 4
        if overlap > tile // 4:
            continue
        settings = {"tile": tile, "overlap": overlap, "progress": False, "raw": True}
        tiled = kd.inference.predict_tiled(model, image, **settings)
        gap = np.abs(tiled - whole)
        labels = (tiled.argmax(-1) != whole.argmax(-1)).mean()
        yield (
            f"seams of {tile}², overlap {overlap}",
            "",
            f"largest {gap.max() / scale:.3f}, mean {gap.mean() / scale:.5f} standard deviations; "
            f"{100 * labels:.3f} % other labels",
        )


PARTS = {"large": large, "seams": seams}


def main():
    args = arguments()
    if args.part:
        for row in PARTS[args.part](args):
            print("|", " | ".join(row), "|", flush=True)
        return
    print(f"{args.weights or f'{args.model} on {args.backbone}'}, {os.environ['KERAS_BACKEND']}\n")
    print("| what | bar | measured |\n|---|---|---|", flush=True)
    for part in args.parts:
        # A process of its own, to measure its memory.
        subprocess.run([sys.executable, *sys.argv, "--part", part], check=True)


if __name__ == "__main__":
    main()

"""Dense CRF compared with pydensecrf: in turns, in one run, on a photograph.

    python benchmarks/crf.py [--rounds 5] [--image photograph.jpg]
    python benchmarks/crf.py --growth --out docs            # growth of time and memory: table, plot
    python benchmarks/crf.py --exact                        # both compared with exact mean field

`kd.inference.dense_crf`, from NumPy to NumPy with the construction of the lattice, and
pydensecrf (`pip install pydensecrf2`): 21 classes, 10 iterations, a spatial kernel of 3 pixels and
a bilateral one. KERAS_BACKEND chooses the backend. Prints Markdown tables.
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time

import numpy as np
from _turns import in_turns

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
SIZES = ((320, 240), (500, 375))
BILATERAL = ((80.0, 13.0), (160.0, 3.0))
CLASSES, ITERATIONS = 21, 10


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--image", type=pathlib.Path, help="default: the first of voc_mini in KERAS_DENSE_DATA")
    add("--rounds", type=int, default=5)
    add("--growth", action="store_true", help="over pixels, classes, iterations and batch")
    add("--exact", action="store_true", help="distances from exact mean field, on small images")
    add("--out", type=pathlib.Path, help="folder for the plot of --growth")
    add("--one", help=argparse.SUPPRESS)
    return parser.parse_args()


def photograph(file):
    if file is None:
        data = pathlib.Path(os.environ.get("KERAS_DENSE_DATA", REPOSITORY.parent / "shared/data"))
        file = min((data / "voc_mini/images").glob("*.jpg"), default=None)
        if file is None:
            raise SystemExit(f"No photograph in {data}/voc_mini/images: give one with --image.")
    from PIL import Image

    return Image.open(file).convert("RGB")


def problem(photo, size, classes=CLASSES, seed=0):
    """Probabilities of a network that sees no edges, and the image.

    Their scores are smooth noise, and a class for each region of similar brightness, blurred.
    """
    from scipy import ndimage

    image = np.asarray(photo.resize(size))
    rng = np.random.default_rng(seed)
    brightness = ndimage.gaussian_filter(image.mean(-1), 6)
    labels = np.digitize(brightness, np.quantile(brightness, np.linspace(0, 1, classes + 1)[1:-1]))
    noise = ndimage.gaussian_filter(rng.normal(size=(*image.shape[:2], classes)), (4, 4, 0))
    scores = noise / noise.std() + 2 * np.eye(classes)[labels]
    scores = np.exp(scores)
    return (scores / scores.sum(-1, keepdims=True)).astype("float32"), image


def theirs(probabilities, image, sxy, srgb, iterations):
    from pydensecrf.densecrf import DenseCRF2D

    height, width, classes = probabilities.shape
    crf = DenseCRF2D(width, height, classes)
    energy = -np.log(np.maximum(probabilities, 1e-5)).transpose(2, 0, 1).reshape(classes, -1)
    crf.setUnaryEnergy(np.ascontiguousarray(energy))
    crf.addPairwiseGaussian(sxy=3, compat=3)
    crf.addPairwiseBilateral(sxy=sxy, srgb=srgb, rgbim=image.copy(), compat=10)
    q = np.array(crf.inference(iterations))
    return q.reshape(classes, height, width).transpose(1, 2, 0)


def ours(probabilities, image, sxy, srgb, iterations):
    import keras_dense as kd

    return kd.inference.dense_crf(
        probabilities, image, iterations, bilateral_sxy=sxy, bilateral_srgb=srgb
    )


def compare(photo, rounds):
    import keras

    print(f"On {keras.backend.backend()}, {CLASSES} classes, {ITERATIONS} iterations:\n")
    print(
        "| image | bilateral (pixels, color) | labels equal | mean total variation | "
        "ours / pydensecrf | pydensecrf | first call |"
    )
    print("|---|---|---:|---:|---:|---:|---:|")
    for size in SIZES:
        probabilities, image = problem(photo, size)
        for sxy, srgb in BILATERAL:
            given = (probabilities, image, sxy, srgb, ITERATIONS)
            began = time.perf_counter()
            mine = ours(*given)
            first = time.perf_counter() - began
            other = theirs(*given)
            equal = (mine.argmax(-1) == other.argmax(-1)).mean()
            variation = np.abs(mine - other).sum(-1).mean() / 2
            seconds = in_turns(
                rounds,
                ours=lambda given=given: ours(*given),
                theirs=lambda given=given: theirs(*given),
            )
            best = {name: min(times) for name, times in seconds.items()}
            pairs = [a / b for a, b in zip(seconds["ours"], seconds["theirs"], strict=True)]
            print(
                f"| {size[0]}×{size[1]} | {sxy:g}, {srgb:g} | {100 * equal:.2f} % | "
                f"{variation:.5f} | {best['ours'] / best['theirs']:.2f}× (median of pairs "
                f"{statistics.median(pairs):.2f}×) | {best['theirs']:.2f} s | {first:.1f} s |",
                flush=True,
            )


def all_pairs(probabilities, image, sxy, srgb, iterations):
    """Mean field in NumPy, float64, over all pairs of pixels."""
    height, width, classes = probabilities.shape
    places = np.stack(np.mgrid[:height, :width], -1).reshape(-1, 2)
    colors = image.reshape(-1, 3) / srgb
    messages = []
    for features, weight in ((places / 3.0, 3), (np.hstack([places / sxy, colors]), 10)):
        norms = np.square(features).sum(-1)
        kernel = np.exp(features @ features.T - (norms[:, None] + norms) / 2)
        root = np.sqrt(kernel.sum(-1))
        messages.append(weight * kernel / (root[:, None] * root))
    scores = np.log(np.maximum(probabilities.astype("float64"), 1e-5)).reshape(-1, classes)
    now, kernel = scores, sum(messages)
    for _ in range(iterations):
        q = np.exp(now - now.max(-1, keepdims=True))
        now = scores + kernel @ (q / q.sum(-1, keepdims=True))
    q = np.exp(now - now.max(-1, keepdims=True))
    return (q / q.sum(-1, keepdims=True)).reshape(probabilities.shape)


def distances(photo):
    """Distances from exact mean field: labels that agree, and differences of probabilities."""
    import keras_dense as kd

    print("| image | bilateral | iterations | whose | labels equal | largest |ΔQ| | mean |ΔQ| |")
    print("|---|---|---:|---|---:|---:|---:|")
    for size in ((40, 48), (60, 80), (80, 60)):
        probabilities, image = problem(photo, size)
        for sxy, srgb in ((20.0, 13.0), *BILATERAL):
            for iterations in (1, 5, 10):
                given = (probabilities, image, sxy, srgb, iterations)
                wanted = all_pairs(*given)
                exact = kd.inference.dense_crf(
                    *given[:2], iterations, bilateral_sxy=sxy, bilateral_srgb=srgb, exact=True
                )
                each = {"pairs": exact, "lattice": ours(*given), "pydensecrf": theirs(*given)}
                for name, found in each.items():
                    equal = (found.argmax(-1) == wanted.argmax(-1)).mean()
                    off = np.abs(found - wanted)
                    print(
                        f"| {size[0]}×{size[1]} | {sxy:g}, {srgb:g} | {iterations} | {name} | "
                        f"{100 * equal:.2f} % | {off.max():.2g} | {off.mean():.2g} |",
                        flush=True,
                    )


# One quantity grows, the others are as here.
MIDDLE = {"width": 320, "classes": 21, "iterations": 10, "batch": 1}
GROWTH = {
    "width": (160, 240, 320, 480, 640),
    "classes": (2, 5, 11, 21, 42),
    "iterations": (1, 5, 10, 20),
    "batch": (1, 2, 4, 8),
}


def one(file, width, classes, iterations, batch):
    """Seconds, and the peak memory of this process without the libraries."""
    import keras_dense as kd

    probabilities, image = problem(photograph(file), (width, width * 3 // 4), classes)
    probabilities, image = (np.repeat(x[None], batch, 0) for x in (probabilities, image))
    kd.inference.dense_crf(probabilities[:1, :32, :32], image[:1, :32, :32], 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def run():
        return kd.inference.dense_crf(probabilities, image, iterations, bilateral_srgb=13)

    seconds = in_turns(5, limit=10, run=run)["run"]
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": min(seconds), "megabytes": (after - before) / 1024}))


def growth(file, out):
    import keras

    table = {}
    print("| what grows | " + "time, peak memory |\n|---|---|")
    for name, values in GROWTH.items():
        for value in values:
            settings = {**MIDDLE, name: value, "file": None if file is None else str(file)}
            done = subprocess.run(
                [sys.executable, __file__, "--one", json.dumps(settings)],
                capture_output=True,
                text=True,
                check=True,
            )
            table.setdefault(name, []).append(json.loads(done.stdout.splitlines()[-1]))
        cells = [
            f"{value}: {1000 * r['seconds']:.0f} ms, {r['megabytes']:.0f} MB"
            for value, r in zip(values, table[name], strict=True)
        ]
        print(f"| {name} | {'; '.join(cells)} |", flush=True)
    if out is None:
        return
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(GROWTH), figsize=(14, 3.2), constrained_layout=True)
    for axis, (name, values) in zip(axes, GROWTH.items(), strict=True):
        x = [v * v * 3 // 4 for v in values] if name == "width" else values
        axis.plot(x, [r["seconds"] for r in table[name]], "o-", color="#c8322b")
        axis.set(xlabel="pixels" if name == "width" else name, ylim=(0, None), xlim=(0, None))
        twin = axis.twinx()
        twin.plot(x, [r["megabytes"] for r in table[name]], "s--", color="#8a8f98")
        twin.set(ylim=(0, None))
        if name == "width":
            axis.set_ylabel("seconds", color="#c8322b")
        if name == "batch":
            twin.set_ylabel("peak memory, MB", color="#8a8f98")
    figure.savefig(out / f"crf_growth_{keras.backend.backend()}.png", dpi=80)


def main():
    args = arguments()
    if args.one:
        return one(**json.loads(args.one))
    if args.growth:
        return growth(args.image, args.out)
    try:
        import pydensecrf.densecrf  # noqa: F401
    except ImportError:
        raise SystemExit("Compares with pydensecrf: pip install pydensecrf2") from None
    if args.exact:
        return distances(photograph(args.image))
    return compare(photograph(args.image), args.rounds)


if __name__ == "__main__":
    main()

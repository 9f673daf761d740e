"""Find the parameters of a dense CRF for a trained network, on a validation set.

    python examples/search_crf.py runs/camvid/model.keras --root CamVid --out runs/camvid/crf

Every combination is tried on some pictures of the training part (`--count`, spread evenly), the
best by mean IoU is then scored on the whole validation part: mean IoU, and the same in a band
around the borders of objects. Writes the table (`search.md`), what was best (`crf.json`) and
pictures (`crf.jpg`: image, truth, before, after). `--joint` puts the same network beside it,
trained further with a CRF at its end (`train_segmentation.py --crf`).
"""

import argparse
import itertools
import json
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

import keras_dense as kd

BAND = 4  # pixels on either side of a border


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("model", type=pathlib.Path, help="a .keras file that gives logits")
    add("--root", type=pathlib.Path, required=True, help="CamVid's folder")
    add("--out", type=pathlib.Path, required=True)
    add("--count", type=int, default=20, help="pictures to search on")
    add("--limit", type=int, help="pictures to score the best on; default: all")
    add("--sxy", type=float, nargs="+", default=[10, 40])
    add("--srgb", type=float, nargs="+", default=[3, 8])
    add("--compat", type=float, nargs="+", default=[1, 3], help="of the bilateral kernel")
    add("--spatial", type=float, nargs="+", default=[0, 1], help="weight of the spatial kernel")
    add("--iterations", type=int, default=10)
    add("--joint", type=pathlib.Path, help="a .keras file of the network with a CRF in it")
    return parser.parse_args()


def probabilities(model, samples):
    """What the network says of each sample, computed once."""
    return [keras.ops.softmax(model.predict(s["image"][None], verbose=0))[0] for s in samples]


class Score:
    """Mean IoU over pictures, and over the band around borders."""

    def __init__(self, classes):
        self.whole, self.band = (kd.metrics.ConfusionMatrix(classes) for _ in range(2))

    def add(self, labels, scores):
        truth, scores = labels[None].astype("int32"), np.asarray(scores)[None]
        self.whole.update_state(truth, scores)
        band = kd.datasets.trimap(labels, BAND)
        self.band.update_state(truth, scores, band[None].astype("float32"))

    def results(self):
        return [100 * metric.scores()["mean_iou"] for metric in (self.whole, self.band)]


def score(data, samples, found, settings=None):
    total = Score(data.num_classes)
    for sample, p in zip(samples, found, strict=True):
        p = keras.ops.convert_to_numpy(p)
        if settings is not None:
            p = kd.inference.dense_crf(p, sample["image"], **settings)
        total.add(sample["segmentation"], p)
    return total.results()


def main():
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    model = keras.saving.load_model(args.model, compile=False)
    train, val = (kd.datasets.camvid(args.root, split) for split in ("train", "val"))
    places = np.linspace(0, len(train) - 1, min(args.count, len(train))).round().astype(int)
    samples = [train[int(i)] for i in places]
    found = probabilities(model, samples)
    lines = [
        "| sxy | srgb | compat | spatial | mean IoU | band |",
        "|---:|---:|---:|---:|---:|---:|",
    ]

    def tell(name, results):
        lines.append(f"| {name} | {results[0]:.2f} | {results[1]:.2f} |")
        print(lines[-1], flush=True)

    print("\n".join(lines))
    tell("– | – | – | –", score(train, samples, found))
    tried = []
    grid = itertools.product(args.sxy, args.srgb, args.compat, args.spatial)
    for sxy, srgb, compat, spatial in grid:
        settings = {
            "iterations": args.iterations,
            "bilateral_sxy": sxy,
            "bilateral_srgb": srgb,
            "bilateral_compat": compat,
            "gaussian_compat": spatial,
        }
        results = score(train, samples, found, settings)
        tell(f"{sxy:g} | {srgb:g} | {compat:g} | {spatial:g}", results)
        tried.append((results[0], settings))
    best = max(tried, key=lambda one: one[0])[1]
    (args.out / "crf.json").write_text(json.dumps(best, indent=1))

    samples = [val[i] for i in range(min(len(val), args.limit or len(val)))]
    found = probabilities(model, samples)
    lines += ["", f"On {len(samples)} pictures of the validation part:", ""]
    lines += ["| | mean IoU | in the band |", "|---|---:|---:|"]
    print("\n".join(lines[-5:]))
    tell("before", score(val, samples, found))
    tell("after", score(val, samples, found, best))
    jointly = None
    if args.joint is not None:
        joint = keras.saving.load_model(args.joint, compile=False)
        for n in sorted({joint.get_layer("crf").iterations, args.iterations}):
            joint.get_layer("crf").iterations = n
            joint.compile()  # or it would predict with what was compiled for another number
            jointly = probabilities(joint, samples)
            tell(f"trained jointly, {n} iterations", score(val, samples, jointly))
    (args.out / "search.md").write_text("\n".join(lines) + "\n")

    pictures, titles = [], ["image", "truth", "before", "after"]
    if jointly is not None:
        titles.append("trained jointly")
    for i in np.linspace(0, len(samples) - 1, 4).round().astype(int):
        sample, p = samples[i], keras.ops.convert_to_numpy(found[i])
        sharp = kd.inference.dense_crf(p, sample["image"], **best)
        maps = [sample["segmentation"], p.argmax(-1), sharp.argmax(-1)]
        if jointly is not None:
            maps.append(keras.ops.convert_to_numpy(jointly[i]).argmax(-1))
        painted = [kd.plot.overlay(sample["image"], m, val.palette, alpha=0.65) for m in maps]
        pictures += [sample["image"], *painted]
    kd.plot.save(args.out / "crf.jpg", kd.plot.grid(pictures, columns=len(titles), titles=titles))
    print(f"{args.out}: search.md, crf.json, crf.jpg")


if __name__ == "__main__":
    main()

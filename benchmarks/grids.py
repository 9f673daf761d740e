"""Networks trained by examples/train.py on CamVid, on the grids of `kd.assemble`.

    python benchmarks/grids.py runs/fcn8s runs/fcn8s_corners --root ../shared/data/camvid

Each folder is a run of train.py with one grid (`--model-args grid=corners`); the grids "multiple"
and "image" are one function where the crop is a multiple of the stride, so one training serves
both. The network is built on every grid, gets the weights of the run, and batch-norm statistics of
whole training images on that grid. Scores are those of the validation split, in the size of its
images (480×360: not a multiple of 32).
"""

import argparse
import ast
import json
import os
import pathlib

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

GRIDS = ("multiple", "image", "corners")


def arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("runs", nargs="+", type=pathlib.Path, help="folders of runs of examples/train.py")
    add("--root", type=pathlib.Path, default=pathlib.Path("../shared/data/camvid"))
    add("--grids", nargs="+", choices=GRIDS, default=GRIDS)
    add("--recalibrate", type=int, default=45, help="batches of 8 whole images; 0: none")
    add("--images", type=int, help="number of validation images; default: all")
    return parser.parse_args(argv)


def literal(text):
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def options_of(pairs):
    """`["alpha=0.5"]` as `{"alpha": 0.5}`."""
    return {name: literal(value) for name, value in (pair.split("=", 1) for pair in pairs)}


def network(kept, heads, grid, weights):
    """The network of a run on another grid."""
    import keras_dense as kd

    backbone = kd.backbone(kept["backbone"], weights=None, **options_of(kept["backbone_args"]))
    options = {**options_of(kept["model_args"]), "grid": grid}
    return getattr(kd, kept["model"])(backbone, heads=heads, initialize_from=weights, **options)


def main(argv=None):
    args = arguments(argv)
    import keras

    import keras_dense as kd

    train = kd.datasets.cached(kd.datasets.camvid(args.root, "train"))
    val = kd.datasets.camvid(args.root, "val")
    if args.images:
        val = kd.datasets.subset(val, args.images)
    print("| network | trained on the grid | predicts on | mean IoU | pixel accuracy |")
    print("|---|---|---|---:|---:|")
    for run in args.runs:
        kept = json.loads((run / "arguments.json").read_text())
        kept = {name: literal(value) for name, value in kept.items()}
        own = options_of(kept["model_args"]).get("grid", "multiple")
        for grid in args.grids:
            keras.utils.set_random_seed(0)
            heads = kd.heads.Segmentation(val.num_classes, class_names=val.class_names)
            model = network(kept, heads, grid, run / "model.keras")
            if args.recalibrate:
                batches = kd.datasets.Loader(train, model, batch_size=8, shuffle=True, seed=0)
                kd.training.recalibrate_batch_norm(model, batches, steps=args.recalibrate)
            scores = kd.training.evaluate(model, kd.datasets.Loader(val, model, batch_size=1))
            print(
                f"| {kept['model']} | {own} | {grid} | {float(scores['mean_iou']):.4f} "
                f"| {float(scores['pixel_accuracy']):.4f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

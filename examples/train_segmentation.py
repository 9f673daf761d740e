r"""Trains a segmentation network, to be copied and changed.

A first try, without any data:

    python examples/train_segmentation.py --data scenes --weights none --epochs 20 --out runs/scenes

CamVid, from a classifier's weights, the backbone learning at a tenth of the rate:

    python examples/train_segmentation.py --model fcn8s --backbone mobilenet_v2 \
        --weights mobilenet_v2.weights.h5 --data camvid --root data/camvid --crop 320 \
        --scale-range 0.75 1.5 --epochs 60 --out runs/camvid

Stop it whenever you like, also with `kill -9`: the same command goes on where the last finished
epoch ended, to the same numbers. In the run's folder: `preview/` (after every epoch image · truth ·
prediction · error), `history.csv`, `curves.png`, `results.md` and `results.json` (every class, over
the whole validation split at its own size), `model.keras` (which serve_savedmodel.py takes).
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

LOSSES = {
    "cross_entropy": kd.losses.CrossEntropy,
    "dice": kd.losses.Dice,
    "focal": kd.losses.Focal,
    "jaccard": kd.losses.Jaccard,
    "lovasz": kd.losses.Lovasz,
    "ohem": kd.losses.OhemCrossEntropy,
    "tversky": kd.losses.Tversky,
}


def arguments(argv=None):
    parser = argparse.ArgumentParser(
        description="Train a segmentation network with keras_dense.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--out", type=pathlib.Path, required=True, help="folder of the run; continued if it exists")

    add("--model", default="fcn8s", help="any builder of the library by its name")
    add("--model-args", nargs="*", default=[], metavar="NAME=VALUE", help="the builder's own knobs")
    add(
        "--intermediate",
        nargs="*",
        metavar="NAME",
        help="earlier predictions of the network that are trained too; not given: the paper's",
    )
    add("--intermediate-weight", type=float, default=1.0, help="of each of their losses")
    add(
        "--backbone",
        default="mobilenet_v2",
        help="any network of keras.applications; none: what the paper has, where it needs none",
    )
    add("--backbone-args", nargs="*", default=[], metavar="NAME=VALUE", help="such as alpha=0.5")
    add("--weights", default="imagenet", help="of the backbone: imagenet, none, or a file")
    add("--initialize-from", help="weights or .keras file of a trained network, such as fcn32s")
    add(
        "--crf",
        nargs="*",
        metavar="NAME=VALUE",
        help="a dense CRF at the network's end, trained with it; knobs of kd.layers.CRFasRNN",
    )
    add("--crf-lr", type=float, default=100.0, help="the CRF's multiple of the learning rate")

    add("--data", default="scenes", choices=["scenes", "camvid", "voc", "instances", "folder"])
    add(
        "--root",
        type=pathlib.Path,
        help="where the data is (folder: ROOT/{train,val}/{images,masks}; instances: ROOT/images "
        "and ROOT/instances or ROOT/masks)",
    )
    add("--classes", nargs="*", help="names of the classes (folder, instances)")
    add("--count", type=int, default=2000, help="number of scenes to train on")
    add("--size", type=int, default=128, help="side of the scenes")
    add("--limit", type=int, help="train and validate on the first so many images only")

    add("--no-cache", action="store_true", help="read images anew in every epoch")

    add("--crop", type=int, nargs="+", help="height [width] of the training crops")
    add("--scale-range", type=float, nargs=2, default=[1.0, 1.0], metavar=("LOW", "HIGH"))
    add("--rotate", type=float, default=0.0, help="up to so many degrees")
    add("--no-flip", action="store_true")
    add("--flip-vertical", action="store_true", help="too, where there is no up and down")
    add("--no-color-jitter", action="store_true")

    add("--epochs", type=int, default=30)
    add("--batch-size", type=int, default=8)
    add("--optimizer", default="sgd", choices=["sgd", "adam", "adamw"])
    add("--learning-rate", type=float, default=0.01)
    add("--power", type=float, default=0.9, help="of the polynomial decay; 0 keeps the rate")
    add("--momentum", type=float, default=0.9)
    add("--weight-decay", type=float, default=0.0)
    add("--backbone-lr", type=float, default=1.0, help="the backbone's share of the learning rate")
    add("--freeze-batch-norm", action="store_true", help="of the backbone")
    add("--batch-norm-momentum", type=float, help="such as .95 for short trainings; else the net's")
    add(
        "--recalibrate-batch-norm",
        type=int,
        metavar="BATCHES",
        help="at the end, take its statistics anew over so many batches",
    )
    add("--loss", default="cross_entropy", help="names with weights: cross_entropy,dice:0.5")
    add(
        "--border-weights",
        type=float,
        nargs=2,
        metavar=("W0", "SIGMA"),
        help="background between close instances counts more, as in U-Net: 10 5",
    )
    add("--class-balance", default="none", choices=["none", "median_frequency"])

    add("--validate-every", type=int, default=1, help="epochs")
    add("--previews", type=int, default=4, help="pictures drawn after every epoch")
    add("--workers", type=int, default=2, help="threads that prepare data")
    add("--seed", type=int, default=0)
    add("--smoke", action="store_true", help="a minute of everything, to see that it runs")
    args = parser.parse_args(argv)
    if args.smoke:
        args.data, args.weights, args.count, args.size = "scenes", "none", 8, 64
        args.backbone, args.backbone_args = "mobilenet", ["alpha=0.25"]
        args.crop, args.epochs, args.batch_size, args.previews = [64], 2, 4, 2
    if args.data != "scenes" and args.root is None:
        parser.error(f"--data {args.data} needs --root")
    return args


def knobs(pairs):
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


def datasets(args):
    if args.data == "scenes":
        train = kd.datasets.scenes(args.count, args.size, "train", args.seed)
        val = kd.datasets.scenes(max(args.count // 10, 4), args.size, "val", args.seed)
    elif args.data == "camvid":
        train, val = (kd.datasets.camvid(args.root, split) for split in ("train", "val"))
    elif args.data == "instances":
        train, val = (
            kd.datasets.instances(
                args.root, split, class_names=args.classes or ("background", "object")
            )
            for split in ("train", "val")
        )
    elif args.data == "voc":
        train, val = (kd.datasets.voc2012(args.root, split) for split in ("train", "val"))
    else:
        train, val = (
            kd.datasets.folder(
                args.root / split / "images",
                args.root / split / "masks",
                class_names=args.classes,
            )
            for split in ("train", "val")
        )
    if args.limit:
        train, val = (kd.datasets.subset(d, min(args.limit, len(d))) for d in (train, val))
    if not args.no_cache:
        train, val = kd.datasets.cached(train), kd.datasets.cached(val)
    return train, val


def augmentation(args):
    T = kd.datasets.transforms
    steps = []
    if args.border_weights:
        w0, sigma = args.border_weights
        steps.append(T.BorderWeights(w0=w0, sigma=sigma))
    if tuple(args.scale_range) != (1.0, 1.0):
        steps.append(T.RandomScale(*args.scale_range))
    if args.rotate:
        steps.append(T.RandomRotation(args.rotate))
    if args.crop:
        steps.append(T.RandomCrop(args.crop[0] if len(args.crop) == 1 else tuple(args.crop)))
    if not args.no_flip:
        steps.append(T.RandomFlip(vertical=0.5 if args.flip_vertical else 0.0))
    if not args.no_color_jitter:
        steps.append(T.ColorJitter())
    return steps


def loss(args, class_weight):
    parts, weights = [], []
    for part in args.loss.split(","):
        name, _, weight = part.partition(":")
        if name not in LOSSES:
            raise SystemExit(f"--loss {name}: choose from {', '.join(LOSSES)}")
        extra = {} if class_weight is None else {"class_weight": class_weight}
        parts.append(LOSSES[name](**extra))
        weights.append(float(weight or 1.0))
    return parts[0] if len(parts) == 1 and weights == [1.0] else kd.losses.Sum(parts, weights)


def with_earlier_predictions(args, head):
    """The head, or a dict of it and of what the network predicts on the way to it."""
    names = args.intermediate
    if names is None and args.model == "layer_cascade":
        names = ["stage1", "stage2"]
    elif names is None and args.model == "stacked_deconvolutional_network":
        units = range(1, knobs(args.model_args).get("units", 3) + 1)
        names = [f"unit{n}_{level}" for n in units for level in ("P4", "P3", "P2")][:-1]
    if not names:
        return head
    return kd.heads.with_intermediate(head, names, weight=args.intermediate_weight)


def network(args, heads):
    builder = getattr(kd, args.model, None)
    if builder is None:
        raise SystemExit(f"--model {args.model}: keras_dense has no builder of that name")
    weights = None if args.weights.lower() == "none" else args.weights
    extra = knobs(args.model_args)
    if args.initialize_from:
        extra["initialize_from"] = args.initialize_from
    backbone = None if args.backbone.lower() == "none" else args.backbone
    if args.backbone_args:
        backbone = kd.backbone(args.backbone, weights=weights, **knobs(args.backbone_args))
        weights = None
    model = builder(backbone, heads=heads, weights=weights, **extra)
    if args.crf is None:
        return model
    key = "segmentation" if isinstance(heads, dict) else None
    return kd.with_crf(model, key, **knobs(args.crf))


def optimizer(args, model, steps):
    rate = args.learning_rate
    if args.power:
        rate = keras.optimizers.schedules.PolynomialDecay(rate, steps, 0.0, power=args.power)
    decay = args.weight_decay or None
    if args.optimizer == "sgd":
        plain = keras.optimizers.SGD(rate, momentum=args.momentum, weight_decay=decay)
    elif args.optimizer == "adam":
        plain = keras.optimizers.Adam(rate, weight_decay=decay)
    else:
        plain = keras.optimizers.AdamW(rate, weight_decay=args.weight_decay)
    if decay or args.optimizer == "adamw":
        plain.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    # Some networks have their backbone in several layers: "backbone", "backbone_2", ….
    backbone = [layer.name for layer in model.layers if layer.name.startswith("backbone")]
    factors = {} if args.backbone_lr == 1.0 else dict.fromkeys(backbone, args.backbone_lr)
    if args.crf is not None:
        factors["crf"] = args.crf_lr
    return kd.training.layerwise(model, plain, factors) if factors else plain


def remember(args):
    """Refuses to continue a run with other arguments than it was started with."""
    free = {"out", "workers", "previews", "smoke", "no_cache"}
    now = {key: str(value) for key, value in sorted(vars(args).items()) if key not in free}
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / "arguments.json"
    if file.exists():
        then = json.loads(file.read_text())
        changed = {key: (then.get(key), now[key]) for key in now if then.get(key) != now[key]}
        if changed:
            lines = [
                f"  --{key.replace('_', '-')}: {a} then, {b} now" for key, (a, b) in changed.items()
            ]
            raise SystemExit(
                f"{args.out} holds a run with other arguments:\n"
                + "\n".join(lines)
                + "\nUse those again, or another --out."
            )
    file.write_text(json.dumps(now, indent=1))


def draw(head, images, truths, predictions):
    return kd.plot.panel(images, truths, predictions, head.palette, class_names=head.class_names)


def main(argv=None):
    args = arguments(argv)
    remember(args)
    keras.utils.set_random_seed(args.seed)

    train, val = datasets(args)
    weight = None
    if args.class_balance == "median_frequency":
        weight = kd.training.median_frequency(train)
        print("class weights:", [round(w, 2) for w in weight])
    head = kd.heads.Segmentation(
        train.num_classes,
        class_names=train.class_names,
        palette=train.palette,
        loss=loss(args, weight),
    )
    # Errors where nothing can be learned; warns of what is hardly meant, such as classes that never
    # occur or images that are in both splits.
    print(kd.datasets.check(train, heads=head, against=val, limit=500))
    heads = with_earlier_predictions(args, head)
    # What is looked at in the end: the last prediction, whatever was trained besides.
    last = {"segmentation": head} if isinstance(heads, dict) else head
    batches = kd.datasets.Loader(
        train,
        heads,
        args.batch_size,
        transforms=augmentation(args),
        shuffle=True,
        seed=args.seed,
        workers=args.workers,
    )
    sizes = {d[i]["image"].shape for d in (train, val) for i in range(min(len(d), 20))}
    val_batches = kd.datasets.Loader(
        val, heads, min(args.batch_size, 8), pad=len(sizes) > 1, workers=args.workers
    )
    print(f"{len(train)} images to train on, {len(val)} to validate, {train.num_classes} classes")

    model = network(args, heads)
    if args.batch_norm_momentum is not None:
        kd.training.batch_norm_momentum(model, args.batch_norm_momentum)
    if args.freeze_batch_norm:
        # The new ones of a decoder have nothing yet to be kept.
        frozen = kd.training.freeze_batch_norm(model.get_layer("backbone"))
        print("batch normalizations frozen:", frozen)
    model.compile(optimizer(args, model, len(batches) * args.epochs), **kd.objectives(heads))
    print(f"{model.name}: {model.count_params():,} parameters, on {keras.backend.backend()}")

    checkpoint = kd.training.Checkpoint(args.out, seed=args.seed)
    start = checkpoint.restore(model, batches)
    if start:
        print(f"continuing after epoch {start}")
    preview = kd.training.Preview(val, last, args.out / "preview", args.previews, draw=draw)
    began = time.perf_counter()
    if start < args.epochs:
        model.fit(
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
        # Of whole images, if they are of one size: what is to be predicted is neither scaled nor
        # jittered.
        plain = kd.datasets.Loader(
            train,
            head,
            args.batch_size,
            transforms=() if len(sizes) == 1 else augmentation(args),
            shuffle=True,
            seed=args.seed,
            workers=args.workers,
        )
        count = kd.training.recalibrate_batch_norm(model, plain, args.recalibrate_batch_norm)
        print("batch normalizations recalibrated:", count)
    kd.plot.curves(checkpoint.history, args.out / "curves.png")

    scores = kd.training.evaluate(model, kd.datasets.Loader(val, last, 1), last)
    scores = scores["segmentation"] if isinstance(last, dict) else scores
    table = kd.training.class_table(scores, val.class_names)
    summary = (
        f"{args.model} on {args.backbone}, {args.data}: mean IoU {scores['mean_iou']:.4f}, pixel "
        f"accuracy {scores['pixel_accuracy']:.4f} over {len(val)} images after {args.epochs} epochs"
    )
    print(f"\n{table}\n\n{summary}")
    (args.out / "results.md").write_text(f"{summary}\n\n{table}\n")
    results = {key: np.asarray(value).tolist() for key, value in scores.items()}
    results.update(
        class_names=val.class_names,
        images=len(val),
        epochs=args.epochs,
        parameters=model.count_params(),
        backend=keras.backend.backend(),
        seconds_of_this_start=round(seconds, 1),
    )
    (args.out / "results.json").write_text(json.dumps(results, indent=1))
    model.save(args.out / "model.keras")
    (args.out / "head.json").write_text(json.dumps(keras.saving.serialize_keras_object(head)))
    print(f"pictures, curves, table and model.keras are in {args.out}")


if __name__ == "__main__":
    main()

"""Few masks and many images without: what unlabeled images and tags add, over several seeds.

    python benchmarks/few_labels.py msrc21 --seeds 0 1 2 --out runs/few_msrc21
    python benchmarks/few_labels.py voc_mini --arms A D F
    python benchmarks/few_labels.py scenes --smoke           # that all of it runs; no figures
    python benchmarks/few_labels.py msrc21 --table --out runs/few_msrc21

| arm | learns from |
|---|---|
| A | the labeled images alone |
| B | and images without labels: their labels are filled in by the average of the network |
| C | and tags of these images as another task, beside B |
| D | and tags say which labels may be filled in, beside C |
| E | and the image rebuilt from the labels, which also moves the labels filled in (DIS), beside D |
| F | masks of all images: the ceiling |

For each seed, one split and one warm-up on the labeled images; then every arm goes on from the same
weights, for the same number of steps of the same size. Measured is the average of the weights after
the last step (in A and F, too), with batch norm statistics of whole training images, on test images
that decide nothing. A finished arm is not repeated. The marks of scribbles and points are made of
the same masks (arms S and P: cross-entropy of the marks; T and Q: and affinity; U and R: and labels
that are filled in).
"""

import argparse
import json
import math
import os
import pathlib

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# Marks of which all images are made, whether affinity is a loss, and whether void is filled in.
MARKS = {
    "S": ("scribbles", False, False),
    "T": ("scribbles", True, False),
    "U": ("scribbles", True, True),
    "P": ("points", False, False),
    "Q": ("points", True, False),
    "R": ("points", True, True),
}
ARMS = ["A", "B", "C", "D", "E", "F", *MARKS]
SIZES = {"msrc21": (160, 224), "voc_mini": (192, 192), "camvid": (168, 224), "scenes": (64, 96)}
LABELED, WEAK = (
    {"msrc21": 42, "voc_mini": 40, "camvid": 31, "scenes": 8},
    {"msrc21": 210, "voc_mini": 100},
)
BACKGROUND = {"voc_mini": 0}
LEAST = 10  # images of a class that is scored


def arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("data", choices=SIZES)
    add("--root", type=pathlib.Path, default=pathlib.Path("../shared/data"))
    add("--out", type=pathlib.Path, default=pathlib.Path("few_labels"))
    add("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add("--arms", nargs="+", choices=ARMS, default=ARMS[:6])
    add("--warmup", type=int, default=200, help="steps")
    add("--steps", type=int, default=250)
    add("--batch-size", type=int, default=8, help="half of it labeled in B to E")
    add("--learning-rate", type=float, default=3e-4)
    add("--momentum", type=float, default=0.99, help="of the average")
    add("--confidence", type=float, default=0.9)
    add("--floor", type=float, default=0.4, help="of the mean share of a class where it is")
    add("--colors", type=float, default=3.0, help="weight of the rebuilt image in E")
    add("--drawings", nargs="*", default=[], help="arms whose labels are drawn as they are filled")
    add("--table", action="store_true", help="only print the table of finished arms")
    add("--smoke", action="store_true", help="as little as possible of everything")
    args = parser.parse_args(argv)
    if args.smoke:
        args.warmup, args.steps, args.batch_size, args.seeds = 2, 2, 4, args.seeds[:1]
    return args


def whole(args):
    """All images with masks: those to split, and those to test if they are given."""
    import keras_dense as kd

    if args.data == "scenes":
        count = 16 if args.smoke else 200
        return kd.datasets.scenes(count, SIZES["scenes"]), kd.datasets.scenes(
            max(count // 4, 2), SIZES["scenes"], "test"
        )
    root = args.root / args.data
    if args.data == "camvid":
        return kd.datasets.camvid(root, "train"), kd.datasets.camvid(root, "val")
    if args.data == "voc_mini":
        from keras_dense.datasets.voc2012 import CLASSES

        masks = kd.datasets.folder(root / "images", root / "masks", class_names=CLASSES)
        return masks, None
    lines = (line.split(maxsplit=1) for line in (root / "classes.txt").read_text().splitlines())
    names = [name for number, name in lines if int(number) != 255]
    return kd.datasets.folder(root / "images", root / "masks", class_names=names), None


def split(args, data, test, seed):
    """Labeled, weak and test images; the rarest class gets its labeled images first."""
    import numpy as np

    import keras_dense as kd

    tags = np.stack(
        [
            kd.datasets.tags_from_labels(data[i]["segmentation"], data.num_classes) == 1
            for i in range(len(data))
        ]
    )
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(data))
    wanted, labeled = LABELED[args.data], []
    if args.data == "camvid":
        labeled = list(range(seed % 12, len(data), 12))[:wanted]
    share = wanted / len(data)
    for label in np.argsort(tags.sum(0)):
        need = math.ceil(share * tags[:, label].sum()) - int(tags[labeled, label].sum())
        for i in order:
            if need <= 0 or len(labeled) >= wanted:
                break
            if tags[i, label] and i not in labeled:
                labeled.append(int(i))
                need -= 1
    rest = [int(i) for i in order if i not in labeled]
    labeled += rest[: max(0, wanted - len(labeled))]
    rest = [i for i in rest if i not in labeled]
    count = len(rest) if test is not None else WEAK[args.data]
    parts = [sorted(labeled), sorted(rest[:count]), sorted(rest[count:])]
    scored = np.flatnonzero(tags.sum(0) >= LEAST) if not args.smoke else np.arange(tags.shape[1])
    few, weak, held_out = (kd.datasets.cached(kd.datasets.subset(data, p)) for p in parts)
    return few, weak, held_out if test is None else kd.datasets.cached(test), scored


def network(args, data, rebuilt=False):
    import keras

    import keras_dense as kd

    names = {"class_names": data.class_names, "palette": data.palette}
    heads = {
        "segmentation": kd.heads.Segmentation(data.num_classes, **names),
        "tags": kd.heads.Tags(data.num_classes, weight=0.2, **names),
    }
    if rebuilt:
        heads["rebuilt"] = kd.heads.Reconstruction()
    keras.utils.set_random_seed(0)
    if args.smoke or args.data == "scenes":
        model = kd.fcn32s(kd.backbone("mobilenet_v2", weights=None, alpha=0.35), heads=heads)
    else:
        file = args.root / "weights" / "mobilenet_v2_1.0_224.weights.h5"
        model = kd.fcn8s(
            "mobilenet_v2", heads=heads, weights=str(file) if file.exists() else "imagenet"
        )
    kd.training.batch_norm_momentum(model, 0.95)
    return model


def views_of(args, data, heads, batch_size, seed, strong=True):
    """Batches of whole images, padded to one size."""
    import keras_dense as kd

    T = kd.datasets.transforms
    size = SIZES[args.data]
    geometry = [T.Resize(size, keep_aspect=True), T.Pad(size), T.RandomFlip()]
    loader = kd.datasets.Loader(
        data, heads, batch_size, transforms=geometry, shuffle=True, missing="unknown", seed=seed
    )
    # No change of hue: grass and sky are classes by their color.
    changes = [
        T.ColorJitter(hue=0.0),
        T.Blur((0.2, 1.5), probability=0.5),
        T.Gray(probability=0.1),
    ]
    mix = kd.datasets.BoxMix(probability=0.5) if strong else None
    return kd.training.TwoViews(loader, strong=changes, mix=mix, seed=seed)


def fit(args, training, views, steps, callbacks=()):
    import keras

    import keras_dense as kd

    rate = keras.optimizers.schedules.PolynomialDecay(args.learning_rate, steps, 0.0, power=0.9)
    training.compile(keras.optimizers.Adam(rate), **kd.objectives(training))
    epochs = max(1, round(steps / len(views)))
    settings = {"callbacks": list(callbacks), "shuffle": False, "verbose": 0}
    history = training.fit(views, epochs=epochs, **settings).history
    return {key: float(history[key][-1]) for key in ("loss", "filled", "agreement")}


def arm_data(args, arm, few, weak):
    """The data of an arm, its shares, and settings of `self_training`."""
    import keras_dense as kd

    if arm in "AF":
        return few if arm == "A" else Joined(few, weak), {"weight": 0.0}
    if arm in MARKS:
        kind, affinity, fill = MARKS[arm]
        marked = kd.datasets.weaken(Joined(few, weak), kind)
        near = kd.losses.PairwiseAffinity() if affinity else None
        return marked, {"affinity": near, **({"fill": "pixels"} if fill else {"weight": 0.0})}
    kind = "image" if arm == "B" else "tags"
    settings = {"tags": arm in "DE", "colors": args.colors if arm == "E" else 0.0}
    return (few, kd.datasets.weaken(weak, kind)), settings


class Joined:
    """One data set after another."""

    def __init__(self, *parts):
        self.parts = parts
        self.num_classes, self.class_names = parts[0].num_classes, parts[0].class_names
        self.palette = parts[0].palette

    def __len__(self):
        return sum(map(len, self.parts))

    def __getitem__(self, index):
        for part in self.parts:
            if index < len(part):
                return part[index]
            index -= len(part)
        raise IndexError(index)


def run(args, seed, arm, start, few, weak, test, scored):
    import keras

    import keras_dense as kd

    model = network(args, few)
    model.set_weights(start)
    if arm == "E":
        model = kd.models.initialize(network(args, few, rebuilt=True), model)
    data, settings = arm_data(args, arm, few, weak)
    heads = dict(kd.heads.of(model))
    if isinstance(data, tuple):
        half = args.batch_size // 2
        data = kd.datasets.together(*data, shares=(args.batch_size - half, half))
    views = views_of(args, data, heads, min(args.batch_size, len(data)), seed)
    training = kd.training.self_training(
        model,
        "segmentation",
        momentum=args.momentum,
        confidence=args.confidence,
        floor=(args.floor * kd.training.class_shares(few)).tolist(),
        background=BACKGROUND.get(args.data),
        ramp=max(args.steps // 5, 1),
        **settings,
    )
    keras.utils.set_random_seed(seed)
    watched = [drawings_of(args, training, weak, f"{arm}_{seed}")] if arm in args.drawings else ()
    logs = fit(args, training, views, args.steps, watched)
    teacher = training.teacher
    recalibrated(args, teacher, few, weak)
    return {
        "seed": seed,
        "arm": arm,
        **score(args, teacher, test, scored, "test"),
        **score(args, teacher, weak, scored, "weak"),
        **logs,
    }


def drawings_of(args, training, weak, name, moments=4, images=4):
    """A callback that draws what the teacher fills in, at some moments of the training."""
    import keras
    import numpy as np

    import keras_dense as kd

    head = kd.heads.of(training)["segmentation"]
    chosen = [resized(args, weak[i * len(weak) // images]) for i in range(images)]
    plain = [resized_weak(sample, head) for sample in chosen]

    class Drawings(keras.callbacks.Callback):
        shown = []

        def on_epoch_begin(self, epoch, logs=None):
            epochs = self.params["epochs"]
            if epoch in {round(k * (epochs - 1) / (moments - 1)) for k in range(moments)}:
                folder = args.out / "filled"
                kd.training.infer_labels(
                    training.teacher,
                    plain,
                    folder,
                    key="segmentation",
                    tags=training.tags_key is not None,
                    relative=True,
                    floor=training.settings["floor"],
                    background=training.settings["background"],
                    confidence=args.confidence,
                    overwrite=True,
                )
                from PIL import Image

                files = sorted((folder / "labels").iterdir())
                self.shown.append([head.draw(np.asarray(Image.open(file))) for file in files])

        def on_train_end(self, logs=None):
            rows = zip(chosen, *self.shown, strict=True)
            tiles = [
                kd.plot.fit_width(tile, 192)
                for sample, *filled in rows
                for tile in (sample["image"], head.draw(sample["segmentation"]), *filled)
            ]
            count = len(self.shown)
            titles = ["image", "mask"] + [f"filled, {k + 1}/{count}" for k in range(count)]
            drawing = kd.plot.grid(tiles, columns=2 + count, titles=titles)
            kd.plot.save(args.out / f"filled_{name}.png", drawing)

    return Drawings()


def resized_weak(sample, head):
    """A sample whose tags alone are known."""
    import keras_dense as kd

    tags = kd.datasets.tags_from_labels(sample["segmentation"], head.channels)
    return {"image": sample["image"], "tags": tags}


def recalibrated(args, model, *parts):
    import keras_dense as kd

    model.trainable = True  # frozen layers keep their statistics
    images = [resized(args, part[i])["image"] for part in parts for i in range(len(part))]
    count = 2 if args.smoke else 200
    size = args.batch_size
    batches = [stacked(images[i : i + size]) for i in range(0, min(len(images), count), size)]
    kd.training.recalibrate_batch_norm(model, [b for b in batches if len(b) == size])


def stacked(images):
    import numpy as np

    return np.stack(images).astype("float32")


def resized(args, sample):
    """A whole image at the size of training, padded."""
    import keras_dense as kd

    T = kd.datasets.transforms
    size = SIZES[args.data]
    return T.Pad(size)(T.Resize(size, keep_aspect=True)(sample))


def score(args, model, data, scored, name):
    """Mean IoU over the scored classes, in percent; with true tags, too."""
    import keras
    import numpy as np

    import keras_dense as kd
    from keras_dense.training.pseudo_labels import allowed

    classes = data.num_classes
    counts = {"": np.zeros((classes, classes)), "_with_tags": np.zeros((classes, classes))}
    for i in range(min(len(data), 4) if args.smoke else len(data)):
        sample = resized(args, data[i])
        truth = sample["segmentation"]
        logits = model.predict_on_batch(sample["image"][None].astype("float32"))["segmentation"]
        own = kd.datasets.tags_from_labels(truth, classes)[None]
        ways = {"": logits, "_with_tags": keras.ops.convert_to_numpy(allowed(logits, own))}
        known = truth != 255
        for way, values in ways.items():
            found = values[0].argmax(-1)
            cells = truth[known].astype(int) * classes + found[known]
            counts[way] += np.bincount(cells, minlength=classes**2).reshape(classes, classes)
    result = {}
    for way, table in counts.items():
        union = table.sum(0) + table.sum(1) - table.diagonal()
        iou = table.diagonal() / np.maximum(union, 1)
        result[f"{name}_iou{way}"] = round(100 * float(iou[scored].mean()), 2)
    return result


def table(args):
    """Print means over seeds, and paired differences with their standard errors."""
    import numpy as np

    path = args.out / "arms.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    found = {(row["arm"], row["seed"]): row for row in rows}
    columns = (
        "test_iou",
        "test_iou_with_tags",
        "weak_iou",
        "weak_iou_with_tags",
        "filled",
        "agreement",
    )
    print("| arm | seeds | " + " | ".join(columns) + " |\n|---|---|" + "---|" * len(columns))
    for arm in ARMS:
        mine = [row for (a, _), row in sorted(found.items()) if a == arm]
        if mine:
            means = [f"{np.mean([row[c] for row in mine]):.2f}" for c in columns]
            print(f"| {arm} | {len(mine)} | " + " | ".join(means) + " |")
    print("\n| difference of test_iou | mean | standard error | over seeds |\n|---|---|---|---|")
    for one, other in ("BA", "CA", "DA", "DB", "ED", "FA", "TS", "UT", "QP", "RQ"):
        seeds = sorted({s for a, s in found if a == one} & {s for a, s in found if a == other})
        if not seeds:
            continue
        gains = [found[one, s]["test_iou"] - found[other, s]["test_iou"] for s in seeds]
        error = np.std(gains, ddof=1) / math.sqrt(len(gains)) if len(gains) > 1 else float("nan")
        each = ", ".join(f"{g:+.2f}" for g in gains)
        print(f"| {one} - {other} | {np.mean(gains):+.2f} | {error:.2f} | {each} |")
    both = sorted({s for a, s in found if a == "D"} & {s for a, s in found if a == "F"})
    both = [s for s in both if ("A", s) in found]
    if both:
        gains = {a: np.mean([found[a, s]["test_iou"] for s in both]) for a in "ADF"}
        gap = gains["F"] - gains["A"]
        print(f"\nD closes {(gains['D'] - gains['A']) / gap:.0%} of F - A." if gap else "")


def main(argv=None):
    args = arguments(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "arms.jsonl"
    if not args.table:
        import keras

        import keras_dense as kd

        data, given = whole(args)
        for seed in args.seeds:
            few, weak, test, scored = split(args, data, given, seed)
            print(
                f"seed {seed}: {len(few)} labeled, {len(weak)} weak, {len(test)} test", flush=True
            )
            lines = path.read_text().splitlines() if path.exists() else []
            done = {(row["arm"], row["seed"]) for row in map(json.loads, lines)}
            arms = [arm for arm in args.arms if (arm, seed) not in done]
            if not arms:
                continue
            model = network(args, few)
            size = min(args.batch_size, len(few))
            views = views_of(args, few, dict(kd.heads.of(model)), size, seed, strong=False)
            training = kd.training.self_training(model, "segmentation", weight=0.0)
            keras.utils.set_random_seed(seed)
            fit(args, training, views, args.warmup)
            start = model.get_weights()
            for arm in arms:
                row = run(args, seed, arm, start, few, weak, test, scored)
                with path.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(f"  {arm}: {row['test_iou']:.2f}  ({row})", flush=True)
                keras.utils.clear_session(free_memory=True)
    table(args)


if __name__ == "__main__":
    main()

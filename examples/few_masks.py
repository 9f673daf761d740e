"""Few images with masks, many without: both train one network.

    python examples/few_masks.py data/few data/many --classes ground crop weed
    python examples/few_masks.py data/few data/many --classes ground crop weed --tags data/tags.csv
    python examples/few_masks.py --demo                    # draws two such folders first

`data/few` holds `images/` and `masks/` (class indices or colors; 255 is void), `data/many` images
alone. A table of tags (`image,crop,weed` with 1, 0 or nothing, see kd.datasets.read_tags) tells
which classes an image contains. The script writes `network.keras`, `teacher.keras` (the average of
its weights, often the better one), and the masks that the teacher infers for the other images, to
look at, to correct and to train on again: `inferred/labels/`, `inferred/confidence/`.
"""

import argparse
import csv
import os
import pathlib

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np

import keras_dense as kd

T = kd.datasets.transforms


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("few", type=pathlib.Path, nargs="?", help="folder with images/ and masks/")
    add("many", type=pathlib.Path, nargs="?", help="folder of images without masks")
    add("--classes", nargs="+", help="names of the classes")
    add("--tags", type=pathlib.Path, help="CSV of the classes that each of the many contains")
    add("--out", type=pathlib.Path, default=pathlib.Path("few_masks"))
    add("--backbone", default="mobilenet_v2")
    add("--weights", default="imagenet", help="of the backbone; none: random")
    add("--size", type=int, nargs=2, default=[256, 320])
    add("--batch", type=int, nargs=2, default=[4, 4], help="images with masks, and without")
    add("--epochs", type=int, default=30)
    add("--validation", type=float, default=0.2, help="share of the masks")
    add("--demo", action="store_true", help="draw images to try it on")
    add("--smoke", action="store_true", help="as little as possible of everything")
    args = parser.parse_args()
    if not args.demo and (args.few is None or args.many is None or not args.classes):
        parser.error("give two folders and --classes, or --demo")
    return args


def draw(args):
    """Folders of rendered scenes: ten with masks, the others with tags."""
    from PIL import Image

    count = 16 if args.smoke else 60
    world = kd.datasets.scenes(count, tuple(args.size))
    args.few, args.many = args.out / "few", args.out / "many"
    args.classes, args.tags = world.class_names, args.out / "tags.csv"
    for folder in (args.few / "images", args.few / "masks", args.many):
        folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for i in range(count):
        sample, name = world[i], f"scene_{i:03d}.png"
        if i < 10:
            Image.fromarray(sample["image"]).save(args.few / "images" / name)
            Image.fromarray(sample["segmentation"]).save(args.few / "masks" / name)
            continue
        Image.fromarray(sample["image"]).save(args.many / name)
        rows.append([name, *kd.datasets.tags_from_labels(sample["segmentation"], 8)])
    with args.tags.open("w", newline="") as file:
        csv.writer(file).writerows([["image", *world.class_names], *rows])


def loaders(args):
    """Batches of both kinds with two views of each image, validation, the few and the many."""
    names = {"class_names": args.classes}
    masks = kd.datasets.folder(args.few / "images", args.few / "masks", **names)
    few, val = kd.datasets.split(masks, 1 - args.validation)
    many = kd.datasets.folder(args.many, tags=args.tags, **names)
    heads = {
        "segmentation": kd.heads.Segmentation(len(args.classes), **names),
        "tags": kd.heads.Tags(len(args.classes), weight=0.2, **names),
    }
    # Whole images: a crop would leave open which of the tags it contains.
    whole = [T.Resize(tuple(args.size), keep_aspect=True), T.Pad(tuple(args.size))]
    both = kd.datasets.together(kd.datasets.cached(few), many, shares=args.batch)
    train = kd.datasets.Loader(
        both,
        heads,
        sum(args.batch),
        transforms=[*whole, T.RandomFlip()],
        shuffle=True,
        missing="unknown",
    )
    strong = [T.ColorJitter(), T.Blur(probability=0.5), T.Gray(probability=0.2)]
    views = kd.training.TwoViews(train, strong=strong, mix=kd.datasets.BoxMix())
    return heads, views, kd.datasets.Loader(val, heads, 1, transforms=whole), few, many


def main():
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(0)
    if args.smoke:
        args.size, args.batch, args.epochs = [64, 96], [2, 2], 1
    if args.demo:
        draw(args)

    print("1. Two kinds of images")
    heads, views, val, few, many = loaders(args)
    print(f"   {views.dataset}")

    print("2. A network and its average")
    weights = None if args.weights == "none" else args.weights
    options = {"alpha": 0.35} if args.smoke else {}
    backbone = kd.backbone(args.backbone, weights=None if args.smoke else weights, **options)
    model = kd.fcn8s(backbone, heads=heads)
    kd.training.batch_norm_momentum(model, 0.95)  # or the teacher has outdated statistics
    steps = len(views) * args.epochs
    training = kd.training.self_training(
        model,
        momentum=min(0.99, 1 - 4 / max(steps, 8)),
        # A class whose tag says that it is there gets a part of what it covers elsewhere.
        floor=(0.4 * kd.training.class_shares(few)).tolist(),
        ramp=max(1, steps // 5),
    )
    rate = keras.optimizers.schedules.PolynomialDecay(5e-4, steps, 0.0, power=0.9)
    training.compile(keras.optimizers.Adam(rate), **kd.objectives(training))

    print("3. Training; the same command goes on with a run that was stopped")
    checkpoint = kd.training.Checkpoint(args.out / "run")
    start = checkpoint.restore(training, views)
    training.fit(
        views,
        validation_data=val,
        epochs=args.epochs,
        initial_epoch=start,
        callbacks=[checkpoint],
        shuffle=False,
        verbose=2,
    )
    teacher = training.teacher
    for name, network in (("network", model), ("teacher", teacher)):
        score = kd.training.evaluate(network, val)["segmentation"]["mean_iou"]
        print(f"   {name}: mean IoU {score:.3f} on images with masks that it has not seen")
        network.save(args.out / f"{name}.keras")

    print("4. Masks for the other images")
    found = kd.training.infer_labels(teacher, many, args.out / "inferred", overwrite=True)
    share = np.mean([image.filled for image in found])
    least = min(found, key=lambda image: image.confidence)
    print(f"   {share:.0%} of their pixels have a label; least sure: {least.name}")


if __name__ == "__main__":
    main()

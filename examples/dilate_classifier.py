r"""A classifier's coarse map of classes, made fine without any training.

    python examples/dilate_classifier.py photograph.jpg picture.png \
        --weights mobilenet_v2_1.0_224.weights.h5

An ImageNet classifier is convolutionalized, without the mean over its last map: that gives scores
for each of its cells, one for every 32 pixels. Then it is dilated: the same weights give a cell
for every 16, 8 or 4 pixels, every k-th of them one of the coarse map, to rounding. `--labels`
names a CSV file with columns index and name, so that classes have names in the picture.
"""

import argparse
import csv
import pathlib

import keras
import numpy as np
from PIL import Image

import keras_dense as kd


def arguments(argv=None):
    parser = argparse.ArgumentParser(description="Dilate a classifier and look at its class maps.")
    add = parser.add_argument
    add("photograph", type=pathlib.Path)
    add("picture", type=pathlib.Path, help="what to write")
    add("--classifier", default="mobilenet_v2", help="any network of keras.applications")
    add("--weights", default="imagenet", help="imagenet, none, or a file with the top")
    add("--strides", type=int, nargs="+", default=[32, 8, 4], help="output strides to show")
    add("--side", type=int, default=416, help="longer side of the photograph, in pixels")
    add("--classes", type=int, default=4, help="show so many classes, those with the largest area")
    add("--labels", type=pathlib.Path, help="CSV with columns index, name")
    return parser.parse_args(argv)


def photograph(path, side):
    """The photograph with sides that 32 divides."""
    picture = Image.open(path).convert("RGB")
    scale = side / max(picture.size)
    size = [max(round(n * scale / 32), 1) * 32 for n in picture.size]
    return np.asarray(picture.resize(size, Image.Resampling.LANCZOS), "float32")


def main(argv=None):
    args = arguments(argv)
    names = {}
    if args.labels:
        with open(args.labels, newline="") as file:
            names = {int(row["index"]): row["name"] for row in csv.DictReader(file)}
    image = photograph(args.photograph, args.side)
    weights = None if args.weights.lower() == "none" else args.weights
    classifier = kd.backbones.application(
        args.classifier, weights, standardize=True, include_top=True
    )
    if any(isinstance(x, keras.layers.GlobalAveragePooling2D) for x in classifier.layers):
        # Built for an image of one cell, it has a mean over one cell only.
        classifier = kd.surgery.rebuild(classifier, inputs=keras.Input((32, 32, 3)))
    scores = kd.surgery.convolutionalize(classifier, padding="same")

    maps = {}
    for stride in args.strides:
        model = scores if stride == 32 else kd.surgery.dilate(scores, stride)
        maps[stride] = model.predict(image[None], verbose=0)[0]
        print(f"output stride {stride:2}: a map of {maps[stride].shape[0]}×{maps[stride].shape[1]}")
    coarse = maps.get(32)
    for stride, fine in maps.items():
        if coarse is not None and stride != 32:
            k = 32 // stride
            error = np.abs(fine[::k, ::k] - coarse).max()
            print(f"  largest difference of its every {k}th cell from stride 32: {error:.1e}")

    finest = maps[min(maps)].argmax(-1)
    found, area = np.unique(finest, return_counts=True)
    shown = list(found[np.argsort(-area)][: args.classes])
    palette = kd.heads.palette.voc_palette(len(shown) + 1)[1:]
    tiles, titles = [image.astype("uint8")], ["photograph"]
    for stride, fine in maps.items():
        best = fine.argmax(-1)
        labels = np.full(best.shape, 255)
        for n, index in enumerate(shown):
            labels[best == index] = n
        labels = labels.repeat(stride, 0).repeat(stride, 1)
        tiles.append(kd.plot.overlay(image, labels, palette, alpha=0.65))
        titles.append(f"output stride {stride}")
    entries = [
        (names.get(int(index), f"class {index}"), tuple(map(int, color)))
        for index, color in zip(shown, palette, strict=True)
    ]
    picture = kd.plot.grid(tiles, columns=len(tiles), titles=titles)
    picture = np.concatenate([picture, kd.plot.legend(entries, width=picture.shape[1])])
    kd.plot.save(args.picture, picture)
    print(f"-> {args.picture}")


if __name__ == "__main__":
    keras.utils.set_random_seed(0)
    main()

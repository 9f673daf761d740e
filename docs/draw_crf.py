"""Draw docs/crf.jpg: a dense CRF on a scene after several iterations, with its energy.

    python docs/draw_crf.py                           # a drawn scene
    python docs/draw_crf.py photograph.jpg mask.png   # class ids, 255 = void

The input of the CRF imitates a network of stride 32: the labels are averaged over cells of 32
pixels and upsampled to probabilities.
"""

import argparse
import pathlib

import numpy as np
from PIL import Image

import keras_dense as kd
from keras_dense.heads.palette import voc_palette

CELL, ITERATIONS = 32, (0, 1, 2, 5, 10)
SCENE = 5
SETTINGS = {"gaussian_compat": 1, "bilateral_sxy": 40, "bilateral_srgb": 8, "bilateral_compat": 4}


def coarse(labels, cell=CELL):
    """Probabilities of the classes in the mask, as from a map of stride `cell`."""
    classes = sorted(set(np.unique(labels)) - {255})
    hot = np.stack([labels == c for c in classes], -1).astype("float32")
    hot /= np.maximum(hot.sum(-1, keepdims=True), 1)
    height, width = (n // cell for n in labels.shape)
    means = hot[: height * cell, : width * cell].reshape(height, cell, width, cell, -1).mean((1, 3))
    sharp = means**2 / np.maximum((means**2).sum(-1, keepdims=True), 1e-6)
    size = (labels.shape[1], labels.shape[0])
    up = [
        Image.fromarray(m).resize(size, Image.Resampling.BILINEAR)
        for m in np.moveaxis(sharp, -1, 0)
    ]
    up = np.maximum(np.stack([np.asarray(m) for m in up], -1), 0) + 0.05
    return up / up.sum(-1, keepdims=True), np.array(classes)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", type=pathlib.Path, nargs="?")
    parser.add_argument("mask", type=pathlib.Path, nargs="?")
    args = parser.parse_args()
    palette = voc_palette(21)
    if args.image is None:
        scenes = kd.datasets.scenes(8, (320, 448), objects=(3, 4))
        sample, palette = scenes[SCENE], scenes.palette
        image, truth = sample["image"], sample["segmentation"]
    else:
        image = np.asarray(Image.open(args.image).convert("RGB"))
        truth = np.asarray(Image.open(args.mask))
    probabilities, classes = coarse(truth)

    def painted(labels):
        return kd.plot.overlay(image, labels, palette, alpha=0.65)

    panels, titles = [image, painted(truth)], ["image", "truth"]
    for n in ITERATIONS:
        labels = kd.inference.dense_crf(probabilities, image, n, **SETTINGS).argmax(-1)
        energy = kd.inference.crf_energy(labels, probabilities, image, **SETTINGS)
        found = classes[labels]
        known = truth != 255
        correct = 100 * (found == truth)[known].mean()
        print(n, {name: round(value) for name, value in energy.items()}, f"{correct:.1f} % correct")
        panels.append(painted(found))
        titles.append(f"{n} iterations: energy {energy['total']:,.0f}, {correct:.1f} % correct")
    drawn = kd.plot.grid(panels, columns=4, titles=titles)
    drawn = Image.fromarray(drawn)
    width = 1400
    drawn = drawn.resize((width, drawn.height * width // drawn.width), Image.Resampling.LANCZOS)
    drawn.save(pathlib.Path(__file__).parent / "crf.jpg", quality=80)


if __name__ == "__main__":
    main()

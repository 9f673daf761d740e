"""Draws docs/inference.jpg: where tiles lie in a picture, and what an overlap is good for.

    make demo
    python docs/draw_inference.py demo

The picture is of sixteen scenes side by side, such as the demo's network has learnt to paint.
"""

import argparse
import json
import pathlib

import keras
import numpy as np

import keras_dense as kd
from keras_dense.inference.predict_tiled import _layout

TILE, OVERLAPS = 256, (0, 64)


def framed(image, model, overlap):
    """The picture with the borders of its tiles."""
    shown = image.copy()
    rows, columns, _ = _layout(model, image.shape[:2], (None, None), TILE, overlap)
    for y in rows.places:
        for x in columns.places:
            box = shown[y : y + rows.tile, x : x + columns.tile]
            inside = box[2:-2, 2:-2].copy()
            box[:] = (255, 220, 0)
            box[2:-2, 2:-2] = inside
    return shown


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demo", type=pathlib.Path, help="the folder of the demo")
    args = parser.parse_args()
    model = keras.saving.load_model(args.demo / "model.keras", compile=False)
    config = json.loads((args.demo / "head.json").read_text())
    head = keras.saving.deserialize_keras_object(config)
    scenes = kd.datasets.scenes(16, (96, 128), "test")
    image = np.concatenate(
        [np.concatenate([scenes[4 * j + k]["image"] for k in range(4)], 1) for j in range(4)]
    )

    def painted(labels):
        return kd.plot.overlay(image, labels, head.palette, alpha=0.65)

    whole = model.predict_on_batch(image[None])[0].argmax(-1)
    pictures = [framed(image, model, OVERLAPS[-1]), painted(whole)]
    titles = [f"tiles of {TILE} that share {OVERLAPS[-1]}", "undivided"]
    for overlap in OVERLAPS:
        settings = {"tile": TILE, "overlap": overlap, "progress": False}
        labels = kd.inference.predict_tiled(model, image, head, **settings)
        other = labels != whole
        shown = painted(labels)
        shown[other] = (230, 40, 40)
        pictures.append(shown)
        titles.append(f"overlap {overlap}: {100 * other.mean():.1f} % other labels, red")
        print(titles[-1])
    drawn = kd.plot.grid(pictures, columns=2, titles=titles)
    kd.plot.save(pathlib.Path(__file__).parent / "inference.jpg", drawn)


if __name__ == "__main__":
    main()

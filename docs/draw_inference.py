"""Draw docs/inference.jpg: the tiles of an image, and the effect of their overlap.

    make demo
    python docs/draw_inference.py demo

The image consists of sixteen scenes of the kind that the network of the demo was trained on.
"""

import argparse
import pathlib

import keras
import numpy as np

import keras_dense as kd

TILE, OVERLAPS = 256, (0, 64)


def framed(image, model, overlap):
    """The image with the borders of its tiles."""
    shown = image.copy()
    predictor = kd.inference.TiledPredictor(model)
    plan = predictor.plan(image.shape[:2], tile=TILE, overlap=overlap)
    height, width = plan.tile
    for y in plan.rows.places:
        for x in plan.columns.places:
            box = shown[y : y + height, x : x + width]
            inside = box[2:-2, 2:-2].copy()
            box[:] = (255, 220, 0)
            box[2:-2, 2:-2] = inside
    return shown


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demo", type=pathlib.Path, help="the folder of the demo")
    args = parser.parse_args()
    model = keras.saving.load_model(args.demo / "model.keras", compile=False)
    head = kd.heads.of(model)
    scenes = kd.datasets.scenes(16, (96, 128), "test")
    image = np.concatenate(
        [np.concatenate([scenes[4 * j + k]["image"] for k in range(4)], 1) for j in range(4)]
    )

    def painted(labels):
        return kd.plot.overlay(image, labels, head.palette, alpha=0.65)

    whole = model.predict_on_batch(image[None])[0].argmax(-1)
    panels = [framed(image, model, OVERLAPS[-1]), painted(whole)]
    titles = [f"tiles of {TILE} that share {OVERLAPS[-1]}", "undivided"]
    for overlap in OVERLAPS:
        settings = {"tile": TILE, "overlap": overlap, "progress": False}
        labels = kd.inference.predict_tiled(model, image, **settings)
        other = labels != whole
        shown = painted(labels)
        shown[other] = (230, 40, 40)
        panels.append(shown)
        titles.append(f"overlap {overlap}: {100 * other.mean():.1f} % other labels, red")
        print(titles[-1])
    drawn = kd.plot.grid(panels, columns=2, titles=titles)
    kd.plot.save(pathlib.Path(__file__).parent / "inference.jpg", drawn)


if __name__ == "__main__":
    main()

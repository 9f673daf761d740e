"""Draw docs/upsampling.png: the ways to upsample, with and without checkerboards.

python docs/draw_upsampling.py
python docs/draw_upsampling.py --table    # also trains each of them briefly; about two minutes
"""

import argparse
import pathlib

import keras
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from keras import layers, ops

import keras_dense as kd

SIDE, GAP, TITLE = 240, 12, 44  # pixels: of a panel, between them, above them
COLUMNS = 5


def transposed(filters, kernel, stride):
    return lambda x: layers.Conv2DTranspose(filters, kernel, stride, "same")(x)


def shuffled(filters):
    def way(x):
        return kd.layers.PixelShuffle(2)(layers.Conv2D(4 * filters, 3, padding="same")(x))

    return way


def upsampled(how, filters):
    return lambda x: kd.decoders.upsample(x, 2, how, filters=filters)


def model_of(way, channels):
    image = keras.Input((None, None, channels))
    return keras.Model(image, way(image))


def run(model, x):
    return ops.convert_to_numpy(model(np.asarray(x, "float32")))


def typical(way, image, seeds=9):
    """The result with the median pattern among several random initializations, and its pattern."""
    found = []
    for seed in range(seeds):
        keras.utils.set_random_seed(seed)
        y = run(model_of(way, 1), image[None, ..., None])[0, ..., 0]
        found.append((pattern(y), seed, y))
    strength, _, y = sorted(found, key=lambda item: item[:2])[seeds // 2]
    return y if y.mean() > 0 else -y, strength


def pattern(y, border=4):
    """Standard deviation of the means of the four phases, relative to the mean."""
    inside = y[border:-border, border:-border]
    phases = [inside[i::2, j::2].mean() for i in (0, 1) for j in (0, 1)]
    return float(np.std(phases) / np.abs(np.mean(phases)))


def overlaps(kernel, stride, cells=4):
    """Number of products that a transposed convolution adds in each cell of the result."""
    count = np.zeros(stride * (cells - 1) + kernel, int)
    for cell in range(cells):
        count[stride * cell : stride * cell + kernel] += 1
    return np.outer(count, count)


class Sheet:
    """A figure of panels at whole pixels, since resizing would add patterns."""

    def __init__(self, rows):
        self.width = COLUMNS * (SIDE + GAP) + GAP
        self.height = rows * (SIDE + TITLE) + GAP
        self.figure = plt.figure(figsize=(self.width / 100, self.height / 100), dpi=100)

    def panel(self, row, column, title):
        left, top = GAP + column * (SIDE + GAP), TITLE + row * (SIDE + TITLE)
        box = (left, self.height - top - SIDE, SIDE, SIDE)
        size = (self.width, self.height, self.width, self.height)
        axes = self.figure.add_axes([a / b for a, b in zip(box, size, strict=True)])
        axes.axis("off")
        axes.text(0.5, 1.02, title, transform=axes.transAxes, ha="center", va="bottom", size=9.5)
        return axes

    def image(self, row, column, y, title):
        low, high = np.percentile(y, (2, 98))
        y = np.kron(np.clip((y - low) / (high - low), 0, 1), np.ones((SIDE // len(y),) * 2))
        self.panel(row, column, title).imshow(y, "gray", vmin=0, vmax=1)

    def numbers(self, row, column, values, title):
        axes = self.panel(row, column, title)
        axes.imshow(values, "Blues", vmin=0, vmax=6)
        for i, j in np.ndindex(values.shape):
            axes.text(j, i, values[i, j], ha="center", va="center", size=8)


def draw():
    image = kd.datasets.scenes(24, (80, 80), "val", seed=5)[6]["image"]
    large = image.mean(-1) / 255
    small = large.reshape(40, 2, 40, 2).mean((1, 3))
    sheet = Sheet(rows=3)
    sheet.image(0, 0, small, "the small image, 40×40 pixels")
    for column, (kernel, products) in enumerate(
        ((3, "1, 2 or 4 per cell"), (4, "4 per cell inside"), (2, "1 per cell")), start=1
    ):
        title = f"transposed convolution, stride 2,\nkernel {kernel}, products: {products}"
        sheet.numbers(0, column, overlaps(kernel, 2), title)
    y = run(model_of(upsampled("bilinear", 1), 1), small[None, ..., None])[0, ..., 0]
    sheet.image(0, 4, y, f'upsample(x, 2, "bilinear"):\npattern {pattern(y):.1%}')

    naive = (
        (transposed(1, 3, 2), "transposed, kernel 3"),
        (transposed(1, 4, 2), "transposed, kernel 4"),
        (transposed(1, 2, 2), "transposed, kernel 2"),
        (shuffled(1), "3×3 convolution, shuffled"),
    )
    for column, (way, what) in enumerate(naive):
        y, strength = typical(way, small)
        sheet.image(1, column, y, f"{what},\nrandom weights: pattern {strength:.0%}")
    image = keras.Input((80, 80, 1))
    pooled, indices = kd.layers.MaxPoolWithArgmax2D(2)(image)
    unpool = keras.Model(image, kd.decoders.upsample(pooled, 2, "unpool", indices=indices))
    y = run(unpool, large[None, ..., None])[0, ..., 0]
    sheet.image(1, 4, y, 'upsample(x, 2, "unpool"):\nmaxima restored, zeros between')

    for column, how in enumerate(("resize_conv", "transposed", "up_conv", "pixel_shuffle")):
        y, strength = typical(upsampled(how, 1), small)
        title = f'upsample(x, 2, "{how}"),\nrandom weights: pattern {strength:.1%}'
        sheet.image(2, column, y, title)
    sheet.image(2, 4, large, "the large image")
    path = pathlib.Path(__file__).with_name("upsampling.png")
    sheet.figure.savefig(path, dpi=100)
    compress(path)
    print(path, path.stat().st_size // 1024, "kB")


def compress(path):
    """Reduce the file to 64 colors, which are enough."""
    from PIL import Image

    Image.open(path).convert("RGB").quantize(64).save(path, optimize=True)


def flat(model):
    """Standard deviation of the result for a uniform gray image, in gray levels."""
    found = []
    for gray in (0.2, 0.5, 0.8):
        y = run(model, np.full((1, 32, 32, 3), gray))[0, 8:-8, 8:-8]
        found.append(255 * y.std((0, 1)).mean())
    return float(np.mean(found))


def table():
    """Print the table: each method doubles the size of drawn scenes; three initializations."""
    scenes = kd.datasets.scenes(64, (64, 64))
    large = np.stack([sample["image"] for sample in map(scenes.__getitem__, range(64))]) / 255
    small = large.reshape(64, 32, 2, 32, 2, 3).mean((2, 4))
    ways = {
        "transposed convolution, kernel 3, random": transposed(3, 3, 2),
        "transposed convolution, kernel 4, random": transposed(3, 4, 2),
        "transposed convolution, kernel 2, random": transposed(3, 2, 2),
        "pixel shuffle, random": shuffled(3),
    }
    for how in ("bilinear", "resize_conv", "transposed", "up_conv", "pixel_shuffle"):
        ways[f'`upsample(x, 2, "{how}")`'] = upsampled(how, 3)
    print("| | initially | 8 steps | 80 steps | 400 steps | error after 400 steps |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, way in ways.items():
        rows = []
        for seed in range(3):
            keras.utils.set_random_seed(seed)
            image = keras.Input((None, None, 3))
            features = layers.Conv2D(32, 3, padding="same", activation="relu")(image)
            model = keras.Model(image, way(features))
            model.compile(keras.optimizers.Adam(3e-3), "mse")
            row = [flat(model)]
            for epochs in (1, 9, 40):
                model.fit(small, large, batch_size=8, epochs=epochs, verbose=0)
                row.append(flat(model))
            rows.append([*row, 255 * model.evaluate(small, large, verbose=0) ** 0.5])
        cells = " | ".join(f"{value:.1f}" for value in np.mean(rows, axis=0))
        print(f"| {name} | {cells} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", action="store_true")
    wanted = parser.parse_args()
    draw()
    if wanted.table:
        table()

"""Draw docs/atrous.png: stride, shift-and-stitch and dilation on a 5×5 image.

python docs/draw_atrous.py
"""

import pathlib

import keras
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import keras_dense as kd

COLORS = ["#f2b8a0", "#a8cbe8", "#f5e0a3", "#b8dcb0"]


def network():
    """A network with a stride of 2, then a sum over 2×2 cells."""
    image = keras.Input((None, None, 1))
    x = keras.layers.Conv2D(1, 1, strides=2, use_bias=False, kernel_initializer="ones")(image)
    x = keras.layers.Conv2D(1, 2, use_bias=False, kernel_initializer="ones", padding="valid")(x)
    return keras.Model(image, x)


def grid(axis, values, title, colors):
    height, width = values.shape
    for i in range(height):
        for j in range(width):
            box = plt.Rectangle((j, i), 1, 1, facecolor=colors(i, j), edgecolor="#444444")
            axis.add_patch(box)
            axis.text(j + 0.5, i + 0.5, f"{values[i, j]:g}", ha="center", va="center", size=13)
    # Cells have the same size in all grids, and grids are centered.
    axis.set_xlim(width / 2 - 2.55, width / 2 + 2.55)
    axis.set_ylim(height / 2 + 2.55, height / 2 - 2.55)
    axis.set_aspect("equal")
    axis.axis("off")
    axis.text(width / 2, height / 2 - 2.7, title, ha="center", va="bottom", size=11)


def main():
    image = np.arange(1.0, 26.0).reshape(1, 5, 5, 1)
    strided = network()
    dilated = kd.surgery.dilate(strided, 1)
    figure = plt.figure(figsize=(13, 6.2))
    rows = figure.add_gridspec(2, 5, hspace=0.3, wspace=0.12)

    def phase(i, j):
        return COLORS[2 * (i % 2) + j % 2]

    grid(figure.add_subplot(rows[0, 0]), image[0, :, :, 0], "the image", phase)
    for n, (a, b) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        shifted = image[:, a:, b:]
        result = strided.predict(shifted, verbose=0)[0, :, :, 0]
        color = COLORS[2 * a + b]
        title = "the strided network" if n == 0 else f"… of the image\nshifted by ({a}, {b})"
        axis = figure.add_subplot(rows[0, 1 + n])
        grid(axis, result, title, lambda i, j, color=color: color)
    dense = dilated.predict(image, verbose=0)[0, :, :, 0]
    stitched = np.zeros((3, 3))
    for a in (0, 1):
        for b in (0, 1):
            stitched[a::2, b::2] = strided.predict(image[:, a:, b:], verbose=0)[0, :, :, 0]
    np.testing.assert_array_equal(stitched, dense)
    grid(figure.add_subplot(rows[1, 0:2]), stitched, "the four results, interlaced", phase)
    axis = figure.add_subplot(rows[1, 2])
    taps = {(0, 0), (0, 2), (2, 0), (2, 2)}
    grid(
        axis,
        image[0, :, :, 0],
        "without the stride:\na sum of cells 2 apart",
        lambda i, j: COLORS[0] if (i, j) in taps else "white",
    )
    grid(figure.add_subplot(rows[1, 3:5]), dense, "the dilated network: the same numbers", phase)
    path = pathlib.Path(__file__).with_name("atrous.png")
    figure.savefig(path, dpi=90, bbox_inches="tight")
    print(path)


if __name__ == "__main__":
    main()

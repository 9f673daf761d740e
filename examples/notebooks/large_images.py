# %% [markdown]
# # Large images
#
# An image that is larger than memory allows is predicted in tiles. If the tiles overlap by twice
# the reach of the network, the result is that of the whole image.

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # or "jax", "torch"

import keras
import numpy as np
from PIL import Image

import keras_dense as kd

QUICK = bool(os.environ.get("KERAS_DENSE_QUICK"))  # as little as possible of everything
keras.utils.set_random_seed(0)

# %% [markdown]
# Any network will do; this one has random weights, so its labels mean nothing.

# %%
image = keras.Input((None, None, 3))
x = keras.layers.Conv2D(8, 5, strides=2, padding="same", activation="relu")(image)
x = keras.layers.Conv2D(8, 5, strides=2, padding="same", activation="relu")(x)
backbone = kd.backbone(keras.Model(image, x))
head = kd.heads.Segmentation(4)
model = kd.assemble(backbone, lambda features: features["P2"], head)
print(kd.surgery.receptive_field(model))

# %% [markdown]
# ## From file to file
# The image is an array on disk, and so is the result: memory holds some tiles. A run that is
# stopped goes on where it was when it is started again.

# %%
height, width = (300, 400) if QUICK else (3000, 4000)
large = np.lib.format.open_memmap("large.npy", "w+", np.uint8, (height, width, 3))
strip = np.tile(kd.datasets.scenes(1, (100, 200))[0]["image"], (1, width // 200, 1))
for row in range(0, height, 100):  # written piece by piece, as a scanner would
    large[row : row + 100] = strip
kd.inference.predict_tiled(model, large, out="labels.npy", tile=256, progress=False)
labels = np.load("labels.npy", mmap_mode="r")
print(labels.shape, labels.dtype)

# %% [markdown]
# ## The same as the whole image

# %%
corner = large[:256, :384]
whole = keras.ops.convert_to_numpy(kd.decoded(model).predict_on_batch(corner[None]))[0]
tiled = kd.inference.predict_tiled(model, np.asarray(corner), tile=128, progress=False)
print(f"{(whole == tiled).mean():.2%} of the labels are equal")

# %%
shown = [np.asarray(large[:200, :300]), head.draw(np.asarray(labels[:200, :300]))]
Image.fromarray(kd.plot.grid(shown, columns=2, titles=["a corner", "its labels"]))

# %% [markdown]
# GeoTIFFs keep their place on earth: `kd.inference.predict_tiled(model,
# kd.inference.GeoTiff("in.tif"), out="out.tif")`. On the command line, `python -m keras_dense
# predict` tiles by itself.

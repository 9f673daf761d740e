# %% [markdown]
# # Coloring photographs
#
# A network that sees lightness only, and predicts a distribution over colors at every pixel
# (Zhang et al., 2016). Rare colors count more in its loss, or all would become gray. Point
# `photographs` to a folder of yours; without one, drawn scenes are colored.

# %%
import os
import pathlib

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # or "jax", "torch"

import keras
from PIL import Image

import keras_dense as kd

QUICK = bool(os.environ.get("KERAS_DENSE_QUICK"))  # as little as possible of everything
keras.utils.set_random_seed(0)
photographs = pathlib.Path("photographs")

# %%
if photographs.exists():
    data = kd.datasets.photographs(photographs)
else:
    data = kd.datasets.scenes(12 if QUICK else 160, (64, 96))
train, val = kd.datasets.split(kd.datasets.cached(data), 0.9)
prior = kd.training.estimate_ab_prior(train)  # how often each color occurs
head = kd.heads.Colorization(prior=prior)
print(f"{head.channels} colors, of which {(prior > 0).sum()} occur")

# %%
backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
model = kd.fpn(backbone, heads=head, filters=(32, 32))
kd.training.batch_norm_momentum(model, 0.9)
T = kd.datasets.transforms
batches = kd.datasets.Loader(
    train, head, 8, transforms=[T.RandomCrop(64), T.RandomFlip()], shuffle=True
)
epochs = 1 if QUICK else 10
rate = keras.optimizers.schedules.CosineDecay(3e-3, epochs * len(batches))
model.compile(keras.optimizers.AdamW(rate), **kd.objectives(model))
history = model.fit(batches, epochs=epochs, shuffle=False, verbose=2)

# %% [markdown]
# The colored image keeps the lightness of the photograph. Colors that are equally likely are
# averaged with a temperature: 1 is the mean, and gray; near 0 it is the likeliest color, and
# patchy.

# %%
image = val[0]["image"]
gray = keras.ops.convert_to_numpy(kd.ops.gray(image.astype("float32"))).round().astype("uint8")
colored = keras.ops.convert_to_numpy(kd.decoded(model).predict_on_batch(image[None]))[0]
tiles = [gray, colored, image]
Image.fromarray(kd.plot.grid(tiles, columns=3, titles=["input", "colored", "truth"]))

# %% [markdown]
# # Your own folder
#
# Two folders, images and masks, and a number of minutes: `kd.recipes.train` looks at the data,
# says what it chose and why, trains, and writes a report. Set `images` and `masks` to your
# folders; without them, this notebook draws some.

# %%
import json
import os
import pathlib

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # or "jax", "torch"

import keras
import numpy as np
from PIL import Image

import keras_dense as kd

QUICK = bool(os.environ.get("KERAS_DENSE_QUICK"))  # as little as possible of everything
images, masks = pathlib.Path("folder/images"), pathlib.Path("folder/masks")

# %%
if not images.exists():
    world = kd.datasets.scenes(12 if QUICK else 60, (96, 128))
    images.mkdir(parents=True), masks.mkdir(parents=True)
    for number in range(len(world)):
        sample = world[number]
        Image.fromarray(sample["image"]).save(images / f"{number:03}.png")
        Image.fromarray(sample["segmentation"]).save(masks / f"{number:03}.png")

# %% [markdown]
# ## What the data is

# %%
findings = kd.recipes.look(images, masks, progress=False)
print(findings)

# %% [markdown]
# ## Training
# `weights="imagenet"` (the default) starts from a pretrained classifier; here it is random, to
# work without a download. Every choice of the recipe can be given by its name.

# %%
choices = {"steps": 2, "rounds": 1, "batch_size": 2, "crop": [64, 64]} if QUICK else {}
results = kd.recipes.train(
    images,
    masks,
    out="run",
    weights=None,
    minutes=5,
    exports=[],
    overwrite=True,
    progress=False,
    **choices,
)
print(f"score {results['score']:.3f}, report in {results['report']}")

# %% [markdown]
# What was chosen, and why, is in `run/recipe.json`. It can be edited and trained by again:
# `kd.recipes.train(recipe="run/recipe.json", out="second")`.

# %%
recipe = json.loads(pathlib.Path("run/recipe.json").read_text())
for name in ("network", "crop", "losses", "learning_rate", "steps"):
    print(f"{name}: {recipe['choices'][name]['value']}. {recipe['choices'][name]['why']}")

# %% [markdown]
# ## Use

# %%
model = keras.saving.load_model("run/model.keras")
head = kd.heads.of(model)
image = np.asarray(Image.open(sorted(images.iterdir())[0]).convert("RGB"))
labels = kd.inference.predict_tiled(model, image, progress=False)
Image.fromarray(kd.plot.grid([image, head.overlay(labels, image)], columns=2))

# %% [markdown]
# # Depth and normals of a room
#
# One network predicts how far every pixel is, and which way its surface faces. Both are checked
# against each other: normals can be computed from depth.

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # or "jax", "torch"

import keras
import numpy as np
from PIL import Image

import keras_dense as kd

QUICK = bool(os.environ.get("KERAS_DENSE_QUICK"))  # as little as possible of everything
keras.utils.set_random_seed(0)

# %%
train = kd.datasets.cached(kd.datasets.scenes(8 if QUICK else 160, (64, 96), "train"))
val = kd.datasets.cached(kd.datasets.scenes(4 if QUICK else 24, (64, 96), "val"))
heads = {
    "depth": kd.heads.Depth(0.3, train.max_depth, activation="log_sigmoid"),
    "normals": kd.heads.Normals(),
}
sample = val[1]
tiles = [sample["image"], *(head.draw(head.encode(sample)) for head in heads.values())]
Image.fromarray(kd.plot.grid(tiles, columns=3, titles=["image", "depth", "normals"]))

# %% [markdown]
# ## One network, two heads
# Losses of different kinds are hard to weigh by hand; `balanced` learns the weights. A flip
# mirrors normals, too.

# %%
backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
model = kd.unet(backbone, heads=heads, filters=(48, 32, 24, 24))
kd.training.batch_norm_momentum(model, 0.9)
training = kd.training.balanced(model, kd.training.UncertaintyWeighting())
flip = kd.datasets.transforms.RandomFlip()
batches = kd.datasets.Loader(train, heads, 8, transforms=[flip], shuffle=True)
epochs = 1 if QUICK else 12
rate = keras.optimizers.schedules.PolynomialDecay(4e-3, epochs * len(batches), 0.0)
training.compile(keras.optimizers.AdamW(rate), **kd.objectives(model))
history = training.fit(batches, epochs=epochs, shuffle=False, verbose=2)

# %%
for key, scores in kd.training.evaluate(model, kd.datasets.Loader(val, model, 8)).items():
    print(key, {name: round(float(value), 3) for name, value in list(scores.items())[:4]})

# %% [markdown]
# ## Do depth and normals agree?
# The sky has neither. A slope shows the small errors of a depth map, so after a training as short
# as this one the two differ by tens of degrees.

# %%
found = kd.decoded(model).predict_on_batch(sample["image"][None])
depth, normals = (keras.ops.convert_to_numpy(found[key]) for key in ("depth", "normals"))
depth = depth * (sample["depth"] > 0)
flat = kd.ops.normals_from_depth(depth, sample["intrinsics"])
angle = keras.ops.convert_to_numpy(kd.ops.angle_between(normals, flat))
known = keras.ops.convert_to_numpy(keras.ops.any(flat != 0, axis=-1))
print(f"median {np.degrees(np.median(angle.reshape(known.shape)[known])):.1f} degrees")

# %%
drawn = [head.draw(value[0]) for head, value in zip(heads.values(), (depth, normals), strict=True)]
cloud = kd.plot.point_cloud(depth[0], sample["image"], sample["intrinsics"])
tiles = [kd.plot.fit_width(tile, 224, sharp=True) for tile in (sample["image"], *drawn, cloud)]
titles = ["image", "depth", "normals", "points, from the side"]
Image.fromarray(kd.plot.grid(tiles, columns=4, titles=titles))

# %% [markdown]
# # Few masks, many images
#
# Ten images have masks; of fifty others only the classes are known that they contain. The average
# of the network, the *teacher*, fills in labels where it is sure, and tags say which it may
# choose.

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # or "jax", "torch"

import keras
import numpy as np
from PIL import Image

import keras_dense as kd

QUICK = bool(os.environ.get("KERAS_DENSE_QUICK"))  # as little as possible of everything
keras.utils.set_random_seed(0)
T = kd.datasets.transforms

# %% [markdown]
# ## Two kinds of data
# `weaken` makes tags of masks, to try this out; `kd.datasets.folder(images, tags="tags.csv")`
# reads them from a table.

# %%
world = kd.datasets.cached(kd.datasets.scenes(8 if QUICK else 60, (64, 96), "train"))
few, rest = kd.datasets.split(world, 0.5 if QUICK else 1 / 6)
many = kd.datasets.weaken(rest, "tags")
print(sorted(few[0]), sorted(many[0]))

# %%
names = {"class_names": world.class_names, "palette": world.palette}
heads = {
    "segmentation": kd.heads.Segmentation(world.num_classes, **names),
    "tags": kd.heads.Tags(world.num_classes, weight=0.2, **names),
}
backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
model = kd.fcn8s(backbone, heads=heads)
kd.training.batch_norm_momentum(model, 0.9)  # or the teacher has outdated statistics

# %% [markdown]
# ## Training
# Every batch has both kinds in fixed shares, and every image a weak view, which the teacher
# labels, and a strong one, which the network learns from.

# %%
both = kd.datasets.together(few, many, shares=(2, 4))
loader = kd.datasets.Loader(
    both, heads, 6, transforms=[T.RandomFlip()], shuffle=True, missing="unknown"
)
strong = [T.ColorJitter(), T.Blur(probability=0.5)]
views = kd.training.TwoViews(loader, strong=strong, mix=kd.datasets.BoxMix())
epochs = 1 if QUICK else 25
training = kd.training.self_training(model, momentum=0.97, ramp=len(views) * epochs // 4)
rate = keras.optimizers.schedules.CosineDecay(2e-3, len(views) * epochs)
training.compile(keras.optimizers.AdamW(rate), **kd.objectives(training))
history = training.fit(views, epochs=epochs, shuffle=False, verbose=0).history
print(f"filled in the last epoch: {history['filled'][-1]:.0%}")

# %% [markdown]
# ## What the teacher fills in
# The masks are there to compare with, as this is an experiment.

# %%
found = kd.training.infer_labels(training.teacher, many, "inferred", overwrite=True)
head, rows = heads["segmentation"], []
for number in (0, 1, 2):
    labels = np.asarray(Image.open(f"inferred/labels/{found[number].name}.png"))
    sample = rest[number]
    rows += [sample["image"], head.draw(sample["segmentation"]), head.draw(labels)]
Image.fromarray(kd.plot.grid(rows, columns=3, titles=["image", "mask", "filled in"]))

# %%
training.teacher.save("teacher.keras")

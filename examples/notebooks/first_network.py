# %% [markdown]
# # A first network
#
# From an image classifier to a class for every pixel. The images are drawn by the library, so
# nothing is downloaded.

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # or "jax", "torch"

import keras
from PIL import Image

import keras_dense as kd

QUICK = bool(os.environ.get("KERAS_DENSE_QUICK"))  # as little as possible of everything
keras.utils.set_random_seed(0)

# %% [markdown]
# ## Data
# A sample is a dict of arrays. `scenes` draws solids on a plane, with labels, depth and normals.

# %%
train = kd.datasets.cached(kd.datasets.scenes(8 if QUICK else 240, (64, 96), "train"))
val = kd.datasets.cached(kd.datasets.scenes(4 if QUICK else 32, (64, 96), "val"))
head = kd.heads.Segmentation(
    train.num_classes, class_names=train.class_names, palette=train.palette
)
sample = train[0]
print({key: value.shape for key, value in sample.items()})
shown = [sample["image"], head.draw(sample["segmentation"])]
Image.fromarray(kd.plot.grid([kd.plot.fit_width(x, 256, sharp=True) for x in shown], columns=2))

# %% [markdown]
# ## Network
# A classifier without its top gives features at several strides; a decoder brings the detail
# back; the head says what is predicted. Here the classifier starts from random weights, to work
# without a download: with `weights="imagenet"` it knows photographs already.

# %%
backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
print({level: feature.shape[-1] for level, feature in backbone.output.items()})
model = kd.unet(backbone, heads=head, filters=(48, 32, 24, 16))
print(f"{model.count_params():,} weights, output {model.output_shape}")

# %% [markdown]
# ## Training
# Plain `fit`. The head has the loss and the metrics; the loader shuffles.

# %%
kd.training.batch_norm_momentum(model, 0.9)  # its averages follow a short training
flip = kd.datasets.transforms.RandomFlip()
batches = kd.datasets.Loader(train, head, 8, transforms=[flip], shuffle=True)
epochs = 1 if QUICK else 20
rate = keras.optimizers.schedules.CosineDecay(4e-3, epochs * len(batches))
model.compile(keras.optimizers.AdamW(rate), **kd.objectives(model))
history = model.fit(batches, epochs=epochs, shuffle=False, verbose=2)

# %% [markdown]
# ## Scores and a drawing

# %%
scores = kd.training.evaluate(model, kd.datasets.Loader(val, model, 8))
print(kd.training.class_table(scores, head.class_names))

# %%
image, truth = val[0]["image"], val[0]["segmentation"]
labels = keras.ops.convert_to_numpy(kd.decoded(model).predict(image[None], verbose=0))[0]
drawing = kd.plot.panel(image, truth, labels, head.palette, class_names=head.class_names)
Image.fromarray(drawing)

# %% [markdown]
# The file has the network and its head, and loads on any backend:

# %%
model.save("first_network.keras")
model = keras.saving.load_model("first_network.keras")
print(kd.heads.of(model).class_names)

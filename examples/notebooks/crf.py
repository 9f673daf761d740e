# %% [markdown]
# # A CRF sharpens borders
#
# A network at stride 32 knows what is there, and only roughly where. A dense conditional random
# field moves labels to the edges of the image: after training (`dense_crf`), or as the last layer
# of the network, trained with it (`with_crf`).

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # or "jax", "torch"

import keras
from PIL import Image

import keras_dense as kd

QUICK = bool(os.environ.get("KERAS_DENSE_QUICK"))  # as little as possible of everything
keras.utils.set_random_seed(0)

# %%
train = kd.datasets.cached(kd.datasets.scenes(8 if QUICK else 160, (64, 96), "train"))
val = kd.datasets.cached(kd.datasets.scenes(3 if QUICK else 24, (64, 96), "val"))
head = kd.heads.Segmentation(
    train.num_classes, class_names=train.class_names, palette=train.palette
)
backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
model = kd.fcn16s(backbone, heads=head)
kd.training.batch_norm_momentum(model, 0.9)
flip = kd.datasets.transforms.RandomFlip()
batches = kd.datasets.Loader(train, head, 8, transforms=[flip], shuffle=True)
epochs = 1 if QUICK else 10
rate = keras.optimizers.schedules.CosineDecay(4e-3, epochs * len(batches))
model.compile(keras.optimizers.AdamW(rate), **kd.objectives(model))
history = model.fit(batches, epochs=epochs, shuffle=False, verbose=2)

# %% [markdown]
# ## Afterward
# Widths are in pixels and in levels of color; those for photographs of 500 × 375 are too wide
# here.

# %%
image, truth = val[0]["image"], val[0]["segmentation"]
p = keras.ops.convert_to_numpy(keras.ops.softmax(model.predict_on_batch(image[None])))[0]
kernel = {"bilateral_sxy": 15, "bilateral_srgb": 10, "bilateral_compat": 5, "gaussian_compat": 1}
refined = kd.inference.dense_crf(p, image, 5, **kernel)
tiles = [image, *(head.draw(x) for x in (p.argmax(-1), refined.argmax(-1), truth))]
Image.fromarray(kd.plot.grid(tiles, columns=4, titles=["image", "network", "with CRF", "truth"]))

# %% [markdown]
# `kd.inference.dense_crf` has the arguments of pydensecrf; `examples/search_crf.py` searches
# them.
#
# ## As a layer
# The same mean field, unrolled. Its kernels' weights and the compatibility of classes are
# learned.

# %%
joint = kd.with_crf(model, iterations=3, theta_alpha=15.0, theta_beta=10.0)
for layer in model.layers:
    layer.trainable = False  # now only the CRF learns
joint.compile(keras.optimizers.Adam(1e-3), **kd.objectives(joint))
history = joint.fit(batches, epochs=1 if QUICK else 3, shuffle=False, verbose=2)

# %%
for name, network in (("network", model), ("with CRF", joint)):
    scores = kd.training.evaluate(network, kd.datasets.Loader(val, head, 4))
    print(f"{name}: mean IoU {scores['mean_iou']:.3f}")

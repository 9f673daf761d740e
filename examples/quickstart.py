"""Train a network to label drawn scenes, and use it: two minutes on two cores, no downloads."""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

import keras_dense as kd

keras.utils.set_random_seed(0)

# Data: images with labels, and batches of them.
train = kd.datasets.cached(kd.datasets.scenes(240, (64, 96), "train"))
val = kd.datasets.cached(kd.datasets.scenes(40, (64, 96), "val"))
head = kd.heads.Segmentation(
    train.num_classes, class_names=train.class_names, palette=train.palette
)
flip = kd.datasets.transforms.RandomFlip()
batches = kd.datasets.Loader(train, head, batch_size=8, transforms=[flip], shuffle=True)

# A network: features of a small backbone, a decoder, and a head. It knows its head from now on.
backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
model = kd.unet(backbone, heads=head, filters=(48, 32, 24, 16))
kd.training.batch_norm_momentum(model, 0.9)  # The training is short.

rate = keras.optimizers.schedules.CosineDecay(4e-3, 16 * len(batches))
model.compile(keras.optimizers.AdamW(rate), **kd.objectives(model))
model.fit(batches, epochs=16, shuffle=False, verbose=2)  # The loader shuffles.

scores = kd.training.evaluate(model, kd.datasets.Loader(val, model, batch_size=8))
print(kd.training.class_table(scores, val.class_names))

# A file, and all that is needed to use it.
model.save("quickstart.keras")
model = keras.saving.load_model("quickstart.keras")
samples = [val[index] for index in range(3)]
images = np.stack([sample["image"] for sample in samples])
labels = keras.ops.convert_to_numpy(kd.decoded(model).predict(images, verbose=0))

drawing = kd.plot.panel(
    list(images),
    [sample["segmentation"] for sample in samples],
    list(labels),
    head.palette,
    class_names=head.class_names,
)
kd.plot.save("quickstart.png", drawing)
print("Look at quickstart.png: image, truth, prediction, error.")

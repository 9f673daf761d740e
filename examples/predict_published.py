"""Paint photographs with a published network: `predict_published.py photograph.jpg …`.

The network is downloaded on first use. Arguments that end in .tar.gz, .pb, .h5, .index or .tflite
are its file instead, if you have it. Drawings are stored in the working directory.
"""

import os
import pathlib
import sys

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from PIL import Image, ImageOps

import keras_dense as kd

WEIGHTS = (".tar.gz", ".pb", ".h5", ".index", ".tflite")
SIDE = 513  # Of the images that the network was trained on.

files = [path for path in sys.argv[1:] if path.endswith(WEIGHTS)]
photographs = [pathlib.Path(path) for path in sys.argv[1:] if path not in files]
if not photographs or len(files) > 1:
    sys.exit(__doc__)

# A published network: what is known about it, and its weights. It knows its classes and colors.
small = files and "dm05" in files[0]
kind = "8bit" if files and files[0].endswith(".tflite") else ""
name = "_".join(filter(None, ("deeplab/mobilenetv2", "dm05" if small else "", "voc", kind)))
print(kd.weights.info(name), "\n")
model = kd.weights.pretrained(name, path=files[0] if files else None)
head = kd.heads.of(model)

labeler = kd.decoded(model)
for path in photographs:
    photograph = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    image = np.asarray(ImageOps.contain(photograph, (SIDE, SIDE)))
    labels = keras.ops.convert_to_numpy(labeler.predict(image[None], verbose=0))[0]
    tiles = [image, kd.plot.colorize(labels, head.palette)]
    tiles.append(kd.plot.overlay(image, labels, head.palette))
    drawing = kd.plot.grid(tiles, titles=("image", "labels", "labels over the image"))
    present = np.unique(labels)
    entries = [(head.class_names[label], head.palette[label]) for label in present]
    drawing = np.concatenate([drawing, kd.plot.legend(entries, width=drawing.shape[1])])
    kd.plot.save(f"{path.stem}_labels.jpg", drawing)
    shares = np.bincount(labels.ravel(), minlength=head.num_classes) / labels.size
    found = [f"{head.class_names[n]} {shares[n]:.0%}" for n in present]
    print(f"{path.stem}_labels.jpg: {', '.join(found)}")

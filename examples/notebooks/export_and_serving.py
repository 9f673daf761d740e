# %% [markdown]
# # Export and serving
#
# A trained network leaves Keras as a file that takes images and returns labels, with the names of
# its classes inside. Exports run on TensorFlow; a `.keras` file that was trained on another
# backend loads there.

# %%
import json
import os
import pathlib
import subprocess
import sys

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
from PIL import Image

import keras_dense as kd

keras.utils.set_random_seed(0)

# %%
world = kd.datasets.scenes(4, (64, 96))
head = kd.heads.Segmentation(
    world.num_classes, class_names=world.class_names, palette=world.palette
)
backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
model = kd.fcn8s(backbone, heads=head)  # train it as in "A first network"
model.save("model.keras")

# %% [markdown]
# ## A SavedModel
# The written file is run and compared with the network.

# %%
kd.export.savedmodel(model, "served/1")
about = json.loads(pathlib.Path("served/1/assets/about.json").read_text())
print(json.dumps(about, indent=1)[:300])

# %% [markdown]
# It needs TensorFlow alone, without Keras and without this library:

# %%
code = """
import sys
sys.modules["keras"] = sys.modules["keras_dense"] = None  # TensorFlow imports Keras if it is there
import numpy as np, tensorflow as tf
served = tf.saved_model.load("served/1")
images = np.zeros((1, 64, 96, 3), np.uint8)
found = served.signatures["serving_default"](images=tf.constant(images))
print({name: value.shape for name, value in found.items()})
"""
environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
command = [sys.executable, "-c", code]
print(subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout)

# %% [markdown]
# ## ONNX
# For ONNX Runtime, in many languages. `pip install keras_dense[export]` has what is needed.


# %%
def run_onnx(image):
    """Export, and the labels of ONNX Runtime."""
    try:
        import onnxruntime
    except ImportError as error:
        return print(f"left out: {error}")
    print(kd.export.onnx(model, "model.onnx"))
    session = onnxruntime.InferenceSession("model.onnx")
    labels = session.run(["labels"], {"images": image[None]})[0][0]
    return Image.fromarray(kd.plot.grid([image, head.draw(labels)], columns=2))


run_onnx(world[0]["image"])

# %% [markdown]
# ## A server
# SavedModels are served by TensorFlow Serving and Triton, ONNX files by Triton and ONNX Runtime.
# `examples/serving/server.py` answers HTTP with the labels of an ONNX file; docs/serving.md says
# how to run each.

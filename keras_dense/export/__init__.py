"""Export to four runtimes: images in, results out.

Each function takes a model and a path, writes a file (or folder), runs it with its own runtime and
returns the difference of its results to those of the model.

The graph takes uint8 RGB images `(B, H, W, 3)` and returns a dict of tensors:

| head | outputs |
|---|---|
| `Segmentation` | `labels` uint8 `(B, H, W)`, `confidence` float32: the probability of the label |
| `Depth` | `depth` float32 meters `(B, H, W, 1)` |
| `Normals` | `normals` float32 `(B, H, W, 3)`; with concentration `uncertainty`, degrees |
| `Colorization` | `color` uint8 RGB `(B, H, W, 3)` |
| another | those of its `outputs`; by default `prediction`, the result of its `decode` |

In a dict of heads the key comes first, unless it is the same word: `{"depth": Depth(), "objects":
Segmentation(5)}` gives `depth`, `objects_labels`, `objects_confidence`. Labels and
confidence of multilabel heads have a last axis of classes. The meaning of the outputs (classes,
colors, units) is stored in the file as JSON, always under the name `about` or `about.json`.

TensorFlow is the backend that exports; a `.keras` file from any backend is loaded there:

```python
# KERAS_BACKEND=tensorflow
model = keras.saving.load_model("model.keras", compile=False)
kd.export.onnx(model, "model.onnx")
```
"""

from keras_dense.export.litert import litert
from keras_dense.export.onnx import onnx
from keras_dense.export.openvino import openvino
from keras_dense.export.savedmodel import savedmodel

__all__ = ["litert", "onnx", "openvino", "savedmodel"]

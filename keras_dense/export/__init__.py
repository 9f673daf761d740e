"""Models that leave Keras: images in, what people use out, in the files of four runtimes.

Each function takes a model and its heads, writes a file (or folder), runs it with its own runtime
and returns how far its answers are from the model's.

The graph takes images as they come, uint8 RGB `(B, H, W, 3)`, and returns a dict of tensors:

| head | outputs |
|---|---|
| `Segmentation` | `labels` uint8 `(B, H, W)`, `confidence` float32: the probability of the label |
| `Depth` | `depth` float32 meters `(B, H, W, 1)` |
| `Normals` | `normals` float32 `(B, H, W, 3)`; with concentration `uncertainty`, degrees |
| `Colorization` | `color` uint8 RGB `(B, H, W, 3)` |
| another | `prediction`, what its `decode` returns |

In a dict of heads the key comes first, where it is another word: `{"depth": Depth(), "objects":
Segmentation(5)}` gives `depth`, `objects_labels`, `objects_confidence`. Of multilabel heads labels
and confidence have a last axis of classes. What the outputs mean (classes, colors, units) travels
along as JSON, called `about` or `about.json` everywhere.

TensorFlow is the backend that exports; a `.keras` file from any backend is loaded there:

```python
# KERAS_BACKEND=tensorflow
model = keras.saving.load_model("model.keras", compile=False)
kd.export.onnx(model, heads, "model.onnx")
```
"""

from keras_dense.export.litert import litert
from keras_dense.export.onnx import onnx
from keras_dense.export.openvino import openvino
from keras_dense.export.savedmodel import savedmodel

__all__ = ["litert", "onnx", "openvino", "savedmodel"]

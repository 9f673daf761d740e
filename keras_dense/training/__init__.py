from keras_dense.training.batch_norm import freeze_batch_norm as freeze_batch_norm
from keras_dense.training.checkpoint import Checkpoint as Checkpoint
from keras_dense.training.layerwise import LayerwiseOptimizer as LayerwiseOptimizer
from keras_dense.training.layerwise import layerwise as layerwise

__all__ = ["Checkpoint", "LayerwiseOptimizer", "freeze_batch_norm", "layerwise"]

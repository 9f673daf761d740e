from keras_dense.training.batch_norm import freeze_batch_norm as freeze_batch_norm
from keras_dense.training.layerwise import LayerwiseOptimizer as LayerwiseOptimizer
from keras_dense.training.layerwise import layerwise as layerwise

__all__ = ["LayerwiseOptimizer", "freeze_batch_norm", "layerwise"]

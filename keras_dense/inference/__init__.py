"""Ways to predict with a trained model."""

from keras_dense.inference.crf_energy import crf_energy
from keras_dense.inference.dense_crf import dense_crf
from keras_dense.inference.layer_cascade import LayerCascade

__all__ = ["LayerCascade", "crf_energy", "dense_crf"]

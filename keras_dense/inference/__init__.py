"""Ways to predict with a trained model."""

from keras_dense.inference.layer_cascade import LayerCascade

__all__ = ["LayerCascade"]

"""Ways to predict with a trained model."""

from keras_dense.inference.crf_energy import crf_energy
from keras_dense.inference.dense_crf import dense_crf
from keras_dense.inference.geotiff import GeoTiff
from keras_dense.inference.layer_cascade import LayerCascade
from keras_dense.inference.number_objects import number_objects
from keras_dense.inference.predict_multiscale import predict_multiscale
from keras_dense.inference.predict_tiled import predict_tiled
from keras_dense.inference.tiled_predictor import TiledPredictor

__all__ = [
    "GeoTiff",
    "LayerCascade",
    "TiledPredictor",
    "crf_energy",
    "dense_crf",
    "number_objects",
    "predict_multiscale",
    "predict_tiled",
]

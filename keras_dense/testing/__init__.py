"""The contracts that every public thing passes; public, so that yours can too."""

from keras_dense.testing.check_layer import check_layer
from keras_dense.testing.check_loss import check_loss
from keras_dense.testing.check_metric import check_metric
from keras_dense.testing.check_model import check_model

__all__ = ["check_layer", "check_loss", "check_metric", "check_model"]

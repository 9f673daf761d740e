"""What turns features into a map to predict from: the decoders of all networks, by name.

>>> from keras_dense import decoders
>>> decoder = decoders.fcn(skips=("P4",))
"""

from keras_dense.models.fcn import fcn_decoder as fcn

__all__ = ["fcn"]

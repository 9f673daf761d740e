"""What turns features into a map to predict from: the decoders of all networks, by name.

>>> from keras_dense import decoders
>>> decoder = decoders.fcn(skips=("P4",))
"""

from keras_dense.models.deeplabv3 import deeplabv3_decoder as deeplabv3
from keras_dense.models.deeplabv3plus import deeplabv3plus_decoder as deeplabv3plus
from keras_dense.models.fcn import fcn_decoder as fcn
from keras_dense.models.pspnet import pspnet_decoder as pspnet

__all__ = ["deeplabv3", "deeplabv3plus", "fcn", "pspnet"]

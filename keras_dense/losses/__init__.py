"""Losses over logits: one contract (see `DenseLoss`), one formula a file."""

from keras_dense.losses.contract import DenseLoss
from keras_dense.losses.cross_entropy import CrossEntropy

__all__ = ["CrossEntropy", "DenseLoss"]

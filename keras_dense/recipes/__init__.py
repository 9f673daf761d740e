"""From a folder of images and masks to a trained model in one call."""

from keras_dense.recipes.card import card
from keras_dense.recipes.choose import choose
from keras_dense.recipes.look import Findings, look
from keras_dense.recipes.recipe import Recipe
from keras_dense.recipes.run import train

__all__ = ["Findings", "Recipe", "card", "choose", "look", "train"]

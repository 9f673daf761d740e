"""Every layer passes the test that Keras has for its own layers, as it is."""

import inspect

import keras
import numpy as np
import pytest
from keras.src import testing

import keras_dense as kd

MAP = (2, 9, 8, 6)


class _Case(testing.TestCase):
    def runTest(self):  # noqa: N802
        pass


def _rows():
    """Layer, arguments, input, output shape, number of weights, dtype of the input."""
    layers = kd.layers
    one, two = (2, 9, 8, 1), {"x_shape": MAP, "like_shape": (2, 7, 5, 3)}
    mirror = {"kernel_size": 3, "rate": 2}
    yield layers.AdaptiveAveragePooling2D, {"bins": (2, 3)}, MAP, (2, 2, 3, 6), 0
    yield layers.AnnealedMean, {"grid": 55}, (2, 3, 3, 24), (2, 3, 3, 2), 0
    yield layers.AtrousAveragePooling2D, {"pool_size": 3, "rate": 2}, MAP, MAP, 0
    yield layers.AtrousConv2D, {"filters": 4, **mirror}, MAP, (2, 9, 8, 4), 2
    yield layers.AtrousDepthwiseConv2D, mirror, MAP, MAP, 2
    yield layers.AtrousMaxPooling2D, {"pool_size": 3, "rate": 2}, MAP, MAP, 0
    yield layers.AtrousSeparableConv2D, {"filters": 4, **mirror}, MAP, (2, 9, 8, 4), 3
    yield layers.BilinearInitConvTranspose, {"filters": 4, "factor": 2}, MAP, (2, 18, 16, 4), 1
    yield layers.BilinearUpsampling, {"factor": 2}, MAP, (2, 18, 16, 6), 0
    crf = {"logits_shape": (1, 4, 5, 2), "image_shape": (1, 4, 5, 3)}
    yield layers.CRFasRNN, {"iterations": 1}, crf, (1, 4, 5, 2), 3
    yield layers.Certainty, {}, MAP, one, 0
    yield layers.CropLike, {}, two, (2, 7, 5, 6), 0
    yield layers.DepthActivation, {}, one, one, 0
    places = {"x_shape": MAP, "positions_shape": (2, 5, 2)}
    yield layers.GatherPixels, {}, places, (2, 5, 6), 0
    maps = ((2, 4, 4, 3), (2, 2, 2, 2))
    yield layers.HypercolumnMLP, {"units": (5, 3), "strides": (1, 2)}, maps, (2, 4, 4, 3), 5
    yield layers.KeepCells, {}, {"inputs_shape": MAP, "kept_shape": one}, MAP, 0
    yield layers.Lightness, {}, (2, 5, 5, 3), (2, 5, 5, 3), 0
    yield layers.LocalResponseNormalization, {"size": 3}, MAP, MAP, 0
    yield layers.LocationBias, {}, MAP, MAP, 1
    yield layers.MaxPoolWithArgmax2D, {}, MAP, ((2, 4, 4, 6), (2, 4, 4, 6)), 0
    windows = {"x_shape": (2, 4, 4, 6), "indices_shape": (2, 4, 4, 6)}
    yield layers.MaxUnpool2D, {}, windows, (2, 8, 8, 6), 0
    yield layers.PadToMinimum, {"minimum": 9}, MAP, (2, 9, 9, 6), 0
    yield layers.PadToMultiple, {"multiple": 4}, MAP, (2, 12, 8, 6), 0
    yield layers.PhasePooling2D, {"rate": 2}, MAP, (2, 2, 2, 6), 0
    yield layers.PixelShuffle, {"factor": (1, 2)}, MAP, (2, 9, 16, 3), 0
    image = {"x_shape": MAP, "image_shape": (2, 30, 29, 3)}
    yield layers.PlaceLike, {"first": 1, "step": 3, "size": (30, 29)}, image, (2, 30, 29, 6), 0
    yield layers.PoolKeptCells, {"rate": 2}, {"inputs_shape": MAP, "kept_shape": one}, (2, 2, 2, 6), 0
    colors = {"ab_shape": (2, 2, 2, 2), "image_shape": (2, 7, 5, 3)}
    yield layers.Recolor, {"stride": 4}, colors, (2, 7, 5, 3), 0
    yield layers.ReflectionPadding2D, {"margin": 2}, MAP, (2, 13, 12, 6), 0
    yield layers.ResizeLike, {}, two, (2, 7, 5, 6), 0
    stages = {"later_shape": MAP, "before_shape": MAP, "reached_shape": one}
    yield layers.Settled, {}, stages, MAP, 0
    yield layers.Standardize, {"mean": 1.0, "std": 2.0}, MAP, MAP, 0
    phases = {"phases_shape": (2, 2, 2, 6), "like_shape": (2, 7, 5, 3)}
    yield layers.TilePhases, {}, phases, (2, 7, 5, 6), 0
    yield layers.UnitNormals, {}, (2, 5, 5, 3), (2, 5, 5, 3), 0
    yield layers.Unsure, {"threshold": 0.9}, {"certainty_shape": one, "before_shape": one}, one, 0


ROWS = list(_rows())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].__name__)
def test_every_layer_passes_the_test_of_keras_for_layers(row):
    layer, arguments, shapes, output, weights = row
    case = _Case()
    case.setUp()
    integers = {"positions_shape", "indices_shape"}
    dtypes = None
    if isinstance(shapes, dict):
        dtypes = {k: "int32" if k in integers else "float32" for k in shapes}
    case.run_layer_test(
        layer,
        init_kwargs=arguments,
        input_shape=shapes,
        input_dtype=dtypes,
        expected_output_shape=output,
        expected_num_trainable_weights=weights,
        expected_num_non_trainable_weights=0,
        expected_num_losses=0,
        # Keras trains with one argument; layers of several are not called so.
        run_training_check=not isinstance(shapes, dict),
    )

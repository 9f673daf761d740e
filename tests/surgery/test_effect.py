"""Every layer of `kd.layers` in every operation of surgery: right results, or a reasoned error.

`LAYERS` has a row for each layer, and a layer without a row fails. Each operation is applied to a
layer on a map of stride 2, and its result is compared with numbers: receptive fields with the
pixels that change the output, dilated networks with the original, and so on.
"""

from dataclasses import dataclass
from math import inf

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_dense as kd
from keras_dense.surgery import convolutionalize, dilate, fold_batch_norm, receptive_field, strides
from keras_dense.surgery.effect import EFFECTS
from keras_dense.surgery.region import RegionNetwork

from .networks import images, randomized

SIZE = 24


@dataclass
class Row:
    """One layer: its call, and the expected result of each operation.

    Attributes:
        call: `call(x, image)`, the layer on a map x of stride 2 with 4 channels.
        stride: stride of the result; `None`: no map.
        field: `True`: the receptive field equals the pixels seen; `inf`: the whole image; a str:
            the text of the error.
        dilate, region, body, top: the text of the error; `None`: handled. `body` and `top` are of
            `convolutionalize`, before and after the pooling of a classifier; "-": not for 1×1 maps.
        folds: whether batch norm after the layer is folded into it.
        known: whether the layer needs a map of known size.
    """

    call: object
    stride: object = 2
    field: object = True
    dilate: str | None = None
    region: str | None = None
    body: str | None = None
    top: str | None = None
    folds: bool = False
    known: bool = False


def kind(name):
    """The class of a layer, also where only surgery and models use it."""
    return keras.saving.get_registered_object(f"keras_dense>{name}")


def make(class_name, *args, name="it", **kwargs):
    return kind(class_name)(*args, name=name, **kwargs)


def it(class_name, *args, **kwargs):
    """The layer of a name, on the map alone."""
    return lambda x, image: make(class_name, *args, **kwargs)(x)


def with_image(class_name, *args, **kwargs):
    """The layer of a name, on the map and the image."""
    return lambda x, image: make(class_name, *args, **kwargs)(x, image)


def colors(x):
    return layers.Conv2D(3, 1, name="colors")(x)


def mask(x):
    return make("Unsure", 0.7, name="mask")(make("Certainty", name="certainty")(x))


def gathered(x, image):
    return make("GatherPixels", name="it")(x, np.array([[[0, 1], [2, 3]]], "int32"))


def unpooled(x, image):
    pooled, indices = make("MaxPoolWithArgmax2D", name="pool")(x)
    return make("MaxUnpool2D", name="it")(pooled, indices, like=x)


def cropped(x, image):
    larger = layers.ZeroPadding2D(((0, 3), (0, 3)), name="larger")(x)
    return make("CropLike", name="it")(larger, x)


def fitted(x, image):
    larger = layers.ZeroPadding2D(((1, 2), (1, 2)), name="larger")(x)
    return make("FitLike", centered=True, name="it")(larger, x)


def phases(x, image):
    pooled = make("PhasePooling2D", 2, name="it")(x)
    return layers.Multiply(name="gated")([x, make("TilePhases", name="tile")(pooled, x)])


def tiled(x, image):
    pooled = make("PhasePooling2D", 2, name="pool")(x)
    return make("TilePhases", name="it")(pooled, x)


def pooled_by_mask(x, image):
    pooled = make("PoolKeptCells", 1, name="it")(x, mask(x))
    return layers.Multiply(name="gated")([x, pooled])


def present(x, image):
    presence = make("ClassPresence", name="it")(x)
    return layers.Multiply(name="weighed")([x, layers.Reshape((1, 1, 4), name="map")(presence)])


def masked(x, image):
    features = make("ClassFeatures", name="it")(x, x)
    numbers = layers.Dense(4, name="dense")(layers.Flatten(name="flat")(features))
    return layers.Multiply(name="weighed")([x, layers.Reshape((1, 1, 4), name="map")(numbers)])


def gated(x, image):
    return make("TagGate", name="it")(x, make("ClassPresence", name="presence")(x))


def hypercolumns(x, image):
    return make("HypercolumnMLP", (4,), (2, 1), name="it")([x, colors(image)])


MORE = "'it'.*looks at more than one pixel"
MORE_BEFORE = "'presence'.*looks at more than one pixel"
NO_FORM = "without a convolutional form: 'it'"
# Layers that look at more than their own cell, and to which nothing but the two numbers applies.
MOVES = {"dilate": MORE, "region": f"{MORE} in a way unknown", "top": NO_FORM}
# Layers whose second map has another size.
JOINS = {"dilate": "'it' joins maps that became denser", "top": "-"}
SIZES = "'it'.*looks at more than one pixel in a way unknown"

LAYERS = {
    "AdaptiveAveragePooling2D": Row(
        it("AdaptiveAveragePooling2D", 2),
        stride=None,
        field=inf,
        **MOVES,
        body="a layer that brings its map to one size",
    ),
    "AlignedUpsampling": Row(it("AlignedUpsampling", 2, size="corners"), stride=1, **MOVES),
    "AnnealedMean": Row(
        lambda x, image: make("AnnealedMean", name="it")(layers.Conv2D(313, 1)(x)), top="-"
    ),
    "AtrousAveragePooling2D": Row(it("AtrousAveragePooling2D", 2), top=NO_FORM),
    "AtrousConv2D": Row(it("AtrousConv2D", 4, 3, rate=2), folds=True),
    "AtrousDepthwiseConv2D": Row(it("AtrousDepthwiseConv2D", 3, rate=2), folds=True),
    "AtrousMaxPooling2D": Row(it("AtrousMaxPooling2D", 3, rate=2), top=NO_FORM),
    "AtrousSeparableConv2D": Row(it("AtrousSeparableConv2D", 4, 3, rate=2), folds=True),
    "BilinearInitConvTranspose": Row(it("BilinearInitConvTranspose", 4, 2), stride=1, **MOVES),
    "BilinearUpsampling": Row(it("BilinearUpsampling", 2), stride=1, **MOVES),
    "CRFasRNN": Row(
        lambda x, image: make("CRFasRNN", 2, exact=True, name="it")(x, colors(x)),
        field=inf,
        dilate=MORE,
        region=SIZES,
        top="-",
    ),
    "Certainty": Row(it("Certainty")),
    "ClassFeatures": Row(masked, field=inf, dilate=MORE, region=SIZES, top="-"),
    "ClassPresence": Row(present, field=inf, dilate=MORE, region=SIZES, top="-"),
    "CropLike": Row(
        cropped,
        dilate=MORE,
        region=".*",
        top="-",
    ),
    "DepthActivation": Row(it("DepthActivation", max_depth=10.0)),
    "FitLike": Row(fitted, dilate=MORE, region=".*", top="-"),
    "GatherPixels": Row(
        gathered,
        stride=None,
        field="'it'.*pixels at positions",
        dilate="'it'.*reads positions of the map as it was",
        region=".*",
        body="a layer that brings its map to one size",
        top="-",
    ),
    "HeadOutput": Row(lambda x, image: make("HeadOutput", kd.heads.Segmentation(4))(x)),
    "HypercolumnMLP": Row(hypercolumns, stride=1, **JOINS, region=SIZES),
    "ICNR": None,  # an initializer
    "KeepCells": Row(lambda x, image: make("KeepCells", name="it")(x, mask(x)), top="-"),
    "Lightness": Row(lambda x, image: make("Lightness", name="it")(colors(x)), top="-"),
    "LocalResponseNormalization": Row(it("LocalResponseNormalization", 3, alpha=1.0)),
    "LocationBias": Row(
        it("LocationBias"),
        dilate=MORE,
        region=SIZES,
        body="Height and width of the input must be known",
        top=NO_FORM,
        known=True,
    ),
    "MaxPoolWithArgmax2D": Row(
        lambda x, image: make("MaxPoolWithArgmax2D", name="it")(x)[0],
        stride=4,
        dilate="'it'.*returns indices of the map as it was",
        region=SIZES,
        top="-",
    ),
    "MaxUnpool2D": Row(unpooled, dilate="'pool'.*returns indices", region="'pool'.*more", top="-"),
    "MergePatches": Row(it("MergePatches", 2), stride=4, **MOVES),
    "PadToMinimum": Row(it("PadToMinimum", 7), **MOVES),
    "PadToMultiple": Row(it("PadToMultiple", 2), **{**MOVES, "top": "-"}),
    "PhasePooling2D": Row(phases, field=inf, top="-"),
    "PixelShuffle": Row(it("PixelShuffle", 2), stride=1, **MOVES),
    "PlaceLike": Row(
        with_image("PlaceLike", first=0.5, step=2.0, size=(SIZE, SIZE)),
        stride=1,
        **JOINS,
        region=SIZES,
        known=True,
    ),
    "PoolKeptCells": Row(
        pooled_by_mask,
        field=inf,
        dilate="'it'.*pools the cells of a mask",
        region="'it'.*by a mask of its own",
        top="-",
    ),
    "PositionAttention": Row(
        lambda x, image: make("PositionAttention", name="it")(x, x, x),
        field=inf,
        dilate=MORE,
        region=SIZES,
        top="without a convolutional form: 'it'",
    ),
    "RebuildByColor": Row(
        lambda x, image: make("RebuildByColor", name="it")(x, colors(x)),
        field=inf,
        dilate=MORE,
        region=SIZES,
        top="-",
    ),
    "Recolor": Row(
        lambda x, image: layers.Rescaling(1.0, name="float")(
            make("Recolor", 2)(layers.Conv2D(2, 1, name="ab")(x), image)
        ),
        stride=1,
        **JOINS,
        region=SIZES,
    ),
    "ReflectionPadding2D": Row(it("ReflectionPadding2D", ((3, 1), (0, 2))), **MOVES),
    "ResizeLike": Row(with_image("ResizeLike"), stride=1, dilate=MORE, region=SIZES, top="-"),
    "Settled": Row(lambda x, image: make("Settled", name="it")(x, ops.tanh(x), mask(x)), top="-"),
    "SpatialReductionAttention": Row(
        it("SpatialReductionAttention", 2, 2), field=inf, dilate=MORE, region=SIZES, top=NO_FORM
    ),
    "Standardize": Row(it("Standardize", mean=(0.1, 0.2, 0.3, 0.4), std=2.0)),
    "TagGate": Row(gated, field=inf, dilate=MORE_BEFORE, region=f"{MORE_BEFORE}.*unknown", top="-"),
    "TilePhases": Row(tiled, field=inf, top="-"),
    "UnitNormals": Row(lambda x, image: make("UnitNormals", name="it")(colors(x)), top="-"),
    "Unsure": Row(
        lambda x, image: make("Unsure", 0.5, name="it")(make("Certainty", name="certainty")(x)),
        top="-",
    ),
    "WindowAttention": Row(
        it("WindowAttention", 2, 3, shift=1), field=inf, dilate=MORE, region=SIZES, top=NO_FORM
    ),
}
# Steps of a threshold do not change with a pixel at every cell, colors are clipped.
COARSE = ("Unsure", "Settled", "Recolor")
ROWS = [pytest.param(name, row, id=name) for name, row in LAYERS.items() if row is not None]


def network(row, finish=lambda x: x, size=None, free=False):
    """Image, a convolution of stride 2, the layer."""
    size = SIZE if size is None else size
    image = keras.Input((None, None, 3) if free and not row.known else (size, size, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same", name="first")(image)
    return randomized(keras.Model(image, finish(row.call(x, image))))


def run(model, *inputs):
    return ops.convert_to_numpy(model(*inputs, training=False)).astype("float64")


def test_every_layer_has_a_row_and_an_effect():
    assert not set(kd.layers.__all__) - set(LAYERS)
    missing = [
        name
        for name, row in LAYERS.items()
        if row is not None and not EFFECTS.keys() & set(kind(name).__mro__)
    ]
    assert not missing, f"without a row in surgery/effect.py: {missing}"


@pytest.mark.parametrize("name, row", ROWS)
def test_strides(name, row):
    assert strides(network(row, free=True)) == row.stride


def seen(model, axis, cells):
    """First and last row (or column) of the image that changes cells of the output."""
    rng, found = np.random.default_rng(0), set()
    for scale in (1.0, 30.0):
        image = rng.uniform(-1, 1, (1, SIZE, SIZE, 3)).astype("float32")
        changed = np.repeat(image, SIZE, 0)
        before = run(model, changed)
        for n in range(SIZE):
            np.moveaxis(changed[n], axis, 0)[n] += scale * rng.uniform(1, 2, (SIZE, 3))
        difference = np.abs(run(model, changed) - before).max(-1)
        differ = difference > 1e-6 * np.abs(before).max()
        lines = np.moveaxis(differ, 1 + axis, 1).any(-1)
        found |= {(int(n), int(c)) for n, c in zip(*np.nonzero(lines), strict=True)}
    return [sorted(n for n, c in found if c == cell) for cell in cells]


@pytest.mark.parametrize("name, row", ROWS)
def test_receptive_field(name, row):
    model = network(row)
    if isinstance(row.field, str):
        with pytest.raises(ValueError, match=row.field):
            receptive_field(model)
        return
    field = receptive_field(model)
    if row.field == inf:
        assert field.size == (inf, inf)
        return
    for axis in range(2):
        step, size, offset = field.stride[axis], field.size[axis], field.offset[axis]
        middle = int(SIZE / 2 / step)
        cells = [middle, middle + 1]
        lines = seen(model, axis, cells)
        first = min(x[0] - step * cell for x, cell in zip(lines, cells, strict=True))
        last = max(x[-1] - step * cell for x, cell in zip(lines, cells, strict=True))
        if name in COARSE:
            assert offset <= first and last < offset + size
        else:
            assert (first, last - first + 1) == (offset, size)


@pytest.mark.parametrize("name, row", ROWS)
def test_dilate(name, row):
    model = network(row, free=True)
    if row.dilate is not None:
        with pytest.raises(ValueError, match=row.dilate):
            dilate(model, 1, rates={})
        return
    x = images(1, SIZE, SIZE)
    wanted, dense = run(model, x), run(dilate(model, 1), x)
    np.testing.assert_allclose(dense[:, ::2, ::2], wanted, atol=1e-4)


@pytest.mark.parametrize("name, row", ROWS)
def test_region(name, row):
    image = keras.Input((SIZE, SIZE, 4) if row.known else (None, None, 4))
    model = keras.Model(image, row.call(image, image), name="part")
    if row.region is not None:
        with pytest.raises(ValueError, match=row.region):
            RegionNetwork(model)
        return
    x = images(1, SIZE, SIZE, 4)
    mask = np.ones((1, SIZE, SIZE), bool)
    (got,) = RegionNetwork(model).predict([x[mask]], mask)
    np.testing.assert_allclose(got, run(model, x)[mask], atol=1e-4)


@pytest.mark.parametrize("name, row", ROWS)
def test_fold_batch_norm(name, row):
    model = network(row, finish=layers.BatchNormalization(name="norm"))
    folded = fold_batch_norm(model)
    x = images(1, SIZE, SIZE)
    np.testing.assert_allclose(run(folded, x), run(model, x), rtol=1e-4, atol=1e-4)
    assert ("norm" not in [layer.name for layer in folded.layers]) == row.folds


def classifier(x):
    x = (
        layers.GlobalAveragePooling2D(name="pooled")(x)
        if len(x.shape) == 4
        else layers.Flatten()(x)
    )
    return layers.Dense(5, name="scores")(x)


@pytest.mark.parametrize("name, row", ROWS)
def test_convolutionalize_before_the_pooling(name, row):
    model = network(row, finish=classifier)
    if row.body is not None:
        with pytest.raises(ValueError, match=row.body):
            convolutionalize(model)
        return
    x = images(2, SIZE, SIZE)
    np.testing.assert_allclose(run(convolutionalize(model), x)[:, 0, 0], run(model, x), atol=1e-4)


@pytest.mark.parametrize("name, row", [r for r in ROWS if r.values[1].top != "-"])
def test_convolutionalize_after_the_pooling(name, row):
    image = keras.Input((SIZE, SIZE, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same", name="first")(image)
    x = layers.GlobalAveragePooling2D(keepdims=True, name="pooled")(x)
    model = keras.Model(image, layers.Dense(5)(layers.Flatten()(row.call(x, image))))
    if row.top is not None:
        with pytest.raises(ValueError, match=row.top):
            convolutionalize(model)
        return
    x = images(2, SIZE, SIZE)
    np.testing.assert_allclose(run(convolutionalize(model), x)[:, 0, 0], run(model, x), atol=1e-4)

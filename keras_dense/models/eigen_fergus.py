"""The three-scale network for depth, normals and labels.

Eigen and Fergus, "Predicting Depth, Surface Normals and Semantic Labels with a Common Multi-Scale
Convolutional Architecture", ICCV 2015.
"""

from collections.abc import Collection

import keras
from keras import layers, ops

from keras_dense import _check
from keras_dense._types import Features, PathLike, Shape, Size, Tensor
from keras_dense.backbones import check_shape
from keras_dense.heads import Heads
from keras_dense.layers import (
    BilinearUpsampling,
    CropLike,
    LocationBias,
    PadToMultiple,
    PlaceLike,
    Standardize,
)
from keras_dense.models.assemble import finish, prefix_of
from keras_dense.models.build import HeadsLike, is_vgg_name, make_backbone
from keras_dense.models.decoder import Prediction
from keras_dense.models.initialize import initialize
from keras_dense.surgery import accelerate, rebuild
from keras_dense.surgery.strides import strides

# Mean and standard deviation of the authors' images, for the two finer scales.
_MEAN, _STD = 109.31410628, 76.18328376
# The center of the first cell: 4 pixels in for a 9×9 window, one cell of stride 2 for a 3×3 one.
_FIRST = 6
_SMALLEST = 36


def _unpadded(node, copies, *args, **kwargs):
    """Remove the padding of VGG's first two convolutions, as in the authors' network."""
    if node.operation.name in ("block1_conv1", "block1_conv2"):
        return copies(node.operation, *args, config={"padding": "valid"}, **kwargs)
    return None


def _coarsest(
    backbone: str | keras.Model, weights: PathLike | None, input_shape: Shape, image: Tensor
) -> Tensor:
    """The last feature of the backbone over the image."""
    authors = is_vgg_name(backbone)
    backbone = make_backbone(backbone, weights, input_shape)
    if authors:
        backbone = rebuild(backbone, _unpadded, name="backbone")
        # The features are in the hundreds; the authors scale them to the size of weights.
        return layers.Rescaling(0.01, name="scale1_rescale")(backbone(image)["P5"])
    level, stride = max(strides(backbone).items(), key=lambda item: item[1])
    stride = max(stride) if isinstance(stride, tuple) else stride
    return backbone(PadToMultiple(stride, name="scale1_pad", dtype="float32")(image))[level]


def _convolution(x: Tensor, filters: int, size: int, name: str, **kwargs) -> Tensor:
    settings = {"padding": "same", "activation": "relu", "kernel_initializer": "he_normal"}
    return layers.Conv2D(
        filters, size, name=name, **{**settings, **kwargs}, data_format="channels_last"
    )(x)


def _edges(image: Tensor, filters: int, name: str, pool_strides: int) -> Tensor:
    """A 9×9 convolution of stride 2 without padding, and a 3×3 pooling."""
    x = Standardize(_MEAN, _STD, name=f"{name}_standardize")(image)
    odd = [(size - 9) % 2 for size in image.shape[1:3]]
    x = layers.ZeroPadding2D(
        tuple((0, n) for n in odd), name=f"{name}_pad", data_format="channels_last"
    )(x)
    x = _convolution(x, filters, 9, f"{name}_image", strides=2, padding="valid")
    return layers.MaxPooling2D(3, pool_strides, name=f"{name}_pool", data_format="channels_last")(x)


def _scores(x: Tensor, channels: int, filters: int, depth: int, name: str) -> Tensor:
    """5×5 convolutions, and the scores of a head."""
    for n in range(1, depth + 1):
        x = _convolution(x, filters, 5, f"{name}_conv{n}")
    return layers.Conv2D(
        channels, 5, padding="same", name=f"{name}_scores", data_format="channels_last"
    )(x)


def _scale1(x: Tensor, fine: Tensor, units: int, filters: int, dropout: float) -> Tensor:
    """Two fully connected layers over the whole map, as a map on the grid of `fine`."""
    grid = tuple(-(-n // 4) for n in fine.shape[1:3])
    x = layers.Flatten(name="scale1_flatten", data_format="channels_last")(x)
    x = layers.Dense(units, "relu", kernel_initializer="he_normal", name="scale1_full1")(x)
    x = layers.Dropout(dropout, name="scale1_dropout")(x)
    x = layers.Dense(grid[0] * grid[1] * filters, "relu", name="scale1_full2")(x)
    x = layers.Reshape((*grid, filters), name="scale1_grid")(x)
    x = BilinearUpsampling(4, data_format="channels_last", name="scale1_upsample")(x)
    return CropLike(name="scale1_crop")(x, fine)


def _scale2(x: Tensor, heads: Heads, filters: int, location_bias: Collection[str]) -> Features:
    """Scores of every head at a quarter of the size."""
    predictions = {}
    for key, head in heads.items():
        scores = _scores(x, head.channels, filters, 3, f"{prefix_of(key)}scale2")
        if head.target in location_bias:
            scores = LocationBias(name=f"{prefix_of(key)}scale2_bias")(scores)
        predictions[key] = scores
    return predictions


def _scale3(
    image: Tensor, before: Features, heads: Heads, filters: int, stop_gradient: bool
) -> Features:
    """Scores of every head at half the size, from the image and all scores of scale 2."""
    predicted = sum(head.channels for head in heads.values())
    x = _edges(image, max(filters - predicted, (filters + 1) // 2), "scale3", 1)
    joined = []
    for key, scores in before.items():
        prefix = prefix_of(key)
        scores = ops.stop_gradient(scores) if stop_gradient else scores
        scores = layers.UpSampling2D(
            2, name=f"{prefix}scale2_upsample", data_format="channels_last"
        )(scores)
        joined.append(CropLike(name=f"{prefix}scale2_crop")(scores, x))
    x = layers.Concatenate(name="scale3_join")([*joined, x])
    return {
        key: _scores(x, head.channels, filters, 2, f"{prefix_of(key)}scale3")
        for key, head in heads.items()
    }


def eigen_fergus(
    backbone: str | keras.Model = "vgg16",
    num_classes: int | None = None,
    *,
    heads: HeadsLike | None = None,
    weights: PathLike | None = "imagenet",
    input_shape: Shape = (None, None, 3),
    name: str | None = None,
    initialize_from: keras.Model | PathLike | None = None,
    grid: str | None = None,
    size: Size = (228, 304),
    units: int = 4096,
    filters: int = 64,
    dropout: float = 0.5,
    stop_gradient: bool = False,
    location_bias: Collection[str] = ("depth",),
) -> keras.Model:
    """Network of Eigen and Fergus: first the whole image, then two finer scales, for any heads.

    Scale 1 is VGG-16 and two fully connected layers, which see the whole image and predict features
    on a grid of 14×19. Scale 2 predicts at 55×74 from these and from 9×9 windows of the image;
    scale 3 at 109×147 from the predictions of scale 2 and the image again. Every head has its own
    convolutions in scales 2 and 3; scale 3 sees the predictions of scale 2 for all heads. 218 M
    weights for depth and normals, 202 M of them fully connected.

    Fully connected layers take one size only. So images of any size are resized (bilinear) to
    `size`, and predictions are brought back to the size of the image, each cell to the place where
    it was computed; beyond the outermost cells, 6 pixels inside `size`, they are repeated. The
    authors crop 228×304 out of images of 240×320: for the same view resize to that, and crop first.

    As published, no gradient goes from scale 3 to the other scales, which are trained first, by the
    predictions of scale 2: `stop_gradient=True` and `kd.heads.with_intermediate(head, "scale2")`.
    By default the final prediction trains everything at once.

    Args:
        backbone: "vgg16" (or "vgg19") for the authors' network, whose first two convolutions have
            no padding; otherwise common to all builders. The coarsest feature is read.
        num_classes, heads, weights, input_shape, name, initialize_from: common to all builders, see
            `kd.models`. The only auxiliary head is `kd.heads.Intermediate(head, "scale2")`.
        grid: `None`; the network computes on images of one size.
        size: `(height, width)` that the network sees, at least 36; another size than the authors'
            changes the number of weights.
        units: int >= 1, units of the first fully connected layer.
        filters: int >= 1, channels of the grid and of all 5×5 convolutions. In scale 3 the
            predictions of scale 2 and features of the image add up to as many (for depth and
            normals 64: 4 and 60), with at least half of them for the image.
        dropout: float from 0 to 1, dropout rate after the first fully connected layer.
        stop_gradient: bool, whether no gradient goes from scale 3 to the scales before it.
        location_bias: tuple of str, the targets (`head.target`) for which scale 2 adds a learned
            number at every cell, as the authors' network does for depth.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → predictions of the heads, `(B, H, W, …)`.

    Raises:
        ValueError, TypeError: for a `size` below 36×36, units or filters below 1, or an auxiliary
            head that reads a feature; see `kd.backbone`, `kd.heads`.

    Reference: Eigen and Fergus, ICCV 2015, section 3 and figure 1 (the VGG variant).

    Example:

    >>> backbone = keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(4, 3, 8)])
    >>> model = eigen_fergus(backbone, 5, size=(64, 80), units=8, filters=4)
    >>> model.output_shape
    (None, None, None, 5)
    """
    heads, input_shape = Heads.of(heads, num_classes), check_shape(input_shape)
    size, final = _check_size(size), heads.final()
    units = _check.integer(units, "units", low=1)
    filters = _check.integer(filters, "filters", low=1)
    _check_heads(heads)
    if grid is not None:
        raise ValueError(
            "`grid` must be None: eigen_fergus resizes every image to `size`, and its fully "
            f"connected layers take no other. Received: grid={grid!r}"
        )
    image = seen = keras.Input(input_shape, name="image")
    if tuple(input_shape[:2]) != size:
        resize = layers.Resizing(*size, data_format="channels_last", dtype="float32", name="resize")
        seen = resize(image)
    x = _coarsest(backbone, weights, input_shape, seen)
    fine = _edges(seen, 3 * filters // 2, "scale2", 2)
    x = _scale1(x, fine, units, filters, dropout)
    x = layers.Concatenate(name="scale2_join")([x, fine])
    second = _scale2(x, final, filters, location_bias)
    third = _scale3(seen, second, final, filters, stop_gradient)
    predictions = {key: Prediction(third[key], {"scale2": second[key]}) for key in final}
    outputs = {}
    for key, head in heads.items():
        scores = head.read(key, {}, predictions, heads)
        step = 2 if head.final else 4
        place = PlaceLike(first=_FIRST, step=step, size=size, name=f"{prefix_of(key)}place")
        scores = scores if head.per_image else place(scores, image)
        outputs[key] = finish(head, scores, key)
    model = keras.Model(image, heads.pack(outputs), name=name or "eigen_fergus")
    accelerate(model)
    return model if initialize_from is None else initialize(model, initialize_from)


def _check_heads(heads: Heads) -> None:
    for key, head in heads.items():
        if head.levels:
            raise ValueError(
                "Auxiliary `heads` of eigen_fergus must be "
                f'kd.heads.Intermediate(head, "scale2"). Received: {key!r}: {head!r}'
            )


def _check_size(size: Size) -> tuple[int, int]:
    size = _check.pair(size, "size")
    if min(size) < _SMALLEST:
        raise ValueError(
            f"`size` must be at least {_SMALLEST}×{_SMALLEST} pixels, which five poolings and 9×9 "
            f"windows need. Received: size={size}"
        )
    return size

"""The three-scale network for depth, normals and labels.

Eigen and Fergus, "Predicting Depth, Surface Normals and Semantic Labels with a Common Multi-Scale
Convolutional Architecture", ICCV 2015.
"""

import keras
from keras import layers, ops

from keras_dense import _check
from keras_dense.backbones import application, check_shape, family_of
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
from keras_dense.models.decoder import Prediction
from keras_dense.models.initialize import initialize
from keras_dense.models.parts import backbone_of, is_vgg
from keras_dense.surgery import rebuild, replace_input
from keras_dense.surgery.strides import strides

# What the authors scale images by for the two finer scales.
_MEAN, _STD = 109.31410628, 76.18328376
# The center of the first cell: 4 pixels in for a 9×9 window, one cell of stride 2 for a 3×3 one.
_FIRST = 6
_SMALLEST = 36


def _unpadded(node, copies, *args, **kwargs):
    """The first two convolutions of VGG take their margin away, as in the authors' network."""
    if node.operation.name in ("block1_conv1", "block1_conv2"):
        return copies(node.operation, *args, config={"padding": "valid"}, **kwargs)
    return None


def _coarsest(backbone, weights, input_shape, image):
    """The last feature of the backbone over the image."""
    if is_vgg(backbone):
        vgg, _ = family_of(backbone)
        backbone = application(vgg, weights, standardize=True, include_top=False)
        backbone = rebuild(backbone, _unpadded, name="backbone")
        if input_shape[-1] != backbone.input_shape[-1]:
            backbone = replace_input(backbone, input_shape[-1], name="backbone")
        # The features are in the hundreds; the authors bring them to the size of weights.
        return layers.Rescaling(0.01, name="scale1_rescale")(backbone(image))
    backbone = backbone_of(backbone, weights, input_shape)
    level, stride = max(strides(backbone).items(), key=lambda item: item[1])
    stride = max(stride) if isinstance(stride, tuple) else stride
    return backbone(PadToMultiple(stride, name="scale1_pad", dtype="float32")(image))[level]


def _convolution(x, filters, size, name, **kwargs):
    settings = {"padding": "same", "activation": "relu", "kernel_initializer": "he_normal"}
    return layers.Conv2D(
        filters, size, name=name, **{**settings, **kwargs}, data_format="channels_last"
    )(x)


def _edges(image, filters, name, pool_strides):
    """9×9 windows every two pixels, of what the image has of them, and a 3×3 pooling."""
    x = Standardize(_MEAN, _STD, name=f"{name}_standardize")(image)
    odd = [(size - 9) % 2 for size in image.shape[1:3]]
    x = layers.ZeroPadding2D(
        tuple((0, n) for n in odd), name=f"{name}_pad", data_format="channels_last"
    )(x)
    x = _convolution(x, filters, 9, f"{name}_image", strides=2, padding="valid")
    return layers.MaxPooling2D(3, pool_strides, name=f"{name}_pool", data_format="channels_last")(x)


def _scores(x, channels, filters, depth, name):
    """5×5 convolutions, and the scores of a head."""
    for n in range(1, depth + 1):
        x = _convolution(x, filters, 5, f"{name}_conv{n}")
    return layers.Conv2D(
        channels, 5, padding="same", name=f"{name}_scores", data_format="channels_last"
    )(x)


def eigen_fergus(
    backbone="vgg16",
    num_classes=None,
    *,
    heads=None,
    weights="imagenet",
    input_shape=(None, None, 3),
    name=None,
    initialize_from=None,
    size=(228, 304),
    units=4096,
    filters=64,
    dropout=0.5,
    stop_gradient=False,
    location_bias=("depth",),
):
    """Eigen and Fergus' network: the whole image first, then twice finer, for any heads.

    Scale 1 is VGG-16 and two fully connected layers, which see the whole image and say something
    of every part of it on a grid of 14×19. Scale 2 predicts at 55×74 from that and from 9×9
    windows of the image; scale 3 at 109×147 from the predictions of scale 2 and the image again.
    Every head has convolutions of its own in scales 2 and 3; both see what scale 2 says of all of
    them. 218 M weights for depth and normals, 202 M of them fully connected.

    Fully connected layers take one size only. Images of any size are therefore resized (bilinear)
    to `size`, and what is predicted is brought back to the size of the image, each cell to where
    it was computed; beyond the outermost cells, 6 pixels inside `size`, it is repeated. The authors
    crop 228×304 out of images of 240×320: for the same view resize to that, and crop before.

    As published, no gradient goes from scale 3 to the others, which are trained first, by what
    scale 2 predicts: `stop_gradient=True` and `kd.heads.with_intermediate(head, "scale2")`. By
    default everything is trained at once by the final prediction.

    Args:
        backbone: "vgg16" (or "vgg19") for the authors' network, whose first two convolutions have
            no padding; any other as of every builder, of which the coarsest feature is read.
        num_classes, heads, weights, input_shape, name, initialize_from: as of every builder, see
            `kd.models`. Auxiliary heads can be `kd.heads.Intermediate(head, "scale2")` alone.
        size: `(height, width)` that the network sees, at least 36; other than the authors' it has
            another number of weights.
        units: int ≥ 1, of the first fully connected layer.
        filters: int ≥ 1, channels of the grid and of all 5×5 convolutions. In scale 3 the
            predictions of scale 2 and features of the image make as many together (64 of depth
            and normals: 4 and 60), the latter at least half.
        dropout: after the first fully connected layer.
        stop_gradient: whether scale 3 leaves the scales before it alone.
        location_bias: the targets (`head.target`) for which scale 2 adds a learned number at every
            cell, as the authors' network does for depth.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → what the heads predict, `(B, H, W, …)`.

    Raises:
        ValueError, TypeError: for a `size` below 36×36, units or filters below 1, an auxiliary
            head of a feature; see `kd.backbone`, `kd.heads`.

    Reference: Eigen and Fergus, ICCV 2015, section 3 and figure 1 (the VGG variant).

    >>> backbone = keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(4, 3, 8)])
    >>> model = eigen_fergus(backbone, 5, size=(64, 80), units=8, filters=4)
    >>> model.output_shape
    (None, None, None, 5)
    """
    heads, input_shape = Heads.of(heads, num_classes), check_shape(input_shape)
    size = _check_size(size)
    units, filters = (
        _check.integer(units, "units", low=1),
        _check.integer(filters, "filters", low=1),
    )
    final = heads.final()
    for key, head in heads.items():
        if head.levels:
            raise ValueError(
                "`heads` of eigen_fergus may be auxiliary only as "
                f'kd.heads.Intermediate(head, "scale2"). Received: {key!r}, {head!r}'
            )
    image = keras.Input(input_shape, name="image")
    seen = image
    if tuple(input_shape[:2]) != size:
        resize = layers.Resizing(*size, data_format="channels_last", dtype="float32", name="resize")
        seen = resize(image)

    def of(key, scale):
        return f"{prefix_of(key)}{scale}"

    x = _coarsest(backbone, weights, input_shape, seen)
    fine = _edges(seen, 3 * filters // 2, "scale2", 2)
    grid = tuple(-(-n // 4) for n in fine.shape[1:3])
    x = layers.Flatten(name="scale1_flatten", data_format="channels_last")(x)
    x = layers.Dense(units, "relu", kernel_initializer="he_normal", name="scale1_full1")(x)
    x = layers.Dropout(dropout, name="scale1_dropout")(x)
    x = layers.Dense(grid[0] * grid[1] * filters, "relu", name="scale1_full2")(x)
    x = layers.Reshape((*grid, filters), name="scale1_grid")(x)
    x = BilinearUpsampling(4, data_format="channels_last", name="scale1_upsample")(x)
    x = CropLike(name="scale1_crop")(x, fine)
    x = layers.Concatenate(name="scale2_join")([x, fine])

    second = {}
    for key, head in final.items():
        scores = _scores(x, head.channels, filters, 3, of(key, "scale2"))
        if head.target in location_bias:
            scores = LocationBias(name=of(key, "scale2_bias"))(scores)
        second[key] = scores

    predicted = sum(head.channels for head in final.values())
    x = _edges(seen, max(filters - predicted, (filters + 1) // 2), "scale3", 1)
    said = []
    for key, scores in second.items():
        scores = ops.stop_gradient(scores) if stop_gradient else scores
        scores = layers.UpSampling2D(
            2, name=of(key, "scale2_upsample"), data_format="channels_last"
        )(scores)
        said.append(CropLike(name=of(key, "scale2_crop"))(scores, x))
    x = layers.Concatenate(name="scale3_join")([*said, x])

    predictions = {
        key: Prediction(
            _scores(x, head.channels, filters, 2, of(key, "scale3")), {"scale2": second[key]}
        )
        for key, head in final.items()
    }
    outputs = {}
    for key, head in heads.items():
        scores = head.read(key, {}, predictions, heads)
        step = 2 if head.final else 4
        scores = PlaceLike(first=_FIRST, step=step, size=size, name=of(key, "place"))(scores, image)
        outputs[key] = finish(head, scores, key)
    model = keras.Model(image, heads.pack(outputs), name=name or "eigen_fergus")
    return model if initialize_from is None else initialize(model, initialize_from)


def _check_size(size):
    size = _check.pair(size, "size")
    if min(size) < _SMALLEST:
        raise ValueError(
            f"`size` must be at least {_SMALLEST}×{_SMALLEST} pixels: five poolings and 9×9 "
            f"windows need as many. Received: size={size}"
        )
    return size

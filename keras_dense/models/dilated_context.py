"""Dilated context.

Yu, Koltun, "Multi-Scale Context Aggregation by Dilated Convolutions", ICLR 2016.
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from keras_dense import _check
from keras_dense._types import Config, Features, PathLike, Shape, Tensor
from keras_dense.heads import Heads
from keras_dense.layers import (
    AlignedUpsampling,
    AtrousConv2D,
    BilinearInitConvTranspose,
    ReflectionPadding2D,
)
from keras_dense.models.build import HeadsLike, build, is_vgg_name, make_backbone
from keras_dense.models.decoder import Decoder, Wanted, scores
from keras_dense.models.grid import as_grid
from keras_dense.models.upsampling import fit
from keras_dense.surgery import convolutionalize, dilate, rebuild
from keras_dense.surgery.feature_pyramid import feature, image_of, resized
from keras_dense.surgery.graph import source_of
from keras_dense.surgery.strides import stride_between
from keras_dense.surgery.top import fully_connected

# Margin of the front end's receptive field around a cell of 8 pixels: (380 - 8) / 2.
_MARGIN = 186
_GRIDS = ("multiple", "image")
_REASON = "the front end on VGG has no padding inside, so its cells lie between the corners."


@keras.saving.register_keras_serializable("keras_dense")
class ContextIdentity(keras.initializers.Initializer):
    """Kernel that passes its input on: the start of the context module (equations 4 and 5).

    Output channel b takes the center of the input channels of the same class; with widths c_in and
    c_out that are multiples of C, those with ⌊a C / c_in⌋ = ⌊b C / c_out⌋. All other taps are
    noise. Each center has weight C / c_in, so that every layer keeps the scale; the paper's
    C / c_out gives the same network, with smaller numbers in its wide layers.

    Args:
        classes: int >= 1, the number of classes C.
        stddev: float >= 0, standard deviation of the noise in the output, summed over all taps, for
            inputs around 1.

    >>> kernel = ops.convert_to_numpy(ContextIdentity(2, stddev=0.0)((3, 3, 2, 2)))
    >>> kernel[1, 1].tolist(), float(abs(kernel).sum())
    ([[1.0, 0.0], [0.0, 1.0]], 2.0)
    """

    def __init__(self, classes: int, stddev: float = 0.0) -> None:
        self.classes = classes
        self.stddev = stddev

    def __call__(self, shape: tuple[int, ...], dtype: str | None = None) -> Tensor:
        height, width, before, after = shape
        same = (np.arange(before) * self.classes // before)[:, None] == (
            np.arange(after) * self.classes // after
        )
        kernel: Any = np.zeros(shape, "float32")
        # The sum over c_in / C channels must keep their scale.
        kernel[height // 2, width // 2] = same * (self.classes / before)
        kernel = ops.convert_to_tensor(kernel, "float32")
        if self.stddev:
            # The noise of all taps adds up: a wide layer has thousands of them.
            stddev = self.stddev / math.sqrt(height * width * before)
            noise = keras.random.normal(shape, stddev=stddev, dtype="float32")
            kernel = kernel + noise * ops.cast(kernel == 0, "float32")
        return ops.cast(kernel, dtype or keras.config.floatx())

    def get_config(self) -> Config:
        return {"classes": self.classes, "stddev": self.stddev}


# Dilation of each layer, and its width in multiples of the number of classes (table 1).
RATES = (1, 1, 2, 4, 8, 16, 1)
WIDTHS = {"basic": (1, 1, 1, 1, 1, 1, 1), "large": (2, 2, 4, 8, 16, 32, 32)}


PADDING = ("once", "each")


def dilated_context_decoder(
    context: str | None = "large",
    *,
    rates: Sequence[int] = RATES,
    padding: str = "once",
    zoom: str | None = None,
    level: str = "P5",
) -> Decoder:
    """Scores of the front end, then seven 3×3 convolutions of growing receptive field (table 1).

    Args:
        context: str, "basic" (C channels throughout), "large" (2 C to 32 C), or `None`: the front
            end alone.
        rates: tuple of ints >= 1, dilation rates of the 3×3 convolutions; the authors' Cityscapes
            network continues to 32 and 64: (1, 1, 2, 4, 8, 16, 32, 64, 1).
        padding: str, where zeros are added around the scores: "once" before the first convolution,
            as for PASCAL VOC, or "each": by each convolution, as for Cityscapes, KITTI, CamVid.
        zoom: str, how scores become those of pixels. `None`: as the grid of the network wants it;
            "transposed": by a fixed transposed convolution, which fades at the border, as for
            Cityscapes; "top_left": each score belongs to the first pixel of its cell;
            "probabilities": so do the probabilities of the classes, which are interpolated instead
            of the scores, as in the authors' script for the other data sets. Logits are then their
            logarithms. For two or more classes, of which a pixel has exactly one.
        level: str, the feature that is read.

    Returns:
        A decoder for `kd.assemble`.

    Raises:
        ValueError: for an unknown context module, padding or zoom, rates below 1, or a head of one
            channel with zoom="probabilities".

    Example:

    >>> import keras_dense as kd
    >>> image = keras.Input((None, None, 3))
    >>> backbone = keras.Model(image, {"P3": layers.Conv2D(16, 8, strides=8)(image)})
    >>> decoder = kd.decoders.dilated_context("basic", level="P3")
    >>> kd.assemble(backbone, decoder, kd.heads.Segmentation(5)).output_shape
    (None, None, None, 5)
    """
    rates = _check.integers(rates, "rates")
    _check.choice(context, "context", (*WIDTHS, None))
    each = _check.choice(padding, "padding", PADDING) == "each"
    _check.choice(zoom, "zoom", (*ZOOMS, None))

    @scores
    def decode(features: Features, wanted: Wanted) -> Tensor:
        return zoomed(decide(features, wanted), zoom, wanted.prefix)

    def decide(features: Features, wanted: Wanted) -> Tensor:
        channels, prefix = wanted.channels, wanted.prefix
        normal = keras.initializers.RandomNormal(stddev=0.01)
        x = layers.Conv2D(
            channels,
            1,
            kernel_initializer=normal,
            name=f"{prefix}front_end",
            data_format="channels_last",
        )(feature(features, level))
        if context is None:
            return x
        widths = WIDTHS[context]
        widths = (*widths, *(widths[-1:] * (len(rates) - len(widths))))[: len(rates)]
        if not each:
            # Zeros around the scores, padded once for all layers.
            x = layers.ZeroPadding2D(
                sum(rates), name=f"{prefix}context_pad", data_format="channels_last"
            )(x)
        for n, (rate, width) in enumerate(zip(rates, widths, strict=True), 1):
            x = AtrousConv2D(
                width * channels,
                3,
                rate=rate,
                padding="same" if each else "valid",
                activation="relu",
                kernel_initializer=ContextIdentity(channels, 0.0 if width == 1 else 0.01),
                data_format="channels_last",
                name=f"{prefix}context_{n}",
            )(x)
        final = ContextIdentity(channels)
        return layers.Conv2D(
            channels,
            1,
            kernel_initializer=final,
            name=f"{prefix}context_final",
            data_format="channels_last",
        )(x)

    return decode


ZOOMS = ("transposed", "top_left", "probabilities")
# The least probability that has a logarithm; rounding of a sum of many stays above it.
_TINY = 1e-30


@keras.saving.register_keras_serializable("keras_dense")
def log_probability(x: Tensor) -> Tensor:
    """Logarithm of probabilities, whose softmax gives these again.

    >>> ops.convert_to_numpy(log_probability(ops.array([0.0, 1.0]))).round().tolist()
    [-69.0, 0.0]
    """
    return ops.log(ops.maximum(x, _TINY))


def zoomed(x: Tensor, zoom: str | None, prefix: str = "") -> Tensor:
    """Scores of pixels from those of cells, as the authors compute them."""
    if zoom is None:
        return x
    image, name = source_of(x), f"{prefix}zoom"
    factor = stride_between(image, x)[0]
    if zoom == "transposed":
        x = BilinearInitConvTranspose(
            x.shape[-1],
            factor,
            per_channel=True,
            learnable=False,
            data_format="channels_last",
            name=name,
        )(x)
        return fit(x, image, name=f"{name}_crop")
    probabilities = zoom == "probabilities"
    settings: dict[str, Any] = {"dtype": "float32"} if probabilities else {}
    if probabilities:
        if x.shape[-1] < 2:
            raise ValueError(
                "`zoom` must be 'top_left', 'transposed' or None for a head of one channel, whose "
                f"scores are no probabilities of several classes. Received: zoom={zoom!r}"
            )
        x = layers.Softmax(name=f"{prefix}probabilities", **settings)(x)
    settings.update(data_format="channels_last", name=name)
    x = AlignedUpsampling(factor, size="corners", **settings)(x)
    x = fit(x, image, name=f"{name}_crop")
    if probabilities:
        x = layers.Activation(log_probability, dtype="float32", name=f"{prefix}log")(x)
    return x


def front_end(classifier: keras.Model, more: int = 0) -> keras.Model:
    """VGG as the authors' front end.

    The last two poolings are removed and all later layers dilated. Fully connected layers become
    convolutions. Nothing is padded inside; the image is mirrored around instead.

    Args:
        classifier: VGG with its top.
        more: int, pixels that are mirrored in addition at the bottom and the right, where the image
            is not padded to a multiple of 8: 7 give `ceil(H / 8)` cells, 15 one more.
    """
    margin = ((_MARGIN, _MARGIN + more),) * 2 if more else _MARGIN
    dense = convolutionalize(classifier, include_top=False, dropout=0.5)
    fc6 = fully_connected(classifier)[0].name

    def rewrite(node, copies, x, **kwargs):
        op = node.operation
        if node.operation is first:
            x = ReflectionPadding2D(margin, name="mirror")(x)
        if op.name in ("block4_pool", "block5_pool"):
            return x
        if op.name == fc6 or op.name.startswith("block5"):
            config = {"dilation_rate": None, "rate": 4 if op.name == fc6 else 2}
            return copies(op, x, kind=AtrousConv2D, config={**config, "padding": "valid"})
        if isinstance(op, layers.Conv2D):
            return copies(op, x, config={"padding": "valid"})
        return copies(op, x) if op is first else None

    first = next(op for op in dense.operations if isinstance(op, layers.Conv2D))
    backbone = rebuild(dense, rewrite, inputs=resized(image_of(dense)))
    return keras.Model(backbone.input, {"P5": backbone.output}, name="backbone")


def dilated_context(
    backbone: str | keras.Model = "vgg16",
    num_classes: int | None = None,
    *,
    heads: HeadsLike | None = None,
    weights: PathLike | None = "imagenet",
    input_shape: Shape = (None, None, 3),
    name: str | None = None,
    initialize_from: keras.Model | PathLike | None = None,
    grid: str | None = None,
    context: str | None = "large",
    rates: Sequence[int] = RATES,
    padding: str = "once",
) -> keras.Model:
    """Dilated front end and context module: 141 M weights with VGG-16 and the large module.

    "vgg16" and "vgg19" give the authors' front end at stride 8, without padding inside: the image
    is mirrored by 186 pixels instead. Another backbone is dilated exactly to stride 8. A new
    context module passes positive scores on ("basic": exactly, "large": with a little noise), so
    it can be trained after the front end: pass a network with `context=None` as `initialize_from`.

    Args:
        backbone, num_classes, heads, weights, input_shape, name, initialize_from, grid: common to
            all builders, see `kd.models`. For VGG, a weights file must include the top.
        context: str, "basic" (C channels throughout), "large" (2 C to 32 C), or `None`.
        rates: tuple of ints >= 1, dilation rates of the context module's 3×3 convolutions.
        padding: str, where zeros are added around the scores: "once", or before "each" convolution.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`.

    Raises:
        ValueError, TypeError: for an unknown context or padding, rates below 1, or with VGG a grid
            with aligned corners; see `kd.backbone`, `kd.surgery.dilate`, `kd.heads.Segmentation`.

    Reference: Yu, Koltun, ICLR 2016, sections 3 and 4.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> dilated_context(backbone, 11).output_shape
    (None, None, None, 11)
    """
    heads = Heads.of(heads, num_classes)
    decoder = dilated_context_decoder(context, rates=rates, padding=padding)
    if is_vgg_name(backbone):
        grid = as_grid(grid, _GRIDS, _REASON).name
        classifier = make_backbone(backbone, weights, input_shape, top=True)
        backbone = front_end(classifier, 7 if grid == "image" else 0)
    else:
        backbone = dilate(make_backbone(backbone, weights, input_shape), 8)
    return build(
        backbone, decoder, heads, input_shape, name or "dilated_context", initialize_from, grid
    )

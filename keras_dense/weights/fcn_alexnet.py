"""FCN-AlexNet of the authors of FCN, for Caffe.

CaffeNet's convolutions in two groups, its normalization over channels and its overlapping poolings,
after a margin of 100 zeros around the image.
"""

import keras
import numpy as np
from keras import layers

from keras_dense._types import Features, Shape, Tensor
from keras_dense._weights.rules import Rule
from keras_dense.layers import LocalResponseNormalization, Standardize
from keras_dense.layers.bilinear import bilinear_kernel
from keras_dense.models.assemble import assemble
from keras_dense.models.build import HeadsLike
from keras_dense.models.decoder import Decoder, Wanted, scores
from keras_dense.models.fcn_margin import to_image
from keras_dense.surgery.graph import source_of
from keras_dense.weights.classes import VOC
from keras_dense.weights.fcn import AUTHORS, CAFFE, MEAN_BGR, PAPER, SBD
from keras_dense.weights.record import Record

# Channels of the five convolutions and of fc6 and fc7.
WIDTHS = (96, 256, 384, 384, 256, 4096, 4096)
_MARGIN, _STRIDE = 100, 32
# Rows and columns that are cut off at the top and the left of the upsampled scores.
_OFFSET = 18


def _conv(x: Tensor, filters: int, size: int, name: str, padding: str = "valid", **more) -> Tensor:
    settings = {"activation": "relu", "data_format": "channels_last", "name": name, **more}
    return layers.Conv2D(filters, size, padding=padding, **settings)(x)


def _pool(x: Tensor, name: str) -> Tensor:
    """Caffe rounds sizes up. After ReLU, zeros beyond the border are never the largest alone."""
    x = layers.ZeroPadding2D(((0, 1), (0, 1)), name=f"{name}_pad", data_format="channels_last")(x)
    return layers.MaxPooling2D(3, 2, name=name, data_format="channels_last")(x)


def features(widths: tuple[int, ...] = WIDTHS) -> keras.Model:
    """The backbone: images → fc7 at stride 32, `{"P5": …}`.

    Args:
        widths: channels of the five convolutions and of fc6 and fc7.
    """
    image = keras.Input((None, None, 3), name="image")
    x = Standardize(mean=MEAN_BGR[::-1], reverse_channels=True, name="standardize")(image)
    x = layers.ZeroPadding2D(_MARGIN, name="margin", data_format="channels_last")(x)
    x = _conv(x, widths[0], 11, "conv1", strides=4)
    x = LocalResponseNormalization(5, name="norm1")(_pool(x, "pool1"))
    x = _conv(x, widths[1], 5, "conv2", "same", groups=2)
    x = LocalResponseNormalization(5, name="norm2")(_pool(x, "pool2"))
    for n, groups in ((3, 1), (4, 2), (5, 2)):
        x = _conv(x, widths[n - 1], 3, f"conv{n}", "same", groups=groups)
    x = _pool(x, "pool5")
    for n, size in ((6, 6), (7, 1)):
        x = _conv(x, widths[n - 1], size, f"fc{n}")
        x = layers.Dropout(0.5, name=f"drop{n}")(x)
    return keras.Model(image, {"P5": x}, name="backbone")


def _decoder() -> Decoder:
    @scores
    def decode(maps: Features, wanted: Wanted) -> Tensor:
        channels, prefix = wanted.channels, wanted.prefix
        score = layers.Conv2D(
            channels,
            1,
            kernel_initializer="zeros",
            name=f"{prefix}score_P5",
            data_format="channels_last",
        )
        x = score(maps["P5"])
        name = f"{prefix}upscore{_STRIDE}"
        # Fixed, of an odd size: the center of the kernel lies on a pixel.
        line = bilinear_kernel(_STRIDE, align_corners=True)[:-1]
        upscore = layers.Conv2DTranspose(
            channels,
            len(line),
            _STRIDE,
            use_bias=False,
            trainable=False,
            name=name,
            data_format="channels_last",
        )
        x = upscore(x)
        upscore.kernel.assign(np.multiply.outer(np.outer(line, line), np.eye(channels)))
        cut = layers.Cropping2D(
            ((_OFFSET, 0),) * 2, name=f"{name}_offset", data_format="channels_last"
        )
        return to_image(cut(x), source_of(x), name=name)

    return decode


def network(
    *,
    heads: HeadsLike,
    input_shape: Shape = (None, None, 3),
    widths: tuple[int, ...] = WIDTHS,
) -> keras.Model:
    """FCN-AlexNet as published.

    Args:
        heads: a head, or a dict of heads.
        input_shape: `(height, width, channels)` of the image.
        widths: channels of the five convolutions and of fc6 and fc7.
    """
    return assemble(
        features(widths),
        _decoder(),
        heads,
        input_shape=input_shape,
        name="fcn_alexnet",
        grid="image",
    )


RULES = {
    "alexnet": (
        Rule(r"(conv[1-5]|fc[67])", r"backbone/\1", "conv"),
        Rule(r"score_fr", "{head}score_P5", "conv"),
        Rule(r"upscore", "{head}upscore32", "transposed"),
    ),
}

RECORDS = (
    Record(
        name="fcn/fcn_alexnet_voc",
        builder=network,
        rules=RULES["alexnet"],
        classes=VOC,
        urls=(f"{CAFFE}fcn-alexnet-pascal.caffemodel",),
        # Kernels and biases of CaffeNet without its last layer, scores, fixed upsampling.
        bytes=4 * (56_868_224 + 4097 * 21 + (63 * 21) ** 2),
        data=SBD,
        scores={"mean IoU": 48.0},
        scored_on="VOC 2011 seg11valid",
        citation=PAPER,
        test_size="the image's own",
        normalization="BGR minus a mean, within the model",
        grid="image",
        **AUTHORS,
    ),
)

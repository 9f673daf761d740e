"""DeconvNet of its authors, for Caffe.

The authors cut object proposals out of the image, scale them to 224×224, and take the largest score
at each pixel over up to 50 of them. Here the image is taken as it is, of any size; below 193 pixels
fc6 sees zeros beyond the border. Poolings round sizes up.
"""

from collections.abc import Sequence

import keras

from keras_dense._types import Shape
from keras_dense._weights.rules import Rule
from keras_dense.backbones import backbone as make_backbone
from keras_dense.models.assemble import assemble
from keras_dense.models.build import HeadsLike
from keras_dense.models.deconvnet import deconvnet_decoder
from keras_dense.models.mirror import backbone_with_indices, mirror_arguments
from keras_dense.surgery.graph import rebuild
from keras_dense.weights.classes import VOC
from keras_dense.weights.record import Record
from keras_dense.weights.segnet import rounded_up

# Of blue, green and red.
MEAN_BGR = (104.00698793, 116.66876762, 122.67891434)


def network(
    *,
    heads: HeadsLike,
    input_shape: Shape = (None, None, 3),
    mean: Sequence[float] = MEAN_BGR,
    filters: int = 4096,
    backbone: keras.Model | None = None,
) -> keras.Model:
    """DeconvNet as published.

    Args:
        heads: a head, or a dict of heads.
        input_shape: `(height, width, channels)` of the image.
        mean: of blue, green and red.
        filters: int, channels of fc6 and fc7.
        backbone: a backbone like VGG-16.
    """
    if backbone is None:
        preprocessing = {"mean": tuple(mean)[::-1], "reverse_channels": True}
        backbone = make_backbone("vgg16", weights=None, preprocessing=preprocessing)
    backbone = backbone_with_indices(rebuild(backbone, rounded_up), None, input_shape)
    depths, pools = mirror_arguments(backbone, "DeconvNet")
    return assemble(
        backbone,
        deconvnet_decoder(depths, filters=filters, pools=pools),
        heads,
        input_shape=input_shape,
        name="deconvnet",
        grid="image",
    )


RULES = {
    "deconvnet": (
        Rule(r"conv(\d)_(\d)", r"backbone/block\1_conv\2", "conv"),
        Rule(r"bn(\d)_(\d)", r"backbone/block\1_conv\2_bn", "caffe_merged_norm"),
        Rule(r"fc([67])", r"fc\1", "conv"),
        Rule(r"bnfc([67])", r"fc\1_bn", "caffe_merged_norm"),
        Rule(r"fc6-deconv", "fc6_deconv", "transposed"),
        Rule(r"fc6-deconv-bn", "fc6_deconv_bn", "caffe_merged_norm"),
        Rule(r"deconv(\d)_(\d)", r"up\1_conv\2", "transposed"),
        Rule(r"debn(\d)_(\d)", r"up\1_conv\2_bn", "caffe_merged_norm"),
        Rule(r"seg-score-voc", "{head}scores", "conv"),
    ),
}

RECORDS = (
    Record(
        name="deconvnet/voc",
        builder=network,
        rules=RULES["deconvnet"],
        classes=VOC,
        urls=(
            "http://cvlab.postech.ac.kr/research/deconvnet/model/DeconvNet/"
            "DeconvNet_trainval_inference.caffemodel",
        ),
        # Kernels, biases, and scale and shift of each channel.
        bytes=4 * 251_805_653,
        data="PASCAL VOC 2012 and SBD",
        scores={"mean IoU": 69.6},
        scored_on="VOC 2012 test, largest scores of 50 object proposals",
        license="for research only",
        citation="Noh, Hong, Han, Learning Deconvolution Network for Semantic Segmentation, "
        "ICCV 2015",
        page="https://github.com/HyeonwooNoh/DeconvNet",
        test_size="object proposals, cut out and scaled to 224×224",
        normalization="BGR minus the mean of ImageNet, within the model",
        grid="image",
    ),
)

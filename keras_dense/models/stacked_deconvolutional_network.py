"""Stacked Deconvolutional Network (SDN).

Fu, Liu, Wang, Zhou, Wang, Lu, "Stacked Deconvolutional Network for Semantic Segmentation", IEEE
Transactions on Image Processing 2019 (arXiv 1708.04943).
"""

from keras import layers

from keras_dense import _check
from keras_dense._types import Features
from keras_dense.heads import Heads
from keras_dense.models.decoder import Decoder, Prediction, Wanted
from keras_dense.models.parts import added, backbone_of, conv_bn_relu, finished
from keras_dense.models.upsampling import check_upsampling, upsample
from keras_dense.surgery import dilate
from keras_dense.surgery.feature_pyramid import feature

# Where scores are predicted, by the stride of the map, coarse to fine.
_SCORED = ("P4", "P3", "P2")


def _block(maps, width, growth, convolutions, name):
    """Densely connected 3×3 convolutions over maps side by side, compressed to `width` channels."""
    for n in range(1, convolutions + 1):
        x = layers.Concatenate(name=f"{name}_concat{n}")(maps)
        maps = [x, conv_bn_relu(x, growth, 3, name=f"{name}_conv{n}")]
    x = layers.Concatenate(name=f"{name}_concat")(maps)
    return conv_bn_relu(x, width, 3, name=f"{name}_compress")


def stacked_deconvolutional_network_decoder(
    units=3,
    *,
    growth=48,
    convolutions=2,
    widths=(576, 768, 1024),
    levels=("P2", "P3", "P5"),
    upsampling="up_conv",
):
    """Units of an encoder and a decoder one after the other, each supervised at three scales.

    The first encoder is the backbone. A decoder upsamples twice; a later encoder pools twice and, at
    each scale, gets the map of the unit before it (inter-unit connections). All decoders read the
    backbone's finer features. The scores of a scale are added up over the units.

    What the units predict before the last one does, and what each predicts at coarser scales, is
    there for `kd.heads.Intermediate`: "unit1_P4", "unit1_P3", "unit1_P2", "unit2_P4", ….

    Args:
        units: int ≥ 1.
        growth: channels of a densely connected convolution, and of what a backbone's feature is
            brought to where a decoder reads it.
        convolutions: how many of them are in a block.
        widths: channels that a block is compressed to, at strides 4, 8 and 16.
        levels: the backbone's features of stride 4, 8 and 16.
        upsampling: see `kd.decoders.upsample`; the paper's is a 2×2 deconvolution of stride 2.

    Returns:
        A decoder for `kd.assemble` that predicts the scores of a head.
    """
    units, growth = _check.integer(units, "units", low=1), _check.integer(growth, "growth", low=1)
    convolutions = _check.integer(convolutions, "convolutions", low=1)
    widths = _check.integers(widths, "widths")
    for argument, value in (("widths", widths), ("levels", tuple(levels))):
        if len(value) != 3:
            raise ValueError(
                f"`{argument}` must be three, for the strides 4, 8 and 16. "
                f"Received: {argument}={value!r}"
            )
    check_upsampling(upsampling)
    width = dict(zip(("P2", "P3", "P4"), widths, strict=True))

    def block(maps, level, name):
        return _block(maps, width[level], growth, convolutions, name)

    def encoder(before, name):
        """From stride 4 to 16, beside what the unit before had there."""
        x = before["P2"]
        for level in ("P3", "P4"):
            x = layers.MaxPooling2D(2, name=f"{name}_{level}_pool", data_format="channels_last")(x)
            x = block([x, before[level]], level, f"{name}_{level}_down")
        return x

    def decoder(x, skips, name):
        """From stride 16 to 4, beside what the backbone had there."""
        maps = {"P4": x}
        for level in ("P3", "P2"):
            here = f"{name}_{level}"
            x = upsample(x, 2, upsampling, name=f"{here}_deconvolution")
            skip = conv_bn_relu(skips[level], growth, 3, name=f"{here}_skip")
            x = maps[level] = block([x, skip], level, f"{here}_up")
        return maps

    def unit_maps(features):
        fine, middle, x = (feature(features, level) for level in levels)
        x = conv_bn_relu(x, width["P4"], 3, name="unit1_P4_compress")
        maps = [decoder(x, {"P2": fine, "P3": middle}, "unit1")]
        for n in range(2, units + 1):
            x = encoder(maps[-1], f"unit{n}")
            maps.append(decoder(x, {"P2": fine, "P3": middle}, f"unit{n}"))
        return maps

    def score(all_maps, wanted):
        totals, scored = {}, {}
        for n, maps in enumerate(all_maps, 1):
            for level in _SCORED:
                name = f"{wanted.prefix}unit{n}_{level}_scores"
                x = layers.Conv2D(
                    wanted.channels, 3, padding="same", name=name, data_format="channels_last"
                )(maps[level])
                before = [totals[level]] if level in totals else []
                x = added([*before, x], name=f"{name}_sum")
                totals[level] = scored[f"unit{n}_{level}"] = x
        return Prediction(scored.pop(f"unit{units}_P2"), scored)

    @Decoder
    def decode(features: Features, wanted: dict[str, Wanted]) -> dict[str, Prediction]:
        maps = unit_maps(features)  # The same units for all heads.
        return {key: score(maps, head) for key, head in wanted.items()}

    return decode


def stacked_deconvolutional_network(
    backbone="densenet161",
    num_classes=None,
    *,
    heads=None,
    weights="imagenet",
    input_shape=(None, None, 3),
    name=None,
    initialize_from=None,
    units=3,
    growth=48,
    convolutions=2,
    widths=(576, 768, 1024),
    levels=("P2", "P3", "P5"),
    upsampling="up_conv",
):
    """SDN: shallow deconvolutional networks stacked on a DenseNet-161 at stride 16.

    Down to stride 16 and up to stride 4 again, `units` times, with connections between units. The
    published network is supervised at all scales of all units:

        stages = [f"unit{n}_{level}" for n in (1, 2, 3) for level in ("P4", "P3", "P2")][:-1]
        heads = kd.heads.with_intermediate(kd.heads.Segmentation(21), stages)
        model = kd.stacked_deconvolutional_network(heads=heads, weights=path)

    Args:
        backbone, num_classes, heads, weights, input_shape, name, initialize_from: as of every
            builder, see `kd.models`. Nobody publishes weights of "densenet161" for Keras;
            `keras.applications` has them of "densenet121", "densenet169" and "densenet201".
        units: how many encoders and decoders.
        growth: channels of a densely connected convolution.
        convolutions: how many of them are in a block.
        widths: channels that a block is compressed to, at strides 4, 8 and 16.
        levels: the backbone's features of stride 4, 8 and 16.
        upsampling: see `kd.decoders.upsample`; the paper's is a 2×2 deconvolution of stride 2.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`.

    Raises:
        ValueError, TypeError: for knobs below 1, an unknown way of upsampling; see `kd.backbone`,
            `kd.surgery.dilate`, `kd.heads.Segmentation`.

    Reference: Fu et al., arXiv 1708.04943, section 3 and figure 2.

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet", weights=None, alpha=0.25)
    >>> model = stacked_deconvolutional_network(backbone, 11, units=2, growth=8, widths=(16, 24, 32))
    >>> model.output_shape
    (None, None, None, 11)
    """
    heads = Heads.of(heads, num_classes)
    decoder = stacked_deconvolutional_network_decoder(
        units,
        growth=growth,
        convolutions=convolutions,
        widths=widths,
        levels=levels,
        upsampling=upsampling,
    )
    backbone = dilate(backbone_of(backbone, weights, input_shape), 16)
    name = name or "stacked_deconvolutional_network"
    return finished(backbone, decoder, heads, input_shape, name, initialize_from)

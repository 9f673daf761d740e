"""Hypercolumns, and PixelNet.

Hariharan, Arbeláez, Girshick, Malik, "Hypercolumns for Object Segmentation and Fine-grained
Localization", CVPR 2015. Larsson, Maire, Shakhnarovich, "Learning Representations for Automatic
Colorization", ECCV 2016. Bansal, Chen, Russell, Gupta, Ramanan, "PixelNet: Representation of the
pixels, by the pixels, and for the pixels", arXiv:1702.06506.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from keras_dense import _check
from keras_dense._types import Features, PathLike, Shape, Tensor
from keras_dense.heads import Heads
from keras_dense.layers import HypercolumnMLP
from keras_dense.models.blocks import add
from keras_dense.models.build import HeadsLike, build, is_vgg_name, make_backbone
from keras_dense.models.decoder import Decoder, Wanted, average, scores
from keras_dense.models.fcn_backbone import fcn_backbone
from keras_dense.models.grid import as_grid, only
from keras_dense.models.upsampling import fit, interpolate
from keras_dense.surgery.feature_pyramid import feature, image_of, named_layers
from keras_dense.surgery.graph import source_of
from keras_dense.surgery.strides import stride_between, strides

# The grids of the perceptron at every pixel, and why.
_GRIDS = ("multiple",)
_REASON = "with `mlp`, hypercolumns are read at places that strides divide."


def hypercolumn_decoder(
    taps: Sequence[str] | None = None,
    *,
    mlp: Sequence[int] = (),
    batch_norm: bool | None = None,
) -> Decoder:
    """Scores of every pixel from all taps at its place.

    The hypercolumn of a pixel is the concatenation of all taps, upsampled bilinearly to the image.
    Linear scores of it are a sum over taps, and upsampling is linear, too. So the scores of every
    tap are computed at its own stride, upsampled and added, and the concatenation is never built.
    Function and weights are the same.

    Args:
        taps: tuple of str, the features that are read; default: all.
        mlp: tuple of ints >= 1, widths of the hidden layers of a perceptron at every pixel; `()`:
            linear scores.
        batch_norm: bool, whether each tap is normalized, at its own stride; default: with `mlp`.

    Returns:
        A decoder for `kd.assemble`.

    Raises:
        ValueError: for widths below 1, or no taps.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> decoder = kd.decoders.hypercolumn(("P2", "P4"))
    >>> kd.assemble(backbone, decoder, kd.heads.Segmentation(5)).output_shape
    (None, None, None, 5)
    """
    mlp = _check.integers(mlp, "mlp") if mlp != () else ()
    taps = None if taps is None else check_taps(taps)
    batch_norm = bool(mlp) if batch_norm is None else batch_norm

    @scores
    def decode(features: Features, wanted: Wanted) -> Tensor:
        channels, stride, prefix = wanted
        found = {tap: feature(features, tap, "hypercolumn") for tap in taps or features}
        image = source_of(next(iter(found.values())))
        maps: dict = {}  # By stride: scores of one stride are added before they are upsampled.
        factors = {tap: stride_between(image, x) for tap, x in found.items()}
        if any(n % stride and stride % n for factor in factors.values() for n in factor):
            stride = 1
        for tap, x in found.items():
            # Finer than the head predicts: averaged before the scores, with fewer channels.
            pool: Any = tuple(max(stride // n, 1) for n in factors[tap])
            factor = tuple(max(n // stride, 1) for n in factors[tap])
            x = average(x, pool, name=f"{prefix}pool_{tap}")
            if batch_norm:
                x = layers.BatchNormalization(epsilon=1e-5, name=f"{prefix}bn_{tap}")(x)
            maps.setdefault(factor, {})[tap] = x
        if mlp:
            only(_GRIDS, _REASON)
            listed = [(factor, x) for factor, group in maps.items() for x in group.values()]
            factors, columns = zip(*listed, strict=True)
            return HypercolumnMLP((*mlp, channels), factors, name=f"{prefix}mlp")(list(columns))

        total = None
        for factor in sorted(maps, reverse=True):
            parts = [
                # One bias is enough. Zeros: the first predictions favor no class.
                layers.Conv2D(
                    channels,
                    1,
                    use_bias=total is None and n == 0,
                    kernel_initializer="zeros",
                    name=f"{prefix}score_{tap}",
                    data_format="channels_last",
                )(x)
                for n, (tap, x) in enumerate(maps[factor].items())
            ]
            label = "x".join(map(str, dict.fromkeys(factor)))
            x = add(parts, name=f"{prefix}add_{label}")
            if factor == (1, 1):
                x = fit(x, image, stride=stride, name=f"{prefix}fit_{label}")
            else:
                name = f"{prefix}upsample_{label}"
                x = interpolate(x, factor, image, stride=stride, name=name)
            total = x if total is None else layers.Add(name=f"{prefix}sum_{label}")([total, x])
        return total

    return decode


def check_taps(taps: Sequence[str]) -> tuple[str, ...]:
    """`taps` as a tuple of names, checked.

    >>> check_taps(["P1", "block5_conv3"])
    ('P1', 'block5_conv3')
    """
    listed = tuple(taps) if isinstance(taps, (tuple, list)) else ()
    if not listed or not all(isinstance(tap, str) for tap in listed):
        raise ValueError(
            "`taps` must be a tuple of levels or names of layers, such as ('P1', 'block5_conv3'). "
            f"Received: taps={taps!r}"
        )
    if len(set(listed)) < len(listed):
        raise ValueError(f"`taps` must differ from each other. Received: taps={taps!r}")
    return listed


def with_taps(backbone: keras.Model, taps: Sequence[str]) -> keras.Model:
    """A backbone whose features are the given taps: its levels, and layers inside it."""
    inside = {tap: tap for tap in taps if tap not in backbone.output}
    features = {**backbone.output, **named_layers(backbone, inside)}
    model = keras.Model(image_of(backbone), {tap: features[tap] for tap in taps}, name="backbone")
    for tap, stride in strides(model).items():
        if stride is None:
            raise ValueError(
                f"`taps` must be maps with a stride. Received: {tap!r} of {backbone.name!r}, of "
                f"shape {tuple(features[tap].shape)}"
            )
    return model


def hypercolumn(
    backbone: str | keras.Model = "vgg16",
    num_classes: int | None = None,
    *,
    heads: HeadsLike | None = None,
    weights: PathLike | None = "imagenet",
    input_shape: Shape = (None, None, 3),
    name: str | None = None,
    initialize_from: keras.Model | PathLike | None = None,
    grid: str | None = None,
    taps: Sequence[str] | None = None,
    mlp: Sequence[int] = (),
    batch_norm: bool | None = None,
) -> keras.Model:
    """Hypercolumns: every pixel is classified by all layers of a network at its place.

    With `mlp=()` scores are linear in the hypercolumn. Otherwise a perceptron reads it, as in
    PixelNet, and predicts in bands of bounded memory. A perceptron is trained on a sample of
    pixels, with plain `fit`, by a second model that shares the weights:

    ```python
    model = kd.hypercolumn("vgg16", heads=heads, mlp=(1024, 1024))
    training = kd.training.on_sampled_pixels(model)
    training.compile("adam", **kd.objectives(heads))
    training.fit(kd.training.SampledPixels(loader, sample_pixels=2000))
    model.predict(images)  # every pixel
    ```

    Args:
        backbone, num_classes, heads, weights, input_shape, name, initialize_from, grid: common to
            all builders, see `kd.models`.
        taps: tuple of str, the parts of the hypercolumn: levels of the backbone ("P1") and names of
            layers ("block4_conv3"), in any number and at any stride; default: all levels. For a
            VGG by name also "fc1" and "fc2", as convolutions (its weights then include the top).
        mlp: tuple of ints >= 1, widths of the hidden layers, such as (1024,), or (4096, 4096) as in
            PixelNet.
        batch_norm: bool, whether each tap is normalized, at its own stride; default: with `mlp`.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`.

    Raises:
        ValueError, TypeError: for taps that do not exist or are no maps, or widths below 1; see
            `kd.backbone`, `kd.heads.Segmentation`.

    Reference: Hariharan et al., CVPR 2015, sections 2 and 4; Bansal et al., 2017, section 3.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> hypercolumn(backbone, 11, taps=("P1", "P3", "block_12_add")).output_shape
    (None, None, None, 11)
    """
    heads = Heads.of(heads, num_classes)
    decoder = hypercolumn_decoder(taps, mlp=mlp, batch_norm=batch_norm)
    if mlp != ():
        grid = as_grid(grid, _GRIDS, _REASON).name
    with_top = is_vgg_name(backbone) and taps is not None and {"fc1", "fc2"} & set(taps)
    backbone = (fcn_backbone if with_top else make_backbone)(backbone, weights, input_shape)
    if taps is not None:
        levels = [level for head in heads.values() for level in head.levels]
        named = dict.fromkeys((*taps, *(x for x in levels if x in backbone.output)))
        backbone = with_taps(backbone, tuple(named))
    return build(
        backbone, decoder, heads, input_shape, name or "hypercolumn", initialize_from, grid
    )

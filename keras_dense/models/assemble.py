"""Backbone, decoder and heads, put together to a model that takes any image size."""

import inspect
import math

import keras
from keras import layers

from keras_dense.backbones import backbone as make_backbone
from keras_dense.backbones.network import channels_last
from keras_dense.heads import Auxiliary, Intermediate, as_heads, map_heads
from keras_dense.layers import BilinearUpsampling, CropLike, Lightness, PadToMultiple
from keras_dense.surgery.graph import check_channels_last, functional
from keras_dense.surgery.strides import stride_between, strides


def scores(decode):
    """Mark a decoder that predicts the channels of a head by itself.

    Where a network adds up class scores of several features (FCN), there is no common feature
    map for heads to read. Such a decoder is called once for each head, as
    `decode(features, channels, prefix)`, and returns the scores instead of a feature map; where it
    has earlier ones that `kd.heads.Intermediate` may ask for, `(scores, {"stage1": scores, …})`.
    With a fourth argument `stride` it is told that of the head; scores finer than that are pooled.

    >>> @scores
    ... def linear(features, channels, prefix=""):
    ...     return layers.Conv2D(channels, 1, name=f"{prefix}score")(features["P3"])
    """
    decode.predicts = True
    return decode


def read_through(kernel_size):
    """Mark a decoder whose map the heads read through a larger convolution than 1×1.

    >>> @read_through(3)
    ... def middle(features):
    ...     return features["P3"]
    >>> middle.kernel_size
    3
    """

    def mark(decode):
        decode.kernel_size = kernel_size
        return decode

    return mark


def _check_channels(model, channels):
    if model.input_shape[-1] != channels:
        raise ValueError(
            f"The backbone {model.name!r} takes {model.input_shape[-1]} channels, but "
            f"`input_shape` has {channels}. Build it with `kd.backbone(…, channels={channels})`."
        )


def final_head(early, heads):
    """The key of the head whose earlier prediction a head is."""
    final = {key: head for key, head in heads.items() if not isinstance(head, Auxiliary)}
    same = [key for key, head in final.items() if head is early.head]
    if not same and len(final) > 1:
        raise ValueError(
            f"Intermediate(…, {early.stage!r}) must be made with one of the other heads: with "
            f"several ({', '.join(final)}) it is not clear whose earlier prediction it is."
        )
    return (same or list(final))[0]


def early_prediction(scored, stage):
    if stage not in scored:
        known = f"It makes: {', '.join(scored)}." if scored else "It makes none."
        raise ValueError(
            f"The decoder makes no prediction {stage!r} on its way. {known} For an auxiliary loss "
            "on a feature see kd.heads.with_auxiliary."
        )
    return scored[stage]


def _stride(head):
    return getattr(head, "stride", 1)


def _at_stride(x, image, stride, prefix, downwards_only=False):
    """A map at a stride below the image: upsampled, or the mean of what a cell covers."""
    factor = stride_between(image, x)
    finer = all(stride % n == 0 for n in factor)
    if downwards_only and not finer:
        return x
    if not finer:
        up = tuple(n // stride if n % stride == 0 else n for n in factor)
        x = BilinearUpsampling(up, data_format="channels_last", name=f"{prefix}upsample")(x)
        factor = tuple(n // u for n, u in zip(factor, up, strict=True))
    pool = tuple(stride // n for n in factor)
    if pool == (1, 1):
        return x
    return layers.AveragePooling2D(pool, name=f"{prefix}pool", data_format="channels_last")(x)


@channels_last()  # layers of a decoder that do not say so themselves
def assemble(backbone, decoder, heads, *, input_shape=(None, None, 3), name=None):
    """A model from images of any size to the predictions of its heads, of the same size.

    The image is padded at the bottom and the right to a multiple of the backbone's stride, the
    predictions are upsampled (half-pixel bilinear) and cut back. A head with a `stride` predicts
    at a fraction of the size, rounded up. With a head that predicts colors
    (`kd.heads.Colorization`) the backbone sees the image in gray.

    Args:
        backbone: a backbone from `kd.backbone`, `kd.surgery.feature_pyramid` or of your own: a
            functional `keras.Model` from the image to `{"P1": feature, …}`. A string or a
            classifier is turned into one.
        decoder: a callable from the dict of features to a feature map, such as those of
            `kd.decoders`; each head reads that map through a 1×1 convolution (another
            where the decoder says so: see `read_through`).
        heads: a head, or a dict of heads. Their structure is the structure of the output.
        input_shape: `(height, width, channels)` of the image, `None` for free sizes.
        name: name of the model.

    Returns:
        A `keras.Model`: `(B, H, W, C)`, RGB 0–255, uint8 or float → float32 predictions
        `(B, H, W, channels of the head)`.

    >>> backbone = make_backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> model = assemble(backbone, lambda features: features["P3"], as_heads(num_classes=5))
    >>> model.output_shape
    (None, None, None, 5)
    """
    heads = as_heads(heads)
    if isinstance(backbone, str) or not isinstance(functional(backbone, "backbone").output, dict):
        backbone = make_backbone(backbone)
    _check_channels(backbone, input_shape[-1])
    image = keras.Input(input_shape, name="image")
    items = heads.items() if isinstance(heads, dict) else [(None, heads)]
    coarsest = max(max(s) if isinstance(s, tuple) else s for s in strides(backbone).values())
    multiple = math.lcm(coarsest, *(_stride(head) for _, head in items))
    seen = PadToMultiple(multiple, name="pad", dtype="float32")(image)
    if any(getattr(head, "from_lightness", False) for _, head in items):
        seen = Lightness(name="lightness")(seen)
    features = backbone(seen)
    decoded = None if getattr(decoder, "predicts", False) else decoder(features)
    kernel_size = getattr(decoder, "kernel_size", 1)
    scored, early = {}, {}

    def score(key, head, prefix):
        if isinstance(head, Intermediate):
            return early_prediction(early[final_head(head, heads)], head.stage)
        if isinstance(head, Auxiliary):
            x = head.features(features, prefix)
            return layers.Conv2D(
                head.channels, 1, name=f"{prefix}scores", data_format="channels_last"
            )(x)
        if decoded is None:
            told = "stride" in inspect.signature(decoder).parameters
            wanted = {"stride": _stride(head)} if told else {}
            x = decoder(features, head.channels, prefix, **wanted)
            x, early[key] = x if isinstance(x, tuple) else (x, {})
            return x
        # Before the convolution, where there are fewer channels: means commute with it.
        x = _at_stride(decoded, image, _stride(head), prefix, downwards_only=True)
        return layers.Conv2D(
            head.channels,
            kernel_size,
            padding="same",
            name=f"{prefix}scores",
            data_format="channels_last",
        )(x)

    # What is predicted on the way comes with the final prediction.
    for key, head in sorted(items, key=lambda item: isinstance(item[1], Intermediate)):
        early.setdefault(key, {})
        scored[key] = score(key, head, "" if key is None else f"{key}_")

    def predict(key, head):
        prefix, x = "" if key is None else f"{key}_", scored[key]
        x = _at_stride(x, image, _stride(head), prefix)
        x = CropLike(_stride(head), name=f"{prefix}crop")(x, image)
        return head.finish(x, name=key or "prediction")

    model = keras.Model(image, map_heads(predict, heads), name=name)
    check_channels_last(model)
    return model

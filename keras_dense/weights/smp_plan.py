"""Parts common to the decoders of segmentation_models_pytorch: settings, and their rules."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from keras_dense import _check
from keras_dense._types import Features
from keras_dense._weights.rules import Rule
from keras_dense.models.decoder import Decoder, Prediction, Wanted
from keras_dense.models.grid import GRIDS, assembling, current
from keras_dense.weights.smp_encoder import Encoder

# Files hold them all the same.
NEVER = "layers that the network never calls"
HEAD = (
    Rule(r"segmentation_head\.0", "{head}scores", "conv"),
    Rule(r"classification_head\..*", None, "skip", "the classification of whole images"),
)
OLD_NORM = {"decoder_use_batchnorm": "decoder_use_norm"}


@dataclasses.dataclass(frozen=True)
class Plan:
    """A decoder for settings.

    Attributes:
        decoder: the decoder.
        rules: from its names in the file to layers.
        grid: str, see `kd.assemble`.
        output_stride: int, stride of the backbone.
        upsampling: int, the factor between its result and the image.
    """

    decoder: Decoder
    rules: Sequence[Rule]
    grid: str
    output_stride: int = 32
    upsampling: int = 1


@dataclasses.dataclass(frozen=True)
class Family:
    """A class of segmentation_models_pytorch.

    Attributes:
        defaults: its settings beside those of all classes.
        plan: function from settings and encoder to a `Plan`.
        old: former names of settings.
    """

    defaults: Mapping[str, Any]
    plan: Callable[[Mapping[str, Any], Encoder], Plan]
    old: Mapping[str, str] = dataclasses.field(default_factory=dict)


def normalized(settings: Mapping[str, Any]) -> bool:
    """Check whether batch norm follows each convolution of the decoder.

    Raises:
        ValueError: for other normalizations.
    """
    use = settings["decoder_use_norm"]
    plain = {"type": "batchnorm", "eps": 1e-5}
    if isinstance(use, dict) and {**plain, **use, "momentum": 0} == {**plain, "momentum": 0}:
        return True
    known = {True: True, "batchnorm": True, False: False, "identity": False}
    if isinstance(use, dict) or use not in known:
        raise _check.fail("decoder_use_norm", "'batchnorm', True or False", use)
    return known[use]


def always_normalized(settings: Mapping[str, Any]) -> None:
    """Raise a `ValueError` for a decoder without batch norm, where ours has it in any case."""
    if not normalized(settings):
        use = settings["decoder_use_norm"]
        raise _check.fail("decoder_use_norm", "'batchnorm' or True for this network", use)


def interpolation_of(
    settings: Mapping[str, Any], known: Sequence[str] = ("nearest", "bilinear")
) -> str:
    """The interpolation of a decoder; "area" and "nearest-exact" double maps as "nearest" does."""
    way = settings["decoder_interpolation"]
    way = "nearest" if way in ("area", "nearest-exact") else way
    return _check.choice(way, "decoder_interpolation", known)


def widths_of(settings: Mapping[str, Any]) -> tuple[int, ...]:
    """The widths of a U-Net, one for each level."""
    depth, widths = settings["encoder_depth"], settings["decoder_channels"]
    widths = _check.integers(widths, "decoder_channels", length=depth)
    if settings.get("decoder_attention_type") == "scse" and min(widths) < 16:
        # It reduces channels to a sixteenth, which is none there.
        wanted = "widths of at least 16 with decoder_attention_type='scse'"
        raise _check.fail("decoder_channels", wanted, widths)
    return widths


def output_stride_of(
    settings: Mapping[str, Any], encoder: Encoder, known: Sequence[int] = (8, 16)
) -> int:
    """The stride of a dilated encoder."""
    stride = _check.choice(settings["encoder_output_stride"], "encoder_output_stride", known)
    if encoder.strided_rate is None and stride < 32:
        name = settings["encoder_name"]
        raise _check.fail("encoder_name", "an encoder that is dilated, such as a ResNet", name)
    return min(stride, 2 ** settings["encoder_depth"])


def with_finest_feature(settings: Mapping[str, Any], encoder: Encoder) -> None:
    """Raise a `ValueError` for an encoder without a feature at stride 2, which a decoder reads."""
    if not encoder.widths[0]:
        name = settings["encoder_name"]
        raise _check.fail("encoder_name", "an encoder with a feature at stride 2", name)


def half_pixel(decoder: Decoder) -> Decoder:
    """A decoder that resizes half-pixel, in a network whose scores are resized between corners."""

    def predict(features: Features, wanted: dict[str, Wanted]) -> dict[str, Prediction]:
        canvas = current()
        if canvas is None:
            return decoder(features, wanted)
        with assembling(dataclasses.replace(canvas, grid=GRIDS["multiple"])):
            return decoder(features, wanted)

    return Decoder(predict)


def conv_norm(theirs: str, ours: str, norm: str = "", kind: Any = "conv") -> Iterator[Rule]:
    """Rules of a convolution "0" and the batch norm "1" behind it."""
    yield Rule(rf"{theirs}\.0", ours, kind)
    yield Rule(rf"{theirs}\.1", norm or f"{ours}_bn", "batch_norm")

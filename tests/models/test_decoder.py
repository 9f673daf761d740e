"""The contract of decoders: three ways to write one, from public names alone."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_dense as kd

HEADS = {"parts": kd.heads.Segmentation(3), "color": kd.heads.Colorization(regression=True)}


def images(height, width):
    return np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype="uint8")


def of_one_map(features):
    return kd.decoders.feature(features, "P3")


@kd.decoders.read_through(3)
def read_through_3x3(features):
    return kd.decoders.feature(features, "P3")


@kd.decoders.scores
def of_scores(features, wanted):
    total = []
    for level in ("P3", "P4"):
        name = f"{wanted.prefix}score_{level}"
        x = layers.Conv2D(wanted.channels, 1, name=name)(kd.decoders.feature(features, level))
        total.append(x)
    factor = kd.decoders.stride_between(*total)
    total[1] = kd.decoders.upsample(total[1], factor, name=f"{wanted.prefix}up")
    return layers.Add(name=f"{wanted.prefix}sum")(total)


@kd.decoders.Decoder
def of_all_heads(features, wanted):
    shared = kd.decoders.conv_bn_relu(features["P3"], 4, 3, name="shared")
    return {
        key: kd.decoders.Prediction(layers.Conv2D(head.channels, 1, name=f"{key}_scores")(shared))
        for key, head in wanted.items()
    }


@pytest.mark.parametrize("decoder", [of_one_map, read_through_3x3, of_scores, of_all_heads])
def test_a_decoder_of_ones_own_predicts_for_all_heads(decoder, backbone):
    model = kd.assemble(backbone, decoder, HEADS)
    y = model.predict_on_batch(images(45, 67))
    assert y["parts"].shape == (1, 45, 67, 3) and y["color"].shape == (1, 12, 17, 2)


def test_the_map_is_read_through_the_given_window(backbone):
    for decoder, size in ((of_one_map, 1), (read_through_3x3, 3)):
        model = kd.assemble(backbone, decoder, kd.heads.Segmentation(3))
        assert model.get_layer("scores").kernel_size == (size, size)


def test_a_decoder_is_asked_once_for_all_heads(backbone):
    asked = []

    @kd.decoders.Decoder
    def counting(features, wanted):
        asked.append(dict(wanted))
        return of_scores(features, wanted)

    heads = {**HEADS, "help": kd.heads.Auxiliary(kd.heads.Segmentation(3), "P4", filters=4)}
    kd.assemble(backbone, counting, heads)
    assert asked == [
        {"parts": kd.decoders.Wanted(3, 1, "parts_"), "color": kd.decoders.Wanted(2, 4, "color_")}
    ]


def test_the_docs_example_of_a_decoder_of_ones_own(backbone):
    """The code of docs/networks.md, as it stands there."""
    text = (kd_root() / "docs" / "networks.md").read_text()
    code = text.split("<!-- a decoder of one's own -->")[1].split("```python\n")[1].split("```")[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 18
    names = {"backbone": backbone, "kd": kd, "keras": keras}
    exec(code, names)
    assert names["model"].output_shape == (None, None, None, 11)


def kd_root():
    import pathlib

    return pathlib.Path(__file__).parents[2]

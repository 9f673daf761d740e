import keras
import numpy as np
import pytest
from keras import ops

from keras_dense.layers.hub_block import HubBlock
from keras_dense.layers.rotary import RotaryPositions
from keras_dense.layers.tokens import PatchTokens, TokenMap
from keras_dense.testing import check_layer


def images(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


@pytest.mark.parametrize(
    "layer",
    [
        PatchTokens(5, 4, grid=(3, 2), prefix=2),
        PatchTokens(5, (4, 6), grid=(3, 2), use_bias=False, antialias=True),
        PatchTokens(5, 6, prefix=1),
    ],
    ids=["padded", "pair", "no positions"],
)
def test_contracts_of_tokens(layer):
    check_layer(layer, images(2, 9, 14, 3))


def test_contracts_of_maps_and_rotary_positions():
    check_layer(TokenMap(4, prefix=1, stride=8), images(2, 13, 5), images(2, 9, 14, 3))
    check_layer(RotaryPositions(8, 4), images(2, 9, 14, 3))


@pytest.mark.parametrize("antialias", [False, True])
def test_tokens_are_those_of_the_authors(antialias):
    """A convolution of the image, positions interpolated by PyTorch, learned tokens in front."""
    torch = pytest.importorskip("torch")
    layer = PatchTokens(5, 4, grid=(3, 2), prefix=1, antialias=antialias)
    layer.build((None, None, None, 3))
    weights = [images(*w.shape, seed=i) for i, w in enumerate(layer.weights)]
    kernel, bias, positions, tokens = weights
    layer.set_weights(weights)
    x = images(2, 20, 28, 3, seed=9)
    as_torch = torch.from_numpy
    y = torch.nn.functional.conv2d(
        as_torch(x).permute(0, 3, 1, 2),
        as_torch(kernel).permute(3, 2, 0, 1),
        as_torch(bias),
        stride=4,
    )
    y = y + torch.nn.functional.interpolate(
        as_torch(positions).permute(2, 0, 1)[None],
        size=(5, 7),
        mode="bicubic",
        align_corners=False,
        antialias=antialias,
    )
    y = torch.cat([as_torch(tokens)[None].repeat(2, 1, 1), y.flatten(2).transpose(1, 2)], 1)
    np.testing.assert_allclose(ops.convert_to_numpy(layer(x)), y.numpy(), atol=1e-4)


def test_positions_of_their_own_grid_are_added_as_they_are():
    layer = PatchTokens(5, 4, grid=(3, 2))
    x = np.zeros((1, 12, 8, 3), "float32")
    got = ops.convert_to_numpy(layer(x))
    np.testing.assert_array_equal(got.reshape(3, 2, 5), ops.convert_to_numpy(layer.positions))


def test_a_map_at_the_patch_size_is_a_reshape():
    tokens = images(2, 13, 5)
    got = TokenMap(4, prefix=1)(tokens, np.zeros((2, 9, 14, 3), "float32"))
    np.testing.assert_array_equal(ops.convert_to_numpy(got), tokens[:, 1:].reshape(2, 3, 4, 5))


def test_rotary_positions_turn_halves_of_a_head_alike():
    cos, sin = (ops.convert_to_numpy(y) for y in RotaryPositions(8, 4)(np.zeros((1, 8, 12, 3))))
    center = 2 * (np.arange(2) + 0.5) / 2 - 1
    np.testing.assert_allclose(sin[::3, 0], np.sin(2 * np.pi * center), atol=1e-6)
    np.testing.assert_array_equal(cos[:, :4], cos[:, 4:])
    np.testing.assert_allclose(cos**2 + sin**2, 1, atol=1e-6)


def test_bad_arguments():
    with pytest.raises(ValueError, match="`units` must be a multiple of 4. Received: units=6"):
        RotaryPositions(6, 4)
    with pytest.raises(ValueError, match="too small for patches of 16×16 pixels"):
        PatchTokens(5, 16)(np.zeros((1, 8, 40, 3)))
    with pytest.raises(ValueError, match="`kind` must be the module and class of a layer of Ker"):
        HubBlock("os.path.join", {})
    pytest.importorskip("keras_hub")
    with pytest.raises(ValueError, match="`kind` must be the module and class of a layer of Ker"):
        HubBlock("keras_hub.src.models.vit.vit_backbone.ViTBackbone2", {})
    with pytest.raises(ValueError, match="must keep the arguments of its constructor"):
        HubBlock.of(_Forgetful(3), (None, None, 3))


class _Forgetful(keras.layers.Layer):
    def __init__(self, size):
        super().__init__()

"""Costs against published figures, a counter of PyTorch, and numbers computed by hand."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_dense as kd
from keras_dense.layers import (
    AtrousConv2D,
    AtrousDepthwiseConv2D,
    AtrousSeparableConv2D,
    BilinearInitConvTranspose,
    PositionAttention,
    ResizeLike,
    SpatialReductionAttention,
    WindowAttention,
)
from keras_dense.surgery import cost


def counted_by_torch(model, size):
    """Multiply-adds while the model runs, by PyTorch's own counter."""
    torch = pytest.importorskip("torch")
    if keras.backend.backend() != "torch":
        pytest.skip("the counter sees what PyTorch computes")
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    image = np.zeros((1, *size, 3), "float32")
    # The fused kernel of the CPU is one that the counter does not know.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(image, training=False)
    return counter.get_total_flops() // 2


@pytest.mark.parametrize(
    "name, published",
    [
        ("MobileNetV2", 300e6),  # Sandler et al., CVPR 2018, table 4
        # He et al., CVPR 2016, table 1: 3.8 · 10⁹, without the projections of the shortcuts.
        pytest.param("ResNet50", 3.86e9, marks=pytest.mark.exhaustive),
        pytest.param("VGG16", 15.47e9, marks=pytest.mark.exhaustive),
        pytest.param("Xception", 8.4e9, marks=pytest.mark.exhaustive),
    ],
)
def test_published_figures(name, published, zero_weights):
    model = getattr(keras.applications, name)(weights=None)
    found = cost(model)
    assert found.multiply_adds == pytest.approx(published, rel=0.012)
    assert found.parameters == model.count_params() and not found.uncounted


def every_kind():
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same")(image)
    x = y = layers.Conv2D(8, 5, groups=4, padding="same")(x)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same")(x)
    x = layers.SeparableConv2D(12, 3, strides=2)(x)
    x = AtrousConv2D(8, 3, rate=2)(x)
    x = AtrousDepthwiseConv2D(3, rate=2)(x)
    x = AtrousSeparableConv2D(8, 3, rate=2)(x)
    x = layers.EinsumDense("bhwc,cd->bhwd", (None, None, 8))(x)
    x = layers.Dense(8)(layers.LayerNormalization()(x))
    x = SpatialReductionAttention(2, 2)(x)
    x = WindowAttention(2, 4, shift=2)(x)
    x = PositionAttention()(x, x, x)
    x = layers.Conv2DTranspose(6, 4, strides=2, padding="same")(x)
    x = ResizeLike()(BilinearInitConvTranspose(4, 2)(x), y)
    gate = layers.Dense(4)(layers.GlobalAveragePooling2D(keepdims=True)(x))
    return keras.Model(image, layers.Multiply()([x, ops.sigmoid(gate)]))


def test_every_kind_of_layer_against_torch():
    model = every_kind()
    found = cost(model, (45, 67))
    assert found.multiply_adds == counted_by_torch(model, (45, 67))
    assert set(found.kinds) == {"convolution", "product", "resizing"}
    assert sum(found.kinds.values()) == found.multiply_adds


@pytest.mark.parametrize(
    "build",
    [
        lambda backbone: kd.fcn8s(backbone, 5),
        lambda backbone: kd.segformer("mit_b0", 5, weights=None),
        pytest.param(lambda backbone: kd.pspnet(backbone, 5), marks=pytest.mark.exhaustive),
        pytest.param(lambda backbone: kd.manet(backbone, 5), marks=pytest.mark.exhaustive),
        pytest.param(lambda backbone: kd.deeplabv3plus(backbone, 5), marks=pytest.mark.exhaustive),
    ],
)
def test_networks_against_torch(build, backbone, zero_weights):
    model = build(backbone)
    found = cost(model, (64, 96))
    assert found.multiply_adds == counted_by_torch(model, (64, 96))
    assert found.parameters == model.count_params()


def test_attention_of_keras_against_torch():
    image = keras.Input((8, 8, 3))
    x = layers.Reshape((64, 3))(image)
    x = layers.MultiHeadAttention(2, 4)(x, x)
    found = cost(keras.Model(image, x))
    assert found.multiply_adds == counted_by_torch(keras.Model(image, x), (8, 8))


def test_parts_of_a_network_with_several_heads(backbone):
    heads = {"objects": kd.heads.Segmentation(4), "depth": kd.heads.Depth()}
    model = kd.fpn(backbone, heads=heads)
    found = cost(model, (97, 131))
    assert set(found.parts) == {"backbone", "decoder", "head objects", "head depth"}
    assert found.parts["backbone"].parameters == backbone.count_params()
    for name in ("parameters", "multiply_adds", "activations"):
        assert sum(getattr(part, name) for part in found.parts.values()) == getattr(found, name)
    # The 1×1 convolution at stride 4 of an image padded to 128×160, 128 channels.
    assert found.parts["head objects"].parameters == 128 * 4 + 4
    assert found.parts["head objects"].kinds["convolution"] >= 32 * 40 * 128 * 4
    # The cost of a backbone alone is that of the part, at the padded size.
    alone = cost(backbone, (128, 160))
    assert alone.multiply_adds == found.parts["backbone"].multiply_adds


def test_memory_of_maps():
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same")(image)
    y = layers.Identity()(x)
    x = layers.Conv2D(8, 3, padding="same")(y)
    x = layers.Add()([layers.Conv2D(8, 1)(y), x])
    found = cost(keras.Model(image, x))
    cell = 8 * 8 * 4
    assert found.activations == cell * (4 + 8 + 8 + 8)
    # The two inputs and the result of the sum; the map before them is no longer needed.
    assert found.peak == cell * (8 + 8 + 8)
    half = keras.Model(image, layers.Conv2D(4, 1, dtype="mixed_float16")(image))
    assert cost(half).activations == 8 * 8 * 4 * 2


def test_resizing_costs_its_taps():
    image = keras.Input((4, 4, 3))
    x = layers.UpSampling2D(2, interpolation="bilinear")(image)
    assert cost(keras.Model(image, x)).kinds == {"resizing": 8 * 8 * 3 * 4}
    x = layers.UpSampling2D(2)(image)
    assert cost(keras.Model(image, x)).multiply_adds == 0


class Looping(layers.Layer):
    def call(self, x):
        return ops.map(lambda y: ops.matmul(y, ops.ones((3, 5))), x)

    def compute_output_shape(self, shape):
        return (*shape[:-1], 5)


class Foreign(layers.Layer):
    def call(self, x):
        return ops.convert_to_tensor(np.asarray(x) * 2)

    def compute_output_shape(self, shape):
        return shape


def test_what_cannot_be_counted_is_named():
    image = keras.Input((8, 8, 3))
    x = Foreign(name="foreign")(Looping(name="looping")(image))
    found = cost(keras.Model(image, x))
    assert found.multiply_adds == 0 and {"foreign"} < set(found.uncounted)
    assert len(found.uncounted) == 2


def test_the_network_stays_as_it_is():
    model = every_kind()
    parts = model._flatten_layers()
    before = [(len(x._inbound_nodes), len(x._outbound_nodes)) for x in parts]
    cost(model, (45, 67))
    after = [(len(x._inbound_nodes), len(x._outbound_nodes)) for x in model._flatten_layers()]
    assert after == before


def test_bad_sizes(backbone):
    with pytest.raises(ValueError, match=r"`size` must be \(height, width\) for a model"):
        cost(backbone)
    with pytest.raises(ValueError, match="`size` must be a tuple of 2 integers >= 1"):
        cost(backbone, (64, 0))
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, layers.ReLU()(image))
    with pytest.raises(ValueError, match=r"`size` must be what the model takes, \(8, 8\)"):
        cost(model, (8, 9))

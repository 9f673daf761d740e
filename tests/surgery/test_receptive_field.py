"""Receptive fields against the gradient of one cell, and against published figures."""

from fractions import Fraction
from math import inf

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_dense as kd
from keras_dense.layers import (
    AdaptiveAveragePooling2D,
    AlignedUpsampling,
    AtrousAveragePooling2D,
    AtrousConv2D,
    AtrousDepthwiseConv2D,
    AtrousSeparableConv2D,
    BilinearInitConvTranspose,
    BilinearUpsampling,
    CropLike,
    MaxPoolWithArgmax2D,
    MaxUnpool2D,
    PadToMultiple,
    PixelShuffle,
    ResizeLike,
)
from keras_dense.surgery import (
    ReceptiveField,
    convolutionalize,
    dilate,
    rebuild,
    receptive_field,
    strides,
)
from keras_dense.surgery.receptive_field import on_one_grid
from keras_dense.surgery.strides import total_stride
from keras_dense.testing.expect import value_and_gradient


def positive(model, seed=0):
    """Weights with which every output is a mean of pixels, so that nothing cancels."""
    rng = np.random.default_rng(seed)
    for layer in model._flatten_layers():
        for weight in getattr(layer, "_trainable_variables", ()):
            if len(weight.shape) > 1:
                value = rng.uniform(0.5, 1, weight.shape)
                alone = isinstance(layer, layers.DepthwiseConv2D) or "depthwise" in weight.name
                axes = (0, 1) if alone else tuple(range(value.ndim - 1))
                weight.assign(value / value.sum(axis=axes, keepdims=True))
    return model


def averaged(model):
    """The network with every maximum as a mean, whose gradient shows the whole window."""

    def rewrite(node, copies, *args, **kwargs):
        if isinstance(node.operation, layers.MaxPooling2D):
            return copies(node.operation, *args, kind=layers.AveragePooling2D, **kwargs)

    return rebuild(model, rewrite)


def seen(model, size, cell):
    """First and last row and column of the image with a gradient to a cell of the output."""
    # Dark enough for sums over many blocks to stay below the 6 of a ReLU6.
    image = np.random.default_rng(1).uniform(2e-4, 1e-3, (1, *size, 3)).astype("float32")
    mask = np.zeros(ops.shape(model(image)), "float32")
    mask[(0, *cell)] = 1
    _, gradient = value_and_gradient(
        lambda mask, x: ops.sum(mask * model(x, training=False), axis=(1, 2, 3)), mask, image
    )
    rows, columns = np.nonzero(gradient.any(-1)[0])
    return (rows.min(), rows.max()), (columns.min(), columns.max())


def check(model, size, cells=None, **options):
    """The field is what holds the windows of all `cells`, each moved to cell (0, 0), exactly."""
    model = positive(model)
    field = receptive_field(model, **options)
    shape = model.compute_output_shape((1, *size, 3))
    cells = cells or [(shape[1] // 2, shape[2] // 2)]
    bounds = np.array([seen(model, size, cell) for cell in cells])
    for axis in range(2):
        assert bounds[:, axis, 0].min() > 0 and bounds[:, axis, 1].max() < size[axis] - 1, (
            "the test needs a larger image"
        )
        moved = [field.stride[axis] * cell[axis] for cell in cells]
        first = min(b - m for b, m in zip(bounds[:, axis, 0].tolist(), moved, strict=True))
        last = max(b - m for b, m in zip(bounds[:, axis, 1].tolist(), moved, strict=True))
        assert (field.offset[axis], field.size[axis]) == (first, last - first + 1)
    return field


def network(*operations, size=(None, None)):
    image = keras.Input((*size, 3))
    x = image
    for operation in operations:
        x = operation(x)
    return keras.Model(image, x)


WINDOWS = {
    "valid": [layers.Conv2D(2, 3), layers.Conv2D(2, (5, 2), strides=(2, 3))],
    "same": [
        layers.Conv2D(2, 3, strides=2, padding="same"),
        layers.DepthwiseConv2D(4, padding="same"),
        layers.SeparableConv2D(2, 3, strides=2, padding="same"),
        layers.AveragePooling2D((3, 2), strides=2, padding="same"),
    ],
    "holes": [
        layers.Conv2D(2, 3, dilation_rate=(2, 3), padding="same"),
        layers.MaxPooling2D(),
        layers.Conv2D(2, 3, dilation_rate=2),
    ],
    "atrous": [
        AtrousConv2D(2, 3, rate=2, strides=2),
        AtrousConv2D(2, 3, rate=(1, 3), padding=((1, 2), (0, 4))),
        AtrousAveragePooling2D((2, 3), rate=2, strides=2),
        AtrousAveragePooling2D(2, padding=((1, 0), (0, 0))),
        AtrousDepthwiseConv2D(3, rate=2, padding="valid"),
        AtrousSeparableConv2D(2, 3, rate=2),
    ],
    "borders": [
        layers.ZeroPadding2D(((3, 1), (0, 2))),
        layers.Conv2D(2, 3, strides=2),
        layers.Cropping2D(((2, 1), (1, 0))),
        layers.Rescaling(2.0),
        layers.Conv2D(2, 2, activation="relu"),
    ],
    # Not a strided 1×1 convolution: with few channels its gradient kills TensorFlow 2.21 on CPUs.
    "single": [
        layers.MaxPooling2D(1, strides=2),
        layers.BatchNormalization(),
        layers.Conv2D(2, 3),
    ],
}


@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("size", [(61, 75), (72, 96)])
def test_windows(name, size):
    """Sizes known when the network was built decide on which side "same" pads.

    One that is free counts as divisible by all strides.
    """
    known = size if size[0] % 2 else (None, None)
    check(averaged(network(*WINDOWS[name], size=known)), size)


UPSAMPLING = {
    "nearest": layers.UpSampling2D((2, 3)),
    "bilinear": layers.UpSampling2D((2, 3), interpolation="bilinear"),
    "fixed": BilinearUpsampling((4, 3)),
    "aligned": AlignedUpsampling((4, 3), size="corners"),
    "learned": BilinearInitConvTranspose(2, (2, 3)),
    "per_channel": BilinearInitConvTranspose(2, 4, per_channel=True),
    "shuffled": PixelShuffle((2, 1)),
    "transposed": layers.Conv2DTranspose(2, (4, 3), strides=2, padding="same"),
    "transposed_odd": layers.Conv2DTranspose(2, (5, 3), strides=(2, 3), padding="same"),
    "transposed_valid": layers.Conv2DTranspose(2, (3, 5), strides=2),
    "transposed_output": layers.Conv2DTranspose(2, 3, strides=2, padding="same", output_padding=1),
}


@pytest.mark.parametrize("name", UPSAMPLING)
def test_upsampling(name):
    """The windows of all phases together; a following convolution sees more of them."""
    first = [layers.Conv2D(2, 3, strides=2, padding="same"), UPSAMPLING[name]]
    model = network(*first)
    steps = receptive_field(model).stride
    phases = [int(2 / s) for s in steps]
    cells = [(24 + i % phases[0], 24 + i % phases[1]) for i in range(np.lcm(*phases))]
    check(model, (64, 64), cells)
    if name != "transposed_output":  # on torch its gradient is that of another window
        check(network(*first, layers.Conv2D(2, 3)), (64, 64), cells)


def test_resizing_with_aligned_corners():
    """Exact where the sizes are multiples plus 1; otherwise positions drift, and all are seen."""
    image = keras.Input((None, None, 3))
    coarse = layers.Conv2D(2, 3, strides=4)(layers.ZeroPadding2D(1)(image))
    up = ResizeLike(align_corners=True)(coarse, image)
    known = keras.Input((65, 97, 3))
    check(
        keras.Model(known, keras.Model(image, up)(known)),
        (65, 97),
        [(14 + i, 14 + i) for i in range(4)],
    )
    field = receptive_field(keras.Model(image, up))
    assert field.stride == (1, 1) and field.size[0] > 6
    near = ResizeLike(interpolation="nearest")(coarse, image)
    assert receptive_field(keras.Model(image, near)).size == (6, 6)


def test_the_grid_of_images_of_several_sizes():
    image = keras.Input((None, None, 3))
    coarse = layers.Conv2D(2, 3, strides=4)(layers.ZeroPadding2D(1)(image))
    half = keras.Model(image, ResizeLike()(coarse, image))
    corners = keras.Model(image, ResizeLike(align_corners=True)(coarse, image))
    assert on_one_grid(half, (64, 96), (32, 32)) and not on_one_grid(half, (65, 97), (33, 33))
    assert on_one_grid(corners, (65, 97), (33, 33)) and not on_one_grid(corners, (64, 96), (32, 32))
    padded = keras.Model(image, corners(PadToMultiple(4, remainder=1, color=[0, 0, 0])(image)))
    assert on_one_grid(padded, (64, 96), (33, 31))
    same = keras.Model(image, layers.Conv2D(2, 3, strides=2, padding="same")(image))
    assert on_one_grid(same, (64, 96), (32, 32)) and not on_one_grid(same, (64, 96), (33, 32))


def test_resizing_to_another_map():
    image = keras.Input((None, None, 3))
    fine = layers.Conv2D(2, 3, strides=2, padding="same")(image)
    coarse = layers.Conv2D(2, 3, strides=3, padding="same")(fine)
    for x, like, count in ((coarse, fine, 3), (coarse, image, 6), (fine, coarse, 1)):
        model = keras.Model(image, CropLike()(ResizeLike()(x, like), like))
        start = 14 if like is image else 7
        cells = [(start + i, start + i) for i in range(count)]
        check(model, (60, 72), cells)


def test_branches():
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(2, 3, strides=2, padding="same", activation="relu")(image)
    y = layers.Conv2D(2, 3, padding="same")(layers.Conv2D(2, 3, padding="same")(x))
    x = layers.Add()([x, y])
    branches = [AtrousConv2D(2, 3, rate=r)(x) for r in (1, 3)] + [layers.Conv2D(2, 1)(x)]
    branches.append(layers.ZeroPadding2D(((0, 4), (4, 0)))(layers.Conv2D(2, 5)(x)))
    x = layers.Concatenate()(branches)
    field = check(keras.Model(image, layers.Conv2D(3, 1)(x)), (64, 64))
    assert field.stride == (2, 2)
    outer = keras.Model(image, network(layers.Conv2D(2, 3, strides=2))(layers.Conv2D(3, 1)(x)))
    assert check(outer, (64, 64)).stride == (4, 4)


def gated(gates):
    """Squeeze-and-excite, image pooling and pyramid pooling, or none of them."""
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same")(image)
    if gates:
        gate = layers.GlobalAveragePooling2D()(x)
        gate = layers.Reshape((1, 1, 4))(layers.Dense(4, activation="sigmoid")(gate))
        x = layers.Multiply()([x, gate])
        context = layers.Conv2D(4, 1)(layers.GlobalAveragePooling2D(keepdims=True)(x))
        bins = layers.Conv2D(4, 3, padding="same")(AdaptiveAveragePooling2D(2)(x))
        x = layers.Concatenate()([x, ResizeLike()(context, x), ResizeLike()(bins, x)])
    return keras.Model(image, layers.Conv2D(2, 3, padding="same")(x))


def test_gates():
    plain = check(gated(False), (32, 40))
    assert receptive_field(gated(True), gates=False) == plain
    whole = receptive_field(gated(True))
    assert whole == ReceptiveField((inf, inf), (2, 2), (-inf, -inf))
    assert whole.center == (None, None) and whole.box(3, 4) == (-inf, -inf, inf, inf)
    (top, bottom), (left, right) = seen(positive(gated(True)), (32, 40), (8, 10))
    assert (top, bottom, left, right) == (0, 31, 0, 39)


@pytest.mark.parametrize(
    "layer", [layers.GroupNormalization(2), layers.LayerNormalization(axis=[1, 2, 3])]
)
def test_normalization_over_the_map_is_a_gate(layer):
    model = network(layers.Conv2D(4, 3, strides=2), layer, size=(33, 33))
    assert receptive_field(model).size == (inf, inf)
    assert receptive_field(model, gates=False).size == (3, 3)


def test_a_classifier_sees_everything():
    model = keras.applications.MobileNet(weights=None, alpha=0.25)
    whole = ReceptiveField((inf, inf), None, (-inf, -inf))
    assert receptive_field(model) == receptive_field(model, gates=False) == whole
    assert whole.box(0, 0) == (-inf, -inf, inf, inf)


@pytest.mark.parametrize(
    ("name", "options", "layer", "size", "known"),
    [
        ("MobileNet", {"alpha": 0.25}, "conv_pw_6_relu", (211, 160), True),
        ("MobileNetV2", {"alpha": 0.35}, "block_6_project_BN", (256, 256), False),
        ("MobileNetV2", {"alpha": 0.35}, "block_4_expand_relu", (129, 150), True),
        ("ResNet50", {}, "conv3_block1_out", (96, 80), False),
    ],
)
def test_applications(name, options, layer, size, known):
    shape = (*size, 3) if known else (None, None, 3)
    app = getattr(keras.applications, name)(
        weights=None, include_top=False, input_shape=shape, **options
    )
    check(averaged(keras.Model(app.input, app.get_layer(layer).output)), size)


@pytest.mark.slow
def test_a_whole_application():
    app = keras.applications.MobileNetV2(weights=None, include_top=False, alpha=0.35)
    assert check(averaged(app), (576, 576)).size == (491, 491)


def test_dilation_keeps_the_field():
    app = keras.applications.MobileNetV2(weights=None, include_top=False, alpha=0.35)
    field, dense = receptive_field(app), receptive_field(dilate(app, 8))
    assert dense == ReceptiveField(field.size, (8, 8), field.offset)


def test_published_figures():
    """Figures from the papers on VGG and FCN, and from Araujo et al., Distill 2019."""
    vgg = keras.applications.VGG16(weights=None)
    by_name = receptive_field(convolutionalize(vgg), every=True)
    sizes = {"block1_pool": 6, "block3_conv3": 40, "block5_conv3": 196, "block5_pool": 212}
    sizes |= {"fc1": 404, "fc2": 404}
    assert {name: by_name[name].size[0] for name in sizes} == sizes
    assert by_name["block5_pool"].center == (16, 16)
    assert list(by_name)[:2] == ["block1_conv1", "block1_conv2"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("MobileNet", 315),
        ("ResNet50", 483),
        pytest.param("ResNet152", 1507, marks=pytest.mark.exhaustive),
        pytest.param("InceptionV3", 1311, marks=pytest.mark.exhaustive),
        pytest.param("InceptionResNetV2", 3039, marks=pytest.mark.exhaustive),
    ],
)
def test_published_figures_of_deep_networks(name, size):
    app = getattr(keras.applications, name)(weights=None, include_top=False)
    field = receptive_field(app)
    assert (field.size, field.stride) == ((size, size), (32, 32))


def test_structure_and_names():
    image = keras.Input((None, None, 3))
    shared = layers.Conv2D(3, 3, padding="same", name="shared")
    x = shared(image)
    y = layers.AveragePooling2D(2, name="pool")(shared(x))
    model = keras.Model(image, {"fine": x, "coarse": [y, layers.Flatten()(y)]})
    found = receptive_field(model)
    assert found["fine"] == ReceptiveField((3, 3), (1, 1), (-1, -1))
    assert found["coarse"][0] == ReceptiveField((6, 6), (2, 2), (-2, -2))
    assert found["coarse"][1].stride is None
    assert found["coarse"][0].center == (1, 1)
    assert found["fine"].center == (Fraction(1, 2), Fraction(1, 2))
    assert found["coarse"][0].box(2, 3) == (2, 4, 8, 10)
    names = list(receptive_field(model, every=True))
    assert names[:3] == ["shared", "shared_1", "pool"]


# Networks of this library, in small


def vgg_of_one_channel(include_top=True, weights=None, input_tensor=None, **kwargs):
    """VGG-16 with its names and windows, one convolution a block, and few channels."""
    x = image = keras.Input((224, 224, 3)) if input_tensor is None else input_tensor
    for n in range(1, 6):
        x = layers.Conv2D(2, 3, padding="same", activation="relu", name=f"block{n}_conv1")(x)
        x = layers.MaxPooling2D(name=f"block{n}_pool")(x)
    x = layers.Flatten(name="flatten")(x)
    for name in ("fc1", "fc2"):
        x = layers.Dense(2, activation="relu", name=name)(x)
    x = layers.Dense(1000, activation="softmax", name="predictions")(x)
    return keras.Model(keras.utils.get_source_inputs(image)[0], x, name="vgg16")


def pooled_twice():
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(3, 3, padding="same", activation="relu")(image)
    x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    return keras.Model(image, layers.MaxPooling2D()(x), name="pooled_twice")


# The network and the size of its field.
OURS = {
    "segnet": (lambda: kd.segnet(pooled_twice(), 2), 21),
    "deconvnet": (lambda: kd.deconvnet(pooled_twice(), 2, filters=3), 69),
    "unet": (lambda: kd.unet(num_classes=2, filters=(6, 4), padding="valid"), 47),
    "dilated_context": (lambda: kd.dilated_context("vgg16", 2, weights=None, rates=(1, 2)), 325),
}


def along(model, axis, images):
    """The network's output, its lines along an axis first: `(lines, batch, …)`."""
    images = np.swapaxes(images, 1, 2) if axis else images
    y = ops.convert_to_numpy(model(images, training=False))
    return np.swapaxes(np.swapaxes(y, 1, 2) if axis else y, 0, 1)


@pytest.mark.parametrize("name", OURS)
def test_networks_of_this_library_see_their_field_and_no_more(name, monkeypatch):
    """Pixels beyond the field change nothing, those on its edges change a cell."""
    monkeypatch.setattr(keras.applications, "VGG16", vgg_of_one_channel)
    build, size = OURS[name]
    model = positive(build())
    field = receptive_field(model)
    assert field.size == (size, size) and field.stride == (1, 1)
    period = total_stride(model)
    height = (2 * size) // period * period + 4 * period
    for axis in range(2):
        reached = set()
        # A maximum passes on one of its cells: not every image shows the whole window.
        for seed in range(8):
            rng = np.random.default_rng(seed)
            image = rng.uniform(100, 130, (1, height, 2 * period, 3)).astype("float32")
            for cell in range(height // 2, height // 2 + period):
                first = field.offset[axis] + cell
                last = first + size - 1
                changed = np.repeat(image, 4, 0)
                changed[1, :first] = changed[1, last + 1 :] = 200
                changed[2, first] = changed[3, last] = 255
                plain, beyond, top, bottom = along(model, axis, changed)[cell]
                np.testing.assert_allclose(beyond, plain, rtol=1e-5, atol=1e-6)
                for side, edge in (("first", top), ("last", bottom)):
                    if np.abs(edge - plain).max() > 1e-6 * np.abs(plain).max():
                        reached.add(side)
            if reached == {"first", "last"}:
                break
        assert reached == {"first", "last"}


@pytest.mark.parametrize("padding", ["valid", "same", ((1, 1), (0, 2))])
@pytest.mark.parametrize("like", [True, False])
def test_unpooling(padding, like):
    """A value and its index come from one window; both see what the pooling saw."""
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(2, 3, padding="same")(image)
    pooled, indices = MaxPoolWithArgmax2D(3, strides=2, padding=padding)(x)
    y = MaxUnpool2D(3, strides=2, padding=padding)(pooled, indices, **({"like": x} if like else {}))
    field = receptive_field(keras.Model(image, y))
    # Of 5 cells around one the windows contain it: those of 7 pixels.
    assert field == ReceptiveField((7, 7), (1, 1), (-3, -3))


def test_an_image_resized_to_one_size():
    """Its stride is known where the size of the image is."""
    image = keras.Input((64, 32, 3))
    x = layers.Conv2D(2, 3, padding="same")(layers.Resizing(32, 8)(image))
    field = receptive_field(keras.Model(image, x))
    assert field.stride == (2, 4) and strides(keras.Model(image, x)) == (2, 4)
    free = keras.Input((None, None, 3))
    model = keras.Model(free, layers.Conv2D(2, 3, padding="same")(layers.Resizing(32, 8)(free)))
    assert receptive_field(model) == ReceptiveField((inf, inf), None, (-inf, -inf))
    assert receptive_field(model, gates=False).size == (inf, inf)
    assert strides(model) is None


def test_a_crf_sees_everything_and_is_no_gate():
    image = keras.Input((None, None, 3))
    scores = layers.Conv2D(2, 3, padding="same")(image)
    model = keras.Model(image, kd.layers.CRFasRNN(1)(scores, image))
    for gates in (True, False):
        assert receptive_field(model, gates=gates).size == (inf, inf)


@keras.saving.register_keras_serializable("tests")
class Roll(layers.Layer):
    def call(self, x):
        return ops.roll(x, 1, axis=1)


def test_sizes_are_padded():
    check(network(PadToMultiple(8), layers.Conv2D(2, 3, strides=4, padding="same")), (40, 40))


def test_bad_input():
    with pytest.raises(ValueError, match=r"'turn' \(Roll\) looks at more than one pixel"):
        receptive_field(network(layers.Conv2D(2, 3), Roll(name="turn")))
    image = keras.Input((None, None, 3))
    with pytest.raises(ValueError, match=r"'add' \(Add\) joins maps of different strides"):
        x = layers.ZeroPadding2D(4)(layers.Conv2D(3, 3, strides=2, padding="same")(image))
        receptive_field(keras.Model(image, layers.Add(name="add")([x, image])))
    with pytest.raises(ValueError, match="must be channels_last.*Received: 'first'"):
        first = layers.Conv2D(2, 3, data_format="channels_first", name="first")
        receptive_field(network(first, size=(8, 8)))
    with pytest.raises(TypeError, match="functional Keras model"):
        receptive_field(layers.Conv2D(2, 3))

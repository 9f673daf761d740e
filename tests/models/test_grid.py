"""Grids: networks on every one, at any size, against torch, saved and exported."""

import inspect

import keras
import numpy as np
import pytest
from keras import layers

import keras_dense as kd
from keras_dense.models import grid as grids
from keras_dense.models.grid import GRIDS, as_grid, mean_color
from keras_dense.testing.expect import reload

from .small import images, run

SIZES = ((64, 96), (75, 101))
UNPOOLING = {"segnet", "segnet_basic", "deconvnet"}
ALLOWED = {name: ("multiple", "image") for name in (*UNPOOLING, "zhang_colorization")}
SMALL = {
    "deconvnet": {"filters": 8},
    "dilated_context": {"context": "basic"},
    "dpt": {"filters": 8},
    "fpn": {"filters": (8, 8)},
    "layer_cascade": {"filters": 8},
    "refinenet": {"filters": (8, 8, 8, 8)},
    "segnet_basic": {"filters": 4},
    "stacked_deconvolutional_network": {"units": 2, "growth": 8, "widths": (8, 8, 8)},
    "unet": {"filters": (16, 8, 8, 8)},
    "upernet": {"filters": 8},
    "zhang_colorization": {"width": 0.06, "num_classes": None},
}
BUILDERS = [
    name
    for name in kd.models.__all__
    if "num_classes" in inspect.signature(getattr(kd.models, name)).parameters
]


def strided():
    """Convolutions of stride 2 whose maps have ceil sizes, as torch pads them."""
    x = image = keras.Input((None, None, 3))
    x = kd.layers.Standardize(mean=(120.0, 110.0, 100.0), std=60.0)(x)
    for n in range(5):
        x = layers.ZeroPadding2D(1)(x)
        x = layers.Conv2D(8, 3, strides=2, activation="relu", name=f"conv{n}")(x)
    return kd.backbone(keras.Model(image, x))


def pooled():
    """Poolings of 2 that leave out a last odd row: maps of floor sizes."""
    x = image = keras.Input((None, None, 3))
    for n in range(5):
        x = layers.Conv2D(4, 3, padding="same", activation="relu", name=f"conv{n}")(x)
        x = layers.MaxPooling2D(name=f"pool{n}")(x)
    return keras.Model(image, x)


def build(name, grid, backbone):
    settings = {"weights": None, "num_classes": 3, "grid": grid, **SMALL.get(name, {})}
    known = inspect.signature(getattr(kd, name)).parameters
    if name == "resnet38" or known["backbone"].default is not None:
        settings["backbone"] = backbone()
    if name == "layer_cascade":
        settings["num_classes"] = None
        stages = ["stage1", "stage2"]
        settings["heads"] = kd.heads.with_intermediate(kd.heads.Segmentation(3), stages)
    return getattr(kd, name)(**settings)


def randomize(model):
    """Weights that keep the scale, none of them zero; the same by path on every grid."""
    rng = np.random.default_rng(0)
    for w in sorted(model.weights, key=lambda w: w.path):
        if "seed" in w.path:
            continue
        values = rng.normal(size=w.shape, scale=(2 / max(np.prod(w.shape[:-1]), 1)) ** 0.5)
        # A positive shift, too: maps of few channels must not be zero after ReLU.
        kept = any(part in w.path for part in ("variance", "gamma", "beta"))
        w.assign(np.abs(values) + 0.5 if kept else values)
    return model


@pytest.mark.parametrize("name", sorted(set(BUILDERS) - {"eigen_fergus"}))
@pytest.mark.parametrize(
    "backbone", [strided, pytest.param(pooled, marks=pytest.mark.exhaustive)], ids=["ceil", "floor"]
)
def test_every_network_on_every_grid(name, backbone):
    """At sizes that divide and others, and for maps of ceil and floor sizes."""
    backbone = pooled if name in UNPOOLING else backbone
    found = {}
    for grid in GRIDS:
        if grid not in ALLOWED.get(name, GRIDS):
            with pytest.raises(ValueError, match="`grid` must be 'multiple' or 'image'"):
                build(name, grid, backbone)
            continue
        keras.utils.set_random_seed(0)
        model = randomize(build(name, grid, backbone))
        for size in SIZES:
            y = run(model, images(1, *size))
            y = y["segmentation"] if isinstance(y, dict) else y
            step = 4 if name == "zhang_colorization" else 1
            assert y.shape[1:3] == tuple(-(-n // step) for n in size)
            found[grid, size] = y
    same, other = (found["multiple", size] - found["image", size] for size in SIZES)
    scale = np.abs(found["multiple", SIZES[0]]).max()
    np.testing.assert_allclose(same / scale, 0, atol=1e-5)
    assert np.abs(other).max() > 1e-4 * scale


def test_heads_of_any_stride_and_kind():
    heads = {
        "classes": kd.heads.Segmentation(3),
        "auxiliary": kd.heads.Auxiliary(kd.heads.Segmentation(3), "P4", filters=4),
        "colors": kd.heads.Colorization(),
    }
    for grid in ("image", "corners"):
        model = kd.assemble(
            strided(), lambda f: kd.decoders.upsample(f["P2"], 2, like=f["P1"]), heads, grid=grid
        )
        for size in SIZES:
            y = run(model, images(1, *size))
            assert y["classes"].shape[1:3] == y["auxiliary"].shape[1:3] == size
            assert y["colors"].shape[1:3] == tuple(-(-n // 4) for n in size)


@pytest.mark.parametrize("upsampling", kd.models.upsampling.UPSAMPLING)
@pytest.mark.parametrize("grid", GRIDS)
def test_every_way_of_upsampling_on_every_grid(upsampling, grid):
    for backbone in (strided(), kd.backbone(pooled())):

        def decoder(features):
            x = features["P5"]
            for n in (4, 3, 2, 1):
                like = features[f"P{n}"]
                x = kd.decoders.upsample(x, 2, upsampling, like=like, name=f"up{n}")
                x = layers.Add(name=f"add{n}")([x, like])
            return x

        model = kd.assemble(backbone, decoder, kd.heads.Segmentation(3), grid=grid)
        for size in SIZES:
            assert run(model, images(1, *size)).shape == (1, *size, 3)


# Against torch


def weights_of(model):
    torch = pytest.importorskip("torch")
    found = {}
    for layer in [*model.get_layer("backbone").layers, *model.layers]:
        if isinstance(layer, layers.Conv2D):
            kernel, bias = layer.get_weights()
            found[layer.name] = (
                torch.tensor(kernel.transpose(3, 2, 0, 1), dtype=torch.float64),
                torch.tensor(bias, dtype=torch.float64),
            )
    return found


def in_torch(weights, image, align_corners):
    """Scores of strides 32, 16 and 8 of `strided`, resized to each other, then to the image."""
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional

    def resize(x, size):
        return functional.interpolate(x, size, mode="bilinear", align_corners=align_corners)

    x = torch.tensor(image.transpose(0, 3, 1, 2).astype("float64"))
    size, features = tuple(x.shape[2:]), {}
    mean = torch.tensor([120.0, 110.0, 100.0], dtype=torch.float64).reshape(1, 3, 1, 1)
    x = (x - mean) / 60
    for n in range(5):
        kernel, bias = weights[f"conv{n}"]
        x = functional.conv2d(x, kernel, bias, stride=2, padding=1).relu()
        features[f"P{n + 1}"] = x
    total = functional.conv2d(x, *weights["score_P5"])
    for level in ("P4", "P3"):
        scores = functional.conv2d(features[level], *weights[f"score_{level}"])
        total = scores + resize(total, tuple(scores.shape[2:]))
    return resize(total, size).numpy().transpose(0, 2, 3, 1)


@kd.decoders.scores
def scores_added(features, wanted):
    def score(level):
        name = f"{wanted.prefix}score_{level}"
        return layers.Conv2D(wanted.channels, 1, name=name)(features[level])

    x = score("P5")
    for level in ("P4", "P3"):
        finer = score(level)
        factor = kd.decoders.stride_between(finer, x)
        x = kd.decoders.upsample(x, factor, like=finer, name=f"up_{level}")
        x = layers.Add(name=f"add_{level}")([finer, x])
    return x


@pytest.mark.everywhere
@pytest.mark.parametrize("grid", GRIDS)
def test_a_network_equals_torch(grid):
    model = randomize(kd.assemble(strided(), scores_added, kd.heads.Segmentation(3), grid=grid))
    weights, aligned = weights_of(model), GRIDS[grid].align_corners
    for height, width in SIZES:
        image = images(1, height, width).astype("float32")
        seen = image
        if GRIDS[grid].divides:
            pads = ((0, 0), (0, -height % 32), (0, -width % 32), (0, 0))
            seen = np.pad(image, pads, mode="reflect")
        if grid == "corners":
            sizes = [1 + -(-(n - 1) // 32) * 32 for n in (height, width)]
            seen = np.broadcast_to(np.float32([120, 110, 100]), (1, *sizes, 3)).copy()
            seen[:, :height, :width] = image
        wanted = in_torch(weights, seen, aligned)[:, :height, :width]
        np.testing.assert_allclose(
            run(model, image), wanted, atol=1e-5 * np.abs(wanted).max(), rtol=0
        )


@pytest.mark.parametrize("grid, size", [("image", (64, 96)), ("corners", (65, 97))])
def test_learned_upsampling_starts_as_the_grid_resizes(grid, size):
    """A fresh transposed convolution is bilinear away from the border, half-pixel or aligned."""
    backbone, found = strided(), []
    for upsampling, last in (("bilinear", "up"), ("transposed", "up_crop")):

        def decoder(features, upsampling=upsampling):
            x = features["P3"]
            return kd.decoders.upsample(x, 4, upsampling, like=features["P1"], name="up")

        model = kd.assemble(backbone, decoder, kd.heads.Segmentation(3), grid=grid)
        up = keras.Model(model.input, model.get_layer(last).output)
        found.append(run(up, images(1, *size))[:, 4:-4, 4:-4])
    np.testing.assert_allclose(*found, atol=1e-5 * np.abs(found[0]).max())


# Padding with the mean color


def test_the_mean_color_of_backbones():
    image = keras.Input((None, None, 3))
    assert mean_color(strided()) == [120.0, 110.0, 100.0]
    assert mean_color(keras.Model(image, layers.Conv2D(2, 3)(image))) == [0.0, 0.0, 0.0]
    x = kd.layers.Standardize((1.0, 2.0, 3.0), 2.0, reverse_channels=True)(image)
    x = layers.Rescaling(2.0, offset=(2.0, 0.0, 0.0))(x)
    inner = keras.Model(image, layers.Conv2D(2, 3)(x))
    outer = keras.Input((None, None, 3))
    # The third channel comes first, (x - 3) / 2 · 2 + 2.
    assert mean_color(keras.Model(outer, inner(outer))) == [1.0, 2.0, 1.0]
    x = layers.Normalization(mean=(1.0, 2.0, 3.0), variance=(4.0, 4.0, 1.0))(
        layers.Rescaling(0.5)(image)
    )
    assert mean_color(keras.Model(image, layers.Conv2D(2, 3)(x))) == [2.0, 4.0, 6.0]


@pytest.mark.parametrize(
    "name",
    [
        "mobilenet",
        *(
            pytest.param(name, marks=pytest.mark.exhaustive)
            for name in ("resnet50", "densenet121", "efficientnetb0")
        ),
    ],
)
def test_the_network_sees_zeros_beyond_the_image(name):
    backbone = kd.backbone(name, weights=None)
    for head in (kd.heads.Segmentation(3), kd.heads.Colorization()):
        model = kd.assemble(backbone, kd.decoders.fcn(()), head, grid="corners")
        color = np.float32(model.get_layer("pad").color)
        windows = (layers.ZeroPadding2D, layers.Conv2D)
        first = next(op for op in backbone.operations if isinstance(op, windows))
        standardized = keras.Model(backbone.input, first.input)
        y = run(standardized, np.broadcast_to(color, (1, 4, 4, 3)))
        np.testing.assert_allclose(y, 0, atol=1e-5)


# Saving and exporting


@pytest.mark.parametrize("grid", GRIDS)
def test_saved_and_loaded(grid):
    decoder = kd.decoders.stacked_deconvolutional_network(
        2, growth=4, widths=(4, 4, 4), levels=("P2", "P3", "P4")
    )
    model = randomize(kd.assemble(strided(), decoder, kd.heads.Segmentation(3), grid=grid))
    x = images(1, 75, 101)
    wanted = run(model, x)
    # Layers of a loaded model compute as those of Keras, with another rounding.
    np.testing.assert_allclose(run(reload(model), x), wanted, atol=2e-6 * np.abs(wanted).max())


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow exports")
@pytest.mark.parametrize(
    "grid",
    [
        pytest.param(grid, marks=() if grid in ("image", "corners") else pytest.mark.exhaustive)
        for grid in GRIDS
    ],
)
def test_export_at_free_sizes(grid, tmp_path):
    import tensorflow as tf

    decoder = kd.decoders.fcn()
    model = randomize(kd.assemble(strided(), decoder, kd.heads.Segmentation(3), grid=grid))
    kd.export.savedmodel(model, tmp_path / "saved")
    loaded = tf.saved_model.load(tmp_path / "saved").signatures["serving_default"]
    kd.export.onnx(model, tmp_path / "model.onnx")
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(tmp_path / "model.onnx"))
    for size in (*SIZES, (65, 129)):
        image = images(1, *size)
        wanted = run(model, image)
        labels = wanted.argmax(-1)
        got = loaded(tf.constant(image))
        name = session.get_inputs()[0].name
        outputs = zip(session.get_outputs(), session.run(None, {name: image}), strict=True)
        outputs = {output.name: y for output, y in outputs}
        for found in (got, outputs):
            assert np.mean(np.asarray(found["labels"]) == labels) > 0.999


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the exporter
@pytest.mark.skipif(keras.backend.backend() != "torch", reason="what PyTorch's exporter writes")
@pytest.mark.parametrize("grid", GRIDS)
def test_pytorch_writes_onnx_at_a_fixed_size(grid, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    decoder, head, shape = kd.decoders.fcn(), kd.heads.Segmentation(3), (75, 101, 3)
    model = randomize(kd.assemble(strided(), decoder, head, grid=grid, input_shape=shape))
    image = images(1, *shape[:2]).astype("float32")
    wanted = run(model, image)
    model.export(str(tmp_path / "model.onnx"), format="onnx", verbose=False)
    session = runtime.InferenceSession(str(tmp_path / "model.onnx"))
    (got,) = session.run(None, {session.get_inputs()[0].name: image})
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


# Bad arguments


def test_bad_grids(backbone):
    with pytest.raises(ValueError, match="`grid` must be one of 'multiple', .*'corners'"):
        kd.assemble(strided(), kd.decoders.fcn(), kd.heads.Segmentation(3), grid="odd")
    with pytest.raises(ValueError, match="`grid` must be None: eigen_fergus resizes"):
        kd.eigen_fergus(strided(), 3, size=(64, 80), units=8, filters=4, grid="image")
    with pytest.raises(ValueError, match="`grid` must be 'multiple': with `mlp`"):
        kd.hypercolumn(strided(), 3, mlp=(8,), grid="image")
    with pytest.raises(ValueError, match="`grid` must be 'multiple': with `mlp`"):
        decoder = kd.decoders.hypercolumn(mlp=(8,))
        kd.assemble(strided(), decoder, kd.heads.Segmentation(3), grid="corners")
    with pytest.raises(ValueError, match="no corners can be aligned. Received: grid='corners'"):
        with_indices = kd.surgery.pool_with_indices(pooled())
        segnet, head = kd.decoders.segnet((1,) * 5), kd.heads.Segmentation(3)
        kd.assemble(with_indices, segnet, head, grid="corners")
    with pytest.raises(ValueError, match="no feature P1, whose size unpooling needs"):
        features = {k: x for k, x in with_indices.output.items() if k != "P1"}
        fewer = keras.Model(with_indices.input, features)
        kd.assemble(fewer, segnet, head, grid="image")


def test_the_default_is_one_constant(monkeypatch):
    assert as_grid(None).name == grids.GRID
    monkeypatch.setattr(grids, "GRID", "corners")
    model = kd.fcn8s(strided(), 3)
    assert model.get_layer("pad").remainder == 1
    # Where the default is impossible, a network takes the first grid that it can compute on.
    assert kd.segnet(pooled(), 3).get_layer("pad").remainder == 0

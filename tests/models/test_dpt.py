"""DPT and the decoder of MiDaS: against PyTorch, on maps of patches and on features."""

import keras
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from keras import layers

import keras_dense as kd
from keras_dense.layers import PadToMultiple
from keras_dense.testing import check_model

from .small import images, pyramid_of, run, trained
from .test_published_structures import backbone as convolutional
from .torch_reference import Reference, compare, draw_weights

torch.set_num_threads(1)
PATCHES, LEVELS = ("T4", "T3", "T2", "T1"), ("P5", "P4", "P3", "P2")


def patches(size, width=12):
    """Maps of patches like those of a plain transformer."""
    image = keras.Input((None, None, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(image)
    x, features = layers.Conv2D(width, size, size, name="embed")(x), {}
    for n in range(1, 5):
        x = features[f"T{n}"] = layers.Conv2D(width, 1, activation="tanh", name=f"block_{n}")(x)
    return keras.Model(image, features, name="backbone")


class InTorch(Reference):
    """The network written after the authors' code, with the names of our layers."""

    def unit(self, x, name, batch_norm, rectify):
        y, skip = x, F.relu(x) if rectify else x
        for n in (1, 2):
            y = self.conv(F.relu(y), f"{name}_conv_{n}")
            if batch_norm:
                y = self.norm(y, f"{name}_bn_{n}")
        return y + skip

    def norm(self, x, name):
        gamma, beta, mean, variance = self.weights(name)
        return F.batch_norm(x, mean, variance, gamma, beta, eps=1e-5)

    def reassemble(self, maps):
        found = []
        for level, x, factor in zip(PATCHES, maps, (0.5, 1, 2, 4), strict=True):
            name = f"reassemble_{level}"
            x = self.conv(x, f"{name}_project")
            if factor > 1:
                kernel, bias = self.weights(f"{name}_upsample")
                x = F.conv_transpose2d(x, kernel.permute(3, 2, 0, 1), bias, stride=factor)
            elif factor < 1:
                kernel, bias = self.weights(f"{name}_reduce")
                x = F.conv2d(x, kernel.permute(3, 2, 0, 1), bias, stride=2, padding=1)
            found.append(x)
        return found

    def fuse(self, maps, levels, project=True, batch_norm=False, rectify=False):
        maps = [self.conv(x, f"narrow_{level}") for x, level in zip(maps, levels, strict=True)]
        path = None
        for n, (x, level) in enumerate(zip(maps, levels, strict=True)):
            name = f"fusion_{level}"
            if path is not None:
                x = path + self.unit(x, f"{name}_unit_1", batch_norm, rectify)
            x = self.unit(x, f"{name}_unit_2", batch_norm, rectify)
            size = maps[n + 1].shape[2:] if n + 1 < len(maps) else [2 * s for s in x.shape[2:]]
            path = F.interpolate(x, size=size, mode="bilinear", align_corners=True)
            if project:
                path = self.conv(path, f"{name}_project")
        return path

    def depth(self, x, size, align_corners=True, prefix=""):
        x = self.conv(x, f"{prefix}head_1")
        x = F.interpolate(x, size=size, mode="bilinear", align_corners=align_corners)
        return self.conv(F.relu(self.conv(x, f"{prefix}head_2")), f"{prefix}scores")

    def segmentation(self, x, size, prefix=""):
        x = F.relu(self.norm(self.conv(x, f"{prefix}head_1"), f"{prefix}head_1_bn"))
        x = self.conv(x, f"{prefix}scores")
        return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


def last(x):
    return x.numpy().transpose(0, 2, 3, 1)


# Sizes: whole patches, odd numbers of them too, which have no half.
@pytest.mark.parametrize(
    "patch, size",
    [
        (14, (70, 98)),
        *(pytest.param(16, size, marks=pytest.mark.exhaustive) for size in ((64, 96), (48, 80))),
    ],
)
def test_depth_on_patches(patch, size):
    head = kd.heads.RelativeDepth(activation="relu")
    model = kd.dpt(patches(patch), heads=head, filters=8)
    draw_weights(model)
    t = InTorch(model)

    def reference(image):
        p = t.features(image)
        x = t.fuse(t.reassemble([p[level] for level in PATCHES]), PATCHES)
        return last(F.relu(t.depth(x, image.shape[1:3])))

    compare(model, reference, images(1, *size))


@pytest.mark.everywhere
def test_segmentation_and_depth_on_patches():
    heads = {
        "classes": kd.heads.Segmentation(5),
        "depth": kd.heads.RelativeDepth(activation="linear"),
    }
    model = kd.dpt(patches(14), heads=heads, filters=8, batch_norm=True)
    draw_weights(model)
    t = InTorch(model)

    def reference(image):
        p, size = t.features(image), image.shape[1:3]
        x = t.fuse(t.reassemble([p[level] for level in PATCHES]), PATCHES, batch_norm=True)
        found = {
            "classes": t.segmentation(x, size, "classes_"),
            "depth": t.depth(x, size, prefix="depth_"),
        }
        return {key: last(y) for key, y in found.items()}

    compare(model, reference, images(1, 56, 84))


@pytest.mark.parametrize("small", [False, True])
def test_midas_on_features(small):
    """v2.1 has no projections and adds what it rectified, the small one has widths that differ."""
    settings = {"project": small, "rectify": not small}
    decoder = kd.decoders.dpt((24, 16, 12, 8) if small else 8, half_pixel=True, **settings)
    head = kd.heads.RelativeDepth(activation="relu")
    model = kd.assemble(convolutional(), decoder, head, grid="multiple_corners")
    draw_weights(model)
    t = InTorch(model)

    def reference(image):
        p = t.features(image)
        x = t.fuse([p[level] for level in LEVELS], LEVELS, **settings)
        return last(F.relu(t.depth(x, image.shape[1:3], align_corners=False)))

    compare(model, reference, images(1, 64, 96))


@pytest.mark.parametrize("patch", [14, pytest.param(16, marks=pytest.mark.exhaustive)])
def test_other_sizes_are_padded_to_whole_patches(patch):
    model = kd.dpt(patches(patch), 3, filters=8)
    draw_weights(model)
    image = images(1, 97, 131)
    padded = keras.ops.convert_to_numpy(PadToMultiple(patch)(image.astype("float32")))
    wanted = run(model, padded)[:, :97, :131]
    found = run(model, image)
    assert found.shape == (1, 97, 131, 3)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * abs(wanted).max())


def test_stages_before_patches():
    """The hybrid network: two features of a ResNet, then maps of patches."""
    image = keras.Input((None, None, 3))
    x, features = image, {}
    for n in range(1, 5):
        x = layers.Conv2D(8, 3, 2, "same", activation="tanh")(x)
        features[f"P{n}"] = x
    features |= {"T3": layers.Conv2D(16, 1)(x), "T4": layers.Conv2D(16, 1)(x)}
    decoder = kd.decoders.dpt(8, levels=("T4", "T3", "P3", "P2"), reassemble=(16, 16, 1, 1))
    model = kd.assemble(keras.Model(image, features), decoder, kd.heads.Depth())
    assert {x.name for x in model.layers if x.name.startswith("reassemble")} == {
        "reassemble_T3_project",
        "reassemble_T4_project",
        "reassemble_T4_pad",
        "reassemble_T4_reduce",
    }
    assert run(model, images(1, 64, 96)).shape == (1, 64, 96, 1)


HEADS = {
    "depth": lambda: kd.heads.Depth(),
    "classes": lambda: kd.heads.Segmentation(3),
    "all": lambda: {
        "normals": kd.heads.Normals(),
        "relative": kd.heads.RelativeDepth(),
        "color": kd.heads.Colorization(grid=40),
        "parts": kd.heads.Segmentation(2, mode="multilabel"),
    },
}


@pytest.mark.parametrize(
    "name", ["classes", *(pytest.param(n, marks=pytest.mark.exhaustive) for n in ("depth", "all"))]
)
def test_contract_on_patches(name):
    model = kd.dpt(patches(14), heads=HEADS[name](), filters=8)
    check_model(model, sizes=((42, 56), (97, 131)))


@pytest.mark.exhaustive
def test_contract_on_features(backbone):
    model = kd.dpt(backbone, heads=HEADS["depth"](), filters=8)
    check_model(model, sizes=((97, 131),))


def test_every_head():
    model = kd.dpt(patches(14), heads=HEADS["all"](), filters=8)
    y = run(model, images(1, 45, 67))
    assert {key: x.shape for key, x in y.items()} == {
        "normals": (1, 45, 67, 3),
        "relative": (1, 45, 67, 1),
        "color": (1, 12, 17, model.output["color"].shape[-1]),
        "parts": (1, 45, 67, 2),
    }


def test_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = kd.dpt(patches(14), heads=HEADS["depth"](), filters=8)
    y = model(images(1, 45, 67))
    assert keras.backend.standardize_dtype(y.dtype) == "float32"
    assert np.isfinite(keras.ops.convert_to_numpy(y)).all()


@pytest.mark.exhaustive
def test_batch_norms_are_for_classes(backbone):
    def normalized(heads, **settings):
        model = kd.dpt(backbone, heads=heads, filters=4, **settings)
        return any(x.name == "fusion_P2_unit_1_bn_1" for x in model.layers)

    assert normalized(HEADS["classes"]())
    assert not normalized(HEADS["depth"]()) and not normalized(HEADS["all"]())
    assert normalized(HEADS["depth"](), batch_norm=True)
    model = kd.dpt(backbone, 3, filters=4, dropout=0.0)
    assert not any(isinstance(x, layers.Dropout) for x in model.layers)


@pytest.mark.exhaustive
def test_fewer_and_dilated_levels(backbone):
    decoder = kd.decoders.dpt(4, levels=("P3", "P1"))
    model = kd.assemble(backbone, decoder, kd.heads.Depth())
    assert run(model, images(1, 33, 47)).shape == (1, 33, 47, 1)
    model = kd.dpt(kd.surgery.dilate(backbone, 8), 3, filters=4)
    assert run(model, images(1, 33, 47)).shape == (1, 33, 47, 3)


# Parameters: the authors' without the unit of the coarsest fusion that they do not use
UNIT = 1_180_160
HEAD = 331_969


def test_as_many_parameters_as_midas(zero_weights):
    decoder = kd.decoders.dpt(project=False, rectify=True)
    backbone = pyramid_of((64, 256, 512, 1024, 2048))
    count = trained(kd.assemble(backbone, decoder, kd.heads.Depth()))
    assert count == 105_362_945 - 86_742_336 - UNIT  # without ResNeXt-101


def dpt_parameters(channels, widths, filters=256, head=HEAD):
    """Count of the reassembly, the convolutions to one width, the fusions and the head."""
    a, b, c, d = widths
    reassembly = sum(channels * n + n for n in widths)
    reassembly += 16 * a * a + a + 4 * b * b + b + 9 * d * d + d
    unit = 2 * (9 * filters * filters + filters)
    return reassembly + 9 * filters * sum(widths) + 7 * unit + 4 * (filters + 1) * filters + head


def test_as_many_parameters_as_dpt(zero_weights):
    for channels, widths in ((1024, (256, 512, 1024, 1024)), (768, (96, 192, 384, 768))):
        backbone = patches(16, channels)
        model = kd.dpt(backbone, heads=kd.heads.Depth())
        assert trained(model) - trained(backbone) == dpt_parameters(channels, widths)


@pytest.mark.exhaustive
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow exports")
@pytest.mark.parametrize("kind", ["patches", "features"])
def test_onnx_of_any_size(kind, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    backbone = patches(14) if kind == "patches" else convolutional()
    model = kd.dpt(backbone, heads=kd.heads.RelativeDepth(activation="relu"), filters=8)
    draw_weights(model)
    path = str(tmp_path / "model.onnx")
    kd.export.onnx(model, path)
    session = onnxruntime.InferenceSession(path)
    for size in ((70, 98), (97, 131)):
        image = images(1, *size)
        given = session.get_inputs()[0]
        image_in = image if "uint8" in given.type else image.astype("float32")
        (found,) = session.run(["relative_depth"], {given.name: image_in})
        wanted = run(model, image)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * abs(wanted).max())


# Bad input


def test_bad_settings(backbone):
    with pytest.raises(ValueError, match="`filters` must be an integer >= 1"):
        kd.dpt(backbone, 3, filters=0)
    with pytest.raises(ValueError, match="`filters` must be an int, or one width for each of 4"):
        kd.dpt(backbone, 3, filters=(8, 8))
    with pytest.raises(ValueError, match="`filters` must be one width with project=False"):
        decoder = kd.decoders.dpt((16, 8, 8, 8), project=False)
        kd.assemble(backbone, decoder, kd.heads.Depth())
    with pytest.raises(ValueError, match="`style` must be one of 'depth', 'segmentation'"):
        kd.decoders.dpt(style="normals")
    with pytest.raises(ValueError, match="`style` must be a style for each head, also for 'far'"):
        decoder = kd.decoders.dpt(8, style={"near": "depth"})
        kd.assemble(backbone, decoder, {"near": kd.heads.Depth(), "far": kd.heads.Depth()})
    for option in ("batch_norm", "project", "rectify", "half_pixel"):
        with pytest.raises(ValueError, match=f"`{option}` must be True or False"):
            kd.decoders.dpt(**{option: "no"})
    with pytest.raises(ValueError, match="`head_filters` must be an integer >= 1"):
        kd.decoders.dpt(head_filters=0)
    with pytest.raises(ValueError, match="`dropout` must be a number"):
        kd.dpt(backbone, 3, dropout=1.0)
    for levels in ((), "P5"):
        with pytest.raises(ValueError, match="`levels` must be one or more names of features"):
            kd.decoders.dpt(levels=levels)


def test_bad_patches():
    with pytest.raises(ValueError, match="`reassemble` must be"):
        kd.decoders.dpt(reassemble=(8, 8))
    with pytest.raises(ValueError, match="`levels` must be four features"):
        kd.assemble(patches(16), kd.decoders.dpt(8, levels=("T2", "T1")), kd.heads.Depth())
    with pytest.raises(
        ValueError, match="`grid` must be 'multiple' or 'multiple_corners': maps of"
    ):
        kd.dpt(patches(16), 3, filters=8, grid="image")

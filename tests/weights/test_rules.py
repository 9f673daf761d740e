"""Names to layers: every kind beside PyTorch or NumPy, and all that does not fit."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_dense._weights.kinds import (
    KINDS,
    bgr,
    bilinear_kernel,
    blocks,
    classes,
    is_bilinear,
    kind_of,
    renamed,
    scaled,
)
from keras_dense._weights.looks import looks_like
from keras_dense._weights.rules import Rule, plan, split, unwrapped, within

torch = pytest.importorskip("torch", reason="most published networks are PyTorch's")
nn = torch.nn
RNG = np.random.default_rng(0)


def model_of(*parts, channels=6, size=9):
    """A model of a row of layers."""
    shape = (size, size, channels) if size else (channels,)
    return keras.Sequential([keras.Input(shape), *parts], name="ours")


def state_of(module):
    with torch.no_grad():
        for value in module.state_dict().values():
            if value.is_floating_point():
                value.uniform_(0.2, 1.0)
    return {name: value.numpy() for name, value in module.state_dict().items()}


def run(model, x):
    return keras.ops.convert_to_numpy(model(x, training=False))


def theirs(module, x):
    """The output of a module of PyTorch for maps in the order of Keras."""
    with torch.no_grad():
        y = module.eval()(torch.tensor(np.moveaxis(x, -1, 1) if x.ndim == 4 else x))
    return np.moveaxis(y.numpy(), 1, -1) if y.ndim == 4 else y.numpy()


CASES = {
    "conv": (nn.Conv2d(6, 4, 3, bias=True), layers.Conv2D(4, 3, name="a"), "conv"),
    "grouped": (nn.Conv2d(6, 4, 3, groups=2), layers.Conv2D(4, 3, groups=2, name="a"), "conv"),
    "depthwise": (
        nn.Conv2d(6, 6, 3, groups=6),
        layers.DepthwiseConv2D(3, name="a"),
        "depthwise",
    ),
    "depthwise, two filters a channel": (
        nn.Conv2d(6, 12, 3, groups=6),
        layers.DepthwiseConv2D(3, depth_multiplier=2, name="a"),
        "depthwise",
    ),
    "transposed": (
        nn.ConvTranspose2d(6, 4, 4, 2, 1),
        layers.Conv2DTranspose(4, 4, 2, "same", name="a"),
        "transposed",
    ),
    "batch_norm": (nn.BatchNorm2d(6), layers.BatchNormalization(epsilon=1e-5, name="a"), None),
    "plain norm": (
        nn.BatchNorm2d(6, affine=False),
        layers.BatchNormalization(epsilon=1e-5, name="a"),
        "batch_norm",
    ),
    "linear": (nn.Linear(6, 4), layers.Dense(4, name="a"), "linear"),
    "layer_norm": (nn.LayerNorm(6), layers.LayerNormalization(epsilon=1e-5, name="a"), None),
}


@pytest.mark.everywhere
@pytest.mark.parametrize("case", CASES)
def test_kinds_give_what_pytorch_gives(case):
    module, layer, kind = CASES[case]
    flat = isinstance(module, (nn.Linear, nn.LayerNorm))
    x = RNG.uniform(-1, 1, (2, 6) if flat else (2, 9, 9, 6)).astype("float32")
    model = model_of(layer, size=0 if flat else 9)
    state = {f"net.{name}": value for name, value in state_of(module).items()}
    found = plan(state, model, [Rule("net", "a", kind or case)])
    found.check()
    report = found.apply()
    assert report.complete and len(report.read) == len(model.weights)
    np.testing.assert_allclose(run(model, x), theirs(module, x), rtol=1e-5, atol=1e-5)


def test_linear_layers_as_convolutions():
    module = nn.Linear(6, 4)
    state = state_of(module)
    x = RNG.uniform(-1, 1, (2, 1, 1, 6)).astype("float32")
    model = model_of(layers.Conv2D(4, 1, name="a"), size=1)
    plan(state, model, [Rule("", "a", "linear_as_conv")]).apply()
    np.testing.assert_allclose(run(model, x)[:, 0, 0], theirs(module, x[:, 0, 0]), rtol=1e-5)
    # Caffe's fc6: a whole map, which old files store with four axes.
    kernel = RNG.normal(size=(4, 2 * 3 * 3)).astype("float32")
    x = RNG.uniform(-1, 1, (1, 3, 3, 2)).astype("float32")
    model = model_of(layers.Conv2D(4, 3, use_bias=False, name="a"), channels=2, size=3)
    plan({"fc6.0": kernel[None, None]}, model, [Rule("fc6", "a", "linear_as_window")]).apply()
    expected = kernel @ np.moveaxis(x, -1, 1).ravel()
    np.testing.assert_allclose(run(model, x).ravel(), expected, rtol=1e-4)


def weights_after(tensors, layer, rules, channels=6):
    model = model_of(layer, channels=channels)
    found = plan(tensors, model, rules)
    found.check()
    found.apply()
    return [keras.ops.convert_to_numpy(w.value) for w in layer.weights]


def test_kernels_of_tensorflow():
    kernel = RNG.normal(size=(3, 3, 6, 4)).astype("float32")
    for tensors, kind in (
        ({"xception/conv/weights": kernel, "xception/conv/biases": np.arange(4.0)}, "hwio"),
        ({"conv/kernel:0": kernel, "conv/bias:0": np.arange(4.0)}, "hwio"),
        ({"conv.weight": kernel.transpose(3, 0, 1, 2), "conv.bias": np.arange(4.0)}, "ohwi"),
    ):
        found = weights_after(tensors, layers.Conv2D(4, 3, name="a"), [Rule(".*conv", "a", kind)])
        np.testing.assert_array_equal(found[0], kernel)
        np.testing.assert_array_equal(found[1], np.arange(4))
    kernel = RNG.normal(size=(1, 3, 3, 6)).astype("float32")
    layer = layers.DepthwiseConv2D(3, use_bias=False, name="a")
    found = weights_after({"a.weight": kernel}, layer, [Rule("a", "a", "ohwi_depthwise")])
    np.testing.assert_array_equal(found[0], kernel[0, ..., None])


def norm_after(tensors, *rules, epsilon=1e-5):
    layer = layers.BatchNormalization(epsilon=epsilon, name="a")
    return weights_after(tensors, layer, [Rule(p, "a", kind) for p, kind in rules])


def test_norms_of_caffe():
    mean, var, gamma, beta = (RNG.uniform(0.5, 2, 6).astype("float32") for _ in range(4))
    four = (1, 6, 1, 1)
    found = norm_after(
        {
            "bn1.0": (mean * 999).reshape(four),
            "bn1.1": (var * 999).reshape(four),
            "bn1.2": np.array([999.0], "float32"),
            "scale1.0": gamma,
            "scale1.1": beta,
        },
        ("bn1", "caffe_norm"),
        ("scale1", "caffe_scale"),
    )
    np.testing.assert_allclose(found, [gamma, beta, mean, var], rtol=1e-5)
    # A factor of 0 belongs to statistics that were never computed.
    found = norm_after({"b.0": mean, "b.1": var, "b.2": np.zeros(1)}, ("b", "caffe_norm"))
    np.testing.assert_allclose(found, [np.ones(6), *np.zeros((3, 6))])
    tensors = {f"b/{n}": x for n, x in enumerate((gamma, beta, mean, var))}
    found = norm_after(tensors, ("b", "caffe_norm_of_four"))
    np.testing.assert_array_equal(found, [gamma, beta, mean, var])
    found = norm_after(
        {"b.0": gamma.reshape(four), "b.1": beta.reshape(four)}, ("b", "caffe_merged_norm")
    )
    np.testing.assert_allclose(found, [gamma, beta, 0 * mean, 0 * var + 1 - 1e-5], rtol=1e-6)


@pytest.mark.parametrize("epsilon", [1e-5, 1e-3])
def test_a_folded_norm_becomes_one_again(epsilon):
    kernel, bias = RNG.normal(size=(4, 6, 3, 3)), RNG.normal(size=4)
    conv = layers.Conv2D(4, 3, use_bias=False, name="conv")
    norm = layers.BatchNormalization(epsilon=epsilon, name="norm")
    model = model_of(conv, norm)
    rules = [Rule("c", "conv", "kernel"), Rule("c", "norm", "folded_norm")]
    found = plan({"c.weight": kernel, "c.bias": bias}, model, rules)
    found.check()
    found.apply()
    plain = nn.Conv2d(6, 4, 3)
    plain.load_state_dict({"weight": torch.tensor(kernel), "bias": torch.tensor(bias)})
    x = RNG.uniform(-1, 1, (1, 9, 9, 6)).astype("float32")
    np.testing.assert_allclose(run(model, x), theirs(plain, x), rtol=1e-4, atol=1e-5)


def test_modified_kernels():
    kernel = RNG.normal(size=(4, 6, 3, 3)).astype("float32")
    turned = kernel.transpose(2, 3, 1, 0)

    def after(kind, filters=4):
        layer = layers.Conv2D(filters, 3, use_bias=False, name="a")
        return weights_after({"a.weight": kernel}, layer, [Rule("a", "a", kind)])[0]

    np.testing.assert_array_equal(after(bgr()), turned[:, :, ::-1])
    np.testing.assert_allclose(after(scaled("conv", 0.01)), turned * 0.01, rtol=1e-6)
    parts = np.split(turned, 3, axis=2)
    np.testing.assert_array_equal(
        after(blocks("conv", (2, 0, 1))), np.concatenate([parts[2], *parts[:2]], 2)
    )
    np.testing.assert_array_equal(
        after(blocks("conv", (1, 0), (2, 4))),
        np.concatenate([turned[:, :, 2:], turned[:, :, :2]], 2),
    )
    np.testing.assert_array_equal(after(classes("conv", slice(1, None)), 3), turned[..., 1:])
    np.testing.assert_array_equal(after(classes("conv", (2, 0)), 2), turned[..., [2, 0]])
    both = blocks(scaled(bgr(), 2.0), (1, 0))
    reverse = 2 * turned[:, :, ::-1]
    np.testing.assert_allclose(
        after(both), np.concatenate([reverse[:, :, 3:], reverse[:, :, :3]], 2), rtol=1e-6
    )
    # Half of a float16 file stays what it is.
    half = {"a.weight": kernel.astype("float16")}
    layer = layers.Conv2D(4, 3, use_bias=False, name="a")
    found = weights_after(half, layer, [Rule("a", "a", scaled("conv", 1.0))])[0]
    np.testing.assert_array_equal(found, turned.astype("float16").astype("float32"))


def test_classes_take_the_bias_along():
    tensors = {"s.weight": RNG.normal(size=(5, 6, 1, 1)), "s.bias": np.arange(5.0)}
    rule = Rule("s", "a", classes("conv", slice(1, None)))
    assert weights_after(tensors, layers.Conv2D(4, 1, name="a"), [rule])[1].tolist() == [1, 2, 3, 4]


def test_halves_of_separable_convolutions():
    depthwise, pointwise = RNG.normal(size=(6, 1, 3, 3)), RNG.normal(size=(4, 6, 1, 1))
    rules = [
        Rule("d", "a", renamed("depthwise", kernel="depthwise_kernel")),
        Rule("p", "a", renamed("conv", kernel="pointwise_kernel")),
    ]
    layer = layers.SeparableConv2D(4, 3, use_bias=False, name="a")
    found = weights_after({"d.weight": depthwise, "p.weight": pointwise}, layer, rules)
    np.testing.assert_allclose(found[0], depthwise.transpose(2, 3, 0, 1), rtol=1e-6)
    np.testing.assert_allclose(found[1], pointwise.transpose(2, 3, 1, 0), rtol=1e-6)


@pytest.mark.parametrize("size", [3, 4, 16, 64])
def test_fixed_upsampling(size):
    fixed = np.zeros((5, 5, size, size), "float32")
    fixed[range(5), range(5)] = bilinear_kernel(size)
    assert is_bilinear(fixed) and is_bilinear(fixed[range(5), range(5)][:, None])
    model = model_of(layers.Conv2D(4, 1, name="a"))
    tensors = {"c.weight": np.ones((4, 6, 1, 1)), "c.bias": np.ones(4), "upscore.0": fixed}
    rules = [Rule("c", "a", "conv"), Rule(r"upscore\d?\.0", None, "bilinear")]
    found = plan(tensors, model, rules)
    found.check()
    assert found.report.left_out == {"fixed upsampling": ("upscore.0",)}
    with pytest.raises(ValueError, match="'upscore.0' must be the fixed kernel of bilinear"):
        plan({**tensors, "upscore.0": fixed + 0.01}, model, rules)
    # Into a layer that learns it: zero between channels.
    grouped = fixed[range(5), range(5)][:, None]
    layer = layers.Conv2DTranspose(5, size, 2, use_bias=False, name="a")
    rules = [Rule("u", "a", "diagonal")]
    found = weights_after({"u.weight": grouped}, layer, rules, channels=5)[0]
    np.testing.assert_allclose(found, fixed.transpose(2, 3, 1, 0))


def two_convolutions():
    return model_of(
        layers.Conv2D(4, 3, name="first"),
        layers.BatchNormalization(name="norm"),
        layers.Conv2D(5, 1, name="scores"),
    )


RULES = (
    Rule(r"conv", "first", "conv"),
    Rule(r"bn", "norm", "batch_norm"),
    Rule(r"head", "{head}scores", "conv"),
    Rule(r"aux", "{auxiliary}scores", "conv", "the auxiliary head"),
)


def file_of(classes=5):
    return {
        "conv.weight": np.ones((4, 6, 3, 3), "float32"),
        "conv.bias": np.ones(4, "float32"),
        "bn.weight": np.ones(4, "float32"),
        "bn.bias": np.ones(4, "float32"),
        "bn.running_mean": np.ones(4, "float32"),
        "bn.running_var": np.ones(4, "float32"),
        "bn.num_batches_tracked": np.array(7),
        "head.weight": np.ones((classes, 4, 1, 1), "float32"),
        "head.bias": np.ones(classes, "float32"),
        "aux.weight": np.ones((classes, 4, 1, 1), "float32"),
    }


def test_a_whole_file_is_accounted_for():
    model = two_convolutions()
    tensors = {f"module.model.{name}": value for name, value in file_of().items()}
    found = plan(tensors, model, RULES, source="a.pth")
    found.check()
    report = found.apply()
    assert report.complete and report.total == len(report.read) == 8
    assert report.left_out == {
        "the auxiliary head": ("aux.weight",),
        "counters": ("bn.num_batches_tracked",),
    }
    assert str(report).splitlines() == [
        "read 8 of 8 weights of 'ours' from 'a.pth'",
        "  left out, counters: bn.num_batches_tracked",
        "  left out, the auxiliary head: aux.weight",
    ]
    assert all((keras.ops.convert_to_numpy(w.value) == 1).all() for w in model.weights)


def test_other_classes():
    model = two_convolutions()
    before = [keras.ops.convert_to_numpy(w.value).copy() for w in model.weights]
    found = plan(file_of(classes=21), model, RULES, source="a.pth")
    with pytest.raises(ValueError, match="The weights of 'a.pth' do not fit the model 'ours'") as e:
        found.check()
    text = str(e.value)
    assert "scores/kernel: (1, 1, 4, 21) in the file (head.weight), (1, 1, 4, 5) in the" in text
    assert "trained for 21 classes, the model predicts 5. With `strict=False`" in text
    for old, new in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, keras.ops.convert_to_numpy(new.value))
    found.check(strict=False)
    report = found.apply()
    assert [one.name for one in report.mismatched] == ["scores/kernel", "scores/bias"]
    assert len(report.read) == 6 and not report.complete
    np.testing.assert_array_equal(before[-2], keras.ops.convert_to_numpy(model.weights[-2].value))


def test_half_of_a_layer_is_not_read():
    tensors = file_of()
    tensors["conv.weight"] = np.ones((4, 6, 5, 5), "float32")
    model = two_convolutions()
    found = plan(tensors, model, RULES)
    found.check(strict=False)
    report = found.apply()
    assert [one.name for one in report.mismatched] == ["first/kernel", "first/bias"]
    assert "first/bias: kept, as another weight of its layer does not fit" in str(report)


def test_bad_files_of_other_networks():
    model = two_convolutions()
    state = {f"decode_head.convs.{n}.conv.weight": np.ones((2, 2, 1, 1)) for n in range(20)}
    found = plan(state, model, RULES, source="psp.pth")
    for strict in (True, False):
        with pytest.raises(ValueError, match="'psp.pth' holds weights of another network") as e:
            found.check(strict)
        assert "They look like: MMSegmentation." in str(e.value)
        assert "missing in the file: first/kernel, first/bias, norm/gamma" in str(e.value)
        assert "unread tensors of the file: decode_head.convs.0.conv.weight" in str(e.value)
        assert "… (20 in all)" in str(e.value)
    with pytest.raises(ValueError, match="It is none that is known here"):
        plan({"a.b": np.ones(3)}, model, RULES).check()


def test_bad_missing_and_unread_tensors():
    tensors = file_of()
    tensors["norm.gama"] = tensors.pop("bn.running_mean")
    found = plan(tensors, two_convolutions(), RULES, source="a.pth")
    with pytest.raises(ValueError, match="missing in the file: norm/moving_mean") as e:
        found.check()
    assert "unread tensors of the file: norm.gama" in str(e.value)
    assert "Nearest to 'norm/moving_mean' in the file: 'norm.gama'" in str(e.value)
    found.check(strict=False)
    # A tensor of the wrong number of axes is one of another shape.
    found = plan({**file_of(), "conv.weight": np.ones(4)}, two_convolutions(), RULES)
    assert found.report.mismatched[0].file_shape == (4,)
    # A bias for a layer without one.
    model = model_of(layers.Conv2D(4, 3, use_bias=False, name="first"))
    found = plan({"conv.weight": np.ones((4, 6, 3, 3)), "conv.bias": np.ones(4)}, model, RULES)
    assert found.report.unread == ("conv.bias",)


def test_bad_rules():
    twice = [Rule("a|b", "first", "conv")]
    tensors = {"a.bias": np.ones(4), "b.bias": np.ones(4)}
    with pytest.raises(ValueError, match="'a.bias' and 'b.bias' both belong to 'first/bias'"):
        plan(tensors, two_convolutions(), twice)
    with pytest.raises(ValueError, match="`kind` must be one of 'skip', 'bilinear', 'conv'"):
        plan(tensors, two_convolutions(), [Rule("a", "first", "convolution")])


def test_a_failure_on_the_way_gives_the_old_weights_back(monkeypatch):
    model = two_convolutions()
    before = [keras.ops.convert_to_numpy(w.value).copy() for w in model.weights]
    found = plan(file_of(), model, RULES)
    last = model.weights[-1]

    def broken(value):
        raise MemoryError("no memory")

    monkeypatch.setattr(last, "assign", broken)
    with pytest.raises(MemoryError):
        found.apply()
    for old, new in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, keras.ops.convert_to_numpy(new.value))


def test_nested_models_and_flat_ones():
    inner = keras.Model(*_tensors("inside"), name="backbone")
    image = keras.Input((8, 8, 3))
    outer = keras.Model(image, layers.Conv2D(2, 1, name="scores")(inner(image)), name="outer")
    rules = within([Rule("conv", "inside", "conv")], "encoder.", "backbone/")
    state = {"encoder.conv.weight": np.ones((4, 3, 1, 1)), "encoder.conv.bias": np.ones(4)}
    assert plan(state, outer, rules).report.read == (
        "backbone/inside/kernel",
        "backbone/inside/bias",
    )
    # Surgery opens nested models: the name alone is enough where it is the only one.
    assert len(plan(state, inner, rules).report.read) == 2
    prefixed = [Rule("head", "{head}scores", "conv")]
    state = {"head.bias": np.ones(2), "head.weight": np.ones((2, 4, 1, 1))}
    found = plan(state, outer, prefixed, prefixes={"head": "depth_"})
    assert not found.report.read and found.report.unread == ("head.bias", "head.weight")


def _tensors(name):
    image = keras.Input((8, 8, 3))
    return image, layers.Conv2D(4, 1, name=name)(image)


def test_the_first_rule_that_finds_a_layer_counts():
    rules = [Rule("conv", "nowhere", "conv", "not needed"), Rule("conv", "first", "conv")]
    tensors = {"conv.weight": np.ones((4, 6, 3, 3)), "conv.bias": np.ones(4)}
    assert len(plan(tensors, two_convolutions(), rules).report.read) == 2
    assert plan(tensors, two_convolutions(), rules[:1]).report.left_out == {
        "not needed": ("conv.weight", "conv.bias")
    }


def test_names_and_signs():
    assert split("a/b/BatchNorm/gamma") == ("a/b/BatchNorm", "gamma")
    assert list(unwrapped({"model.a": 1, "b": 2}, [])) == ["model.a", "b"]
    # No wrapper: the network has a part of this name.
    rule = Rule(r"model\.a", "a", "conv")
    assert list(unwrapped({"model.a.weight": 1}, [rule])) == ["model.a.weight"]
    assert kind_of(KINDS["conv"]) is KINDS["conv"]
    keys = [f"backbone.layer{s}.{b}.conv1.weight" for s, n in enumerate((3, 4, 23, 3), 1)
            for b in range(n)]  # fmt: skip
    assert looks_like([*keys, "fc.weight"]) == (
        "a ResNet of PyTorch on ResNet-101, with the top of a classifier"
    )
    assert looks_like(["weight"]) is None

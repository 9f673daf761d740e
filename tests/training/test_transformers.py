"""Fine-tuning of transformers: LoRA, and learning rates that decay over blocks."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_dense as kd
from tests.backbones.hub_networks import network

pytest.importorskip("keras_hub")
pytestmark = pytest.mark.once


def arrays(variables):
    return [ops.convert_to_numpy(v).copy() for v in variables]


def model_of(backbone):
    return kd.assemble(backbone, kd.decoders.fpn((8, 8)), kd.heads.Segmentation(3))


def images():
    return np.random.default_rng(0).integers(0, 256, (1, 48, 64, 3), dtype="uint8")


def trained(model, steps=2):
    x = images()
    model.compile(keras.optimizers.SGD(0.1), **kd.objectives(model))
    for _ in range(steps):
        model.train_on_batch(x / 255, x[..., 0] % 3)
    return model.predict_on_batch(x / 255)


def in_parts():
    """A transformer whose blocks consist of several layers, with a layer between the blocks."""
    x = image = keras.Input((None, None, 3))
    x = layers.Conv2D(8, 4, strides=4, name="embed")(x)
    x = layers.Reshape((-1, 8), name="tokens")(x)
    for i in (1, 2):
        y = layers.LayerNormalization(name=f"stage_block{i}_norm")(x)
        y = layers.MultiHeadAttention(2, 4, name=f"stage_block{i}_attention")(y, y)
        x = layers.Dense(8, name=f"stage_block{i}_mlp")(layers.Add()([x, y]))
        if i == 1:
            x = layers.Dense(8, name="between")(x)
    return keras.Model(image, layers.Dense(2, name="head")(x))


@pytest.mark.parametrize("name", ["vit", pytest.param("vit_det", marks=pytest.mark.exhaustive)])
def test_lora_trains_only_what_it_adds(name, tmp_path):
    model = model_of(kd.backbone(network(name)))
    x = images() / 255
    before, count = model.predict_on_batch(x), model.count_params()
    added = kd.training.enable_lora(model, 2, alpha=4)
    assert added == (4 if name == "vit_det" else 8)  # of four blocks, one has all in one
    np.testing.assert_allclose(model.predict_on_batch(x), before, atol=1e-6)
    backbone = model.get_layer("backbone")
    frozen = [v for v in backbone.weights if not v.trainable]
    lora = [v for v in backbone.trainable_variables if "lora" in v.path]
    assert len(lora) == 2 * added
    paths = [v.path for v in backbone.trainable_variables]
    assert all(path.endswith("bias") for path in paths if "lora" not in path)
    old, old_lora = arrays(frozen), arrays(lora)
    after = trained(model)
    assert np.abs(after - before).max() > 1e-5
    for a, b in zip(old, arrays(frozen), strict=True):
        np.testing.assert_array_equal(a, b)
    # The second matrix of each pair begins with zeros, and the first moves after it.
    moved = [(a != b).any() for a, b in zip(old_lora, arrays(lora), strict=True)]
    assert all(moved[1::2])

    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(loaded.predict_on_batch(x), after, atol=1e-5)
    assert loaded.count_params() == model.count_params()
    assert len(loaded.trainable_variables) == len(model.trainable_variables)
    for each in (model, loaded):
        merged = kd.training.merge_lora(each)
        np.testing.assert_allclose(merged.predict_on_batch(x), after, atol=1e-5)
        assert merged.count_params() == count


def test_lora_beside_attention_of_keras():
    model = in_parts()
    x = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype("float32")
    before = ops.convert_to_numpy(model(x))
    assert kd.training.enable_lora(model, 1, targets=("query", "output")) == 4
    paths = [v.path for v in model.trainable_variables]
    assert sum("lora" in path for path in paths) == 8
    others = {path for path in paths if "lora" not in path and "bias" not in path}
    assert others == {"head/kernel"}
    for v in model.trainable_variables:
        v.assign(v + 0.1)
    after = ops.convert_to_numpy(model(x))
    assert np.abs(after - before).max() > 1e-3
    merged = kd.training.merge_lora(model)
    np.testing.assert_allclose(ops.convert_to_numpy(merged(x)), after, atol=1e-5)


def test_rates_decay_from_the_last_block_to_the_first():
    model = model_of(kd.backbone(network("dinov3")))
    factors = kd.training.block_decay(model, 0.5)
    assert factors == {
        "backbone/tokens": 0.5**5,
        **{f"backbone/block_{i}": 0.5 ** (5 - i) for i in range(1, 5)},
    }
    optimizer = kd.training.layerwise(model, keras.optimizers.SGD(0.1), factors)
    by_variable = dict(zip(map(id, model.trainable_variables), optimizer.multipliers, strict=True))
    norm = model.get_layer("backbone").get_layer("norm").trainable_variables[0]
    assert by_variable[id(norm)] == 1.0 and min(optimizer.multipliers) == 0.5**5


def test_rates_of_blocks_of_several_layers():
    factors = kd.training.block_decay(in_parts(), 0.5)
    first = dict.fromkeys((f"stage_block1_{x}" for x in ("norm", "attention", "mlp")), 0.25)
    second = dict.fromkeys((f"stage_block2_{x}" for x in ("norm", "attention", "mlp")), 0.5)
    assert factors == {"embed": 0.125, **first, "between": 0.5, **second}


def test_bad_arguments():
    plain = keras.Sequential([keras.Input((2,)), layers.Dense(2)], name="plain")
    with pytest.raises(ValueError, match="must have transformer blocks, as .*'plain' without"):
        kd.training.block_decay(plain)
    with pytest.raises(ValueError, match="must have transformer blocks with .*'plain' without"):
        kd.training.enable_lora(plain, 2)
    model = kd.backbone(network("vit"))
    with pytest.raises(ValueError, match="`decay` must be a number > 0 and <= 1"):
        kd.training.block_decay(model, 1.5)
    with pytest.raises(ValueError, match="`rank` must be an integer >= 1"):
        kd.training.enable_lora(model, 0)
    with pytest.raises(ValueError, match="`targets` must be one of 'query', 'key', 'value'"):
        kd.training.enable_lora(model, 2, targets=("mlp",))
    kd.training.enable_lora(model, 2)
    with pytest.raises(ValueError, match="must not have LoRA yet"):
        kd.training.enable_lora(model, 2)

"""Four heads on one network, trained on drawn scenes, some of which lack a task."""

import numpy as np
import pytest

import keras_dense as kd

SIZE = (45, 61)


def four():
    return {
        "segmentation": kd.heads.Segmentation(8),
        "depth": kd.heads.Depth(max_depth=30.0),
        "normals": kd.heads.Normals(),
        "color": kd.heads.Colorization(),
    }


class Partial:
    """Scenes, of which every second has no depth and no normals."""

    def __init__(self, count):
        self.scenes = kd.datasets.scenes(count, SIZE)

    def __len__(self):
        return len(self.scenes)

    def __getitem__(self, index):
        sample = self.scenes[index]
        keys = ("image", "segmentation") if index % 2 else sample
        return {key: sample[key] for key in keys}


@pytest.mark.parametrize(
    "build",
    [
        kd.fcn8s,
        kd.unet,
        *(pytest.param(build, marks=pytest.mark.exhaustive) for build in (kd.manet, kd.pan)),
    ],
)
def test_one_model_predicts_all(backbone, build):
    heads = four()
    model = build(backbone, heads=heads)
    image = kd.datasets.scenes(1, SIZE)[0]["image"][None]
    output = model.predict(image, verbose=0)
    shapes = {key: value.shape[1:] for key, value in output.items()}
    assert shapes == {
        "segmentation": (*SIZE, 8),
        "depth": (*SIZE, 1),
        "normals": (*SIZE, 3),
        "color": (12, 16, 313),
    }
    assert (output["depth"] > 0).all()
    np.testing.assert_allclose(np.linalg.norm(output["normals"], axis=-1), 1, atol=1e-5)
    # A model with a color head sees lightness only.
    gray = np.asarray(kd.ops.gray(image.astype("float32")))
    again = model.predict(gray, verbose=0)
    for key, value in output.items():
        np.testing.assert_allclose(again[key], value, rtol=2e-3, atol=2e-3)
    product = kd.decoded(model, heads).predict(image, verbose=0)
    assert product["segmentation"].shape == (1, *SIZE) and product["color"].shape == (1, *SIZE, 3)
    assert product["depth"].max() <= 30 and product["color"].dtype == np.uint8


def test_it_trains_and_is_drawn(backbone, tmp_path):
    heads, data = four(), Partial(4)
    model = kd.fcn8s(backbone, heads=heads)
    balanced = kd.training.balanced(model, kd.training.UncertaintyWeighting())
    balanced.compile("adam", **kd.objectives(heads))
    loader = kd.datasets.Loader(data, heads, 2, missing="unknown")
    preview = kd.training.Preview(kd.datasets.scenes(2, SIZE), tmp_path, heads, count=1)
    history = balanced.fit(loader, epochs=1, verbose=0, callbacks=[preview]).history
    assert all(np.isfinite(values).all() for values in history.values())
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    assert preview.drawing(model).shape == (4 * SIZE[0] + 12, 4 * SIZE[1], 3)
    found = kd.training.evaluate(
        model, kd.datasets.Loader(data, heads, 1, missing="unknown"), heads
    )
    assert {"mean_iou", "abs_rel", "median", "auc"} <= {name for s in found.values() for name in s}


def test_heads_explain_and_serialize_themselves():
    for head in four().values():
        copy = type(head).from_config(head.get_config())
        assert copy.channels == head.channels
        unknown = head.unknown((4, 6))
        assert unknown.shape[:2] == (4, 6)
        for name, color in head.legend():
            assert isinstance(name, str) and len(color) == 3

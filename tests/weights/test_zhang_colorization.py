import numpy as np
import pytest

import keras_dense as kd
from keras_dense.ops.color import to_lab
from keras_dense.weights import load_zhang_colorization

torch = pytest.importorskip("torch", reason="the published network is one of PyTorch")


def published(width=8):
    """The network of the release, with an eighth of its filters."""
    nn = torch.nn

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            channels = 1
            blocks = [(64, 2, 1, 2), (128, 2, 1, 2), (256, 3, 1, 2), (512, 3, 1, 1)]
            blocks += [(512, 3, 2, 1), (512, 3, 2, 1), (512, 3, 1, 1)]
            for n, (filters, count, dilation, stride) in enumerate(blocks, 1):
                filters, parts = filters // width, []
                for m in range(count):
                    last = stride if m == count - 1 else 1
                    parts.append(
                        nn.Conv2d(channels, filters, 3, last, padding=dilation, dilation=dilation)
                    )
                    parts.append(nn.ReLU())
                    channels = filters
                setattr(self, f"model{n}", nn.Sequential(*parts, nn.BatchNorm2d(filters)))
            k = 256 // width
            self.model8 = nn.Sequential(
                nn.ConvTranspose2d(channels, k, 4, 2, padding=1),
                nn.ReLU(),
                nn.Conv2d(k, k, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(k, k, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(k, 313, 1),
            )
            self.model_out = nn.Conv2d(313, 2, 1, bias=False)

        def forward(self, lightness):
            x = (lightness - 50) / 100
            for n in range(1, 9):
                x = getattr(self, f"model{n}")(x)
            ab = self.model_out(torch.softmax(x, 1)) * 110
            return x, nn.functional.interpolate(ab, scale_factor=4, mode="bilinear")

    torch.manual_seed(0)
    network = Network().eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_()
                module.running_mean.uniform_(0, 0.2)
                module.running_var.uniform_(0.01, 0.1)
        bins = torch.tensor(kd.ops.ab_bins().copy(), dtype=torch.float32)
        network.model_out.weight.copy_((bins / 110).T[..., None, None])
    return network


def test_gives_what_the_published_network_gives(tmp_path):
    network = published()
    torch.save(network.state_dict(), tmp_path / "release.pth")
    head = kd.heads.Colorization(temperature=1.0)
    model = kd.zhang_colorization(heads=head, width=0.125)
    assert load_zhang_colorization(model, tmp_path / "release.pth") is model
    image = np.random.default_rng(0).integers(0, 256, (2, 48, 40, 3), dtype="uint8")
    lab = to_lab(image.astype("float64"))
    with torch.no_grad():
        logits, ab = network(torch.tensor(lab[..., :1].transpose(0, 3, 1, 2), dtype=torch.float32))
    logits, ab = (x.numpy().transpose(0, 2, 3, 1) for x in (logits, ab))
    assert logits.std(axis=(0, 1, 2)).mean() > 0.01
    np.testing.assert_allclose(model.predict(image, verbose=0), logits, rtol=1e-3, atol=1e-3)
    rgb = kd.decoded(model, head).predict(image, verbose=0).astype(int)
    expected = np.asarray(kd.ops.lab_to_rgb(np.concatenate([lab[..., :1], ab], -1)))
    assert np.abs(rgb - expected).max() < 0.6


def test_bad_input(tmp_path):
    state = {name: value.numpy() for name, value in published().state_dict().items()}
    model = kd.zhang_colorization(width=0.125)
    before = [w.copy() for w in model.get_weights()]
    with pytest.raises(FileNotFoundError, match="`source` must be an existing file"):
        load_zhang_colorization(model, tmp_path / "none.pth")
    with pytest.raises(ValueError, match="missing in the file: scores/kernel, scores/bias"):
        load_zhang_colorization(model, {k: v for k, v in state.items() if "8.6" not in k})
    with pytest.raises(ValueError, match=r"conv1_1/kernel: \(3, 3, 1, 8\) in the file"):
        load_zhang_colorization(kd.zhang_colorization(width=0.25), state)
    with pytest.raises(ValueError, match="missing in the file: b_scores/kernel"):
        heads = {"a": kd.heads.Colorization(), "b": kd.heads.Segmentation(3)}
        load_zhang_colorization(kd.zhang_colorization(heads=heads, width=0.125), state)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    load_zhang_colorization(model, state)

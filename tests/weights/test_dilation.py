"""Yu and Koltun's networks, written again with narrow layers."""

import keras
import numpy as np
import pytest

import keras_dense as kd
from keras_dense._weights.read import read
from keras_dense.weights import dilation
from keras_dense.weights.load import finish, ready_for

torch = pytest.importorskip("torch", reason="the original is written with PyTorch")

from .caffe_files import Layers, bgr, check_same, crop, image, pool, write  # noqa: E402
from .test_fcn import COUNTS, HIDDEN, fcn, narrow  # noqa: E402

# JAX compiles for each size.
pytestmark = pytest.mark.slow

CLASSES = 3
SIZES = ((64, 96), (75, 101))
WIDTHS = {"large": (2, 2, 4, 8, 16, 32, 32), "basic": (1,) * 9}


class Dilation(Layers):
    """The deploy files of the repository."""

    def front(self, x, final):
        for block, count in enumerate(COUNTS, 1):
            rate = 2 if block == 5 else 1
            for n in range(1, count + 1):
                x = self.relu_conv(f"conv{block}_{n}", x, 4 + block, dilation=rate)
            x = pool(x) if block < 4 else x
        x = self.relu_conv("fc6", x, HIDDEN, 7, dilation=4)
        x = self.relu_conv("fc7", x, HIDDEN, 1)
        return self.conv(final, x, CLASSES, 1)

    def context(self, x, rates, kind):
        prefix = "ct" if kind == "large" else "ctx"
        names = [f"conv{n - 1}_1" for n in range(3, len(rates))]
        names = ["conv1_1", "conv1_2", *names, "fc1"]
        for n, (name, rate) in enumerate(zip(names, rates, strict=True)):
            padding = rate if kind == "basic" else 33 * (n == 0)
            width = WIDTHS[kind][n] * CLASSES
            x = self.relu_conv(f"{prefix}_{name}", x, width, padding=padding, dilation=rate)
        return self.conv(f"{prefix}_final", x, CLASSES, 1)


def mirrored(photograph, cells):
    """The image in the input of a network of so many cells, 186 pixels from its corner."""
    margins = [
        (186, 8 * n + 186 - size) for n, size in zip(cells, photograph.shape[1:3], strict=True)
    ]
    return np.pad(photograph, ((0, 0), *margins, (0, 0)), "reflect")


def zoom(prob, height, width):
    """`interp_map` of the authors' script."""
    down, right = np.arange(height) / 8, np.arange(width) / 8
    top, left = down.astype(int), right.astype(int)
    down, right = (down - top)[:, None], right - left
    above = (1 - down) * prob[:, top][:, :, left] + down * prob[:, top + 1][:, :, left]
    below = (1 - down) * prob[:, top][:, :, left + 1] + down * prob[:, top + 1][:, :, left + 1]
    return (1 - right) * above + right * below


def built(depth, context, zoom_way):
    return dilation.network(
        heads=kd.heads.Segmentation(CLASSES),
        rates=dilation.RATES[depth],
        context=context,
        zoom=zoom_way,
        backbone=narrow(),
    )


@pytest.mark.parametrize(("depth", "context"), [(8, "large"), (7, "basic")])
def test_probabilities_of_first_pixels(depth, context, tmp_path):
    network, model = Dilation(), built(depth, context, "probabilities")
    scores = built(depth, context, "top_left")
    for size in SIZES:
        photograph = image(*size)
        cells = [-(-n // 8) + 1 for n in size]
        with torch.no_grad():
            x = network.front(
                bgr(mirrored(photograph, cells), fcn.MEAN_BGR),
                "fc-final" if context == "large" else "final",
            )
            theirs = network.context(x, dilation.RATES[depth], context)
        if size == SIZES[0]:
            path = write(tmp_path / "dilation.caffemodel", network.blobs)
            ready = ready_for(model, read(path), dilation.RULES[str(depth)], "")
            assert not finish(ready, strict=True).left_out
            scores.set_weights(model.get_weights())
        # The scores of cells are those of every eighth pixel.
        every = keras.Model(scores.input, scores.output[:, ::8, ::8])
        check_same(every, photograph, theirs[:, :, :-1, :-1])
        # Between them the authors interpolate probabilities, of which these are the logarithms.
        wanted = zoom(torch.softmax(theirs, 1)[0].numpy(), *size)
        ours = model.predict(photograph, verbose=0)[0]
        assert ours.shape == (*size, CLASSES)
        np.testing.assert_allclose(np.exp(ours), np.moveaxis(wanted, 0, -1), atol=1e-4)
        assert (ours.argmax(-1) == wanted.argmax(0)).mean() > 0.999


def test_bad_zoom_of_one_channel():
    with pytest.raises(ValueError, match="`zoom` must be .* head of one channel"):
        dilation.network(heads=kd.heads.Depth(), backbone=narrow())


def test_upsampling_of_cityscapes(tmp_path):
    network, model = Dilation(), built(10, "basic", "transposed")
    for size in SIZES:
        photograph = image(*size)
        data = bgr(mirrored(photograph, [-(-n // 8) for n in size]), fcn.MEAN_BGR)
        with torch.no_grad():
            x = network.context(network.front(data, "final"), dilation.RATES[10], "basic")
            x = network.deconv("ctx_upsample", x, 16, group=CLASSES, stride=8, padding=4)
        if size == SIZES[0]:
            path = write(tmp_path / "dilation.caffemodel", network.blobs)
            ready = ready_for(model, read(path), dilation.RULES["10"], "")
            assert not finish(ready, strict=True).left_out
        check_same(model, photograph, crop(x, torch.zeros(1, 1, *size), 0))

"""Convolutions with holes beside those without, and beside PyTorch's: in turns, in one run.

    python benchmarks/atrous.py [--only plain small grouped depthwise] [--seconds 12]

KERAS_BACKEND chooses the backend (default: tensorflow). Prints a Markdown table; README.md beside
this file says what each column compares. Takes about two minutes.
"""

import argparse
import gc
import os

from _turns import in_turns

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

RATES = (1, 2, 4, 12)
# Batch, height and width, channels in and out, groups.
PARTS = {
    "plain": (2, 64, 256, 1),
    "small": (1, 32, 512, 1),
    "grouped": (2, 32, 256, 4),
    "depthwise": (2, 64, 256, 256),
}


def keras_calls(layer, x):
    """The layer forward, and with the gradients of map and weights, compiled as Keras does."""
    import keras

    layer.build(x.shape)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        weights = [w.value for w in layer.trainable_weights]
        x = tf.constant(x)

        @tf.function(autograph=False)
        def forward(x):
            return layer(x)

        @tf.function(autograph=False)
        def both(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                total = tf.reduce_sum(layer(x))
            return [total, *tape.gradient(total, [x, *weights])]

        return (
            lambda: forward(x)[0, 0, 0, 0].numpy(),
            lambda: [g[(0,) * len(g.shape)].numpy() for g in both(x)],
        )
    if keras.backend.backend() == "jax":
        import jax

        weights = [w.value for w in layer.trainable_weights]
        x = jax.numpy.asarray(x)

        def run(weights, x):
            return layer.stateless_call(weights, [], x)[0]

        forward = jax.jit(run)
        both = jax.jit(jax.value_and_grad(lambda w, x: run(w, x).sum(), argnums=(0, 1)))
        return (
            lambda: jax.block_until_ready(forward(weights, x)),
            lambda: jax.block_until_ready(both(weights, x)),
        )
    import torch

    return _torch_pair(layer, torch.tensor(x), [w.value for w in layer.trainable_weights])


def torch_calls(batch, size, channels, groups, rate):
    """`torch.nn.functional.conv2d`, on maps laid out as it likes best."""
    import torch

    kernel = torch.randn(channels, channels // groups, 3, 3) * 0.02
    bias = torch.zeros(channels)
    kernel, bias = kernel.requires_grad_(), bias.requires_grad_()

    def convolve(x):
        return torch.nn.functional.conv2d(
            x, kernel, bias, padding=rate, dilation=rate, groups=groups
        )

    return _torch_pair(convolve, torch.randn(batch, channels, size, size), [kernel, bias])


def _torch_pair(function, x, weights):
    import torch

    seen = x.clone().requires_grad_()

    def forward():
        with torch.no_grad():
            function(x)

    def both():
        seen.grad = None
        for weight in weights:
            weight.grad = None
        function(seen).sum().backward()

    return forward, both


def part(name, seconds):
    import keras
    import numpy as np

    import keras_dense as kd

    batch, size, channels, groups = PARTS[name]
    x = np.random.default_rng(0).normal(size=(batch, size, size, channels)).astype("float32")
    arguments = {"padding": "same", "data_format": "channels_last"}
    if groups == channels:
        plain = keras.layers.DepthwiseConv2D(3, **arguments)
        layers = {r: kd.layers.AtrousDepthwiseConv2D(3, rate=r, **arguments) for r in RATES}
    else:
        arguments["groups"] = groups
        plain = keras.layers.Conv2D(channels, 3, **arguments)
        layers = {r: kd.layers.AtrousConv2D(channels, 3, rate=r, **arguments) for r in RATES}
    pairs = {"undilated": keras_calls(plain, x)}
    for rate, layer in layers.items():
        pairs[f"ours {rate}"] = keras_calls(layer, x)
    try:
        for rate in RATES:
            pairs[f"torch {rate}"] = torch_calls(*PARTS[name], rate)
    except ModuleNotFoundError:
        pass
    gc.collect()
    gc.freeze()  # so that collecting between the calls takes no time
    kind = {1: "", channels: "depthwise "}.get(groups, f"{groups} groups, ")
    what = f"{kind}3×3, {batch}×{size}×{size}×{channels}"
    for which, direction in enumerate(("forward", "forward + backward")):
        calls = {key: pair[which] for key, pair in pairs.items()}
        times = {k: min(v) for k, v in in_turns(100, limit=seconds, **calls).items()}
        for rate in RATES:
            ours = times[f"ours {rate}"]
            over = ["not installed", ""]
            if "torch 1" in times:
                theirs = times[f"torch {rate}"]
                over = [f"{ours / theirs:.2f}×", f"{theirs / times['torch 1']:.2f}×"]
            over = [f"{ours / times['undilated']:.2f}×", *over]
            yield what, direction, str(rate), *over, f"{ours * 1e3:.1f} ms"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seconds", type=float, default=12, help="for each part and direction")
    args = parser.parse_args()
    import keras

    print(f"On {keras.backend.backend()}:\n")
    print("| convolution | | rate | ours / undilated | ours / torch | torch / undilated | ours |")
    print("|---|---|---|---|---|---|---|")
    for name in args.only:
        for row in part(name, args.seconds):
            print("|", " | ".join(row), "|", flush=True)


if __name__ == "__main__":
    main()

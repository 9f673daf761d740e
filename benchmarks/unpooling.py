"""Max pooling with indices and unpooling beside PyTorch's own: in turns, in one run.

    python benchmarks/unpooling.py [--size 112] [--rounds 30] [--busy]

KERAS_BACKEND chooses the backend (default: tensorflow). Prints a Markdown table; README.md beside
this file says what it compares. With --busy, for a machine that does other things too: one thread,
and seconds of computing.
"""

import argparse
import gc
import importlib.util
import os
import time

from _turns import in_turns

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

BATCH, CHANNELS = 2, 64
WINDOWS = {"2×2, stride 2": (2, 2), "3×3, stride 2": (3, 2)}


def tasks(pool, unpool):
    """What is measured, and the names of its arguments."""

    def both(x, values):
        # Other values than those that were pooled: in a network convolutions lie between.
        pooled, indices = pool(x)
        return pooled, unpool(values, indices, x)

    return {
        "pool": (pool, ("x",)),
        "unpool": (unpool, ("values", "indices", "x")),
        "both": (both, ("x", "values")),
    }


def ours(window, stride):
    import keras_dense as kd

    return tasks(
        kd.layers.MaxPoolWithArgmax2D(window, strides=stride),
        kd.layers.MaxUnpool2D(window, strides=stride),
    )


def theirs(window, stride, size):
    from torch.nn import functional

    def pool(x):
        return functional.max_pool2d(x, window, stride, return_indices=True)

    def unpool(values, indices, x):
        return functional.max_unpool2d(values, indices, window, stride, output_size=(size, size))

    return tasks(pool, unpool)


def total(results):
    """The sum of everything that has a gradient; of any library's tensors."""
    import keras

    results = results if isinstance(results, (tuple, list)) else [results]
    maps = [y for y in results if "int" not in str(y.dtype)]
    return sum(y.sum() if hasattr(y, "sum") else keras.ops.sum(y) for y in maps)


def compiled(function, names, xla=False):
    """The function alone, and the gradients for its maps, as Keras runs it."""
    import keras

    floats = [n for n, name in enumerate(names) if name != "indices"]
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        def gradients(*arguments):
            with tf.GradientTape() as tape:
                seen = [arguments[n] for n in floats]
                tape.watch(seen)
                result = total(function(*arguments))
            return [g for g in tape.gradient(result, seen) if g is not None]

        def run(f):
            f = tf.function(f, jit_compile=xla, autograph=False)
            return lambda *arguments: [
                y[0, 0, 0, 0].numpy() for y in tf.nest.flatten(f(*arguments))
            ]

        return run(function), run(gradients)
    if keras.backend.backend() == "jax":
        import jax

        calls = (
            jax.jit(function),
            jax.jit(jax.grad(lambda *arguments: total(function(*arguments)), argnums=floats)),
        )
        return [
            lambda *arguments, call=call: jax.block_until_ready(call(*arguments)) for call in calls
        ]
    return torch_calls(function, names)


def torch_calls(function, names):
    import torch

    def forward(*arguments):
        with torch.no_grad():
            function(*arguments)

    def both(*arguments):
        arguments = [
            a if name == "indices" else a.detach().requires_grad_()
            for name, a in zip(names, arguments, strict=True)
        ]
        total(function(*arguments)).backward()

    return forward, both


def rows(name, size, rounds, clock):
    import keras
    import numpy as np
    import torch

    window, stride = WINDOWS[name]
    x = np.random.default_rng(0).normal(size=(BATCH, CHANNELS, size, size)).astype("float32")
    first = torch.tensor(x)
    values, indices = torch.nn.functional.max_pool2d(first, window, stride, return_indices=True)
    arguments = {
        "torch": {"x": first, "values": values, "indices": indices},
        "torch_last": {
            key: t.contiguous(memory_format=torch.channels_last)
            for key, t in {"x": first, "values": values, "indices": indices}.items()
        },
        "ours": {
            key: keras.ops.convert_to_tensor(np.ascontiguousarray(np.moveaxis(t.numpy(), 1, -1)))
            for key, t in {"x": first, "values": values, "indices": indices.int()}.items()
        },
    }
    kinds = ["ours"] + ["ours_xla"] * (keras.backend.backend() == "tensorflow")
    calls = {}
    for what, (function, names) in theirs(window, stride, size).items():
        pairs = {kind: torch_calls(function, names) for kind in ("torch", "torch_last")}
        function, _ = ours(window, stride)[what]
        for kind in kinds:
            pairs[kind] = compiled(function, names, xla=kind == "ours_xla")
        for kind, pair in pairs.items():
            given = arguments["ours" if kind in kinds else kind]
            given = [given[name] for name in names]
            for direction, call in zip(("forward", "forward + backward"), pair, strict=True):
                by_kind = calls.setdefault((what, direction), {})
                by_kind[kind] = lambda call=call, given=given: call(*given)
    gc.collect()
    gc.freeze()  # so that collecting between the calls takes no time
    for (what, direction), by_kind in calls.items():
        best = {
            kind: min(times) for kind, times in in_turns(rounds, clock=clock, **by_kind).items()
        }
        ratios = [
            f"{best[k] / best['torch']:.2f}×, {best[k] / best['torch_last']:.2f}×" for k in kinds
        ]
        yield name, what, direction, *ratios, f"{best['ours'] * 1e3:.1f} ms"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=112, help="height and width of the map")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--busy", action="store_true", help="one thread; seconds of computing")
    args = parser.parse_args()
    if args.busy:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    import keras

    if importlib.util.find_spec("torch") is None:
        raise SystemExit("Compares with PyTorch, which is not installed.")
    backend = keras.backend.backend()
    print(f"On {backend}, {BATCH}×{args.size}×{args.size}×{CHANNELS}:\n")
    heads = ["ours / torch (channels first, last)"]
    heads += ["with XLA"] * (backend == "tensorflow")
    print("| windows | | |", " | ".join(heads), "| ours |")
    print("|---|---|---|" + "---|" * len(heads) + "---|")
    clock = time.process_time if args.busy else time.perf_counter
    for name in WINDOWS:
        for row in rows(name, args.size, args.rounds, clock):
            print("|", " | ".join(row), "|", flush=True)


if __name__ == "__main__":
    main()

"""Transformers, compared with transformers (the library): time and memory.

    python benchmarks/attention.py [--backends torch tensorflow jax] [--rounds 3] [--busy]

One image of 512×512, forward, random weights, float32 on the CPU: the features of MiT-B0, Swin-T
and DINOv2-S (a 37×37 grid of patches, for which its positions are interpolated), and SegFormer on
MiT-B0 with scores of 150 classes for every pixel. The peer computes attention by PyTorch's fused
operation. Times: each of our backends has a process of its own, where it takes turns with the peer,
with as many threads. Memory: a fresh process each. Prints Markdown tables; README.md explains how
to install the peer.
"""

import argparse
import gc
import importlib.util
import json
import os
import sys
import time

import numpy as np
from _memory import forget, resident
from _peers import peer_library
from _process import child, heading, installed, one_thread, parser_of, ratio, row
from _turns import in_turns

CLASSES = 150
NETWORKS = ("MiT-B0", "Swin-T", "DINOv2-S", "SegFormer-B0")


def our_network(name):
    import keras
    import keras_hub

    import keras_dense as kd

    keras.utils.set_random_seed(0)
    if name == "SegFormer-B0":
        return kd.segformer("mit_b0", CLASSES, weights=None)
    if name == "MiT-B0":
        return kd.backbone("mit_b0", weights=None)
    if name == "Swin-T":
        swin = keras_hub.models.SwinTransformerBackbone(
            embed_dim=96,
            depths=(2, 2, 6, 2),
            num_heads=(3, 6, 12, 24),
            window_size=7,
            image_shape=(224, 224, 3),
        )
        return kd.backbone(swin)
    dino = keras_hub.models.DINOV2Backbone(
        patch_size=14,
        num_layers=12,
        hidden_dim=384,
        num_heads=6,
        intermediate_dim=1536,
        image_shape=(518, 518, 3),
    )
    return kd.backbone(dino, taps={"T1": 3, "T2": 6, "T3": 9, "T4": 12})


def peer_network(name):
    import torch

    peer_library("torchvision")  # transformers imports it
    import transformers as T

    torch.manual_seed(0)
    fused = {"attn_implementation": "sdpa"}
    if name == "SegFormer-B0":
        config = T.SegformerConfig(num_labels=CLASSES, decoder_hidden_size=256)
        return T.SegformerForSemanticSegmentation(config).eval()
    if name == "MiT-B0":
        return T.SegformerModel(T.SegformerConfig(output_hidden_states=True)).eval()
    if name == "Swin-T":
        stages = [f"stage{n}" for n in range(1, 5)]
        return T.SwinBackbone(T.SwinConfig(out_features=stages)).eval()
    config = T.Dinov2Config(
        hidden_size=384,
        num_attention_heads=6,
        image_size=518,
        out_features=[f"stage{n}" for n in (3, 6, 9, 12)],
        **fused,
    )
    return T.Dinov2Backbone(config).eval()


def call_of(whose, name, size):
    """A forward pass; the peer's tensor is made before."""
    images = np.random.default_rng(0).uniform(0, 255, (1, size, size, 3)).astype("float32")
    if whose == "ours":
        model = our_network(name)
        return lambda: model.predict_on_batch(images)
    import torch

    network = peer_network(name)
    x = torch.from_numpy(images / 255).permute(0, 3, 1, 2).contiguous()

    def forward():
        with torch.inference_mode():
            out = network(pixel_values=x)
            if name == "SegFormer-B0":
                # Its scores have a quarter of the size; ours have that of the image.
                torch.nn.functional.interpolate(out.logits, size=(size, size), mode="bilinear")

    return forward


def measure(args):
    """Seconds of every call on the backend of this process."""
    import keras

    clock = time.process_time if args.busy else time.perf_counter
    seconds = {}
    for name in args.networks:
        calls = {whose: call_of(whose, name, args.size) for whose in ("ours", "peer")}
        times = in_turns(args.rounds, clock=clock, **calls)
        seconds[name] = {whose: min(times[whose]) for whose in calls}
        print(keras.backend.backend(), name, times, file=sys.stderr, flush=True)
        del calls
        keras.backend.clear_session()
        gc.collect()
    return seconds


def peak(args):
    """Most MB while a network runs twice, with its weights and without the libraries."""
    whose, name = args.peak
    # A small image imports what is imported at first use. Its network stays, so that the other one
    # does not take its memory.
    small = call_of(whose, name, 64)
    small()
    gc.collect()
    before = resident("VmRSS")
    call = call_of(whose, name, args.size)
    gc.collect()
    forget()
    call()
    call()
    most = resident("VmHWM") - before
    del small
    return most


def main():
    parser = parser_of(__doc__, rounds=3)
    parser.set_defaults(size=512)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if importlib.util.find_spec("transformers") is None:
        print("(no peer to compare with here: see benchmarks/README.md)", file=sys.stderr)
        return
    if args.child or args.peak:
        print(json.dumps(peak(args) if args.peak else measure(args)))
        return
    if args.busy:
        one_thread()
    backends = installed(args.backends)
    shared = ["--rounds", args.rounds, "--size", args.size, *["--busy"] * args.busy]
    shared += ["--networks", *args.networks]
    results = [child(__file__, backend, *shared, "--child") for backend in backends]
    heading("network", "task", *(f"ours on {b}, over transformers" for b in backends))
    for name in args.networks:
        task = f"forward, 1×{args.size}×{args.size}"
        row(name, task, *(ratio(t[name]["ours"], t[name]["peer"]) for t in results))
    if not os.path.exists("/proc/self/clear_refs"):
        return
    print()
    heading("network", "peak memory, MB: transformers", *(f"ours on {b}" for b in backends))
    for name in args.networks:
        runs = [("peer", "torch"), *(("ours", backend) for backend in backends)]
        found = [child(__file__, b, *shared, "--peak", whose, name) for whose, b in runs]
        row(name, *(f"{mb:.0f}" for mb in found))


if __name__ == "__main__":
    main()

"""One trained DeepLabv3+ at output strides 32, 16 and 8, with the same weights.

    python benchmarks/output_stride.py runs/deeplab/model.keras --root ../shared/data/camvid

Accuracy on the CamVid validation split, time for one image of 480×360, and peak memory. Each stride
has a process of its own, one after the other.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import time

STRIDES = (32, 16, 8)


def arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("model", type=pathlib.Path, help="a .keras file of kd.deeplabv3plus")
    add("--root", type=pathlib.Path, default=pathlib.Path("../shared/data/camvid"))
    add("--backbone", default="mobilenet_v2")
    add("--model-args", type=json.loads, default={"separable": True}, help="JSON")
    add("--images", type=int, help="number of validation images; default: all")
    add("--stride", type=int, help="internal: measure this one and print JSON")
    return parser.parse_args(argv)


def measure(args):
    import numpy as np

    import keras_dense as kd

    val = kd.datasets.camvid(args.root, "val")
    if args.images:
        val = kd.datasets.subset(val, args.images)
    head = kd.heads.Segmentation(val.num_classes, class_names=val.class_names)
    model = kd.deeplabv3plus(
        args.backbone,
        heads=head,
        weights=None,
        output_stride=args.stride,
        initialize_from=args.model,
        **args.model_args,
    )
    image = val[0]["image"][None].astype("float32")
    model.predict(image, verbose=0)
    times = []
    for _ in range(8):
        began = time.perf_counter()
        model.predict(image, verbose=0)
        times.append(time.perf_counter() - began)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    scores = kd.training.evaluate(model, kd.datasets.Loader(val, model, batch_size=1))
    print(
        json.dumps(
            {
                "mean_iou": float(scores["mean_iou"]),
                "pixel_accuracy": float(scores["pixel_accuracy"]),
                "seconds": float(np.min(times)),
                "memory": memory,
            }
        )
    )


def main(argv=None):
    args = arguments(argv)
    if args.stride:
        return measure(args)
    print("| output stride | mean IoU | pixel accuracy | time, over stride 32 | peak memory, MB |")
    print("|---:|---:|---:|---:|---:|")
    first = None
    for stride in STRIDES:
        command = [sys.executable, __file__, *(argv or sys.argv[1:]), "--stride", str(stride)]
        result = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=os.environ)
        if result.returncode:
            raise SystemExit(f"output stride {stride} failed, see above")
        row = json.loads(result.stdout.splitlines()[-1])
        first = first or row["seconds"]
        print(
            f"| {stride} | {row['mean_iou']:.3f} | {row['pixel_accuracy']:.3f} "
            f"| {row['seconds'] / first:.2f} × ({1000 * row['seconds']:.0f} ms) "
            f"| {row['memory']:.0f} |",
            flush=True,
        )
    return None


if __name__ == "__main__":
    main()

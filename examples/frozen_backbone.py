"""Heads of your own on a frozen vision transformer: classes, depth and normals at once.

    python examples/frozen_backbone.py --backbone dinov2_small     # downloaded by KerasHub
    python examples/frozen_backbone.py --backbone presets/dinov2   # a folder of a preset
    python examples/frozen_backbone.py                             # a small one, untrained

DPT, the decoder of Depth Anything, reads four depths of the transformer. The transformer keeps its
weights, the decoder learns from drawn scenes with exact labels, depth and normals, and everything
is exported as one file. An untrained backbone only shows that all of it runs, or learns with
--train-backbone. It needs KerasHub: pip install keras-hub
"""

import argparse
import os
import pathlib

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # The backend that can export.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

import keras_dense as kd


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--out", type=pathlib.Path, default=pathlib.Path("frozen"))
    add("--backbone", default="untrained", help="a preset of KerasHub, its folder, or: untrained")
    add("--train-backbone", action="store_true", help="do not freeze it")
    add("--count", type=int, default=320, help="scenes to learn from")
    add("--size", type=int, nargs=2, default=[112, 154], help="of the scenes")
    add("--epochs", type=int, default=12)
    add("--smoke", action="store_true", help="as little as possible of everything")
    return parser.parse_args()


def untrained(blocks, width):
    """A small DINOv2 with random weights."""
    import keras_hub

    return keras_hub.models.DINOV2Backbone(
        patch_size=14,
        num_layers=blocks,
        hidden_dim=width,
        num_heads=4,
        intermediate_dim=4 * width,
        image_shape=(112, 112, 3),
    )


def backbone_of(args):
    """The transformer, with a map of patches after each quarter of its blocks."""
    if args.backbone == "untrained":
        source = untrained(4, 32) if args.smoke else untrained(8, 128)
        return kd.backbone(source, taps="patches", preprocessing="torch")
    return kd.backbone(args.backbone, taps="patches")


def main():
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(0)
    if args.smoke:
        args.count, args.size, args.epochs = 8, [42, 56], 1

    print("1. A backbone that stays as it is")
    backbone = backbone_of(args)
    backbone.trainable = args.train_backbone
    for name, stride in kd.surgery.strides(backbone).items():
        print(f"   {name}: {backbone.output[name].shape[-1]} channels every {stride} pixels")

    print("2. DPT with three heads")
    train = kd.datasets.cached(kd.datasets.scenes(args.count, tuple(args.size), "train"))
    val = kd.datasets.cached(kd.datasets.scenes(max(args.count // 8, 4), tuple(args.size), "val"))
    heads = {
        "segmentation": kd.heads.Segmentation(
            train.num_classes, class_names=train.class_names, palette=train.palette
        ),
        "depth": kd.heads.Depth(0.3, train.max_depth, activation="log_sigmoid"),
        "normals": kd.heads.Normals(),
    }
    model = kd.dpt(backbone, heads=heads, filters=16 if args.smoke else 64)
    learned = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    print(f"   {model.count_params():,} parameters, {learned:,} of them learn")

    print("3. Training")
    T = kd.datasets.transforms
    batches = kd.datasets.Loader(
        train, model, batch_size=4 if args.smoke else 8, transforms=[T.RandomFlip()], shuffle=True
    )
    rate = keras.optimizers.schedules.PolynomialDecay(1e-3, len(batches) * args.epochs, 0.0)
    model.compile(keras.optimizers.AdamW(rate, weight_decay=1e-4), **kd.objectives(model))
    checkpoint = kd.training.Checkpoint(args.out / "run")
    start = checkpoint.restore(model, batches)  # 0, or where it was interrupted.
    if start < args.epochs:
        model.fit(
            batches,
            epochs=args.epochs,
            initial_epoch=start,
            callbacks=[checkpoint],
            shuffle=False,
            verbose=2,
        )
    scores = kd.training.evaluate(model, kd.datasets.Loader(val, model, batch_size=4))
    for key, values in scores.items():
        numbers = {name: value for name, value in values.items() if np.ndim(value) == 0}
        text = ", ".join(f"{name} {value:.3g}" for name, value in list(numbers.items())[:3])
        print(f"   {key:13} {text}")

    print("4. Predictions for new scenes")
    preview = kd.training.Preview(val, args.out / "preview", heads, count=4)
    print(f"   -> {kd.plot.save(args.out / 'predictions.jpg', preview.drawing(model))}")

    print("5. One file that takes images of any size")
    model.save(args.out / "model.keras")
    if keras.backend.backend() == "tensorflow":
        kd.export.savedmodel(model, args.out / "served" / "1")
        kd.export.onnx(model, args.out / "model.onnx")


if __name__ == "__main__":
    main()

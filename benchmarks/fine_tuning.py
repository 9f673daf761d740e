"""Training from a published segmentation network, and from ImageNet weights alone.

    python benchmarks/fine_tuning.py msrc21 [--epochs 12] [--limit 60] [--seed 0]

Google's DeepLabv3 on MobileNetV2, trained on PASCAL VOC, gets a head for other classes
(`strict=False`). The other start is the same network with ImageNet weights in its backbone and
random ones behind it. Both are trained alike. MSRC-21: every fourth image is for validation.
"""

import argparse
import os
import pathlib
import warnings

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

NAME = "deeplab/mobilenetv2_voc_8bit"
VOC_FILE = "deeplabv3_mnv2_pascal_quant.tflite"
IMAGENET_FILE = "mobilenet_v2_1.0_224.weights.h5"
CROPS = {"msrc21": (193, 257), "camvid": (321, 321)}
VOID = 255


def arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("data", choices=CROPS)
    add("--root", type=pathlib.Path, default=pathlib.Path("../shared/data"))
    add("--starts", nargs="+", choices=STARTS, default=list(STARTS))
    add("--limit", type=int, help="train on so many images only")
    add("--epochs", type=int, default=12)
    add("--batch-size", type=int, default=8)
    add("--learning-rate", type=float, default=1e-3)
    add("--backbone-lr", type=float, default=0.3, help="multiple of the learning rate")
    add("--seed", type=int, default=0)
    return parser.parse_args(argv)


def datasets(args):
    """The training and the validation part of the data."""
    import keras_dense as kd

    root = args.root / args.data
    if args.data == "camvid":
        train, val = (kd.datasets.camvid(root, part) for part in ("train", "val"))
    else:
        lines = (line.split(maxsplit=1) for line in (root / "classes.txt").read_text().splitlines())
        names = [name for number, name in lines if int(number) != VOID]
        whole = kd.datasets.folder(root / "images", root / "masks", class_names=names)
        held_out = set(range(0, len(whole), 4))
        val = kd.datasets.subset(whole, sorted(held_out))
        train = kd.datasets.subset(whole, [i for i in range(len(whole)) if i not in held_out])
    if args.limit:
        step = max(len(train) // args.limit, 1)
        train = kd.datasets.subset(train, list(range(0, len(train), step))[: args.limit])
    return kd.datasets.cached(train), kd.datasets.cached(val)


def from_voc(head, root):
    """The network of VOC with other classes."""
    import keras_dense as kd

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The list of what stays random: the scores.
        return kd.weights.pretrained(NAME, root / VOC_FILE, heads=head, strict=False)


def from_imagenet(head, root):
    """The same network with ImageNet weights."""
    import keras_dense as kd

    record = kd.weights.info(NAME)
    model = record.builder(heads=head, **{**record.arguments, "preprocessing": "tf"})
    donor = kd.backbone("mobilenet_v2", weights=root / IMAGENET_FILE)
    backbone = model.get_layer("backbone")
    given = {layer.name: layer.get_weights() for layer in donor.layers if layer.weights}
    for layer in backbone.layers:
        if layer.weights:
            layer.set_weights(given[layer.name])
    return model


STARTS = {"VOC": from_voc, "ImageNet": from_imagenet}


def trained(model, name, train, args):
    """The model after its training."""
    import keras

    import keras_dense as kd

    T = kd.datasets.transforms
    steps = [T.RandomScale(0.75, 1.5), T.RandomCrop(CROPS[args.data]), T.RandomFlip()]
    batches = kd.datasets.Loader(
        train,
        model,
        batch_size=args.batch_size,
        transforms=[*steps, T.ColorJitter()],
        shuffle=True,
        seed=args.seed,
        workers=2,
    )
    if name == "VOC":
        # Its batch norms are folded into the convolutions, as in all files of 8 bits.
        kd.training.recalibrate_batch_norm(model, batches, steps=10, keep_function=True)
    kd.training.batch_norm_momentum(model, 0.95)
    rate = keras.optimizers.schedules.PolynomialDecay(
        args.learning_rate, len(batches) * args.epochs, 0.0, power=0.9
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=1e-4)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    slow = {id(v) for v in model.get_layer("backbone").trainable_variables}
    optimizer = kd.training.layerwise(
        model, optimizer, lambda v: args.backbone_lr if id(v) in slow else 1.0
    )
    model.compile(optimizer, **kd.objectives(model))
    history = model.fit(batches, epochs=args.epochs, shuffle=False, verbose=0)
    return model, history.history["loss"][-1]


def main(argv=None):
    args = arguments(argv)
    import keras

    import keras_dense as kd

    train, val = datasets(args)
    print(f"{args.data}: {len(train)} images to train on, {len(val)} to validate")
    print("| start | epochs | mean IoU | pixel accuracy | last loss |")
    print("|---|---:|---:|---:|---:|")
    for name in args.starts:
        keras.utils.set_random_seed(args.seed)
        head = kd.heads.Segmentation(val.num_classes, class_names=val.class_names)
        model, loss = trained(STARTS[name](head, args.root / "weights"), name, train, args)
        scores = kd.training.evaluate(model, kd.datasets.Loader(val, model, batch_size=1))
        print(
            f"| {name} | {args.epochs} | {float(scores['mean_iou']):.4f} "
            f"| {float(scores['pixel_accuracy']):.4f} | {loss:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

"""What `make demo` runs: a small FCN-8s learns to paint scenes, and is served. About five minutes.

Nothing is downloaded. A classifier of a few lines becomes a fully convolutional network; it learns
on drawn scenes; a second process, which knows neither Keras nor keras_dense, labels a new picture
with the exported network.
"""

import argparse
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import time

os.environ["KERAS_BACKEND"] = "tensorflow"  # the backend that can export
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
PICTURE = 3  # which of the test scenes is served
EXAMPLES = pathlib.Path(__file__).resolve().parent


@contextlib.contextmanager
def quiet():
    """Hides what TensorFlow says about the machine before it can be told not to."""
    sys.stderr.flush()
    keep, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(keep, 2)


with quiet():
    import keras

    import keras_dense as kd


def classifier():
    """A plain residual classifier, as anybody might have one."""
    layers = keras.layers

    def convolution(x, filters, strides=1):
        x = layers.Conv2D(filters, 3, strides, padding="same", use_bias=False)(x)
        return layers.Activation("relu")(layers.BatchNormalization(momentum=0.9)(x))

    image = keras.Input((None, None, 3))
    x = layers.Rescaling(1 / 127.5, -1)(image)
    for filters, blocks in ((16, 1), (32, 1), (64, 2), (128, 2), (192, 2)):
        x = convolution(x, filters, strides=2)
        for _ in range(blocks):
            x = layers.Add()([x, convolution(x, filters)])
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(10, name="predictions")(x), name="classifier")


def show(path, picture):
    print(f"  -> {kd.plot.save(path, picture)}", flush=True)


def data_picture(dataset, head, count):
    """Image, labels, depth and normals of some scenes."""
    tiles = []
    for index in range(count):
        sample = dataset[index]
        tiles += [
            sample["image"],
            head.draw(sample["segmentation"]),
            kd.plot.depth(sample["depth"]),
            kd.plot.normals(sample["normals"]),
        ]
    tiles = [kd.plot.fit_width(tile, 256, sharp=True) for tile in tiles]
    return kd.plot.grid(tiles, columns=4, titles=["image", "labels", "depth", "normals"])


def panel(head, images, truths, predictions):
    return kd.plot.panel(images, truths, predictions, head.palette, class_names=head.class_names)


class Clock(keras.callbacks.Callback):
    """Trains for a given time: the learning rate falls to zero (poly, 0.9) with the seconds."""

    def __init__(self, seconds, rate):
        super().__init__()
        self.seconds, self.rate, self.began = seconds, rate, None

    def passed(self):
        return min((time.perf_counter() - self.began) / self.seconds, 1.0)

    def on_train_batch_begin(self, batch, logs=None):
        if self.began is None:
            self.began = time.perf_counter()
        self.model.optimizer.learning_rate = self.rate * (1 - self.passed()) ** 0.9

    def on_train_batch_end(self, batch, logs=None):
        self.model.stop_training = self.passed() == 1

    def on_epoch_end(self, epoch, logs=None):
        print(
            f"  epoch {epoch + 1:2}, {100 * self.passed():3.0f} % of the time: loss "
            f"{logs['loss']:.3f}, mean IoU {100 * logs['mean_iou']:.0f} %, of new scenes "
            f"{100 * logs['val_mean_iou']:.0f} %",
            flush=True,
        )


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("demo"))
    parser.add_argument("--seconds", type=float, default=190, help="how long to train")
    parser.add_argument("--smoke", action="store_true", help="as little as possible of everything")
    args = parser.parse_args(argv)
    began = time.perf_counter()
    args.out.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(0)
    count, size = (16, (64, 64)) if args.smoke else (1500, (96, 128))

    print(f"1. Drawing {count} scenes: image, labels, depth, normals", flush=True)
    train = kd.datasets.cached(kd.datasets.scenes(count, size, "train"))
    val = kd.datasets.cached(kd.datasets.scenes(8 if args.smoke else 80, size, "val"))
    head = kd.heads.Segmentation(
        train.num_classes,
        class_names=train.class_names,
        palette=train.palette,
        loss=kd.losses.Sum([kd.losses.CrossEntropy(), kd.losses.Dice()]),
    )
    for dataset in (train, val):
        for index in range(len(dataset)):
            dataset[index]
    show(args.out / "1_scenes.png", data_picture(train, head, 4))

    backbone = classifier()
    model = kd.fcn8s(backbone, heads=head)
    print(
        f"2. A classifier ({backbone.count_params():,} parameters) becomes an FCN-8s "
        f"({model.count_params():,}) and learns",
        flush=True,
    )
    flips = [kd.datasets.transforms.RandomFlip()]
    batches = kd.datasets.Loader(
        train, head, 8 if args.smoke else 16, transforms=flips, shuffle=True
    )
    val_batches = kd.datasets.Loader(val, head, 8)
    model.compile(keras.optimizers.AdamW(weight_decay=1e-4), **kd.objectives(head))
    preview = kd.training.Preview(val, head, args.out / "epochs", count=5, draw=panel)
    history = model.fit(
        batches,
        validation_data=val_batches,
        epochs=2 if args.smoke else 1000,
        shuffle=False,
        verbose=0,
        callbacks=[preview, Clock(60 if args.smoke else args.seconds, 3e-3)],
    )

    print(
        "3. What it paints of scenes it has not seen: image, truth, prediction, error", flush=True
    )
    show(args.out / "2_predictions.png", preview.picture(model))
    kd.plot.curves(history, args.out / "curves.png")
    scores = kd.training.evaluate(model, kd.datasets.Loader(val, head, 8), head)
    print(kd.training.class_table(scores, val.class_names))
    results = {"mean_iou": scores["mean_iou"], "history": history.history}
    (args.out / "results.json").write_text(json.dumps(results, indent=1))

    print("4. Saved, exported, and used by a process with TensorFlow alone", flush=True)
    model.save(args.out / "model.keras")
    (args.out / "head.json").write_text(json.dumps(keras.saving.serialize_keras_object(head)))
    others = kd.datasets.scenes(10, (97, 131) if args.smoke else (120, 160), "test")
    photograph = args.out / "3_picture.png"
    kd.plot.save(photograph, others[PICTURE]["image"])
    serve = [sys.executable, EXAMPLES / "serve_savedmodel.py"]
    for command in (
        [
            "export",
            args.out / "model.keras",
            args.out / "savedmodel",
            "--head",
            args.out / "head.json",
        ],
        ["label", args.out / "savedmodel", photograph, args.out / "4_served.png"],
    ):
        result = subprocess.run([*serve, *command], capture_output=True, text=True)
        if result.returncode:
            raise SystemExit(result.stderr)
        print("  " + result.stdout.rstrip().replace("\n", "\n  "), flush=True)

    print(
        f"\nDone in {time.perf_counter() - began:.0f} s. Look at {args.out / '2_predictions.png'}, "
        f"at {args.out / '4_served.png'}, and at {args.out / 'epochs'}/ to watch it learn."
    )


if __name__ == "__main__":
    main()

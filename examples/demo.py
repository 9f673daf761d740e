"""Demo of `make demo`: photographs labeled, a network trained and served in some minutes.

A published network labels photographs, if it can be had: from the folder of `KERAS_DENSE_DATA`, or
as a download of 13 MB. Then a classifier of a few lines becomes a fully convolutional network and
learns from drawn scenes. A second process without Keras and keras_dense labels a new image with the
exported network. The page at the end shows all of it.
"""

import time

BEGAN = time.perf_counter()  # The imports count.

import argparse
import contextlib
import html
import importlib.util
import io
import json
import os
import pathlib
import subprocess
import sys

os.environ["KERAS_BACKEND"] = "tensorflow"  # The backend that can export.
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
SERVED = 3  # The test scene that is served.
EXAMPLES = pathlib.Path(__file__).resolve().parent
DATA = pathlib.Path(os.environ.get("KERAS_DENSE_DATA", EXAMPLES.parents[1] / "shared/data"))
# A network and photographs of that folder, and a network to download.
STORED = ("deeplab/mobilenetv2_voc_8bit", "weights/deeplabv3_mnv2_pascal_quant.tflite")
PHOTOGRAPHS = ("2007_001420", "2009_002784", "2009_000430", "2008_000227")
DOWNLOADED = "torchvision/lraspp_mobilenet_v3_large"
SIDE = 513  # Of the images that these networks were trained on.
LEAST = 45  # Seconds of training, on however slow a machine.
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>keras_dense: demo</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 66rem; margin: 2rem auto }}
body {{ padding: 0 1rem }}
img {{ max-width: 100%; height: auto }}
pre {{ background: #8882; padding: .6rem; overflow-x: auto }}
:root {{ color-scheme: light dark }}
</style>
<h1>keras_dense</h1>
{body}
</html>
"""


@contextlib.contextmanager
def quiet():
    """Hide messages that TensorFlow prints before its log level is set."""
    sys.stderr.flush()
    keep, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(keep, 2)


with quiet():
    import keras
    import numpy as np

    import keras_dense as kd


class Report:
    """The page at the end, and how long each part took."""

    def __init__(self, folder):
        self.folder, self.body, self.seconds, self.since = folder, [], {}, BEGAN

    def part(self, name):
        """End a part that began where the one before it ended."""
        now = time.perf_counter()
        self.seconds[name], self.since = now - self.since, now

    def title(self, text):
        print(text, flush=True)
        self.body.append(f"<h2>{html.escape(text)}</h2>")

    def text(self, text):
        print("  " + text.replace("\n", "\n  "), flush=True)
        self.body.append(f"<pre>{html.escape(text)}</pre>")

    def image(self, name, drawing=None):
        """An image that lies in the folder, or a drawing that is stored there."""
        if drawing is not None:
            print(f"  -> {kd.plot.save(self.folder / name, drawing)}", flush=True)
        self.body.append(f'<p><img src="{name}" alt="{name}"></p>')

    def write(self):
        page = self.folder / "index.html"
        page.write_text(PAGE.format(body="\n".join(self.body)), encoding="utf-8")
        return page.resolve().as_uri()


def published(offline):
    """A published network that is there or can be downloaded, or the reason why there is none."""
    name, file = STORED
    if (DATA / file).is_file():
        return kd.weights.pretrained(name, DATA / file), f"{name}, from {DATA / file}"
    if offline:
        return None, "no published network: nothing is downloaded (--offline)"
    try:
        return kd.weights.pretrained(DOWNLOADED), DOWNLOADED
    except ConnectionError as error:
        reason = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        return None, f"no published network: {reason}"


def photographs(given):
    """Photographs that are given, of the folder of data, or the one that Matplotlib brings."""
    stored = [DATA / "voc_mini" / "images" / f"{name}.jpg" for name in PHOTOGRAPHS]
    stored = [path for path in stored if path.is_file()]
    if given or stored:
        return given or stored
    # Found, not imported: that would take seconds.
    root = importlib.util.find_spec("matplotlib").submodule_search_locations[0]
    return [pathlib.Path(root, "mpl-data", "sample_data", "grace_hopper.jpg")]


def label_photographs(given, report, offline):
    """Photographs painted by a published network."""
    from PIL import Image, ImageOps

    model, words = published(offline)
    report.text(words)
    if model is None:
        return
    head, labeler, tiles = kd.heads.of(model), kd.decoded(model), []
    for path in photographs(given):
        photograph = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        image = np.asarray(ImageOps.contain(photograph, (SIDE, SIDE)))
        labels = np.asarray(labeler.predict_on_batch(image[None]))[0]
        painted = kd.plot.overlay(image, labels, head.palette, class_names=head.class_names)
        tiles += [kd.plot.fit_width(tile, 400) for tile in (image, painted)]
    report.image("0_photographs.png", kd.plot.grid(tiles, columns=min(4, len(tiles))))


def classifier():
    """A plain residual classifier."""
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


def show(path, drawing):
    print(f"  -> {kd.plot.save(path, drawing)}", flush=True)


def draw_data(dataset, head, count):
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
    options = {"class_names": head.class_names}
    return kd.plot.panel(images, truths, predictions, head.palette, **options)


class Clock(keras.callbacks.Callback):
    """Train for a given time: the learning rate decays to zero (poly, 0.9) with the seconds."""

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
    add = parser.add_argument
    add("photographs", nargs="*", type=pathlib.Path, help="photographs of yours to label")
    add("--out", type=pathlib.Path, default=pathlib.Path("demo"))
    add("--seconds", type=float, default=125, help="from the start to the end of the training")
    add("--offline", action="store_true", help="download nothing")
    add("--smoke", action="store_true", help="as little as possible of everything, offline")
    args = parser.parse_args(argv)
    missing = [str(path) for path in args.photographs if not path.is_file()]
    if missing:
        parser.error(f"there is no file {missing[0]!r}")
    args.out.mkdir(parents=True, exist_ok=True)
    report = Report(args.out)
    report.part("imports")

    report.title("1. Photographs, labeled by a published network")
    label_photographs(args.photographs, report, args.offline or args.smoke)
    report.part("photographs")

    keras.utils.set_random_seed(0)
    count, size = (16, (64, 64)) if args.smoke else (600, (96, 128))
    report.title(f"2. {count} drawn scenes: image, labels, depth, normals")
    train = kd.datasets.cached(kd.datasets.scenes(count, size, "train"))
    val = kd.datasets.cached(kd.datasets.scenes(8 if args.smoke else 60, size, "val"))
    head = kd.heads.Segmentation(
        train.num_classes,
        class_names=train.class_names,
        palette=train.palette,
        loss=kd.losses.Sum([kd.losses.CrossEntropy(), kd.losses.Dice()]),
    )
    for dataset in (train, val):
        for index in range(len(dataset)):
            dataset[index]
    report.image("1_scenes.png", draw_data(train, head, 3))
    report.part("scenes")

    backbone = classifier()
    model = kd.fcn8s(backbone, heads=head)
    report.title(
        f"3. A classifier ({backbone.count_params():,} parameters) becomes an FCN-8s "
        f"({model.count_params():,}) and learns"
    )
    flips = [kd.datasets.transforms.RandomFlip()]
    batches = kd.datasets.Loader(train, head, batch_size=8, transforms=flips, shuffle=True)
    val_batches = kd.datasets.Loader(val, head, batch_size=8)
    model.compile(keras.optimizers.AdamW(weight_decay=1e-4), **kd.objectives(model))
    preview = kd.training.Preview(val, args.out / "epochs", count=4, draw=panel)
    left = args.seconds - (time.perf_counter() - BEGAN)
    history = model.fit(
        batches,
        validation_data=val_batches,
        epochs=2 if args.smoke else 1000,
        shuffle=False,
        verbose=0,
        callbacks=[preview, Clock(60 if args.smoke else max(LEAST, left), 3e-3)],
    )
    report.part("training")

    report.title("4. Predictions for new scenes: image, truth, prediction, error")
    report.image("2_predictions.png", preview.drawing(model))
    kd.plot.curves(history, args.out / "curves.png")
    report.image("curves.png")
    scores = kd.training.evaluate(model, val_batches)
    report.text(kd.training.class_table(scores, val.class_names))
    results = {"mean_iou": scores["mean_iou"], "history": history.history}
    report.part("drawings and scores")

    report.title("5. Exported, and served by a process with TensorFlow alone")
    model.save(args.out / "model.keras")
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        kd.export.savedmodel(model, args.out / "savedmodel")
    report.text(said.getvalue().strip())
    report.part("export")
    others = kd.datasets.scenes(10, (97, 131) if args.smoke else (120, 160), "test")
    image = args.out / "3_image.png"
    kd.plot.save(image, others[SERVED]["image"])
    served = args.out / "4_served.png"
    serve = [sys.executable, EXAMPLES / "serve_savedmodel.py", "label"]
    command = [*serve, args.out / "savedmodel", image, served]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    report.text(done.stdout.rstrip())
    report.image("4_served.png")
    report.part("serving")

    results["seconds"] = {name: round(seconds, 1) for name, seconds in report.seconds.items()}
    (args.out / "results.json").write_text(json.dumps(results, indent=1))
    taken = ", ".join(f"{name} {seconds:.0f}" for name, seconds in report.seconds.items())
    report.title(f"Done in {time.perf_counter() - BEGAN:.0f} s")
    report.text(f"Seconds: {taken}")
    print(f"Look at {report.write()}; {args.out / 'epochs'}/ shows how it learned.")


if __name__ == "__main__":
    main()

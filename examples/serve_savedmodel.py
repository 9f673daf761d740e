r"""From a trained network to a service that needs TensorFlow alone.

First, on the machine that trained, with keras_dense on the TensorFlow backend (the `.keras` file
may come from any backend):

    python examples/serve_savedmodel.py export runs/camvid/model.keras exported \
        --head runs/camvid/head.json

This writes a SavedModel that takes images of any number and size (RGB, uint8) and returns labels
and how sure it is of them, with the names and colors of the classes in its assets (see
docs/export.md). Then anywhere, without Keras or keras_dense:

    python examples/serve_savedmodel.py label exported photograph.jpg overlay.png
"""

import argparse
import json
import os
import pathlib
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def export(model_file, folder, head_file):
    os.environ["KERAS_BACKEND"] = "tensorflow"  # the backend that exports free batch and size
    import keras

    import keras_dense as kd

    model = keras.saving.load_model(model_file, compile=False)
    if isinstance(model.output, dict):  # It was trained with earlier predictions besides.
        model = keras.Model(model.input, model.output["segmentation"], name=model.name)
    if head_file is None:
        head = kd.heads.Segmentation(model.output_shape[-1])
    else:
        config = json.loads(pathlib.Path(head_file).read_text())
        head = keras.saving.deserialize_keras_object(config)
    kd.export.savedmodel(model, folder, head)
    print(f"{folder}: a SavedModel of {model.name}, {len(head.class_names)} classes")


def label(folder, photograph, overlay):
    # TensorFlow imports Keras wherever it is installed. It is not needed: here it cannot be had.
    sys.modules["keras"] = sys.modules["keras_dense"] = None
    import numpy as np
    import tensorflow as tf
    from PIL import Image, ImageDraw

    network = tf.saved_model.load(folder)
    serve = network.signatures["serving_default"]
    picture = Image.open(photograph).convert("RGB")
    image = tf.constant(np.asarray(picture)[None])
    serve(images=image)  # the first call prepares this size
    began = time.perf_counter()
    labels = serve(images=image)["labels"].numpy()[0]
    milliseconds = 1000 * (time.perf_counter() - began)

    about = json.loads(pathlib.Path(folder, "assets", "about.json").read_text(encoding="utf-8"))
    classes = about["outputs"]["labels"]
    palette = np.array(classes["palette"], "uint8")
    colors = Image.fromarray(palette[labels])
    enlarged = max(1, 320 // picture.width)
    shown = (picture.width * enlarged, picture.height * enlarged)
    canvas = Image.blend(
        picture.resize(shown), colors.resize(shown, Image.Resampling.NEAREST), 0.55
    )
    shares = np.bincount(labels.ravel(), minlength=len(palette)) / labels.size
    found = [i for i in np.argsort(-shares) if shares[i] >= 0.002]
    legend = Image.new("RGB", (110, max(canvas.height, 16 * len(found) + 8)), "white")
    draw = ImageDraw.Draw(legend)
    for row, i in enumerate(found):
        top = 6 + 16 * row
        draw.rectangle((6, top, 18, top + 10), fill=tuple(palette[i]))
        draw.text((24, top), classes["classes"][i], fill="black")
    width = 2 * canvas.width + legend.width
    whole = Image.new("RGB", (width, max(canvas.height, legend.height)), "white")
    whole.paste(picture.resize(shown), (0, 0))
    whole.paste(canvas, (canvas.width, 0))
    whole.paste(legend, (2 * canvas.width, 0))
    pathlib.Path(overlay).parent.mkdir(parents=True, exist_ok=True)
    whole.save(overlay)

    for i in found:
        print(f"  {classes['classes'][i]:<12} {100 * shares[i]:5.1f} % of the picture")
    print(
        f"{photograph} ({picture.width}×{picture.height}) labeled in {milliseconds:.0f} ms by "
        f"TensorFlow {tf.__version__} alone -> {overlay}"
    )


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("export", help="write a SavedModel")
    one.add_argument("model")
    one.add_argument("folder")
    one.add_argument("--head", help="head.json of the run: names and colors of the classes")
    two = commands.add_parser("label", help="label a photograph with TensorFlow alone")
    two.add_argument("folder")
    two.add_argument("photograph")
    two.add_argument("overlay")
    args = parser.parse_args(argv)
    if args.command == "export":
        export(args.model, args.folder, args.head)
    else:
        label(args.folder, args.photograph, args.overlay)


if __name__ == "__main__":
    main()

"""A SavedModel of a trained network, and its use with TensorFlow alone.

First, on the machine that trained, with keras_dense (the `.keras` file may come from any backend):

    python examples/serve_savedmodel.py export runs/camvid/model.keras exported

This writes a SavedModel that takes any number of images of any size (RGB, uint8) and returns labels
and their confidence, with the names and colors of the classes in its assets (see docs/export.md).
Then anywhere, without Keras or keras_dense:

    python examples/serve_savedmodel.py label exported photograph.jpg overlay.png
"""

import argparse
import json
import os
import pathlib
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def export(model_file, folder):
    os.environ["KERAS_BACKEND"] = "tensorflow"  # The backend that exports any number and size.
    import keras

    import keras_dense as kd

    model = keras.saving.load_model(model_file, compile=False)
    kd.export.savedmodel(model, folder)
    print(f"{folder}: a SavedModel of {model.name}")


def label(folder, photograph, overlay):
    # TensorFlow imports Keras where it is installed; it is not needed, and here it is blocked.
    sys.modules["keras"] = sys.modules["keras_dense"] = None
    import numpy as np
    import tensorflow as tf
    from PIL import Image, ImageDraw

    network = tf.saved_model.load(folder)
    serve = network.signatures["serving_default"]
    image = Image.open(photograph).convert("RGB")
    pixels = tf.constant(np.asarray(image)[None])
    # "labels", or "<head>_labels" if the network has several heads.
    about = json.loads(pathlib.Path(folder, "assets", "about.json").read_text(encoding="utf-8"))
    found = [name for name, facts in about["outputs"].items() if "classes" in facts]
    if not found:
        sys.exit(f"{folder}: has no labels among its outputs {[*about['outputs']]}")
    classes = about["outputs"][found[0]]
    serve(images=pixels)  # The first call prepares this size.
    began = time.perf_counter()
    labels = serve(images=pixels)[found[0]].numpy()[0]
    milliseconds = 1000 * (time.perf_counter() - began)

    palette = np.array(classes["palette"], "uint8")
    colors = Image.fromarray(palette[labels])
    enlarged = max(1, 320 // image.width)
    shown = (image.width * enlarged, image.height * enlarged)
    canvas = Image.blend(image.resize(shown), colors.resize(shown, Image.Resampling.NEAREST), 0.55)
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
    whole.paste(image.resize(shown), (0, 0))
    whole.paste(canvas, (canvas.width, 0))
    whole.paste(legend, (2 * canvas.width, 0))
    pathlib.Path(overlay).parent.mkdir(parents=True, exist_ok=True)
    whole.save(overlay)

    for i in found:
        print(f"  {classes['classes'][i]:<12} {100 * shares[i]:5.1f} % of the image")
    print(
        f"{photograph} ({image.width}×{image.height}) labeled in {milliseconds:.0f} ms by "
        f"TensorFlow {tf.__version__} alone -> {overlay}"
    )


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("export", help="write a SavedModel")
    one.add_argument("model")
    one.add_argument("folder")
    two = commands.add_parser("label", help="label a photograph with TensorFlow alone")
    two.add_argument("folder")
    two.add_argument("photograph")
    two.add_argument("overlay")
    args = parser.parse_args(argv)
    if args.command == "export":
        export(args.model, args.folder)
    else:
        label(args.folder, args.photograph, args.overlay)


if __name__ == "__main__":
    main()

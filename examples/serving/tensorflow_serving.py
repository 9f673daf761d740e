"""Model folder for TensorFlow Serving, with its configuration and a request.

    python examples/serving/tensorflow_serving.py runs/camvid/model.keras served --name scene
    docker run -p 8500:8500 -p 8501:8501 -v "$PWD/served:/models" tensorflow/serving \
        --model_config_file=/models/models.config --model_config_file_poll_wait_seconds=60
    curl -d @served/requests/scene.json http://127.0.0.1:8501/v1/models/scene:predict

writes

    served/models.config          all models of the folder; written anew by each export
    served/scene/1/               a SavedModel; the next export becomes 2, which TensorFlow Serving
                                  loads by itself before it drops 1
    served/requests/scene.json    a request for its REST interface

Each file appears complete or not at all: TensorFlow Serving watches the folder, and never loads
half a model. Outputs are those of the heads that the model carries. See docs/serving.md.
"""

import argparse
import base64
import io
import json
import os
import pathlib
import re

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["KERAS_BACKEND"] = "tensorflow"  # The backend that exports.

import keras
import numpy as np
from PIL import Image

import keras_dense as kd

BASE = "/models"  # The folder as the container of TensorFlow Serving sees it.


def versions(folder):
    """The versions of a model, as TensorFlow Serving finds them."""
    return sorted(int(path.parent.name) for path in folder.glob("[0-9]*/saved_model.pb"))


def config(folder):
    """Text of models.config: all models of the folder."""
    models = "".join(
        f'  config {{\n    name: "{path.name}"\n    base_path: "{BASE}/{path.name}"\n'
        '    model_platform: "tensorflow"\n  }\n'
        for path in sorted(folder.iterdir())
        if path.is_dir() and versions(path)
    )
    return f"# Written anew by each export.\nmodel_config_list {{\n{models}}}\n"


def request(image):
    """Body of a REST request for the signature `encoded`, from the bytes of a JPEG or PNG file."""
    instance = {"b64": base64.b64encode(image).decode("ascii")}
    return json.dumps({"signature_name": "encoded", "instances": [instance]})


def example():
    """PNG file for a request without an image."""
    rows, columns = np.mgrid[:96, :128]
    pixels = np.stack([2 * rows, 2 * columns, rows + columns], -1).astype("uint8")
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def write(path, text):
    """Write a text file that appears complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    os.replace(new, path)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("model", type=pathlib.Path, help="a .keras file")
    add("folder", type=pathlib.Path, help="folder of all models that are served")
    add("--name", help="of the model in requests; default: its own")
    add("--version", type=int, help="default: the next number")
    add("--image", type=pathlib.Path, help="image of the example request")
    args = parser.parse_args(argv)

    model = keras.saving.load_model(args.model, compile=False)
    name = args.name or model.name
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        parser.error(
            f"--name must be letters, digits, - and _, as it is part of URLs, not {name!r}"
        )
    there = versions(args.folder / name)
    version = max(there, default=0) + 1 if args.version is None else args.version
    if version in there or version < 0:
        # TensorFlow Serving would keep the version that it has loaded.
        parser.error(f"--version must be a number ≥ 0 other than {there}, not {version}")
    kd.export.savedmodel(model, args.folder / name / str(version))
    image = args.image.read_bytes() if args.image else example()
    write(args.folder / "requests" / f"{name}.json", request(image))
    write(args.folder / "models.config", config(args.folder))
    print(
        f"{args.folder}: {name}, version {version}\n"
        f'docker run -p 8500:8500 -p 8501:8501 -v "{args.folder.absolute()}:{BASE}" '
        f"tensorflow/serving --model_config_file={BASE}/models.config\n"
        f"curl -d @{args.folder}/requests/{name}.json "
        f"http://127.0.0.1:8501/v1/models/{name}:predict"
    )


if __name__ == "__main__":
    main()

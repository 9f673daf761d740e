"""A model folder for TensorFlow Serving, with its configuration and a request.

    python examples/serving/tensorflow_serving.py runs/camvid/model.keras served --name scene
    docker run -p 8500:8500 -p 8501:8501 -v "$PWD/served:/models" tensorflow/serving \
        --model_config_file=/models/models.config --model_config_file_poll_wait_seconds=60
    curl -d @served/requests/scene.json http://127.0.0.1:8501/v1/models/scene:predict

writes

    served/models.config          every model of the folder; written anew each time
    served/scene/1/               a SavedModel; the next export becomes 2, which TensorFlow Serving
                                  loads by itself, and only then lets go of 1
    served/requests/scene.json    a request for its REST interface

Each appears whole or not at all, so that TensorFlow Serving, which watches the folder, never loads
half a model. See docs/serving.md.
"""

import argparse
import base64
import io
import json
import os
import pathlib
import re
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["KERAS_BACKEND"] = "tensorflow"  # the backend that exports

import keras
import numpy as np
from PIL import Image

import keras_dense as kd

BASE = "/models"  # where the container of TensorFlow Serving sees the folder


def load(model_file, heads_file):
    """A model and its heads: of a file, of one beside the model, or a segmentation."""
    model = keras.saving.load_model(model_file, compile=False)
    beside = [model_file.parent / name for name in ("head.json", "heads.json")]
    file = heads_file or next((file for file in beside if file.exists()), None)
    if file is None:
        if isinstance(model.output, dict):
            sys.exit(f"{model_file} has outputs {[*model.output]}; say what they are: --heads")
        return model, kd.heads.Segmentation(model.output_shape[-1])
    heads = keras.saving.deserialize_keras_object(json.loads(file.read_text()))
    if isinstance(model.output, dict) and not isinstance(heads, dict):
        # One head, trained with others on the way to it.
        model = keras.Model(model.input, model.output[heads.target], name=model.name)
    return model, heads


def versions(folder):
    """The versions of a model, as TensorFlow Serving finds them."""
    return sorted(int(path.parent.name) for path in folder.glob("[0-9]*/saved_model.pb"))


def config(folder):
    """The text of models.config: every model that the folder holds."""
    models = "".join(
        f'  config {{\n    name: "{path.name}"\n    base_path: "{BASE}/{path.name}"\n'
        '    model_platform: "tensorflow"\n  }\n'
        for path in sorted(folder.iterdir())
        if path.is_dir() and versions(path)
    )
    return f"# Written anew by each export.\nmodel_config_list {{\n{models}}}\n"


def request(picture):
    """The body of a REST request for the signature `encoded`, of a JPEG or PNG file's bytes."""
    instance = {"b64": base64.b64encode(picture).decode("ascii")}
    return json.dumps({"signature_name": "encoded", "instances": [instance]})


def example():
    """A PNG file, where no picture is given."""
    rows, columns = np.mgrid[:96, :128]
    pixels = np.stack([2 * rows, 2 * columns, rows + columns], -1).astype("uint8")
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def write(path, text):
    """Write a text that appears whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    os.replace(new, path)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("model", type=pathlib.Path, help="a .keras file")
    add("folder", type=pathlib.Path, help="of all models that are served")
    add("--heads", type=pathlib.Path, help="default: head.json or heads.json beside the model")
    add("--name", help="of the model in requests; default: its own")
    add("--version", type=int, help="default: the one after the last")
    add("--picture", type=pathlib.Path, help="for the example of a request")
    args = parser.parse_args(argv)

    model, heads = load(args.model, args.heads)
    name = args.name or model.name
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        parser.error(
            f"--name must be letters, digits, - and _, as it is part of URLs, not {name!r}"
        )
    there = versions(args.folder / name)
    version = max(there, default=0) + 1 if args.version is None else args.version
    if version in there or version < 0:
        # TensorFlow Serving would go on with what it has loaded under this number.
        parser.error(f"--version must be a number ≥ 0 other than {there}, not {version}")
    kd.export.savedmodel(model, heads, args.folder / name / str(version))
    picture = args.picture.read_bytes() if args.picture else example()
    write(args.folder / "requests" / f"{name}.json", request(picture))
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

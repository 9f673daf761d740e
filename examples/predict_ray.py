"""Predicts a collection of pictures on every machine of a Ray cluster, or on this one.

    python examples/predict_ray.py model.keras photos/ --out labels/ --workers 2
    python examples/predict_ray.py model.keras s3://bucket/photos --out /mnt/labels --address auto

Ray Data (`pip install "ray[data]"`) reads the files and hands them to `--workers` processes that
have the model each. (Tested on one machine, with files.) Labels become PNG with the classes'
colors, other predictions .npy. What is written already is skipped (`run.json` says by which model
and heads: results of others are never mixed with these); pictures that cannot be read or predicted
are named at the end, in `failed.json`, too.

The heads are read from head.json or heads.json beside the model, as the training examples write
them. On a cluster the model and `--out` must be where all machines find them.
"""

import argparse
import collections
import hashlib
import json
import os
import pathlib
import sys
import tempfile

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

EXTENSIONS = ["png", "jpg", "jpeg", "bmp", "tif", "tiff", "gif", "webp", "ppm"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("model", type=pathlib.Path)
    add("pictures", help="folder, here or wherever Ray Data can read (s3://, gs://, …)")
    add("--out", type=pathlib.Path, required=True)
    add("--workers", type=int, default=1, help="processes with a model each")
    add("--cpus", type=int, default=1, help="of each")
    add("--gpus", type=float, default=0.0, help="of each; a share of one is possible")
    add("--address", help="of a cluster: auto, or ray://…; default: this machine")
    return parser.parse_args()


def heads_beside(model):
    """The head, or dict of heads, that lies beside a model."""
    import keras

    import keras_dense  # noqa: F401 - so that Keras knows the heads

    for name in ("heads.json", "head.json"):
        file = model.parent / name
        if file.exists():
            return keras.saving.deserialize_keras_object(json.loads(file.read_text()))
    raise SystemExit(f"there is neither head.json nor heads.json beside {model}")


def predicted(heads):
    """The heads that leave results, by the folder of these."""
    import keras_dense as kd

    heads = heads if isinstance(heads, dict) else {"": heads}
    return {key: h for key, h in heads.items() if not isinstance(h, kd.heads.Auxiliary)}


class Predictor:
    """What every process of Ray has: a model, which is loaded once."""

    def __init__(self, model, out):
        import keras

        import keras_dense as kd

        heads = heads_beside(model)
        loaded = keras.saving.load_model(model, compile=False)
        self.predictor = kd.inference.TiledPredictor(loaded, heads)
        self.heads, self.out = predicted(heads), out

    def __call__(self, row):
        """Predict and write one file; returns its path and what was wrong with it, or ""."""
        path = row["path"]
        name = pathlib.PurePosixPath(path).name
        try:
            found = self.predictor.run(pixels(row["bytes"], name), progress=False)
            for key, head in self.heads.items():
                result = found[key] if key else found
                write(self.out / key / (name + suffix(head)), head, result)
        # One picture must not end the run of the others.
        except Exception as error:
            return {"path": path, "error": f"{type(error).__name__}: {error}"}
        return {"path": path, "error": ""}


def pixels(file, name):
    """A file's bytes as RGB, upright; what is not RGB of 8 bits is an error."""
    from keras_dense.datasets.files import read_image

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, name)
        path.write_bytes(file)
        return read_image(path, upright=True)


def suffix(head):
    """What is added to a picture's whole name, so that a.jpg and a.png do not become one."""
    labels = getattr(head, "mode", None) in ("multiclass", "binary") and head.num_classes <= 256
    return ".png" if labels else ".npy"


def write(path, head, result):
    """A file that appears when it is whole."""
    import numpy as np
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(new, "wb") as file:
            if path.suffix == ".png":
                picture = Image.fromarray(result.astype("uint8"))
                picture.putpalette(np.asarray(head.palette, "uint8").tobytes())
                picture.save(file, format="PNG")
            else:
                np.save(file, result)
        os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)


def check_out(args):
    """Leave if results would go among the pictures, or among those of another run."""
    if pathlib.Path(args.pictures).is_dir() and args.out.exists():
        if args.out.samefile(args.pictures):
            raise SystemExit("--out must not be the folder of the pictures")
    heads = [path for path in args.model.parent.glob("head*.json")]
    digests = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in (args.model, *heads)}
    state = args.out / "run.json"
    if state.exists() and json.loads(state.read_text()) != digests:
        raise SystemExit(f"{args.out} holds results of another model or other heads")
    if not state.exists() and args.out.exists() and any(args.out.iterdir()):
        raise SystemExit(f"{args.out} holds files that are no results of this script")
    args.out.mkdir(parents=True, exist_ok=True)
    state.write_text(json.dumps(digests, indent=1))


def main():
    args = arguments()
    try:
        import ray
    except ImportError:
        raise SystemExit('Runs on Ray Data: pip install "ray[data]"') from None
    check_out(args)
    out = args.out.absolute()
    heads = predicted(heads_beside(args.model))
    suffixes = {key: suffix(head) for key, head in heads.items()}

    def waits(row):
        name = pathlib.PurePosixPath(row["path"]).name
        return not all((out / key / f"{name}{end}").exists() for key, end in suffixes.items())

    ray.init(address=args.address, include_dashboard=False, logging_level="warning")
    files = ray.data.read_binary_files(
        args.pictures, include_paths=True, file_extensions=EXTENSIONS
    )
    done = files.filter(waits).map(
        Predictor,
        fn_constructor_kwargs={"model": args.model.absolute(), "out": out},
        concurrency=args.workers,
        num_cpus=args.cpus,
        num_gpus=args.gpus,
    )
    failed, counts = {}, collections.Counter()
    for row in done.iter_rows():
        counts["failed" if row["error"] else "written"] += 1
        if row["error"]:
            failed[row["path"]] = row["error"]
    print(f"{counts['written']} pictures written to {args.out}, {counts['failed']} failed")
    (args.out / "failed.json").write_text(json.dumps(failed, indent=1))
    for path, error in failed.items():
        print(f"  {path}: {error}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
